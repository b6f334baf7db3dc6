/* SPDX-License-Identifier: Apache-2.0 */
/*
 * conn: one connection, who owns it, and what is in progress on it.
 *
 * Ownership moves accept thread -> home poller -> (service stage -> home poller)* -> free, and each
 * move is one operation on the owner word (docs/threads.md has the table):
 *
 *   conn_hand()    accept thread: FREE -> HANDED; epoll_ctl(ADD) follows as its last touch
 *   conn_take()    poller, at the first event: HANDED -> POLLER
 *   conn_lend()    poller: POLLER -> STAGE; publishing the ring slot follows as its last touch
 *   conn_return()  last stage: STAGE -> RETURNED; the push to the home inbox follows likewise
 *   conn_resume()  poller, from its inbox: RETURNED -> POLLER
 *   conn_free()    poller: POLLER -> FREE; then the slot may be used again
 *
 * A connection has one home poller for life. Only the home poller sees its events; epoll carries
 * slot and generation, never a pointer, so an event for an earlier life of the slot is recognized.
 */
#ifndef ENGINE_CONN_H
#define ENGINE_CONN_H

#include "base/check.h"
#include "base/list.h"
#include "engine/deadline.h"
#include "engine/exchange.h"
#include "http/parser.h"

#include <assert.h>
#include <stdatomic.h>

struct poller;

enum conn_owner { CONN_FREE, CONN_HANDED, CONN_POLLER, CONN_STAGE, CONN_RETURNED };

/* What the home poller waits for. */
enum conn_state {
    CONN_IDLE,     /* the first byte of a request; no buffers are held */
    CONN_HEAD,     /* the rest of a request line and headers */
    CONN_BODY,     /* the rest of a body */
    CONN_DISPATCH, /* earlier answers to leave, so that a complete request can go to its pipeline */
    CONN_AWAY,     /* a pipeline to give the connection back */
    CONN_LEAVING,  /* room at the client for the rest of an answer that still lies in the arena */
    CONN_STREAM,   /* a wake-up, a time, or room at the client */
    CONN_LINGER,   /* the client to read the last answer and close */
};

/* Everything of the request in progress; lives at the start of the connection's arena. */
struct active {
    struct exchange exchange;
    struct http_parser parser;
    struct conn *conn;
    char *body; /* where a body is gathered that does not lie whole in the input; NULL: none */
    size_t body_size;
    size_t body_capacity;
    uint32_t head_size;                /* of the input, from input_head on */
    struct arena_mark after;           /* everything behind it belongs to the request */
    uint64_t begun_ms;                 /* when its first byte was seen; deadlines count from here */
    enum http_parser_event body_event; /* of the last receive_body() */
    bool begun;                        /* the parser is set up for a request */
    bool routed;
    bool stream_chunked;
    bool stream_is_behind; /* its source had more, and the socket took all that it gave */
};

struct conn {
    /* The home poller's alone. */
    struct deadline deadline;
    enum conn_state state;
    bool readable;    /* epoll has reported input that has not been read to its end */
    bool half_closed; /* epoll has reported that the client has shut down: read on to the end */
    bool at_end;      /* the end of the client's bytes has been read */
    bool closing;     /* no request after the one in progress */
    bool unread;      /* the last answer was given although the client may still be sending */
    bool served;      /* at least one request has been answered */
    enum conn_state counted_state; /* where the metrics count it */
    bool had_share;                /* its last turn ended with work left to do */
    bool is_ready;                 /* in the poller's list of connections to go on with */
    struct list_link link;         /* in one of the poller's lists, or in none */
    struct chunk *input;           /* received bytes; NULL when there are none */
    uint32_t input_head;           /* where the request in progress starts */
    uint32_t input_fed;            /* what the parser has seen */
    uint32_t input_end;
    uint64_t lingered_bytes;
    struct chunk *pending; /* answers that the socket did not take; NULL: none */
    uint32_t pending_begin;
    uint32_t pending_end;
    struct bytes pending_body; /* what follows them: a view into the arena */
    uint64_t blocked_ms;       /* since when the client has made no room for them */

    /* Handed over together with the ownership. */
    struct arena arena;
    struct active *active; /* in the arena; NULL between requests */
    struct conn *inbox_next;

    /* Fixed from accept to close. */
    struct poller *home;
    int fd;
    uint32_t generation; /* changes at close */

    /* Shared: the owner word. */
    _Atomic uint32_t owner;
    uint32_t next_free; /* list of free slots; under the poller's lock */
};

static_assert(sizeof(struct conn) <= 256, "15,000 idle connections cost less than 1 KiB each");

/* Moves the owner word from `from` to `to`.
 * acq_rel: pairs with the same exchange of the one before and the one after. Acquire makes visible
 * what the last owner did to the connection; release publishes what this one did. */
static inline void conn_move(struct conn *conn, enum conn_owner from, enum conn_owner to)
{
    uint32_t was = atomic_exchange_explicit(&conn->owner, (uint32_t)to, memory_order_acq_rel);
    CHECK(was == (uint32_t)from);
}

static inline void conn_hand(struct conn *conn)
{
    conn_move(conn, CONN_FREE, CONN_HANDED);
}

static inline void conn_take(struct conn *conn)
{
    conn_move(conn, CONN_HANDED, CONN_POLLER);
}

static inline void conn_lend(struct conn *conn)
{
    conn_move(conn, CONN_POLLER, CONN_STAGE);
}

static inline void conn_return(struct conn *conn)
{
    conn_move(conn, CONN_STAGE, CONN_RETURNED);
}

static inline void conn_resume(struct conn *conn)
{
    conn_move(conn, CONN_RETURNED, CONN_POLLER);
}

static inline void conn_free(struct conn *conn)
{
    conn_move(conn, CONN_POLLER, CONN_FREE);
}

/* False once the poller has closed it; the slot stays as it is until the end of the event batch. */
static inline bool conn_is_open(const struct conn *conn)
{
    return conn->fd >= 0;
}

/* Puts it into one of its home poller's lists, out of any other. */
static inline void conn_list(struct list_link *head, struct conn *conn)
{
    conn->is_ready = false;
    list_move(head, &conn->link);
}

static inline void conn_unlist(struct conn *conn)
{
    conn->is_ready = false;
    list_remove(&conn->link);
}

static inline struct conn *conn_of_link(struct list_link *link)
{
    return (struct conn *)(void *)((char *)link - offsetof(struct conn, link));
}

static inline struct active *active_of(struct exchange *exchange)
{
    return (struct active *)(void *)((char *)exchange - offsetof(struct active, exchange));
}

#endif
