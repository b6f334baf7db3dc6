/* SPDX-License-Identifier: Apache-2.0 */
/*
 * check: assertions that stay on in every build.
 *
 * CHECK guards what only a programmer's error can break: it is never applied to bytes from a peer
 * or a disk, or to a lack of memory. CHECK_SLOW is for conditions too dear for the hot path; it is
 * on in debug builds.
 *
 * Runs on: any thread. Blocks: only while dying (one write to standard error, then abort()).
 */
#ifndef BASE_CHECK_H
#define BASE_CHECK_H

/* Prints "file:line: function: CHECK(expression) failed" to standard error and aborts. */
_Noreturn void check_fail(const char *file, int line, const char *function, const char *expression);

/* For what a program cannot start without: prints that there is no memory for `what`, and exits
 * with 1. Once it serves, running out of memory is an error to be handled. */
_Noreturn void check_memory_fail(const char *what);

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (__builtin_expect(!(condition), 0)) {                                                   \
            check_fail(__FILE__, __LINE__, __func__, #condition);                                  \
        }                                                                                          \
    } while (0)

#ifdef NDEBUG
#define CHECK_SLOW(condition) ((void)sizeof((condition) ? 1 : 0))
#else
#define CHECK_SLOW(condition) CHECK(condition)
#endif

#define UNREACHABLE() check_fail(__FILE__, __LINE__, __func__, "unreachable")

#endif
