/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading past damage: after a problem the reader is out of step. It then takes the numbers of the
 * next sound header or batch as they are, and compares again from there on; so each place is told
 * once.
 *
 * A server that writes meanwhile: a place where no valid batch stands, with one behind it, is
 * looked at again before it is called damage. A batch is written only when all before it are
 * whole, so if the second look finds none either, none was ever there.
 */
#include "commitlog/reader.h"

#include "base/check.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

/* What the reader does next; all but the last are told to the caller. */
enum step {
    STEP_SEGMENT = LOG_READER_SEGMENT,
    STEP_BATCH = LOG_READER_BATCH,
    STEP_PROBLEM = LOG_READER_PROBLEM,
    STEP_END = LOG_READER_END,
    STEP_ERROR = LOG_READER_ERROR,
    STEP_AGAIN,
};

__attribute__((format(printf, 2, 3))) static enum step say(struct log_reader *reader,
                                                           const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(reader->problem.text, sizeof reader->problem.text, format, arguments);
    va_end(arguments);
    reader->problems++;
    reader->is_in_step = false;
    return STEP_PROBLEM;
}

static enum step fail(struct log_reader *reader, enum err err)
{
    reader->error = err;
    return STEP_ERROR;
}

/* ---- open and close ---- */

static enum err load_state(struct log_reader *reader)
{
    switch (log_state_load(reader->storage, &reader->state)) {
    case OK:
        reader->state_result = LOG_READER_STATE_GOOD;
        reader->log_id = reader->state.log_id;
        reader->knows_log_id = true;
        return OK;
    case ERR_INVALID:
        reader->state_result = LOG_READER_STATE_BAD;
        return OK;
    case ERR_CLOSED:
        reader->state_result = LOG_READER_STATE_MISSING;
        return OK;
    case ERR_MEMORY:
    case ERR_FULL:
    case ERR_LIMIT:
    case ERR_SYSTEM:
        return ERR_SYSTEM;
    }
    UNREACHABLE();
}

static size_t name_count(const struct log_reader *reader)
{
    return reader->single != NULL ? 1 : reader->segments.count;
}

static const char *name_of(const struct log_reader *reader, size_t index,
                           char buffer[STORAGE_NAME_BYTES])
{
    if (reader->single != NULL) {
        return reader->single;
    }
    const struct log_segment_name *name = &reader->segments.names[index];
    log_segment_name(name->first_version, name->ordinal, buffer);
    return buffer;
}

static enum err add_up(struct log_reader *reader)
{
    reader->bytes_all = 0;
    for (size_t i = reader->index; i < name_count(reader); i++) {
        char buffer[STORAGE_NAME_BYTES];
        struct storage_file *file;
        uint64_t size;
        const struct storage_operations *operations = reader->storage->operations;
        enum err err = operations->open(reader->storage, name_of(reader, i, buffer), false, &file);
        if (err == OK) {
            err = operations->size(reader->storage, file, &size);
            operations->close(reader->storage, file);
        }
        if (err != OK && (err != ERR_CLOSED || reader->single != NULL)) {
            return err;
        }
        reader->bytes_all += err == OK ? size : 0;
    }
    return OK;
}

/* The last segment that begins at or before `from`. */
static size_t first_index(const struct log_names *segments, uint64_t from)
{
    size_t index = 0;
    while (index + 1 < segments->count && segments->names[index + 1].first_version <= from) {
        index++;
    }
    return index;
}

enum err log_reader_open(struct log_reader *reader, struct storage *storage, const char *single,
                         uint64_t from)
{
    *reader = (struct log_reader){
        .storage = storage, .single = single, .state_result = LOG_READER_STATE_NOT_READ};
    enum err err = OK;
    if (single == NULL) {
        /* In this order: what `state` tells of is there when the directory is listed. */
        err = load_state(reader);
        if (err == OK) {
            err = log_names_init(&reader->segments, storage);
        }
        if (err == OK && reader->segments.count == 0 &&
            reader->state_result == LOG_READER_STATE_MISSING) {
            err = ERR_CLOSED;
        }
        if (err == OK) {
            reader->index = first_index(&reader->segments, from);
            reader->expects_oldest = reader->index == 0;
        }
    }
    if (err == OK) {
        err = add_up(reader);
    }
    if (err != OK) {
        log_reader_close(reader);
    }
    return err;
}

void log_reader_close(struct log_reader *reader)
{
    if (reader->is_open) {
        scan_close(&reader->scan);
        reader->is_open = false;
    }
    log_names_deinit(&reader->segments);
}

/* ---- the beginning of a segment ---- */

static enum step close_segment(struct log_reader *reader)
{
    reader->bytes_before += reader->scan.file_bytes;
    reader->bytes_done = reader->bytes_before;
    scan_close(&reader->scan);
    reader->is_open = false;
    reader->index++;
    return STEP_AGAIN;
}

/* A server that removes old segments removes them from the front. Whether `name` was one. */
static bool was_removed(const struct log_names *now, const struct log_segment_name *name)
{
    const struct log_segment_name *first = now->names;
    return now->count > 0 &&
           (name->first_version < first->first_version ||
            (name->first_version == first->first_version && name->ordinal < first->ordinal));
}

static enum step segment_is_gone(struct log_reader *reader)
{
    struct log_names now;
    enum err err = log_names_init(&now, reader->storage);
    if (err != OK) {
        return fail(reader, err);
    }
    size_t index = reader->index;
    while (index < reader->segments.count && was_removed(&now, &reader->segments.names[index])) {
        index++;
    }
    log_names_deinit(&now);
    reader->knows_number = false;
    reader->expects_oldest = false;
    if (index == reader->index) {
        reader->index++;
        return say(reader, "%s is gone, and others before it are not", reader->name);
    }
    reader->removed_segments += index - reader->index;
    reader->index = index;
    return STEP_AGAIN;
}

/* What is wrong with the header, so that the segment cannot be read. NULL: nothing. */
static const char *unreadable(const struct log_reader *reader, enum log_header_result result)
{
    switch (result) {
    case LOG_HEADER_FUTURE:
        return "it was written by a later version of this program, in a format that this one does "
               "not "
               "know";
    case LOG_HEADER_BAD:
        return "its header (offset 0) is damaged";
    case LOG_HEADER_GOOD:
        return reader->knows_log_id && reader->scan.header.log_id != reader->log_id
                   ? "it belongs to another log"
                   : NULL;
    }
    UNREACHABLE();
}

static bool knows_oldest(const struct log_reader *reader)
{
    return reader->state_result == LOG_READER_STATE_GOOD && reader->state.has_segments;
}

/* What a removal has left behind is no part of the log any more. */
static bool is_leftover(const struct log_reader *reader)
{
    return knows_oldest(reader) && reader->scan.header.number < reader->state.oldest_segment;
}

static bool lacks_oldest(struct log_reader *reader)
{
    bool expected = reader->expects_oldest && knows_oldest(reader);
    reader->expects_oldest = false;
    if (!expected || reader->header.number <= reader->state.oldest_segment) {
        return false;
    }
    /* A server may have removed segments between the look at `state` and that at the directory. */
    struct log_state now;
    return log_state_load(reader->storage, &now) != OK ||
           now.oldest_segment < reader->header.number;
}

/* Whether there is something that does not keep the segment from being read. */
static bool is_misplaced(struct log_reader *reader)
{
    const struct log_segment_header *header = &reader->header;
    uint64_t named;
    uint32_t ordinal;
    if (log_segment_name_parse(reader->name, &named, &ordinal) && named != header->first_version) {
        (void)say(reader,
                  "%s holds a segment that begins with version %" PRIu64 ": it has been renamed",
                  reader->name, header->first_version);
        return true;
    }
    if (lacks_oldest(reader)) {
        (void)say(reader,
                  "segment number %" PRIu64
                  " is missing: the first one here is %s, number %" PRIu64,
                  reader->state.oldest_segment, reader->name, header->number);
        return true;
    }
    if (reader->knows_number && header->number != reader->number + 1) {
        (void)say(reader,
                  "a segment is missing before %s: it is number %" PRIu64 ", from version %" PRIu64
                  " on; the one before it is number %" PRIu64 ", up to version %" PRIu64,
                  reader->name, header->number, header->first_version, reader->number,
                  reader->last_version);
        return true;
    }
    return false;
}

static enum step open_segment(struct log_reader *reader)
{
    enum log_header_result result;
    reader->name = name_of(reader, reader->index, reader->name_bytes);
    enum err err = scan_open(&reader->scan, reader->storage, reader->name, &result);
    if (err == ERR_CLOSED && reader->single == NULL) {
        return segment_is_gone(reader);
    }
    if (err != OK) {
        return fail(reader, err);
    }
    const char *why = unreadable(reader, result);
    if (why != NULL) {
        reader->bytes_before += reader->scan.file_bytes;
        reader->bytes_done = reader->bytes_before;
        reader->index++;
        reader->knows_number = false;
        scan_close(&reader->scan);
        return say(reader, "%s: %s", reader->name, why);
    }
    if (is_leftover(reader)) {
        reader->leftovers++;
        reader->is_open = true;
        return close_segment(reader);
    }
    reader->is_open = true;
    reader->is_begun = false;
    reader->looked_again = 0;
    reader->header = reader->scan.header;
    reader->log_id = reader->header.log_id;
    reader->knows_log_id = true;
    return is_misplaced(reader) ? STEP_PROBLEM : STEP_AGAIN;
}

static enum step begin_segment(struct log_reader *reader)
{
    reader->is_begun = true;
    reader->is_in_step = true;
    reader->knows_number = true;
    reader->number = reader->header.number;
    reader->next_batch = reader->header.first_batch;
    reader->last_version = reader->header.first_version - 1;
    reader->offset = reader->scan.offset;
    return STEP_SEGMENT;
}

/* ---- the end of a segment ---- */

/* The header of the segment behind the one being read, when it is the very next one. */
static enum err peek(struct log_reader *reader, bool *out_found, struct log_segment_header *out)
{
    char buffer[STORAGE_NAME_BYTES];
    char bytes[LOG_SEGMENT_HEADER_BYTES];
    const struct storage_operations *operations = reader->storage->operations;
    struct storage_file *file;
    size_t size;
    *out_found = false;
    if (reader->index + 1 >= name_count(reader)) {
        return OK;
    }
    enum err err =
        operations->open(reader->storage, name_of(reader, reader->index + 1, buffer), false, &file);
    if (err != OK) {
        return err == ERR_CLOSED ? OK : err;
    }
    err = operations->read(reader->storage, file, 0, bytes, sizeof bytes, &size);
    operations->close(reader->storage, file);
    *out_found = err == OK && size == sizeof bytes &&
                 log_segment_header_decode(bytes, out) == LOG_HEADER_GOOD &&
                 out->log_id == reader->log_id && out->number == reader->header.number + 1;
    return err;
}

/* A valid batch stands at `found`, behind the place where one should. */
static enum step damage(struct log_reader *reader, uint64_t found)
{
    struct scan *scan = &reader->scan;
    struct log_batch_header header;
    struct bytes payload;
    uint64_t offset = scan->offset;
    scan->loaded_bytes = 0; /* a server may have been writing: look again */
    if (reader->looked_again != offset) {
        reader->looked_again = offset;
        return STEP_AGAIN;
    }
    scan->offset = found;
    enum scan_result result = scan_next(scan, &header, &payload);
    scan->offset = found;
    if (result != SCAN_BATCH) {
        return fail(reader, ERR_SYSTEM);
    }
    return say(reader,
               "%s, offset %" PRIu64 ": no valid batch stands here (number %" PRIu64
               ", after version %" PRIu64 "); the next one is at offset %" PRIu64
               ": number %" PRIu64 ", after version %" PRIu64,
               reader->name, offset, reader->next_batch, reader->last_version, found, header.number,
               header.first_version - 1);
}

/* Nothing continues what was read. `end`: behind it all is zero. */
static enum step end_of_data(struct log_reader *reader, uint64_t end)
{
    bool is_last = reader->index + 1 == name_count(reader);
    uint64_t offset = reader->scan.offset;
    uint64_t file_bytes = reader->scan.file_bytes;
    bool was_in_step = reader->is_in_step;
    (void)close_segment(reader);
    if (!was_in_step) {
        return STEP_AGAIN; /* that place is told already */
    }
    if (file_bytes != reader->header.segment_bytes) {
        return say(reader,
                   "%s, offset %" PRIu64 ": the segment ends here, after version %" PRIu64
                   ", and has %" PRIu64 " bytes of %" PRIu64 ": it has been cut short or grown",
                   reader->name, offset, reader->last_version, file_bytes,
                   reader->header.segment_bytes);
    }
    if (end > offset && !is_last) {
        return say(reader,
                   "%s, offset %" PRIu64 ": no valid batch stands here (number %" PRIu64
                   ", after version %" PRIu64 "), but %" PRIu64 " bytes of something else",
                   reader->name, offset, reader->next_batch, reader->last_version, end - offset);
    }
    reader->torn_bytes = end - offset;
    return STEP_AGAIN;
}

static enum step end_segment(struct log_reader *reader)
{
    struct log_segment_header next;
    bool has_next;
    bool found = false;
    uint64_t end;
    uint64_t at;
    enum err err = peek(reader, &has_next, &next);
    if (err == OK && has_next && reader->is_in_step && next.first_batch == reader->next_batch &&
        next.first_version == reader->last_version + 1) {
        return close_segment(reader);
    }
    if (err == OK) {
        err = scan_find_end_of_data(&reader->scan, reader->scan.offset, &end);
    }
    if (err == OK && end > reader->scan.offset) {
        err = scan_find(&reader->scan, reader->scan.offset, &found, &at);
    }
    if (err != OK) {
        return fail(reader, err);
    }
    if (found) {
        return damage(reader, at);
    }
    if (has_next && reader->is_in_step) {
        uint64_t offset = reader->scan.offset;
        (void)close_segment(reader);
        return say(reader,
                   "%s, offset %" PRIu64 ": no valid batch stands here (number %" PRIu64
                   ", after version %" PRIu64 "); the next segment begins with number %" PRIu64
                   ", after version %" PRIu64,
                   reader->name, offset, reader->next_batch, reader->last_version, next.first_batch,
                   next.first_version - 1);
    }
    return end_of_data(reader, end);
}

/* ---- batches ---- */

bool log_batch_is_well_formed(const struct log_batch_header *header, struct bytes payload)
{
    uint64_t version = header->first_version;
    uint32_t count = 0;
    while (payload.size > 0) {
        struct log_record record;
        struct bytes operations;
        if (!log_record_decode(&payload, &record, &operations) ||
            (record.type == LOG_RECORD_COMMIT && record.version != version)) {
            return false;
        }
        version += record.type == LOG_RECORD_COMMIT;
        count++;
    }
    return count == header->count && version == header->last_version + 1;
}

static enum step next_batch(struct log_reader *reader)
{
    struct log_batch_header header;
    uint64_t offset = reader->scan.offset;
    switch (scan_next(&reader->scan, &header, &reader->payload)) {
    case SCAN_ERROR:
        return fail(reader, ERR_SYSTEM);
    case SCAN_END:
        return end_segment(reader);
    case SCAN_BATCH:
        break;
    }
    reader->bytes_done = reader->bytes_before + reader->scan.offset;
    bool follows = header.number == reader->next_batch &&
                   header.first_version == reader->last_version + 1 &&
                   header.timestamp_us >= reader->last_us;
    bool is_good =
        (follows || !reader->is_in_step) && log_batch_is_well_formed(&header, reader->payload);
    if (!is_good) {
        (void)say(reader,
                  "%s, offset %" PRIu64 ": batch %" PRIu64 " (versions %" PRIu64 " to %" PRIu64
                  ") is malformed, or stands where batch %" PRIu64 " after version %" PRIu64
                  " should",
                  reader->name, offset, header.number, header.first_version, header.last_version,
                  reader->next_batch, reader->last_version);
    }
    reader->next_batch = header.number + 1;
    reader->last_version = header.last_version;
    reader->last_us = header.timestamp_us;
    if (!is_good) {
        return STEP_PROBLEM;
    }
    reader->is_in_step = true;
    reader->batch = header;
    reader->batch_offset = offset;
    reader->offset = reader->scan.offset;
    return STEP_BATCH;
}

/* ---- all of it ---- */

static bool is_under_repair(const struct log_reader *reader)
{
    return reader->state_result == LOG_READER_STATE_GOOD &&
           reader->state.newest_segment == LOG_SEGMENT_UNDER_REPAIR;
}

static enum step say_state(struct log_reader *reader)
{
    reader->has_said_state = true;
    switch (reader->state_result) {
    case LOG_READER_STATE_MISSING:
        return say(reader, "the file `state` is missing");
    case LOG_READER_STATE_BAD:
        return say(reader, "the file `state` is damaged or of another format");
    case LOG_READER_STATE_GOOD:
        return is_under_repair(reader)
                   ? say(reader, "a repair of this log was cut off; repeat the `weasel log repair`")
                   : STEP_AGAIN;
    case LOG_READER_STATE_NOT_READ:
        return STEP_AGAIN;
    }
    UNREACHABLE();
}

static enum step finish(struct log_reader *reader)
{
    bool told = reader->has_said_end;
    reader->has_said_end = true;
    if (told || reader->state_result != LOG_READER_STATE_GOOD || !reader->state.has_segments ||
        is_under_repair(reader)) {
        return STEP_END;
    }
    if (name_count(reader) == 0) {
        return say(reader, "all segments are missing: `state` knows of number %" PRIu64,
                   reader->state.newest_segment);
    }
    if (reader->knows_number && reader->number < reader->state.newest_segment) {
        return say(reader,
                   "segment number %" PRIu64 " is missing: the last one here is %s, number %" PRIu64
                   ", which ends with version %" PRIu64,
                   reader->state.newest_segment, reader->name, reader->number,
                   reader->last_version);
    }
    return STEP_END;
}

static enum step take_step(struct log_reader *reader)
{
    if (!reader->has_said_state) {
        return say_state(reader);
    }
    if (reader->is_open) {
        return reader->is_begun ? next_batch(reader) : begin_segment(reader);
    }
    return reader->index < name_count(reader) ? open_segment(reader) : finish(reader);
}

enum log_reader_event log_reader_next(struct log_reader *reader)
{
    enum step step;
    do {
        step = take_step(reader);
    } while (step == STEP_AGAIN);
    return (enum log_reader_event)step;
}
