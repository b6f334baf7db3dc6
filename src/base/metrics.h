/* SPDX-License-Identifier: Apache-2.0 */
/*
 * metrics: counters, gauges and histograms that cost a load, an add and a store, and their
 * Prometheus text.
 *
 *   struct metrics *metrics = metrics_open();                                      at start
 *   struct metrics_family *family = metrics_family_register(
 *       metrics, METRICS_COUNTER, METRICS_PLAIN, "http_requests_total", "Requests answered.");
 *   struct metrics_counter gets = metrics_counter_register(
 *       family, (struct metrics_label[]){{"method", "GET"}}, 1);
 *
 *   struct metrics_cells *cells = metrics_cells_open(metrics);                     each thread
 *   metrics_add(cells, gets, 1);
 *
 *   metrics_render(metrics, sink);                                                 a scrape
 *
 * Each thread that counts owns a block of cells, one or more for each series, on cache lines of its
 * own; a scrape sums the blocks. Blocks outlive their threads, so nothing that was counted is lost.
 *
 * Values are integers in the unit they are measured in (nanoseconds, bytes); what a scrape shows is
 * in base units (seconds, bytes), exact.
 *
 * Runs on:  open, close and register: one thread, while no other uses the registry; registering
 * ends with the first metrics_cells_open(). That and metrics_render(): any thread. Updates: the one
 * thread that a block was opened for. Blocks:   never (malloc apart, outside updates and scrapes).
 * Errors:   a name or label that Prometheus would refuse, or a name used twice, is the programmer's
 *           (CHECK). Running out of memory here, at start, ends the program with a word and 1.
 */
#ifndef BASE_METRICS_H
#define BASE_METRICS_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#define METRICS_CONTENT_TYPE "text/plain; version=0.0.4; charset=utf-8"

enum {
    METRICS_BOUNDS_MAX = 62, /* of one histogram */
    METRICS_BIT_CLASSES = 65,
};

enum metrics_type {
    METRICS_COUNTER, /* its name ends in _total */
    METRICS_GAUGE,
    METRICS_HISTOGRAM,
};

/* What the integers count. The name of a family says it too: nanoseconds end in _seconds, bytes in
 * _bytes (before _total). */
enum metrics_unit {
    METRICS_PLAIN,
    METRICS_BYTES,
    METRICS_NANOSECONDS, /* shown in seconds */
};

struct metrics;        /* base/metrics.c */
struct metrics_family; /* base/metrics.c */
struct metrics_list;   /* base/metrics.c */

struct metrics_label {
    const char *name;
    const char *value; /* any UTF-8 text; escaped by the registration */
};

/* One thread's values. */
struct metrics_cells {
    struct metrics_cells *next;
    _Atomic uint64_t values[];
};

/* Upper bounds of a histogram's buckets, and where to begin looking for a value's. */
struct metrics_bounds {
    uint8_t first[METRICS_BIT_CLASSES]; /* [b]: the first bucket for values of b significant bits */
    uint8_t count;                      /* of bounds; the bucket after them is +Inf */
    uint64_t upper[METRICS_BOUNDS_MAX + 1]; /* inclusive; UINT64_MAX behind the last */
};

/* Handles, to be passed by value. Valid until metrics_close(). */
struct metrics_counter {
    uint32_t cell;
};

struct metrics_gauge {
    uint32_t cell;
};

struct metrics_histogram {
    const struct metrics_bounds *bounds;
    uint32_t cell; /* of the first bucket; the sum is behind the last */
};

/* An empty registry. */
struct metrics *metrics_open(void);

/* Frees everything, cells included: no thread may count any more. NULL is allowed. */
void metrics_close(struct metrics *metrics);

/* Adds a family; `name` and `help` are copied. For METRICS_HISTOGRAM use the function below. */
struct metrics_family *metrics_family_register(struct metrics *metrics, enum metrics_type type,
                                               enum metrics_unit unit, const char *name,
                                               const char *help);

/* Adds a family of histograms with `count` (1 to METRICS_BOUNDS_MAX) growing, inclusive upper
 * bounds `upper` in `unit`; a last bucket +Inf takes what is above. All is copied. */
struct metrics_family *metrics_histogram_family_register(struct metrics *metrics,
                                                         enum metrics_unit unit, const char *name,
                                                         const char *help, const uint64_t *upper,
                                                         size_t count);

/* Each adds one series to a family of its type. Labels are copied; a family's label sets must
 * differ. Without labels: NULL and 0. */
struct metrics_counter metrics_counter_register(struct metrics_family *family,
                                                const struct metrics_label *labels,
                                                size_t label_count);
struct metrics_gauge metrics_gauge_register(struct metrics_family *family,
                                            const struct metrics_label *labels, size_t label_count);
struct metrics_histogram metrics_histogram_register(struct metrics_family *family,
                                                    const struct metrics_label *labels,
                                                    size_t label_count);

/* Adds a counter or gauge whose value is what `read(context)` returns, in the family's unit, at
 * each scrape, on the scraping thread. `read` must not block; `context` outlives the registry. */
void metrics_callback_register(struct metrics_family *family, const struct metrics_label *labels,
                               size_t label_count, int64_t (*read)(void *context), void *context);

/* Several of them, each in a family of its own and without labels. */
struct metrics_callback {
    enum metrics_type type;
    enum metrics_unit unit;
    const char *name;
    const char *help;
    int64_t (*read)(void *context);
};
void metrics_callbacks_register(struct metrics *metrics, const struct metrics_callback *callbacks,
                                size_t count, void *context);

/* Makes a family's series, beside those registered, whatever `list(context, list)` adds at each
 * scrape, on the scraping thread: for things that come and go, of which there are few. `label` is
 * copied. `list` must not block; `context` outlives the registry. At most once a family. */
void metrics_list_register(struct metrics_family *family, const char *label,
                           void (*list)(void *context, struct metrics_list *list), void *context);

/* Within `list`: a series, in the family's unit. `label_value`: any UTF-8 text, none twice. */
void metrics_list_add(struct metrics_list *list, const char *label_value, int64_t value);

/* A block of zeros for one thread; ends registering. Owned by the registry. */
struct metrics_cells *metrics_cells_open(struct metrics *metrics);
/* Likewise, for a thread that begins to count when the program serves already. NULL: no memory. */
struct metrics_cells *metrics_cells_try_open(struct metrics *metrics);

/* Visible for the inline functions only. */
static inline void metrics_cell_add(struct metrics_cells *cells, uint32_t cell, uint64_t value)
{
    /* relaxed, and no read-modify-write: this thread is the only writer, and a scrape needs no more
     * than some recent value of each cell */
    uint64_t old = atomic_load_explicit(&cells->values[cell], memory_order_relaxed);
    atomic_store_explicit(&cells->values[cell], old + value, memory_order_relaxed);
}

static inline void metrics_add(struct metrics_cells *cells, struct metrics_counter counter,
                               uint64_t value)
{
    metrics_cell_add(cells, counter.cell, value);
}

/* The gauge shows the sum over all threads: one may add what another takes away. */
static inline void metrics_gauge_add(struct metrics_cells *cells, struct metrics_gauge gauge,
                                     int64_t change)
{
    metrics_cell_add(cells, gauge.cell, (uint64_t)change);
}

/* Counts `value` in its bucket: with bounds at least a doubling apart, at most two are looked at.
 */
static inline void metrics_observe(struct metrics_cells *cells, struct metrics_histogram histogram,
                                   uint64_t value)
{
    const struct metrics_bounds *bounds = histogram.bounds;
    unsigned bits = value == 0 ? 0 : 64 - (unsigned)__builtin_clzll(value);
    uint32_t bucket = bounds->first[bits];
    while (value > bounds->upper[bucket]) {
        bucket++;
    }
    metrics_cell_add(cells, histogram.cell + bucket, 1);
    metrics_cell_add(cells, histogram.cell + bounds->count + 1, value);
}

struct metrics_sink {
    void (*write)(void *context, const char *data,
                  size_t size); /* takes it all, or notes why not */
    void *context;
};

/* Writes all families in the order of their registration, in Prometheus' text format 0.0.4. Each
 * value is one that its cells had during the call; different series may be of different moments. */
void metrics_render(struct metrics *metrics, struct metrics_sink sink);

#endif
