/* SPDX-License-Identifier: Apache-2.0 */
/*
 * endpoints: the server's own routes: /, /livez, /readyz, /metrics, and those of api_files.h.
 *
 * Runs on: endpoints_add() the main thread before the start; the handlers on network threads.
 */
#ifndef WEASELDB_ENDPOINTS_H
#define WEASELDB_ENDPOINTS_H

#include "commit/commit.h"
#include "engine/server.h"

/* A stage that has work and makes no progress for so long is not alive. */
enum { ENDPOINTS_STUCK_MS = 10000 };

/* Adds the routes and the process's own metrics. Once a process. */
enum err endpoints_add(struct server *server, const struct commit_service *commits) WARN_UNUSED;

#endif
