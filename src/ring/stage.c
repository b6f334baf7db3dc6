/* SPDX-License-Identifier: Apache-2.0 */
/* Two arrays carry the whole wiring: the lanes' sequences in the order of the lanes, and the
 * threads' waits in the order of the threads. As lanes lie on threads in order, "all workers of the
 * stage before" and "all threads of the stage after" are ranges of the two.
 *
 * Invariants
 *  1. lane->next is the next sequence of the lane's own: k apart for a parallel stage, so the
 *     smallest of a stage's k sequences is exactly the first item that is not handled.
 *  2. A lane's progress is published once for each batch, after the last touch of its items.
 *  3. A thread sleeps only after it has prepared its wait and then found, for every lane, no ready
 *     item, and that the end is not reached. Whoever can change that wakes it: producers and
 *     ring_close() the threads of the first stage, a lane after each batch those of the next stage,
 *     a thread that ends those of all its lanes' next stages (they learn of the end by it).
 *
 * A waker wakes all threads of a parallel next stage, even one that will find nothing of its own:
 * telling them apart would need the sleepers' sequences and a second proof. */
#include "ring/stage.h"

#include "ring/barrier.h"

#include <stdlib.h>
#include <string.h>

struct stage_lane {
    struct sequence progress;
    /* Fixed after open. */
    stage_run_fn *run;
    void *context;
    struct barrier barrier;
    struct wait *const *wakes; /* the threads of the next stage but our own */
    unsigned wake_count;
    unsigned stage;
    unsigned worker;
    uint64_t stride;
    uint64_t batch_max;
    /* The owner's. */
    uint64_t next;
};

struct stage_thread {
    struct wait wait;
    /* Fixed after open. */
    const struct ring *ring;
    struct stage_lane *lanes;
    unsigned lane_count;
    unsigned spin_iterations;
    /* The owner's. */
    bool started;
};

struct stage_span {
    unsigned first_lane;
    unsigned lane_count;
};

struct stage_chain {
    struct stage_span *stages;
    struct stage_lane *lanes;
    struct stage_thread *threads;
    const struct sequence **sequences; /* one a lane */
    struct wait **waits;               /* one a thread */
    unsigned stage_count;
    unsigned lane_count;
    unsigned thread_count;
};

unsigned stage_plan(unsigned lane_count, unsigned thread_count, unsigned *out_thread_of_lane)
{
    CHECK(lane_count >= 1 && lane_count <= STAGE_LANES_MAX);
    CHECK(thread_count >= 1);
    unsigned threads = thread_count < lane_count ? thread_count : lane_count;
    for (unsigned lane = 0; lane < lane_count; lane++) {
        out_thread_of_lane[lane] = lane * threads / lane_count;
    }
    return threads;
}

static void *array_alloc(size_t count, size_t size)
{
    size_t bytes = count * size;
    bytes = (bytes + CACHE_LINE_BYTES - 1) / CACHE_LINE_BYTES * CACHE_LINE_BYTES;
    void *memory = aligned_alloc(CACHE_LINE_BYTES, bytes);
    if (memory != NULL) {
        memset(memory, 0, bytes);
    }
    return memory;
}

static struct stage_chain *chain_alloc(unsigned stage_count, unsigned lane_count,
                                       unsigned thread_count)
{
    struct stage_chain *chain = array_alloc(1, sizeof *chain);
    if (chain == NULL) {
        return NULL;
    }
    chain->stage_count = stage_count;
    chain->lane_count = lane_count;
    chain->thread_count = thread_count;
    chain->stages = array_alloc(stage_count, sizeof *chain->stages);
    chain->lanes = array_alloc(lane_count, sizeof *chain->lanes);
    chain->threads = array_alloc(thread_count, sizeof *chain->threads);
    chain->sequences = array_alloc(lane_count, sizeof *chain->sequences);
    chain->waits = array_alloc(thread_count, sizeof *chain->waits);
    if (chain->stages == NULL || chain->lanes == NULL || chain->threads == NULL ||
        chain->sequences == NULL || chain->waits == NULL) {
        stage_chain_close(&chain);
    }
    return chain;
}

void stage_chain_close(struct stage_chain **chain)
{
    if (*chain == NULL) {
        return;
    }
    free((*chain)->stages);
    free((*chain)->lanes);
    free((*chain)->threads);
    free((*chain)->sequences);
    free((*chain)->waits);
    free(*chain);
    *chain = NULL;
}

static void threads_init(struct stage_chain *chain, const struct ring *ring,
                         const unsigned *thread_of_lane, unsigned spin_iterations)
{
    for (unsigned i = 0; i < chain->thread_count; i++) {
        struct stage_thread *thread = &chain->threads[i];
        wait_init(&thread->wait);
        thread->ring = ring;
        thread->spin_iterations = spin_iterations;
        chain->waits[i] = &thread->wait;
    }
    for (unsigned i = 0; i < chain->lane_count; i++) {
        struct stage_thread *thread = &chain->threads[thread_of_lane[i]];
        if (thread->lane_count == 0) {
            thread->lanes = &chain->lanes[i];
        }
        thread->lane_count++;
    }
}

static void lane_init(struct stage_chain *chain, const struct ring *ring,
                      const struct stage_config *config, unsigned stage, unsigned worker)
{
    unsigned index = chain->stages[stage].first_lane + worker;
    struct stage_lane *lane = &chain->lanes[index];
    sequence_init(&lane->progress, worker);
    lane->run = config->run;
    lane->context = config->context;
    lane->barrier.ring = ring;
    if (stage > 0) {
        const struct stage_span *before = &chain->stages[stage - 1];
        lane->barrier.upstream = &chain->sequences[before->first_lane];
        lane->barrier.upstream_count = before->lane_count;
    }
    lane->stage = stage;
    lane->worker = worker;
    lane->stride = config->workers;
    lane->batch_max = config->batch_max != 0 ? config->batch_max : ring_slot_count(ring);
    lane->next = worker;
    chain->sequences[index] = &lane->progress;
}

/* Whom each lane wakes. Its own thread can only be the first of the next stage's threads. */
static void wakes_init(struct stage_chain *chain, const unsigned *thread_of_lane)
{
    for (unsigned i = 0; i < chain->lane_count; i++) {
        struct stage_lane *lane = &chain->lanes[i];
        if (lane->stage + 1 == chain->stage_count) {
            continue;
        }
        const struct stage_span *after = &chain->stages[lane->stage + 1];
        unsigned first = thread_of_lane[after->first_lane];
        unsigned end = thread_of_lane[after->first_lane + after->lane_count - 1] + 1;
        CHECK(first >= thread_of_lane[i]);
        first = first == thread_of_lane[i] ? first + 1 : first;
        lane->wakes = &chain->waits[first < end ? first : 0];
        lane->wake_count = end - first;
    }
}

enum err stage_chain_open(struct ring *ring, const struct stage_config *stages,
                          unsigned stage_count, unsigned thread_count, unsigned spin_iterations,
                          struct stage_chain **out_chain)
{
    CHECK(stage_count >= 1 && stage_count <= STAGE_LANES_MAX);
    unsigned lane_count = 0;
    for (unsigned i = 0; i < stage_count; i++) {
        CHECK(stages[i].run != NULL);
        CHECK(stages[i].workers >= 1 && stages[i].workers <= STAGE_LANES_MAX - lane_count);
        lane_count += stages[i].workers;
    }
    unsigned thread_of_lane[STAGE_LANES_MAX];
    thread_count = stage_plan(lane_count, thread_count, thread_of_lane);
    struct stage_chain *chain = chain_alloc(stage_count, lane_count, thread_count);
    if (chain == NULL) {
        return ERR_MEMORY;
    }
    unsigned first_lane = 0;
    for (unsigned i = 0; i < stage_count; i++) {
        chain->stages[i] = (struct stage_span){first_lane, stages[i].workers};
        for (unsigned worker = 0; worker < stages[i].workers; worker++) {
            lane_init(chain, ring, &stages[i], i, worker);
        }
        first_lane += stages[i].workers;
    }
    threads_init(chain, ring, thread_of_lane, spin_iterations);
    wakes_init(chain, thread_of_lane);
    const struct stage_span *last = &chain->stages[stage_count - 1];
    ring_attach(ring, &chain->sequences[last->first_lane], last->lane_count, chain->waits,
                thread_of_lane[chain->stages[0].lane_count - 1] + 1);
    *out_chain = chain;
    return OK;
}

/* Handles what is ready as one batch. False: nothing was. */
static bool lane_run(struct stage_lane *lane)
{
    uint64_t count = barrier_ready_count(&lane->barrier, lane->next, lane->stride, lane->batch_max);
    if (count == 0) {
        return false;
    }
    struct ring_batch batch = {.count = (size_t)count,
                               .first = lane->next,
                               .stride = lane->stride,
                               .worker = lane->worker,
                               .ring = lane->barrier.ring};
    lane->run(lane->context, &batch);
    CHECK(batch.count == count && batch.first == lane->next);
    lane->next += count * lane->stride;
    sequence_publish(&lane->progress, lane->next);
    wait_wake_all(lane->wakes, lane->wake_count);
    return true;
}

bool stage_thread_step(struct stage_thread *thread)
{
    bool worked = false;
    for (unsigned i = 0; i < thread->lane_count; i++) {
        worked |= lane_run(&thread->lanes[i]);
    }
    return worked;
}

/* Every item that was ever claimed is behind all lanes of the thread. */
static bool thread_is_finished(const struct stage_thread *thread)
{
    uint64_t end;
    if (!ring_is_closed(thread->ring, &end)) {
        return false;
    }
    for (unsigned i = 0; i < thread->lane_count; i++) {
        if (thread->lanes[i].next < end) {
            return false;
        }
    }
    return true;
}

static bool thread_has_items(const struct stage_thread *thread)
{
    for (unsigned i = 0; i < thread->lane_count; i++) {
        const struct stage_lane *lane = &thread->lanes[i];
        if (barrier_ready_count(&lane->barrier, lane->next, lane->stride, 1) > 0) {
            return true;
        }
    }
    return false;
}

static void cpu_relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#endif
}

static void thread_wait(struct stage_thread *thread)
{
    for (unsigned i = 0; i < thread->spin_iterations; i++) {
        if (thread_has_items(thread)) {
            return;
        }
        cpu_relax();
    }
    wait_prepare(&thread->wait);
    if (thread_has_items(thread) || thread_is_finished(thread)) {
        wait_cancel(&thread->wait);
    } else {
        wait_sleep(&thread->wait);
    }
}

void stage_thread_run(struct stage_thread *thread)
{
    CHECK(thread->lane_count > 0);
    CHECK(!thread->started);
    thread->started = true;
    /* The end is looked for only when there is nothing else to do: the cursor's cache line belongs
     * to the producers. */
    bool worked = true;
    while (worked || !thread_is_finished(thread)) {
        if (!worked) {
            thread_wait(thread);
        }
        worked = stage_thread_step(thread);
    }
    for (unsigned i = 0; i < thread->lane_count; i++) {
        wait_wake_all(thread->lanes[i].wakes, thread->lanes[i].wake_count);
    }
}

unsigned stage_chain_thread_count(const struct stage_chain *chain)
{
    return chain->thread_count;
}

struct stage_thread *stage_chain_thread(struct stage_chain *chain, unsigned index)
{
    CHECK(index < chain->thread_count);
    return &chain->threads[index];
}

unsigned stage_thread_first_stage(const struct stage_thread *thread)
{
    CHECK(thread->lane_count > 0);
    return thread->lanes[0].stage;
}

bool stage_thread_is_sleeping(const struct stage_thread *thread)
{
    return wait_is_sleeping(&thread->wait);
}

uint64_t stage_chain_progress(const struct stage_chain *chain, unsigned stage)
{
    CHECK(stage < chain->stage_count);
    const struct stage_span *span = &chain->stages[stage];
    return sequence_minimum(&chain->sequences[span->first_lane], span->lane_count);
}
