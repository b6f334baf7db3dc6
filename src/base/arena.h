/* SPDX-License-Identifier: Apache-2.0 */
/*
 * arena: bump allocation for everything that belongs to one request, from pooled chunks under one
 * global budget.
 *
 *   memory_budget   how many bytes all pools together may hold; shared by all threads
 *   chunk_pool      free chunks of one thread, newest first, so that the next one is in its cache
 *   arena           a list of chunks; allocation moves a cursor, reset gives all chunks back
 *
 * Runs on:  a pool belongs to one thread. An arena belongs to whoever owns its connection, and
 * draws from `arena->pool`, which a new owner sets to the pool of its own thread (arena_adopt()). A
 * chunk may be given back to another pool than the one it came from. Blocks:   never (malloc and
 * free at most, when a pool has no fitting chunk or too many). Fails:    when the budget or malloc
 * refuses, functions named `try_` return NULL and change nothing.
 */
#ifndef BASE_ARENA_H
#define BASE_ARENA_H

#include "base/err.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    CHUNK_BYTES_MIN = 4096, /* the size of the smallest chunk, header included */
    CHUNK_BYTES_SMALL = 2 * CHUNK_BYTES_MIN,
    CHUNK_CLASSES = 64,   /* four sizes for each doubling: at most a quarter is unused */
    ARENA_ALIGNMENT = 16, /* of every allocation */
};

struct memory_budget {
    uint64_t limit_bytes;        /* fixed after init */
    _Atomic uint64_t used_bytes; /* held by pools and arenas together, from malloc's view */
    _Atomic uint64_t refused;    /* how often the limit said no */
};

void memory_budget_init(struct memory_budget *budget, uint64_t limit_bytes);

/* Whether a quarter of the budget is left even with `bytes` more in use: about now. */
bool memory_budget_is_easy(const struct memory_budget *budget, uint64_t bytes);

/* Whether less than an eighth is left: about now. */
bool memory_budget_is_short(const struct memory_budget *budget);

/* One piece of memory; its bytes follow the header. */
struct chunk {
    struct chunk *next;
    uint32_t capacity; /* bytes behind the header */
    uint32_t class_index;
};

/* The first byte of a chunk's memory, aligned to ARENA_ALIGNMENT. */
static inline char *chunk_data(struct chunk *chunk)
{
    return (char *)chunk + sizeof(struct chunk);
}

struct chunk_pool {
    struct memory_budget *budget;
    size_t cached_bytes;     /* in the free lists */
    size_t cached_bytes_max; /* beyond it a given chunk is freed */
    struct chunk *free[CHUNK_CLASSES];
    _Atomic uint64_t taken; /* chunks, ever; written by the owner, read by anyone */
    _Atomic uint64_t given;
};

void chunk_pool_init(struct chunk_pool *pool, struct memory_budget *budget,
                     size_t cached_bytes_max);

/* Chunks that arenas still hold may be given to another pool later. */
void chunk_pool_deinit(struct chunk_pool *pool);

/* A chunk with at least `capacity` bytes, or NULL. Before the budget refuses, this pool's own cache
 * is freed. The last sixteenth of the budget is for chunks of CHUNK_BYTES_SMALL at most: what a
 * small request needs is there, whatever the large ones hold. The caller owns the chunk until
 * chunk_pool_give(). */
struct chunk *chunk_pool_try_take(struct chunk_pool *pool, size_t capacity);

/* Frees the cached chunks. */
void chunk_pool_drop_cache(struct chunk_pool *pool);

/* Takes *chunk back (never NULL) and nulls it. Its bytes are gone. */
void chunk_pool_give(struct chunk_pool *pool, struct chunk **chunk);

/* Any thread: chunks taken from this pool less chunks given to it. The sum over all pools is how
 * many are in use. */
static inline int64_t chunk_pool_balance(const struct chunk_pool *pool)
{
    /* relaxed: two numbers of about now; pairs with nothing */
    uint64_t given = atomic_load_explicit(&pool->given, memory_order_relaxed);
    return (int64_t)(atomic_load_explicit(&pool->taken, memory_order_relaxed) - given);
}

struct arena {
    char *cursor; /* next free byte; NULL when the arena holds no chunk */
    char *end;
    struct chunk *chunks; /* newest first */
    struct chunk_pool *pool;
};

/* A place to come back to; valid until the arena is reset or rewound to an earlier one. */
struct arena_mark {
    char *cursor;
    struct chunk *chunk;
};

void arena_init(struct arena *arena, struct chunk_pool *pool);

/* The arena draws from `pool`, the calling thread's, from now on. */
static inline void arena_adopt(struct arena *arena, struct chunk_pool *pool)
{
    arena->pool = pool;
}

/* `size` bytes, not initialized, valid until the arena is reset or rewound before them; NULL when
 * the budget refuses. `size` 0 gives a pointer to nothing. */
void *arena_try_alloc(struct arena *arena, size_t size);

struct arena_mark arena_mark(const struct arena *arena);

/* Frees what was allocated after `mark`, in one step when it all lies in one chunk. */
void arena_rewind(struct arena *arena, struct arena_mark mark);

/* Gives all chunks back. */
void arena_reset(struct arena *arena);

#endif
