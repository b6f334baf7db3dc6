/* SPDX-License-Identifier: Apache-2.0 */
/*
 * commit_routes: POST /v1/commit, POST /v1/commits, GET /v1/status and GET /v1/version.
 *
 * Network threads decode and check; the stages of the pipeline `commit_status` do the rest.
 *
 * Runs on: commit_routes_add() the main thread before the start; handlers on network threads,
 *          stages on the pipeline's.
 */
#ifndef WEASELDB_COMMIT_ROUTES_H
#define WEASELDB_COMMIT_ROUTES_H

#include "commit/commit.h"
#include "engine/server.h"
#include "weaseldb/commit_metrics.h"
#include "weaseldb/feed.h"

struct commit_routes_config {
    struct commit_service *service; /* outlives the server */
    struct commit_metrics_config metrics;
    struct txn_limits limits;
    uint64_t body_bytes_max;
    unsigned ring_buffer_size;
    unsigned threads;
    bool relaxed;      /* log.durability is "none": every answer says so */
    struct feed *feed; /* told when the durable version has moved */
    /* On a service thread, once: the log has failed, and the process must end. */
    void (*log_failed)(void);
};

/* Once a process. ERR_MEMORY, ERR_INVALID. */
enum err commit_routes_add(struct server *server,
                           const struct commit_routes_config *config) WARN_UNUSED;

#endif
