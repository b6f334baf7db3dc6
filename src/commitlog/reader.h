/* SPDX-License-Identifier: Apache-2.0 */
/*
 * reader: goes through a whole log, or one segment, batch by batch, without changing anything, and
 * past damage too; docs/log-format.md has the rules that it judges by.
 *
 *   log_reader_open(&reader, storage, NULL, from)
 *   while ((event = log_reader_next(&reader)) is not the end)
 *       look at reader.name, .header, .batch, .payload, .problem
 *   log_reader_close(&reader)
 *
 * A server may write to the log meanwhile. What is read is what was there when the reader was
 * opened, and more of the last segment; what a server is just writing looks like a torn end.
 *
 * Runs on: one thread. Blocks: while it reads. Memory: one batch, however long the log is.
 * Borrows: the storage, until close.
 */
#ifndef COMMITLOG_READER_H
#define COMMITLOG_READER_H

#include "commitlog/log_internal.h"
#include "commitlog/scan.h"
#include "commitlog/segment_names.h"

enum log_reader_event {
    LOG_READER_SEGMENT, /* one begins: name, header */
    LOG_READER_BATCH,   /* batch, batch_offset, payload */
    LOG_READER_PROBLEM, /* problem says what is damaged or missing; the next call goes on behind */
    LOG_READER_END,
    LOG_READER_ERROR, /* ERR_SYSTEM or ERR_MEMORY, in `error`; errno says why */
};

enum log_reader_state {
    LOG_READER_STATE_GOOD,
    LOG_READER_STATE_MISSING,
    LOG_READER_STATE_BAD,
    LOG_READER_STATE_NOT_READ, /* a segment is read by itself */
};

struct log_reader {
    /* What was found. */
    enum log_reader_state state_result;
    struct log_state state;
    uint64_t log_id;   /* of `state`, or else of the first sound segment */
    bool knows_log_id; /* until then: false */
    const char *name;  /* of the segment being read */
    struct log_segment_header header;
    struct log_batch_header batch;
    uint64_t batch_offset;
    struct bytes payload; /* lives until the next call */
    struct log_problem problem;
    uint64_t problems;
    uint64_t offset;       /* in the segment: behind the last batch */
    uint64_t last_version; /* of it, or the one before the segment's first */
    uint64_t torn_bytes;   /* behind the end: a write that was torn, or is under way */
    uint64_t bytes_done;   /* of the files */
    uint64_t bytes_all;
    uint64_t removed_segments; /* that a server has removed meanwhile */
    uint64_t leftovers; /* segments below the oldest of `state`: the next start removes them */
    enum err error;

    /* The reader's own. */
    struct storage *storage;
    const char *single; /* the one file to be read; NULL: all of a log */
    struct log_names segments;
    size_t index; /* of the segment being read, or the next one */
    bool is_open;
    bool is_begun; /* LOG_READER_SEGMENT was told */
    struct scan scan;
    char name_bytes[STORAGE_NAME_BYTES];
    bool has_said_state; /* what is wrong with `state` */
    bool expects_oldest; /* the next segment must be the oldest of `state` */
    bool has_said_end;   /* that the newest segment is missing */
    bool knows_number;   /* of the segment before */
    uint64_t number;
    uint64_t bytes_before; /* of the segment being read */
    uint64_t looked_again; /* at this offset, before damage is told; 0: nowhere */
    bool is_in_step; /* the next batch must be the one after the last: nothing is lost between */
    uint64_t next_batch;
    uint64_t last_us;
};

/* `single`: the name of one segment to read by itself, which outlives the reader; NULL: the log.
 * Segments that end before version `from` are left out; 0: none. ERR_CLOSED: there is no
 * segment and no `state`, so it is not a log. ERR_SYSTEM, ERR_MEMORY. On errors nothing is open. */
enum err log_reader_open(struct log_reader *reader, struct storage *storage, const char *single,
                         uint64_t from) WARN_UNUSED;
void log_reader_close(struct log_reader *reader);

enum log_reader_event log_reader_next(struct log_reader *reader);

/* Whether the records are as many, and their versions those, that the header tells. */
bool log_batch_is_well_formed(const struct log_batch_header *header, struct bytes payload);

#endif
