/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pipeline: service threads on a ring, for requests that a network thread cannot answer at once.
 *
 * A pipeline is a ring and an ordered list of stages; every dispatched exchange passes every stage
 * in order. A stage handles all exchanges that are ready as one batch. After the last stage the
 * engine gives each connection back to its home network thread with its response.
 *
 * Several services may share a pipeline: routes name it, and exchange->route->service tells a stage
 * which one an exchange belongs to.
 *
 * Dispatching is refused when the ring is full: the network thread answers 503 with Retry-After,
 * and nothing of the request has happened.
 */
#ifndef ENGINE_PIPELINE_H
#define ENGINE_PIPELINE_H

#include "engine/exchange.h"
#include "ring/stage.h"

struct pipeline;

/* A batch of exchanges, in the order of their dispatch; valid during the call. */
struct pipeline_batch;
size_t pipeline_batch_count(const struct pipeline_batch *batch);
struct exchange *pipeline_batch_at(const struct pipeline_batch *batch, size_t index);

/* Runs on a service thread; may block. `worker` is 0 but for parallel stages. */
typedef void pipeline_stage_fn(void *context, unsigned worker, struct pipeline_batch *batch);

struct pipeline_stage_config {
    const char *name; /* static; for thread names and metrics */
    pipeline_stage_fn *run;
    void *context;
    unsigned workers;   /* 1: serial; more: exchanges are divided over as many workers */
    unsigned batch_max; /* 0: no limit */
};

struct pipeline_config {
    const char *name; /* static; [http.pipelines.NAME] */
    const struct pipeline_stage_config *stages;
    unsigned stage_count;
    unsigned ring_buffer_size; /* slots: a power of two */
    unsigned threads;          /* the stages are divided over; 1 to the number of workers */
};

#endif
