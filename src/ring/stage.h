/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stage: an ordered list of stages that consume a ring, divided over threads.
 *
 *   ring_init(&ring, 1024);
 *   stage_chain_open(&ring, stages, 2, threads, 0, &chain);
 *   for each i below stage_chain_thread_count(chain): start a thread that calls
 *       stage_thread_run(stage_chain_thread(chain, i));      (until the ring is closed and drained)
 *   ...
 *   ring_close(&ring);  join the threads and the producers;
 *   stage_chain_close(&chain);  ring_deinit(&ring);
 *
 * Every stage handles every item in order, in batches, after the stage before it. A parallel stage
 * of k workers divides the items: worker i has those with sequence % k == i, and the next stage
 * waits for the slowest. A stage publishes its progress once for each batch; that of the last stage
 * frees the slots.
 *
 * A lane is a serial stage or one worker of a parallel one. With at least as many threads as lanes,
 * each lane has its own; with fewer, neighbours share a thread, which runs them in order and sleeps
 * only when none has work.
 *
 * Runs on:  open and close: one thread, while no other uses the chain. stage_thread_run(): one
 *           thread for each stage_thread. The reading functions: any thread.
 * Owns:     its memory. Borrows the ring and each stage's context until close.
 * Blocks:   stage_thread_run() sleeps on a futex while there is no work, using no CPU.
 * Stop:     ring_close(): every item claimed before it still passes every stage, then
 *           stage_thread_run() returns, upstream first.
 */
#ifndef RING_STAGE_H
#define RING_STAGE_H

#include "base/err.h"
#include "ring/batch.h"
#include "ring/ring.h"

#include <stdbool.h>
#include <stdint.h>

struct stage_chain;  /* ring/stage.c */
struct stage_thread; /* ring/stage.c */

/* Handles a whole batch; returning says that all its items are done. May block. */
typedef void stage_run_fn(void *context, struct ring_batch *batch);

struct stage_config {
    stage_run_fn *run;
    void *context;      /* shared by all workers of the stage; batch->worker tells them apart */
    unsigned workers;   /* 1: serial; more: parallel */
    unsigned batch_max; /* items in a batch at most; 0: as many as are ready */
};

enum { STAGE_LANES_MAX = 1024 };

/* Which thread each lane belongs to: consecutive lanes to each thread, the same number or one more.
 * Lanes count from the first stage's worker 0. Returns the number of threads that have a lane:
 * `thread_count` (at least 1), or `lane_count` if that is less. */
unsigned stage_plan(unsigned lane_count, unsigned thread_count, unsigned *out_thread_of_lane);

/* Attaches `stage_count` (at least 1) stages to a ring that nobody uses yet. `stages` is copied.
 * Before a thread sleeps it looks `spin_iterations` times more; use 0 unless cores are to spare.
 * ERR_MEMORY: nothing to close, and the ring can be deinitialized. */
WARN_UNUSED enum err stage_chain_open(struct ring *ring, const struct stage_config *stages,
                                      unsigned stage_count, unsigned thread_count,
                                      unsigned spin_iterations, struct stage_chain **out_chain);

/* Frees *chain (may be NULL) and nulls it, after all its threads and the producers have ended. */
void stage_chain_close(struct stage_chain **chain);

unsigned stage_chain_thread_count(const struct stage_chain *chain);
struct stage_thread *stage_chain_thread(struct stage_chain *chain, unsigned index);

/* Runs the thread's lanes until the ring is closed and all they have to do is done. Once only. */
void stage_thread_run(struct stage_thread *thread);

/* One round of that: lets each lane handle what is ready, without sleeping. False: nothing was. */
bool stage_thread_step(struct stage_thread *thread);

/* The stage of the thread's first lane, e.g. for the thread's name. */
unsigned stage_thread_first_stage(const struct stage_thread *thread);

/* Whether the thread sleeps or is about to; old as soon as it is known. */
bool stage_thread_is_sleeping(const struct stage_thread *thread);

/* The sequence below which `stage` has handled every item. A stage is stuck when this stands still
 * below that of the stage before it (for the first: below ring_claimed()). */
uint64_t stage_chain_progress(const struct stage_chain *chain, unsigned stage);

#endif
