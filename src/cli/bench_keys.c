/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Zipf's law by rejection-inversion (W. Hörmann and G. Derflinger, 1996), which needs neither a
 * table nor a sum over all keys: the steps of the law lie under the curve h(x) = x^-s, whose area
 * H(x) is known and can be inverted. A point is drawn by area; its x, rounded, is the rank; points
 * above the rank's step are drawn anew, which happens seldom.
 */
#include "cli/bench_keys.h"

#include "base/check.h"

#include <math.h>

/* The largest prime below 2^32. */
#define SPREAD UINT64_C(4294967291)

/* (e^x - 1) / x and log(1 + x) / x, whose limits at 0 are 1. */
static double expm1_over(double x)
{
    return fabs(x) > 1e-8 ? expm1(x) / x : 1 + x / 2;
}

static double log1p_over(double x)
{
    return fabs(x) > 1e-8 ? log1p(x) / x : 1 - x / 2;
}

/* H(x): the area under h up to x, but for a constant. The exponent may be 1. */
static double area(double x, double exponent)
{
    double log_x = log(x);
    return expm1_over((1 - exponent) * log_x) * log_x;
}

static double area_inverse(double y, double exponent)
{
    double t = y * (1 - exponent);
    t = t < -1 ? -1 : t; /* rounding */
    return exp(log1p_over(t) * y);
}

static double height(double x, double exponent)
{
    return exp(-exponent * log(x));
}

void bench_keys_init(struct bench_keys *keys, enum bench_distribution distribution, uint64_t count,
                     double exponent, uint64_t seed)
{
    CHECK(count > 0 && count <= BENCH_KEYS_MAX && exponent > 0);
    *keys = (struct bench_keys){
        .distribution = distribution,
        .count = count,
        .state = seed,
        .exponent = exponent,
        .area_first = area(1.5, exponent) - 1,
        .area_last = area((double)count + 0.5, exponent),
        .accept = 2 - area_inverse(area(2.5, exponent) - height(2, exponent), exponent)};
}

/* splitmix64 (Steele, Lea and Flood 2014) */
static uint64_t mix(uint64_t x)
{
    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}

uint64_t bench_keys_random(struct bench_keys *keys)
{
    keys->state += UINT64_C(0x9e3779b97f4a7c15);
    return mix(keys->state);
}

double bench_keys_share(struct bench_keys *keys)
{
    return (double)(bench_keys_random(keys) >> 11) * 0x1p-53;
}

/* 1 to count */
static uint64_t zipf_rank(struct bench_keys *keys)
{
    for (;;) {
        double y = keys->area_last + bench_keys_share(keys) * (keys->area_first - keys->area_last);
        double x = area_inverse(y, keys->exponent);
        double rank = floor(x + 0.5);
        rank = rank < 1 ? 1 : rank > (double)keys->count ? (double)keys->count : rank;
        if (rank - x <= keys->accept ||
            y >= area(rank + 0.5, keys->exponent) - height(rank, keys->exponent)) {
            return (uint64_t)rank;
        }
    }
}

uint64_t bench_keys_next(struct bench_keys *keys)
{
    switch (keys->distribution) {
    case BENCH_UNIFORM:
        return bench_keys_random(keys) % keys->count;
    case BENCH_ZIPF:
        /* Wanted keys are not neighbours: that would be kinder to the server than real life. A
         * prime above the count makes this one key for each rank. */
        return zipf_rank(keys) * (SPREAD % keys->count) % keys->count;
    case BENCH_SEQUENTIAL:
        return keys->next++ % keys->count;
    }
    UNREACHABLE();
}
