/* SPDX-License-Identifier: Apache-2.0 */
/* The plan is made by one pass of a reader: up to the cut it keeps, behind it it counts. */
#include "commitlog/repair.h"

#include "base/bug.h"
#include "base/check.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PIECE_BYTES = 1 << 20 };

__attribute__((format(printf, 3, 4))) static enum err refuse(struct log_problem *problem,
                                                             enum err err, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(problem->text, sizeof problem->text, format, arguments);
    va_end(arguments);
    return err;
}

static enum err refuse_system(struct log_problem *problem, enum err err, const char *what)
{
    if (err == ERR_CLOSED) {
        return refuse(problem, err, "there is no commit log here: no segments and no file `state`");
    }
    return refuse(problem, err, "%s: %s", what,
                  err == ERR_MEMORY ? "out of memory" : strerror(errno));
}

/* ---- the plan ---- */

struct plan {
    struct log_repair *repair;
    struct log_reader reader;
    bool has_segment;
    bool is_cut;           /* what follows goes */
    uint64_t kept_version; /* the last one before the cut */
    size_t kept_index;
};

static void count_lost(struct log_repair *repair, struct bytes payload)
{
    struct log_record record;
    struct bytes operations;
    while (payload.size > 0 && log_record_decode(&payload, &record, &operations)) {
        if (record.type == LOG_RECORD_FENCE) {
            repair->lost_fences++;
            continue;
        }
        repair->lost_commits++;
        repair->lost_last_version = record.version;
    }
}

/* The batch holds the commit of the version after the last one to be kept. */
static void cut_batch(struct plan *plan)
{
    struct log_repair *repair = plan->repair;
    const struct log_reader *reader = &plan->reader;
    struct bytes rest = reader->payload;
    struct bytes behind = rest;
    struct log_record record;
    struct bytes operations;
    while (log_record_decode(&behind, &record, &operations) &&
           (record.type == LOG_RECORD_FENCE || record.version <= repair->version)) {
        rest = behind;
        repair->kept_records++;
    }
    repair->kept_bytes = reader->payload.size - rest.size;
    repair->batch = reader->batch;
    repair->batch.last_version = repair->version;
    repair->batch.count = repair->kept_records;
    repair->batch.payload_bytes = repair->kept_bytes;
    repair->batch.payload_hash =
        log_payload_hash(bytes_of(reader->payload.data, (size_t)repair->kept_bytes));
    plan->kept_version = repair->version;
    plan->is_cut = true;
    count_lost(repair, rest);
}

static void take_batch(struct plan *plan)
{
    const struct log_reader *reader = &plan->reader;
    if (plan->is_cut) {
        count_lost(plan->repair, reader->payload);
    } else if (reader->batch.last_version > plan->repair->version) {
        cut_batch(plan);
    } else {
        plan->repair->offset = reader->offset;
        plan->kept_version = reader->batch.last_version;
    }
}

static void take_segment(struct plan *plan)
{
    const struct log_reader *reader = &plan->reader;
    struct log_repair *repair = plan->repair;
    if (plan->is_cut) {
        return;
    }
    if (!plan->has_segment) {
        plan->has_segment = true;
        repair->first_version = reader->header.first_version;
        repair->first_segment = reader->header.number;
    }
    (void)snprintf(repair->kept, sizeof repair->kept, "%s", reader->name);
    repair->header = reader->header;
    repair->offset = reader->offset;
    plan->kept_version = reader->last_version;
    plan->kept_index = reader->index;
}

static bool is_of_state(const struct plan *plan)
{
    return !plan->has_segment && plan->reader.name == NULL;
}

static enum err read_all(struct plan *plan, const struct log_repair_progress *progress,
                         struct log_problem *problem)
{
    for (;;) {
        if (progress->show != NULL) {
            progress->show(progress->context, plan->reader.bytes_done, plan->reader.bytes_all);
        }
        switch (log_reader_next(&plan->reader)) {
        case LOG_READER_SEGMENT:
            take_segment(plan);
            break;
        case LOG_READER_BATCH:
            take_batch(plan);
            break;
        case LOG_READER_PROBLEM:
            plan->repair->is_needed = true;
            if (plan->repair->damage.text[0] == '\0') {
                plan->repair->damage = plan->reader.problem;
            }
            if (!is_of_state(plan)) {
                plan->is_cut = true;
            }
            break;
        case LOG_READER_ERROR:
            return refuse_system(problem, plan->reader.error,
                                 plan->reader.name == NULL ? "state" : plan->reader.name);
        case LOG_READER_END:
            return OK;
        }
    }
}

/* What is in the segment behind the cut. */
static enum err look_behind(struct log_repair *repair, struct storage *storage)
{
    struct scan scan;
    enum log_header_result result;
    uint64_t end = 0;
    enum err err = scan_open(&scan, storage, repair->kept, &result);
    if (err != OK) {
        return err;
    }
    err = scan_find_end_of_data(&scan, repair->offset, &end);
    repair->cut_bytes = end - repair->offset;
    repair->is_segment_changed =
        repair->cut_bytes > 0 || scan.file_bytes != repair->header.segment_bytes;
    scan_close(&scan);
    return err;
}

static enum err judge(struct plan *plan, struct storage *storage, uint64_t now_sec,
                      struct log_problem *problem)
{
    struct log_repair *repair = plan->repair;
    if (!plan->has_segment) {
        return refuse(problem, ERR_INVALID,
                      "there is no sound segment to begin with (%s): restore a backup",
                      repair->damage.text[0] == '\0' ? "there is none" : repair->damage.text);
    }
    if (repair->version + 1 < repair->first_version) {
        return refuse(problem, ERR_LIMIT,
                      "the log cannot be cut behind version %" PRIu64
                      ", since it begins with version %" PRIu64,
                      repair->version, repair->first_version);
    }
    if (repair->version > plan->kept_version) {
        return refuse(problem, ERR_LIMIT,
                      "the log cannot be cut behind version %" PRIu64
                      ", only behind one from %" PRIu64 " to %" PRIu64,
                      repair->version, repair->first_version - 1, plan->kept_version);
    }
    repair->is_needed |= plan->is_cut;
    repair->state_result = plan->reader.state_result;
    repair->state = plan->reader.state;
    if (repair->state_result != LOG_READER_STATE_GOOD) {
        repair->state = (struct log_state){.log_id = repair->header.log_id,
                                           .epoch = now_sec,
                                           .oldest_segment = repair->first_segment};
    }
    /* Their owners have seen what is cut off; nothing that comes in its place may go for that. */
    for (uint32_t i = 0; i < repair->state.policy_count; i++) {
        struct log_policy *policy = &repair->state.policies[i];
        policy->version = policy->version < repair->version ? policy->version : repair->version;
    }
    repair->state.newest_segment = repair->header.number;
    repair->state.has_segments = true;
    repair->segments = plan->reader.segments;
    plan->reader.segments = (struct log_names){0};
    repair->first_removed = plan->kept_index + 1;
    enum err err = look_behind(repair, storage);
    return err == OK ? OK : refuse_system(problem, err, repair->kept);
}

enum err log_repair_plan(struct storage *storage, uint64_t version, uint64_t now_sec,
                         const struct log_repair_progress *progress, struct log_repair *out,
                         struct log_problem *out_problem)
{
    struct log_repair repair = {.version = version};
    struct plan plan = {.repair = &repair};
    enum err err = log_reader_open(&plan.reader, storage, NULL, 0);
    if (err != OK) {
        return refuse_system(out_problem, err, "opening the log");
    }
    err = read_all(&plan, progress, out_problem);
    if (err == OK) {
        err = judge(&plan, storage, now_sec, out_problem);
    }
    log_reader_close(&plan.reader);
    if (err != OK) {
        log_repair_deinit(&repair);
        return err;
    }
    *out = repair;
    return OK;
}

void log_repair_deinit(struct log_repair *repair)
{
    log_names_deinit(&repair->segments);
}

bool log_repair_removes(const struct log_repair *repair)
{
    return repair->is_segment_changed || repair->first_removed < repair->segments.count ||
           repair->state_result == LOG_READER_STATE_BAD;
}

/* ---- doing it ---- */

/* Copies the first `bytes` of a file, or all of it when it is shorter. */
static enum err copy_into(struct storage *from, const char *name, uint64_t bytes,
                          struct storage *to, struct storage_file *out)
{
    struct storage_file *in;
    char *piece = malloc(PIECE_BYTES);
    if (piece == NULL) {
        return ERR_MEMORY;
    }
    enum err err = from->operations->open(from, name, false, &in);
    if (err != OK) {
        free(piece);
        return err;
    }
    for (uint64_t at = 0; err == OK && at < bytes;) {
        uint64_t rest = bytes - at;
        size_t got;
        err = from->operations->read(from, in, at, piece,
                                     rest < PIECE_BYTES ? (size_t)rest : PIECE_BYTES, &got);
        if (err != OK || got == 0) {
            break;
        }
        err = to->operations->write(to, out, at, piece, got);
        at += got;
    }
    from->operations->close(from, in);
    free(piece);
    return err;
}

static enum err sync_and_close(struct storage *storage, struct storage_file *file, enum err err)
{
    if (err == OK) {
        err = storage->operations->sync(storage, file);
    }
    storage->operations->close(storage, file);
    return err;
}

/* A whole file under the same name in `to`, durable. */
static enum err copy_file(struct storage *from, struct storage *to, const char *name)
{
    struct storage_file *out;
    enum err err = to->operations->open(to, name, true, &out);
    if (err != OK) {
        return err;
    }
    err = sync_and_close(to, out, copy_into(from, name, UINT64_MAX, to, out));
    return err == OK ? to->operations->sync_directory(to) : err;
}

/* The kept records of the batch that is cut, as a batch at the same place. */
static enum err write_batch(struct storage *storage, const struct log_repair *repair,
                            struct storage_file *out)
{
    const struct log_position position = {.log_id = repair->header.log_id,
                                          .segment_number = repair->header.number,
                                          .offset = repair->offset};
    struct log_batch_header old;
    struct bytes payload;
    struct scan scan;
    enum log_header_result result;
    char header[LOG_BATCH_HEADER_BYTES];
    log_batch_header_encode(&repair->batch, &position, header);
    enum err err = scan_open(&scan, storage, repair->kept, &result);
    if (err != OK) {
        return err;
    }
    scan.offset = repair->offset;
    if (scan_next(&scan, &old, &payload) != SCAN_BATCH || payload.size < repair->kept_bytes) {
        err = ERR_SYSTEM;
    }
    if (err == OK) {
        err = storage->operations->write(storage, out, repair->offset, header, sizeof header);
    }
    if (err == OK) {
        err = storage->operations->write(storage, out, repair->offset + sizeof header, payload.data,
                                         (size_t)repair->kept_bytes);
    }
    scan_close(&scan);
    return err;
}

static enum err write_segment(struct storage *storage, const struct log_repair *repair)
{
    struct storage_file *out;
    uint64_t end = repair->offset;
    enum err err = storage->operations->open(storage, LOG_REPAIR_TEMPORARY_NAME, true, &out);
    if (err != OK) {
        return err;
    }
    err = copy_into(storage, repair->kept, repair->offset, storage, out);
    if (err == OK && repair->kept_records > 0) {
        err = write_batch(storage, repair, out);
        end += LOG_BATCH_HEADER_BYTES + repair->kept_bytes;
    }
    if (err == OK) {
        err = storage->operations->write_zeros(storage, out, end,
                                               (size_t)(repair->header.segment_bytes - end));
    }
    return sync_and_close(storage, out, err);
}

/* Step 1. */
static enum err prepare(struct storage *storage, struct storage *removed,
                        const struct log_repair *repair)
{
    enum err err = OK;
    if (repair->state_result == LOG_READER_STATE_BAD) {
        err = copy_file(storage, removed, LOG_STATE_NAME);
    }
    if (err == OK && repair->is_segment_changed) {
        err = copy_file(storage, removed, repair->kept);
        if (err == OK) {
            err = write_segment(storage, repair);
        }
    }
    if (err != OK && removed != NULL) {
        int saved_errno = errno;
        (void)removed->operations->unlink(removed, LOG_STATE_NAME);
        (void)removed->operations->unlink(removed, repair->kept);
        (void)storage->operations->unlink(storage, LOG_REPAIR_TEMPORARY_NAME);
        errno = saved_errno;
    }
    return err;
}

/* Step 3. */
static enum err remove_segments(struct storage *storage, struct storage *removed,
                                const char *removed_name, const struct log_repair *repair)
{
    enum err err = OK;
    for (size_t i = repair->first_removed; err == OK && i < repair->segments.count; i++) {
        const struct log_segment_name *segment = &repair->segments.names[i];
        char name[STORAGE_NAME_BYTES];
        char moved[2 * STORAGE_NAME_BYTES];
        log_segment_name(segment->first_version, segment->ordinal, name);
        int size = snprintf(moved, sizeof moved, "%s/%s", removed_name, name);
        CHECK(size > 0 && (size_t)size < sizeof moved);
        err = storage->operations->rename(storage, name, moved);
    }
    if (err == OK) {
        err = removed->operations->sync_directory(removed);
    }
    return err == OK ? storage->operations->sync_directory(storage) : err;
}

static enum err change_segments(struct storage *storage, struct storage *removed,
                                const char *removed_name, const struct log_repair *repair)
{
    enum err err = OK;
    if (repair->first_removed < repair->segments.count) {
        err = remove_segments(storage, removed, removed_name, repair); /* 3 */
    }
    if (err == OK && repair->is_segment_changed) {
        err = storage->operations->rename(storage, LOG_REPAIR_TEMPORARY_NAME, repair->kept); /* 4 */
        if (err == OK) {
            err = storage->operations->sync_directory(storage);
        }
    }
    return err;
}

enum err log_repair_apply(struct storage *storage, struct storage *removed,
                          const char *removed_name, const struct log_repair *repair,
                          bool *out_begun)
{
    CHECK(repair->is_needed);
    CHECK(removed != NULL || !log_repair_removes(repair));
    *out_begun = false;
    enum err err = prepare(storage, removed, repair); /* 1 */
    if (err == OK &&
        (repair->is_segment_changed || repair->first_removed < repair->segments.count)) {
        struct log_state under_repair = repair->state;
        under_repair.newest_segment = LOG_SEGMENT_UNDER_REPAIR;
        err = WEASEL_BUG(repair_not_announced)
                  ? OK
                  : log_state_store(storage, &under_repair, NULL); /* 2 */
        *out_begun = err != ERR_SYSTEM;
        if (err == OK) {
            err = change_segments(storage, removed, removed_name, repair);
        }
    }
    if (err == OK) {
        err = log_state_store(storage, &repair->state, NULL); /* 5 */
    }
    return err == OK ? OK : ERR_SYSTEM;
}
