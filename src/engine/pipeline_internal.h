/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pipeline_internal: what the rest of the engine does with pipelines; see engine/pipeline.h.
 */
#ifndef ENGINE_PIPELINE_INTERNAL_H
#define ENGINE_PIPELINE_INTERNAL_H

#include "engine/core.h"

/* Copies the configuration; its metrics are registered with `core`. ERR_INVALID: sizes that cannot
 * work. ERR_MEMORY. */
enum err pipeline_open(struct engine_core *core, const struct pipeline_config *config,
                       unsigned index, struct pipeline **out_pipeline) WARN_UNUSED;
enum err pipeline_start(struct pipeline *pipeline) WARN_UNUSED;

/* Without pipeline_start(): runs what is ready on the thread of the caller, a fuzzer. False:
 * nothing was. */
bool pipeline_step(struct pipeline *pipeline);

/* Any thread. No claim succeeds from now on; the threads finish what was published, then end. */
void pipeline_stop(struct pipeline *pipeline);

/* Waits for the threads, at most until `until_ms` (monotonic). False: one still runs. */
bool pipeline_join(struct pipeline *pipeline, uint64_t until_ms) WARN_UNUSED;

/* After pipeline_join() returned true, or if it was never started. */
void pipeline_close(struct pipeline *pipeline);

const char *pipeline_name(const struct pipeline *pipeline);
unsigned pipeline_index(const struct pipeline *pipeline);
unsigned pipeline_thread_count(const struct pipeline *pipeline);

unsigned pipeline_stage_count(const struct pipeline *pipeline);
const char *pipeline_stage_name(const struct pipeline *pipeline, unsigned stage);

/* Any thread, for metrics: chunks taken less chunks given by its threads. */
int64_t pipeline_chunk_balance(const struct pipeline *pipeline);

/* Any thread, for metrics: slots, and how many of them are taken. */
uint64_t pipeline_slot_count(const struct pipeline *pipeline);
uint64_t pipeline_occupancy(const struct pipeline *pipeline);

/* Network threads: claims a slot; false when the ring is full. Then exactly one pipeline_publish()
 * of that slot must follow, and is the last touch of the exchange. */
bool pipeline_try_claim(struct pipeline *pipeline, uint64_t *out_sequence) WARN_UNUSED;
void pipeline_publish(struct pipeline *pipeline, uint64_t sequence, struct exchange *exchange);

/* Network threads: wakes the first stage if it sleeps; once after any number of publications. */
void pipeline_wake(struct pipeline *pipeline);

/* Any thread: see server_stuck_stage(). */
const char *pipeline_stuck_stage(struct pipeline *pipeline, uint64_t now_ms, unsigned stuck_ms);

#endif
