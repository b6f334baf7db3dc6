/* SPDX-License-Identifier: Apache-2.0 */
/*
 * subscribe: GET /v1/subscribe, the feed of all transactions from a version on.
 *
 * Runs on: subscribe_add() the main thread before the start; the rest on network threads.
 */
#ifndef WEASELDB_SUBSCRIBE_H
#define WEASELDB_SUBSCRIBE_H

#include "engine/server.h"
#include "weaseldb/feed.h"

/* Once a process; `feed` outlives the server's threads. */
enum err subscribe_add(struct server *server, struct feed *feed) WARN_UNUSED;

#endif
