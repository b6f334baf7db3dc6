/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wait: how one thread sleeps until there may be work, and how any thread wakes it.
 *
 *   sleeper                                     waker
 *   while (!work()) {                           make work visible;
 *       wait_prepare(&wait);                    wait_wake(&wait);
 *       if (work()) {
 *           wait_cancel(&wait);
 *       } else {
 *           wait_sleep(&wait);
 *       }
 *   }
 *
 * Runs on:  prepare, cancel and sleep: the one thread that the wait belongs to; wake: any thread.
 * Blocks:   wait_sleep() only, on a futex, with no CPU used and no time-out. wait_wake() makes a
 *           system call only when somebody sleeps; else it costs one atomic exchange.
 * Memory:   must outlive every wait_wake(): join the wakers before freeing it.
 *
 * Why no wake-up is lost. Each write of the word is an acquire-release exchange, so these are
 * totally ordered, and each sees all that was done before every earlier one. Take the sleeper's
 * exchange S in wait_prepare() and the exchange W of a waker that has made work visible:
 *
 *   W before S   S acquires W's release, so the sleeper's work(), which follows S, sees the work.
 *   S before W   W, or another waker between the two, finds SLEEPING, stores AWAKE, and then calls
 *                FUTEX_WAKE. The kernel compares the word and queues the sleeper in one step:
 *                either FUTEX_WAIT comes late and refuses (the word is AWAKE) or the sleeper is
 *                queued when FUTEX_WAKE looks.
 *
 * A store in wait_cancel() instead of an exchange would break the chain: an exchange by a waker
 * just before it would be seen by nobody, and the next S would not acquire its work. A waker that
 * looked first and exchanged only on SLEEPING would be the store-buffering bug: its look could
 * overtake its own publication. (A bare fence and a look would do, but ThreadSanitizer does not
 * know fences.)
 */
#ifndef RING_WAIT_H
#define RING_WAIT_H

#include "ring/sequence.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum {
    WAIT_AWAKE = 0,
    WAIT_SLEEPING = 1 /* or about to */
};

struct wait {
    alignas(CACHE_LINE_BYTES) _Atomic uint32_t word;
};

static_assert(sizeof(struct wait) == CACHE_LINE_BYTES, "wakers write it, so nothing else is here");

void wait_init(struct wait *wait);

/* From here on, wakers take the thread for a sleeper. The caller looks for work once more. */
void wait_prepare(struct wait *wait);

/* There was work after all. */
void wait_cancel(struct wait *wait);

/* Sleeps until a waker came after wait_prepare(); returns at once if one did already. */
void wait_sleep(struct wait *wait);

/* The system call of wait_wake(). */
void wait_wake_sleeper(struct wait *wait);

static inline void wait_wake(struct wait *wait)
{
    /* Pairs with itself and with prepare, cancel and sleep: the chain of the proof above. */
    if (atomic_exchange_explicit(&wait->word, WAIT_AWAKE, memory_order_acq_rel) != WAIT_AWAKE) {
        wait_wake_sleeper(wait);
    }
}

static inline void wait_wake_all(struct wait *const *waits, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        wait_wake(waits[i]);
    }
}

/* For metrics and tests: old as soon as it is known. */
static inline bool wait_is_sleeping(const struct wait *wait)
{
    /* Relaxed: nothing is read on the strength of it. */
    return atomic_load_explicit(&wait->word, memory_order_relaxed) == WAIT_SLEEPING;
}

#endif
