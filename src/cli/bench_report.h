/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench_report: what a benchmark shows while it runs, and at its end.
 *
 * Runs on: the main thread.
 */
#ifndef CLI_BENCH_REPORT_H
#define CLI_BENCH_REPORT_H

#include "cli/bench_run.h"

/* One line on standard error, a terminal, written over by the next. */
void bench_report_second(const struct bench_counts *second, uint64_t elapsed_ms);
void bench_report_clear(void);

/* The result, to standard output. */
void bench_report_text(const struct bench_plan *plan, const struct bench_outcome *outcome);
void bench_report_json(const struct bench_plan *plan, const struct bench_outcome *outcome);

#endif
