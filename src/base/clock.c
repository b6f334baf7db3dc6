/* SPDX-License-Identifier: Apache-2.0 */
/* Dates are computed here rather than by gmtime_r() and strftime(), which read the locale and the
 * time zone and cost ten times as much. */
#include "base/clock.h"

#include "base/check.h"

#include <assert.h>
#include <string.h>

static_assert(sizeof(time_t) == 8, "dates after 2038");

enum {
    NS_PER_SEC = 1000000000,
    SEC_PER_DAY = 86400,
};

#define SECONDS_END INT64_C(253402300800) /* 10000-01-01T00:00:00Z */

static struct timespec read_clock(clockid_t id)
{
    struct timespec now;
    CHECK(clock_gettime(id, &now) == 0);
    return now;
}

static uint64_t in_ns(struct timespec time)
{
    return (uint64_t)time.tv_sec * NS_PER_SEC + (uint64_t)time.tv_nsec;
}

uint64_t clock_monotonic_ns(void)
{
    return in_ns(read_clock(CLOCK_MONOTONIC));
}

uint64_t clock_monotonic_coarse_ms(void)
{
    return in_ns(read_clock(CLOCK_MONOTONIC_COARSE)) / 1000000;
}

uint64_t clock_realtime_ns(void)
{
    return in_ns(read_clock(CLOCK_REALTIME));
}

int64_t clock_realtime_sec(void)
{
    return read_clock(CLOCK_REALTIME_COARSE).tv_sec;
}

struct date {
    unsigned year;
    unsigned month;   /* from 1 */
    unsigned day;     /* from 1 */
    unsigned weekday; /* 0 is Sunday */
    unsigned hour;
    unsigned minute;
    unsigned second;
};

/*
 * Days become a date by counting from 1 March 0000, so that the leap day is the last of its year,
 * in cycles of 400 years (146,097 days). Within a year that starts in March, the months have 31,
 * 30, 31, 30, 31 days again and again (153 days), so their starts lie on the line (153 * month + 2)
 * / 5.
 */
static struct date date_of(int64_t seconds)
{
    CHECK(seconds >= 0);
    CHECK(seconds < SECONDS_END);
    unsigned days = (unsigned)(seconds / SEC_PER_DAY);
    unsigned rest = (unsigned)(seconds % SEC_PER_DAY);
    unsigned since_march = days + 719468; /* from 0000-03-01 to 1970-01-01 */
    unsigned cycle = since_march / 146097;
    unsigned day_of_cycle = since_march % 146097;
    unsigned year_of_cycle =
        (day_of_cycle - day_of_cycle / 1460 + day_of_cycle / 36524 - day_of_cycle / 146096) / 365;
    unsigned day_of_year =
        day_of_cycle - (365 * year_of_cycle + year_of_cycle / 4 - year_of_cycle / 100);
    unsigned month_from_march = (5 * day_of_year + 2) / 153;
    unsigned month = month_from_march < 10 ? month_from_march + 3 : month_from_march - 9;
    return (struct date){
        .year = cycle * 400 + year_of_cycle + (month <= 2 ? 1 : 0),
        .month = month,
        .day = day_of_year - (153 * month_from_march + 2) / 5 + 1,
        .weekday = (days + 4) % 7, /* 1970-01-01 was a Thursday */
        .hour = rest / 3600,
        .minute = rest / 60 % 60,
        .second = rest % 60,
    };
}

/* Writes `value` with exactly `digits` digits. */
static void put_number(char *out, unsigned value, unsigned digits)
{
    for (unsigned i = digits; i > 0; i--) {
        out[i - 1] = (char)('0' + value % 10);
        value /= 10;
    }
}

static void put_time(char *out, const struct date *date)
{
    put_number(out, date->hour, 2);
    out[2] = ':';
    put_number(out + 3, date->minute, 2);
    out[5] = ':';
    put_number(out + 6, date->second, 2);
}

void clock_http_date(time_t seconds, char out[static CLOCK_HTTP_DATE_BYTES])
{
    static const char weekdays[] = "SunMonTueWedThuFriSat";
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    struct date date = date_of(seconds);
    memcpy(out, "Sun, 00 Jan 0000 00:00:00 GMT", CLOCK_HTTP_DATE_BYTES);
    memcpy(out, weekdays + (size_t)date.weekday * 3, 3);
    put_number(out + 5, date.day, 2);
    memcpy(out + 8, months + (size_t)(date.month - 1) * 3, 3);
    put_number(out + 12, date.year, 4);
    put_time(out + 17, &date);
}

void clock_rfc3339(uint64_t realtime_ns, char out[static CLOCK_RFC3339_BYTES])
{
    struct date date = date_of((int64_t)(realtime_ns / NS_PER_SEC));
    memcpy(out, "0000-00-00T00:00:00.000000Z", CLOCK_RFC3339_BYTES);
    put_number(out, date.year, 4);
    put_number(out + 5, date.month, 2);
    put_number(out + 8, date.day, 2);
    put_time(out + 11, &date);
    put_number(out + 20, (unsigned)(realtime_ns % NS_PER_SEC / 1000), 6);
}
