/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Chunks, their pools and the arenas made of them.
 *
 * Sizes of chunks form classes, four for each doubling: class 4*k + q holds
 * CHUNK_BYTES_MIN * 2^k * (4 + q) / 4 bytes. A request is rounded up to its class, so a chunk that
 * comes back fits the next request of about the same size, and at most a quarter is wasted.
 *
 * Invariants
 *  1. budget.used_bytes is the sum of the class sizes of all chunks that exist, cached or in use.
 *  2. A chunk is in exactly one place: one pool's free list, one arena, or one caller.
 *  3. Memory that nobody may read is poisoned under AddressSanitizer: cached chunks, and the rest
 *     of a chunk behind an arena's cursor. Debug builds also overwrite it when it is given back.
 */
#include "base/arena.h"

#include "base/check.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#if defined(__SANITIZE_ADDRESS__)
#define ARENA_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ARENA_ASAN 1
#endif
#endif

#ifdef ARENA_ASAN
#include <sanitizer/asan_interface.h>
#define POISON(data, size) ASAN_POISON_MEMORY_REGION(data, size)
#define UNPOISON(data, size) ASAN_UNPOISON_MEMORY_REGION(data, size)
#else
#define POISON(data, size) ((void)(data), (void)(size))
#define UNPOISON(data, size) ((void)(data), (void)(size))
#endif

static_assert(sizeof(struct chunk) % ARENA_ALIGNMENT == 0, "a chunk's bytes must start aligned");

static size_t class_bytes(uint32_t class_index)
{
    return ((size_t)CHUNK_BYTES_MIN / 4 * (4 + class_index % 4)) << (class_index / 4);
}

/* The smallest class of at least `bytes`; CHUNK_CLASSES when there is none. */
static uint32_t class_of(size_t bytes)
{
    if (bytes <= CHUNK_BYTES_MIN) {
        return 0;
    }
    /* 2^doubling * CHUNK_BYTES_MIN < bytes <= 2^(doubling + 1) * CHUNK_BYTES_MIN */
    uint32_t doubling = 63 - (uint32_t)__builtin_clzll((bytes - 1) / CHUNK_BYTES_MIN);
    size_t quarter = ((size_t)CHUNK_BYTES_MIN / 4) << doubling;
    uint32_t quarters = (uint32_t)((bytes - 1) / quarter + 1); /* 5 to 8 */
    uint32_t class_index = 4 * doubling + quarters - 4;
    return class_index < CHUNK_CLASSES ? class_index : CHUNK_CLASSES;
}

void memory_budget_init(struct memory_budget *budget, uint64_t limit_bytes)
{
    budget->limit_bytes = limit_bytes;
    atomic_init(&budget->used_bytes, 0);
    atomic_init(&budget->refused, 0);
}

/* memory_order_relaxed in the budget: it is a count that publishes no other memory; a chunk's bytes
 * reach another thread only through the hand-over of the connection that holds it. */
static bool budget_try_reserve(struct memory_budget *budget, size_t bytes)
{
    uint64_t limit = budget->limit_bytes;
    if (bytes > CHUNK_BYTES_SMALL) {
        limit -= limit / 16;
    }
    uint64_t before = atomic_fetch_add_explicit(&budget->used_bytes, bytes,
                                                memory_order_relaxed); /* pairs with nothing */
    if (before + bytes <= limit) {
        return true;
    }
    atomic_fetch_sub_explicit(&budget->used_bytes, bytes,
                              memory_order_relaxed); /* pairs with nothing */
    return false;
}

bool memory_budget_is_easy(const struct memory_budget *budget, uint64_t bytes)
{
    uint64_t easy = budget->limit_bytes - budget->limit_bytes / 4;
    uint64_t used =
        atomic_load_explicit(&budget->used_bytes, memory_order_relaxed); /* pairs with nothing */
    return used <= easy && bytes <= easy - used;
}

bool memory_budget_is_short(const struct memory_budget *budget)
{
    uint64_t used =
        atomic_load_explicit(&budget->used_bytes, memory_order_relaxed); /* pairs with nothing */
    return used > budget->limit_bytes - budget->limit_bytes / 8;
}

static void chunk_free(struct memory_budget *budget, struct chunk *chunk)
{
    size_t bytes = class_bytes(chunk->class_index);
    UNPOISON(chunk_data(chunk), chunk->capacity);
    free(chunk);
    uint64_t before = atomic_fetch_sub_explicit(&budget->used_bytes, bytes,
                                                memory_order_relaxed); /* pairs with nothing */
    CHECK(before >= bytes);
}

/* Raises a counter that only the calling thread writes. */
static void counter_raise(_Atomic uint64_t *counter)
{
    /* pairs with nothing: readers want a recent number, not what happened before it */
    uint64_t value = atomic_load_explicit(counter, memory_order_relaxed);
    atomic_store_explicit(counter, value + 1, memory_order_relaxed);
}

void chunk_pool_init(struct chunk_pool *pool, struct memory_budget *budget, size_t cached_bytes_max)
{
    memset(pool, 0, sizeof *pool);
    pool->budget = budget;
    pool->cached_bytes_max = cached_bytes_max;
}

void chunk_pool_drop_cache(struct chunk_pool *pool)
{
    for (unsigned i = 0; i < CHUNK_CLASSES; i++) {
        while (pool->free[i] != NULL) {
            struct chunk *chunk = pool->free[i];
            pool->free[i] = chunk->next;
            chunk_free(pool->budget, chunk);
        }
    }
    pool->cached_bytes = 0;
}

void chunk_pool_deinit(struct chunk_pool *pool)
{
    chunk_pool_drop_cache(pool);
}

static struct chunk *chunk_try_make(struct chunk_pool *pool, uint32_t class_index)
{
    size_t bytes = class_bytes(class_index);
    if (!budget_try_reserve(pool->budget, bytes)) {
        chunk_pool_drop_cache(pool);
        if (!budget_try_reserve(pool->budget, bytes)) {
            atomic_fetch_add_explicit(&pool->budget->refused, 1,
                                      memory_order_relaxed); /* pairs with nothing */
            return NULL;
        }
    }
    struct chunk *chunk = aligned_alloc(64, bytes);
    if (chunk == NULL) {
        atomic_fetch_sub_explicit(&pool->budget->used_bytes, bytes,
                                  memory_order_relaxed); /* pairs with nothing */
        return NULL;
    }
    chunk->class_index = class_index;
    chunk->capacity = (uint32_t)(bytes - sizeof(struct chunk));
    return chunk;
}

struct chunk *chunk_pool_try_take(struct chunk_pool *pool, size_t capacity)
{
    if (capacity > UINT32_MAX - sizeof(struct chunk)) {
        return NULL;
    }
    uint32_t class_index = class_of(capacity + sizeof(struct chunk));
    if (class_index == CHUNK_CLASSES || class_bytes(class_index) > UINT32_MAX) {
        return NULL;
    }
    struct chunk *chunk = pool->free[class_index];
    if (chunk != NULL) {
        pool->free[class_index] = chunk->next;
        pool->cached_bytes -= class_bytes(class_index);
        UNPOISON(chunk_data(chunk), chunk->capacity);
    } else {
        chunk = chunk_try_make(pool, class_index);
        if (chunk == NULL) {
            return NULL;
        }
    }
    chunk->next = NULL;
    counter_raise(&pool->taken);
    return chunk;
}

void chunk_pool_give(struct chunk_pool *pool, struct chunk **chunk)
{
    struct chunk *given = *chunk;
    *chunk = NULL;
    CHECK(given != NULL);
    CHECK(given->class_index < CHUNK_CLASSES);
    counter_raise(&pool->given);
    size_t bytes = class_bytes(given->class_index);
    if (pool->cached_bytes + bytes > pool->cached_bytes_max) {
        chunk_free(pool->budget, given);
        return;
    }
#ifndef NDEBUG
    UNPOISON(chunk_data(given), given->capacity);
    memset(chunk_data(given), 0xdb, given->capacity);
#endif
    POISON(chunk_data(given), given->capacity);
    given->next = pool->free[given->class_index];
    pool->free[given->class_index] = given;
    pool->cached_bytes += bytes;
}

void arena_init(struct arena *arena, struct chunk_pool *pool)
{
    *arena = (struct arena){NULL, NULL, NULL, pool};
}

static bool arena_try_grow(struct arena *arena, size_t size)
{
    struct chunk *chunk = chunk_pool_try_take(arena->pool, size);
    if (chunk == NULL) {
        return false;
    }
    chunk->next = arena->chunks;
    arena->chunks = chunk;
    arena->cursor = chunk_data(chunk);
    arena->end = arena->cursor + chunk->capacity;
    POISON(arena->cursor, chunk->capacity);
    return true;
}

void *arena_try_alloc(struct arena *arena, size_t size)
{
    if (size > UINT32_MAX) {
        return NULL;
    }
    size_t rounded =
        size == 0 ? ARENA_ALIGNMENT : (size + ARENA_ALIGNMENT - 1) & ~(size_t)(ARENA_ALIGNMENT - 1);
    if ((size_t)(arena->end - arena->cursor) < rounded && !arena_try_grow(arena, rounded)) {
        return NULL;
    }
    char *allocated = arena->cursor;
    arena->cursor += rounded;
    UNPOISON(allocated, size);
    return allocated;
}

struct arena_mark arena_mark(const struct arena *arena)
{
    return (struct arena_mark){arena->cursor, arena->chunks};
}

void arena_rewind(struct arena *arena, struct arena_mark mark)
{
    while (arena->chunks != mark.chunk) {
        struct chunk *newest = arena->chunks;
        CHECK(newest != NULL);
        arena->chunks = newest->next;
        chunk_pool_give(arena->pool, &newest);
    }
    arena->cursor = mark.cursor;
    arena->end = mark.chunk == NULL ? NULL : chunk_data(mark.chunk) + mark.chunk->capacity;
#ifndef NDEBUG
    if (mark.chunk != NULL) {
        UNPOISON(mark.cursor, (size_t)(arena->end - mark.cursor));
        memset(mark.cursor, 0xdb, (size_t)(arena->end - mark.cursor));
    }
#endif
    POISON(mark.cursor, (size_t)(arena->end - mark.cursor));
}

void arena_reset(struct arena *arena)
{
    arena_rewind(arena, (struct arena_mark){NULL, NULL});
}
