/* SPDX-License-Identifier: Apache-2.0 */
/*
 * feed_filter: the key ranges that a subscriber wants.
 *
 * Ranges are sorted and made disjoint, so that a range delete falls into pieces that do not
 * overlap.
 *
 * Runs on: network threads. Never blocks, never allocates.
 */
#ifndef WEASELDB_FEED_FILTER_H
#define WEASELDB_FEED_FILTER_H

#include "base/bytes.h"

#include <stdint.h>

enum { FEED_FILTER_RANGES_MAX = 64 };

/* begin <= key < end, by unsigned bytes; an empty end is behind all keys. */
struct feed_range {
    struct bytes begin;
    struct bytes end;
};

/* Views, which outlive it. No ranges: everything is wanted. */
struct feed_filter {
    struct feed_range *ranges; /* sorted, disjoint */
    uint32_t count;
};

/* Negative, 0 or positive, as memcmp(). */
int feed_key_compare(struct bytes a, struct bytes b);

/* Whether the range holds any key at all. */
bool feed_range_is_valid(const struct feed_range *range);

/* Sorts `count` valid ranges in place, joins those that touch, and makes a filter of them. */
struct feed_filter feed_filter_make(struct feed_range *ranges, uint32_t count);

bool feed_filter_has(const struct feed_filter *filter, struct bytes key);

/* The first piece of begin <= key < end that is wanted, in the filter's range *index or a later
 * one; *index then is behind that range. False: there is none. */
bool feed_filter_clip(const struct feed_filter *filter, struct feed_range whole, uint32_t *index,
                      struct feed_range *out);

#endif
