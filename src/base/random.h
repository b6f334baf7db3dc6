/* SPDX-License-Identifier: Apache-2.0 */
/*
 * random: numbers that a seed repeats, for tests and simulations (splitmix64). Not for secrets.
 *
 * Runs on: whoever owns the state. Never blocks.
 */
#ifndef BASE_RANDOM_H
#define BASE_RANDOM_H

#include <stdbool.h>
#include <stdint.h>

struct random {
    uint64_t state; /* at first: the seed */
};

static inline uint64_t random_next(struct random *random)
{
    random->state += UINT64_C(0x9e3779b97f4a7c15);
    uint64_t z = random->state;
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

/* 0 to limit - 1; the bias is of no account for small limits. */
static inline uint64_t random_less(struct random *random, uint64_t limit)
{
    return random_next(random) % limit;
}

/* True once in `times` times. */
static inline bool random_once_in(struct random *random, uint64_t times)
{
    return random_less(random, times) == 0;
}

#endif
