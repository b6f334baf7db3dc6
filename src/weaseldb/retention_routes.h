/* SPDX-License-Identifier: Apache-2.0 */
/*
 * retention_routes: PUT, GET and DELETE of /v1/retention/{id}, GET /v1/retention.
 *
 * What reads is answered on network threads. What changes a policy goes through the pipeline
 * `retention`, whose one thread may wait for the disk: it is durable before it is answered.
 *
 * Runs on: retention_routes_add() the main thread before the start; the rest as said.
 */
#ifndef WEASELDB_RETENTION_ROUTES_H
#define WEASELDB_RETENTION_ROUTES_H

#include "commit/commit.h"
#include "engine/server.h"

struct retention_routes_config {
    const struct commit_service *service; /* outlives the server */
    struct log *log;                      /* likewise */
    uint32_t policies_max;                /* retention.max_policies */
    /* On a service thread: the log has failed, and the process must end. */
    void (*log_failed)(void);
};

/* Once a process. ERR_MEMORY, ERR_INVALID. */
enum err retention_routes_add(struct server *server,
                              const struct retention_routes_config *config) WARN_UNUSED;

#endif
