/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The commit path in simulation, for as long as a test may take; `make simulate` goes on from here.
 *
 *   test_simulation [SEED [COUNT]]
 */
#include "simulation/simulation.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

enum { STEPS = 1500, FIXED_COUNT = 150, FRESH_COUNT = 50 };

static uint64_t first_seed;
static uint64_t count = FRESH_COUNT;

static void run_seeds(uint64_t from, uint64_t to)
{
    for (uint64_t seed = from; seed < to; seed++) {
        struct simulation_result result;
        simulation_run(seed, STEPS, false, &result);
        if (!result.good) {
            fail_msg("seed %llu, %s\nto repeat it: build/tests/simulation/simulate --seed %llu "
                     "--count 1 --steps %d --verbose",
                     (unsigned long long)seed, result.problem, (unsigned long long)seed, STEPS);
        }
    }
}

static void test_a_seed_repeats_a_run_to_the_byte(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 10; seed++) {
        struct simulation_result first;
        struct simulation_result second;
        struct simulation_result other;
        simulation_run(seed, STEPS, false, &first);
        simulation_run(seed, STEPS, false, &second);
        simulation_run(seed + 1000, STEPS, false, &other);
        assert_true(first.answers > 0);
        assert_true(first.trace == second.trace);
        assert_true(first.trace != other.trace);
    }
}

static void test_fixed_seeds(void **state)
{
    (void)state;
    run_seeds(1, 1 + FIXED_COUNT);
}

static void test_fresh_seeds(void **state)
{
    (void)state;
    run_seeds(first_seed, first_seed + count);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_seed_repeats_a_run_to_the_byte),
        cmocka_unit_test(test_fixed_seeds),
        cmocka_unit_test(test_fresh_seeds),
    };
    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    first_seed = argc > 1 ? strtoull(argv[1], NULL, 10) : (uint64_t)now.tv_sec * 1000;
    count = argc > 2 ? strtoull(argv[2], NULL, 10) : count;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
