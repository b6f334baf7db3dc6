/* SPDX-License-Identifier: Apache-2.0 */
/* Arenas, chunk pools and the budget: what is counted, what is reused, what is refused. */
#include "base/arena.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

struct fixture {
    struct memory_budget budget;
    struct chunk_pool pool;
    struct arena arena;
};

static uint64_t used(const struct fixture *f)
{
    return atomic_load(&f->budget.used_bytes);
}

static void start(struct fixture *f, uint64_t limit, size_t cached_max)
{
    memory_budget_init(&f->budget, limit);
    chunk_pool_init(&f->pool, &f->budget, cached_max);
    arena_init(&f->arena, &f->pool);
}

static void end(struct fixture *f)
{
    arena_reset(&f->arena);
    chunk_pool_deinit(&f->pool);
    assert_int_equal(used(f), 0);
    assert_int_equal(atomic_load(&f->pool.taken), atomic_load(&f->pool.given));
}

static void an_empty_arena_holds_nothing(void **state)
{
    (void)state;
    struct fixture f;
    start(&f, 1 << 20, 1 << 20);
    assert_int_equal(used(&f), 0);
    end(&f);
}

static void allocations_are_aligned_and_apart(void **state)
{
    (void)state;
    struct fixture f;
    start(&f, 1 << 24, 1 << 20);
    char *previous = NULL;
    for (size_t size = 0; size < 3000; size += 7) {
        char *memory = arena_try_alloc(&f.arena, size);
        assert_non_null(memory);
        assert_int_equal((uintptr_t)memory % ARENA_ALIGNMENT, 0);
        assert_ptr_not_equal(memory, previous);
        memset(memory, (int)size, size);
        previous = memory;
    }
    end(&f);
}

static void a_chunk_of_every_size_holds_what_it_says(void **state)
{
    (void)state;
    struct fixture f;
    start(&f, UINT64_C(1) << 32, 0);
    for (size_t size = 1; size < (8 << 20); size = size * 9 / 8 + 1) {
        struct chunk *chunk = chunk_pool_try_take(&f.pool, size);
        assert_non_null(chunk);
        assert_true(chunk->capacity >= size);
        /* A quarter of the size at most is unused, but for the smallest class. */
        size_t needed = size + sizeof(struct chunk);
        assert_true(needed <= CHUNK_BYTES_MIN || used(&f) <= needed + needed / 4 + 1);
        memset(chunk_data(chunk), 0xff, chunk->capacity);
        chunk_pool_give(&f.pool, &chunk);
        assert_null(chunk);
        assert_int_equal(used(&f), 0);
    }
    end(&f);
}

static void a_given_chunk_is_taken_again_first(void **state)
{
    (void)state;
    struct fixture f;
    start(&f, 1 << 20, 1 << 20);
    struct chunk *a = chunk_pool_try_take(&f.pool, 100);
    struct chunk *b = chunk_pool_try_take(&f.pool, 100);
    struct chunk *last = b;
    chunk_pool_give(&f.pool, &a);
    chunk_pool_give(&f.pool, &b);
    struct chunk *again = chunk_pool_try_take(&f.pool, 100);
    assert_ptr_equal(again, last);
    chunk_pool_give(&f.pool, &again);
    end(&f);
}

static void the_cache_is_bounded(void **state)
{
    (void)state;
    struct fixture f;
    struct chunk *chunks[8];
    start(&f, 1 << 20, 2 * CHUNK_BYTES_MIN);
    for (size_t i = 0; i < 8; i++) {
        chunks[i] = chunk_pool_try_take(&f.pool, 100);
        assert_non_null(chunks[i]);
    }
    for (size_t i = 0; i < 8; i++) {
        chunk_pool_give(&f.pool, &chunks[i]);
    }
    assert_int_equal(used(&f), 2 * CHUNK_BYTES_MIN);
    end(&f);
}

static void the_budget_refuses_and_recovers(void **state)
{
    (void)state;
    struct fixture f;
    start(&f, 4 * CHUNK_BYTES_MIN, 1 << 20);
    struct chunk *chunks[4];
    for (size_t i = 0; i < 4; i++) {
        chunks[i] = chunk_pool_try_take(&f.pool, 100);
        assert_non_null(chunks[i]);
    }
    assert_null(chunk_pool_try_take(&f.pool, 100));
    assert_null(arena_try_alloc(&f.arena, 1));
    assert_int_equal(atomic_load(&f.budget.refused), 2);
    assert_int_equal(used(&f), 4 * CHUNK_BYTES_MIN);
    chunk_pool_give(&f.pool, &chunks[3]);
    assert_non_null(arena_try_alloc(&f.arena, 1));
    for (size_t i = 0; i < 3; i++) {
        chunk_pool_give(&f.pool, &chunks[i]);
    }
    end(&f);
}

static void the_last_sixteenth_is_for_small_chunks(void **state)
{
    (void)state;
    struct fixture f;
    struct chunk *chunks[80];
    size_t count = 0;
    start(&f, 64 * 16384, 0);
    assert_false(memory_budget_is_short(&f.budget));
    while ((chunks[count] = chunk_pool_try_take(&f.pool, 16000)) != NULL) {
        count++;
        assert_int_equal(memory_budget_is_short(&f.budget), count > 56);
    }
    assert_int_equal(count, 60);
    for (size_t i = 0; i < 4 * 16384 / CHUNK_BYTES_SMALL; i++) {
        chunks[count] = chunk_pool_try_take(&f.pool, CHUNK_BYTES_SMALL - sizeof(struct chunk));
        assert_non_null(chunks[count++]);
    }
    assert_null(chunk_pool_try_take(&f.pool, 1));
    while (count > 0) {
        chunk_pool_give(&f.pool, &chunks[--count]);
    }
    assert_int_equal(used(&f), 0);
    end(&f);
}

static void the_cache_makes_way_for_another_size(void **state)
{
    (void)state;
    struct fixture f;
    start(&f, 4 * CHUNK_BYTES_MIN, 1 << 20);
    struct chunk *chunks[4];
    for (size_t i = 0; i < 4; i++) {
        chunks[i] = chunk_pool_try_take(&f.pool, 100);
    }
    for (size_t i = 0; i < 4; i++) {
        chunk_pool_give(&f.pool, &chunks[i]);
    }
    assert_int_equal(used(&f), 4 * CHUNK_BYTES_MIN);
    struct chunk *large = chunk_pool_try_take(&f.pool, 3 * CHUNK_BYTES_MIN);
    assert_non_null(large);
    chunk_pool_give(&f.pool, &large);
    end(&f);
}

static void sizes_beyond_reason_are_refused(void **state)
{
    (void)state;
    struct fixture f;
    start(&f, UINT64_MAX, 0);
    assert_null(arena_try_alloc(&f.arena, SIZE_MAX));
    assert_null(arena_try_alloc(&f.arena, SIZE_MAX - 15));
    assert_null(arena_try_alloc(&f.arena, UINT32_MAX));
    assert_null(chunk_pool_try_take(&f.pool, SIZE_MAX));
    end(&f);
}

static void rewinding_frees_what_came_after(void **state)
{
    (void)state;
    struct fixture f;
    start(&f, 1 << 24, 0);
    char *kept = arena_try_alloc(&f.arena, 100);
    memset(kept, 'k', 100);
    struct arena_mark mark = arena_mark(&f.arena);
    uint64_t before = used(&f);
    char *first = arena_try_alloc(&f.arena, 50);
    assert_non_null(arena_try_alloc(&f.arena, 100000));
    assert_non_null(arena_try_alloc(&f.arena, 200000));
    assert_true(used(&f) > before);
    arena_rewind(&f.arena, mark);
    assert_int_equal(used(&f), before);
    assert_ptr_equal(arena_try_alloc(&f.arena, 50), first);
    for (size_t i = 0; i < 100; i++) {
        assert_int_equal(kept[i], 'k');
    }
    end(&f);
}

static void a_chunk_may_go_home_to_another_pool(void **state)
{
    (void)state;
    struct fixture f;
    struct chunk_pool other;
    start(&f, 1 << 20, 1 << 20);
    chunk_pool_init(&other, &f.budget, 1 << 20);
    assert_non_null(arena_try_alloc(&f.arena, 100));
    arena_adopt(&f.arena, &other);
    arena_reset(&f.arena);
    assert_int_equal(atomic_load(&other.given), 1);
    assert_int_equal(used(&f), CHUNK_BYTES_MIN);
    chunk_pool_deinit(&other);
    assert_int_equal(used(&f), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_arena_holds_nothing),
        cmocka_unit_test(allocations_are_aligned_and_apart),
        cmocka_unit_test(a_chunk_of_every_size_holds_what_it_says),
        cmocka_unit_test(a_given_chunk_is_taken_again_first),
        cmocka_unit_test(the_cache_is_bounded),
        cmocka_unit_test(the_budget_refuses_and_recovers),
        cmocka_unit_test(the_last_sixteenth_is_for_small_chunks),
        cmocka_unit_test(the_cache_makes_way_for_another_size),
        cmocka_unit_test(sizes_beyond_reason_are_refused),
        cmocka_unit_test(rewinding_frees_what_came_after),
        cmocka_unit_test(a_chunk_may_go_home_to_another_pool),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
