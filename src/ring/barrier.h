/* SPDX-License-Identifier: Apache-2.0 */
/*
 * barrier: up to where a consumer may read: what the producers have published without a gap (first
 * stage), or what all workers of the stage before it are done with.
 *
 * Runs on:  the consumer's thread. Never blocks.
 * Edge:     what is counted as ready was acquired: from ring_publish(), or from the upstream
 *           stage's sequence_publish().
 */
#ifndef RING_BARRIER_H
#define RING_BARRIER_H

#include "ring/ring.h"
#include "ring/sequence.h"

#include <stdint.h>

struct barrier {
    const struct ring *ring;
    const struct sequence *const *upstream; /* the sequences of the stage before */
    unsigned upstream_count;                /* 0: the producers */
};

/* How many of the sequences next, next + stride, next + 2 * stride, ... are ready without a gap, at
 * most `count_max` (at least 1). */
uint64_t barrier_ready_count(const struct barrier *barrier, uint64_t next, uint64_t stride,
                             uint64_t count_max);

#endif
