/* SPDX-License-Identifier: Apache-2.0 */
/*
 * serve: the life of a request on its network thread, as a state machine over enum conn_state.
 *
 *   receive -> parse -> route -> gather the body -> handle -> answer -> next request
 *
 * Runs on: the home poller, which owns the connection. Never blocks.
 */
#ifndef ENGINE_SERVE_H
#define ENGINE_SERVE_H

#include "engine/poller.h"

enum {
    SERVE_SLOW_BYTES_PER_SEC = 65536,
    SERVE_SLOW_REQUEST_MS = 100, /* no request is slow before */
    SERVE_SLOW_READER_MS = 1000,
};

/* Goes on with the connection as far as it can: until input or room is missing, it is lent to a
 * pipeline, its turn is over (then it is in the ready list), or it is closed. */
void serve_turn(struct poller *poller, struct conn *conn);

/* The pipeline has given the connection back with its answer. */
void serve_returned(struct poller *poller, struct conn *conn);

/* The connection's deadline has come. */
void serve_deadline(struct poller *poller, struct conn *conn);

/* Whether a client holds memory and is too slow to keep it when there is little: its request has
 * come at less than SERVE_SLOW_BYTES_PER_SEC, or it has taken none of its answer for a while. */
bool serve_is_slow(const struct poller *poller, const struct conn *conn);

/* Takes it from such a client: 503, or the end of the connection where an answer is under way. */
void serve_shed(struct poller *poller, struct conn *conn);

/* The server shuts down: ends what waits for a new request. */
void serve_drain(struct poller *poller, struct conn *conn);

/* For streams: gives the answer in the exchange, or the head of one whose body follows. False: the
 * turn is over (for the head: only because the connection is closed). */
bool serve_answer(struct poller *poller, struct conn *conn);
bool serve_stream_head(struct poller *poller, struct conn *conn);

/* For streams: the whole body has left. */
void serve_left(struct conn *conn);

#endif
