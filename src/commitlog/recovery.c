/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Opening: what is on the disk, judged by these rules in this order. All but the last refuse,
 * change nothing, and say where.
 *
 *  1. One process at a directory (lock).
 *  2. Segments without a `state` file, or a damaged one: not a log of ours, or not all of it.
 *  3. Each segment's header is whole, of a format we know, of this log, tells the file's name, and
 *     continues the segment before it: number, first version, first batch.
 *  4. The oldest and the newest segment that `state` knows of are there. Segments below the oldest
 *     are what a removal has left behind: nothing else is asked of them than to be of this log.
 *     The last segment is as long as it says.
 *  5. In each segment batches follow each other without a gap in number or version, up to the first
 *     place where none stands. All but the last segment continue in the next one (rule 3), so what
 *     is missing there is damage.
 *  6. In the last one, a valid batch anywhere behind that place is proof of damage, since a batch
 * is written only after all before it are durable.
 *  7. Else what stands there is the torn end of a write that was never acknowledged: it is zeroed
 *     and synced, so that nothing of it can ever be taken for a part of later batches.
 *
 * What is found is told to clients, so it is made durable first. The process before may have ended
 * between a write and its sync: then the last batch, and the last segment's name, can be read and
 * are not on the disk. It may also have ended because the sync failed: then the system holds pages
 * for clean that are not on the disk, and another sync alone would say that all is well. So the
 * last batch is written again before the sync. Those before it are durable, or it would not be
 * there.
 */
#include "base/bug.h"
#include "base/check.h"
#include "commitlog/log_internal.h"
#include "commitlog/scan.h"
#include "commitlog/segment_names.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

struct recovery {
    struct log *log;
    const struct log_visitor *visitor;
    struct log_problem *problem;
    struct log_names list;
    size_t leftover_count; /* of the names: to be removed */
    uint64_t bytes_done;
    uint64_t bytes_all;
    uint64_t last_batch_offset;       /* in the segment being read; without one: its first offset */
    struct txn_operation *operations; /* scratch */
    uint32_t operation_capacity;
};

__attribute__((format(printf, 3, 4))) static enum err refuse(struct recovery *recovery,
                                                             enum err err, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(recovery->problem->text, sizeof recovery->problem->text, format, arguments);
    va_end(arguments);
    return err;
}

/* Refuses, and says how to give up what follows the last version that was found good. */
__attribute__((format(printf, 2, 3))) static enum err refuse_damage(struct recovery *recovery,
                                                                    const char *format, ...)
{
    char *text = recovery->problem->text;
    const struct storage *storage = recovery->log->storage;
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(text, LOG_PROBLEM_BYTES, format, arguments);
    va_end(arguments);
    size_t size = strlen(text);
    (void)snprintf(text + size, LOG_PROBLEM_BYTES - size,
                   ". Restore a backup, or give up what follows version %" PRIu64
                   ": weasel log repair --truncate-at %" PRIu64 " --yes %s",
                   recovery->log->last_version, recovery->log->last_version,
                   storage->name == NULL ? "DIRECTORY" : storage->name);
    return ERR_INVALID;
}

/* Likewise, of the first segment: nothing stands before it that could be kept. */
__attribute__((format(printf, 2, 3))) static enum err
refuse_without_a_way(struct recovery *recovery, const char *format, ...)
{
    char *text = recovery->problem->text;
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(text, LOG_PROBLEM_BYTES, format, arguments);
    va_end(arguments);
    size_t size = strlen(text);
    (void)snprintf(text + size, LOG_PROBLEM_BYTES - size,
                   ". It is the first segment of the log: restore a backup");
    return ERR_INVALID;
}

static enum err refuse_system(struct recovery *recovery, enum err err, const char *what)
{
    if (err == ERR_MEMORY) {
        return refuse(recovery, err, "out of memory (%s)", what);
    }
    return refuse(recovery, ERR_SYSTEM, "%s: %s", what, strerror(errno));
}

/* ---- which segments there are ---- */

static void segment_name(const struct recovery *recovery, size_t index,
                         char out[STORAGE_NAME_BYTES])
{
    const struct log_segment_name *name = &recovery->list.names[index];
    log_segment_name(name->first_version, name->ordinal, out);
}

static enum err list_segments(struct recovery *recovery)
{
    enum err err = log_names_init(&recovery->list, recovery->log->storage);
    return err == OK ? OK : refuse_system(recovery, err, "listing the directory");
}

/* How much there is to read, for the progress. */
static enum err measure_segments(struct recovery *recovery)
{
    struct storage *storage = recovery->log->storage;
    enum err err = OK;
    for (size_t i = recovery->leftover_count; i < recovery->list.count; i++) {
        char name[STORAGE_NAME_BYTES];
        struct storage_file *file;
        uint64_t size = 0;
        segment_name(recovery, i, name);
        err = storage->operations->open(storage, name, false, &file);
        if (err == OK) {
            err = storage->operations->size(storage, file, &size);
            storage->operations->close(storage, file);
        }
        if (err != OK) {
            return refuse_system(recovery, err, name);
        }
        recovery->bytes_all += size;
    }
    return OK;
}

static enum err load_state(struct recovery *recovery)
{
    struct log *log = recovery->log;
    enum err err = log_state_load(log->storage, &log->state);
    if (err == OK) {
        return OK;
    }
    if (err == ERR_INVALID) {
        return refuse(recovery, ERR_INVALID,
                      "the file `state` is damaged or of another format; restore it from a backup, "
                      "or see `weasel log repair --help`");
    }
    if (err != ERR_CLOSED) {
        return refuse_system(recovery, err, "state");
    }
    if (recovery->list.count > 0) {
        return refuse(recovery, ERR_INVALID,
                      "there are %zu segments but no file `state`: this is not the whole of a log; "
                      "restore the file from a backup, or see `weasel log repair --help`",
                      recovery->list.count);
    }
    uint64_t id = log->config.new_log_id;
    if (id == 0 && getrandom(&id, sizeof id, 0) != sizeof id) {
        return refuse_system(recovery, ERR_SYSTEM, "random bytes");
    }
    log->state.log_id = id;
    return OK;
}

/* ---- one segment ---- */

/* The header by itself: without it nothing of the segment can be read. */
static enum err check_header(struct recovery *recovery, const char *name, size_t index,
                             enum log_header_result result, const struct scan *scan)
{
    enum err (*say)(struct recovery *, const char *, ...) =
        index > recovery->leftover_count ? refuse_damage : refuse_without_a_way;
    const struct log_segment_header *header = &scan->header;
    if (result == LOG_HEADER_FUTURE) {
        return refuse(
            recovery, ERR_INVALID,
            "%s: it was written by a later version of this program, in a format that this one "
            "does not know",
            name);
    }
    if (result == LOG_HEADER_BAD) {
        return say(recovery, "%s: its header (offset 0) is damaged", name);
    }
    if (header->log_id != recovery->log->id) {
        return say(recovery,
                   "%s: it belongs to another log (%016" PRIx64 ", this one is %016" PRIx64 ")",
                   name, header->log_id, recovery->log->id);
    }
    if (header->first_version != recovery->list.names[index].first_version) {
        return say(recovery,
                   "%s holds a segment that begins with version %" PRIu64 ": it has been renamed",
                   name, header->first_version);
    }
    return OK;
}

/* That it goes on where the segment before it ends. */
static enum err check_continues(struct recovery *recovery, const char *name, size_t index,
                                const struct log_segment_header *header)
{
    const struct log *log = recovery->log;
    if (index == recovery->leftover_count) {
        if (header->number == log->state.oldest_segment) {
            return OK;
        }
        return refuse(recovery, ERR_INVALID,
                      "segment number %" PRIu64 " is missing: the first one here is %s, number "
                      "%" PRIu64 ". Put it back, or restore a backup",
                      log->state.oldest_segment, name, header->number);
    }
    if (header->number != log->segment_number + 1) {
        return refuse_damage(recovery,
                             "a segment is missing before %s: it is number %" PRIu64
                             ", and the one before it is number %" PRIu64,
                             name, header->number, log->segment_number);
    }
    if (header->first_version != log->last_version + 1 || header->first_batch != log->next_batch) {
        char damaged[STORAGE_NAME_BYTES];
        log_segment_name(log->segment_first_version, log->segment_ordinal, damaged);
        return refuse_damage(recovery,
                             "%s, offset %" PRIu64 ": no valid batch stands here (number %" PRIu64
                             ", after version %" PRIu64
                             "), and the next segment begins with number %" PRIu64
                             ", after version %" PRIu64,
                             damaged, log->offset, log->next_batch, log->last_version,
                             header->first_batch, header->first_version - 1);
    }
    return OK;
}

static enum err visit_record(struct recovery *recovery, const struct log_record *record,
                             struct bytes operations, uint64_t timestamp_us)
{
    if (record->operation_count > recovery->operation_capacity) {
        struct txn_operation *larger =
            realloc(recovery->operations, record->operation_count * sizeof *larger);
        if (larger == NULL) {
            return ERR_MEMORY;
        }
        recovery->operations = larger;
        recovery->operation_capacity = record->operation_count;
    }
    for (uint32_t i = 0; i < record->operation_count; i++) {
        if (!log_operation_decode(&operations, &recovery->operations[i])) {
            return ERR_INVALID;
        }
    }
    struct log_record whole = *record;
    whole.operations = recovery->operations;
    recovery->visitor->record(recovery->visitor->context, &whole, timestamp_us);
    return OK;
}

/* The records of a batch whose checksums are right; what is wrong in them is a writer's fault. */
static enum err take_records(struct recovery *recovery, const struct log_batch_header *header,
                             struct bytes payload)
{
    bool wanted = recovery->visitor->batch(recovery->visitor->context, header);
    uint64_t version = header->first_version;
    uint32_t count = 0;
    while (payload.size > 0) {
        struct log_record record;
        struct bytes operations;
        if (!log_record_decode(&payload, &record, &operations) ||
            (record.type == LOG_RECORD_COMMIT && record.version != version)) {
            return ERR_INVALID;
        }
        version += record.type == LOG_RECORD_COMMIT;
        count++;
        if (wanted) {
            enum err err = visit_record(recovery, &record, operations, header->timestamp_us);
            if (err != OK) {
                return err;
            }
        }
    }
    return count == header->count && version == header->last_version + 1 ? OK : ERR_INVALID;
}

static enum err take_batch(struct recovery *recovery, const char *name, uint64_t offset,
                           const struct log_batch_header *header, struct bytes payload)
{
    struct log *log = recovery->log;
    enum err err = ERR_INVALID;
    if (header->number == log->next_batch && header->first_version == log->last_version + 1 &&
        header->timestamp_us >= log->last_us) {
        err = take_records(recovery, header, payload);
    }
    if (err == ERR_INVALID) {
        return refuse_damage(recovery,
                             "%s, offset %" PRIu64 ": batch %" PRIu64 " (versions %" PRIu64
                             " to %" PRIu64 ") is malformed, or stands where batch %" PRIu64
                             " after version %" PRIu64 " should",
                             name, offset, header->number, header->first_version,
                             header->last_version, log->next_batch, log->last_version);
    }
    if (err != OK) {
        return refuse_system(recovery, err, name);
    }
    const struct log_place place = {.segment = log->segment_number,
                                    .offset = offset,
                                    .batch = header->number,
                                    .version = header->first_version};
    log_index_note_batch(&log->index, &place,
                         log_align(LOG_BATCH_HEADER_BYTES + header->payload_bytes));
    log->next_batch++;
    log->last_version = header->last_version;
    log->last_us = header->timestamp_us;
    return OK;
}

/* All batches up to the place where none stands. */
static enum err take_batches(struct recovery *recovery, const char *name, struct scan *scan)
{
    uint64_t before = recovery->bytes_done;
    recovery->last_batch_offset = scan->offset;
    for (;;) {
        struct log_batch_header header;
        struct bytes payload;
        uint64_t offset = scan->offset;
        switch (scan_next(scan, &header, &payload)) {
        case SCAN_ERROR:
            return refuse_system(recovery, ERR_SYSTEM, name);
        case SCAN_END:
            recovery->bytes_done = before + scan->file_bytes;
            return OK;
        case SCAN_BATCH:
            break;
        }
        enum err err = take_batch(recovery, name, offset, &header, payload);
        if (err != OK) {
            return err;
        }
        recovery->last_batch_offset = offset;
        recovery->bytes_done = before + scan->offset;
        if (recovery->visitor->progress != NULL) {
            recovery->visitor->progress(recovery->visitor->context, recovery->bytes_done,
                                        recovery->bytes_all);
        }
    }
}

/* Rules 6 and 7. */
static enum err cut_torn_tail(struct recovery *recovery, const char *name, struct scan *scan)
{
    struct storage *storage = scan->storage;
    struct log *log = recovery->log;
    uint64_t end;
    enum err err = scan_find_end_of_data(scan, scan->offset, &end);
    if (err != OK) {
        return refuse_system(recovery, err, name);
    }
    if (end == scan->offset || WEASEL_BUG(torn_tail_not_cut)) {
        return OK;
    }
    bool found;
    uint64_t at;
    err = scan_find(scan, scan->offset, &found, &at);
    if (err != OK) {
        return refuse_system(recovery, err, name);
    }
    if (found) {
        return refuse_damage(recovery,
                             "%s, offset %" PRIu64 ": no valid batch stands here (number %" PRIu64
                             ", after version %" PRIu64 "), but one does behind it, at offset "
                             "%" PRIu64 ": acknowledged transactions are damaged",
                             name, scan->offset, log->next_batch, log->last_version, at);
    }
    static const char zeros[4096];
    for (uint64_t cut = scan->offset; err == OK && cut < end; cut += sizeof zeros) {
        size_t size = end - cut < sizeof zeros ? (size_t)(end - cut) : sizeof zeros;
        err = storage->operations->write(storage, scan->file, cut, zeros, size);
    }
    if (err == OK) {
        err = storage->operations->sync(storage, scan->file);
    }
    return err == OK ? OK : refuse_system(recovery, err, name);
}

/* The last batch, which stands at `offset`, and the end of the file: durable from now on. */
static enum err confirm_tail(struct recovery *recovery, const char *name, struct scan *scan,
                             uint64_t offset)
{
    struct storage *storage = scan->storage;
    enum err err = OK;
    if (WEASEL_BUG(tail_not_confirmed)) {
        return OK;
    }
    if (offset < scan->offset && !WEASEL_BUG(tail_not_written_again)) {
        struct log_batch_header header;
        struct bytes payload;
        scan->offset = offset;
        if (scan_next(scan, &header, &payload) != SCAN_BATCH) {
            errno = EIO; /* it was there a moment ago */
            return refuse_system(recovery, ERR_SYSTEM, name);
        }
        err = storage->operations->write(storage, scan->file, offset,
                                         payload.data - LOG_BATCH_HEADER_BYTES,
                                         LOG_BATCH_HEADER_BYTES + payload.size);
    }
    if (err == OK) {
        err = storage->operations->sync(storage, scan->file);
    }
    return err == OK ? OK : refuse_system(recovery, err, name);
}

/* ---- all of them ---- */

/* Which of the first segments are below the bound. Nothing of them is read but their headers. */
static enum err find_leftovers(struct recovery *recovery)
{
    struct log *log = recovery->log;
    while (log->state.has_segments && recovery->leftover_count < recovery->list.count) {
        size_t index = recovery->leftover_count;
        char name[STORAGE_NAME_BYTES];
        struct scan scan;
        enum log_header_result result;
        segment_name(recovery, index, name);
        enum err err = scan_open(&scan, log->storage, name, &result);
        if (err != OK) {
            return refuse_system(recovery, err, name);
        }
        err = check_header(recovery, name, index, result, &scan);
        uint64_t number = scan.header.number;
        scan_close(&scan);
        if (err != OK) {
            return err;
        }
        if (number >= log->state.oldest_segment) {
            break;
        }
        recovery->leftover_count++;
    }
    return OK;
}

static enum err note_segment(struct log *log)
{
    return log_segments_add(log, &(struct log_segment){.number = log->segment_number,
                                                       .first_version = log->segment_first_version,
                                                       .ordinal = log->segment_ordinal,
                                                       .bytes = log->segment_bytes,
                                                       .last_us = log->last_us});
}

static enum err take_segment(struct recovery *recovery, size_t index)
{
    struct log *log = recovery->log;
    char name[STORAGE_NAME_BYTES];
    struct scan scan;
    enum log_header_result result;
    segment_name(recovery, index, name);
    enum err err = scan_open(&scan, log->storage, name, &result);
    if (err != OK) {
        return refuse_system(recovery, err, name);
    }
    err = check_header(recovery, name, index, result, &scan);
    if (err == OK) {
        err = check_continues(recovery, name, index, &scan.header);
    }
    if (err == OK) {
        if (index == recovery->leftover_count) {
            log->last_version = scan.header.first_version - 1;
            log->next_batch = scan.header.first_batch;
            atomic_store(&log->first_version, scan.header.first_version);
        }
        log->segment_number = scan.header.number;
        log->segment_first_version = scan.header.first_version;
        log->segment_ordinal = recovery->list.names[index].ordinal;
        const struct log_place first = {.segment = scan.header.number,
                                        .segment_first_version = scan.header.first_version,
                                        .segment_ordinal = log->segment_ordinal,
                                        .offset = LOG_SEGMENT_HEADER_BYTES,
                                        .batch = scan.header.first_batch,
                                        .version = scan.header.first_version};
        err = log_index_add_segment(&log->index, &first, 0);
        err = err == OK ? take_batches(recovery, name, &scan) : refuse_system(recovery, err, name);
        log->offset = scan.offset;
        log->segment_bytes = scan.file_bytes;
    }
    if (err == OK && note_segment(log) != OK) {
        err = refuse_system(recovery, ERR_MEMORY, name);
    }
    if (err == OK && index + 1 == recovery->list.count) {
        if (log->state.has_segments && log->segment_number < log->state.newest_segment) {
            err = refuse_damage(recovery,
                                "segment number %" PRIu64 " is missing: the last one here is %s, "
                                "number %" PRIu64,
                                log->state.newest_segment, name, log->segment_number);
        } else if (scan.header.segment_bytes != scan.file_bytes) {
            err = refuse_damage(recovery,
                                "%s, offset %" PRIu64 ": the segment ends here, and has %" PRIu64
                                " bytes of %" PRIu64 ": it has been cut short or grown",
                                name, scan.offset, scan.file_bytes, scan.header.segment_bytes);
        } else {
            err = cut_torn_tail(recovery, name, &scan);
        }
        if (err == OK) {
            err = confirm_tail(recovery, name, &scan, recovery->last_batch_offset);
        }
        if (err == OK) {
            log->segment = scan.file; /* written to from now on */
            scan.file = NULL;
        }
    }
    scan_close(&scan);
    return err;
}

static enum err take_segments(struct recovery *recovery)
{
    struct log *log = recovery->log;
    if (recovery->list.count == recovery->leftover_count && log->state.has_segments) {
        return refuse(recovery, ERR_INVALID,
                      "all segments are missing: `state` knows of number %" PRIu64,
                      log->state.newest_segment);
    }
    for (size_t i = recovery->leftover_count; i < recovery->list.count; i++) {
        enum err err = take_segment(recovery, i);
        if (err != OK) {
            return err;
        }
    }
    return OK;
}

static enum err remove_leftovers(struct recovery *recovery)
{
    struct storage *storage = recovery->log->storage;
    for (size_t i = 0; i < recovery->leftover_count; i++) {
        char name[STORAGE_NAME_BYTES];
        segment_name(recovery, i, name);
        enum err err = storage->operations->unlink(storage, name);
        if (err != OK) {
            return refuse_system(recovery, err, name);
        }
    }
    return OK;
}

/* From here on files are written. */
static enum err begin(struct recovery *recovery)
{
    struct log *log = recovery->log;
    struct log_state next = log->state;
    next.epoch = ++log->epoch;
    enum err err = OK;
    if (log->segment != NULL) {
        /* A crash may have come between its name and its place in `state`; and its name must be
         * durable before `state` knows it. */
        next.newest_segment = log->segment_number;
        next.has_segments = true;
        err = log->storage->operations->sync_directory(log->storage);
    }
    if (err == OK) {
        err = log_state_replace(log, &next);
    }
    if (err != OK) {
        return refuse_system(recovery, err, "writing `state`");
    }
    err = remove_leftovers(recovery);
    if (err != OK) {
        return err;
    }
    err = log_make_batch(log);
    if (err != OK) {
        return refuse_system(recovery, err, "a buffer for batches");
    }
    if (log->segment == NULL) {
        atomic_store(&log->first_version, 1);
        err = log_prepare_now(log, &log->prepared);
        if (err == OK) {
            err = log_begin_segment(log);
        }
        if (err != OK) {
            return refuse_system(recovery, err, "making the first segment");
        }
    }
    atomic_store(&log->left, log->segment_bytes - log->offset);
    if (log->offset > LOG_SEGMENT_HEADER_BYTES) {
        log_preparer_ask(log);
    }
    err = log_preparer_start(log);
    if (err == OK) {
        err = log_retainer_start(log);
    }
    return err == OK ? OK : refuse_system(recovery, err, "starting a thread");
}

static struct log *log_make(const struct log_config *config, struct storage *storage)
{
    struct log *log = aligned_alloc(64, (sizeof *log + 63) / 64 * 64);
    if (log != NULL) {
        memset(log, 0, sizeof *log);
        log->config = *config;
        log->storage = storage;
        if (config->retention.policies_max == 0) {
            log->config.retention.policies_max = LOG_POLICIES_MAX;
        }
        CHECK(pthread_mutex_init(&log->state_lock, NULL) == 0);
        CHECK(pthread_mutex_init(&log->view, NULL) == 0);
        CHECK(pthread_cond_init(&log->retain, NULL) == 0);
        CHECK(pthread_mutex_init(&log->lock, NULL) == 0);
        CHECK(pthread_mutex_init(&log->readers_lock, NULL) == 0);
        CHECK(pthread_cond_init(&log->changed, NULL) == 0);
        log_index_init(&log->index);
    }
    return log;
}

enum err log_open(const struct log_config *config, struct storage *storage,
                  const struct log_visitor *visitor, struct log **out,
                  struct log_problem *out_problem)
{
    CHECK(config->segment_bytes >= LOG_SEGMENT_BYTES_MIN);
    CHECK(config->retention.policies_max <= LOG_POLICIES_MAX);
    struct recovery recovery = {.visitor = visitor, .problem = out_problem};
    uint64_t holder = 0;
    recovery.log = log_make(config, storage);
    if (recovery.log == NULL) {
        return refuse_system(&recovery, ERR_MEMORY, "opening");
    }
    enum err err = storage->operations->lock(storage, &holder);
    if (err == ERR_FULL) {
        err = refuse(&recovery, ERR_FULL,
                     "the directory is in use by the process with pid %" PRIu64, holder);
    } else if (err != OK) {
        err = refuse_system(&recovery, err, "lock");
    }
    if (err == OK) {
        err = list_segments(&recovery);
    }
    if (err == OK) {
        err = load_state(&recovery);
    }
    if (err == OK && recovery.log->state.newest_segment == LOG_SEGMENT_UNDER_REPAIR) {
        err = refuse(&recovery, ERR_INVALID,
                     "a repair of this log was cut off; repeat the `weasel log repair`");
    }
    if (err == OK) {
        recovery.log->id = recovery.log->state.log_id;
        recovery.log->epoch = recovery.log->state.epoch;
        err = find_leftovers(&recovery);
    }
    if (err == OK) {
        err = measure_segments(&recovery);
    }
    if (err == OK) {
        err = take_segments(&recovery);
    }
    if (err == OK) {
        err = begin(&recovery);
    }
    log_names_deinit(&recovery.list);
    free(recovery.operations);
    if (err != OK) {
        log_close(recovery.log);
        return err;
    }
    *out = recovery.log;
    return OK;
}

void log_close(struct log *log)
{
    log_retainer_stop(log);
    log_preparer_stop(log);
    if (log->segment != NULL) {
        log->storage->operations->close(log->storage, log->segment);
    }
    if (log->state_spare != NULL) {
        log->storage->operations->close(log->storage, log->state_spare);
    }
    CHECK(log->readers == NULL);
    CHECK(pthread_mutex_destroy(&log->readers_lock) == 0);
    CHECK(pthread_mutex_destroy(&log->lock) == 0);
    CHECK(pthread_cond_destroy(&log->changed) == 0);
    CHECK(pthread_mutex_destroy(&log->state_lock) == 0);
    CHECK(pthread_mutex_destroy(&log->view) == 0);
    CHECK(pthread_cond_destroy(&log->retain) == 0);
    free(log->list);
    log_index_deinit(&log->index);
    free(log->batch);
    free(log);
}

uint64_t log_id(const struct log *log)
{
    return log->id;
}

uint64_t log_epoch(const struct log *log)
{
    return log->epoch;
}

uint64_t log_first_version(const struct log *log)
{
    return atomic_load(&log->first_version);
}

uint64_t log_last_version(const struct log *log)
{
    return log->last_version;
}

struct log_stats log_stats(const struct log *log)
{
    return (struct log_stats){
        .segments = atomic_load(&log->segments),
        .bytes = atomic_load(&log->bytes),
        .written_bytes = atomic_load(&log->written_bytes),
        .batches = atomic_load(&log->batches),
        .syncs = atomic_load(&log->syncs),
        .next_is_prepared = atomic_load(&log->prepared_bytes) > 0,
    };
}
