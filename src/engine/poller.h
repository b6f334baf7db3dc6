/* SPDX-License-Identifier: Apache-2.0 */
/*
 * poller: a network thread. One epoll instance, and every connection that calls it home.
 *
 * A connection is registered once, edge-triggered for both directions, and is never armed again:
 * the poller remembers what was reported until it has used it. A connection that a stage owns is
 * left alone; stages give it back through the inbox, a lock-free list, and ring the doorbell (an
 * eventfd) only when the poller sleeps. docs/decisions/ says what that saves over EPOLLONESHOT.
 *
 * Runs on: its own thread; poller_post_*() and poller_try_reserve() are for other threads.
 * Blocks:  in epoll_wait() only.
 */
#ifndef ENGINE_POLLER_H
#define ENGINE_POLLER_H

#include "base/thread.h"
#include "engine/conn.h"
#include "engine/core.h"

#include <pthread.h>

enum {
    POLLERS_MAX = 64,             /* a stage remembers in one word which to wake */
    POLLER_EVENTS_MAX = 256,      /* of one epoll_wait() */
    POLLER_OUTPUT_BYTES = 131072, /* answers gathered for one write */
    POLLER_BURST_MAX = 64,        /* requests of one connection before others have their turn */
    POLLER_CACHE_BYTES = 4 << 20, /* of free chunks kept */
    POLLER_STREAMS_NS = 20000,    /* of streams, before others have their turn */
    POLLER_STREAMS_SHARE = 16,    /* streams have one part of so many while there are requests */
};

/* While memory is short, so often at most, those that are too slow to keep theirs are looked for.
 */
enum { POLLER_SHED_MS = 10 };

/* Of each round, for connections that have had their share and for those that are late. */
#define POLLER_SHARE_NS UINT64_C(250000)

/* What other threads ask a poller to do; bits of `asked`. */
enum poller_request {
    POLLER_DRAIN = 1,
    POLLER_STOP = 2,
    POLLER_WAKE_STREAMS = 4,
};

/* So many answers are counted together, after one look at the clock: their latencies come out too
 * long by the time of as many requests at most, which is less than the histogram can tell. */
enum { POLLER_SETTLE = 8 };

/* An answer that the metrics do not know of yet. */
struct poller_answered {
    uint32_t series; /* route index; ENGINE_NO_ROUTE: none */
    uint32_t status;
    uint64_t started_ns;
};

struct poller {
    /* Fixed after init. */
    struct engine_core *core;
    unsigned index;
    int epoll_fd;
    int doorbell_fd;
    struct thread thread;
    struct conn *conns; /* slots; untouched ones cost no memory */
    uint32_t conn_slots;
    struct metrics_cells *cells;

    /* The thread's own. */
    struct chunk_pool pool;
    struct deadline_wheel wheel;
    struct list_link ready; /* connections to go on with */
    struct list_link held;  /* that hold memory and wait for their clients, the one that has waited
                               longest first */
    uint32_t closed_first;  /* slots closed in this batch; UINT32_MAX: none */
    struct list_link streams_due;     /* in the order of their turns */
    struct list_link streams_waiting; /* for their sources */
    int64_t streams_credit_ns;        /* time that they may take while there are requests */
    uint32_t turns;                   /* of all others, in this round */
    uint32_t lent;                    /* connections that stages have */
    uint64_t now_ns;
    uint64_t now_ms;
    uint64_t shed_at_ms;   /* when to look for slow ones again */
    uint64_t refused_seen; /* of the budget's refusals */
    uint32_t
        pipelines_touched; /* bit i: pipeline i has items that its threads were not woken for */
    int64_t date_second;
    char date_line[HTTP_DATE_LINE_BYTES];
    bool draining;
    char *output; /* POLLER_OUTPUT_BYTES */
    size_t output_size;
    size_t turn_bytes; /* sent in the turn under way */
    size_t turn_received;
    uint64_t received_bytes; /* that the metrics do not know of yet */
    uint64_t sent_bytes;
    unsigned answered_count;
    struct poller_answered answered[POLLER_BURST_MAX];

    /* Shared with all threads. */
    _Alignas(64) _Atomic(struct conn *) inbox; /* newest first */
    _Atomic uint32_t asked;                    /* bits of enum poller_request */
    _Atomic uint32_t asleep;                   /* 1: in, or about to enter, epoll_wait() */
    _Atomic uint32_t stream_count;
    pthread_mutex_t free_lock;
    uint32_t free_first; /* under free_lock; UINT32_MAX: none */
    uint32_t untouched;  /* under free_lock: slots from here on were never used */
};

/* ERR_MEMORY, ERR_SYSTEM. On an error nothing is left behind. */
enum err poller_init(struct poller *poller, struct engine_core *core, unsigned index,
                     uint32_t conn_slots) WARN_UNUSED;
enum err poller_start(struct poller *poller) WARN_UNUSED;

/* One round of its thread, which without poller_start() is whoever calls this: a fuzzer. False: it
 * was asked to stop. */
bool poller_step(struct poller *poller, bool may_sleep);

/* After its thread has ended. */
void poller_deinit(struct poller *poller);

/* The poller's thread: puts `conn` behind the others that go on in the next round. */
void poller_make_ready(struct poller *poller, struct conn *conn);

/* The poller's thread: ends the connection, whatever is in progress; `reset`: what has not reached
 * the client yet is thrown away. */
void poller_close_conn(struct poller *poller, struct conn *conn, bool reset);

/* Accept threads: a free slot, or NULL when all are taken. Counts as open from now on. */
struct conn *poller_try_reserve(struct poller *poller);

/* Accept threads: makes `fd` the reserved connection and hands it over. ERR_SYSTEM: epoll refused;
 * the slot is free again and `fd` is still the caller's. */
enum err poller_hand(struct poller *poller, struct conn *conn, int fd) WARN_UNUSED;

/* Service threads: gives `conn` back. The poller is not woken before poller_ring(). */
void poller_post_conn(struct conn *conn);

/* Any thread: sets a bit of enum poller_request and wakes the poller if it sleeps. */
void poller_ask(struct poller *poller, enum poller_request request);

/* The poller's thread: notes an answer for poller_settle(). */
static inline void poller_note_answer(struct poller *poller, uint32_t series, uint32_t status,
                                      uint64_t started_ns)
{
    CHECK(poller->answered_count < POLLER_BURST_MAX);
    poller->answered[poller->answered_count++] =
        (struct poller_answered){series, status, started_ns};
}

/* The poller's thread: counts what was answered, received and sent since the last time. */
void poller_settle(struct poller *poller);

/* Any thread: wakes the poller if it sleeps. */
void poller_ring(struct poller *poller);

#endif
