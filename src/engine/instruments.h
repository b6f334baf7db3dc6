/* SPDX-License-Identifier: Apache-2.0 */
/*
 * instruments: the engine's metrics. Registered once, at start; then each thread updates its own
 * cells.
 *
 * Labels are bounded: routes by their pattern, statuses by a fixed list, pipelines and stages by
 * name.
 *
 * Runs on: instruments_init() the server's thread, before any other starts; the rest any thread,
 * with the cells of that thread. Never blocks.
 */
#ifndef ENGINE_INSTRUMENTS_H
#define ENGINE_INSTRUMENTS_H

#include "base/err.h"
#include "base/metrics.h"

#include <stdint.h>

struct engine_core;
struct engine_route;

enum {
    ENGINE_NO_ROUTE = 0,     /* the series of requests that no route took; routes count from 1 */
    INSTRUMENTS_CLASSES = 5, /* 1xx to 5xx */
    INSTRUMENTS_STATUSES_MAX = 64,
    INSTRUMENTS_CONN_STATES = 8, /* of enum conn_state */
    INSTRUMENTS_PIPELINES_MAX = 16,
};

struct instruments_route {
    struct metrics_counter answers[INSTRUMENTS_CLASSES];
    struct metrics_histogram latency;
};

struct engine_instruments {
    struct instruments_route *routes; /* route_count + 1 of them */
    uint8_t status_index[600];        /* into `statuses` */
    struct metrics_counter statuses[INSTRUMENTS_STATUSES_MAX];
    struct metrics_gauge conn_states[INSTRUMENTS_CONN_STATES];
    struct metrics_counter accepted;
    struct metrics_counter closed;
    struct metrics_counter refused_connections;
    struct metrics_counter accept_pauses;
    struct metrics_counter received_bytes;
    struct metrics_counter sent_bytes;
    struct metrics_counter idle_timeouts;
    struct metrics_counter request_timeouts;
    struct metrics_counter write_timeouts;
    struct metrics_counter memory_refused;
    struct metrics_counter stale_events;
    struct metrics_counter ring_full[INSTRUMENTS_PIPELINES_MAX];
    struct metrics_histogram *batch_sizes[INSTRUMENTS_PIPELINES_MAX]; /* of each stage */
};

/* Registers everything with core->metrics. `routes` and the pipelines are complete. ERR_MEMORY. */
enum err instruments_init(struct engine_instruments *instruments, struct engine_core *core,
                          struct engine_route *const *routes, unsigned route_count) WARN_UNUSED;
void instruments_deinit(struct engine_instruments *instruments);

/* An answer, `ns` after its request was complete. */
static inline void instruments_observe(const struct engine_instruments *instruments,
                                       struct metrics_cells *cells, uint32_t route, unsigned status,
                                       uint64_t ns)
{
    metrics_add(cells, instruments->routes[route].answers[status / 100 - 1], 1);
    metrics_add(cells, instruments->statuses[instruments->status_index[status]], 1);
    metrics_observe(cells, instruments->routes[route].latency, ns);
}

#endif
