/* SPDX-License-Identifier: Apache-2.0 */
/*
 * commit_metrics: what /metrics shows of the commit service and its log.
 *
 * Most of it is read from them at a scrape; what comes a batch at a time (the time of its sync, its
 * size) is counted by the persist stage's thread.
 *
 * Runs on: commit_metrics_add() the main thread before the start; commit_metrics_persisted() the
 *          persist stage's. Blocks: a scrape asks the file system how much space it has.
 */
#ifndef WEASELDB_COMMIT_METRICS_H
#define WEASELDB_COMMIT_METRICS_H

#include "base/metrics.h"
#include "commit/commit.h"

struct commit_metrics_config {
    const struct commit_service *service; /* outlives the server, as the log does */
    struct log *log;
    const char *directory; /* of the log; likewise */
    uint64_t conflict_window_bytes_max;
    uint64_t request_ids_max;
    uint64_t recovery_ns; /* how long recovery took */
    bool relaxed;         /* log.durability is "none" */
};

/* Once a process, before the log's first batch: takes the log's observer. */
void commit_metrics_add(struct metrics *metrics, const struct commit_metrics_config *config);

/* The persist stage has handled a batch in `ns`. Counts only when that reached the log. */
void commit_metrics_persisted(uint64_t ns);

#endif
