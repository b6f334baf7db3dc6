/* SPDX-License-Identifier: Apache-2.0 */
/*
 * thread: threads with a name and a role, and how many cores there are for them.
 *
 *   struct thread thread;
 *   thread_start(&thread, "network-0", ROLE_NETWORK, poller_run, poller);
 *   ...                                   poller_run() begins with thread_check(ROLE_NETWORK)
 *   thread_join(&thread);
 *
 * Runs on:  start and join: one thread at a time for each `struct thread`; the rest: any thread.
 * Owns:     the caller's `struct thread`, which must stay where it is until it is joined.
 * Blocks:   joins only.
 */
#ifndef BASE_THREAD_H
#define BASE_THREAD_H

#include "base/check.h"
#include "base/err.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum thread_role {
    ROLE_NONE, /* a thread that nobody gave a role */
    ROLE_MAIN,
    ROLE_ACCEPT,
    ROLE_NETWORK,
    ROLE_SERVICE,
    ROLE_LOGGER,
    ROLE_SIGNALS,
    ROLE_HELPER, /* slow work off the hot path, such as preparing files */
};

enum {
    THREAD_NAME_BYTES = 16, /* with its NUL; the kernel keeps no more */
    THREAD_STACK_BYTES = 512 * 1024,
};

struct thread {
    /* Fixed by thread_start(). */
    pthread_t handle; /* for pthread_kill() and pthread_setaffinity_np() until it is joined */
    void (*run)(void *argument);
    void *argument;
    enum thread_role role;
    char name[THREAD_NAME_BYTES];
    /* Shared. */
    _Atomic uint32_t ended; /* a futex: 1 when `run` has returned */
};

/* Starts `run(argument)` in a thread of the given role. `name` (1 to 15 bytes, as `top -H` shows
 * it) is copied. All signals are blocked there, but for those that a fault of its own raises.
 * ERR_SYSTEM: nothing was started, errno says why. */
WARN_UNUSED enum err thread_start(struct thread *thread, const char *name, enum thread_role role,
                                  void (*run)(void *argument), void *argument);

/* Waits until the thread has ended. What it did is visible to the caller. */
void thread_join(struct thread *thread);

/* Waits no longer than until the monotonic clock shows `until_ms`. False: the thread still runs,
 * and must still be joined (or left to the end of the process, together with `*thread`). */
WARN_UNUSED bool thread_join_until(struct thread *thread, uint64_t until_ms);

/* Binds the calling thread to one of the cores that it may use, counted from 0; a number beyond
 * them wraps around. ERR_SYSTEM: it runs where it ran, errno says why. */
WARN_UNUSED enum err thread_bind_to_core(unsigned index);

/* How many cores this process may keep busy: those of its affinity mask, or fewer when a cgroup's
 * CPU quota (v2 or v1, of its own group and those above) allows less; a part of a core counts as
 * none. At least 1. Reads files: not for hot paths. */
unsigned thread_usable_cores(void);

/* The calling thread's role. Initial-exec, so that reading it is one instruction. */
extern _Thread_local enum thread_role thread_role_own __attribute__((tls_model("initial-exec")));

/* The calling thread works in batches: when it is woken it waits for the one that runs to sleep, or
 * for the end of its time slice, instead of interrupting it. Changes nothing where a core is idle,
 * nor where the system forbids it. */
void thread_set_batch_policy(void);

/* Gives the calling thread a role, when it was not started by thread_start(). */
static inline void thread_role_set(enum thread_role role)
{
    thread_role_own = role;
}

/* Opens functions that only threads of one role may call. */
#define thread_check(role) CHECK(thread_role_own == (role))

#endif
