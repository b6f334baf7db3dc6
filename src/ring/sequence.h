/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sequence: a 64-bit counter on a cache line of its own, written by one thread and read by many.
 *
 * Its value is the next sequence number its writer will handle; everything below is done. It only
 * grows, and at 10^9 steps a second it would last for centuries, so wrap-around is not considered.
 *
 * Runs on:  sequence_publish() the writer's thread; the rest any thread. Never blocks.
 *
 * Edge:     sequence_publish() releases what its writer did below the new value; sequence_read()
 *           and sequence_minimum() acquire it. This is both "this stage is done with the items"
 *           (towards the next stage) and "these slots are free" (towards producers).
 */
#ifndef RING_SEQUENCE_H
#define RING_SEQUENCE_H

#include "base/check.h"

#include <assert.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdint.h>

enum { CACHE_LINE_BYTES = 64 };

struct sequence {
    alignas(CACHE_LINE_BYTES) _Atomic uint64_t value;
};

static_assert(sizeof(struct sequence) == CACHE_LINE_BYTES, "shares its cache line with nobody");

static inline void sequence_init(struct sequence *sequence, uint64_t value)
{
    atomic_init(&sequence->value, value);
}

static inline uint64_t sequence_read(const struct sequence *sequence)
{
    /* Pairs with sequence_publish(): the writer's work below the value is visible. */
    return atomic_load_explicit(&sequence->value, memory_order_acquire);
}

static inline void sequence_publish(struct sequence *sequence, uint64_t value)
{
    /* Relaxed: only this thread writes it. */
    CHECK(value > atomic_load_explicit(&sequence->value, memory_order_relaxed));
    /* Pairs with sequence_read(): reads and writes of the items below are over. */
    atomic_store_explicit(&sequence->value, value, memory_order_release);
}

/* The smallest of `count` (at least 1) sequences: what all their writers are done with. */
static inline uint64_t sequence_minimum(const struct sequence *const *sequences, unsigned count)
{
    CHECK(count > 0);
    uint64_t minimum = sequence_read(sequences[0]);
    for (unsigned i = 1; i < count; i++) {
        uint64_t value = sequence_read(sequences[i]);
        minimum = value < minimum ? value : minimum;
    }
    return minimum;
}

#endif
