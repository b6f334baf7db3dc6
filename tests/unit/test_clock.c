/* SPDX-License-Identifier: Apache-2.0 */
/* Clocks agree with each other; dates are compared with the C library's over the whole range. */
#include "base/clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "support/dies.h"

#define LAST_SECOND INT64_C(253402300799) /* 9999-12-31T23:59:59Z */

static void the_monotonic_clock_never_goes_back(void **state)
{
    (void)state;
    uint64_t last = clock_monotonic_ns();
    for (int i = 0; i < 10000; i++) {
        uint64_t now = clock_monotonic_ns();
        assert_true(now >= last);
        last = now;
    }
}

static void coarse_time_follows_the_fine(void **state)
{
    (void)state;
    uint64_t before = clock_monotonic_ns() / 1000000;
    uint64_t coarse = clock_monotonic_coarse_ms();
    uint64_t after = clock_monotonic_ns() / 1000000;
    assert_true(coarse <= after);
    assert_true(coarse + 20 >= before); /* two of the slowest ticks */
}

static void real_time_is_that_of_the_c_library(void **state)
{
    (void)state;
    time_t before = time(NULL);
    uint64_t ns = clock_realtime_ns();
    int64_t seconds = clock_realtime_sec();
    time_t after = time(NULL);
    /* time() and clock_realtime_sec() are read at the tick, and may be a second late at its turn */
    assert_true((int64_t)(ns / 1000000000) >= before && (int64_t)(ns / 1000000000) <= after + 1);
    assert_true(seconds >= before && seconds <= after);
}

static void check_against_library(time_t seconds)
{
    struct tm parts;
    char expected[64];
    char http[CLOCK_HTTP_DATE_BYTES];
    char rfc3339[CLOCK_RFC3339_BYTES];
    assert_non_null(gmtime_r(&seconds, &parts));
    assert_int_equal(strftime(expected, sizeof expected, "%a, %d %b %Y %H:%M:%S GMT", &parts), 29);
    clock_http_date(seconds, http);
    assert_memory_equal(http, expected, sizeof http);

    if ((uint64_t)seconds > UINT64_MAX / 1000000000 - 1) {
        return; /* beyond the year 2554 nanoseconds do not count */
    }
    assert_int_equal(strftime(expected, sizeof expected, "%Y-%m-%dT%H:%M:%S", &parts), 19);
    uint64_t micros = (uint64_t)seconds % 1000000;
    (void)snprintf(expected + 19, sizeof expected - 19, ".%06uZ", (unsigned)micros);
    clock_rfc3339((uint64_t)seconds * 1000000000 + micros * 1000 + 999, rfc3339);
    assert_memory_equal(rfc3339, expected, sizeof rfc3339);
}

static void known_dates(void **state)
{
    (void)state;
    char http[CLOCK_HTTP_DATE_BYTES];
    char rfc3339[CLOCK_RFC3339_BYTES];
    clock_http_date(784111777, http); /* the example of RFC 9110 */
    assert_memory_equal(http, "Sun, 06 Nov 1994 08:49:37 GMT", sizeof http);
    clock_http_date(LAST_SECOND, http);
    assert_memory_equal(http, "Fri, 31 Dec 9999 23:59:59 GMT", sizeof http);
    clock_rfc3339(0, rfc3339);
    assert_memory_equal(rfc3339, "1970-01-01T00:00:00.000000Z", sizeof rfc3339);
    clock_rfc3339(UINT64_C(951782400123456789), rfc3339); /* a leap day at a century */
    assert_memory_equal(rfc3339, "2000-02-29T00:00:00.123456Z", sizeof rfc3339);
}

static void every_day_until_2500_is_right(void **state)
{
    (void)state;
    for (time_t day = 0; day < 194000; day++) {
        check_against_library(day * 86400);
        check_against_library(day * 86400 + 86399);
    }
}

static void dates_over_the_whole_range_are_right(void **state)
{
    (void)state;
    for (time_t seconds = 0; seconds <= LAST_SECOND; seconds += 1234567) {
        check_against_library(seconds);
    }
}

static void dates_beyond_the_format_are_a_defect(void **state)
{
    (void)state;
    char http[CLOCK_HTTP_DATE_BYTES];
    assert_dies((clock_http_date(-1, http), 0));
    assert_dies((clock_http_date(LAST_SECOND + 1, http), 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_monotonic_clock_never_goes_back),
        cmocka_unit_test(coarse_time_follows_the_fine),
        cmocka_unit_test(real_time_is_that_of_the_c_library),
        cmocka_unit_test(known_dates),
        cmocka_unit_test(every_day_until_2500_is_right),
        cmocka_unit_test(dates_over_the_whole_range_are_right),
        cmocka_unit_test(dates_beyond_the_format_are_a_defect),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
