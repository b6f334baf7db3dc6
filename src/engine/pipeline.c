/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pipelines: the ring's stages run the application's functions, and the last one gives the
 * connections back.
 *
 * Ownership. A poller lends a connection (conn_lend()), then publishes its ring slot; the ring's
 * publish edge and each stage's progress hand it from stage to stage. After the last stage's
 * function has returned, every connection of the batch is posted to its home, and then each home
 * that sleeps is woken once.
 *
 * Memory. Whoever runs a stage lets the exchanges' arenas draw from its own thread's chunk pool.
 */
#include "engine/pipeline_internal.h"

#include "base/check.h"
#include "engine/poller.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    PIPELINE_STAGES_MAX = 16,
    SERVICE_CACHE_BYTES = 1 << 20, /* of free chunks kept by each service thread */
};

struct pipeline_batch {
    const struct ring_batch *items;
};

struct stage {
    struct pipeline *pipeline;
    struct pipeline_stage_config config;
    bool is_last;
    /* For pipeline_stuck_stage(): the progress that was first seen at `seen_ms` with work waiting.
     */
    _Atomic uint64_t seen_progress;
    _Atomic uint64_t seen_ms; /* 0: nothing was waiting */
};

struct service_thread {
    struct pipeline *pipeline;
    struct stage_thread *stages;
    struct chunk_pool pool;
    struct metrics_cells *cells;
    struct thread thread;
    bool started;
};

struct pipeline {
    struct engine_core *core;
    unsigned index;
    unsigned stage_count;
    const char *name;
    struct stage stages[PIPELINE_STAGES_MAX];
    struct service_thread *threads;
    unsigned thread_count;
    struct stage_chain *chain;
    struct ring ring;
};

/* The service thread that this thread is. */
static _Thread_local struct service_thread *self;

size_t pipeline_batch_count(const struct pipeline_batch *batch)
{
    return batch->items->count;
}

struct exchange *pipeline_batch_at(const struct pipeline_batch *batch, size_t index)
{
    return ring_batch_at(batch->items, index);
}

/* The batch has passed the last stage: every connection goes home. */
static void give_back(const struct pipeline *pipeline, const struct ring_batch *batch)
{
    uint64_t homes = 0;
    for (size_t i = 0; i < batch->count; i++) {
        struct conn *conn = active_of(ring_batch_at(batch, i))->conn;
        homes |= UINT64_C(1) << conn->home->index;
        poller_post_conn(conn);
    }
    while (homes != 0) {
        unsigned index = (unsigned)__builtin_ctzll(homes);
        homes &= homes - 1;
        poller_ring(&pipeline->core->pollers[index]);
    }
}

static void stage_run(void *context, struct ring_batch *batch)
{
    struct stage *stage = context;
    struct pipeline_batch wrapped = {batch};
    thread_check(ROLE_SERVICE);
    for (size_t i = 0; i < batch->count; i++) {
        struct exchange *exchange = ring_batch_at(batch, i);
        arena_adopt(exchange->arena, &self->pool);
    }
    stage->config.run(stage->config.context, batch->worker, &wrapped);
    struct pipeline *pipeline = stage->pipeline;
    metrics_observe(
        self->cells,
        pipeline->core->instruments.batch_sizes[pipeline->index][stage - pipeline->stages],
        batch->count);
    if (stage->is_last) {
        give_back(pipeline, batch);
    }
}

static bool config_is_valid(const struct pipeline_config *config)
{
    uint64_t slots = config->ring_buffer_size;
    if (config->stage_count == 0 || config->stage_count > PIPELINE_STAGES_MAX ||
        config->threads == 0 || slots < 2 || (slots & (slots - 1)) != 0 || slots > RING_SLOTS_MAX) {
        return false;
    }
    for (unsigned i = 0; i < config->stage_count; i++) {
        if (config->stages[i].run == NULL || config->stages[i].workers == 0) {
            return false;
        }
    }
    return true;
}

static enum err open_chain(struct pipeline *pipeline, const struct pipeline_config *config)
{
    struct stage_config stages[PIPELINE_STAGES_MAX];
    for (unsigned i = 0; i < config->stage_count; i++) {
        struct stage *stage = &pipeline->stages[i];
        stage->pipeline = pipeline;
        stage->config = config->stages[i];
        stage->is_last = i + 1 == config->stage_count;
        stages[i] =
            (struct stage_config){stage_run, stage, stage->config.workers, stage->config.batch_max};
    }
    return stage_chain_open(&pipeline->ring, stages, config->stage_count, config->threads, 0,
                            &pipeline->chain);
}

enum err pipeline_open(struct engine_core *core, const struct pipeline_config *config,
                       unsigned index, struct pipeline **out_pipeline)
{
    if (!config_is_valid(config)) {
        return ERR_INVALID;
    }
    struct pipeline *pipeline = aligned_alloc(64, (sizeof *pipeline + 63) / 64 * 64);
    if (pipeline == NULL) {
        return ERR_MEMORY;
    }
    memset(pipeline, 0, sizeof *pipeline);
    pipeline->core = core;
    pipeline->index = index;
    pipeline->name = config->name;
    pipeline->stage_count = config->stage_count;
    if (ring_init(&pipeline->ring, config->ring_buffer_size) != OK) {
        free(pipeline);
        return ERR_MEMORY;
    }
    if (open_chain(pipeline, config) == OK) {
        pipeline->thread_count = stage_chain_thread_count(pipeline->chain);
        pipeline->threads = calloc(pipeline->thread_count, sizeof *pipeline->threads);
    }
    if (pipeline->threads == NULL) {
        pipeline_close(pipeline);
        return ERR_MEMORY;
    }
    *out_pipeline = pipeline;
    return OK;
}

static void service_run(void *argument)
{
    self = argument;
    /* A network thread on the same core goes on gathering requests meanwhile: docs/decisions/0011.
     */
    thread_set_batch_policy();
    stage_thread_run(self->stages);
    chunk_pool_deinit(&self->pool);
}

static void service_init(struct pipeline *pipeline, unsigned index)
{
    struct service_thread *thread = &pipeline->threads[index];
    size_t core_bytes_max = pipeline->core->cache_bytes_max;
    size_t cache_bytes_max =
        core_bytes_max < SERVICE_CACHE_BYTES ? core_bytes_max : SERVICE_CACHE_BYTES;
    thread->pipeline = pipeline;
    thread->stages = stage_chain_thread(pipeline->chain, index);
    thread->cells = metrics_cells_open(pipeline->core->metrics);
    chunk_pool_init(&thread->pool, &pipeline->core->budget, cache_bytes_max);
}

enum err pipeline_start(struct pipeline *pipeline)
{
    for (unsigned i = 0; i < pipeline->thread_count; i++) {
        struct service_thread *thread = &pipeline->threads[i];
        char name[64];
        service_init(pipeline, i);
        unsigned stage = stage_thread_first_stage(thread->stages);
        (void)snprintf(name, sizeof name, "%.15s", pipeline->stages[stage].config.name);
        if (thread_start(&thread->thread, name, ROLE_SERVICE, service_run, thread) != OK) {
            return ERR_SYSTEM;
        }
        thread->started = true;
    }
    return OK;
}

bool pipeline_step(struct pipeline *pipeline)
{
    enum thread_role role = thread_role_own;
    bool worked = false;
    thread_role_set(ROLE_SERVICE);
    for (unsigned i = 0; i < pipeline->thread_count; i++) {
        CHECK(!pipeline->threads[i].started);
        if (pipeline->threads[i].stages == NULL) {
            service_init(pipeline, i);
        }
        self = &pipeline->threads[i];
        worked |= stage_thread_step(self->stages);
    }
    self = NULL;
    thread_role_set(role);
    return worked;
}

void pipeline_stop(struct pipeline *pipeline)
{
    ring_close(&pipeline->ring);
}

bool pipeline_join(struct pipeline *pipeline, uint64_t until_ms)
{
    for (unsigned i = 0; i < pipeline->thread_count; i++) {
        struct service_thread *thread = &pipeline->threads[i];
        if (thread->started && !thread_join_until(&thread->thread, until_ms)) {
            return false;
        }
        thread->started = false;
    }
    return true;
}

void pipeline_close(struct pipeline *pipeline)
{
    free(pipeline->threads);
    stage_chain_close(&pipeline->chain);
    ring_deinit(&pipeline->ring);
    free(pipeline);
}

const char *pipeline_name(const struct pipeline *pipeline)
{
    return pipeline->name;
}

unsigned pipeline_index(const struct pipeline *pipeline)
{
    return pipeline->index;
}

unsigned pipeline_thread_count(const struct pipeline *pipeline)
{
    return pipeline->thread_count;
}

unsigned pipeline_stage_count(const struct pipeline *pipeline)
{
    return pipeline->stage_count;
}

const char *pipeline_stage_name(const struct pipeline *pipeline, unsigned stage)
{
    CHECK(stage < pipeline->stage_count);
    return pipeline->stages[stage].config.name;
}

int64_t pipeline_chunk_balance(const struct pipeline *pipeline)
{
    int64_t chunks = 0;
    for (unsigned i = 0; i < pipeline->thread_count; i++) {
        chunks += chunk_pool_balance(&pipeline->threads[i].pool);
    }
    return chunks;
}

uint64_t pipeline_slot_count(const struct pipeline *pipeline)
{
    return ring_slot_count(&pipeline->ring);
}

uint64_t pipeline_occupancy(const struct pipeline *pipeline)
{
    return ring_occupancy(&pipeline->ring);
}

bool pipeline_try_claim(struct pipeline *pipeline, uint64_t *out_sequence)
{
    return ring_try_claim(&pipeline->ring, 1, out_sequence);
}

void pipeline_publish(struct pipeline *pipeline, uint64_t sequence, struct exchange *exchange)
{
    ring_publish(&pipeline->ring, sequence, exchange);
}

void pipeline_wake(struct pipeline *pipeline)
{
    ring_wake(&pipeline->ring);
}

/* Whether the stage has not moved for `stuck_ms` although work waits for it. */
static bool stage_is_stuck(struct pipeline *pipeline, unsigned index, uint64_t now_ms,
                           unsigned stuck_ms)
{
    struct stage *stage = &pipeline->stages[index];
    uint64_t progress = stage_chain_progress(pipeline->chain, index);
    uint64_t waiting = index == 0 ? ring_claimed(&pipeline->ring)
                                  : stage_chain_progress(pipeline->chain, index - 1);
    /* relaxed: several threads may ask at once; an old value only makes the answer come later.
     * Pairs with the stores below. */
    uint64_t seen_ms = atomic_load_explicit(&stage->seen_ms, memory_order_relaxed);
    uint64_t seen_progress = atomic_load_explicit(&stage->seen_progress, memory_order_relaxed);
    if (waiting > progress && seen_ms != 0 && seen_progress == progress) {
        return now_ms - seen_ms >= stuck_ms;
    }
    /* relaxed: as above; pairs with the loads */
    atomic_store_explicit(&stage->seen_progress, progress, memory_order_relaxed);
    atomic_store_explicit(&stage->seen_ms, waiting > progress ? now_ms : 0, memory_order_relaxed);
    return false;
}

const char *pipeline_stuck_stage(struct pipeline *pipeline, uint64_t now_ms, unsigned stuck_ms)
{
    for (unsigned i = 0; i < pipeline->stage_count; i++) {
        if (stage_is_stuck(pipeline, i, now_ms, stuck_ms)) {
            return pipeline->stages[i].config.name;
        }
    }
    return NULL;
}
