/* SPDX-License-Identifier: Apache-2.0 */
/*
 * logger: structured lines (logfmt or JSON) to one descriptor, without ever blocking who logs.
 *
 *   logger_configure(&config); logger_start();
 *   log_info("listening", LOG_STRING("address", address), LOG_U64("port", port));
 *   LOG_RATE_LIMITED(LOG_WARN, 1, "accepting is paused", LOG_STRING("error", strerror(number)));
 *   LOG_ACCESS(LOG_BYTES("method", method), LOG_U64("status", 200));
 *   logger_stop();
 *
 *   ts=2026-11-23T05:32:00.123456Z level=info msg=listening address=127.0.0.1 port=8080
 *   {"ts":"2026-11-23T05:32:00.123456Z","level":"info","msg":"listening", ...}
 *
 * The calling thread formats the line into a byte ring of its own; one logger thread writes the
 * rings out. A line that finds its ring full is dropped and counted. Warnings and errors are
 * written at once, others within about 10 ms, together. Lines of one thread keep their order; those
 * of different threads may stand some milliseconds out of order. Before logger_start() and after
 * logger_stop() each call writes its line itself, and then may block.
 *
 * Values may hold any bytes: what is not plain text is escaped, so that a line is one line, no
 * terminal obeys it, and JSON is always valid. A value longer than LOG_VALUE_BYTES_MAX (as written)
 * ends in "..."; when fields do not fit into LOG_LINE_BYTES_MAX, "truncated" stands in their place.
 *
 * Runs on:  start and stop: one thread, in turn. Everything else: any thread, but not from a signal
 *           handler. Fields are evaluated only when the line is wanted, and borrowed for the call.
 * Owns:     one thread and the rings (LOG_RING_BYTES for each thread that has logged; reused when
 *           it ends). Borrows the descriptor.
 * Blocks:   logger_flush() and logger_stop() only.
 */
#ifndef BASE_LOGGER_H
#define BASE_LOGGER_H

#include "base/bytes.h"
#include "base/err.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    LOG_LINE_BYTES_MAX = 4096, /* with its newline */
    LOG_VALUE_BYTES_MAX = 2048,
    LOG_RING_BYTES = 256 * 1024,
    LOGGER_STOP_MS_MAX = 2000, /* what logger_stop() grants a reader that does not read */
};

enum log_level {
    LOG_DEBUG,
    LOG_INFO,
    LOG_WARN,
    LOG_ERROR,
};

enum log_format {
    LOG_LOGFMT,
    LOG_JSON,
};

/* What is in force without a logger_configure() is all zero but for fd 2 and LOG_INFO. */
struct logger_config {
    int fd;
    enum log_level level; /* lines below it are not wanted */
    enum log_format format;
    bool access_log; /* whether LOG_ACCESS writes; `level` does not matter there */
};

/* Any thread, at any time (a reload): for lines logged from now on. */
void logger_configure(const struct logger_config *config);

/* Starts the logger thread. ERR_SYSTEM: lines are still written by those who log. ERR_CLOSED: an
 * earlier logger_stop() gave up. */
WARN_UNUSED enum err logger_start(void);

/* Waits until all lines logged before (by this thread, or before something this thread has waited
 * for) are written. */
void logger_flush(void);

/* Writes what was logged, ends the thread. When the descriptor does not take it within
 * LOGGER_STOP_MS_MAX, gives up for good: the thread is left to the end of the process, and lines
 * are dropped from then on. Threads that still log meanwhile may lose lines. */
void logger_stop(void);

/* Lines dropped since the process started: no room, or the descriptor failed. */
uint64_t logger_dropped_lines(void);

enum log_kind {
    LOG_KIND_END, /* behind the last field */
    LOG_KIND_NONE,
    LOG_KIND_BYTES,
    LOG_KIND_U64,
    LOG_KIND_I64,
    LOG_KIND_SECONDS,
    LOG_KIND_BOOL,
};

struct log_field {
    const char *key; /* a literal: letters, digits, underscores */
    enum log_kind kind;
    union {
        struct bytes bytes;
        uint64_t u64;
        int64_t i64;
        bool boolean;
    } value;
};

/* `string_` may be anything that strlen() takes, `bytes_` anything at all. */
#define LOG_STRING(key_, string_) LOG_BYTES(key_, bytes_from_string(string_))
#define LOG_BYTES(key_, bytes_) LOG_FIELD_(key_, LOG_KIND_BYTES, .bytes = (bytes_))
#define LOG_U64(key_, number_) LOG_FIELD_(key_, LOG_KIND_U64, .u64 = (number_))
#define LOG_I64(key_, number_) LOG_FIELD_(key_, LOG_KIND_I64, .i64 = (number_))
#define LOG_BOOL(key_, boolean_) LOG_FIELD_(key_, LOG_KIND_BOOL, .boolean = (boolean_))
/* Nanoseconds, written as seconds with as many decimals as needed. */
#define LOG_SECONDS(key_, ns_) LOG_FIELD_(key_, LOG_KIND_SECONDS, .u64 = (ns_))

#define LOG_FIELD_(key_, kind_, ...)                                                               \
    ((struct log_field){.key = (key_), .kind = (kind_), .value = {__VA_ARGS__}})
#define LOG_END_ ((struct log_field){.kind = LOG_KIND_END})

/* A message (a literal) and any number of fields. */
#define log_debug(...) LOG_LINE(LOG_DEBUG, __VA_ARGS__)
#define log_info(...) LOG_LINE(LOG_INFO, __VA_ARGS__)
#define log_warn(...) LOG_LINE(LOG_WARN, __VA_ARGS__)
#define log_error(...) LOG_LINE(LOG_ERROR, __VA_ARGS__)

#define LOG_LINE(level_, ...)                                                                      \
    do {                                                                                           \
        if (logger_is_enabled(level_)) {                                                           \
            LOG_WRITE_(level_, __VA_ARGS__, LOG_END_);                                             \
        }                                                                                          \
    } while (0)
#define LOG_WRITE_(level_, message_, ...)                                                          \
    logger_write(level_, message_, (const struct log_field[]){__VA_ARGS__})

/* At most `per_sec` lines a second from this place in the source (as many at once); the next line
 * that passes says how many were suppressed. */
#define LOG_RATE_LIMITED(level_, per_sec_, ...)                                                    \
    do {                                                                                           \
        static struct log_rate log_rate_ = {0};                                                    \
        uint64_t log_suppressed_ = 0;                                                              \
        if (logger_is_enabled(level_) &&                                                           \
            log_rate_try_pass(&log_rate_, per_sec_, &log_suppressed_)) {                           \
            LOG_WRITE_(level_, __VA_ARGS__, log_field_suppressed(log_suppressed_), LOG_END_);      \
        }                                                                                          \
    } while (0)

/* One line of the access log; fields only. */
#define LOG_ACCESS(...)                                                                            \
    do {                                                                                           \
        if (logger_is_access_enabled()) {                                                          \
            logger_write_access((const struct log_field[]){__VA_ARGS__, LOG_END_});                \
        }                                                                                          \
    } while (0)

/* The rest is here for the macros. */

extern _Atomic int logger_level_now;
extern _Atomic bool logger_access_now;

static inline bool logger_is_enabled(enum log_level level)
{
    /* relaxed: nothing else depends on when a reload is noticed */
    return (int)level >= atomic_load_explicit(&logger_level_now, memory_order_relaxed);
}

static inline bool logger_is_access_enabled(void)
{
    /* relaxed: as above */
    return atomic_load_explicit(&logger_access_now, memory_order_relaxed);
}

struct log_rate {
    _Atomic uint64_t booked_until_ns; /* each line books 1/per_sec of monotonic time */
    _Atomic uint64_t suppressed;
};

/* On true, *out_suppressed is how many were refused since the last true. `per_sec` at least 1. */
bool log_rate_try_pass(struct log_rate *rate, unsigned per_sec, uint64_t *out_suppressed);

static inline struct log_field log_field_suppressed(uint64_t count)
{
    return (struct log_field){
        .key = "suppressed",
        .kind = count == 0 ? LOG_KIND_NONE : LOG_KIND_U64,
        .value = {.u64 = count},
    };
}

void logger_write(enum log_level level, const char *message, const struct log_field *fields);
void logger_write_access(const struct log_field *fields);

#endif
