/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Only the newest range grows much; once it holds its share, a new one begins at the next version.
 * Older ones shrink as keys are written again or dropped. When the table is full, neighbours that
 * hold no more than a share together become one: of three ranges that stay, at least two hold more
 * than a share, so at most 2 * SHARE + 1 stay and the work is paid by as many beginnings.
 */
#include "commit/conflict_ages.h"

#include "base/check.h"

#include <assert.h>

static_assert(2 * CONFLICT_AGES_SHARE + 1 < CONFLICT_AGES_COUNT, "joining makes room");

void conflict_ages_init(struct conflict_ages *ages)
{
    ages->count = 1;
    ages->newest = 0;
    ages->total = 0;
    ages->first[0] = 0;
    ages->weight[0] = 0;
}

/* The range that `version` falls into. */
static unsigned find(const struct conflict_ages *ages, uint64_t version)
{
    unsigned at = ages->count - 1;
    if (ages->first[at] <= version) {
        return at; /* most are added now */
    }
    const uint64_t *first = ages->first;
    for (unsigned count = ages->count; count > 1;) {
        unsigned half = count / 2;
        first += half & (0U - (first[half] <= version));
        count -= half;
    }
    return (unsigned)(first - ages->first);
}

static void join(struct conflict_ages *ages)
{
    uint64_t share = ages->total / CONFLICT_AGES_SHARE;
    unsigned to = 0;
    for (unsigned i = 1; i < ages->count; i++) {
        if (ages->weight[to] + ages->weight[i] <= share) {
            ages->weight[to] += ages->weight[i];
        } else {
            to++;
            ages->first[to] = ages->first[i];
            ages->weight[to] = ages->weight[i];
        }
    }
    ages->count = to + 1;
    CHECK(ages->count < CONFLICT_AGES_COUNT);
}

void conflict_ages_add(struct conflict_ages *ages, uint64_t version, uint64_t weight)
{
    if (version > ages->newest) {
        ages->newest = version;
        if (ages->weight[ages->count - 1] > ages->total / CONFLICT_AGES_SHARE) {
            if (ages->count == CONFLICT_AGES_COUNT) {
                join(ages);
            }
            ages->first[ages->count] = version;
            ages->weight[ages->count] = 0;
            ages->count++;
        }
    }
    ages->weight[find(ages, version)] += weight;
    ages->total += weight;
}

void conflict_ages_subtract(struct conflict_ages *ages, uint64_t version, uint64_t weight)
{
    unsigned at = find(ages, version);
    CHECK(ages->weight[at] >= weight);
    ages->weight[at] -= weight;
    ages->total -= weight;
}

uint64_t conflict_ages_floor(const struct conflict_ages *ages, uint64_t floor, uint64_t thousandths)
{
    unsigned begin = find(ages, floor) + 1;
    uint64_t live = 0;
    for (unsigned i = begin; i < ages->count; i++) {
        live += ages->weight[i];
    }
    uint64_t sum = 0;
    for (unsigned i = begin; i + 1 < ages->count; i++) {
        sum += ages->weight[i];
        if (sum >= live / 1000 * thousandths) {
            return ages->first[i + 1] - 1;
        }
    }
    return ages->newest;
}
