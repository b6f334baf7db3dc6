/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/bench_report.h"

#include <inttypes.h>
#include <stdio.h>

static const struct {
    const char *name;      /* in JSON */
    const char *text_name; /* for people */
    double quantile;
} QUANTILES[] = {{"p50", "p50", 0.5},
                 {"p90", "p90", 0.9},
                 {"p99", "p99", 0.99},
                 {"p999", "p99.9", 0.999},
                 {"max", "max", 1}};

enum { QUANTILE_COUNT = sizeof QUANTILES / sizeof QUANTILES[0] };

/* "1.23 ms", in the unit that suits. */
static const char *duration(uint64_t ns, char out[static 32])
{
    double value = (double)ns;
    const char *unit = "ns";
    if (ns >= 1000000000) {
        value /= 1e9;
        unit = "s";
    } else if (ns >= 1000000) {
        value /= 1e6;
        unit = "ms";
    } else if (ns >= 1000) {
        value /= 1e3;
        unit = "us";
    }
    (void)snprintf(out, 32, "%.*f %s", value < 10 ? 2 : value < 100 ? 1 : 0, value, unit);
    return out;
}

void bench_report_second(const struct bench_counts *second, uint64_t elapsed_ms)
{
    char p50[32];
    char p99[32];
    (void)fprintf(stderr,
                  "\r\033[K%5.0f s  %8" PRIu64 " committed/s  p50 %s  p99 %s  conflicts %" PRIu64
                  "  shed %" PRIu64 "  errors %" PRIu64,
                  (double)elapsed_ms / 1000, second->committed,
                  duration(histogram_quantile(&second->latency_ns, 0.5), p50),
                  duration(histogram_quantile(&second->latency_ns, 0.99), p99), second->refused,
                  second->shed, second->errors);
}

void bench_report_clear(void)
{
    (void)fputs("\r\033[K", stderr);
}

static double per_second(uint64_t count, const struct bench_outcome *outcome)
{
    return outcome->seconds > 0 ? (double)count / outcome->seconds : 0;
}

static double cpu_us_per_request(const struct bench_outcome *outcome)
{
    return outcome->counts.requests == 0
               ? 0
               : outcome->cpu_seconds * 1e6 / (double)outcome->counts.requests;
}

void bench_report_text(const struct bench_plan *plan, const struct bench_outcome *outcome)
{
    const struct bench_counts *counts = &outcome->counts;
    char text[32];
    if (plan->rate > 0) {
        (void)printf("open loop: %g transactions a second over %" PRIu32 " connections\n",
                     plan->rate, plan->clients);
    } else {
        (void)printf("closed loop: %" PRIu32 " connections\n", plan->clients);
    }
    (void)printf("  %-11s %12" PRIu64 "   %.0f/s over %.2f s\n", "committed", counts->committed,
                 per_second(counts->committed, outcome), outcome->seconds);
    (void)printf("  %-11s %12" PRIu64 "   %" PRIu64 " of them made to be\n", "conflicts",
                 counts->refused, outcome->made_conflicts);
    (void)printf("  %-11s %12" PRIu64 "   the server had no room for them (503)\n", "shed",
                 counts->shed);
    (void)printf("  %-11s %12" PRIu64 "\n", "errors", counts->errors);
    if (plan->rate > 0) {
        (void)printf("  %-11s %12" PRIu64 "   requests that were due, with all connections busy\n",
                     "unsent", outcome->unsent);
    }
    (void)printf("latency of %s\n", plan->rate > 0
                                        ? "requests, from when they were meant to be sent"
                                        : "requests; with --rate, waiting to be sent counts too");
    for (size_t i = 0; i < QUANTILE_COUNT; i++) {
        (void)printf(
            "  %-11s %12s\n", QUANTILES[i].text_name,
            duration(histogram_quantile(&counts->latency_ns, QUANTILES[i].quantile), text));
    }
    (void)printf("this program used %.2f us of CPU a request\n", cpu_us_per_request(outcome));
}

void bench_report_json(const struct bench_plan *plan, const struct bench_outcome *outcome)
{
    static const char *const distributions[] = {"uniform", "zipf", "sequential"};
    const struct bench_counts *counts = &outcome->counts;
    const struct bench_shape *shape = plan->shape;
    (void)printf("{\"clients\":%" PRIu32 ",\"rate\":%g,\"batch\":%" PRIu32
                 ",\"operations\":%" PRIu32 ",\"reads\":%" PRIu32 ",\"value_bytes\":%" PRIu32
                 ",\"keys\":%" PRIu64 ",\"distribution\":\"%s\",\"check_share\":%g,"
                 "\"conflict_share\":%g,\"format\":\"%s\",",
                 plan->clients, plan->rate, shape->batch, shape->operations, shape->reads,
                 shape->value_bytes, plan->keys->count, distributions[plan->keys->distribution],
                 shape->check_share, shape->conflict_share,
                 shape->format == BENCH_JSON ? "json" : "protobuf");
    (void)printf("\"seconds\":%.3f,\"requests\":%" PRIu64 ",\"committed\":%" PRIu64
                 ",\"conflicts\":%" PRIu64 ",\"conflicts_made\":%" PRIu64 ",\"shed\":%" PRIu64
                 ",\"errors\":%" PRIu64 ",\"unsent\":%" PRIu64 ",\"committed_per_second\":%.1f,",
                 outcome->seconds, counts->requests, counts->committed, counts->refused,
                 outcome->made_conflicts, counts->shed, counts->errors, outcome->unsent,
                 per_second(counts->committed, outcome));
    (void)printf("\"latency_us\":{\"mean\":%.1f", histogram_mean(&counts->latency_ns) / 1000);
    for (size_t i = 0; i < QUANTILE_COUNT; i++) {
        uint64_t ns = histogram_quantile(&counts->latency_ns, QUANTILES[i].quantile);
        (void)printf(",\"%s\":%.1f", QUANTILES[i].name, (double)ns / 1000);
    }
    (void)printf("},\"client_cpu_us_per_request\":%.3f}\n", cpu_us_per_request(outcome));
}
