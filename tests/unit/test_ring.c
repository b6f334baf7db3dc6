/* SPDX-License-Identifier: Apache-2.0 */
/* The ring, its barrier and the wait on one thread, where every step has one right answer. The test
 * plays the consumer: it publishes the gating sequence itself. */
#include "ring/barrier.h"
#include "ring/batch.h"
#include "ring/ring.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { SLOTS = 8 };

static int items[64];

/* Always static: a sanitizer's stack does not align a cache line. */
struct fixture {
    struct ring ring;
    struct sequence gate;
    struct wait wait;
    const struct sequence *gates[1];
    struct wait *waits[1];
};

static void start(struct fixture *f, uint64_t slots)
{
    assert_int_equal(ring_init(&f->ring, slots), OK);
    sequence_init(&f->gate, 0);
    wait_init(&f->wait);
    f->gates[0] = &f->gate;
    f->waits[0] = &f->wait;
    ring_attach(&f->ring, f->gates, 1, f->waits, 1);
}

static uint64_t claim(struct fixture *f, uint64_t count)
{
    uint64_t sequence = UINT64_MAX;
    assert_true(ring_try_claim(&f->ring, count, &sequence));
    return sequence;
}

static void refused(struct fixture *f, uint64_t count)
{
    uint64_t sequence = 4711;
    uint64_t claimed = ring_claimed(&f->ring);
    assert_false(ring_try_claim(&f->ring, count, &sequence));
    assert_int_equal(sequence, 4711);
    assert_int_equal(ring_claimed(&f->ring), claimed);
}

static uint64_t ready(struct fixture *f, uint64_t next, uint64_t stride, uint64_t count_max)
{
    struct barrier barrier = {.ring = &f->ring};
    return barrier_ready_count(&barrier, next, stride, count_max);
}

static void claims_are_consecutive(void **state)
{
    (void)state;
    static struct fixture f;
    start(&f, SLOTS);
    assert_int_equal(ring_slot_count(&f.ring), SLOTS);
    assert_int_equal(claim(&f, 1), 0);
    assert_int_equal(claim(&f, 3), 1);
    assert_int_equal(claim(&f, 1), 4);
    assert_int_equal(ring_claimed(&f.ring), 5);
    ring_deinit(&f.ring);
}

static void a_full_ring_refuses_until_the_gate_moves(void **state)
{
    (void)state;
    static struct fixture f;
    start(&f, SLOTS);
    claim(&f, SLOTS - 1);
    refused(&f, 2);
    claim(&f, 1);
    refused(&f, 1);
    sequence_publish(&f.gate, 2);
    refused(&f, 3);
    assert_int_equal(claim(&f, 2), SLOTS);
    refused(&f, 1);
    ring_deinit(&f.ring);
}

/* For the engine an item is a request: one whose slot is claimed too early is never seen by a stage
 * that has not come to it, and in its place another one is answered twice. */
static void a_full_ring_keeps_what_its_consumer_has_not_read(void **state)
{
    (void)state;
    static struct fixture f;
    start(&f, SLOTS);
    for (uint64_t i = 0; i < SLOTS; i++) {
        ring_publish(&f.ring, claim(&f, 1), &items[i]);
    }
    for (uint64_t read = 0; read < 3 * SLOTS; read++) {
        struct ring_batch batch = {.count = SLOTS, .first = read, .stride = 1, .ring = &f.ring};
        refused(&f, 1);
        assert_int_equal(ready(&f, read, 1, SLOTS), SLOTS);
        for (size_t i = 0; i < SLOTS; i++) {
            assert_ptr_equal(ring_batch_at(&batch, i), &items[read + i]);
        }
        sequence_publish(&f.gate, read + 1);
        ring_publish(&f.ring, claim(&f, 1), &items[read + SLOTS]);
    }
    ring_deinit(&f.ring);
}

static void a_single_producer_is_refused_alike(void **state)
{
    (void)state;
    static struct fixture f;
    start(&f, SLOTS);
    ring_set_single_producer(&f.ring);
    assert_int_equal(claim(&f, 3), 0);
    assert_int_equal(claim(&f, 5), 3);
    refused(&f, 1);
    sequence_publish(&f.gate, 1);
    refused(&f, 2);
    assert_int_equal(claim(&f, 1), SLOTS);
    sequence_publish(&f.gate, SLOTS);
    ring_close(&f.ring);
    refused(&f, 1);
    ring_deinit(&f.ring);
}

static void a_ring_of_one_slot_works(void **state)
{
    (void)state;
    static struct fixture f;
    start(&f, 1);
    for (uint64_t i = 0; i < 5; i++) {
        assert_int_equal(claim(&f, 1), i);
        refused(&f, 1);
        assert_int_equal(ready(&f, i, 1, 9), 0);
        ring_publish(&f.ring, i, &items[i]);
        assert_int_equal(ready(&f, i, 1, 9), 1);
        sequence_publish(&f.gate, i + 1);
    }
    ring_deinit(&f.ring);
}

static void every_claim_waits_for_the_slowest_gate(void **state)
{
    (void)state;
    static struct fixture f;
    static struct sequence other;
    const struct sequence *gates[2] = {&f.gate, &other};
    start(&f, SLOTS);
    sequence_init(&other, 1);
    ring_attach(&f.ring, gates, 2, f.waits, 1);
    claim(&f, SLOTS);
    sequence_publish(&other, 7);
    refused(&f, 1);
    sequence_publish(&f.gate, 4);
    assert_int_equal(claim(&f, 4), SLOTS);
    refused(&f, 1);
    ring_deinit(&f.ring);
}

static void items_come_back_through_many_rounds(void **state)
{
    (void)state;
    static struct fixture f;
    start(&f, SLOTS);
    uint64_t next = 0;
    for (uint64_t round = 0; round < 1000; round++) {
        uint64_t count = round % SLOTS + 1;
        uint64_t first = claim(&f, count);
        assert_int_equal(first, next);
        for (uint64_t i = 0; i < count; i++) {
            ring_publish(&f.ring, first + i, &items[(first + i) % 64]);
        }
        assert_int_equal(ready(&f, next, 1, 2 * SLOTS), count);
        struct ring_batch batch = {.count = count, .first = next, .stride = 1, .ring = &f.ring};
        for (size_t i = 0; i < batch.count; i++) {
            assert_ptr_equal(ring_batch_at(&batch, i), &items[(next + i) % 64]);
        }
        next += count;
        sequence_publish(&f.gate, next);
    }
    ring_deinit(&f.ring);
}

static void a_gap_hides_what_is_published_behind_it(void **state)
{
    (void)state;
    static struct fixture f;
    start(&f, SLOTS);
    claim(&f, 5);
    ring_publish(&f.ring, 1, &items[1]);
    ring_publish(&f.ring, 3, &items[3]);
    assert_int_equal(ready(&f, 0, 1, SLOTS), 0);
    ring_publish(&f.ring, 0, &items[0]);
    assert_int_equal(ready(&f, 0, 1, SLOTS), 2);
    ring_publish(&f.ring, 2, &items[2]);
    assert_int_equal(ready(&f, 0, 1, SLOTS), 4);
    assert_int_equal(ready(&f, 0, 1, 3), 3);
    /* A worker of three sees its own: 1, 4, 7. */
    assert_int_equal(ready(&f, 1, 3, SLOTS), 1);
    ring_publish(&f.ring, 4, &items[4]);
    assert_int_equal(ready(&f, 1, 3, SLOTS), 2);
    assert_int_equal(ready(&f, 1, 3, 1), 1);
    ring_deinit(&f.ring);
}

static void a_later_stage_reads_up_to_the_slowest_upstream(void **state)
{
    (void)state;
    static struct sequence a;
    static struct sequence b;
    const struct sequence *upstream[2] = {&a, &b};
    struct barrier barrier = {.upstream = upstream, .upstream_count = 2};
    sequence_init(&a, 10);
    sequence_init(&b, 7);
    assert_int_equal(barrier_ready_count(&barrier, 0, 1, 100), 7);
    assert_int_equal(barrier_ready_count(&barrier, 0, 1, 4), 4);
    assert_int_equal(barrier_ready_count(&barrier, 6, 1, 100), 1);
    assert_int_equal(barrier_ready_count(&barrier, 7, 1, 100), 0);
    assert_int_equal(barrier_ready_count(&barrier, 9, 1, 100), 0);
    /* 1, 4 of the worker with 1, 4, 7; 2, 5 of the next one; 0, 3, 6 of the first. */
    assert_int_equal(barrier_ready_count(&barrier, 1, 3, 100), 2);
    assert_int_equal(barrier_ready_count(&barrier, 2, 3, 100), 2);
    assert_int_equal(barrier_ready_count(&barrier, 0, 3, 100), 3);
    assert_int_equal(barrier_ready_count(&barrier, 8, 3, 100), 0);
    sequence_publish(&b, 12);
    assert_int_equal(barrier_ready_count(&barrier, 7, 3, 100), 1);
}

static void a_strided_batch_gives_its_own_items(void **state)
{
    (void)state;
    static struct fixture f;
    start(&f, SLOTS);
    claim(&f, SLOTS);
    for (uint64_t i = 0; i < SLOTS; i++) {
        ring_publish(&f.ring, i, &items[i]);
    }
    struct ring_batch batch = {.count = 3, .first = 1, .stride = 3, .worker = 1, .ring = &f.ring};
    assert_int_equal(ring_batch_sequence_at(&batch, 2), 7);
    assert_ptr_equal(ring_batch_at(&batch, 0), &items[1]);
    assert_ptr_equal(ring_batch_at(&batch, 1), &items[4]);
    assert_ptr_equal(ring_batch_at(&batch, 2), &items[7]);
    ring_deinit(&f.ring);
}

static void occupancy_follows_cursor_and_gate(void **state)
{
    (void)state;
    static struct fixture f;
    start(&f, SLOTS);
    assert_int_equal(ring_occupancy(&f.ring), 0);
    claim(&f, 5);
    assert_int_equal(ring_occupancy(&f.ring), 5);
    sequence_publish(&f.gate, 2);
    assert_int_equal(ring_occupancy(&f.ring), 3);
    claim(&f, 5);
    assert_int_equal(ring_occupancy(&f.ring), SLOTS);
    ring_close(&f.ring);
    assert_int_equal(ring_occupancy(&f.ring), SLOTS);
    sequence_publish(&f.gate, 10);
    assert_int_equal(ring_occupancy(&f.ring), 0);
    ring_deinit(&f.ring);
}

static void a_closed_ring_refuses_and_keeps_its_end(void **state)
{
    (void)state;
    static struct fixture f;
    start(&f, SLOTS);
    uint64_t end = 4711;
    assert_false(ring_is_closed(&f.ring, &end));
    assert_int_equal(end, 4711);
    claim(&f, 3);
    ring_close(&f.ring);
    ring_close(&f.ring);
    refused(&f, 1);
    assert_true(ring_is_closed(&f.ring, &end));
    assert_int_equal(end, 3);
    assert_int_equal(ring_claimed(&f.ring), 3);
    /* What was claimed before may still be published. */
    ring_publish(&f.ring, 0, &items[0]);
    assert_int_equal(ready(&f, 0, 1, SLOTS), 1);
    ring_deinit(&f.ring);
}

static void a_wake_before_the_sleep_is_kept(void **state)
{
    (void)state;
    static struct wait wait;
    wait_init(&wait);
    wait_wake(&wait); /* nobody there: leaves nothing behind */
    assert_false(wait_is_sleeping(&wait));
    wait_prepare(&wait);
    assert_true(wait_is_sleeping(&wait));
    wait_wake(&wait);
    assert_false(wait_is_sleeping(&wait));
    wait_sleep(&wait); /* would hang */
    wait_prepare(&wait);
    wait_cancel(&wait);
    assert_false(wait_is_sleeping(&wait));
    wait_prepare(&wait);
    wait_wake(&wait);
    wait_cancel(&wait);
    assert_false(wait_is_sleeping(&wait));
}

static void publishing_wakes_nobody_and_ring_wake_all(void **state)
{
    (void)state;
    static struct fixture f;
    static struct wait other;
    struct wait *waits[2] = {&f.wait, &other};
    start(&f, SLOTS);
    wait_init(&other);
    ring_attach(&f.ring, f.gates, 1, waits, 2);
    wait_prepare(&f.wait);
    wait_prepare(&other);
    ring_publish(&f.ring, claim(&f, 1), &items[0]);
    assert_true(wait_is_sleeping(&f.wait));
    assert_true(wait_is_sleeping(&other));
    ring_wake(&f.ring);
    assert_false(wait_is_sleeping(&f.wait));
    assert_false(wait_is_sleeping(&other));
    wait_prepare(&other);
    ring_close(&f.ring);
    assert_false(wait_is_sleeping(&other));
    ring_deinit(&f.ring);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(claims_are_consecutive),
        cmocka_unit_test(a_full_ring_refuses_until_the_gate_moves),
        cmocka_unit_test(a_full_ring_keeps_what_its_consumer_has_not_read),
        cmocka_unit_test(a_single_producer_is_refused_alike),
        cmocka_unit_test(a_ring_of_one_slot_works),
        cmocka_unit_test(every_claim_waits_for_the_slowest_gate),
        cmocka_unit_test(items_come_back_through_many_rounds),
        cmocka_unit_test(a_gap_hides_what_is_published_behind_it),
        cmocka_unit_test(a_later_stage_reads_up_to_the_slowest_upstream),
        cmocka_unit_test(a_strided_batch_gives_its_own_items),
        cmocka_unit_test(occupancy_follows_cursor_and_gate),
        cmocka_unit_test(a_closed_ring_refuses_and_keeps_its_end),
        cmocka_unit_test(a_wake_before_the_sleep_is_kept),
        cmocka_unit_test(publishing_wakes_nobody_and_ring_wake_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
