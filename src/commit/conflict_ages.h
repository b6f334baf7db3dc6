/* SPDX-License-Identifier: Apache-2.0 */
/*
 * conflict_ages: how much the conflict set holds for writes of which versions, in ranges of
 * versions of about equal weight; it tells how far the floor must rise to free so much.
 *
 * Runs on: the conflict set's thread. Blocks: never.
 */
#ifndef COMMIT_CONFLICT_AGES_H
#define COMMIT_CONFLICT_AGES_H

#include <stdint.h>

enum {
    CONFLICT_AGES_COUNT = 256,
    CONFLICT_AGES_SHARE = 64, /* a range that holds more than one such part of all gets no more */
};

struct conflict_ages {
    unsigned count;                      /* at least 1 */
    uint64_t newest;                     /* the highest version ever added */
    uint64_t total;                      /* of weight */
    uint64_t first[CONFLICT_AGES_COUNT]; /* version of each range; of the first one: 0 */
    uint64_t weight[CONFLICT_AGES_COUNT];
};

void conflict_ages_init(struct conflict_ages *ages);

/* `version` may be any: one older than `newest` counts in the range that it falls into. */
void conflict_ages_add(struct conflict_ages *ages, uint64_t version, uint64_t weight);

/* `weight` that were added at `version`. */
void conflict_ages_subtract(struct conflict_ages *ages, uint64_t version, uint64_t weight);

/* The floor, at or above `floor`, that lets go of at least so many thousandths of what is newer
 * than `floor`, as exactly as the ranges tell. What is older and still there is left out: it is
 * held by newer ranges that end at it, and goes with them. */
uint64_t conflict_ages_floor(const struct conflict_ages *ages, uint64_t floor,
                             uint64_t thousandths);

#endif
