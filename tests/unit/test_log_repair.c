/* SPDX-License-Identifier: Apache-2.0 */
/*
 * repair: with every call that changes something in turn as the last one before a crash, for each
 * kind of damage. Afterwards a start refuses, or finds exactly what was to be kept; and a repair
 * that is repeated always ends well.
 */
#include "commitlog/repair.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

enum { SEGMENT_BYTES = 256 << 10, BATCHES = 40, COMMITS = 3, VALUE_BYTES = 6000, NOW_SEC = 1000 };
enum { LAST_VERSION = BATCHES * COMMITS };

static const struct log_config CONFIG = {.segment_bytes = SEGMENT_BYTES,
                                         .durability = LOG_DURABILITY_NONE};

/* ---- a disk that stops ---- */

struct crashing {
    struct storage storage; /* first */
    struct storage *below;
    unsigned *left; /* calls until the crash; what comes then is not done, and all later neither */
};

static struct storage *below(struct storage *storage)
{
    return ((struct crashing *)(void *)storage)->below;
}

static bool is_gone(struct storage *storage)
{
    unsigned *left = ((struct crashing *)(void *)storage)->left;
    if (*left == 0) {
        errno = EIO;
        return true;
    }
    --*left;
    return false;
}

static enum err crash_open(struct storage *s, const char *name, bool create,
                           struct storage_file **out)
{
    return create && is_gone(s) ? ERR_SYSTEM
                                : below(s)->operations->open(below(s), name, create, out);
}

static void crash_close(struct storage *s, struct storage_file *file)
{
    below(s)->operations->close(below(s), file);
}

static enum err crash_size(struct storage *s, struct storage_file *file, uint64_t *out)
{
    return below(s)->operations->size(below(s), file, out);
}

static enum err crash_read(struct storage *s, struct storage_file *file, uint64_t offset, char *out,
                           size_t size, size_t *out_size)
{
    return below(s)->operations->read(below(s), file, offset, out, size, out_size);
}

static enum err crash_write(struct storage *s, struct storage_file *file, uint64_t offset,
                            const char *data, size_t size)
{
    return is_gone(s) ? ERR_SYSTEM
                      : below(s)->operations->write(below(s), file, offset, data, size);
}

static enum err crash_write_zeros(struct storage *s, struct storage_file *file, uint64_t offset,
                                  size_t size)
{
    return is_gone(s) ? ERR_SYSTEM
                      : below(s)->operations->write_zeros(below(s), file, offset, size);
}

static enum err crash_sync(struct storage *s, struct storage_file *file)
{
    return is_gone(s) ? ERR_SYSTEM : below(s)->operations->sync(below(s), file);
}

static enum err crash_rename(struct storage *s, const char *from, const char *to)
{
    return is_gone(s) ? ERR_SYSTEM : below(s)->operations->rename(below(s), from, to);
}

static enum err crash_unlink(struct storage *s, const char *name)
{
    return is_gone(s) ? ERR_SYSTEM : below(s)->operations->unlink(below(s), name);
}

static enum err crash_sync_directory(struct storage *s)
{
    return is_gone(s) ? ERR_SYSTEM : below(s)->operations->sync_directory(below(s));
}

static enum err crash_list(struct storage *s, void (*name)(void *context, const char *name),
                           void *context)
{
    return below(s)->operations->list(below(s), name, context);
}

static const struct storage_operations CRASHING = {
    .open = crash_open,
    .close = crash_close,
    .size = crash_size,
    .read = crash_read,
    .write = crash_write,
    .write_zeros = crash_write_zeros,
    .sync = crash_sync,
    .rename = crash_rename,
    .unlink = crash_unlink,
    .sync_directory = crash_sync_directory,
    .list = crash_list,
};

/* ---- a log ---- */

static char root[64];

static void path_of(char out[128], const char *name)
{
    assert_true(snprintf(out, 128, "%s/%s", root, name) < 128);
}

static struct storage *open_storage(const char *name)
{
    struct storage *storage;
    char path[128];
    path_of(path, name);
    assert_int_equal(storage_posix_open(path, &storage), OK);
    return storage;
}

/* What a start finds. */
struct found {
    uint64_t commits;
    uint64_t fences;
};

static bool visit_batch(void *context, const struct log_batch_header *header)
{
    (void)context;
    (void)header;
    return true;
}

static void visit_record(void *context, const struct log_record *record, uint64_t timestamp_us)
{
    struct found *found = context;
    (void)timestamp_us;
    if (record->type == LOG_RECORD_FENCE) {
        found->fences++;
        return;
    }
    found->commits++;
    assert_int_equal(record->version, found->commits);
    assert_int_equal(record->operations[0].value.size, VALUE_BYTES);
    assert_int_equal(record->operations[0].value.data[0], (char)record->version);
}

static enum err start(struct found *found, struct log **out, struct log_problem *problem)
{
    const struct log_visitor visitor = {
        .context = found, .batch = visit_batch, .record = visit_record};
    struct storage *storage = open_storage("log");
    enum err err = log_open(&CONFIG, storage, &visitor, out, problem);
    if (err != OK) {
        storage_posix_close(storage);
    }
    return err;
}

static void stop(struct log *log)
{
    struct storage *storage = log->storage;
    log_close(log);
    storage_posix_close(storage);
}

static void append(struct log *log, uint64_t version, enum log_record_type type)
{
    static char value[VALUE_BYTES];
    memset(value, (char)version, sizeof value);
    const struct txn_operation operation = {
        .type = TXN_WRITE, .key = BYTES("key"), .value = bytes_of(value, sizeof value)};
    struct log_record record = {.type = type, .request_id = BYTES("id")};
    if (type == LOG_RECORD_COMMIT) {
        record.version = version;
        record.operations = &operation;
        record.operation_count = 1;
    }
    assert_true(log_try_reserve(log, log_record_bytes(&record), LOG_RESERVE_COMMIT));
    assert_int_equal(log_append(log, &record, 1), OK);
}

static void remove_all(void)
{
    char command[256];
    (void)snprintf(command, sizeof command, "rm -rf '%s/log' '%s'/removed*", root, root);
    assert_int_equal(system(command), 0);
}

/* Four segments. Each batch: a commit, a fence, two commits. */
static void make_log(void)
{
    struct found none = {0};
    struct log_problem problem;
    struct log *log;
    remove_all();
    assert_int_equal(start(&none, &log, &problem), OK);
    for (uint64_t batch = 0; batch < BATCHES; batch++) {
        append(log, batch * COMMITS + 1, LOG_RECORD_COMMIT);
        append(log, 0, LOG_RECORD_FENCE);
        append(log, batch * COMMITS + 2, LOG_RECORD_COMMIT);
        append(log, batch * COMMITS + 3, LOG_RECORD_COMMIT);
        assert_int_equal(log_sync(log, 1), OK);
    }
    assert_int_equal(log_last_version(log), LAST_VERSION);
    assert_true(log_stats(log).segments >= 3);
    stop(log);
}

/* ---- kinds of damage ---- */

static void segment_path(size_t index, char out[128])
{
    struct storage *storage = open_storage("log");
    struct log_names segments;
    char name[STORAGE_NAME_BYTES];
    char inside[STORAGE_NAME_BYTES + 8];
    assert_int_equal(log_names_init(&segments, storage), OK);
    if (index == SIZE_MAX) {
        index = segments.count - 1;
    }
    log_segment_name(segments.names[index].first_version, segments.names[index].ordinal, name);
    (void)snprintf(inside, sizeof inside, "log/%s", name);
    path_of(out, inside);
    log_names_deinit(&segments);
    storage_posix_close(storage);
}

static void flip(const char *path, off_t offset)
{
    char byte;
    int fd = open(path, O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(pread(fd, &byte, 1, offset), 1);
    byte = (char)(byte ^ 1);
    assert_int_equal(pwrite(fd, &byte, 1, offset), 1);
    assert_int_equal(close(fd), 0);
}

static void damage_nothing(void)
{
}

/* No damage: a crash has come between the name of the last segment and its place in `state`. */
static void state_is_behind(void)
{
    struct storage *storage = open_storage("log");
    struct log_state state;
    assert_int_equal(log_state_load(storage, &state), OK);
    state.newest_segment--;
    assert_int_equal(log_state_store(storage, &state, NULL), OK);
    storage_posix_close(storage);
}

static void damage_second_segment(void)
{
    char path[128];
    segment_path(1, path);
    flip(path, 30000);
}

static void damage_last_segment(void)
{
    char path[128];
    segment_path(SIZE_MAX, path);
    flip(path, 1000);
}

static void damage_header(void)
{
    char path[128];
    segment_path(2, path);
    flip(path, 17);
}

static void remove_second_segment(void)
{
    char path[128];
    segment_path(1, path);
    assert_int_equal(unlink(path), 0);
}

static void remove_last_segment(void)
{
    char path[128];
    segment_path(SIZE_MAX, path);
    assert_int_equal(unlink(path), 0);
}

static void cut_short(void)
{
    char path[128];
    segment_path(SIZE_MAX, path);
    assert_int_equal(truncate(path, 70000), 0);
}

static void damage_state(void)
{
    char path[128];
    path_of(path, "log/state");
    flip(path, 20);
}

static void remove_state(void)
{
    char path[128];
    path_of(path, "log/state");
    assert_int_equal(unlink(path), 0);
}

/* ---- the tests ---- */

/* The last version that can be kept. */
static uint64_t last_sound_version(void)
{
    struct log_repair repair;
    struct log_problem problem;
    struct storage *storage = open_storage("log");
    const struct log_repair_progress quiet = {0};
    uint64_t low = 0;
    uint64_t high = LAST_VERSION + 1; /* cannot be kept */
    while (high - low > 1) {
        uint64_t middle = low + (high - low) / 2;
        enum err err = log_repair_plan(storage, middle, NOW_SEC, &quiet, &repair, &problem);
        if (err == OK) {
            log_repair_deinit(&repair);
            low = middle;
        } else {
            assert_int_equal(err, ERR_LIMIT);
            high = middle;
        }
    }
    storage_posix_close(storage);
    return low;
}

/* Whether it was done; *out_begun and *out_calls say how far it came. */
static bool repair_once(uint64_t version, unsigned calls, const char *removed_name, bool *out_begun)
{
    struct log_repair repair;
    struct log_problem problem;
    const struct log_repair_progress quiet = {0};
    struct crashing log = {{&CRASHING, NULL}, open_storage("log"), &calls};
    struct crashing removed = {{&CRASHING, NULL}, NULL, &calls};
    char name[64];
    (void)snprintf(name, sizeof name, "log/%s", removed_name);
    removed.below = open_storage(name);
    assert_int_equal(log_repair_plan(&log.storage, version, NOW_SEC, &quiet, &repair, &problem),
                     OK);
    *out_begun = false;
    enum err err = OK;
    if (repair.is_needed) {
        err = log_repair_apply(&log.storage, &removed.storage, removed_name, &repair, out_begun);
    }
    log_repair_deinit(&repair);
    storage_posix_close(removed.below);
    storage_posix_close(log.below);
    return err == OK;
}

static void expect_kept(struct log *log, const struct found *found, uint64_t version)
{
    assert_int_equal(log_last_version(log), version);
    assert_int_equal(found->commits, version);
    /* One behind the first commit of each batch, also when that one is the last. */
    assert_int_equal(found->fences, (version + COMMITS - 1) / COMMITS);
    append(log, version + 1, LOG_RECORD_COMMIT);
    assert_int_equal(log_sync(log, 2), OK);
    stop(log);
}

static void crash_everywhere(void (*damage)(void), uint64_t version)
{
    bool is_damaged = damage != damage_nothing && damage != state_is_behind;
    bool done = false;
    unsigned calls = 0;
    unsigned refused = 0;
    for (; !done; calls++) {
        struct found found = {0};
        struct log_problem problem;
        struct log *log;
        bool begun;
        make_log();
        damage();
        done = repair_once(version, calls, "removed-1", &begun);
        enum err err = start(&found, &log, &problem);
        if (done) {
            assert_int_equal(err, OK);
        } else if (err != OK) {
            assert_int_equal(err, ERR_INVALID);
            assert_true(is_damaged || begun);
            refused++;
            assert_true(repair_once(version, 1000000, "removed-2", &begun));
            found = (struct found){0};
            err = start(&found, &log, &problem);
        } else if (!is_damaged && log_last_version(log) == LAST_VERSION) {
            stop(log); /* nothing was done yet */
            continue;
        }
        assert_int_equal(err, OK);
        expect_kept(log, &found, version);
    }
    assert_true(refused > 1);
    assert_true(calls > 3);
}

static void test_cut_a_sound_log_between_batches(void **state)
{
    (void)state;
    crash_everywhere(damage_nothing, 9);
}

static void test_cut_a_sound_log_within_a_batch(void **state)
{
    (void)state;
    crash_everywhere(damage_nothing, 7);
    crash_everywhere(damage_nothing, 8);
}

/* Without the mark in `state` a start in the middle would find a whole log, but another one. */
static void test_cut_a_log_whose_state_is_behind(void **state)
{
    (void)state;
    char path[128];
    uint64_t first_version;
    uint32_t ordinal;
    make_log();
    segment_path(SIZE_MAX, path);
    assert_true(log_segment_name_parse(strrchr(path, '/') + 1, &first_version, &ordinal));
    assert_true(first_version > 3);
    crash_everywhere(state_is_behind, first_version - 3);
}

static void test_cut_everything(void **state)
{
    (void)state;
    crash_everywhere(damage_nothing, 0);
}

static void test_each_damage(void **state)
{
    (void)state;
    static void (*const KINDS[])(void) = {damage_second_segment, damage_last_segment, damage_header,
                                          remove_second_segment, remove_last_segment, cut_short,
                                          damage_state,          remove_state};
    for (size_t i = 0; i < sizeof KINDS / sizeof KINDS[0]; i++) {
        make_log();
        KINDS[i]();
        uint64_t version = last_sound_version();
        assert_true(version > 30);
        struct found found = {0};
        struct log_problem problem;
        struct log *log;
        assert_int_equal(start(&found, &log, &problem), ERR_INVALID);
        if (KINDS[i] != damage_state && KINDS[i] != remove_state) {
            /* The refusal tells how to repair it. */
            char said[192];
            (void)snprintf(said, sizeof said, "weasel log repair --truncate-at %llu --yes %s/log",
                           (unsigned long long)version, root);
            assert_non_null(strstr(problem.text, said));
        }
        crash_everywhere(KINDS[i], version);
        crash_everywhere(KINDS[i], 4);
    }
}

static void test_what_cannot_be_kept(void **state)
{
    (void)state;
    struct log_repair repair;
    struct log_problem problem;
    const struct log_repair_progress quiet = {0};
    char path[128];
    make_log();
    struct storage *storage = open_storage("log");
    assert_int_equal(log_repair_plan(storage, LAST_VERSION + 1, NOW_SEC, &quiet, &repair, &problem),
                     ERR_LIMIT);
    assert_non_null(strstr(problem.text, "from 0 to 120"));
    assert_int_equal(log_repair_plan(storage, LAST_VERSION, NOW_SEC, &quiet, &repair, &problem),
                     OK);
    assert_false(repair.is_needed);
    log_repair_deinit(&repair);
    segment_path(0, path);
    flip(path, 0);
    assert_int_equal(log_repair_plan(storage, 9, NOW_SEC, &quiet, &repair, &problem), ERR_INVALID);
    assert_non_null(strstr(problem.text, "no sound segment"));
    storage_posix_close(storage);
}

static int set_up(void **state)
{
    (void)state;
    /* In memory if there is such a place: syncs prove nothing here. */
    (void)snprintf(root, sizeof root, "%s/weasel-repair-XXXXXX",
                   access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    return mkdtemp(root) == NULL;
}

static int tear_down(void **state)
{
    (void)state;
    remove_all();
    return rmdir(root);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cut_a_sound_log_between_batches),
        cmocka_unit_test(test_cut_a_sound_log_within_a_batch),
        cmocka_unit_test(test_cut_a_log_whose_state_is_behind),
        cmocka_unit_test(test_cut_everything),
        cmocka_unit_test(test_each_damage),
        cmocka_unit_test(test_what_cannot_be_kept),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
