/* SPDX-License-Identifier: Apache-2.0 */
/*
 * feed_encoder: turns the durable log into events, piece by piece, from any version on.
 *
 * The encoding of a batch is one string of bytes that depends on the format alone (and the filter);
 * the encoder can stop and go on anywhere in it, even in the middle of a value. Where it stands is
 * a value (struct feed_position), which may be copied: so pieces that one encoder has made can be
 * used by others, and nothing grows with the size of a transaction.
 *
 * Runs on:  one thread at a time. Blocks: while the log is read (commitlog/cursor.h).
 * Owns:     what is needed to check a large batch. Borrows: the filter's keys.
 */
#ifndef WEASELDB_FEED_ENCODER_H
#define WEASELDB_FEED_ENCODER_H

#include "commitlog/cursor.h"
#include "weaseldb/feed_filter.h"
#include "weaseldb/feed_format.h"

enum feed_phase {
    FEED_AT_BATCH,       /* between batches */
    FEED_IN_CHECK,       /* the batch's checksum is being worked out */
    FEED_AT_RECORD,      /* between records of a batch that is right */
    FEED_IN_MEASURE,     /* the record is looked through, to know its size or what is wanted */
    FEED_AT_TRANSACTION, /* to be written from its head on */
    FEED_AT_OPERATION,
    FEED_IN_KEY,
    FEED_IN_VALUE,
};

/* Some bytes to be written: of the batch's payload, or in memory. */
struct feed_piece {
    const char *memory; /* NULL: in the payload */
    uint64_t at;
    uint64_t size;
};

struct feed_position {
    struct log_cursor cursor;
    uint64_t version; /* everything up to it has been given, or is not wanted */
    uint64_t told;    /* the id of the last event: the next one's prev_version */
    uint64_t encoded; /* bytes of the batch in progress that have been written */
    bool is_partial;  /* the beginning of that batch is not wanted */
    enum feed_phase phase;
    struct log_batch_header header; /* of that batch */
    uint64_t at;                    /* in its payload: the record in progress or the next */
    uint64_t record_end;
    uint64_t operations_at;   /* of the record */
    uint64_t operation_at;    /* the next one to look at */
    uint32_t clip;            /* the next range of the filter, when one operation gives several */
    uint32_t operation_count; /* written, or measured */
    uint64_t operations_bytes;
    uint64_t record_version;
    struct feed_operation operation; /* in progress */
    struct feed_piece key;
    struct feed_piece value;
};

enum feed_step {
    FEED_MORE,    /* the room, or the work of one step, is used up: go on */
    FEED_BATCH,   /* a batch is over: go on */
    FEED_END,     /* nothing more is durable */
    FEED_GONE,    /* the log no longer has what comes next */
    FEED_DAMAGED, /* the log is not what was written */
    FEED_FAILED,  /* the log could not be read */
};

struct feed_encoder {
    enum feed_format format;
    struct feed_filter filter;
    struct feed_position position;
    struct log_payload_hasher *hasher; /* of a large batch in FEED_IN_CHECK */
};

/* Everything behind the version `after`. False: the log begins later. */
bool feed_position_open(struct log_cursor_reader *reader, uint64_t after,
                        struct feed_position *out);

/* No event is half written. */
bool feed_position_is_between_events(const struct feed_position *position);

/* Writes at `out` up to `room` (at least FEED_PART_BYTES_MAX) bytes; *size says how many, none
 * included. After FEED_GONE and what follows it, the encoder must not be used further. */
enum feed_step feed_encoder_run(struct feed_encoder *encoder, struct log_cursor_reader *reader,
                                uint64_t durable, char *out, size_t room, size_t *size);

void feed_encoder_deinit(struct feed_encoder *encoder);

#endif
