/* SPDX-License-Identifier: Apache-2.0 */
/*
 * receive: bytes from the socket to where they are parsed.
 *
 * The head of a request is read into the connection's input chunk and stays there. A body of known
 * length that does not lie whole behind its head gets its room at once and is read straight to
 * where it will be parsed. A chunked one is read behind the head again and again and gathered
 * without its framing, in room that grows with it. So is any body that would leave less than a
 * quarter of the memory budget: clients that announce bodies and never send them cannot take that.
 *
 * Runs on: the home poller, which owns the connection. Never blocks.
 */
#ifndef ENGINE_RECEIVE_H
#define ENGINE_RECEIVE_H

#include "engine/poller.h"

enum receive_result {
    RECEIVE_SOME,      /* there are new bytes to parse */
    RECEIVE_WAIT,      /* nothing there; epoll will tell */
    RECEIVE_END,       /* the client has shut down its side */
    RECEIVE_BROKEN,    /* the connection is lost */
    RECEIVE_NO_MEMORY, /* the budget refused a buffer */
};

/* Reads once, into the input chunk (taken, compacted or grown first when there is no room). */
enum receive_result receive_input(struct poller *poller, struct conn *conn);

/* Whether there is room for the whole of a body whose length is known. */
static inline bool receive_is_direct(const struct active *active)
{
    const struct http_request *request = &active->exchange.request;
    return request->has_content_length && active->body != NULL &&
           active->body_capacity == request->content_length;
}

/* Reads once, into the rest of such a body; nothing passes through the input. */
enum receive_result receive_body(struct poller *poller, struct conn *conn);

/* Makes room for a body of `size` bytes, of which the first bytes may be in the input already.
 * False: memory is short, and the room will grow as the body comes. */
bool receive_try_reserve_body(struct poller *poller, struct active *active, size_t size);

/* A http_body_sink (context: the struct active): gathers pieces, within the route's limit. */
bool receive_gather(void *context, struct bytes piece, struct http_problem *problem);

/* Reads and forgets, into the poller's output buffer. *out_size: how much. */
enum receive_result receive_discard(struct poller *poller, struct conn *conn, size_t *out_size);

/* Gives the input chunk back. */
void receive_release(struct poller *poller, struct conn *conn);

#endif
