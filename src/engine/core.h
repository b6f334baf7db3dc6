/* SPDX-License-Identifier: Apache-2.0 */
/*
 * core: what all threads of one server share, in one place.
 *
 * Everything but the atomics is fixed before the threads start.
 */
#ifndef ENGINE_CORE_H
#define ENGINE_CORE_H

#include "base/arena.h"
#include "engine/instruments.h"
#include "engine/server.h"
#include "http/parser.h"
#include "http/router.h"

#include <pthread.h>
#include <stdatomic.h>

enum {
    ENGINE_PIPELINES_MAX = INSTRUMENTS_PIPELINES_MAX,
    ENGINE_ROUTES_MAX = 256,
    ENGINE_DRAIN_IDLE_MS =
        200,                 /* at a shutdown, time for requests that are on their way to arrive */
    ENGINE_LINGER_MS = 5000, /* time for a client to read the answer to what it still sends */
    ENGINE_LINGER_BYTES_MAX = 64 << 20, /* and how much it may still send */
};

/* Limits that can be changed while running. relaxed everywhere: each is a number by itself. */
struct engine_timeouts {
    _Atomic uint32_t keepalive_ms;
    _Atomic uint32_t request_ms;
    _Atomic uint32_t write_ms;
    _Atomic uint64_t body_bytes_per_sec_min;
};

struct engine_core {
    struct server_config config;
    struct engine_timeouts timeouts;
    struct http_parser_limits parser_limits;
    struct memory_budget budget;
    size_t cache_bytes_max; /* free chunks that each thread's pool may keep */
    struct http_router *router;
    struct engine_instruments instruments;
    struct pipeline *pipelines[ENGINE_PIPELINES_MAX];
    unsigned pipeline_count;
    struct poller *pollers;
    unsigned poller_count;
    struct metrics *metrics;
    _Atomic uint32_t connections; /* open, of all pollers */
    _Atomic bool draining;
    pthread_mutex_t drained_lock; /* with drained: who waits for the last connection to end */
    pthread_cond_t drained;
};

/* ERR_SYSTEM: the lock could not be made. */
enum err core_init(struct engine_core *core) WARN_UNUSED;
void core_deinit(struct engine_core *core);

/* Any thread: one more connection; false when all that are allowed are open. */
bool core_try_open_connection(struct engine_core *core) WARN_UNUSED;

/* Any thread: that many connections have ended. */
void core_connections_closed(struct engine_core *core, uint32_t count);

/* Any thread. */
void core_start_draining(struct engine_core *core);

/* Blocks until no connection is open, or until `until_ms` (monotonic): then false. Draining only.
 */
bool core_wait_for_no_connections(struct engine_core *core, uint64_t until_ms) WARN_UNUSED;

#endif
