/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sse_reader: events out of a text/event-stream (WHATWG HTML, "Server-sent events"), as the bytes
 * come, in pieces of any size.
 *
 *   struct sse_reader reader;
 *   sse_reader_init(&reader, take, context);
 *   sse_reader_push(&reader, bytes);          for each piece
 *   sse_reader_deinit(&reader);
 *
 * What stands behind the last blank line is no event, and is never handed on. Runs on: one thread.
 * Blocks: never.
 */
#ifndef CLI_SSE_READER_H
#define CLI_SSE_READER_H

#include "base/err.h"
#include "cli/buffer.h"

enum { SSE_EVENT_BYTES_MAX = 1 << 30 };

/* The views live during the call. */
struct sse_message {
    struct bytes event; /* "message" when the stream names none */
    struct bytes id;    /* of this event or the last one that had one; empty: none */
    struct bytes data;
};

/* false: no further event is wanted. */
typedef bool sse_take(void *context, const struct sse_message *message);

struct sse_reader {
    sse_take *take;
    void *context;
    struct buffer line; /* that has begun, in earlier pieces */
    struct buffer event;
    struct buffer id;
    struct buffer data; /* each line with its LF */
    bool after_cr;      /* an LF that comes first belongs to the CR before it */
    bool has_begun;     /* a byte order mark can no longer come */
    bool has_retry;
    uint64_t retry_ms; /* how long the server wants to be left alone after the stream's end */
};

void sse_reader_init(struct sse_reader *reader, sse_take *take, void *context);
void sse_reader_deinit(struct sse_reader *reader);

/* For a new stream: forgets what has begun, keeps retry_ms and the last id. */
void sse_reader_restart(struct sse_reader *reader);

/* ERR_CLOSED: `take` has refused; ERR_LIMIT: an event is larger than SSE_EVENT_BYTES_MAX. The
 * stream ends then. */
enum err sse_reader_push(struct sse_reader *reader, struct bytes piece) WARN_UNUSED;

#endif
