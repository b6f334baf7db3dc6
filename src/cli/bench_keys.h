/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench_keys: random numbers, and which key comes next.
 *
 * Runs on: one thread. Blocks: never. The same seed gives the same keys.
 */
#ifndef CLI_BENCH_KEYS_H
#define CLI_BENCH_KEYS_H

#include <stdint.h>

#define BENCH_KEYS_MAX UINT64_C(4000000000)

enum bench_distribution {
    BENCH_UNIFORM,
    BENCH_ZIPF,       /* the k-th most wanted key is wanted 1/k^exponent as often as the first */
    BENCH_SEQUENTIAL, /* 0, 1, 2 and so on, and from the beginning again */
};

struct bench_keys {
    enum bench_distribution distribution;
    uint64_t count;
    uint64_t state;
    uint64_t next; /* of the sequence */
    double exponent;
    double area_first; /* of BENCH_ZIPF: the span that a random number is drawn from */
    double area_last;
    double accept; /* and how far below its rank a draw needs no further look */
};

/* `count` from 1 to BENCH_KEYS_MAX, `exponent` above 0. */
void bench_keys_init(struct bench_keys *keys, enum bench_distribution distribution, uint64_t count,
                     double exponent, uint64_t seed);

/* 0 to count - 1 */
uint64_t bench_keys_next(struct bench_keys *keys);

/* Any 64 bits, from the same source. */
uint64_t bench_keys_random(struct bench_keys *keys);

/* 0 up to 1, without 1. */
double bench_keys_share(struct bench_keys *keys);

#endif
