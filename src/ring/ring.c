/* SPDX-License-Identifier: Apache-2.0 */
/* What is not on the path of every item: making the slots, looking at the consumers when the known
 * gate says "full", closing, reading.
 *
 * Invariants
 *  1. gate <= min(gating) <= cursor <= gate + slots, once the cursor's closed bit is taken off.
 *  2. A slot's stamp is 0, or sequence + 1 of the last item published in it.
 *  3. The cursor's closed bit is never cleared, and the rest of it never changes afterwards. */
#include "ring/ring.h"

#include "base/bug.h"

#include <stdlib.h>

enum err ring_init(struct ring *ring, uint64_t slot_count)
{
    CHECK(slot_count >= 1 && slot_count <= RING_SLOTS_MAX);
    CHECK((slot_count & (slot_count - 1)) == 0);
    size_t bytes = (size_t)slot_count * sizeof(struct ring_slot);
    bytes = (bytes + CACHE_LINE_BYTES - 1) / CACHE_LINE_BYTES * CACHE_LINE_BYTES;
    struct ring_slot *slots = aligned_alloc(CACHE_LINE_BYTES, bytes);
    if (slots == NULL) {
        return ERR_MEMORY;
    }
    for (uint64_t i = 0; i < slot_count; i++) {
        atomic_init(&slots[i].stamp, 0);
        slots[i].item = NULL;
    }
    ring->slots = slots;
    ring->mask = slot_count - 1;
    ring->gating = NULL;
    ring->gating_count = 0;
    ring->sleepers = NULL;
    ring->sleeper_count = 0;
    ring->has_single_producer = false;
    atomic_init(&ring->cursor, 0);
    atomic_init(&ring->gate, 0);
    return OK;
}

void ring_deinit(struct ring *ring)
{
    CHECK(ring->slots != NULL);
    free(ring->slots);
    ring->slots = NULL;
}

void ring_attach(struct ring *ring, const struct sequence *const *gating, unsigned gating_count,
                 struct wait *const *sleepers, unsigned sleeper_count)
{
    CHECK(gating_count > 0);
    CHECK(ring_claimed(ring) == 0);
    ring->gating = gating;
    ring->gating_count = gating_count;
    ring->sleepers = sleepers;
    ring->sleeper_count = sleeper_count;
}

void ring_set_single_producer(struct ring *ring)
{
    CHECK(ring_claimed(ring) == 0);
    ring->has_single_producer = true;
}

bool ring_has_room(struct ring *ring, uint64_t cursor, uint64_t count)
{
    CHECK(ring->gating_count > 0); /* without consumers nothing would ever be freed */
    uint64_t gate = sequence_minimum(ring->gating, ring->gating_count);
    /* Pairs with the load in ring_try_claim(): hands on what sequence_minimum() acquired. A slower
     * producer may put an older value over this one; that only costs another look. */
    atomic_store_explicit(&ring->gate, gate, memory_order_release);
    uint64_t slots = ring->mask + (WEASEL_BUG(slot_reused_too_early) ? 2 : 1);
    /* RING_CLOSED in the cursor is further than any number of slots, so a closed ring is full. */
    return (int64_t)(cursor + count - gate) <= (int64_t)slots;
}

void ring_close(struct ring *ring)
{
    /* Release pairs with ring_is_closed(). The exchanges of the claims and this one are in one
     * order, so the sequences claimed are exactly those below the rest of the cursor. */
    atomic_fetch_or_explicit(&ring->cursor, RING_CLOSED, memory_order_release);
    ring_wake(ring);
}

bool ring_is_closed(const struct ring *ring, uint64_t *out_end)
{
    /* Pairs with ring_close(). */
    uint64_t cursor = atomic_load_explicit(&ring->cursor, memory_order_acquire);
    if ((cursor & RING_CLOSED) == 0) {
        return false;
    }
    *out_end = cursor & ~RING_CLOSED;
    return true;
}

uint64_t ring_slot_count(const struct ring *ring)
{
    return ring->mask + 1;
}

uint64_t ring_claimed(const struct ring *ring)
{
    /* Relaxed: a figure; nothing is read on the strength of it. */
    return atomic_load_explicit(&ring->cursor, memory_order_relaxed) & ~RING_CLOSED;
}

uint64_t ring_occupancy(const struct ring *ring)
{
    if (ring->gating_count == 0) {
        return 0;
    }
    /* The gate first: both only grow, so the difference is never negative, but by the second look
     * producers may have gone around. */
    uint64_t gate = sequence_minimum(ring->gating, ring->gating_count);
    uint64_t claimed = ring_claimed(ring);
    uint64_t occupied = claimed > gate ? claimed - gate : 0;
    return occupied < ring_slot_count(ring) ? occupied : ring_slot_count(ring);
}
