/* SPDX-License-Identifier: Apache-2.0 */
/*
 * subscribers: clients of the feed in a simulated run, with the real encoder, filter and shared
 * blocks over the real cursors; what HTTP adds to them (src/weaseldb/subscribe.c) is played here.
 *
 * Each client keeps the account that docs/feed.md asks of it, the id of its last whole event, and
 * compares every byte that it gets with the event that the model says must come next. So nothing
 * may be lost, repeated, out of order, or told before it is durable.
 *
 * Runs on: the thread of the run. Owns: readers, blocks and clients. Borrows: the rest.
 */
#ifndef SIMULATION_SUBSCRIBERS_H
#define SIMULATION_SUBSCRIBERS_H

#include "base/random.h"
#include "commitlog/storage_sim.h"
#include "simulation/model.h"

struct subscribers; /* simulation/subscribers.c */

/* `count` clients, none of them connected. */
struct subscribers *subscribers_open(struct random *random, struct model *model,
                                     struct storage_sim *sim, uint32_t count);
void subscribers_close(struct subscribers *subscribers);

/* The server's side begins, and ends: then every client is cut off, wherever it is. Their accounts
 * stay. */
void subscribers_start(struct subscribers *subscribers, struct log *log,
                       const struct commit_service *service);
void subscribers_stop(struct subscribers *subscribers);

/* Some client connects, takes something, or goes away. */
void subscribers_step(struct subscribers *subscribers);

/* How many places are in segments that are no part of the log any more. */
unsigned subscribers_in_removed_segments(const struct subscribers *subscribers);

/* A repair has taken back what comes after `version`, and with it what clients know. */
void subscribers_forget(struct subscribers *subscribers, uint64_t version);

uint64_t subscribers_events(const struct subscribers *subscribers); /* told so far */

#endif
