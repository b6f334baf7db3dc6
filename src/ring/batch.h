/* SPDX-License-Identifier: Apache-2.0 */
/*
 * batch: the items that a stage handles in one call, in the order of their sequences.
 *
 *   for (size_t i = 0; i < batch->count; i++) {
 *       handle(ring_batch_at(batch, i));
 *   }
 *
 * Runs on:  the thread that was given it. Never blocks.
 * Lives:    during the call. The slots are free for producers after the last stage's call.
 */
#ifndef RING_BATCH_H
#define RING_BATCH_H

#include "base/check.h"
#include "ring/ring.h"

#include <stddef.h>
#include <stdint.h>

struct ring_batch {
    size_t count;    /* items; at least 1 */
    uint64_t first;  /* the first item's sequence */
    uint64_t stride; /* from one item's sequence to the next; 1 in a serial stage */
    unsigned worker; /* of a parallel stage, from 0; 0 in a serial stage */
    const struct ring *ring;
};

static inline uint64_t ring_batch_sequence_at(const struct ring_batch *batch, size_t index)
{
    CHECK_SLOW(index < batch->count);
    return batch->first + index * batch->stride;
}

static inline void *ring_batch_at(const struct ring_batch *batch, size_t index)
{
    return ring_slot_at(batch->ring, ring_batch_sequence_at(batch, index))->item;
}

#endif
