/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Subscribers near the end of the log share blocks, and those who lag behind it together; one that
 * is farther behind than the last batches of the release stage, and than all blocks, encodes for
 * itself, since nobody else needs the same, and its blocks would drive the newest ones out.
 *
 * A network thread remembers the last block of each format: of a thousand subscribers that it wakes
 * for a batch, one looks into the store.
 */
#include "weaseldb/feed.h"

#include "base/check.h"
#include "base/thread.h"

#include <stdlib.h>
#include <string.h>

enum { MARKS = sizeof((struct feed *)NULL)->marks / sizeof(uint64_t) };

/* The calling thread's part of the only feed of this process. */
static _Thread_local struct feed_thread *own;

static void lock(struct feed *feed)
{
    CHECK(pthread_mutex_lock(&feed->lock) == 0);
}

static void unlock(struct feed *feed)
{
    CHECK(pthread_mutex_unlock(&feed->lock) == 0);
}

/* ---- metrics ---- */

static int64_t read_subscribers(void *context)
{
    struct feed *feed = context;
    lock(feed);
    uint32_t count = feed->subscribers;
    unlock(feed);
    return count;
}

static int64_t read_lag_max(void *context)
{
    const struct feed *feed = context;
    uint64_t least = FEED_SLOT_FREE;
    for (uint32_t i = 0; i < feed->config.subscribers_max; i++) {
        /* relaxed: a number of about now; pairs with nothing */
        uint64_t version = atomic_load_explicit(&feed->slots[i].version, memory_order_relaxed);
        least = version < least ? version : least;
    }
    uint64_t durable = commit_version_info(feed->config.commits).version;
    return least < durable ? (int64_t)(durable - least) : 0;
}

static int64_t read_blocks_made(void *context)
{
    const struct feed *feed = context;
    return (int64_t)feed_blocks_stats(feed->blocks).made;
}

static int64_t read_blocks_bytes(void *context)
{
    const struct feed *feed = context;
    return (int64_t)feed_blocks_stats(feed->blocks).bytes;
}

static void add_metrics(struct feed *feed)
{
    static const struct metrics_callback families[] = {
        {METRICS_GAUGE, METRICS_PLAIN, "weaseldb_subscribers", "Feeds that are open.",
         read_subscribers},
        {METRICS_GAUGE, METRICS_PLAIN, "weaseldb_subscriber_lag_max_versions",
         "How far the slowest feed is behind the latest durable version.", read_lag_max},
        {METRICS_COUNTER, METRICS_PLAIN, "weaseldb_subscriber_blocks_total",
         "Pieces of batches encoded for all feeds together.", read_blocks_made},
        {METRICS_GAUGE, METRICS_BYTES, "weaseldb_subscriber_shared_bytes",
         "Memory of the pieces that feeds share.", read_blocks_bytes},
    };
    static const char *const endings[FEED_ENDINGS] = {"client", "drain", "gone", "damaged",
                                                      "failed"};
    metrics_callbacks_register(feed->metrics, families, sizeof families / sizeof families[0], feed);
    struct metrics_family *ended = metrics_family_register(
        feed->metrics, METRICS_COUNTER, METRICS_PLAIN, "weaseldb_subscriptions_ended_total",
        "Feeds that are over, by why.");
    for (unsigned i = 0; i < FEED_ENDINGS; i++) {
        feed->endings[i] = metrics_counter_register(
            ended, (const struct metrics_label[]){{"reason", endings[i]}}, 1);
    }
    feed->refused = metrics_counter_register(
        metrics_family_register(feed->metrics, METRICS_COUNTER, METRICS_PLAIN,
                                "weaseldb_subscriptions_refused_total",
                                "Feeds refused because subscribe.max_subscribers were open."),
        NULL, 0);
}

/* ---- life ---- */

enum err feed_open(const struct feed_config *config, struct server *server, struct feed **out)
{
    struct feed *feed = aligned_alloc(64, sizeof *feed);
    if (feed == NULL) {
        return ERR_MEMORY;
    }
    memset(feed, 0, sizeof *feed);
    feed->config = *config;
    feed->server = server;
    feed->metrics = server_metrics(server);
    CHECK(pthread_mutex_init(&feed->lock, NULL) == 0);
    uint64_t version = commit_version_info(config->commits).version;
    for (unsigned i = 0; i < MARKS; i++) {
        feed->marks[i] = version;
    }
    atomic_init(&feed->near_version, version);
    feed->slots = aligned_alloc(64, config->subscribers_max * sizeof *feed->slots);
    if (feed->slots == NULL || feed_blocks_open(config->shared_bytes, &feed->blocks) != OK) {
        feed_close(feed);
        return ERR_MEMORY;
    }
    for (uint32_t i = 0; i < config->subscribers_max; i++) {
        atomic_init(&feed->slots[i].version, FEED_SLOT_FREE);
        feed->slots[i].next_free = feed->free;
        feed->free = &feed->slots[i];
    }
    add_metrics(feed);
    *out = feed;
    return OK;
}

void feed_close(struct feed *feed)
{
    if (feed == NULL) {
        return;
    }
    CHECK(feed->subscribers == 0);
    while (feed->threads != NULL) {
        struct feed_thread *thread = feed->threads;
        feed->threads = thread->next;
        for (unsigned i = 0; i < FEED_FORMATS; i++) {
            feed_block_give(&thread->recent[i]);
        }
        log_cursor_reader_close(thread->reader);
        free(thread);
    }
    feed_blocks_close(feed->blocks);
    CHECK(pthread_mutex_destroy(&feed->lock) == 0);
    free(feed->slots);
    free(feed);
}

struct feed_thread *feed_thread_own(struct feed *feed)
{
    thread_check(ROLE_NETWORK);
    if (own != NULL) {
        return own;
    }
    struct feed_thread *thread = calloc(1, sizeof *thread);
    if (thread == NULL || log_cursor_reader_open(feed->config.log, &thread->reader) != OK) {
        free(thread);
        return NULL;
    }
    thread->cells = metrics_cells_try_open(feed->metrics);
    if (thread->cells == NULL) {
        log_cursor_reader_close(thread->reader);
        free(thread);
        return NULL;
    }
    lock(feed);
    thread->next = feed->threads;
    feed->threads = thread;
    unlock(feed);
    own = thread;
    return thread;
}

/* ---- subscribers ---- */

struct feed_slot *feed_try_subscribe(struct feed *feed, uint64_t version)
{
    lock(feed);
    struct feed_slot *slot = feed->free;
    if (slot != NULL) {
        feed->free = slot->next_free;
        feed->subscribers++;
        /* relaxed: a number for metrics; pairs with nothing */
        atomic_store_explicit(&slot->version, version, memory_order_relaxed);
    }
    unlock(feed);
    return slot;
}

void feed_unsubscribe(struct feed *feed, struct feed_slot **slot)
{
    lock(feed);
    /* relaxed: a number for metrics; pairs with nothing */
    atomic_store_explicit(&(*slot)->version, FEED_SLOT_FREE, memory_order_relaxed);
    (*slot)->next_free = feed->free;
    feed->free = *slot;
    CHECK(feed->subscribers > 0);
    feed->subscribers--;
    unlock(feed);
    *slot = NULL;
}

enum feed_step feed_take_block(struct feed *feed, struct feed_thread *thread,
                               enum feed_format format, const struct feed_position *position,
                               uint64_t durable, struct feed_block **out)
{
    struct feed_block **recent = &thread->recent[format];
    if (*recent == NULL || !feed_block_is_at(*recent, format, position)) {
        struct feed_block *block = NULL;
        enum feed_step step =
            feed_blocks_take(feed->blocks, thread->reader, format, position, durable, &block);
        if (block == NULL) {
            return step;
        }
        feed_block_give(recent);
        *recent = block;
    }
    *out = feed_block_share(*recent);
    return FEED_MORE;
}

void feed_durable_moved(struct feed *feed)
{
    /* relaxed: whether to share is a guess; pairs with feed_is_near() */
    atomic_store_explicit(&feed->near_version, feed->marks[feed->mark_next], memory_order_relaxed);
    feed->marks[feed->mark_next] = commit_version_info(feed->config.commits).version;
    feed->mark_next = (feed->mark_next + 1) % MARKS;
    server_wake_streams(feed->server);
}
