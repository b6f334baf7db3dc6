/* SPDX-License-Identifier: Apache-2.0 */
/* Towards the producers, the consumer asks each slot in turn, because they publish out of order and
 * no counter says how far they are without a gap: keeping one would be a second contended line. A
 * strided consumer asks only its own slots; the gaps of the others hold up their own workers, and
 * the next stage waits for all of them. */
#include "ring/barrier.h"

static uint64_t published_count(const struct ring *ring, uint64_t next, uint64_t stride,
                                uint64_t count_max)
{
    uint64_t count = 0;
    while (count < count_max && ring_is_published(ring, next + count * stride)) {
        count++;
    }
    return count;
}

uint64_t barrier_ready_count(const struct barrier *barrier, uint64_t next, uint64_t stride,
                             uint64_t count_max)
{
    CHECK(stride > 0);
    CHECK(count_max > 0);
    if (barrier->upstream_count == 0) {
        return published_count(barrier->ring, next, stride, count_max);
    }
    uint64_t end = sequence_minimum(barrier->upstream, barrier->upstream_count);
    if (end <= next) {
        return 0;
    }
    uint64_t count = (end - next - 1) / stride + 1;
    return count < count_max ? count : count_max;
}
