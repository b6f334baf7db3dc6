/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Edges
 *   start   pthread_create(): what the starter did before is visible to `run`.
 *   end     `ended` is stored with release after `run`, and read with acquire by a timed join;
 *           pthread_join() then is only a matter of moments.
 *
 * Signals are blocked before the thread exists and unblocked in the starter afterwards, so there is
 * no moment in which the new thread could take one.
 */
#include "base/thread.h"

#include "base/clock.h"
#include "base/cores.h"
#include "base/futex.h"

#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <string.h>

_Thread_local enum thread_role thread_role_own = ROLE_NONE;

static void *thread_main(void *context)
{
    struct thread *thread = context;
    thread_role_own = thread->role;
    (void)pthread_setname_np(pthread_self(), thread->name); /* fails for no name that fits */
    thread->run(thread->argument);
    /* Pairs with the load in thread_join_until(): everything that `run` did is visible. */
    atomic_store_explicit(&thread->ended, 1, memory_order_release);
    futex_wake(&thread->ended, INT_MAX);
    return NULL;
}

/* All signals but those that a thread's own fault raises: blocked, they would kill the process
 * without the report that a handler (a sanitizer's, say) writes. */
static void fill_blocked(sigset_t *set)
{
    static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT, SIGSYS};
    CHECK(sigfillset(set) == 0);
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++) {
        CHECK(sigdelset(set, faults[i]) == 0);
    }
}

enum err thread_start(struct thread *thread, const char *name, enum thread_role role,
                      void (*run)(void *argument), void *argument)
{
    size_t name_size = strlen(name);
    CHECK(name_size >= 1);
    CHECK(name_size < THREAD_NAME_BYTES);
    CHECK(role != ROLE_NONE);
    thread->run = run;
    thread->argument = argument;
    thread->role = role;
    memcpy(thread->name, name, name_size + 1);
    /* relaxed: pthread_create() orders it */
    atomic_store_explicit(&thread->ended, 0, memory_order_relaxed);

    pthread_attr_t attributes;
    CHECK(pthread_attr_init(&attributes) == 0);
    CHECK(pthread_attr_setstacksize(&attributes, THREAD_STACK_BYTES) == 0);
    sigset_t blocked;
    sigset_t before;
    fill_blocked(&blocked);
    CHECK(pthread_sigmask(SIG_SETMASK, &blocked, &before) == 0);
    int result = pthread_create(&thread->handle, &attributes, thread_main, thread);
    CHECK(pthread_sigmask(SIG_SETMASK, &before, NULL) == 0);
    CHECK(pthread_attr_destroy(&attributes) == 0);
    if (result != 0) {
        errno = result;
        return ERR_SYSTEM;
    }
    return OK;
}

void thread_join(struct thread *thread)
{
    CHECK(pthread_join(thread->handle, NULL) == 0);
}

bool thread_join_until(struct thread *thread, uint64_t until_ms)
{
    uint64_t until_ns = until_ms > UINT64_MAX / 1000000 ? FUTEX_FOREVER : until_ms * 1000000;
    /* No wake-up is lost: the kernel compares the word with 0 and queues us in one step, and the
     * word is 1 before the wake-up. Pairs with the store in thread_main(). */
    while (atomic_load_explicit(&thread->ended, memory_order_acquire) == 0) {
        if (clock_monotonic_ns() >= until_ns) {
            return false;
        }
        futex_wait(&thread->ended, 0, until_ns);
    }
    thread_join(thread);
    return true;
}

/* The calling thread's affinity mask, in a set that the caller frees; NULL when it cannot be had.
 */
static cpu_set_t *affinity_open(size_t *out_size, unsigned *out_cpus)
{
    /* The kernel refuses sets smaller than its own. */
    for (unsigned cpus = CPU_SETSIZE; cpus <= 64 * CPU_SETSIZE; cpus *= 2) {
        cpu_set_t *set = CPU_ALLOC(cpus);
        size_t size = CPU_ALLOC_SIZE(cpus);
        if (set == NULL) {
            return NULL;
        }
        if (sched_getaffinity(0, size, set) == 0) {
            *out_size = size;
            *out_cpus = cpus;
            return set;
        }
        CPU_FREE(set);
        if (errno != EINVAL) {
            return NULL;
        }
    }
    return NULL;
}

enum err thread_bind_to_core(unsigned index)
{
    size_t size;
    unsigned cpus;
    cpu_set_t *set = affinity_open(&size, &cpus);
    if (set == NULL) {
        return ERR_SYSTEM;
    }
    unsigned usable = (unsigned)CPU_COUNT_S(size, set);
    CHECK(usable >= 1);
    unsigned skip = index % usable;
    unsigned chosen = 0;
    while (!CPU_ISSET_S(chosen, size, set) || skip > 0) {
        skip -= CPU_ISSET_S(chosen, size, set) ? 1 : 0;
        chosen++;
        CHECK(chosen < cpus);
    }
    CPU_ZERO_S(size, set);
    CPU_SET_S(chosen, size, set);
    int result = sched_setaffinity(0, size, set);
    CPU_FREE(set);
    return result == 0 ? OK : ERR_SYSTEM;
}

void thread_set_batch_policy(void)
{
    const struct sched_param unused = {0};
    (void)sched_setscheduler(0, SCHED_BATCH, &unused);
}

unsigned thread_usable_cores(void)
{
    size_t size;
    unsigned cpus;
    cpu_set_t *set = affinity_open(&size, &cpus);
    unsigned cores = 1;
    if (set != NULL) {
        cores = (unsigned)CPU_COUNT_S(size, set);
        CPU_FREE(set);
    }
    return cores_within_quota("", cores);
}
