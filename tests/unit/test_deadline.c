/* SPDX-License-Identifier: Apache-2.0 */
/* The timing wheel against a plain array of deadlines: nothing fires early, late by more than a
 * tick, twice, or not at all. */
#include "engine/deadline.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

enum { COUNT = 200, ROUNDS = 200000 };

static struct deadline_wheel wheel;

static void an_empty_wheel_waits_for_ever(void **state)
{
    (void)state;
    deadline_wheel_init(&wheel, 1000);
    assert_int_equal(deadline_wait_ms(&wheel, 1000), -1);
    assert_null(deadline_next_due(&wheel, 100000000));
}

static void one_fires_once_within_a_tick(void **state)
{
    (void)state;
    for (uint64_t delay = 0; delay < 200; delay++) {
        struct deadline deadline;
        uint64_t now = 777;
        deadline_wheel_init(&wheel, now);
        deadline_init(&deadline);
        deadline_set(&wheel, &deadline, now + delay);
        uint64_t fired = 0;
        for (uint64_t at = now; at < now + delay + 3 * DEADLINE_TICK_MS; at++) {
            if (deadline_next_due(&wheel, at) == &deadline) {
                assert_int_equal(fired, 0);
                fired = at;
            }
        }
        assert_true(fired >= now + delay);
        assert_true(fired <= now + delay + 2 * DEADLINE_TICK_MS);
    }
}

static void moving_later_is_obeyed(void **state)
{
    (void)state;
    struct deadline deadline;
    deadline_wheel_init(&wheel, 0);
    deadline_init(&deadline);
    deadline_set(&wheel, &deadline, 1000);
    deadline_set(&wheel, &deadline, 200000); /* beyond the horizon */
    for (uint64_t at = 0; at < 200000; at += 10) {
        assert_null(deadline_next_due(&wheel, at));
    }
    assert_ptr_equal(deadline_next_due(&wheel, 200000 + 2 * DEADLINE_TICK_MS), &deadline);
}

static void a_cancelled_one_never_fires_and_lets_the_wheel_sleep(void **state)
{
    (void)state;
    struct deadline deadline;
    deadline_wheel_init(&wheel, 0);
    deadline_init(&deadline);
    deadline_set(&wheel, &deadline, 100);
    deadline_set(&wheel, &deadline, DEADLINE_NONE);
    assert_null(deadline_next_due(&wheel, 1000));
    assert_int_equal(deadline_wait_ms(&wheel, 1000), -1);
    deadline_set(&wheel, &deadline, 2000);
    deadline_remove(&wheel, &deadline);
    assert_int_equal(deadline_wait_ms(&wheel, 1000), -1);
}

static void a_long_sleep_misses_nothing(void **state)
{
    (void)state;
    struct deadline deadlines[64];
    deadline_wheel_init(&wheel, 0);
    for (size_t i = 0; i < 64; i++) {
        deadline_init(&deadlines[i]);
        deadline_set(&wheel, &deadlines[i], i * 5000);
    }
    unsigned fired = 0;
    while (deadline_next_due(&wheel, 1000000) != NULL) {
        fired++;
    }
    assert_int_equal(fired, 64);
}

static void it_agrees_with_a_plain_array(void **state)
{
    (void)state;
    static struct deadline deadlines[COUNT];
    static uint64_t model[COUNT]; /* 0: none */
    uint64_t now = 5000;
    unsigned long fired = 0;
    srandom(20261123);
    deadline_wheel_init(&wheel, now);
    for (size_t i = 0; i < COUNT; i++) {
        deadline_init(&deadlines[i]);
        model[i] = 0;
    }
    for (unsigned round = 0; round < ROUNDS; round++) {
        size_t i = (size_t)random() % COUNT;
        switch (random() % 8) {
        case 0:
            deadline_remove(&wheel, &deadlines[i]);
            model[i] = 0;
            break;
        case 1:
            deadline_set(&wheel, &deadlines[i], DEADLINE_NONE);
            model[i] = 0;
            break;
        default:
            model[i] = now + (uint64_t)random() % (random() % 4 == 0 ? 200000 : 500);
            deadline_set(&wheel, &deadlines[i], model[i]);
            break;
        }
        int wait = deadline_wait_ms(&wheel, now);
        uint64_t step = (uint64_t)random() % 100;
        if (wait > 0 && random() % 2 == 0) {
            step = (uint64_t)wait;
        }
        now += step;
        struct deadline *due;
        while ((due = deadline_next_due(&wheel, now)) != NULL) {
            size_t at = (size_t)(due - deadlines);
            assert_true(model[at] != 0);
            assert_true(model[at] <= now);
            model[at] = 0;
            fired++;
        }
        for (size_t at = 0; at < COUNT; at++) {
            assert_true(model[at] == 0 || model[at] + 2 * DEADLINE_TICK_MS > now);
        }
    }
    assert_true(fired > ROUNDS / 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_wheel_waits_for_ever),
        cmocka_unit_test(one_fires_once_within_a_tick),
        cmocka_unit_test(moving_later_is_obeyed),
        cmocka_unit_test(a_cancelled_one_never_fires_and_lets_the_wheel_sleep),
        cmocka_unit_test(a_long_sleep_misses_nothing),
        cmocka_unit_test(it_agrees_with_a_plain_array),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
