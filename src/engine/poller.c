/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The network thread's loop:
 *
 *   sleep in epoll_wait() -> events -> returned connections -> connections whose turn was up
 *     -> deadlines -> slow ones, when memory is short -> what others asked -> wake the pipelines
 *     -> some streams -> wake the pipelines -> free the closed slots -> count
 *
 * Sleeping. Before it may block, the poller stores asleep = 1 and then looks at `inbox` and `asked`
 * once more. Others first put something there and then look at `asleep`. Both sides use
 * sequentially consistent operations on both words, so in the single order of all of them either
 * the poller's second look sees what was put, or the other's look sees asleep = 1 and rings. The
 * doorbell is edge-triggered and never read: each write to an eventfd is an edge of its own.
 *
 * Events. Each connection is registered once with EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET. That
 * it is writable at once makes the first event come immediately, so a connection that never sends a
 * byte has its deadline from the start. An event for a connection that a stage owns is only noted.
 *
 * Streams. Requests come first: streams have their turns one by one, a few in each round, from the
 * time that requests leave (turn_streams()). One that is late is given more at once, in larger
 * pieces, so what is saved is not lost to them.
 *
 * Invariants
 *  1. Nothing of a slot is touched before conn_take() or while its state is CONN_AWAY, but the
 *     poller's own fields.
 *  2. A closed slot goes back to the free list only after the event batch; its generation has
 *     changed, so later events of the batch for its earlier life are dropped and counted.
 */
#include "engine/poller.h"

#include "base/bug.h"
#include "base/clock.h"
#include "engine/answer.h"
#include "engine/output.h"
#include "engine/pipeline_internal.h"
#include "engine/receive.h"
#include "engine/serve.h"
#include "engine/stream.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define NO_SLOT UINT32_MAX
#define DOORBELL UINT64_MAX /* epoll's word for it; no slot has that number */

static uint64_t epoll_word(const struct poller *poller, const struct conn *conn)
{
    return (uint64_t)conn->generation << 32 | (uint64_t)(conn - poller->conns);
}

enum err poller_init(struct poller *poller, struct engine_core *core, unsigned index,
                     uint32_t conn_slots)
{
    memset(poller, 0, sizeof *poller);
    poller->core = core;
    poller->index = index;
    poller->conn_slots = conn_slots;
    poller->closed_first = NO_SLOT;
    poller->free_first = NO_SLOT;
    poller->date_second = -1;
    poller->now_ns = clock_monotonic_ns();
    poller->now_ms = poller->now_ns / 1000000;
    size_t cache_bytes_max =
        core->cache_bytes_max < POLLER_CACHE_BYTES ? core->cache_bytes_max : POLLER_CACHE_BYTES;
    chunk_pool_init(&poller->pool, &core->budget, cache_bytes_max);
    list_init(&poller->ready);
    list_init(&poller->held);
    list_init(&poller->streams_due);
    list_init(&poller->streams_waiting);
    deadline_wheel_init(&poller->wheel, poller->now_ms);
    CHECK(pthread_mutex_init(&poller->free_lock, NULL) == 0);
    poller->conns = mmap(NULL, conn_slots * sizeof(struct conn), PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    poller->output = aligned_alloc(4096, POLLER_OUTPUT_BYTES);
    poller->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    poller->doorbell_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    struct epoll_event doorbell = {.events = EPOLLIN | EPOLLET, .data.u64 = DOORBELL};
    if (poller->conns == MAP_FAILED || poller->output == NULL) {
        poller_deinit(poller);
        return ERR_MEMORY;
    }
    if (poller->epoll_fd < 0 || poller->doorbell_fd < 0 ||
        epoll_ctl(poller->epoll_fd, EPOLL_CTL_ADD, poller->doorbell_fd, &doorbell) != 0) {
        poller_deinit(poller);
        return ERR_SYSTEM;
    }
    poller->cells = metrics_cells_open(core->metrics);
    return OK;
}

void poller_deinit(struct poller *poller)
{
    int saved_errno = errno;
    chunk_pool_deinit(&poller->pool);
    if (poller->conns != MAP_FAILED) {
        (void)munmap(poller->conns, poller->conn_slots * sizeof(struct conn));
    }
    free(poller->output);
    if (poller->epoll_fd >= 0) {
        (void)close(poller->epoll_fd);
    }
    if (poller->doorbell_fd >= 0) {
        (void)close(poller->doorbell_fd);
    }
    (void)pthread_mutex_destroy(&poller->free_lock);
    errno = saved_errno;
}

/* ---- other threads ---- */

struct conn *poller_try_reserve(struct poller *poller)
{
    struct conn *conn = NULL;
    CHECK(pthread_mutex_lock(&poller->free_lock) == 0);
    if (poller->free_first != NO_SLOT) {
        conn = &poller->conns[poller->free_first];
        poller->free_first = conn->next_free;
    } else if (poller->untouched < poller->conn_slots) {
        conn = &poller->conns[poller->untouched++];
    }
    CHECK(pthread_mutex_unlock(&poller->free_lock) == 0);
    return conn;
}

static void slot_free(struct poller *poller, struct conn *conn)
{
    conn->next_free = poller->free_first;
    poller->free_first = (uint32_t)(conn - poller->conns);
}

enum err poller_hand(struct poller *poller, struct conn *conn, int fd)
{
    conn->home = poller;
    conn->fd = fd;
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
                                .data.u64 = epoll_word(poller, conn)};
    conn_hand(conn);
    if (epoll_ctl(poller->epoll_fd, EPOLL_CTL_ADD, fd, &event) == 0) {
        return OK;
    }
    conn_move(conn, CONN_HANDED, CONN_FREE);
    CHECK(pthread_mutex_lock(&poller->free_lock) == 0);
    slot_free(poller, conn);
    CHECK(pthread_mutex_unlock(&poller->free_lock) == 0);
    return ERR_SYSTEM;
}

void poller_post_conn(struct conn *conn)
{
    struct poller *poller = conn->home;
    conn_return(conn);
    /* relaxed: only a first guess at the head; the exchange below decides */
    struct conn *head = atomic_load_explicit(&poller->inbox, memory_order_relaxed);
    do {
        conn->inbox_next = head;
        /* seq_cst: see "Sleeping" above; pairs with the poller's second look and its exchange,
         * which makes inbox_next visible. */
    } while (!atomic_compare_exchange_weak_explicit(&poller->inbox, &head, conn,
                                                    memory_order_seq_cst, memory_order_relaxed));
}

void poller_ring(struct poller *poller)
{
    if (atomic_load_explicit(&poller->asleep, memory_order_seq_cst) == 0 ||
        atomic_exchange_explicit(&poller->asleep, 0, memory_order_seq_cst) == 0) {
        return;
    }
    uint64_t one = 1;
    ssize_t written = write(poller->doorbell_fd, &one, sizeof one);
    CHECK(written == (ssize_t)sizeof one);
}

void poller_ask(struct poller *poller, enum poller_request request)
{
    atomic_fetch_or_explicit(&poller->asked, (uint32_t)request, memory_order_seq_cst);
    poller_ring(poller);
}

/* ---- the poller's thread ---- */

void poller_make_ready(struct poller *poller, struct conn *conn)
{
    if (!conn->is_ready) {
        conn_list(&poller->ready, conn);
        conn->is_ready = true;
    }
}

void poller_close_conn(struct poller *poller, struct conn *conn, bool reset)
{
    CHECK(conn_is_open(conn));
    CHECK(conn->state != CONN_AWAY);
    stream_abandon(poller, conn);
    poller->output_size = 0;
    output_discard(poller, conn);
    deadline_remove(&poller->wheel, &conn->deadline);
    conn->active = NULL;
    arena_reset(&conn->arena);
    receive_release(poller, conn);
    if (reset) {
        struct linger at_once = {.l_onoff = 1, .l_linger = 0};
        (void)setsockopt(conn->fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    }
    conn_unlist(conn);
    metrics_gauge_add(poller->cells, poller->core->instruments.conn_states[conn->counted_state],
                      -1);
    (void)close(conn->fd);
    conn->fd = -1;
    conn->generation++;
    conn->next_free = poller->closed_first;
    poller->closed_first = (uint32_t)(conn - poller->conns);
}

/* Gives the slots closed in this batch back. */
static void free_closed(struct poller *poller)
{
    if (poller->closed_first == NO_SLOT) {
        return;
    }
    uint32_t count = 0;
    CHECK(pthread_mutex_lock(&poller->free_lock) == 0);
    while (poller->closed_first != NO_SLOT) {
        struct conn *conn = &poller->conns[poller->closed_first];
        poller->closed_first = conn->next_free;
        conn_free(conn);
        slot_free(poller, conn);
        count++;
    }
    CHECK(pthread_mutex_unlock(&poller->free_lock) == 0);
    metrics_add(poller->cells, poller->core->instruments.closed, count);
    core_connections_closed(poller->core, count);
}

/* Whether it holds memory for as long as its client likes. */
static bool waits_with_memory(const struct conn *conn)
{
    return output_is_pending(conn) || conn->state == CONN_HEAD || conn->state == CONN_BODY;
}

/* Lets the lists and the metrics follow: once a turn, so that a request answered within one turn
 * costs nothing. */
static void turn_over(struct poller *poller, struct conn *conn)
{
    if (!conn_is_open(conn)) {
        return;
    }
    if (waits_with_memory(conn) && !conn->is_ready) {
        conn_list(&poller->held, conn);
    }
    if (conn->counted_state != conn->state) {
        const struct metrics_gauge *gauges = poller->core->instruments.conn_states;
        metrics_gauge_add(poller->cells, gauges[conn->counted_state], -1);
        metrics_gauge_add(poller->cells, gauges[conn->state], 1);
        conn->counted_state = conn->state;
    }
}

void poller_settle(struct poller *poller)
{
    const struct engine_instruments *instruments = &poller->core->instruments;
    poller->now_ns = clock_monotonic_ns();
    for (unsigned i = 0; i < poller->answered_count; i++) {
        const struct poller_answered *answered = &poller->answered[i];
        instruments_observe(instruments, poller->cells, answered->series, answered->status,
                            poller->now_ns - answered->started_ns);
    }
    poller->answered_count = 0;
    metrics_add(poller->cells, instruments->received_bytes, poller->received_bytes);
    metrics_add(poller->cells, instruments->sent_bytes, poller->sent_bytes);
    poller->received_bytes = 0;
    poller->sent_bytes = 0;
}

static void take_turn(struct poller *poller, struct conn *conn)
{
    poller->turns++;
    serve_turn(poller, conn);
    turn_over(poller, conn);
}

/* The first event of a connection: it is ours now. */
static void conn_begin(struct poller *poller, struct conn *conn)
{
    conn_take(conn);
    deadline_init(&conn->deadline);
    conn->state = CONN_IDLE;
    conn->readable = false;
    conn->at_end = false;
    conn->half_closed = false;
    conn->closing = false;
    conn->unread = false;
    conn->served = false;
    conn->had_share = false;
    conn->is_ready = false;
    list_init(&conn->link);
    conn->input = NULL;
    conn->input_head = conn->input_fed = conn->input_end = 0;
    conn->pending = NULL;
    conn->pending_body = bytes_of(NULL, 0);
    conn->active = NULL;
    arena_init(&conn->arena, &poller->pool);
    conn->counted_state = CONN_IDLE;
    metrics_gauge_add(poller->cells, poller->core->instruments.conn_states[CONN_IDLE], 1);
}

static void handle_event(struct poller *poller, const struct epoll_event *event)
{
    uint32_t slot = (uint32_t)event->data.u64;
    CHECK(slot < poller->conn_slots);
    struct conn *conn = &poller->conns[slot];
    /* acquire: pairs with conn_hand(); what the accept thread wrote is visible. */
    uint32_t owner = atomic_load_explicit(&conn->owner, memory_order_acquire);
    bool is_same = conn->generation == (uint32_t)(event->data.u64 >> 32) ||
                   WEASEL_BUG(generation_not_compared);
    /* Free: an accept thread may be writing to it. */
    if (owner == CONN_FREE || !is_same || !conn_is_open(conn)) {
        metrics_add(poller->cells, poller->core->instruments.stale_events, 1);
        return;
    }
    if (owner == CONN_HANDED) {
        conn_begin(poller, conn);
    }
    if ((event->events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0) {
        conn->readable = true;
    }
    if ((event->events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0) {
        conn->half_closed = true;
    }
    if (conn->state == CONN_STREAM && (event->events & (EPOLLHUP | EPOLLERR)) != 0) {
        poller_close_conn(poller, conn, true);
        return;
    }
    if (conn->state == CONN_AWAY || conn->is_ready) {
        return; /* noted */
    }
    if (conn->state == CONN_STREAM) {
        /* Nothing that a client sends matters to a stream, but that it has taken something. */
        if (output_is_pending(conn) && (event->events & EPOLLOUT) != 0) {
            /* Whether its turn comes soon is not up to the client. */
            output_wait_for_room(poller, conn);
            stream_make_due(poller, conn);
        }
        return;
    }
    if (conn->had_share) {
        poller_make_ready(poller, conn); /* however often it reports something */
    } else {
        take_turn(poller, conn);
    }
}

/* Connections that stages have given back, in the order they did. */
static void handle_inbox(struct poller *poller)
{
    /* seq_cst: pairs with poller_post_conn(). */
    if (atomic_load_explicit(&poller->inbox, memory_order_seq_cst) == NULL) {
        return;
    }
    struct conn *newest = atomic_exchange_explicit(&poller->inbox, NULL, memory_order_seq_cst);
    struct conn *oldest = NULL;
    while (newest != NULL) {
        struct conn *next = newest->inbox_next;
        newest->inbox_next = oldest;
        oldest = newest;
        newest = next;
    }
    while (oldest != NULL) {
        struct conn *next = oldest->inbox_next;
        poller->turns++;
        serve_returned(poller, oldest);
        turn_over(poller, oldest);
        oldest = next;
    }
}

/* How many slots have ever been used. */
static uint32_t slots_touched(struct poller *poller)
{
    CHECK(pthread_mutex_lock(&poller->free_lock) == 0);
    uint32_t count = poller->untouched;
    CHECK(pthread_mutex_unlock(&poller->free_lock) == 0);
    return count;
}

/* Whether the connection in that slot is open and was taken by this thread. */
static bool is_ours(struct conn *conn)
{
    /* acquire: pairs with conn_move() elsewhere; only this thread makes it CONN_POLLER. */
    return atomic_load_explicit(&conn->owner, memory_order_acquire) == CONN_POLLER &&
           conn_is_open(conn);
}

static void drain(struct poller *poller)
{
    poller->draining = true;
    uint32_t touched = slots_touched(poller);
    for (uint32_t slot = 0; slot < touched; slot++) {
        if (is_ours(&poller->conns[slot])) {
            serve_drain(poller, &poller->conns[slot]);
            turn_over(poller, &poller->conns[slot]);
        }
    }
}

/* The thread ends: no stage holds a connection any more. */
static void close_all(struct poller *poller)
{
    handle_inbox(poller);
    uint32_t touched = slots_touched(poller);
    for (uint32_t slot = 0; slot < touched; slot++) {
        struct conn *conn = &poller->conns[slot];
        /* acquire: pairs with conn_hand(). */
        if (atomic_load_explicit(&conn->owner, memory_order_acquire) == CONN_HANDED) {
            conn_begin(poller, conn);
        }
        if (is_ours(conn)) {
            poller_close_conn(poller, conn, true);
        }
    }
    free_closed(poller);
}

/* False: the thread shall end. */
static bool handle_asked(struct poller *poller)
{
    if (atomic_load_explicit(&poller->asked, memory_order_seq_cst) == 0) {
        return true;
    }
    /* seq_cst: pairs with poller_ask(). */
    uint32_t asked = atomic_exchange_explicit(&poller->asked, 0, memory_order_seq_cst);
    if ((asked & POLLER_DRAIN) != 0 && !poller->draining) {
        drain(poller);
    }
    if ((asked & POLLER_WAKE_STREAMS) != 0) {
        list_move_all(&poller->streams_due, &poller->streams_waiting);
    }
    return (asked & POLLER_STOP) == 0;
}

/* Thousands may be late at once: those that are not looked at now are in the next round. */
static void handle_deadlines(struct poller *poller)
{
    uint64_t until_ns = clock_monotonic_ns() + POLLER_SHARE_NS;
    struct deadline *due;
    while (clock_monotonic_ns() < until_ns &&
           (due = deadline_next_due(&poller->wheel, poller->now_ms)) != NULL) {
        struct conn *conn = (struct conn *)(void *)((char *)due - offsetof(struct conn, deadline));
        serve_deadline(poller, conn);
        turn_over(poller, conn);
    }
}

/* When memory is short, or was refused, slow clients lose theirs, the one that has waited longest
 * first. Otherwise some thousands of them, for a byte a second each, would leave none to everybody
 * else. */
static void shed_slow(struct poller *poller)
{
    struct memory_budget *budget = &poller->core->budget;
    /* relaxed: a number of about now; pairs with nothing */
    uint64_t refused = atomic_load_explicit(&budget->refused, memory_order_relaxed);
    bool was_refused = refused != poller->refused_seen;
    if ((!memory_budget_is_short(budget) && !was_refused) || poller->now_ms < poller->shed_at_ms) {
        return;
    }
    poller->refused_seen = refused;
    chunk_pool_drop_cache(&poller->pool);
    poller->shed_at_ms = poller->now_ms + POLLER_SHED_MS;
    uint64_t until_ns = clock_monotonic_ns() + POLLER_SHARE_NS;
    struct list_link *next = poller->held.next;
    while (next != &poller->held && clock_monotonic_ns() < until_ns &&
           (memory_budget_is_short(budget) || (was_refused && !memory_budget_is_easy(budget, 0)))) {
        struct conn *conn = conn_of_link(next);
        next = next->next;
        if (serve_is_slow(poller, conn)) {
            serve_shed(poller, conn);
            turn_over(poller, conn);
        }
    }
}

/* Goes on with connections that have had their share, some of them in each round: a client that
 * asks for one thing now and then must not wait for all that others have asked for in advance. Such
 * a connection has its turns here alone until it has run out of work. */
static void handle_ready(struct poller *poller)
{
    if (list_is_empty(&poller->ready)) {
        return;
    }
    const struct list_link *last = poller->ready.previous;
    const struct list_link *link = NULL;
    uint64_t until_ns = clock_monotonic_ns() + POLLER_SHARE_NS;
    while (link != last && !list_is_empty(&poller->ready)) {
        link = poller->ready.next;
        take_turn(poller, conn_of_link(poller->ready.next));
        if (clock_monotonic_ns() >= until_ns) {
            return;
        }
    }
}

static void wake_pipelines(struct poller *poller)
{
    while (poller->pipelines_touched != 0) {
        unsigned index = (unsigned)__builtin_ctz(poller->pipelines_touched);
        poller->pipelines_touched &= poller->pipelines_touched - 1;
        pipeline_wake(poller->core->pipelines[index]);
    }
}

/*
 * Lets some streams have their turns. A round that had requests gives them a credit, a part of the
 * time that the requests took (since `begin_ns`): with thousands of streams due all the time, the
 * requests still have most of the thread. A turn may overdraw it, and the next rounds repay that. A
 * round without requests has time to spare.
 *
 * That the thread has time does not mean that the core does: the stages may wait for it, and what
 * they do ends the requests for which there is nothing to do here. So first they may have it.
 */
static void turn_streams(struct poller *poller, uint64_t begin_ns)
{
    if (list_is_empty(&poller->streams_due)) {
        return;
    }
    bool is_busy = poller->turns > 0;
    if (!is_busy) {
        (void)sched_yield();
    }
    uint64_t now_ns = clock_monotonic_ns();
    int64_t most_ns = POLLER_STREAMS_NS;
    if (is_busy) {
        most_ns =
            poller->streams_credit_ns + (int64_t)(now_ns - begin_ns) / (POLLER_STREAMS_SHARE - 1);
        most_ns = most_ns < (int64_t)POLLER_SHARE_NS ? most_ns : (int64_t)POLLER_SHARE_NS;
    }
    int64_t spent_ns = 0;
    while (!list_is_empty(&poller->streams_due) && spent_ns < most_ns) {
        take_turn(poller, conn_of_link(poller->streams_due.next));
        spent_ns = (int64_t)(clock_monotonic_ns() - now_ns);
    }
    if (is_busy) {
        poller->streams_credit_ns = most_ns - spent_ns;
    }
    wake_pipelines(poller);
}

static void look_at_clocks(struct poller *poller)
{
    poller->now_ns = clock_monotonic_ns();
    poller->now_ms = poller->now_ns / 1000000;
    int64_t second = clock_realtime_sec();
    if (second != poller->date_second) {
        poller->date_second = second;
        answer_write_date_line(poller->date_line, second);
    }
}

/* Waits for events, if it may; see "Sleeping" above. */
static int sleep_for_events(struct poller *poller, bool may_sleep, struct epoll_event *events)
{
    int wait_ms = 0;
    if (may_sleep && list_is_empty(&poller->ready) && list_is_empty(&poller->streams_due)) {
        wait_ms = deadline_wait_ms(&poller->wheel, poller->now_ms);
        if (memory_budget_is_short(&poller->core->budget) && wait_ms > POLLER_SHED_MS) {
            wait_ms = POLLER_SHED_MS;
        }
        atomic_store_explicit(&poller->asleep, 1, memory_order_seq_cst);
        if (atomic_load_explicit(&poller->inbox, memory_order_seq_cst) != NULL ||
            atomic_load_explicit(&poller->asked, memory_order_seq_cst) != 0) {
            wait_ms = 0;
        }
    }
    int count = epoll_wait(poller->epoll_fd, events, POLLER_EVENTS_MAX, wait_ms);
    /* relaxed: others may ring once too often meanwhile; pairs with poller_ring() */
    atomic_store_explicit(&poller->asleep, 0, memory_order_relaxed);
    CHECK(count >= 0 || errno == EINTR);
    return count;
}

bool poller_step(struct poller *poller, bool may_sleep)
{
    struct epoll_event events[POLLER_EVENTS_MAX];
    int count = sleep_for_events(poller, may_sleep, events);
    look_at_clocks(poller);
    uint64_t begin_ns = poller->now_ns;
    poller->turns = 0;
    for (int i = 0; i < count; i++) {
        if (events[i].data.u64 != DOORBELL) {
            handle_event(poller, &events[i]);
        }
    }
    handle_inbox(poller);
    handle_ready(poller);
    handle_deadlines(poller);
    shed_slow(poller);
    bool go_on = handle_asked(poller);
    /* Last, since each of the above may dispatch or close. */
    wake_pipelines(poller);
    turn_streams(poller, begin_ns);
    free_closed(poller);
    poller_settle(poller);
    if (!list_is_empty(&poller->ready)) {
        /* There is no end to this work: a stage on the same core, which does not interrupt
         * (docs/decisions/0011), would wait for the end of our time slice. */
        (void)sched_yield();
    }
    return go_on;
}

static void poller_run(void *argument)
{
    struct poller *poller = argument;
    while (poller_step(poller, true)) {
    }
    close_all(poller);
    poller_settle(poller);
}

enum err poller_start(struct poller *poller)
{
    char name[16];
    (void)snprintf(name, sizeof name, "network-%u", poller->index);
    return thread_start(&poller->thread, name, ROLE_NETWORK, poller_run, poller);
}
