/* SPDX-License-Identifier: Apache-2.0 */
/*
 * feed: what all subscribers of this process share: the newest encoded batches, a reader for each
 * network thread, and where each subscriber stands.
 *
 * Runs on:  feed_open() and feed_close(): the main thread, while no network thread runs.
 *           feed_thread_own() and subscribers: network threads. feed_durable_moved(): the release
 *           stage's. Metrics: any.
 * Blocks:   see feed_blocks_take() and the log's reader; feed_durable_moved() never.
 */
#ifndef WEASELDB_FEED_H
#define WEASELDB_FEED_H

#include "base/metrics.h"
#include "commit/commit.h"
#include "engine/server.h"
#include "weaseldb/feed_blocks.h"

struct feed_config {
    const struct commit_service *commits; /* outlives the feed */
    struct log *log;                      /* likewise */
    uint32_t progress_interval_ms;
    uint32_t subscribers_max;
    uint64_t shared_bytes;
};

/* Why a subscription is over. */
enum feed_ending {
    FEED_ENDED_BY_CLIENT, /* gone, or cut because it did not read */
    FEED_ENDED_BY_DRAIN,
    FEED_ENDED_GONE,
    FEED_ENDED_DAMAGED,
    FEED_ENDED_FAILED,
    FEED_ENDINGS,
};

/* One network thread's. */
struct feed_thread {
    struct feed_thread *next;
    struct log_cursor_reader *reader;
    struct feed_block *recent[FEED_FORMATS]; /* the last that was asked for */
    struct metrics_cells *cells;
};

/* How far a subscriber is. */
struct feed_slot {
    _Alignas(64) _Atomic uint64_t version; /* FEED_SLOT_FREE: nobody's */
    struct feed_slot *next_free;
};
#define FEED_SLOT_FREE UINT64_MAX

struct feed {
    /* Fixed after open. */
    struct feed_config config;
    struct server *server;
    struct metrics *metrics;
    struct feed_blocks *blocks;
    struct feed_slot *slots;
    struct metrics_counter endings[FEED_ENDINGS];
    struct metrics_counter refused;

    /* The release stage's. */
    uint64_t marks[64]; /* durable versions of its last batches */
    uint32_t mark_next;

    /* Under `lock`. */
    pthread_mutex_t lock;
    struct feed_thread *threads;
    struct feed_slot *free;
    uint32_t subscribers;

    /* Shared. */
    _Alignas(64) _Atomic uint64_t near_version; /* what is behind it is shared */
};

/* Registers its metrics. ERR_MEMORY. */
enum err feed_open(const struct feed_config *config, struct server *server,
                   struct feed **out) WARN_UNUSED;
void feed_close(struct feed *feed); /* NULL is allowed */

/* The calling network thread's part, made at the first call; NULL: no memory. */
struct feed_thread *feed_thread_own(struct feed *feed);

/* A place for one more subscriber; NULL: there are enough. */
struct feed_slot *feed_try_subscribe(struct feed *feed, uint64_t version);
void feed_unsubscribe(struct feed *feed, struct feed_slot **slot);

/* The block at `position`, as feed_blocks_take(). */
enum feed_step feed_take_block(struct feed *feed, struct feed_thread *thread,
                               enum feed_format format, const struct feed_position *position,
                               uint64_t durable, struct feed_block **out);

/* Whether the batch with that version is one of the newest. */
static inline bool feed_is_near(const struct feed *feed, uint64_t version)
{
    /* relaxed: whether to share is a guess; pairs with feed_durable_moved() */
    return version > atomic_load_explicit(&feed->near_version, memory_order_relaxed);
}

/* Subscribers shall look. */
void feed_durable_moved(struct feed *feed);

#endif
