/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every thread that logs has a ring of bytes: it appends whole lines, the logger thread takes out
 * whatever is there. Rings are never freed; the ring of a thread that has ended is taken over by
 * the next one that needs a ring.
 *
 * The logger thread is in one of three states, kept in one word that is also the futex it sleeps
 * on:
 *
 *   SLEEPING    all rings were empty; any line wakes it
 *   GATHERING   lets lines gather for GATHER_MS; what is urgent wakes it: a warning or an error, a
 *               ring half full, a flush, the stop
 *   AWAKE       it will look at all rings once more before it sleeps; nobody needs to wake it
 *
 * Edges
 *   line    ring.head, stored after the bytes, loaded before they are read
 *   room    ring.tail, stored after the bytes were written out, loaded before they are overwritten
 *   thread  ring.taken, released by the thread that ends, acquired by the one that takes over
 *
 * Why no wake-up is lost. A producer stores its news (head, and then perhaps `urgent`), then loads
 * the state; the logger stores the state, then looks for news (is_idle(), is_urgent()). All four
 * are sequentially consistent, so at least one of the two sees the other: either the logger sees
 * the news, and does not sleep, or the producer sees the state, and the one whose exchange makes it
 * AWAKE calls FUTEX_WAKE. The kernel compares the word and queues the sleeper in one step, so a
 * logger that is late finds the word changed. A load, unlike an exchange, leaves the word's cache
 * line shared by all who log.
 */
#include "base/logger.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/futex.h"
#include "base/log_line.h"
#include "base/thread.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <stdalign.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

enum {
    GATHER_MS = 10,
    HALF_RING_BYTES = LOG_RING_BYTES / 2,
    LINE_BYTES = 64, /* of the cache */
};

enum state { /* from awake to asleep */
             AWAKE,
             GATHERING,
             SLEEPING,
};

enum mode {
    DIRECT, /* who logs writes */
    RINGS,  /* the logger thread writes */
    LOST,   /* the descriptor is stuck, and the logger thread with it */
};

struct log_ring {
    /* Fixed after the ring is listed. */
    struct log_ring *next;
    /* The producer's; the logger reads. */
    alignas(LINE_BYTES) _Atomic uint64_t head; /* bytes ever appended */
    uint64_t tail_seen;                        /* the producer's copy of tail, perhaps old */
    _Atomic uint64_t dropped;                  /* lines */
    /* The logger's; the producer reads. */
    alignas(LINE_BYTES) _Atomic uint64_t tail; /* bytes ever written out */
    /* Shared. */
    alignas(LINE_BYTES) _Atomic bool taken;
    char data[LOG_RING_BYTES];
};

static_assert((LOG_RING_BYTES & (LOG_RING_BYTES - 1)) == 0, "positions wrap by masking");

_Atomic int logger_level_now = LOG_INFO;
_Atomic bool logger_access_now = false;

static struct {
    _Atomic int fd;
    _Atomic int format;
    _Atomic int mode;
    _Atomic(struct log_ring *) rings; /* newest first */
    _Atomic uint64_t lost;            /* lines dropped without a ring */
    pthread_once_t key_once;
    pthread_key_t ring_key; /* its destructor gives the ring back */
    /* The owner's of start and stop. */
    struct thread thread;
    /* The logger thread's. */
    uint64_t dropped_reported;
    /* Shared. */
    alignas(LINE_BYTES) _Atomic uint32_t state;
    _Atomic bool urgent;
    _Atomic bool stopping;
    _Atomic uint32_t flush_wanted; /* tickets handed out */
    _Atomic uint32_t flush_done;   /* the last one served; a futex */
} logger = {.fd = STDERR_FILENO, .key_once = PTHREAD_ONCE_INIT};

static _Thread_local struct log_ring *ring_own;

void logger_configure(const struct logger_config *config)
{
    /* relaxed, all: each is looked at by itself, at some later line */
    atomic_store_explicit(&logger.fd, config->fd, memory_order_relaxed);
    atomic_store_explicit(&logger.format, (int)config->format, memory_order_relaxed);
    atomic_store_explicit(&logger_level_now, (int)config->level, memory_order_relaxed);
    atomic_store_explicit(&logger_access_now, config->access_log, memory_order_relaxed);
}

static void count_lost(uint64_t lines)
{
    /* relaxed: only a count */
    (void)atomic_fetch_add_explicit(&logger.lost, lines, memory_order_relaxed);
}

uint64_t logger_dropped_lines(void)
{
    /* relaxed counts; acquire pairs with ring_open() */
    uint64_t lines = atomic_load_explicit(&logger.lost, memory_order_relaxed);
    const struct log_ring *ring = atomic_load_explicit(&logger.rings, memory_order_acquire);
    for (; ring != NULL; ring = ring->next) {
        lines += atomic_load_explicit(&ring->dropped, memory_order_relaxed);
    }
    return lines;
}

/* --- Writing to the descriptor ------------------------------------------------------------------
 */

static uint64_t count_lines(const struct iovec *parts, int count)
{
    uint64_t lines = 0;
    for (int i = 0; i < count; i++) {
        const char *data = parts[i].iov_base;
        for (size_t j = 0; j < parts[i].iov_len; j++) {
            lines += data[j] == '\n' ? 1 : 0;
        }
    }
    return lines;
}

/* Takes `size` bytes off the front of the parts. */
static void advance(struct iovec **parts, int *count, size_t size)
{
    while (*count > 0 && size >= (*parts)->iov_len) {
        size -= (*parts)->iov_len;
        (*parts)++;
        (*count)--;
    }
    if (*count > 0) {
        (*parts)->iov_base = (char *)(*parts)->iov_base + size;
        (*parts)->iov_len -= size;
    }
}

/* Blocks until all is written, or the descriptor fails; returns how many lines it did not take.
 * Leaves errno alone: callers log in the middle of handling an error. */
static uint64_t write_all(struct iovec *parts, int count)
{
    int saved = errno;
    /* relaxed: see logger_configure() */
    int fd = atomic_load_explicit(&logger.fd, memory_order_relaxed);
    uint64_t refused = 0;
    while (count > 0 && refused == 0) {
        ssize_t size = writev(fd, parts, count);
        if (size >= 0) {
            advance(&parts, &count, (size_t)size);
        } else if (errno == EAGAIN) {
            struct pollfd room = {.fd = fd, .events = POLLOUT};
            (void)poll(&room, 1, -1);
        } else if (errno != EINTR) {
            refused = count_lines(parts, count);
        }
    }
    errno = saved;
    return refused;
}

/* --- The producer's side of a ring --------------------------------------------------------------
 */

static void give_ring(void *context)
{
    struct log_ring *ring = context;
    ring_own = NULL;
    /* Pairs with the exchange in take_ring(): the next producer sees head and tail_seen. */
    atomic_store_explicit(&ring->taken, false, memory_order_release);
}

static void make_key(void)
{
    CHECK(pthread_key_create(&logger.ring_key, give_ring) == 0);
}

static struct log_ring *ring_open(void)
{
    struct log_ring *ring = aligned_alloc(LINE_BYTES, sizeof *ring);
    if (ring == NULL) {
        return NULL;
    }
    /* `data` is left alone: pages that are never used are never there. */
    memset(ring, 0, offsetof(struct log_ring, data));
    atomic_init(&ring->taken, true);
    /* relaxed: corrected by the exchange */
    ring->next = atomic_load_explicit(&logger.rings, memory_order_relaxed);
    /* Release: pairs with the acquire loads of logger.rings: the ring's fields are visible. */
    while (!atomic_compare_exchange_weak_explicit(&logger.rings, &ring->next, ring,
                                                  memory_order_release, memory_order_relaxed)) {
    }
    return ring;
}

/* The calling thread's ring; NULL when there is no memory for one. */
static struct log_ring *take_ring(void)
{
    if (ring_own != NULL) {
        return ring_own;
    }
    CHECK(pthread_once(&logger.key_once, make_key) == 0);
    /* Acquire: pairs with ring_open(). */
    struct log_ring *ring = atomic_load_explicit(&logger.rings, memory_order_acquire);
    /* Acquire: pairs with give_ring(). */
    while (ring != NULL && atomic_exchange_explicit(&ring->taken, true, memory_order_acquire)) {
        ring = ring->next;
    }
    ring = ring != NULL ? ring : ring_open();
    if (ring != NULL && pthread_setspecific(logger.ring_key, ring) != 0) {
        give_ring(ring);
        return NULL;
    }
    ring_own = ring;
    return ring;
}

static void copy_in(struct log_ring *ring, uint64_t position, struct bytes line)
{
    size_t start = (size_t)(position & (LOG_RING_BYTES - 1));
    size_t first = LOG_RING_BYTES - start < line.size ? LOG_RING_BYTES - start : line.size;
    memcpy(ring->data + start, line.data, first);
    memcpy(ring->data, line.data + first, line.size - first);
}

/* How many bytes are not yet written out, at most; looks at the real tail when its copy leaves less
 * than half of the ring. */
static uint64_t used_bytes(struct log_ring *ring, uint64_t head)
{
    if (head - ring->tail_seen >= HALF_RING_BYTES) {
        /* Pairs with the store in drain_ring(): the bytes below it were read. */
        ring->tail_seen = atomic_load_explicit(&ring->tail, memory_order_acquire);
    }
    return head - ring->tail_seen;
}

/* Wakes the logger when it is in a state of at least `from`. What it is to see was stored before.
 */
static void wake_from(enum state from)
{
    /* Sequentially consistent, see the top. Who changes the word wakes; one is enough. */
    uint32_t seen = atomic_load(&logger.state);
    while (seen >= (uint32_t)from) {
        if (atomic_compare_exchange_weak(&logger.state, &seen, AWAKE)) {
            futex_wake(&logger.state, 1);
            return;
        }
    }
}

/* The logger thread is not to wait for more. */
static void hurry_logger(void)
{
    atomic_store(&logger.urgent, true); /* sequentially consistent, see the top */
    wake_from(GATHERING);
}

static void append(struct log_ring *ring, struct bytes line, bool urgent)
{
    /* relaxed: this thread is its only writer */
    uint64_t head = atomic_load_explicit(&ring->head, memory_order_relaxed);
    uint64_t used = used_bytes(ring, head);
    if (used + line.size > LOG_RING_BYTES) {
        /* relaxed: this thread is the only writer of a mere count */
        uint64_t dropped = atomic_load_explicit(&ring->dropped, memory_order_relaxed);
        atomic_store_explicit(&ring->dropped, dropped + 1, memory_order_relaxed);
        return;
    }
    copy_in(ring, head, line);
    /* Sequentially consistent, see the top; as a release it pairs with the load in drain_ring(). */
    atomic_store(&ring->head, head + line.size);
    if (urgent || used + line.size >= HALF_RING_BYTES) {
        hurry_logger();
    } else {
        wake_from(SLEEPING);
    }
}

static void write_line(enum log_level level, const char *message, const struct log_field *fields)
{
    /* Pairs with the stores in logger_start() and logger_stop(). */
    int mode = atomic_load_explicit(&logger.mode, memory_order_acquire);
    struct log_ring *ring = mode == RINGS ? take_ring() : NULL;
    if (ring == NULL && mode != DIRECT) {
        count_lost(1);
        return;
    }
    char text[LOG_LINE_BYTES_MAX];
    /* relaxed: see logger_configure() */
    int format = atomic_load_explicit(&logger.format, memory_order_relaxed);
    size_t size =
        log_line_format(text, (enum log_format)format, clock_realtime_ns(), level, message, fields);
    if (ring != NULL) {
        append(ring, bytes_of(text, size), level >= LOG_WARN);
    } else {
        count_lost(write_all(&(struct iovec){text, size}, 1));
    }
}

void logger_write(enum log_level level, const char *message, const struct log_field *fields)
{
    write_line(level, message, fields);
}

void logger_write_access(const struct log_field *fields)
{
    write_line(LOG_INFO, "access", fields);
}

bool log_rate_try_pass(struct log_rate *rate, unsigned per_sec, uint64_t *out_suppressed)
{
    CHECK(per_sec >= 1);
    uint64_t now = clock_monotonic_ns();
    uint64_t second = 1000000000;
    /* relaxed, here and below: the counts order nothing else */
    uint64_t booked = atomic_load_explicit(&rate->booked_until_ns, memory_order_relaxed);
    uint64_t until;
    do {
        until = (booked > now ? booked : now) + second / per_sec;
        if (until - now > second) {
            (void)atomic_fetch_add_explicit(&rate->suppressed, 1, memory_order_relaxed);
            return false;
        }
        /* relaxed: as above */
    } while (!atomic_compare_exchange_weak_explicit(&rate->booked_until_ns, &booked, until,
                                                    memory_order_relaxed, memory_order_relaxed));
    /* relaxed: as above */
    *out_suppressed = atomic_exchange_explicit(&rate->suppressed, 0, memory_order_relaxed);
    return true;
}

/* --- The logger thread --------------------------------------------------------------------------
 */

static struct log_ring *first_ring(void)
{
    return atomic_load(&logger.rings); /* at least acquire: pairs with ring_open() */
}

/* Writes out what the ring holds; returns how many bytes that was. */
static uint64_t drain_ring(struct log_ring *ring)
{
    /* Acquire: pairs with the store in append(): the bytes below it are visible. */
    uint64_t head = atomic_load_explicit(&ring->head, memory_order_acquire);
    /* relaxed: this thread is its only writer */
    uint64_t tail = atomic_load_explicit(&ring->tail, memory_order_relaxed);
    size_t size = (size_t)(head - tail);
    CHECK(size <= LOG_RING_BYTES);
    if (size == 0) {
        return 0;
    }
    size_t start = (size_t)(tail & (LOG_RING_BYTES - 1));
    size_t first = LOG_RING_BYTES - start < size ? LOG_RING_BYTES - start : size;
    struct iovec parts[2] = {{ring->data + start, first}, {ring->data, size - first}};
    count_lost(write_all(parts, size > first ? 2 : 1));
    /* Release: pairs with the load in used_bytes(): our reads of the bytes are over. */
    atomic_store_explicit(&ring->tail, head, memory_order_release);
    return size;
}

/* Says how many lines are missing, now that the descriptor takes lines again. */
static void report_dropped(void)
{
    uint64_t dropped = logger_dropped_lines();
    if (dropped == logger.dropped_reported) {
        return;
    }
    const struct log_field fields[] = {
        LOG_U64("dropped", dropped - logger.dropped_reported),
        LOG_U64("dropped_total", dropped),
        LOG_END_,
    };
    char text[LOG_LINE_BYTES_MAX];
    /* relaxed: a setting by itself, pairs with nothing */
    int format = atomic_load_explicit(&logger.format, memory_order_relaxed);
    size_t size = log_line_format(text, (enum log_format)format, clock_realtime_ns(), LOG_WARN,
                                  "log lines were dropped", fields);
    if (write_all(&(struct iovec){text, size}, 1) == 0) {
        logger.dropped_reported = dropped;
    }
}

static uint64_t drain_all(void)
{
    uint64_t bytes = 0;
    for (struct log_ring *ring = first_ring(); ring != NULL; ring = ring->next) {
        bytes += drain_ring(ring);
    }
    if (bytes > 0) {
        report_dropped();
    }
    return bytes;
}

/* Nothing to do: called after the state was stored, so the loads are sequentially consistent. */
static bool is_idle(void)
{
    for (struct log_ring *ring = first_ring(); ring != NULL; ring = ring->next) {
        /* relaxed: this thread is its only writer */
        if (atomic_load(&ring->head) != atomic_load_explicit(&ring->tail, memory_order_relaxed)) {
            return false;
        }
    }
    return !atomic_load(&logger.urgent);
}

/* Sleeps in `state` until somebody makes it AWAKE. */
static void sleep_in(enum state state, uint64_t until_ns)
{
    futex_wait(&logger.state, (uint32_t)state, until_ns);
    atomic_store(&logger.state, AWAKE);
}

static void gather(void)
{
    atomic_store(&logger.state, GATHERING); /* sequentially consistent, see the top */
    if (atomic_load(&logger.urgent)) {
        atomic_store(&logger.state, AWAKE);
        return;
    }
    sleep_in(GATHERING, clock_monotonic_ns() + GATHER_MS * UINT64_C(1000000));
}

static void wait_for_lines(void)
{
    atomic_store(&logger.state, SLEEPING); /* sequentially consistent, see the top */
    if (!is_idle()) {
        atomic_store(&logger.state, AWAKE);
        return;
    }
    sleep_in(SLEEPING, FUTEX_FOREVER);
}

static void run(void *argument)
{
    (void)argument;
    thread_check(ROLE_LOGGER);
    bool stopping;
    do {
        gather();
        /* What was stored before `urgent` is seen after it is taken back. */
        (void)atomic_exchange(&logger.urgent, false);
        stopping = atomic_load(&logger.stopping);
        uint32_t flush = atomic_load(&logger.flush_wanted);
        uint64_t drained = drain_all();
        /* relaxed: this thread alone stores it while it runs */
        if (flush != atomic_load_explicit(&logger.flush_done, memory_order_relaxed)) {
            /* Release: pairs with the load in logger_flush(). */
            atomic_store_explicit(&logger.flush_done, flush, memory_order_release);
            futex_wake(&logger.flush_done, INT_MAX);
        }
        if (drained == 0 && !stopping) {
            wait_for_lines();
        }
    } while (!stopping);
}

/* --- Life cycle ---------------------------------------------------------------------------------
 */

enum err logger_start(void)
{
    /* relaxed: start and stop are called in turn */
    int mode = atomic_load_explicit(&logger.mode, memory_order_relaxed);
    CHECK(mode != RINGS);
    if (mode == LOST) {
        return ERR_CLOSED;
    }
    atomic_store(&logger.stopping, false);
    atomic_store(&logger.state, AWAKE);
    enum err err = thread_start(&logger.thread, "logger", ROLE_LOGGER, run, NULL);
    if (err == OK) {
        /* Release: pairs with the load in write_line(). */
        atomic_store_explicit(&logger.mode, RINGS, memory_order_release);
    }
    return err;
}

void logger_flush(void)
{
    CHECK(thread_role_own != ROLE_LOGGER);
    uint32_t ticket = atomic_fetch_add(&logger.flush_wanted, 1) + 1;
    hurry_logger();
    /* No wake-up is lost: flush_done changes before the wake-up, and the kernel compares it while
     * it queues us. When logger_stop() came first, it either saw our ticket, and served it, or we
     * see its mode: both pairs are sequentially consistent. */
    while (atomic_load(&logger.mode) == RINGS) {
        /* Acquire: pairs with the stores in run() and logger_stop(). */
        uint32_t done = atomic_load_explicit(&logger.flush_done, memory_order_acquire);
        if ((int32_t)(done - ticket) >= 0) {
            return;
        }
        futex_wait(&logger.flush_done, done, FUTEX_FOREVER);
    }
}

void logger_stop(void)
{
    CHECK(atomic_load(&logger.mode) == RINGS);
    atomic_store(&logger.stopping, true);
    hurry_logger();
    bool ended =
        thread_join_until(&logger.thread, clock_monotonic_ns() / 1000000 + LOGGER_STOP_MS_MAX);
    atomic_store(&logger.mode, ended ? DIRECT : LOST);
    if (ended) {
        (void)drain_all(); /* what others logged meanwhile; we are the only consumer now */
    }
    atomic_store(&logger.flush_done, atomic_load(&logger.flush_wanted));
    futex_wake(&logger.flush_done, INT_MAX);
}
