/* SPDX-License-Identifier: Apache-2.0 */
/* The word is WAIT_SLEEPING from wait_prepare() until a waker or wait_cancel() exchanges it for
 * WAIT_AWAKE. Invariant: it is written by acquire-release exchanges alone (the proof in the header
 * rests on it). Of several wakers only the one that found WAIT_SLEEPING makes the system call. */
#include "ring/wait.h"

#include <errno.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

static_assert(sizeof(_Atomic uint32_t) == sizeof(uint32_t), "the kernel reads the word too");

void wait_init(struct wait *wait)
{
    atomic_init(&wait->word, WAIT_AWAKE);
}

void wait_prepare(struct wait *wait)
{
    /* Pairs with wait_wake(): whoever exchanged earlier has made its work visible to us. */
    uint32_t before = atomic_exchange_explicit(&wait->word, WAIT_SLEEPING, memory_order_acq_rel);
    CHECK(before == WAIT_AWAKE);
}

void wait_cancel(struct wait *wait)
{
    /* Pairs with wait_wake(): keeps the chain of exchanges whole. */
    uint32_t before = atomic_exchange_explicit(&wait->word, WAIT_AWAKE, memory_order_acq_rel);
    CHECK(before == WAIT_AWAKE || before == WAIT_SLEEPING);
}

void wait_sleep(struct wait *wait)
{
    /* Acquire pairs with the waker's exchange: its work is visible when this returns. */
    while (atomic_load_explicit(&wait->word, memory_order_acquire) == WAIT_SLEEPING) {
        long result =
            syscall(SYS_futex, &wait->word, FUTEX_WAIT_PRIVATE, WAIT_SLEEPING, NULL, NULL, 0);
        /* EAGAIN: the word changed before we slept. EINTR: a signal. Both look again. */
        CHECK(result == 0 || errno == EAGAIN || errno == EINTR);
    }
}

void wait_wake_sleeper(struct wait *wait)
{
    long result = syscall(SYS_futex, &wait->word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
    CHECK(result >= 0);
}
