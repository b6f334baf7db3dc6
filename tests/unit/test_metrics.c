/* SPDX-License-Identifier: Apache-2.0 */
/* Metrics: the exact text, merging over threads, which bucket a value falls into, wrong names. */
#include "base/metrics.h"
#include "base/thread.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "support/dies.h"

struct text {
    char data[65536];
    size_t size;
    size_t writes;
};

static void append(void *context, const char *data, size_t size)
{
    struct text *text = context;
    assert_true(size > 0 && size < sizeof text->data - text->size);
    memcpy(text->data + text->size, data, size);
    text->size += size;
    text->data[text->size] = '\0';
    text->writes++;
}

static const char *render(struct metrics *metrics)
{
    static struct text text;
    text.size = 0;
    text.writes = 0;
    text.data[0] = '\0';
    metrics_render(metrics, (struct metrics_sink){append, &text});
    return text.data;
}

static struct metrics_counter plain_counter(struct metrics *metrics, const char *name)
{
    return metrics_counter_register(
        metrics_family_register(metrics, METRICS_COUNTER, METRICS_PLAIN, name, "h"), NULL, 0);
}

static void an_empty_registry_renders_nothing(void **state)
{
    (void)state;
    struct metrics *metrics = metrics_open();
    assert_string_equal(render(metrics), "");
    (void)metrics_family_register(metrics, METRICS_COUNTER, METRICS_PLAIN, "none_total", "h");
    assert_string_equal(render(metrics), "");
    metrics_close(metrics);
    metrics_close(NULL);
}

struct listed {
    const char *names[3];
    int64_t values[3];
};

static void list_all(void *context, struct metrics_list *list)
{
    const struct listed *listed = context;
    for (int i = 0; i < 3 && listed->names[i] != NULL; i++) {
        metrics_list_add(list, listed->names[i], listed->values[i]);
    }
}

static void lists_are_asked_at_each_scrape(void **state)
{
    (void)state;
    struct metrics *metrics = metrics_open();
    struct listed listed = {{NULL}, {0}};
    metrics_list_register(
        metrics_family_register(metrics, METRICS_GAUGE, METRICS_NANOSECONDS, "lag_seconds", "h"),
        "policy", list_all, &listed);
    (void)metrics_cells_open(metrics);
    assert_string_equal(render(metrics), "");
    listed = (struct listed){{"a", "b\"\\\nc", NULL}, {1500000000, -1, 0}};
    assert_string_equal(render(metrics), "# HELP lag_seconds h\n"
                                         "# TYPE lag_seconds gauge\n"
                                         "lag_seconds{policy=\"a\"} 1.5\n"
                                         "lag_seconds{policy=\"b\\\"\\\\\\nc\"} -0.000000001\n");
    listed = (struct listed){{"z", NULL}, {0}};
    assert_string_equal(render(metrics), "# HELP lag_seconds h\n"
                                         "# TYPE lag_seconds gauge\n"
                                         "lag_seconds{policy=\"z\"} 0\n");
    metrics_close(metrics);
}

static int64_t read_number(void *context)
{
    return *(const int64_t *)context;
}

static void counters_and_gauges_have_exact_text(void **state)
{
    (void)state;
    struct metrics *metrics = metrics_open();
    struct metrics_family *requests = metrics_family_register(
        metrics, METRICS_COUNTER, METRICS_PLAIN, "requests_total", "Back\\slash,\n\"line\".");
    struct metrics_counter gets = metrics_counter_register(
        requests, (struct metrics_label[]){{"method", "GET"}, {"route", "/\"a\"\\\n"}}, 2);
    struct metrics_counter puts =
        metrics_counter_register(requests, (struct metrics_label[]){{"method", "PUT"}}, 1);
    struct metrics_gauge open = metrics_gauge_register(
        metrics_family_register(metrics, METRICS_GAUGE, METRICS_BYTES, "memory_bytes", "Held."),
        NULL, 0);
    struct metrics_counter cpu = metrics_counter_register(
        metrics_family_register(metrics, METRICS_COUNTER, METRICS_NANOSECONDS, "cpu_seconds_total",
                                "Used."),
        NULL, 0);
    int64_t offset = -1500000000;
    int64_t version = 41;
    metrics_callback_register(metrics_family_register(metrics, METRICS_GAUGE, METRICS_NANOSECONDS,
                                                      "offset_seconds", "Off."),
                              NULL, 0, read_number, &offset);
    metrics_callback_register(
        metrics_family_register(metrics, METRICS_GAUGE, METRICS_PLAIN, "ns:version", "V."),
        (struct metrics_label[]){{"log", "a"}}, 1, read_number, &version);

    struct metrics_cells *cells = metrics_cells_open(metrics);
    metrics_add(cells, gets, 3);
    metrics_add(cells, gets, 4);
    metrics_add(cells, puts, UINT64_C(1) << 63);
    metrics_gauge_add(cells, open, 10);
    metrics_gauge_add(cells, open, -14);
    metrics_add(cells, cpu, 12000000340);
    version++;
    assert_string_equal(render(metrics),
                        "# HELP requests_total Back\\\\slash,\\n\"line\".\n"
                        "# TYPE requests_total counter\n"
                        "requests_total{method=\"GET\",route=\"/\\\"a\\\"\\\\\\n\"} 7\n"
                        "requests_total{method=\"PUT\"} 9223372036854775808\n"
                        "# HELP memory_bytes Held.\n"
                        "# TYPE memory_bytes gauge\n"
                        "memory_bytes -4\n"
                        "# HELP cpu_seconds_total Used.\n"
                        "# TYPE cpu_seconds_total counter\n"
                        "cpu_seconds_total 12.00000034\n"
                        "# HELP offset_seconds Off.\n"
                        "# TYPE offset_seconds gauge\n"
                        "offset_seconds -1.5\n"
                        "# HELP ns:version V.\n"
                        "# TYPE ns:version gauge\n"
                        "ns:version{log=\"a\"} 42\n");
    metrics_close(metrics);
}

static void histograms_have_exact_text(void **state)
{
    (void)state;
    static const uint64_t latency[] = {100000, 2500000, 1000000000, 60000000000};
    static const uint64_t sizes[] = {0, 10};
    struct metrics *metrics = metrics_open();
    struct metrics_histogram seconds = metrics_histogram_register(
        metrics_histogram_family_register(metrics, METRICS_NANOSECONDS, "latency_seconds", "L.",
                                          latency, 4),
        (struct metrics_label[]){{"route", "/"}}, 1);
    struct metrics_histogram bytes = metrics_histogram_register(
        metrics_histogram_family_register(metrics, METRICS_PLAIN, "batch_items", "B.", sizes, 2),
        NULL, 0);
    struct metrics_cells *cells = metrics_cells_open(metrics);
    static const uint64_t values[] = {0, 100000, 100001, 2500000, 999999999, 60000000001};
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        metrics_observe(cells, seconds, values[i]);
    }
    metrics_observe(cells, bytes, 0);
    metrics_observe(cells, bytes, 7);
    metrics_observe(cells, bytes, 11);
    assert_string_equal(render(metrics), "# HELP latency_seconds L.\n"
                                         "# TYPE latency_seconds histogram\n"
                                         "latency_seconds_bucket{route=\"/\",le=\"0.0001\"} 2\n"
                                         "latency_seconds_bucket{route=\"/\",le=\"0.0025\"} 4\n"
                                         "latency_seconds_bucket{route=\"/\",le=\"1\"} 5\n"
                                         "latency_seconds_bucket{route=\"/\",le=\"60\"} 5\n"
                                         "latency_seconds_bucket{route=\"/\",le=\"+Inf\"} 6\n"
                                         "latency_seconds_sum{route=\"/\"} 61.002700001\n"
                                         "latency_seconds_count{route=\"/\"} 6\n"
                                         "# HELP batch_items B.\n"
                                         "# TYPE batch_items histogram\n"
                                         "batch_items_bucket{le=\"0\"} 1\n"
                                         "batch_items_bucket{le=\"10\"} 2\n"
                                         "batch_items_bucket{le=\"+Inf\"} 3\n"
                                         "batch_items_sum 18\n"
                                         "batch_items_count 3\n");
    metrics_close(metrics);
}

/* The bucket as its definition says, to compare the quick way with. */
static size_t naive_bucket(const uint64_t *bounds, size_t count, uint64_t value)
{
    size_t bucket = 0;
    while (bucket < count && value > bounds[bucket]) {
        bucket++;
    }
    return bucket;
}

static void values_fall_into_the_right_bucket(void **state)
{
    (void)state;
    uint64_t bounds[METRICS_BOUNDS_MAX];
    for (size_t i = 0; i < METRICS_BOUNDS_MAX; i++) {
        /* some far apart, some in the same power of two, one that is almost the last number */
        bounds[i] = i < 30 ? i * i : (UINT64_C(1) << i) + i;
    }
    bounds[METRICS_BOUNDS_MAX - 1] = UINT64_MAX - 1;
    struct metrics *metrics = metrics_open();
    struct metrics_histogram histogram = metrics_histogram_register(
        metrics_histogram_family_register(metrics, METRICS_PLAIN, "h", "h", bounds,
                                          METRICS_BOUNDS_MAX),
        NULL, 0);
    struct metrics_cells *cells = metrics_cells_open(metrics);
    for (unsigned bit = 0; bit <= 64; bit++) {
        uint64_t base = bit == 64 ? 0 : UINT64_C(1) << bit;
        for (uint64_t delta = 0; delta < 200; delta++) {
            for (int sign = 0; sign < 2; sign++) {
                uint64_t value = sign == 0 ? base + delta : base - delta;
                size_t expected = naive_bucket(bounds, METRICS_BOUNDS_MAX, value);
                uint64_t before = atomic_load(&cells->values[histogram.cell + expected]);
                metrics_observe(cells, histogram, value);
                assert_true(atomic_load(&cells->values[histogram.cell + expected]) == before + 1);
            }
        }
    }
    metrics_close(metrics);
}

enum { THREADS = 4, ROUNDS = 20000 };

struct worker {
    struct thread thread;
    struct metrics *metrics;
    struct metrics_counter counter;
    struct metrics_gauge gauge;
    struct metrics_histogram histogram;
    int64_t change;
};

static void count(void *argument)
{
    struct worker *worker = argument;
    struct metrics_cells *cells = metrics_cells_open(worker->metrics);
    for (unsigned i = 0; i < ROUNDS; i++) {
        metrics_add(cells, worker->counter, 2);
        metrics_gauge_add(cells, worker->gauge, worker->change);
        metrics_observe(cells, worker->histogram, i & 1);
    }
}

static uint64_t value_of(const char *text, const char *line_start)
{
    const char *at = strstr(text, line_start);
    assert_non_null(at);
    return strtoull(at + strlen(line_start), NULL, 10);
}

static void threads_are_summed_while_they_count_and_after_they_ended(void **state)
{
    (void)state;
    static const uint64_t bounds[] = {0};
    struct metrics *metrics = metrics_open();
    struct worker workers[THREADS] = {{.metrics = metrics}};
    workers[0].counter = plain_counter(metrics, "c_total");
    workers[0].gauge = metrics_gauge_register(
        metrics_family_register(metrics, METRICS_GAUGE, METRICS_PLAIN, "g", "h"), NULL, 0);
    workers[0].histogram = metrics_histogram_register(
        metrics_histogram_family_register(metrics, METRICS_PLAIN, "h", "h", bounds, 1), NULL, 0);
    for (int i = 0; i < THREADS; i++) {
        workers[i] = workers[0];
        workers[i].change = i % 2 == 0 ? 3 : -3;
    }
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(
            thread_start(&workers[i].thread, "count", ROLE_NETWORK, count, &workers[i]), OK);
    }
    uint64_t last = 0;
    for (int i = 0; i < 200; i++) {
        const char *text = render(metrics);
        uint64_t now = value_of(text, "\nc_total ");
        assert_true(now >= last && now <= 2 * THREADS * ROUNDS);
        assert_true(value_of(text, "h_bucket{le=\"+Inf\"} ") == value_of(text, "h_count "));
        last = now;
    }
    for (int i = 0; i < THREADS; i++) {
        thread_join(&workers[i].thread);
    }
    assert_string_equal(render(metrics), "# HELP c_total h\n"
                                         "# TYPE c_total counter\n"
                                         "c_total 160000\n"
                                         "# HELP g h\n"
                                         "# TYPE g gauge\n"
                                         "g 0\n"
                                         "# HELP h h\n"
                                         "# TYPE h histogram\n"
                                         "h_bucket{le=\"0\"} 40000\n"
                                         "h_bucket{le=\"+Inf\"} 80000\n"
                                         "h_sum 40000\n"
                                         "h_count 80000\n");
    metrics_close(metrics);
}

static void blocks_have_cache_lines_of_their_own(void **state)
{
    (void)state;
    struct metrics *metrics = metrics_open();
    struct metrics_counter counter = plain_counter(metrics, "c_total");
    for (int i = 0; i < 10; i++) {
        struct metrics_cells *cells = metrics_cells_open(metrics);
        assert_int_equal((uintptr_t)cells % 128, 0);
        metrics_add(cells, counter, 1);
    }
    assert_true(value_of(render(metrics), "\nc_total ") == 10);
    metrics_close(metrics);
}

static void long_texts_arrive_whole_and_in_few_pieces(void **state)
{
    (void)state;
    struct metrics *metrics = metrics_open();
    char help[6000];
    memset(help, 'x', sizeof help);
    help[sizeof help - 1] = '\0';
    struct metrics_family *family =
        metrics_family_register(metrics, METRICS_COUNTER, METRICS_PLAIN, "c_total", help);
    char expected[30000];
    size_t size = (size_t)snprintf(expected, sizeof expected,
                                   "# HELP c_total %s\n# TYPE c_total counter\n", help);
    for (int i = 0; i < 500; i++) {
        char value[12];
        (void)snprintf(value, sizeof value, "%d", i);
        (void)metrics_counter_register(family, (struct metrics_label[]){{"n", value}}, 1);
        size +=
            (size_t)snprintf(expected + size, sizeof expected - size, "c_total{n=\"%d\"} 0\n", i);
    }
    static struct text text;
    text.size = 0;
    text.writes = 0;
    metrics_render(metrics, (struct metrics_sink){append, &text});
    assert_int_equal(text.size, size);
    assert_string_equal(text.data, expected);
    assert_true(text.writes < 10);
    metrics_close(metrics);
}

static bool dies_as_family(enum metrics_type type, enum metrics_unit unit, const char *name)
{
    pid_t child = dies_fork();
    if (child == 0) {
        struct metrics *metrics = metrics_open();
        (void)metrics_family_register(metrics, type, unit, name, "h");
        _exit(0);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
}

static void names_are_those_prometheus_takes(void **state)
{
    (void)state;
    assert_false(dies_as_family(METRICS_GAUGE, METRICS_PLAIN, "a:B_9"));
    assert_true(dies_as_family(METRICS_GAUGE, METRICS_PLAIN, ""));
    assert_true(dies_as_family(METRICS_GAUGE, METRICS_PLAIN, "9a"));
    assert_true(dies_as_family(METRICS_GAUGE, METRICS_PLAIN, "a-b"));
    assert_true(dies_as_family(METRICS_GAUGE, METRICS_PLAIN, "\xc3\xa9"));
    assert_true(dies_as_family(METRICS_COUNTER, METRICS_PLAIN, "a"));
    assert_true(dies_as_family(METRICS_GAUGE, METRICS_PLAIN, "a_total"));
    assert_true(dies_as_family(METRICS_GAUGE, METRICS_PLAIN, "a_count"));
    assert_false(dies_as_family(METRICS_COUNTER, METRICS_BYTES, "a_bytes_total"));
    assert_true(dies_as_family(METRICS_COUNTER, METRICS_BYTES, "a_total"));
    assert_true(dies_as_family(METRICS_GAUGE, METRICS_NANOSECONDS, "a_ns"));
    assert_true(dies_as_family(METRICS_HISTOGRAM, METRICS_PLAIN, "a"));
}

static void wrong_registrations_are_a_defect(void **state)
{
    (void)state;
    static const uint64_t falling[] = {2, 1};
    struct metrics *metrics = metrics_open();
    struct metrics_family *counters =
        metrics_family_register(metrics, METRICS_COUNTER, METRICS_PLAIN, "c_total", "h");
    static const uint64_t one[] = {1};
    struct metrics_family *histograms =
        metrics_histogram_family_register(metrics, METRICS_PLAIN, "h", "h", one, 1);
    struct metrics_label label[] = {{"a", "1"}, {"a", "2"}};
    struct metrics_label dash[] = {{"a-b", "1"}};
    struct metrics_label colon[] = {{"a:b", "1"}};
    struct metrics_label reserved[] = {{"__a", "1"}};
    struct metrics_label le[] = {{"le", "1"}};

    assert_dies(metrics_family_register(metrics, METRICS_COUNTER, METRICS_PLAIN, "c_total", "h"));
    assert_dies(metrics_histogram_family_register(metrics, METRICS_PLAIN, "f", "h", falling, 2));
    assert_dies(metrics_histogram_family_register(metrics, METRICS_PLAIN, "f", "h", falling, 0));
    assert_dies(metrics_gauge_register(counters, NULL, 0).cell);
    assert_dies(metrics_counter_register(counters, label, 2).cell);
    assert_dies(metrics_counter_register(counters, dash, 1).cell);
    assert_dies(metrics_counter_register(counters, colon, 1).cell);
    assert_dies(metrics_counter_register(counters, reserved, 1).cell);
    assert_dies(metrics_histogram_register(histograms, le, 1).cell);

    (void)metrics_counter_register(counters, label, 1);
    assert_dies(metrics_counter_register(counters, label, 1).cell);
    (void)metrics_cells_open(metrics);
    assert_dies(metrics_counter_register(counters, NULL, 0).cell);
    metrics_close(metrics);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_registry_renders_nothing),
        cmocka_unit_test(counters_and_gauges_have_exact_text),
        cmocka_unit_test(histograms_have_exact_text),
        cmocka_unit_test(lists_are_asked_at_each_scrape),
        cmocka_unit_test(values_fall_into_the_right_bucket),
        cmocka_unit_test(threads_are_summed_while_they_count_and_after_they_ended),
        cmocka_unit_test(blocks_have_cache_lines_of_their_own),
        cmocka_unit_test(long_texts_arrive_whole_and_in_few_pieces),
        cmocka_unit_test(names_are_those_prometheus_takes),
        cmocka_unit_test(wrong_registrations_are_a_defect),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
