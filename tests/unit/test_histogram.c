/* SPDX-License-Identifier: Apache-2.0 */
/* Percentiles of the command line's histogram against sorted values. */
#include "cli/histogram.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

enum { VALUES = 20000 };

static struct histogram histogram;

static int compare(const void *a, const void *b)
{
    uint64_t left = *(const uint64_t *)a;
    uint64_t right = *(const uint64_t *)b;
    return left < right ? -1 : left > right;
}

/* No quantile is below the sorted value of its rank, nor more than 1/128 above it. */
static void test_quantiles(void **state)
{
    static const double quantiles[] = {0, 0.001, 0.25, 0.5, 0.9, 0.99, 0.999, 0.9999, 1};
    static uint64_t values[VALUES];
    uint64_t seed = 1;
    (void)state;
    for (unsigned shift = 0; shift < 60; shift += 7) {
        histogram_clear(&histogram);
        for (size_t i = 0; i < VALUES; i++) {
            seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
            values[i] = seed >> shift >> (seed % 5 * 4);
            histogram_add(&histogram, values[i]);
        }
        qsort(values, VALUES, sizeof values[0], compare);
        for (size_t i = 0; i < sizeof quantiles / sizeof quantiles[0]; i++) {
            double rank = quantiles[i] * VALUES;
            size_t index = rank > 1 ? (size_t)rank - ((double)(size_t)rank == rank ? 1 : 0) : 0;
            uint64_t exact = values[index];
            uint64_t got = histogram_quantile(&histogram, quantiles[i]);
            assert_true(got >= exact);
            assert_true(got - exact <= exact / 128);
        }
        assert_int_equal(histogram_quantile(&histogram, 1), values[VALUES - 1]);
    }
}

static void test_edges(void **state)
{
    static const uint64_t values[] = {0, 1, 127, 128, 255, 256, 257, UINT64_MAX - 1, UINT64_MAX};
    (void)state;
    histogram_clear(&histogram);
    assert_int_equal(histogram_quantile(&histogram, 0.5), 0);
    assert_true(histogram_mean(&histogram) == 0);
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        histogram_clear(&histogram);
        histogram_add(&histogram, values[i]);
        assert_int_equal(histogram_quantile(&histogram, 0), values[i]);
        assert_int_equal(histogram_quantile(&histogram, 1), values[i]);
        assert_int_equal(histogram.count, 1);
    }
}

static void test_merge(void **state)
{
    static struct histogram other;
    (void)state;
    histogram_clear(&histogram);
    histogram_clear(&other);
    for (uint64_t i = 0; i < 100; i++) {
        histogram_add(i % 2 == 0 ? &histogram : &other, i);
    }
    histogram_merge(&histogram, &other);
    assert_int_equal(histogram.count, 100);
    assert_int_equal(histogram.max, 99);
    assert_true(histogram_mean(&histogram) == 49.5);
    assert_int_equal(histogram_quantile(&histogram, 0.5), 49);
    assert_int_equal(histogram_quantile(&histogram, 0.99), 98);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_quantiles),
        cmocka_unit_test(test_edges),
        cmocka_unit_test(test_merge),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
