/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A hash table of blocks and a list of them in order of age, under one lock that is held for a
 * look-up only; and for each format a maker under a lock of its own.
 *
 * When a batch becomes durable, all network threads wake and want the same block. The first takes
 * the maker's lock and makes it; the others wait for that lock, then find the block. Waiting costs
 * less than making it again, and is bounded by one block: nobody holds the lock while waiting for
 * anything but the page cache. Makers work near the end of the log only, where it has just been
 * written.
 *
 * Edges: what is in a block was written before it was put into the table under `lock`, and whoever
 * finds it has taken `lock` after. The last reference frees it: giving one back is a release, and
 * the last one an acquire of all the others.
 */
#include "weaseldb/feed_blocks.h"

#include "base/check.h"

#include <stdlib.h>

enum { BUCKETS = 1024 };

struct maker {
    pthread_mutex_t lock;
    struct feed_encoder encoder;    /* where the last block ended, or nowhere */
    char scratch[FEED_BLOCK_BYTES]; /* a block is copied from here, since most are small */
};

struct feed_blocks {
    /* Fixed after open. */
    uint64_t bytes_max;

    /* Each under a lock of its own. */
    struct maker makers[FEED_FORMATS];

    /* Under `lock`. */
    pthread_mutex_t lock;
    struct feed_block *buckets[BUCKETS];
    struct feed_block *oldest;
    struct feed_block *newest;
    uint64_t bytes;
    uint64_t made;

    /* Shared. */
    _Atomic uint64_t first_batch; /* of the oldest block; UINT64_MAX: there is none */
};

/* Goes on for nobody. */
static const struct feed_position NOWHERE = {.is_partial = true};

static void lock(pthread_mutex_t *mutex)
{
    CHECK(pthread_mutex_lock(mutex) == 0);
}

static void unlock(pthread_mutex_t *mutex)
{
    CHECK(pthread_mutex_unlock(mutex) == 0);
}

enum err feed_blocks_open(uint64_t bytes_max, struct feed_blocks **out)
{
    struct feed_blocks *blocks = calloc(1, sizeof *blocks);
    if (blocks == NULL) {
        return ERR_MEMORY;
    }
    blocks->bytes_max = bytes_max;
    atomic_init(&blocks->first_batch, UINT64_MAX);
    CHECK(pthread_mutex_init(&blocks->lock, NULL) == 0);
    for (unsigned i = 0; i < FEED_FORMATS; i++) {
        CHECK(pthread_mutex_init(&blocks->makers[i].lock, NULL) == 0);
        blocks->makers[i].encoder =
            (struct feed_encoder){.format = (enum feed_format)i, .position = NOWHERE};
    }
    *out = blocks;
    return OK;
}

static struct feed_block **bucket_of(struct feed_blocks *blocks, enum feed_format format,
                                     uint64_t batch, uint64_t encoded)
{
    uint64_t hash = (batch * FEED_FORMATS + (uint64_t)format) * UINT64_C(0x9e3779b97f4a7c15);
    hash ^= encoded * UINT64_C(0xc2b2ae3d27d4eb4f);
    return &blocks->buckets[hash >> 32 & (BUCKETS - 1)];
}

/* Takes the oldest block out of the table. */
static void drop_oldest(struct feed_blocks *blocks)
{
    struct feed_block *block = blocks->oldest;
    struct feed_block **at = bucket_of(blocks, block->format, block->batch, block->encoded);
    while (*at != block) {
        CHECK(*at != NULL);
        at = &(*at)->bucket_next;
    }
    *at = block->bucket_next;
    blocks->oldest = block->newer;
    blocks->newest = blocks->oldest == NULL ? NULL : blocks->newest;
    blocks->bytes -= sizeof *block + block->size;
    feed_block_give(&block);
}

void feed_blocks_close(struct feed_blocks *blocks)
{
    if (blocks == NULL) {
        return;
    }
    while (blocks->oldest != NULL) {
        drop_oldest(blocks);
    }
    for (unsigned i = 0; i < FEED_FORMATS; i++) {
        feed_encoder_deinit(&blocks->makers[i].encoder);
        CHECK(pthread_mutex_destroy(&blocks->makers[i].lock) == 0);
    }
    CHECK(pthread_mutex_destroy(&blocks->lock) == 0);
    free(blocks);
}

bool feed_block_is_at(const struct feed_block *block, enum feed_format format,
                      const struct feed_position *position)
{
    return block->format == format && block->batch == position->cursor.place.batch &&
           block->encoded == position->encoded;
}

struct feed_block *feed_block_share(struct feed_block *block)
{
    /* relaxed: the caller has a reference already; pairs with nothing */
    uint32_t before = atomic_fetch_add_explicit(&block->references, 1, memory_order_relaxed);
    CHECK(before > 0);
    return block;
}

void feed_block_give(struct feed_block **block)
{
    struct feed_block *given = *block;
    *block = NULL;
    /* acq_rel: the last one to give pairs with all who gave before: they are done reading. */
    if (given != NULL &&
        atomic_fetch_sub_explicit(&given->references, 1, memory_order_acq_rel) == 1) {
        free(given);
    }
}

static struct feed_block *find(struct feed_blocks *blocks, enum feed_format format,
                               const struct feed_position *position)
{
    lock(&blocks->lock);
    struct feed_block *block =
        *bucket_of(blocks, format, position->cursor.place.batch, position->encoded);
    while (block != NULL && !feed_block_is_at(block, format, position)) {
        block = block->bucket_next;
    }
    if (block != NULL) {
        (void)feed_block_share(block);
    }
    unlock(&blocks->lock);
    return block;
}

/* Puts a new block into the table; the maker keeps the reference that it has. */
static void keep(struct feed_blocks *blocks, struct feed_block *block)
{
    lock(&blocks->lock);
    struct feed_block **bucket = bucket_of(blocks, block->format, block->batch, block->encoded);
    block->bucket_next = *bucket;
    *bucket = feed_block_share(block);
    if (blocks->newest != NULL) {
        blocks->newest->newer = block;
    } else {
        blocks->oldest = block;
    }
    blocks->newest = block;
    blocks->bytes += sizeof *block + block->size;
    blocks->made++;
    while (blocks->bytes > blocks->bytes_max) {
        drop_oldest(blocks);
    }
    /* relaxed: whether to share is a guess; pairs with feed_blocks_reach() */
    atomic_store_explicit(&blocks->first_batch,
                          blocks->oldest == NULL ? UINT64_MAX : blocks->oldest->batch,
                          memory_order_relaxed);
    unlock(&blocks->lock);
}

/* Under the maker's lock. */
static enum feed_step make(struct feed_blocks *blocks, struct maker *maker,
                           struct log_cursor_reader *reader, const struct feed_position *position,
                           uint64_t durable, struct feed_block **out)
{
    struct feed_encoder *encoder = &maker->encoder;
    bool goes_on = encoder->position.cursor.place.batch == position->cursor.place.batch &&
                   encoder->position.encoded == position->encoded && !encoder->position.is_partial;
    if (!goes_on) {
        encoder->position = *position;
    }
    size_t size;
    enum feed_step step =
        feed_encoder_run(encoder, reader, durable, maker->scratch, sizeof maker->scratch, &size);
    bool good = step == FEED_MORE || step == FEED_BATCH;
    /* Without a byte there is nothing to give: kept, what was done would be lost to the next one
     * who wants another batch, and so on in turns. */
    bool has_bytes = good && (size > 0 || step == FEED_BATCH);
    struct feed_block *block = has_bytes ? malloc(sizeof *block + size) : NULL;
    if (block == NULL) {
        feed_encoder_deinit(encoder);
        encoder->position = NOWHERE;
        return good ? FEED_MORE : step;
    }
    *block = (struct feed_block){.format = encoder->format,
                                 .size = (uint32_t)size,
                                 .batch = position->cursor.place.batch,
                                 .encoded = position->encoded,
                                 .end = encoder->position};
    memcpy(block->data, maker->scratch, size);
    atomic_init(&block->references, 1);
    keep(blocks, block);
    *out = block;
    return FEED_MORE;
}

enum feed_step feed_blocks_take(struct feed_blocks *blocks, struct log_cursor_reader *reader,
                                enum feed_format format, const struct feed_position *position,
                                uint64_t durable, struct feed_block **out)
{
    struct maker *maker = &blocks->makers[format];
    CHECK(!position->is_partial);
    CHECK(position->phase != FEED_IN_CHECK);
    if (position->phase == FEED_AT_BATCH && position->cursor.place.version > durable) {
        return FEED_END;
    }
    *out = find(blocks, format, position);
    if (*out != NULL) {
        return FEED_MORE;
    }
    lock(&maker->lock);
    *out = find(blocks, format, position);
    enum feed_step step = FEED_MORE;
    if (*out == NULL) {
        step = make(blocks, maker, reader, position, durable, out);
    }
    unlock(&maker->lock);
    return step;
}

bool feed_blocks_reach(const struct feed_blocks *blocks, uint64_t batch)
{
    /* relaxed: a guess; pairs with keep() */
    return batch >= atomic_load_explicit(&blocks->first_batch, memory_order_relaxed);
}

struct feed_blocks_stats feed_blocks_stats(struct feed_blocks *blocks)
{
    lock(&blocks->lock);
    struct feed_blocks_stats stats = {.made = blocks->made, .bytes = blocks->bytes};
    unlock(&blocks->lock);
    return stats;
}
