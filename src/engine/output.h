/* SPDX-License-Identifier: Apache-2.0 */
/*
 * output: how answers leave.
 *
 * The poller has one output buffer, used for one connection at a time: all answers of a pipelined
 * burst are gathered there and leave in one write. What the socket does not take is copied to a
 * chunk of the connection and waits for room; until it has left, no further request is served.
 *
 * Runs on: the home poller, which owns the connection. Never blocks.
 */
#ifndef ENGINE_OUTPUT_H
#define ENGINE_OUTPUT_H

#include "engine/poller.h"

enum output_result {
    OUTPUT_DONE,    /* everything has left */
    OUTPUT_PENDING, /* the socket is full; the write deadline is set */
    OUTPUT_BROKEN,  /* the connection is lost, or no memory is left to keep the rest */
};

/* The largest head of an answer (its own header lines included) with a copied body. */
enum { OUTPUT_ROOM_BYTES = POLLER_OUTPUT_BYTES / 2 };

/* Whether another answer fits; if not, flush before taking up a request. */
static inline bool output_has_room(const struct poller *poller)
{
    return poller->output_size <= POLLER_OUTPUT_BYTES - OUTPUT_ROOM_BYTES;
}

/* Appends the exchange's response (head, and body unless it was HEAD) to the poller's output. A
 * large body is not copied: it is sent at once, with all that stands before it, from where it lies.
 * OUTPUT_PENDING: the response counts as given; its body must stay until it has left. */
enum output_result output_answer(struct poller *poller, struct conn *conn,
                                 const struct exchange *exchange);

/* Appends a few bytes; there must be room. */
void output_append(struct poller *poller, struct bytes bytes);

/* Sends the poller's output. */
enum output_result output_flush(struct poller *poller, struct conn *conn);

/* Sends what was kept of earlier answers. */
enum output_result output_resume(struct poller *poller, struct conn *conn);

static inline bool output_is_pending(const struct conn *conn)
{
    return conn->pending != NULL || conn->pending_body.size > 0;
}

/* The time that the client has to make room begins now. */
void output_wait_for_room(struct poller *poller, struct conn *conn);

/* Forgets what was kept. */
void output_discard(struct poller *poller, struct conn *conn);

#endif
