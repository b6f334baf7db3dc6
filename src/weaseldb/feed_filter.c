/* SPDX-License-Identifier: Apache-2.0 */
/* Key ranges: few of them, sorted once, searched by halves. */
#include "weaseldb/feed_filter.h"

#include "base/check.h"

#include <stdlib.h>

int feed_key_compare(struct bytes a, struct bytes b)
{
    size_t shared = a.size < b.size ? a.size : b.size;
    int order = shared == 0 ? 0 : memcmp(a.data, b.data, shared);
    return order != 0 ? order : (a.size > b.size) - (a.size < b.size);
}

/* Ends order like keys, but for the empty one. */
static int compare_ends(struct bytes a, struct bytes b)
{
    if (a.size == 0 || b.size == 0) {
        return (a.size == 0) - (b.size == 0);
    }
    return feed_key_compare(a, b);
}

static bool is_before_end(struct bytes key, struct bytes end)
{
    return end.size == 0 || feed_key_compare(key, end) < 0;
}

bool feed_range_is_valid(const struct feed_range *range)
{
    return is_before_end(range->begin, range->end);
}

static int compare_ranges(const void *left, const void *right)
{
    const struct feed_range *a = left;
    const struct feed_range *b = right;
    return feed_key_compare(a->begin, b->begin);
}

struct feed_filter feed_filter_make(struct feed_range *ranges, uint32_t count)
{
    CHECK(count <= FEED_FILTER_RANGES_MAX);
    if (count == 0) {
        return (struct feed_filter){0};
    }
    qsort(ranges, count, sizeof *ranges, compare_ranges);
    uint32_t last = 0;
    for (uint32_t i = 1; i < count; i++) {
        struct feed_range *before = &ranges[last];
        bool touches = before->end.size == 0 || feed_key_compare(ranges[i].begin, before->end) <= 0;
        if (!touches) {
            ranges[++last] = ranges[i];
        } else if (compare_ends(ranges[i].end, before->end) > 0) {
            before->end = ranges[i].end;
        }
    }
    return (struct feed_filter){ranges, last + 1};
}

/* The first range whose end is behind `key`. */
static uint32_t find(const struct feed_filter *filter, struct bytes key)
{
    uint32_t low = 0;
    uint32_t high = filter->count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (is_before_end(key, filter->ranges[middle].end)) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return low;
}

bool feed_filter_has(const struct feed_filter *filter, struct bytes key)
{
    uint32_t at = find(filter, key);
    return at < filter->count && feed_key_compare(filter->ranges[at].begin, key) <= 0;
}

bool feed_filter_clip(const struct feed_filter *filter, struct feed_range whole, uint32_t *index,
                      struct feed_range *out)
{
    uint32_t at = *index == 0 ? find(filter, whole.begin) : *index;
    if (at >= filter->count) {
        return false;
    }
    const struct feed_range *range = &filter->ranges[at];
    if (!is_before_end(range->begin, whole.end)) {
        return false;
    }
    *out = (struct feed_range){
        .begin = feed_key_compare(range->begin, whole.begin) > 0 ? range->begin : whole.begin,
        .end = compare_ends(range->end, whole.end) < 0 ? range->end : whole.end,
    };
    *index = at + 1;
    return true;
}
