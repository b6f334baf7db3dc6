/* SPDX-License-Identifier: Apache-2.0 */
/*
 * clock: reading the system's clocks, and the two date formats that the server writes.
 *
 * Runs on:  any thread. Never blocks, never allocates, never enters the kernel where the vDSO
 *           serves the clock. Independent of locale and time zone: everything is UTC.
 *
 * Deadlines and durations come from the monotonic clock, dates from the real-time clock, which may
 * be set back and forth.
 */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stdint.h>
#include <time.h>

enum {
    CLOCK_HTTP_DATE_BYTES = 29, /* "Mon, 23 Nov 2026 05:32:00 GMT" */
    CLOCK_RFC3339_BYTES = 27,   /* "2026-11-23T05:32:00.123456Z" */
};

/* Since some fixed moment of this boot; never goes back. */
uint64_t clock_monotonic_ns(void);

/* The same clock at the kernel's tick (1 to 10 ms late), about a fifth of the cost. */
uint64_t clock_monotonic_coarse_ms(void);

/* Since 1970-01-01T00:00:00Z. */
uint64_t clock_realtime_ns(void);

/* Whole seconds since 1970-01-01T00:00:00Z, read at the kernel's tick. */
int64_t clock_realtime_sec(void);

/* Writes the IMF-fixdate of `seconds` (RFC 9110 section 5.6.7), not NUL-terminated. The years 1970
 * to 9999 only. */
void clock_http_date(time_t seconds, char out[static CLOCK_HTTP_DATE_BYTES]);

/* Writes the RFC 3339 date and time of `realtime_ns`, microseconds rounded down, not
 * NUL-terminated. */
void clock_rfc3339(uint64_t realtime_ns, char out[static CLOCK_RFC3339_BYTES]);

#endif
