/* SPDX-License-Identifier: Apache-2.0 */
/*
 * feed_blocks: pieces of encoded batches near the end of the log, made once and given to all
 * subscribers without a filter.
 *
 * A block is known by its format, batch and place in the batch's encoding, which is the same
 * whoever has encoded it. Blocks never change; each holder has a reference, and the store keeps the
 * newest up to a number of bytes.
 *
 * Runs on:  any thread; `reader` is the calling thread's.
 * Blocks:   feed_blocks_take() while another thread makes a block of the same format, and while it
 *           makes one itself: a read of the page cache and the encoding of FEED_BLOCK_BYTES.
 */
#ifndef WEASELDB_FEED_BLOCKS_H
#define WEASELDB_FEED_BLOCKS_H

#include "weaseldb/feed_encoder.h"

#include <stdatomic.h>

enum { FEED_BLOCK_BYTES = 32 << 10 };

struct feed_block {
    /* Fixed once made. */
    enum feed_format format;
    uint32_t size;
    uint64_t batch;
    uint64_t encoded;         /* of the batch, before this block */
    struct feed_position end; /* where its maker stood behind it */
    /* The store's, under its lock. */
    struct feed_block *bucket_next;
    struct feed_block *newer;
    /* Shared. */
    _Atomic uint32_t references;
    char data[];
};

struct feed_blocks;

/* ERR_MEMORY. */
enum err feed_blocks_open(uint64_t bytes_max, struct feed_blocks **out) WARN_UNUSED;
void feed_blocks_close(struct feed_blocks *blocks); /* NULL is allowed */

/* The block that begins at `position` (unfiltered, not is_partial, not in the middle of a check),
 * made now if need be. FEED_MORE: *out is a reference to it, or NULL: there is no memory for it, or
 * one step does not get as far as its first byte, so the caller shall take steps of its own and ask
 * again later. FEED_END,
 * FEED_GONE and so on: there is none, as feed_encoder_run() says. */
enum feed_step feed_blocks_take(struct feed_blocks *blocks, struct log_cursor_reader *reader,
                                enum feed_format format, const struct feed_position *position,
                                uint64_t durable, struct feed_block **out);

bool feed_block_is_at(const struct feed_block *block, enum feed_format format,
                      const struct feed_position *position);

/* One more reference to it; returns it. */
struct feed_block *feed_block_share(struct feed_block *block);

/* Gives a reference back and nulls it; *block may be NULL. */
void feed_block_give(struct feed_block **block);

/* Whether the store goes back to that batch: others have needed what follows it, and lately. */
bool feed_blocks_reach(const struct feed_blocks *blocks, uint64_t batch);

/* Of about now. */
struct feed_blocks_stats {
    uint64_t made;
    uint64_t bytes; /* kept */
};
struct feed_blocks_stats feed_blocks_stats(struct feed_blocks *blocks);

#endif
