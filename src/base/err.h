/* SPDX-License-Identifier: Apache-2.0 */
/*
 * err: the small set of results that functions return.
 *
 * Only what a caller must handle is an error. A programmer's mistake is a CHECK; what a peer sent
 * wrongly has its own vocabulary (http/problem.h). Out-parameters are written on OK only.
 */
#ifndef BASE_ERR_H
#define BASE_ERR_H

enum err {
    OK = 0,
    ERR_MEMORY,  /* the memory budget or the allocator refused */
    ERR_FULL,    /* a bounded structure has no room now; try later */
    ERR_LIMIT,   /* the request goes beyond a fixed limit; never retry */
    ERR_INVALID, /* the input is not well formed */
    ERR_SYSTEM,  /* a system call failed; errno says why */
    ERR_CLOSED,  /* the other side, or the object, is closed */
};

#define WARN_UNUSED __attribute__((warn_unused_result))

/* A static, lower-case text for a log line. */
const char *err_name(enum err err);

#endif
