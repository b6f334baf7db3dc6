/* SPDX-License-Identifier: Apache-2.0 */
/* Threads: role, name, signals, joining with and without a time limit, cores. */
#include "base/clock.h"
#include "base/thread.h"

#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "support/dies.h"

struct seen {
    sem_t go;
    enum thread_role role;
    char name[THREAD_NAME_BYTES];
    sigset_t blocked;
    size_t stack_bytes;
    int cores;
    int value;
};

static void look_around(void *argument)
{
    struct seen *seen = argument;
    pthread_attr_t attributes;
    thread_check(ROLE_NETWORK);
    seen->role = thread_role_own;
    (void)pthread_getname_np(pthread_self(), seen->name, sizeof seen->name);
    (void)pthread_sigmask(SIG_SETMASK, NULL, &seen->blocked);
    (void)pthread_getattr_np(pthread_self(), &attributes);
    (void)pthread_attr_getstacksize(&attributes, &seen->stack_bytes);
    (void)pthread_attr_destroy(&attributes);
}

static void a_thread_has_its_role_name_and_no_signals(void **state)
{
    (void)state;
    struct thread thread;
    struct seen seen = {.role = ROLE_NONE};
    sigset_t before;
    sigset_t after;
    char name[] = "fifteen-letters";
    (void)pthread_sigmask(SIG_SETMASK, NULL, &before);
    assert_int_equal(thread_start(&thread, name, ROLE_NETWORK, look_around, &seen), OK);
    (void)memset(name, 'x', sizeof name - 1); /* it was copied */
    thread_join(&thread);
    (void)pthread_sigmask(SIG_SETMASK, NULL, &after);

    assert_int_equal(seen.role, ROLE_NETWORK);
    assert_string_equal(seen.name, "fifteen-letters");
    assert_true(seen.stack_bytes >= THREAD_STACK_BYTES);
    for (int number = 1; number < 32; number++) { /* 32 and 33 belong to the C library */
        bool fault = number == SIGSEGV || number == SIGBUS || number == SIGFPE ||
                     number == SIGILL || number == SIGTRAP || number == SIGABRT || number == SIGSYS;
        if (number != SIGKILL && number != SIGSTOP) {
            assert_int_equal(sigismember(&seen.blocked, number), !fault);
        }
        assert_int_equal(sigismember(&after, number), sigismember(&before, number));
    }
}

static void wait_and_write(void *argument)
{
    struct seen *seen = argument;
    while (sem_wait(&seen->go) != 0) {
    }
    seen->value = 42;
}

static void a_join_waits_no_longer_than_asked(void **state)
{
    (void)state;
    struct thread thread;
    struct seen seen = {.value = 0};
    assert_int_equal(sem_init(&seen.go, 0, 0), 0);
    assert_int_equal(thread_start(&thread, "waits", ROLE_SERVICE, wait_and_write, &seen), OK);

    uint64_t now_ms = clock_monotonic_ns() / 1000000;
    assert_false(thread_join_until(&thread, 0));
    assert_false(thread_join_until(&thread, now_ms + 30));
    assert_true(clock_monotonic_ns() / 1000000 >= now_ms + 30);

    assert_int_equal(sem_post(&seen.go), 0);
    assert_true(thread_join_until(&thread, UINT64_MAX));
    assert_int_equal(seen.value, 42);
    assert_int_equal(sem_destroy(&seen.go), 0);
}

static void a_join_in_time_succeeds_also_when_the_thread_ended_before(void **state)
{
    (void)state;
    struct thread thread;
    struct seen seen = {.value = 0};
    assert_int_equal(sem_init(&seen.go, 0, 1), 0);
    assert_int_equal(thread_start(&thread, "quick", ROLE_SERVICE, wait_and_write, &seen), OK);
    while (atomic_load(&thread.ended) == 0) {
        (void)sched_yield();
    }
    assert_true(thread_join_until(&thread, 0));
    assert_int_equal(seen.value, 42);
    assert_int_equal(sem_destroy(&seen.go), 0);
}

static void check_role(enum thread_role role)
{
    thread_check(role);
}

static void the_wrong_role_is_a_defect(void **state)
{
    (void)state;
    thread_role_set(ROLE_MAIN);
    check_role(ROLE_MAIN);
    assert_dies((check_role(ROLE_NETWORK), 0));
    thread_role_set(ROLE_NONE);
    assert_dies((check_role(ROLE_MAIN), 0));
}

static void a_wrong_name_is_a_defect(void **state)
{
    (void)state;
    struct thread thread;
    struct seen seen = {.value = 0};
    assert_dies(thread_start(&thread, "sixteen-letters!", ROLE_SERVICE, look_around, &seen));
    assert_dies(thread_start(&thread, "", ROLE_SERVICE, look_around, &seen));
}

static void bind(void *argument)
{
    struct seen *seen = argument;
    cpu_set_t set;
    seen->value = thread_bind_to_core((unsigned)seen->value) == OK ? 1 : 0;
    CPU_ZERO(&set);
    (void)sched_getaffinity(0, sizeof set, &set);
    seen->cores = CPU_COUNT(&set);
}

static void a_bound_thread_has_one_core(void **state)
{
    (void)state;
    for (int index = 0; index < 3; index++) {
        struct thread thread;
        struct seen seen = {.value = index};
        assert_int_equal(thread_start(&thread, "bound", ROLE_NETWORK, bind, &seen), OK);
        thread_join(&thread);
        assert_int_equal(seen.value, 1);
        assert_int_equal(seen.cores, 1);
    }
}

static void count_when_bound(void *argument)
{
    struct seen *seen = argument;
    seen->value = thread_bind_to_core(0) == OK ? 1 : 0;
    seen->cores = (int)thread_usable_cores();
}

static void usable_cores_follow_the_affinity_mask(void **state)
{
    (void)state;
    cpu_set_t set;
    assert_int_equal(sched_getaffinity(0, sizeof set, &set), 0);
    assert_true(thread_usable_cores() >= 1);
    assert_true(thread_usable_cores() <= (unsigned)CPU_COUNT(&set));

    struct thread thread;
    struct seen seen = {.value = 0};
    assert_int_equal(thread_start(&thread, "one", ROLE_SERVICE, count_when_bound, &seen), OK);
    thread_join(&thread);
    assert_int_equal(seen.value, 1);
    assert_int_equal(seen.cores, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_thread_has_its_role_name_and_no_signals),
        cmocka_unit_test(a_join_waits_no_longer_than_asked),
        cmocka_unit_test(a_join_in_time_succeeds_also_when_the_thread_ended_before),
        cmocka_unit_test(the_wrong_role_is_a_defect),
        cmocka_unit_test(a_wrong_name_is_a_defect),
        cmocka_unit_test(a_bound_thread_has_one_core),
        cmocka_unit_test(usable_cores_follow_the_affinity_mask),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
