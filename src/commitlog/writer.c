/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Appending: records gather in one buffer behind room for the batch's header; a sync fills the
 * header in, writes all of it at once and makes it durable.
 *
 * Invariants
 *  1. A batch is written only when all before it are durable. So at most the last one can be torn,
 *     and bytes that look like a batch behind a damaged one are proof of damage.
 *  2. A batch never spans segments. A segment is begun (its header synced, its name durable, the
 *     state file replaced) before its first batch is written.
 *  3. A write ends with a page, filled up with the zeros that stand there anyway: the page cache
 * has nothing of a prepared segment, and would have to read the rest of the page first.
 *  4. reserved >= what the open batch's records had reserved; promises of others come on top. What
 *     is promised fits the rest of this segment, or the prepared one.
 */
#include "base/bug.h"
#include "base/check.h"
#include "base/clock.h"
#include "commitlog/log_internal.h"

#include <stdlib.h>

enum {
    PAGE_BYTES = 4096,
    PREPARE_SHARE = 16, /* so much of a segment is used when the next one is prepared */
};

size_t log_record_bytes(const struct log_record *record)
{
    /* At worst it is a batch by itself. */
    return log_record_size(record) + LOG_BATCH_HEADER_BYTES + LOG_ALIGNMENT;
}

static bool has_room(const struct log *log, uint64_t bytes)
{
    /* acquire: pairs with log_release(), and comes first: whoever sees a batch no longer promised
     * sees the space that it took gone, too. The other way round, what is promised after a batch
     * could be set against what was prepared before it. */
    uint64_t needed = atomic_load_explicit(&log->reserved, memory_order_acquire) + bytes;
    /* acquire: pairs with log_begin_segment(). An old value is still good: what it was promised for
     * is still in `needed`. */
    uint64_t left = atomic_load_explicit(&log->left, memory_order_acquire);
    /* acquire: pairs with prepare_once(). */
    uint64_t prepared = atomic_load_explicit(&log->prepared_bytes, memory_order_acquire);
    return needed <= left || needed <= prepared;
}

bool log_try_reserve(struct log *log, size_t bytes, enum log_reserve kind)
{
    uint64_t kept = kind == LOG_RESERVE_FENCE ? 0 : LOG_RESERVE_BYTES;
    while (!has_room(log, bytes + kept)) {
        /* One that was ready before may have become so after the look above. */
        if (!log_preparer_wait(log) && !has_room(log, bytes + kept)) {
            return false;
        }
    }
    /* relaxed: this thread alone adds, and looks at the sum again above */
    atomic_fetch_add_explicit(&log->reserved, bytes, memory_order_relaxed);
    return true;
}

void log_observe(struct log *log, const struct log_observer *observer)
{
    CHECK(log->observer.written == NULL);
    log->observer = *observer;
}

void log_release(struct log *log, size_t bytes)
{
    /* release: pairs with log_try_reserve(): whoever sees less promised sees less left, too. */
    uint64_t before = atomic_fetch_sub_explicit(&log->reserved, bytes, memory_order_release);
    CHECK(before >= bytes);
}

/* The largest record that is to be expected. */
static uint64_t record_bytes_max(const struct log *log)
{
    return log->config.record_bytes_max > 0 ? log->config.record_bytes_max
                                            : log->config.segment_bytes;
}

bool log_is_writable(const struct log *log)
{
    /* relaxed: numbers of about now */
    uint64_t left = atomic_load_explicit(&log->left, memory_order_relaxed);
    /* relaxed: as above */
    uint64_t reserved = atomic_load_explicit(&log->reserved, memory_order_relaxed);
    return log_prepare_error(log) == 0 ||
           left > reserved + LOG_RESERVE_BYTES + record_bytes_max(log);
}

/* Never touched further than a batch needs it. */
enum err log_make_batch(struct log *log)
{
    uint64_t segment_bytes = log->segment_bytes > log->config.segment_bytes
                                 ? log->segment_bytes
                                 : log->config.segment_bytes;
    uint64_t bytes = record_bytes_max(log) + LOG_BATCH_HEADER_BYTES;
    bytes = bytes > LOG_BATCH_BYTES_MAX ? bytes : LOG_BATCH_BYTES_MAX;
    bytes = bytes < segment_bytes ? bytes : segment_bytes;
    log->batch_capacity = (size_t)bytes + LOG_ALIGNMENT + PAGE_BYTES;
    log->batch = malloc(log->batch_capacity);
    return log->batch == NULL ? ERR_MEMORY : OK;
}

/* The prepared file becomes the segment that follows. */
enum err log_begin_segment(struct log *log)
{
    const struct storage_operations *operations = log->storage->operations;
    char header[LOG_SEGMENT_HEADER_BYTES];
    char name[STORAGE_NAME_BYTES];
    bool is_first = log->segment == NULL;
    struct storage_file *file = log_preparer_take(log);
    if (file == NULL) {
        return ERR_SYSTEM;
    }
    uint64_t first_version = log->last_version + 1;
    /* A segment of nothing but fences is followed by one of the same first version. */
    uint32_t ordinal =
        !is_first && first_version == log->segment_first_version ? log->segment_ordinal + 1 : 0;
    uint64_t number = is_first ? 0 : log->segment_number + 1;
    log_segment_header_encode(
        &(struct log_segment_header){.log_id = log->id,
                                     .number = number,
                                     .first_version = first_version,
                                     .first_batch = log->next_batch,
                                     .segment_bytes = log->config.segment_bytes},
        header);
    log_segment_name(first_version, ordinal, name);
    enum err err = operations->write(log->storage, file, 0, header, sizeof header);
    if (err == OK) {
        err = operations->sync(log->storage, file);
    }
    if (err == OK) {
        err = operations->rename(log->storage, LOG_PREPARED_NAME, name);
    }
    if (err == OK && !WEASEL_BUG(directory_not_synced)) {
        err = operations->sync_directory(log->storage);
    }
    if (err == OK) {
        err = log_segments_begin(log, &(struct log_segment){.number = number,
                                                            .first_version = first_version,
                                                            .ordinal = ordinal,
                                                            .bytes = log->config.segment_bytes,
                                                            .last_us = log->last_us});
    }
    const struct log_place first = {.segment = number,
                                    .segment_first_version = first_version,
                                    .segment_ordinal = ordinal,
                                    .offset = LOG_SEGMENT_HEADER_BYTES,
                                    .batch = log->next_batch,
                                    .version = first_version};
    if (err == OK) {
        err = log_index_add_segment(&log->index, &first, log_segments_oldest(log));
    }
    log_preparer_go_on(log);
    if (err != OK) {
        operations->close(log->storage, file);
        return ERR_SYSTEM;
    }
    if (!is_first) {
        operations->close(log->storage, log->segment);
    }
    log->segment = file;
    log->segment_number = number;
    log->segment_first_version = first_version;
    log->segment_ordinal = ordinal;
    log->segment_bytes = log->config.segment_bytes;
    log->offset = LOG_SEGMENT_HEADER_BYTES;
    /* release: pairs with log_try_reserve(). */
    atomic_store_explicit(&log->left, log->segment_bytes - log->offset, memory_order_release);
    return OK;
}

/* How many bytes to write so that the write ends with a page; invariant 3. */
static uint64_t whole_pages(const struct log *log, uint64_t bytes)
{
    uint64_t rest = log->segment_bytes - log->offset;
    uint64_t end = (log->offset + bytes + PAGE_BYTES - 1) / PAGE_BYTES * PAGE_BYTES;
    return end - log->offset < rest ? end - log->offset : rest;
}

/* Fills in the header, and zeros up to `write_bytes`. */
static void finish_batch(struct log *log, uint64_t now_us, uint64_t write_bytes)
{
    size_t payload_bytes = log->batch_bytes - LOG_BATCH_HEADER_BYTES;
    memset(log->batch + log->batch_bytes, 0, write_bytes - log->batch_bytes);
    CHECK(now_us >= log->last_us);
    log->last_us = now_us;
    const struct log_batch_header header = {
        .number = log->next_batch,
        .first_version = log->batch_first_version,
        .last_version = log->last_version,
        .timestamp_us = now_us,
        .payload_bytes = payload_bytes,
        .payload_hash =
            log_payload_hash(bytes_of(log->batch + LOG_BATCH_HEADER_BYTES, payload_bytes)),
        .count = log->batch_count,
    };
    const struct log_position position = {
        .log_id = log->id,
        .segment_number = log->segment_number,
        .offset = log->offset,
    };
    log_batch_header_encode(&header, &position, log->batch);
}

static void note_written(struct log *log, uint64_t padded_bytes, uint64_t sync_ns)
{
    const struct log_place place = {.segment = log->segment_number,
                                    .offset = log->offset,
                                    .batch = log->next_batch,
                                    .version = log->batch_first_version};
    log_index_note_batch(&log->index, &place, padded_bytes);
    if (log->observer.written != NULL) {
        log->observer.written(log->observer.context,
                              &(struct log_written){.bytes = padded_bytes,
                                                    .sync_ns = sync_ns,
                                                    .records = log->batch_count});
    }
    log->offset += padded_bytes;
    log->next_batch++;
    /* release: pairs with log_try_reserve(); first there is less left, then less is promised. */
    atomic_store_explicit(&log->left, log->segment_bytes - log->offset, memory_order_release);
    log_release(log, log->batch_reserved);
    atomic_fetch_add(&log->written_bytes, padded_bytes);
    atomic_fetch_add(&log->batches, 1);
    log->batch_bytes = LOG_BATCH_HEADER_BYTES;
    log->batch_reserved = 0;
    log->batch_count = 0;
    if (log->offset >= log->segment_bytes / PREPARE_SHARE) {
        log_preparer_ask(log);
    }
}

static enum err write_batch(struct log *log, uint64_t now_us)
{
    uint64_t padded_bytes = log_align(log->batch_bytes);
    if (padded_bytes > log->segment_bytes - log->offset) {
        uint64_t last_version = log->last_version;
        log->last_version =
            log->batch_first_version - 1; /* the new segment begins with the batch */
        enum err err = log_begin_segment(log);
        log->last_version = last_version;
        if (err != OK) {
            return err;
        }
    }
    CHECK(padded_bytes <= log->segment_bytes - log->offset);
    uint64_t write_bytes = whole_pages(log, padded_bytes);
    finish_batch(log, now_us, write_bytes);
    const struct storage_operations *operations = log->storage->operations;
    enum err err =
        operations->write(log->storage, log->segment, log->offset, log->batch, write_bytes);
    uint64_t sync_ns = 0;
    if (err == OK && log->config.durability == LOG_DURABILITY_SYNC && !WEASEL_BUG(sync_skipped)) {
        uint64_t start_ns = clock_monotonic_ns();
        err = operations->sync(log->storage, log->segment);
        sync_ns = clock_monotonic_ns() - start_ns;
        atomic_fetch_add(&log->syncs, 1);
    }
    if (err == OK) {
        note_written(log, padded_bytes, sync_ns);
    }
    return err;
}

enum err log_sync(struct log *log, uint64_t now_us)
{
    if (!log->has_failed && log->batch_count > 0) {
        log->has_failed = write_batch(log, now_us) != OK;
    }
    return log->has_failed ? ERR_SYSTEM : OK;
}

enum err log_append(struct log *log, const struct log_record *record, uint64_t now_us)
{
    if (log->has_failed) {
        return ERR_SYSTEM;
    }
    size_t bytes = log_record_size(record);
    if (log->batch_count > 0 &&
        (log->batch_bytes + bytes > LOG_BATCH_BYTES_MAX ||
         log_align(log->batch_bytes + bytes) > log->segment_bytes - log->offset)) {
        /* What is gathered goes out as a batch of its own. */
        enum err err = log_sync(log, now_us);
        if (err != OK) {
            return err;
        }
    }
    if (log->batch_count == 0) {
        log->batch_bytes = LOG_BATCH_HEADER_BYTES;
        log->batch_first_version = log->last_version + 1;
    }
    CHECK(log->batch_bytes + bytes + LOG_ALIGNMENT + PAGE_BYTES <= log->batch_capacity);
    if (record->type == LOG_RECORD_COMMIT) {
        CHECK(record->version == log->last_version + 1);
        log->last_version = record->version;
    }
    log_record_encode(record, log->batch + log->batch_bytes);
    log->batch_bytes += bytes;
    log->batch_reserved += log_record_bytes(record);
    log->batch_count++;
    return OK;
}
