/* SPDX-License-Identifier: Apache-2.0 */
/*
 * feed_format: what stands between the keys and values of an event, in each framing of the feed.
 *
 * An event is written in parts, so that a transaction of any size can be: its head; for each
 * operation a head, key, middle, value (or the end of a range), tail; its tail. A part takes at
 * most FEED_PART_BYTES_MAX. docs/feed.md shows the whole.
 *
 * Runs on: any thread. Never blocks, never allocates, never fails.
 */
#ifndef WEASELDB_FEED_FORMAT_H
#define WEASELDB_FEED_FORMAT_H

#include "base/bytes.h"
#include "txn/txn.h"

enum feed_format {
    FEED_SSE,      /* text/event-stream */
    FEED_NDJSON,   /* application/x-ndjson */
    FEED_PROTOBUF, /* application/protobuf: FeedEvent messages, each behind its size */
    FEED_FORMATS,
};

enum { FEED_PART_BYTES_MAX = 1280 };

/* The Content-Type. */
struct bytes feed_media_type(enum feed_format format);

struct feed_transaction {
    uint64_t version;
    uint64_t prev_version;
    uint64_t timestamp_us;
    struct bytes request_id;
    uint64_t operations_bytes; /* as feed_operation_bytes() adds up */
};

struct feed_operation {
    enum txn_operation_type type;
    uint64_t key_bytes;
    uint64_t value_bytes; /* of a delete: 0 */
};

/* Why a stream ends. */
struct feed_end {
    const char *reason;
    uint64_t retry_ms;          /* 0: left out */
    uint64_t log_start_version; /* 0: left out */
};

/* Of Protobuf: how much an operation takes in its transaction. Of the others: 0. */
uint64_t feed_operation_bytes(enum feed_format format, const struct feed_operation *operation);

/* Each writes at `out` and returns how many bytes. `first`: it is the transaction's first. */
size_t feed_put_transaction(enum feed_format format, const struct feed_transaction *transaction,
                            char *out);
size_t feed_put_operation(enum feed_format format, const struct feed_operation *operation,
                          bool first, char *out);
size_t feed_put_middle(enum feed_format format, const struct feed_operation *operation, char *out);
size_t feed_put_operation_tail(enum feed_format format, char *out);
size_t feed_put_transaction_tail(enum feed_format format, char *out);

/* Some of a key or value: as much of `from` as `room` takes; *out_taken says how much. `is_last`:
 * nothing of it follows; else all but a few bytes may be taken. */
size_t feed_put_bytes(enum feed_format format, struct bytes from, bool is_last, size_t room,
                      char *out, size_t *out_taken);

/* Whole events. */
size_t feed_put_progress(enum feed_format format, uint64_t version, char *out);
size_t feed_put_end(enum feed_format format, const struct feed_end *end, char *out);

#endif
