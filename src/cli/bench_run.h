/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench_run: puts load on a server from many connections, and counts.
 *
 * Closed loop: each connection sends its next request when the last one is answered. Open loop:
 * each request has a time to be sent at, whatever became of those before it; one that no connection
 * is free for waits, and its latency counts from the time it was meant for. So a server that stalls
 * cannot hide how many it kept waiting (coordinated omission).
 *
 * Runs on: one thread. Blocks: until the end of the run, and then a while for the last answers.
 */
#ifndef CLI_BENCH_RUN_H
#define CLI_BENCH_RUN_H

#include "base/err.h"
#include "cli/bench_requests.h"
#include "cli/buffer.h"
#include "cli/endpoint.h"
#include "cli/histogram.h"

enum { BENCH_CLIENTS_MAX = 16384 };

struct bench_counts {
    uint64_t requests; /* answered */
    uint64_t committed;
    uint64_t refused;            /* conflicts and the like: HTTP status 409 */
    uint64_t shed;               /* transactions of requests answered 503 */
    uint64_t errors;             /* transactions of requests answered otherwise, or not at all */
    struct histogram latency_ns; /* of requests answered 200 or 409 */
};

struct bench_plan {
    const struct bench_shape *shape;
    const struct endpoint *endpoint;
    struct bench_keys *keys;
    uint32_t clients;
    uint64_t duration_ms;
    double rate;      /* transactions a second: open loop; 0: closed loop */
    uint64_t version; /* the server's at the start: what the first requests read at */
    /* Called about each second with what that second brought; NULL: not. */
    void (*progress)(const struct bench_counts *second, uint64_t elapsed_ms);
};

struct bench_outcome {
    struct bench_counts counts;
    uint64_t made_conflicts;
    uint64_t unsent;       /* of an open loop: requests that were due and found no connection */
    double seconds;        /* from the first request to the last answer */
    double cpu_seconds;    /* of this process */
    struct buffer failure; /* the first error, for people; empty: none */
};

/* ERR_SYSTEM: the server cannot be connected to; out->failure says why. The caller deinits
 * out->failure in any case. SIGINT and SIGTERM end the run early. */
enum err bench_run(const struct bench_plan *plan, struct bench_outcome *out) WARN_UNUSED;

#endif
