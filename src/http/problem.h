/* SPDX-License-Identifier: Apache-2.0 */
/*
 * problem: error answers as application/problem+json (RFC 9457).
 *
 * A problem is a plain value of static or request-lived texts; nothing is allocated until it is
 * rendered. Runs on: whoever owns the connection. Never blocks.
 */
#ifndef HTTP_PROBLEM_H
#define HTTP_PROBLEM_H

#include "base/arena.h"
#include "base/bytes.h"

struct http_problem {
    unsigned status;         /* 400 to 599 */
    const char *type;        /* a short stable slug; rendered as "urn:weaseldb:problem:<slug>" */
    const char *detail;      /* a sentence for people; NULL: none */
    const char *outcome;     /* "not_committed", "unknown" or NULL: the member is left out */
    const char *limit_key;   /* configuration key of the limit that was broken; NULL: none */
    uint64_t limit;          /* what is allowed; 0 without a key: no limit was broken */
    uint64_t actual;         /* with a limit: what was sent; 0: not known, left out */
    const char *number_name; /* one more member, a number; NULL: none */
    uint64_t number;
};

/* The reason phrase and problem title of a status code ("Not Found"); "Unknown" for others. */
const char *http_status_title(unsigned status);

/* Renders `problem` into arena memory. ERR_MEMORY: the budget refused. */
enum err http_problem_render(const struct http_problem *problem, struct arena *arena,
                             struct bytes *out_body) WARN_UNUSED;

/* The same into `out` (`room` bytes, at least HTTP_PROBLEM_BYTES_MAX); returns the size. For
 * answers that must go out although memory is short. */
enum { HTTP_PROBLEM_BYTES_MAX = 1024 };
size_t http_problem_write(const struct http_problem *problem, char *out, size_t room);

#endif
