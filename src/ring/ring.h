/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ring: a power-of-two number of slots, each for one pointer, from many producers to the consumers
 * of a stage_chain (ring/stage.h), which see every item in the order of its sequence number.
 *
 *   uint64_t sequence;
 *   if (!ring_try_claim(ring, 1, &sequence)) {
 *       answer "busy";                       (full or closed; nothing has happened)
 *   }
 *   ring_publish(ring, sequence, item);      visible now; item belongs to the consumers
 *   ...                                      more of the same batch of events
 *   ring_wake(ring);                         once, after the batch
 *
 * Runs on:  ring_init(), ring_attach() and ring_deinit(): one thread, while no other uses the ring.
 *           Everything else: any thread.
 * Owns:     the slots. Items are borrowed pointers that the ring never looks into.
 * Blocks:   never. ring_wake() and ring_close() may make a FUTEX_WAKE system call.
 *
 * Words:    the cursor is the next sequence to be claimed. The gating sequences are those of the
 *           last stage: what they have passed is free. A claim takes [cursor, cursor + count) when
 *           cursor + count - min(gating sequences) <= slots, and so never overwrites.
 *
 * Edges
 *   publish   the item (and what it points to), then slot.stamp with release; the first stage reads
 *             the stamp with acquire (ring_is_published()), then the item. Stamps of a slot grow by
 *             the number of slots, so an old one never passes for the new.
 *   free      a stage reads the items, then publishes its sequence with release; a claim reads the
 *             last stage's sequences with acquire, then the producer writes the slot. The earlier
 *             stages' reads are covered, as each stage acquires the one before it. Claims keep the
 *             minimum they found in `gate`, released and acquired too, so that most claims touch
 *             no line of a consumer; an old value in it only makes a claim look again.
 */
#ifndef RING_RING_H
#define RING_RING_H

#include "base/check.h"
#include "base/err.h"
#include "ring/sequence.h"
#include "ring/wait.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RING_SLOTS_MAX (UINT64_C(1) << 30)
#define RING_CLOSED                                                                                \
    (UINT64_C(1) << 62) /* a bit of the cursor: closing and claiming are one order */

struct ring_slot {
    _Atomic uint64_t stamp; /* published sequence + 1; 0 before the first */
    void *item;
};

/* Visible for the inline functions only. */
struct ring {
    /* Fixed after ring_attach(). */
    struct ring_slot *slots;
    uint64_t mask;
    const struct sequence *const *gating; /* of the last stage */
    struct wait *const *sleepers;         /* the threads of the first stage */
    unsigned gating_count;
    unsigned sleeper_count;
    bool has_single_producer;
    /* Shared by producers. */
    alignas(CACHE_LINE_BYTES) _Atomic uint64_t cursor;
    _Atomic uint64_t gate; /* no more than the minimum of `gating` */
};

static_assert(sizeof(struct ring) == 2 * CACHE_LINE_BYTES, "readers' line, producers' line");

/* `slot_count` is a power of two up to RING_SLOTS_MAX. ERR_MEMORY: nothing to deinit. */
WARN_UNUSED enum err ring_init(struct ring *ring, uint64_t slot_count);
void ring_deinit(struct ring *ring);

/* Names the last stage's sequences and the first stage's waits; called by stage_chain_open() before
 * the first claim. The arrays are borrowed until ring_deinit(). */
void ring_attach(struct ring *ring, const struct sequence *const *gating, unsigned gating_count,
                 struct wait *const *sleepers, unsigned sleeper_count);

/* Promises, before the first claim, that one thread alone claims, and that ring_close() is called
 * by it or after its last claim. Claims then need no locked instruction, which would wait for the
 * store of the item before: an item costs a fifth (docs/decisions/0010-ring.md). */
void ring_set_single_producer(struct ring *ring);

/* The slow path of ring_try_claim(): looks at the consumers. */
bool ring_has_room(struct ring *ring, uint64_t cursor, uint64_t count);

/* Takes the cursor `count` further if it still is *cursor; else reads it anew. Relaxed: the slots'
 * edge is the gate; the cursor only counts. */
static inline bool ring_try_move_cursor(struct ring *ring, uint64_t *cursor, uint64_t count)
{
    if (!ring->has_single_producer) {
        return atomic_compare_exchange_weak_explicit(&ring->cursor, cursor, *cursor + count,
                                                     memory_order_relaxed, memory_order_relaxed);
    }
    /* In debug builds a second producer, or a close from aside, is found by the exchange. */
    CHECK_SLOW(atomic_exchange_explicit(&ring->cursor, *cursor + count, memory_order_relaxed) ==
               *cursor);
    atomic_store_explicit(&ring->cursor, *cursor + count, memory_order_relaxed);
    return true;
}

/* Claims `count` (1 to the number of slots) consecutive sequences. Each must be published, soon:
 * consumers wait for it, even when the ring is closed meanwhile. False: the ring is full or closed,
 * and nothing has changed. */
WARN_UNUSED static inline bool ring_try_claim(struct ring *ring, uint64_t count,
                                              uint64_t *out_first_sequence)
{
    CHECK(count - 1 <= ring->mask);
    /* Relaxed: see ring_try_move_cursor(). */
    uint64_t cursor = atomic_load_explicit(&ring->cursor, memory_order_relaxed);
    do {
        /* Pairs with the store in ring_has_room(): the consumers' reads below it are over. */
        uint64_t gate = atomic_load_explicit(&ring->gate, memory_order_acquire);
        /* Signed: an old cursor may lie below the gate, and then the exchange fails. A closed
         * cursor is never close to the gate. */
        if ((int64_t)(cursor + count - gate) > (int64_t)(ring->mask + 1) &&
            !ring_has_room(ring, cursor, count)) {
            return false;
        }
    } while (!ring_try_move_cursor(ring, &cursor, count));
    *out_first_sequence = cursor;
    return true;
}

static inline struct ring_slot *ring_slot_at(const struct ring *ring, uint64_t sequence)
{
    return &ring->slots[sequence & ring->mask];
}

/* Makes `item` visible at a claimed sequence, in any order among the claimed. Wakes nobody: call
 * ring_wake() afterwards, before this thread sleeps. */
static inline void ring_publish(struct ring *ring, uint64_t sequence, void *item)
{
    struct ring_slot *slot = ring_slot_at(ring, sequence);
    /* Relaxed: a check against publishing twice, which orders nothing. */
    CHECK_SLOW(atomic_load_explicit(&slot->stamp, memory_order_relaxed) <= sequence);
    slot->item = item;
    /* Pairs with ring_is_published(): the item and what it points to are visible. */
    atomic_store_explicit(&slot->stamp, sequence + 1, memory_order_release);
}

/* Wakes the threads of the first stage that sleep. See ring/wait.h for why none is missed. */
static inline void ring_wake(struct ring *ring)
{
    wait_wake_all(ring->sleepers, ring->sleeper_count);
}

/* Ends the ring: no later claim succeeds; what was claimed is still handled, then the threads of
 * the stages return one after the other. May be called again. */
void ring_close(struct ring *ring);

/* True from ring_close() on; then *out_end is the sequence after the last claimed one. */
bool ring_is_closed(const struct ring *ring, uint64_t *out_end);

/* Whether `sequence`, not yet released by the last stage, is published. */
static inline bool ring_is_published(const struct ring *ring, uint64_t sequence)
{
    /* Pairs with ring_publish(). */
    return atomic_load_explicit(&ring_slot_at(ring, sequence)->stamp, memory_order_acquire) ==
           sequence + 1;
}

/* For metrics: old as soon as they are known. */
uint64_t ring_slot_count(const struct ring *ring);
uint64_t ring_claimed(const struct ring *ring);   /* sequences claimed so far */
uint64_t ring_occupancy(const struct ring *ring); /* slots claimed and not yet released */

#endif
