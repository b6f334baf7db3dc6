/* SPDX-License-Identifier: Apache-2.0 */
/* A value below 128 has a bucket of its own. Any other is shifted right until it has eight bits:
 * the shift is its group and the seven bits behind the leading one are its place in it. */
#include "cli/histogram.h"

#include "base/check.h"

#include <stddef.h>

static size_t bucket_of(uint64_t value)
{
    if (value < HISTOGRAM_STEPS) {
        return (size_t)value;
    }
    unsigned shift = 63 - (unsigned)__builtin_clzll(value) - HISTOGRAM_STEP_BITS;
    return (size_t)HISTOGRAM_STEPS * shift + (size_t)(value >> shift);
}

/* The largest value of a bucket. */
static uint64_t end_of(size_t bucket)
{
    if (bucket < (size_t)2 * HISTOGRAM_STEPS) {
        return bucket;
    }
    size_t shift = bucket / HISTOGRAM_STEPS - 1;
    uint64_t first = (uint64_t)(bucket - HISTOGRAM_STEPS * shift) << shift;
    return first + ((UINT64_C(1) << shift) - 1);
}

void histogram_add(struct histogram *histogram, uint64_t value)
{
    histogram->buckets[bucket_of(value)]++;
    histogram->count++;
    histogram->sum += value;
    histogram->max = value > histogram->max ? value : histogram->max;
}

void histogram_merge(struct histogram *histogram, const struct histogram *from)
{
    for (size_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
        histogram->buckets[i] += from->buckets[i];
    }
    histogram->count += from->count;
    histogram->sum += from->sum;
    histogram->max = from->max > histogram->max ? from->max : histogram->max;
}

uint64_t histogram_quantile(const struct histogram *histogram, double quantile)
{
    CHECK(quantile >= 0 && quantile <= 1);
    uint64_t seen = 0;
    double wanted = (double)histogram->count * quantile;
    for (size_t i = 0; i < HISTOGRAM_BUCKETS && histogram->count > 0; i++) {
        seen += histogram->buckets[i];
        if (seen > 0 && (double)seen >= wanted) {
            uint64_t end = end_of(i);
            return end < histogram->max ? end : histogram->max;
        }
    }
    return histogram->max;
}

double histogram_mean(const struct histogram *histogram)
{
    return histogram->count == 0 ? 0 : (double)histogram->sum / (double)histogram->count;
}

void histogram_clear(struct histogram *histogram)
{
    *histogram = (struct histogram){0};
}
