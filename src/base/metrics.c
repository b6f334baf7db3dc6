/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Families and series are lists that are complete before the first block of cells exists, and never
 * change again. Everything that can be rendered once (HELP, TYPE, labels) is rendered when it is
 * registered; a scrape only adds up and prints integers.
 *
 * Cells of one series: a counter and a gauge have one; a histogram with n bounds has n + 1 buckets
 * and then the sum. Its count is the sum of the buckets, so the two always agree.
 *
 * Invariants
 *  1. A block is written by one thread, and stays in the list until metrics_close().
 *  2. Once a block exists, no series is added: each block has a cell for each series.
 *
 * Edges: a block is pushed with release and found with acquire, so a scrape sees its zeros. Values
 * are relaxed: nothing else is read because of them.
 */
#include "base/metrics.h"

#include "base/bytes.h"
#include "base/check.h"

#include <assert.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    /* Two lines: the prefetcher of most x86 cores fetches lines in pairs. */
    CELLS_ALIGNMENT = 128,
    OUTPUT_BYTES = 4096,
};

static_assert(sizeof(_Atomic uint64_t) == 8, "cells are plain words");
static_assert(METRICS_BOUNDS_MAX < UINT8_MAX, "bucket numbers fit metrics_bounds.first");

struct metrics_series {
    struct metrics_series *next;
    char *labels; /* `a="b",c="d"`, or empty */
    uint32_t cell;
    int64_t (*read)(void *context); /* NULL: the value is in the cells */
    void *context;
};

struct metrics_family {
    struct metrics_family *next;
    struct metrics *metrics;
    char *name;
    char *head; /* the HELP and TYPE lines */
    enum metrics_type type;
    enum metrics_unit unit;
    struct metrics_series *first;
    struct metrics_series **last;
    char *list_label; /* of what `list` adds; NULL: there is none */
    void (*list)(void *context, struct metrics_list *list);
    void *list_context;
    struct metrics_bounds bounds; /* histograms only */
};

struct metrics {
    struct metrics_family *first;
    struct metrics_family **last;
    uint32_t cell_count;
    _Atomic(struct metrics_cells *) blocks; /* newest first */
};

/* The program cannot do without. */
static void *needed(void *memory)
{
    if (memory == NULL) {
        check_memory_fail("the metrics");
    }
    return memory;
}

struct metrics *metrics_open(void)
{
    struct metrics *metrics = needed(calloc(1, sizeof *metrics));
    metrics->last = &metrics->first;
    atomic_init(&metrics->blocks, NULL);
    return metrics;
}

static void family_close(struct metrics_family *family)
{
    while (family->first != NULL) {
        struct metrics_series *series = family->first;
        family->first = series->next;
        free(series->labels);
        free(series);
    }
    free(family->list_label);
    free(family->name);
    free(family->head);
    free(family);
}

void metrics_close(struct metrics *metrics)
{
    if (metrics == NULL) {
        return;
    }
    while (metrics->first != NULL) {
        struct metrics_family *family = metrics->first;
        metrics->first = family->next;
        family_close(family);
    }
    /* Pairs with the release in metrics_cells_open(). */
    struct metrics_cells *cells = atomic_load_explicit(&metrics->blocks, memory_order_acquire);
    while (cells != NULL) {
        struct metrics_cells *next = cells->next;
        free(cells);
        cells = next;
    }
    free(metrics);
}

/* A letter or underscore, then also digits; metric names (not labels) may hold colons. */
static bool is_name(const char *name, bool colons)
{
    for (size_t i = 0; name[i] != '\0'; i++) {
        char c = name[i];
        bool ok = (ascii_lower(c) >= 'a' && ascii_lower(c) <= 'z') || c == '_' ||
                  (colons && c == ':') || (i > 0 && c >= '0' && c <= '9');
        if (!ok) {
            return false;
        }
    }
    return name[0] != '\0';
}

static bool ends_with(struct bytes text, struct bytes suffix)
{
    return text.size >= suffix.size &&
           bytes_equal(bytes_drop(text, text.size - suffix.size), suffix);
}

static void check_family_name(enum metrics_type type, enum metrics_unit unit, const char *name)
{
    CHECK(is_name(name, true));
    struct bytes stem = bytes_from_string(name);
    if (type == METRICS_COUNTER) {
        CHECK(ends_with(stem, BYTES("_total")));
        stem.size -= strlen("_total");
    }
    CHECK(!ends_with(stem, BYTES("_total")));
    CHECK(!ends_with(stem, BYTES("_count")));
    CHECK(!ends_with(stem, BYTES("_sum")));
    CHECK(!ends_with(stem, BYTES("_bucket")));
    CHECK(unit != METRICS_NANOSECONDS || ends_with(stem, BYTES("_seconds")));
    CHECK(unit != METRICS_BYTES || ends_with(stem, BYTES("_bytes")));
}

/* `text` with backslash, newline and (in labels) the quote escaped. */
static void write_escaped(FILE *file, const char *text, bool quotes)
{
    for (; *text != '\0'; text++) {
        if (*text == '\n') {
            (void)fputs("\\n", file);
        } else if (*text == '\\' || (quotes && *text == '"')) {
            (void)fprintf(file, "\\%c", *text);
        } else {
            (void)fputc(*text, file);
        }
    }
}

static const char *type_name(enum metrics_type type)
{
    switch (type) {
    case METRICS_COUNTER:
        return "counter";
    case METRICS_GAUGE:
        return "gauge";
    case METRICS_HISTOGRAM:
        return "histogram";
    }
    UNREACHABLE();
}

/* What was written to a memory stream, which notes there that it has run out of memory. */
static char *close_text(FILE *file, char *const *text)
{
    bool good = ferror(file) == 0;
    return needed(fclose(file) == 0 && good ? *text : NULL);
}

static char *render_head(enum metrics_type type, const char *name, const char *help)
{
    char *head = NULL;
    size_t size = 0;
    FILE *file = needed(open_memstream(&head, &size));
    (void)fprintf(file, "# HELP %s ", name);
    write_escaped(file, help, false);
    (void)fprintf(file, "\n# TYPE %s %s\n", name, type_name(type));
    return close_text(file, &head);
}

static char *render_labels(const struct metrics_family *family, const struct metrics_label *labels,
                           size_t count)
{
    char *text = NULL;
    size_t size = 0;
    FILE *file = needed(open_memstream(&text, &size));
    for (size_t i = 0; i < count; i++) {
        CHECK(is_name(labels[i].name, false));
        CHECK(strncmp(labels[i].name, "__", 2) != 0);
        CHECK(family->type != METRICS_HISTOGRAM || strcmp(labels[i].name, "le") != 0);
        for (size_t j = 0; j < i; j++) {
            CHECK(strcmp(labels[i].name, labels[j].name) != 0);
        }
        (void)fprintf(file, "%s%s=\"", i == 0 ? "" : ",", labels[i].name);
        write_escaped(file, labels[i].value, true);
        (void)fputc('"', file);
    }
    return close_text(file, &text);
}

static bool is_complete(struct metrics *metrics)
{
    /* relaxed: only asked where no other thread uses the registry */
    return atomic_load_explicit(&metrics->blocks, memory_order_relaxed) != NULL;
}

static struct metrics_family *family_add(struct metrics *metrics, enum metrics_type type,
                                         enum metrics_unit unit, const char *name, const char *help)
{
    CHECK(!is_complete(metrics));
    check_family_name(type, unit, name);
    for (const struct metrics_family *f = metrics->first; f != NULL; f = f->next) {
        CHECK(strcmp(f->name, name) != 0);
    }
    struct metrics_family *family = needed(calloc(1, sizeof *family));
    family->metrics = metrics;
    family->name = needed(strdup(name));
    family->head = render_head(type, name, help);
    family->type = type;
    family->unit = unit;
    family->last = &family->first;
    *metrics->last = family;
    metrics->last = &family->next;
    return family;
}

struct metrics_family *metrics_family_register(struct metrics *metrics, enum metrics_type type,
                                               enum metrics_unit unit, const char *name,
                                               const char *help)
{
    CHECK(type != METRICS_HISTOGRAM);
    return family_add(metrics, type, unit, name, help);
}

struct metrics_family *metrics_histogram_family_register(struct metrics *metrics,
                                                         enum metrics_unit unit, const char *name,
                                                         const char *help, const uint64_t *upper,
                                                         size_t count)
{
    CHECK(count >= 1);
    CHECK(count <= METRICS_BOUNDS_MAX);
    struct metrics_family *family = family_add(metrics, METRICS_HISTOGRAM, unit, name, help);
    struct metrics_bounds *bounds = &family->bounds;
    for (size_t i = 0; i < count; i++) {
        CHECK(i == 0 || upper[i] > upper[i - 1]);
        bounds->upper[i] = upper[i];
    }
    CHECK(upper[count - 1] < UINT64_MAX);
    bounds->upper[count] = UINT64_MAX;
    bounds->count = (uint8_t)count;
    for (unsigned bits = 0; bits < METRICS_BIT_CLASSES; bits++) {
        uint64_t smallest = bits == 0 ? 0 : UINT64_C(1) << (bits - 1);
        uint8_t first = 0;
        while (smallest > bounds->upper[first]) {
            first++;
        }
        bounds->first[bits] = first;
    }
    return family;
}

static struct metrics_series *series_add(struct metrics_family *family,
                                         const struct metrics_label *labels, size_t label_count,
                                         uint32_t cell_count)
{
    struct metrics *metrics = family->metrics;
    CHECK(!is_complete(metrics));
    struct metrics_series *series = needed(calloc(1, sizeof *series));
    series->labels = render_labels(family, labels, label_count);
    for (const struct metrics_series *s = family->first; s != NULL; s = s->next) {
        CHECK(strcmp(s->labels, series->labels) != 0);
    }
    series->cell = metrics->cell_count;
    metrics->cell_count += cell_count;
    *family->last = series;
    family->last = &series->next;
    return series;
}

struct metrics_counter metrics_counter_register(struct metrics_family *family,
                                                const struct metrics_label *labels,
                                                size_t label_count)
{
    CHECK(family->type == METRICS_COUNTER);
    return (struct metrics_counter){series_add(family, labels, label_count, 1)->cell};
}

struct metrics_gauge metrics_gauge_register(struct metrics_family *family,
                                            const struct metrics_label *labels, size_t label_count)
{
    CHECK(family->type == METRICS_GAUGE);
    return (struct metrics_gauge){series_add(family, labels, label_count, 1)->cell};
}

struct metrics_histogram metrics_histogram_register(struct metrics_family *family,
                                                    const struct metrics_label *labels,
                                                    size_t label_count)
{
    CHECK(family->type == METRICS_HISTOGRAM);
    uint32_t cells = family->bounds.count + 2u; /* the bucket +Inf and the sum */
    return (struct metrics_histogram){
        .bounds = &family->bounds,
        .cell = series_add(family, labels, label_count, cells)->cell,
    };
}

void metrics_callback_register(struct metrics_family *family, const struct metrics_label *labels,
                               size_t label_count, int64_t (*read)(void *context), void *context)
{
    CHECK(family->type != METRICS_HISTOGRAM);
    CHECK(read != NULL);
    struct metrics_series *series = series_add(family, labels, label_count, 0);
    series->read = read;
    series->context = context;
}

void metrics_callbacks_register(struct metrics *metrics, const struct metrics_callback *callbacks,
                                size_t count, void *context)
{
    for (size_t i = 0; i < count; i++) {
        const struct metrics_callback *one = &callbacks[i];
        metrics_callback_register(
            metrics_family_register(metrics, one->type, one->unit, one->name, one->help), NULL, 0,
            one->read, context);
    }
}

void metrics_list_register(struct metrics_family *family, const char *label,
                           void (*list)(void *context, struct metrics_list *list), void *context)
{
    CHECK(family->type != METRICS_HISTOGRAM);
    CHECK(!is_complete(family->metrics));
    CHECK(family->list == NULL);
    CHECK(list != NULL);
    CHECK(is_name(label, false));
    family->list_label = needed(strdup(label));
    family->list = list;
    family->list_context = context;
}

struct metrics_cells *metrics_cells_open(struct metrics *metrics)
{
    return needed(metrics_cells_try_open(metrics));
}

struct metrics_cells *metrics_cells_try_open(struct metrics *metrics)
{
    size_t size = sizeof(struct metrics_cells) + metrics->cell_count * sizeof(_Atomic uint64_t);
    size = (size + CELLS_ALIGNMENT - 1) / CELLS_ALIGNMENT * CELLS_ALIGNMENT;
    struct metrics_cells *cells = aligned_alloc(CELLS_ALIGNMENT, size);
    if (cells == NULL) {
        return NULL;
    }
    for (uint32_t i = 0; i < metrics->cell_count; i++) {
        atomic_init(&cells->values[i], 0);
    }
    /* relaxed: a wrong guess is corrected by the exchange */
    cells->next = atomic_load_explicit(&metrics->blocks, memory_order_relaxed);
    /* Release: pairs with the acquire in cells_sum(): the zeros and `next` are visible; blocks
     * pushed earlier too, as exchanges continue their release sequences. */
    while (!atomic_compare_exchange_weak_explicit(&metrics->blocks, &cells->next, cells,
                                                  memory_order_release, memory_order_relaxed)) {
    }
    return cells;
}

/* --- Rendering ----------------------------------------------------------------------------------
 */

struct output {
    struct metrics_sink sink;
    size_t size;
    char data[OUTPUT_BYTES];
};

static void flush(struct output *out)
{
    if (out->size > 0) {
        out->sink.write(out->sink.context, out->data, out->size);
        out->size = 0;
    }
}

static void put(struct output *out, struct bytes text)
{
    if (text.size > sizeof out->data - out->size) {
        flush(out);
    }
    if (text.size > sizeof out->data) {
        out->sink.write(out->sink.context, text.data, text.size);
        return;
    }
    memcpy(out->data + out->size, text.data, text.size);
    out->size += text.size;
}

static void put_string(struct output *out, const char *text)
{
    put(out, bytes_from_string(text));
}

static void put_u64(struct output *out, uint64_t value)
{
    char digits[20];
    put(out, bytes_of(digits, bytes_format_u64(digits, value)));
}

/* `value` in the base unit: nanoseconds as seconds, exactly, without trailing zeros. */
static void put_in_base_unit(struct output *out, enum metrics_unit unit, uint64_t value)
{
    if (unit != METRICS_NANOSECONDS) {
        put_u64(out, value);
        return;
    }
    put_u64(out, value / 1000000000);
    uint64_t rest = value % 1000000000;
    if (rest == 0) {
        return;
    }
    char decimals[10] = ".";
    size_t size = 1;
    for (uint64_t place = 100000000; rest > 0; place /= 10) {
        decimals[size++] = (char)('0' + rest / place);
        rest %= place;
    }
    put(out, bytes_of(decimals, size));
}

static void put_signed(struct output *out, enum metrics_unit unit, int64_t value)
{
    if (value < 0) {
        put_string(out, "-");
    }
    put_in_base_unit(out, unit, value < 0 ? 0 - (uint64_t)value : (uint64_t)value);
}

static uint64_t cells_sum(struct metrics *metrics, uint32_t cell)
{
    uint64_t sum = 0;
    /* Acquire: pairs with metrics_cells_open(). */
    struct metrics_cells *cells = atomic_load_explicit(&metrics->blocks, memory_order_acquire);
    for (; cells != NULL; cells = cells->next) {
        /* relaxed: some recent value is all that is promised */
        sum += atomic_load_explicit(&cells->values[cell], memory_order_relaxed);
    }
    return sum;
}

/* The name, its suffix and the labels of one line, with `le` when `bucket` is one of a histogram.
 */
static void put_line_start(struct output *out, const struct metrics_family *family,
                           const struct metrics_series *series, const char *suffix,
                           const unsigned *bucket)
{
    put_string(out, family->name);
    put_string(out, suffix);
    bool labelled = series->labels[0] != '\0';
    if (labelled || bucket != NULL) {
        put_string(out, "{");
        put_string(out, series->labels);
        if (bucket != NULL) {
            put_string(out, labelled ? ",le=\"" : "le=\"");
            if (*bucket == family->bounds.count) {
                put_string(out, "+Inf");
            } else {
                put_in_base_unit(out, family->unit, family->bounds.upper[*bucket]);
            }
            put_string(out, "\"");
        }
        put_string(out, "}");
    }
    put_string(out, " ");
}

static void render_histogram(struct output *out, const struct metrics_family *family,
                             const struct metrics_series *series)
{
    uint64_t count = 0;
    for (unsigned i = 0; i <= family->bounds.count; i++) {
        count += cells_sum(family->metrics, series->cell + i);
        put_line_start(out, family, series, "_bucket", &i);
        put_u64(out, count);
        put_string(out, "\n");
    }
    put_line_start(out, family, series, "_sum", NULL);
    put_in_base_unit(out, family->unit,
                     cells_sum(family->metrics, series->cell + family->bounds.count + 1));
    put_string(out, "\n");
    put_line_start(out, family, series, "_count", NULL);
    put_u64(out, count);
    put_string(out, "\n");
}

static void render_value(struct output *out, const struct metrics_family *family,
                         const struct metrics_series *series)
{
    put_line_start(out, family, series, "", NULL);
    if (series->read != NULL) {
        put_signed(out, family->unit, series->read(series->context));
    } else if (family->type == METRICS_GAUGE) {
        put_signed(out, family->unit, (int64_t)cells_sum(family->metrics, series->cell));
    } else {
        put_in_base_unit(out, family->unit, cells_sum(family->metrics, series->cell));
    }
    put_string(out, "\n");
}

/* What `list` adds to. */
struct metrics_list {
    struct output *out;
    const struct metrics_family *family;
    bool has_head; /* it has been written */
};

void metrics_list_add(struct metrics_list *list, const char *label_value, int64_t value)
{
    struct output *out = list->out;
    if (!list->has_head) {
        put_string(out, list->family->head);
        list->has_head = true;
    }
    put_string(out, list->family->name);
    put_string(out, "{");
    put_string(out, list->family->list_label);
    put_string(out, "=\"");
    for (const char *c = label_value; *c != '\0'; c++) {
        if (*c == '\n' || *c == '\\' || *c == '"') {
            put_string(out, "\\");
        }
        put(out, *c == '\n' ? bytes_of("n", 1) : bytes_of(c, 1));
    }
    put_string(out, "\"} ");
    put_signed(out, list->family->unit, value);
    put_string(out, "\n");
}

static void render_list(struct output *out, const struct metrics_family *family)
{
    struct metrics_list list = {out, family, family->first != NULL};
    family->list(family->list_context, &list);
}

void metrics_render(struct metrics *metrics, struct metrics_sink sink)
{
    struct output out;
    out.sink = sink;
    out.size = 0;
    for (const struct metrics_family *f = metrics->first; f != NULL; f = f->next) {
        /* A family without series has nothing to tell. */
        if (f->first != NULL) {
            put_string(&out, f->head);
        }
        for (const struct metrics_series *s = f->first; s != NULL; s = s->next) {
            if (f->type == METRICS_HISTOGRAM) {
                render_histogram(&out, f, s);
            } else {
                render_value(&out, f, s);
            }
        }
        if (f->list != NULL) {
            render_list(&out, f);
        }
    }
    flush(&out);
}
