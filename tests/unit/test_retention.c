/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Retention on real directories: which segments go, with a clock of our own; what a start finds
 * after a crash at each call; a full and a failing disk.
 */
#include "base/thread.h"
#include "commitlog/log_internal.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum {
    SEGMENT_BYTES = 256 << 10,
    VALUE_BYTES = 60000,
    SEGMENT_COMMITS = 4, /* as many fit a segment */
};

/* ---- a disk that ends at a call, or that is full ---- */

struct disk {
    struct storage storage; /* first */
    struct storage *real;
    pthread_mutex_t lock;
    uint64_t calls; /* that change something */
    uint64_t end;   /* the call at which the disk ends; 0: none */
    bool ended;
    _Atomic bool is_full;         /* no file can be made */
    _Atomic bool fails_to_rename; /* `state` */
};

static pthread_mutex_t event_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t event_seen = PTHREAD_COND_INITIALIZER;
static uint64_t removed_version; /* the last one that an event told of */
static unsigned event_counts[LOG_RETENTION_FAILED + 1];
static struct log_policy overruled;
static uint32_t overruled_count;

static struct disk *disk_of(struct storage *storage)
{
    return (struct disk *)(void *)storage;
}

static void announce(void)
{
    (void)pthread_mutex_lock(&event_lock);
    (void)pthread_cond_broadcast(&event_seen);
    (void)pthread_mutex_unlock(&event_lock);
}

/* False: the disk has ended. *out_last: with this call. */
static bool may_change(struct disk *disk, bool *out_last)
{
    (void)pthread_mutex_lock(&disk->lock);
    disk->calls++;
    bool last = !disk->ended && disk->calls == disk->end;
    bool alive = !disk->ended;
    disk->ended = disk->ended || last;
    (void)pthread_mutex_unlock(&disk->lock);
    errno = EIO;
    if (last) {
        announce();
    }
    *out_last = last;
    return alive && !last;
}

static bool has_ended(struct disk *disk)
{
    (void)pthread_mutex_lock(&disk->lock);
    bool ended = disk->ended;
    (void)pthread_mutex_unlock(&disk->lock);
    return ended;
}

static enum err disk_open(struct storage *storage, const char *name, bool create,
                          struct storage_file **out)
{
    struct disk *disk = disk_of(storage);
    bool last;
    if (create && !may_change(disk, &last)) {
        return ERR_SYSTEM;
    }
    if (create && disk->is_full) {
        errno = ENOSPC;
        return ERR_SYSTEM;
    }
    return disk->real->operations->open(disk->real, name, create, out);
}

static void disk_close(struct storage *storage, struct storage_file *file)
{
    disk_of(storage)->real->operations->close(disk_of(storage)->real, file);
}

static enum err disk_size(struct storage *storage, struct storage_file *file, uint64_t *out)
{
    return disk_of(storage)->real->operations->size(disk_of(storage)->real, file, out);
}

static enum err disk_read(struct storage *storage, struct storage_file *file, uint64_t offset,
                          char *out, size_t size, size_t *out_size)
{
    struct storage *real = disk_of(storage)->real;
    return real->operations->read(real, file, offset, out, size, out_size);
}

static enum err disk_write(struct storage *storage, struct storage_file *file, uint64_t offset,
                           const char *data, size_t size)
{
    struct storage *real = disk_of(storage)->real;
    bool last;
    if (!may_change(disk_of(storage), &last)) {
        if (last) { /* half of it arrives */
            (void)real->operations->write(real, file, offset, data, size / 2);
        }
        errno = EIO;
        return ERR_SYSTEM;
    }
    return real->operations->write(real, file, offset, data, size);
}

static enum err disk_write_zeros(struct storage *storage, struct storage_file *file,
                                 uint64_t offset, size_t size)
{
    struct storage *real = disk_of(storage)->real;
    bool last;
    errno = EIO;
    return may_change(disk_of(storage), &last)
               ? real->operations->write_zeros(real, file, offset, size)
               : ERR_SYSTEM;
}

static enum err disk_sync(struct storage *storage, struct storage_file *file)
{
    struct storage *real = disk_of(storage)->real;
    bool last;
    return may_change(disk_of(storage), &last) ? real->operations->sync(real, file) : ERR_SYSTEM;
}

static enum err disk_rename(struct storage *storage, const char *from, const char *to)
{
    struct disk *disk = disk_of(storage);
    bool last;
    bool alive = may_change(disk, &last);
    if (!alive || (disk->fails_to_rename && strcmp(from, LOG_STATE_TEMPORARY_NAME) == 0)) {
        return ERR_SYSTEM;
    }
    return disk->real->operations->rename(disk->real, from, to);
}

static enum err disk_unlink(struct storage *storage, const char *name)
{
    struct storage *real = disk_of(storage)->real;
    bool last;
    return may_change(disk_of(storage), &last) ? real->operations->unlink(real, name) : ERR_SYSTEM;
}

static enum err disk_sync_directory(struct storage *storage)
{
    struct storage *real = disk_of(storage)->real;
    bool last;
    return may_change(disk_of(storage), &last) ? real->operations->sync_directory(real)
                                               : ERR_SYSTEM;
}

static enum err disk_list(struct storage *storage, void (*name)(void *context, const char *name),
                          void *context)
{
    return disk_of(storage)->real->operations->list(disk_of(storage)->real, name, context);
}

static enum err disk_lock(struct storage *storage, uint64_t *out_holder)
{
    return disk_of(storage)->real->operations->lock(disk_of(storage)->real, out_holder);
}

static const struct storage_operations DISK = {
    .open = disk_open,
    .close = disk_close,
    .size = disk_size,
    .read = disk_read,
    .write = disk_write,
    .write_zeros = disk_write_zeros,
    .sync = disk_sync,
    .rename = disk_rename,
    .unlink = disk_unlink,
    .sync_directory = disk_sync_directory,
    .list = disk_list,
    .lock = disk_lock,
};

/* ---- a log in a directory of its own ---- */

struct bench {
    char directory[64];
    struct disk disk;
    struct log_config config;
    struct log *log;
    struct log_problem problem;
    bool has_thread; /* that removes by itself; else only retain() does */
    uint64_t acknowledged;
    /* What recovery has shown. */
    uint64_t first_seen;
    uint64_t last_seen;
};

static _Atomic uint64_t clock_us;

static uint64_t now_us(void)
{
    return clock_us;
}

static void on_event(void *context, const struct log_retention_event *event)
{
    (void)context;
    (void)pthread_mutex_lock(&event_lock);
    event_counts[event->type]++;
    if (event->type == LOG_RETENTION_REMOVED) {
        removed_version = event->last_version;
    }
    if (event->type == LOG_RETENTION_OVERRULED) {
        overruled = *event->policy;
        overruled_count = event->policies;
    }
    (void)pthread_cond_broadcast(&event_seen);
    (void)pthread_mutex_unlock(&event_lock);
}

static bool visit_batch(void *context, const struct log_batch_header *header)
{
    struct bench *bench = context;
    if (header->last_version >= header->first_version) {
        bench->first_seen = bench->first_seen == 0 ? header->first_version : bench->first_seen;
        bench->last_seen = header->last_version;
    }
    return false;
}

static void visit_record(void *context, const struct log_record *record, uint64_t timestamp_us)
{
    (void)context;
    (void)record;
    (void)timestamp_us;
}

static enum err try_open(struct bench *bench)
{
    const struct log_visitor visitor = {bench, visit_batch, visit_record, NULL};
    bench->first_seen = 0;
    bench->last_seen = 0;
    assert_int_equal(storage_posix_open(bench->directory, &bench->disk.real), OK);
    enum err err =
        log_open(&bench->config, &bench->disk.storage, &visitor, &bench->log, &bench->problem);
    if (err != OK) {
        storage_posix_close(bench->disk.real);
        bench->log = NULL;
    } else if (!bench->has_thread) {
        log_retainer_stop(bench->log);
    }
    return err;
}

static void must_open(struct bench *bench)
{
    if (try_open(bench) != OK) {
        fail_msg("%s", bench->problem.text);
    }
}

static void close_log(struct bench *bench)
{
    log_close(bench->log);
    storage_posix_close(bench->disk.real);
    bench->log = NULL;
}

static void bench_init(struct bench *bench)
{
    *bench = (struct bench){.directory = "/tmp/weasel-retention-XXXXXX"};
    assert_non_null(mkdtemp(bench->directory));
    bench->disk.storage.operations = &DISK;
    (void)pthread_mutex_init(&bench->disk.lock, NULL);
    bench->config = (struct log_config){
        .segment_bytes = SEGMENT_BYTES,
        .durability = LOG_DURABILITY_NONE,
        .retention = {.now_us = now_us, .event = on_event},
    };
    removed_version = 0;
    memset(event_counts, 0, sizeof event_counts);
    clock_us = 1000000000;
}

static void bench_deinit(struct bench *bench)
{
    char command[128];
    if (bench->log != NULL) {
        close_log(bench);
    }
    (void)snprintf(command, sizeof command, "rm -r %s", bench->directory);
    assert_int_equal(system(command), 0);
    (void)pthread_mutex_destroy(&bench->disk.lock);
}

static enum err append(struct bench *bench, enum log_record_type type)
{
    static char value[VALUE_BYTES];
    const struct txn_operation operation = {
        .type = TXN_WRITE, .key = BYTES("key"), .value = bytes_of(value, sizeof value)};
    struct log_record record = {.type = type, .request_id = BYTES("id")};
    if (type == LOG_RECORD_COMMIT) {
        record.version = log_last_version(bench->log) + 1;
        record.operations = &operation;
        record.operation_count = 1;
    }
    if (!log_try_reserve(bench->log, log_record_bytes(&record), LOG_RESERVE_COMMIT)) {
        return ERR_SYSTEM;
    }
    enum err err = log_append(bench->log, &record, clock_us);
    return err == OK ? log_sync(bench->log, clock_us) : err;
}

static enum err commit(struct bench *bench, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        enum err err = append(bench, LOG_RECORD_COMMIT);
        if (err != OK) {
            return err;
        }
        bench->acknowledged++;
    }
    return OK;
}

/* Segments 0 to 3 with versions 1 to 4, 5 to 8, 9 to 12, 13 to 16; 17 is in number 4. */
static void fill(struct bench *bench)
{
    must_open(bench);
    assert_int_equal(commit(bench, 4 * SEGMENT_COMMITS + 1), OK);
    assert_int_equal(log_stats(bench->log).segments, 5);
}

static unsigned events(enum log_retention_event_type type)
{
    (void)pthread_mutex_lock(&event_lock);
    unsigned count = event_counts[type];
    (void)pthread_mutex_unlock(&event_lock);
    return count;
}

/* What the helper thread does. */
static uint64_t retain(struct bench *bench)
{
    return log_retain(bench->log);
}

static void put(struct bench *bench, const char *id, uint64_t version)
{
    assert_int_equal(log_policy_put(bench->log, bytes_from_string(id), version), OK);
}

static bool file_exists(const struct bench *bench, const char *name)
{
    char path[256];
    (void)snprintf(path, sizeof path, "%s/%s", bench->directory, name);
    return access(path, F_OK) == 0;
}

static bool segment_exists(const struct bench *bench, uint64_t first_version)
{
    char name[STORAGE_NAME_BYTES];
    log_segment_name(first_version, 0, name);
    return file_exists(bench, name);
}

static void copy_file(const struct bench *bench, const char *from, const char *to)
{
    char command[512];
    (void)snprintf(command, sizeof command, "cp '%s/%s' '%s/%s'", bench->directory, from,
                   bench->directory, to);
    assert_int_equal(system(command), 0);
}

static void remove_file(const struct bench *bench, const char *name)
{
    char path[256];
    (void)snprintf(path, sizeof path, "%s/%s", bench->directory, name);
    assert_int_equal(unlink(path), 0);
}

/* ---- which segments go ---- */

static void without_policy_and_cap_all_is_kept(void **state)
{
    (void)state;
    struct bench bench;
    bench_init(&bench);
    fill(&bench);
    clock_us += UINT64_C(1) << 50;
    assert_int_equal(retain(&bench), UINT64_MAX);
    assert_int_equal(log_first_version(bench.log), 1);
    put(&bench, "a", 0);
    assert_int_equal(retain(&bench), UINT64_MAX);
    assert_int_equal(log_first_version(bench.log), 1);
    /* The last policy takes with it whatever it removed, but no more. */
    bool found;
    assert_int_equal(log_policy_remove(bench.log, BYTES("a"), &found), OK);
    assert_true(found);
    assert_int_equal(log_policy_remove(bench.log, BYTES("a"), &found), OK);
    assert_false(found);
    assert_int_equal(retain(&bench), UINT64_MAX);
    assert_int_equal(log_stats(bench.log).segments, 5);
    bench_deinit(&bench);
}

static void policies_keep_what_comes_after_the_least(void **state)
{
    (void)state;
    struct bench bench;
    bench_init(&bench);
    fill(&bench);
    put(&bench, "slow", 3); /* one below the end of segment 0 */
    clock_us++;
    put(&bench, "fast", 17);
    (void)retain(&bench);
    assert_int_equal(log_first_version(bench.log), 1);
    put(&bench, "slow", 4); /* at it */
    (void)retain(&bench);
    assert_int_equal(log_first_version(bench.log), 5);
    assert_false(segment_exists(&bench, 1));
    assert_true(segment_exists(&bench, 5));
    put(&bench, "slow", 5); /* above it */
    (void)retain(&bench);
    assert_int_equal(log_first_version(bench.log), 5);
    bool found;
    assert_int_equal(log_policy_remove(bench.log, BYTES("slow"), &found), OK);
    (void)retain(&bench);
    /* All is passed, but one is being written. */
    assert_int_equal(log_first_version(bench.log), 17);
    assert_int_equal(log_stats(bench.log).segments, 1);
    assert_int_equal(log_stats(bench.log).bytes, SEGMENT_BYTES);
    assert_int_equal(commit(&bench, 1), OK);
    struct log_retention_stats stats = log_retention_stats(bench.log);
    assert_int_equal(stats.removed_segments, 4);
    assert_int_equal(stats.removed_bytes, 4 * SEGMENT_BYTES);
    assert_int_equal(stats.overruled_segments, 0);
    assert_int_equal(events(LOG_RETENTION_OVERRULED), 0);
    close_log(&bench);
    must_open(&bench);
    assert_int_equal(bench.first_seen, 17);
    assert_int_equal(bench.last_seen, 18);
    assert_int_equal(log_first_version(bench.log), 17);
    bench_deinit(&bench);
}

static void policies_alone_spare_the_windows(void **state)
{
    (void)state;
    struct bench bench;
    bench_init(&bench);
    bench.config.retention.windows_us = 5000000;
    fill(&bench);
    put(&bench, "a", 9);
    assert_int_equal(retain(&bench), 5000001);
    clock_us += 5000000;
    assert_int_equal(retain(&bench), 1);
    assert_int_equal(log_first_version(bench.log), 1);
    clock_us += 1;
    assert_int_equal(retain(&bench), UINT64_MAX); /* the rest waits for the policy */
    assert_int_equal(log_first_version(bench.log), 9);
    assert_int_equal(events(LOG_RETENTION_WINDOWS), 0);
    bench_deinit(&bench);
}

static void a_cap_on_age_wins_over_policies(void **state)
{
    (void)state;
    struct bench bench;
    bench_init(&bench);
    bench.config.retention.age_us_max = 1000;
    must_open(&bench);
    assert_int_equal(commit(&bench, SEGMENT_COMMITS), OK); /* full: the age of its last batch */
    clock_us += 100;
    assert_int_equal(commit(&bench, SEGMENT_COMMITS + 1), OK);
    put(&bench, "wants-a-little", 3);
    put(&bench, "wants-all", 0);
    put(&bench, "wants-late", 8);
    clock_us += 900;
    assert_int_equal(retain(&bench), 1);
    assert_int_equal(log_first_version(bench.log), 1);
    clock_us += 1;
    assert_int_equal(retain(&bench), 100);
    assert_int_equal(log_first_version(bench.log), 5);
    assert_int_equal(log_retention_stats(bench.log).overruled_segments, 1);
    assert_int_equal(events(LOG_RETENTION_OVERRULED), 1);
    assert_string_equal(overruled.id, "wants-all");
    assert_int_equal(overruled_count, 2);
    clock_us += 1000000;
    assert_int_equal(retain(&bench), UINT64_MAX); /* one is always being written */
    assert_int_equal(log_first_version(bench.log), 9);
    assert_int_equal(log_retention_stats(bench.log).overruled_segments, 2);
    bench_deinit(&bench);
}

static void a_cap_on_bytes_counts_whole_files(void **state)
{
    (void)state;
    struct bench bench;
    bench_init(&bench);
    bench.config.retention.windows_us = 1000;
    bench.config.retention.bytes_max = 5 * SEGMENT_BYTES;
    must_open(&bench);
    assert_int_equal(commit(&bench, 3 * SEGMENT_COMMITS + 1), OK);
    assert_int_equal(retain(&bench), UINT64_MAX);
    assert_int_equal(log_stats(bench.log).segments, 4); /* and one prepared: at the cap */
    assert_int_equal(log_first_version(bench.log), 1);
    assert_int_equal(commit(&bench, SEGMENT_COMMITS), OK);
    (void)retain(&bench);
    assert_int_equal(log_stats(bench.log).segments, 4);
    assert_int_equal(log_first_version(bench.log), 5);
    assert_int_equal(log_retention_stats(bench.log).overruled_segments, 0);
    /* They were younger than the windows, which is worth a word. */
    close_log(&bench);
    assert_int_equal(events(LOG_RETENTION_WINDOWS), 1);
    bench.config.retention.bytes_max = 1;
    must_open(&bench);
    (void)retain(&bench);
    assert_int_equal(log_stats(bench.log).segments, 1);
    bench_deinit(&bench);
}

static void fences_alone_fill_segments_of_one_first_version(void **state)
{
    (void)state;
    struct bench bench;
    char name[STORAGE_NAME_BYTES];
    bench_init(&bench);
    must_open(&bench);
    while (log_stats(bench.log).segments < 3) {
        assert_int_equal(append(&bench, LOG_RECORD_FENCE), OK);
    }
    assert_int_equal(commit(&bench, 1), OK);
    clock_us++;
    put(&bench, "a", 0);
    (void)retain(&bench);
    log_segment_name(1, 2, name);
    assert_true(file_exists(&bench, name));
    log_segment_name(1, 1, name);
    assert_false(file_exists(&bench, name));
    assert_int_equal(log_first_version(bench.log), 1);
    close_log(&bench);
    must_open(&bench);
    assert_int_equal(bench.last_seen, 1);
    bench_deinit(&bench);
}

/* ---- readers ---- */

static void readers_find_segments_or_learn_that_they_are_gone(void **state)
{
    (void)state;
    struct bench bench;
    struct log_segment segment;
    bench_init(&bench);
    fill(&bench);
    assert_true(log_segment_of(bench.log, 8, &segment));
    assert_int_equal(segment.number, 1);
    assert_int_equal(segment.first_version, 5);
    assert_int_equal(segment.bytes, SEGMENT_BYTES);
    assert_false(log_segment_of(bench.log, 0, &segment));
    assert_true(log_segment_of(bench.log, 1000, &segment));
    assert_int_equal(segment.number, 4);
    assert_int_equal(log_segment_after(bench.log, 4, &segment), LOG_SEGMENT_NOT_YET);
    put(&bench, "a", 9);
    clock_us++;
    (void)retain(&bench);
    assert_false(log_segment_of(bench.log, 8, &segment));
    assert_true(log_segment_of(bench.log, 9, &segment));
    assert_int_equal(segment.number, 2);
    assert_int_equal(log_segment_after(bench.log, 0, &segment), LOG_SEGMENT_GONE);
    assert_int_equal(log_segment_after(bench.log, 1, &segment), LOG_SEGMENT_FOUND);
    assert_int_equal(segment.first_version, 9);
    bench_deinit(&bench);
}

/* ---- what a start finds ---- */

static void a_start_removes_what_is_below_the_bound(void **state)
{
    (void)state;
    struct bench bench;
    char names[2][STORAGE_NAME_BYTES];
    bench_init(&bench);
    fill(&bench);
    log_segment_name(1, 0, names[0]);
    log_segment_name(5, 0, names[1]);
    copy_file(&bench, names[0], "kept0");
    copy_file(&bench, names[1], "kept1");
    put(&bench, "a", 8);
    clock_us++;
    (void)retain(&bench);
    close_log(&bench);
    /* Names may come back in any order. */
    copy_file(&bench, "kept0", names[0]);
    must_open(&bench);
    assert_false(file_exists(&bench, names[0]));
    assert_int_equal(log_first_version(bench.log), 9);
    assert_int_equal(bench.first_seen, 9);
    assert_int_equal(log_stats(bench.log).segments, 3);
    close_log(&bench);
    copy_file(&bench, "kept0", names[0]);
    copy_file(&bench, "kept1", names[1]);
    must_open(&bench);
    assert_false(file_exists(&bench, names[0]));
    assert_false(file_exists(&bench, names[1]));
    close_log(&bench);
    /* What is not of this log is nobody's to remove. */
    struct bench other;
    bench_init(&other);
    must_open(&other);
    close_log(&other);
    char command[256];
    (void)snprintf(command, sizeof command, "cp '%s/%s' '%s'", other.directory, names[0],
                   bench.directory);
    assert_int_equal(system(command), 0);
    assert_int_equal(try_open(&bench), ERR_INVALID);
    assert_non_null(strstr(bench.problem.text, "belongs to another log"));
    assert_true(file_exists(&bench, names[0]));
    bench_deinit(&other);
    bench_deinit(&bench);
}

static void a_start_refuses_what_is_missing_above_it(void **state)
{
    (void)state;
    struct bench bench;
    bench_init(&bench);
    fill(&bench);
    put(&bench, "a", 4);
    clock_us++;
    (void)retain(&bench);
    close_log(&bench);
    for (uint64_t first_version = 5; first_version <= 17; first_version += 4) {
        char name[STORAGE_NAME_BYTES];
        log_segment_name(first_version, 0, name);
        copy_file(&bench, name, "kept");
        remove_file(&bench, name);
        assert_int_equal(try_open(&bench), ERR_INVALID);
        assert_non_null(strstr(bench.problem.text, "missing"));
        copy_file(&bench, "kept", name);
    }
    must_open(&bench);
    bench_deinit(&bench);
}

static void state_is_read_strictly(void **state)
{
    (void)state;
    struct bench bench;
    struct log_state good;
    struct log_state bad;
    char path[128];
    char bytes[8193];
    bench_init(&bench);
    must_open(&bench);
    put(&bench, "a", 0);
    put(&bench, "Zz.9_-", 0);
    close_log(&bench);
    (void)snprintf(path, sizeof path, "%s/state", bench.directory);
    assert_int_equal(storage_posix_open(bench.directory, &bench.disk.real), OK);
    assert_int_equal(log_state_load(bench.disk.real, &good), OK);
    assert_int_equal(good.policy_count, 2);
    assert_string_equal(good.policies[0].id, "Zz.9_-");
    FILE *file = fopen(path, "r+b");
    assert_non_null(file);
    assert_int_equal(fread(bytes, 1, sizeof bytes, file), 8192);
    for (long at = 0; at < 8192; at++) {
        assert_int_equal(fseek(file, at, SEEK_SET), 0);
        assert_int_equal(fputc(bytes[at] ^ 1, file), (unsigned char)(bytes[at] ^ 1));
        assert_int_equal(fflush(file), 0);
        assert_int_equal(log_state_load(bench.disk.real, &bad), ERR_INVALID);
        assert_int_equal(fseek(file, at, SEEK_SET), 0);
        assert_int_equal(fputc(bytes[at], file), (unsigned char)bytes[at]);
        assert_int_equal(fflush(file), 0);
    }
    assert_int_equal(log_state_load(bench.disk.real, &bad), OK);
    /* One byte less, one more. */
    assert_int_equal(truncate(path, 8191), 0);
    assert_int_equal(log_state_load(bench.disk.real, &bad), ERR_INVALID);
    assert_int_equal(truncate(path, 8192), 0);
    assert_int_equal(fseek(file, 8191, SEEK_SET), 0);
    assert_int_equal(fputc(bytes[8191], file), (unsigned char)bytes[8191]);
    assert_int_equal(fflush(file), 0);
    assert_int_equal(log_state_load(bench.disk.real, &bad), OK);
    assert_int_equal(truncate(path, 8193), 0);
    assert_int_equal(log_state_load(bench.disk.real, &bad), ERR_INVALID);
    assert_int_equal(fclose(file), 0);
    /* With a right checksum, but out of order, twice, with a bad name, or an impossible bound. */
    struct log_state wrong[4] = {good, good, good, good};
    wrong[0].policies[0] = good.policies[1];
    wrong[0].policies[1] = good.policies[0];
    wrong[1].policies[1] = good.policies[0];
    wrong[2].policies[0].id[0] = '.';
    wrong[3].oldest_segment = good.newest_segment + 1;
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(log_state_store(bench.disk.real, &wrong[i], NULL), OK);
        assert_int_equal(log_state_load(bench.disk.real, &bad), ERR_INVALID);
    }
    storage_posix_close(bench.disk.real);
    bench_deinit(&bench);
}

/* ---- policies ---- */

static void ids_are_of_a_safe_set(void **state)
{
    (void)state;
    char longest[LOG_POLICY_ID_BYTES_MAX + 2];
    memset(longest, 'x', sizeof longest);
    assert_true(log_policy_id_is_valid(bytes_of(longest, LOG_POLICY_ID_BYTES_MAX)));
    assert_false(log_policy_id_is_valid(bytes_of(longest, LOG_POLICY_ID_BYTES_MAX + 1)));
    assert_false(log_policy_id_is_valid(bytes_of(longest, 0)));
    for (int c = 0; c < 256; c++) {
        char id[2] = {(char)c, (char)c};
        bool first = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
        bool later = first || c == '.' || c == '_' || c == '-';
        assert_int_equal(log_policy_id_is_valid(bytes_of(id, 1)), first);
        id[0] = 'a';
        assert_int_equal(log_policy_id_is_valid(bytes_of(id, 2)), later);
    }
}

static void policies_are_bounded_sorted_and_durable(void **state)
{
    (void)state;
    struct bench bench;
    struct log_policy policies[LOG_POLICIES_MAX];
    struct log_policy policy;
    bool found;
    bench_init(&bench);
    must_open(&bench);
    assert_int_equal(commit(&bench, 1), OK);
    for (int i = LOG_POLICIES_MAX - 1; i >= 0; i--) {
        char id[LOG_POLICY_ID_BYTES_MAX + 1] = {(char)('0' + i / 10), (char)('0' + i % 10)};
        memset(id + 2, 'x', LOG_POLICY_ID_BYTES_MAX - 2);
        put(&bench, id, (uint64_t)i % 2);
    }
    assert_int_equal(log_policy_put(bench.log, BYTES("more"), 0), ERR_FULL);
    close_log(&bench);
    bench.config.retention.policies_max = 3; /* what is there stays */
    must_open(&bench);
    assert_int_equal(log_policies(bench.log, policies), LOG_POLICIES_MAX);
    for (unsigned i = 0; i < LOG_POLICIES_MAX; i++) {
        assert_int_equal(strtoul((char[]){policies[i].id[0], policies[i].id[1], 0}, NULL, 10), i);
        assert_int_equal(policies[i].version, i % 2);
    }
    put(&bench, policies[1].id, 0); /* moving needs no room */
    assert_true(log_policy_find(bench.log, bytes_from_string(policies[1].id), &policy));
    assert_int_equal(policy.version, 0);
    for (unsigned i = 2; i < LOG_POLICIES_MAX; i++) {
        assert_int_equal(log_policy_remove(bench.log, bytes_from_string(policies[i].id), &found),
                         OK);
        assert_true(found);
    }
    /* A prefix, and what it is a prefix of, are two. */
    put(&bench, "ab", 0);
    assert_int_equal(log_policy_put(bench.log, BYTES("a"), 0), ERR_FULL);
    assert_false(log_policy_find(bench.log, BYTES("a"), &policy));
    assert_false(log_policy_find(bench.log, BYTES("abc"), &policy));
    bench_deinit(&bench);
}

/* ---- disks that are full, fail, or end ---- */

static void a_full_disk_is_no_reason_to_keep(void **state)
{
    (void)state;
    struct bench bench;
    struct log_policy policy;
    bench_init(&bench);
    fill(&bench);
    put(&bench, "a", 4);
    clock_us++;
    bench.disk.is_full = true;
    /* The file that replaces `state` was set aside. */
    (void)retain(&bench);
    assert_int_equal(log_first_version(bench.log), 5);
    bench.disk.is_full = false;
    close_log(&bench);
    must_open(&bench);
    put(&bench, "a", 5);
    bench.disk.is_full = true;
    put(&bench, "a", 6);
    /* Now there is none, and no way to make one. */
    assert_int_equal(log_policy_put(bench.log, BYTES("a"), 7), ERR_SYSTEM);
    assert_int_equal(errno, ENOSPC);
    assert_true(log_policy_find(bench.log, BYTES("a"), &policy));
    assert_int_equal(policy.version, 6);
    bench.disk.is_full = false;
    put(&bench, "a", 8);
    bench.disk.is_full = true;
    (void)retain(&bench);
    assert_int_equal(log_first_version(bench.log), 9);
    /* A removal that finds no space is tried again a second later. */
    bench.disk.is_full = false;
    put(&bench, "a", 10);
    bench.disk.is_full = true;
    put(&bench, "a", 12);
    assert_int_equal(retain(&bench), 1000000);
    assert_int_equal(events(LOG_RETENTION_STUCK), 1);
    assert_int_equal(log_first_version(bench.log), 9);
    bench.disk.is_full = false;
    assert_int_equal(retain(&bench), UINT64_MAX);
    assert_int_equal(log_first_version(bench.log), 13);
    bench_deinit(&bench);
}

static void a_replacement_that_fails_half_way_is_the_last(void **state)
{
    (void)state;
    struct bench bench;
    struct log_policy policy;
    bench_init(&bench);
    fill(&bench);
    bench.disk.fails_to_rename = true;
    assert_int_equal(log_policy_put(bench.log, BYTES("a"), 9), ERR_CLOSED);
    assert_false(log_policy_find(bench.log, BYTES("a"), &policy));
    bench.disk.fails_to_rename = false;
    assert_int_equal(log_policy_put(bench.log, BYTES("a"), 9), ERR_CLOSED);
    assert_int_equal(commit(&bench, SEGMENT_COMMITS), ERR_SYSTEM);
    close_log(&bench);
    must_open(&bench);
    bench_deinit(&bench);
}

/* Until all is removed that policy "p" at 10 lets go, or the disk has ended. */
static void wait_removed_or_ended(struct disk *disk)
{
    (void)pthread_mutex_lock(&event_lock);
    while (removed_version < 8 && !has_ended(disk)) {
        (void)pthread_cond_wait(&event_seen, &event_lock);
    }
    (void)pthread_mutex_unlock(&event_lock);
}

/* A policy moves, segments go, commits go on; the disk ends at the call `end`. Returns whether
 * there were so many. */
static bool crash_once(uint64_t end)
{
    struct bench bench;
    struct log_policy policy;
    bench_init(&bench);
    bench.has_thread = true;
    fill(&bench);
    put(&bench, "p", 0);
    clock_us++;
    (void)pthread_mutex_lock(&bench.disk.lock);
    bench.disk.end = bench.disk.calls + end;
    (void)pthread_mutex_unlock(&bench.disk.lock);
    bool moved = log_policy_put(bench.log, BYTES("p"), 10) == OK;
    (void)commit(&bench, 2 * SEGMENT_COMMITS);
    wait_removed_or_ended(&bench.disk);
    bool ended = has_ended(&bench.disk);
    close_log(&bench);
    ended = ended || has_ended(&bench.disk);

    bench.disk.ended = false;
    bench.disk.end = 0;
    must_open(&bench);
    assert_true(log_policy_find(bench.log, BYTES("p"), &policy));
    assert_true(policy.version == 10 || (!moved && policy.version == 0));
    log_retainer_stop(bench.log);
    (void)retain(&bench);
    assert_int_equal(log_first_version(bench.log), policy.version == 10 ? 9 : 1);
    assert_true(policy.version == 10 || bench.first_seen == 1);
    assert_true(bench.first_seen == 1 || bench.first_seen == 5 || bench.first_seen == 9);
    assert_true(bench.last_seen >= bench.acknowledged);
    assert_int_equal(bench.last_seen, log_last_version(bench.log));
    assert_int_equal(commit(&bench, SEGMENT_COMMITS + 1), OK);
    close_log(&bench);
    /* What is gone is gone, what is kept is whole. */
    must_open(&bench);
    assert_int_equal(bench.first_seen, policy.version == 10 ? 9 : 1);
    assert_int_equal(segment_exists(&bench, 1), policy.version != 10);
    assert_int_equal(segment_exists(&bench, 5), policy.version != 10);
    assert_true(segment_exists(&bench, 9));
    bench_deinit(&bench);
    return ended;
}

static void a_crash_at_any_call_leaves_a_valid_log(void **state)
{
    (void)state;
    uint64_t end = 1;
    while (crash_once(end)) {
        end++;
        assert_true(end < 1000);
    }
    assert_true(end > 20); /* there was something to crash */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_policy_and_cap_all_is_kept),
        cmocka_unit_test(policies_keep_what_comes_after_the_least),
        cmocka_unit_test(policies_alone_spare_the_windows),
        cmocka_unit_test(a_cap_on_age_wins_over_policies),
        cmocka_unit_test(a_cap_on_bytes_counts_whole_files),
        cmocka_unit_test(fences_alone_fill_segments_of_one_first_version),
        cmocka_unit_test(readers_find_segments_or_learn_that_they_are_gone),
        cmocka_unit_test(a_start_removes_what_is_below_the_bound),
        cmocka_unit_test(a_start_refuses_what_is_missing_above_it),
        cmocka_unit_test(state_is_read_strictly),
        cmocka_unit_test(ids_are_of_a_safe_set),
        cmocka_unit_test(policies_are_bounded_sorted_and_durable),
        cmocka_unit_test(a_full_disk_is_no_reason_to_keep),
        cmocka_unit_test(a_replacement_that_fails_half_way_is_the_last),
        cmocka_unit_test(a_crash_at_any_call_leaves_a_valid_log),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
