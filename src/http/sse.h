/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sse: events of a text/event-stream (WHATWG HTML, "Server-sent events"), written into memory.
 *
 *   size = sse_event_bytes(&event);     reserve that much
 *   sse_event_write(&event, out);       then write
 *
 * Runs on: any thread. Never blocks, never allocates, never fails.
 */
#ifndef HTTP_SSE_H
#define HTTP_SSE_H

#include "base/bytes.h"

/* A field with data NULL is left out; one with size 0 is sent empty. */
struct sse_event {
    struct bytes event; /* type; no line breaks */
    struct bytes id;    /* what Last-Event-ID will say; no line breaks, no NUL */
    struct bytes data;  /* any text; CR, LF and CR LF break lines, and arrive as LF */
    bool has_retry;     /* then retry_ms is sent */
    uint64_t retry_ms;  /* how long a client shall wait before it connects again */
};

/* The exact size of the written event, the blank line at its end included. */
size_t sse_event_bytes(const struct sse_event *event);

/* Writes the event at `out`, which has room for sse_event_bytes(); returns that size. */
size_t sse_event_write(const struct sse_event *event, char *out);

#endif
