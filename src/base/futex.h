/* SPDX-License-Identifier: Apache-2.0 */
/*
 * futex: sleeping on a word of memory, private to this process.
 *
 * Runs on:  any thread. Blocks: futex_wait() only.
 * Ordering: none; the caller's own loads and stores of the word are the edges.
 */
#ifndef BASE_FUTEX_H
#define BASE_FUTEX_H

#include <assert.h>
#include <errno.h>
#include <linux/futex.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define FUTEX_FOREVER UINT64_MAX

static_assert(sizeof(_Atomic uint32_t) == 4, "the kernel looks at 32 bits");

/* Sleeps while *word is `expected`, until somebody wakes it or the monotonic clock shows
 * `until_ns`. May return early: look at the word again. Leaves errno alone. */
static inline void futex_wait(_Atomic uint32_t *word, uint32_t expected, uint64_t until_ns)
{
    int saved = errno;
    struct timespec until = {
        .tv_sec = (time_t)(until_ns / 1000000000),
        .tv_nsec = (long)(until_ns % 1000000000),
    };
    /* FUTEX_WAIT_BITSET, because its time is absolute and on the monotonic clock. */
    (void)syscall(SYS_futex, word, FUTEX_WAIT_BITSET_PRIVATE, expected,
                  until_ns == FUTEX_FOREVER ? NULL : &until, NULL, FUTEX_BITSET_MATCH_ANY);
    errno = saved;
}

/* Wakes up to `count` sleepers. */
static inline void futex_wake(_Atomic uint32_t *word, int count)
{
    int saved = errno;
    (void)syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, count, NULL, NULL, 0);
    errno = saved;
}

#endif
