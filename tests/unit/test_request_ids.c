/* SPDX-License-Identifier: Apache-2.0 */
/* request_ids: find, window, riders, and the table against a plain model. */
#include "commit/request_ids.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static struct request_ids *open_ids(uint32_t count_max, uint32_t window_sec)
{
    struct request_ids *ids;
    const struct request_ids_config config = {.count_max = count_max, .window_sec = window_sec};
    assert_int_equal(request_ids_open(&config, &ids), OK);
    return ids;
}

static struct request_id_name name_of(const struct request_ids *ids, unsigned number)
{
    char text[32];
    int size = snprintf(text, sizeof text, "id-%u", number);
    return request_ids_name(ids, bytes_of(text, (size_t)size));
}

static void test_an_id_goes_from_unknown_to_decided(void **state)
{
    (void)state;
    struct request_ids *ids = open_ids(REQUEST_IDS_COUNT_MIN, 10);
    assert_null(request_ids_find(ids, name_of(ids, 1)));
    struct request_id *slot = request_ids_try_enter(ids, name_of(ids, 1), 77, 100);
    assert_non_null(slot);
    assert_ptr_equal(request_ids_find(ids, name_of(ids, 1)), slot);
    assert_null(request_ids_find(ids, name_of(ids, 2)));
    assert_int_equal(request_id_state(slot), REQUEST_ID_PENDING);
    assert_int_equal(slot->payload_hash, 77);
    request_ids_commit(slot, 5);
    assert_int_equal(request_id_state(slot), REQUEST_ID_COMMITTED);
    assert_int_equal(slot->version, 5);
    request_ids_close(ids);
}

static void test_a_rejection_keeps_its_conflicts(void **state)
{
    (void)state;
    struct request_ids *ids = open_ids(REQUEST_IDS_COUNT_MIN, 10);
    struct request_id *slot = request_ids_try_enter(ids, name_of(ids, 1), 0, 100);
    uint32_t conflicts[] = {1, 4};
    request_ids_reject(slot, &(struct request_id_rejection){3, 2, conflicts});
    conflicts[0] = 9;
    assert_int_equal(request_id_state(slot), REQUEST_ID_REJECTED);
    assert_int_equal(slot->reason, 3);
    assert_int_equal(slot->conflict_count, 2);
    assert_int_equal(slot->conflicts[0], 1);
    assert_int_equal(slot->conflicts[1], 4);
    request_ids_close(ids);
}

static void test_the_window_ends_by_age(void **state)
{
    (void)state;
    struct request_ids *ids = open_ids(REQUEST_IDS_COUNT_MIN, 10);
    request_ids_commit(request_ids_try_enter(ids, name_of(ids, 1), 0, 100), 7);
    request_ids_commit(request_ids_try_enter(ids, name_of(ids, 2), 0, 105), 8);
    request_ids_expire(ids, 110);
    assert_int_equal(request_ids_count(ids), 2);
    assert_int_equal(request_ids_floor(ids), 0);
    request_ids_expire(ids, 111);
    assert_null(request_ids_find(ids, name_of(ids, 1)));
    assert_non_null(request_ids_find(ids, name_of(ids, 2)));
    assert_int_equal(request_ids_floor(ids), 7);
    request_ids_expire(ids, 50); /* a clock that goes back expires nothing */
    assert_int_equal(request_ids_count(ids), 1);
    request_ids_close(ids);
}

static void test_the_window_ends_by_count_but_not_while_pending(void **state)
{
    (void)state;
    struct request_ids *ids = open_ids(REQUEST_IDS_COUNT_MIN, 10);
    struct request_id *first = NULL;
    for (unsigned i = 0; i < REQUEST_IDS_COUNT_MIN; i++) {
        struct request_id *slot = request_ids_try_enter(ids, name_of(ids, i), 0, 100);
        assert_non_null(slot);
        first = i == 0 ? slot : first;
    }
    assert_null(request_ids_try_enter(ids, name_of(ids, 5000), 0, 100));
    request_ids_commit(first, 3);
    request_ids_ride(first);
    assert_null(request_ids_try_enter(ids, name_of(ids, 5000), 0, 100));
    request_ids_leave(first);
    assert_non_null(request_ids_try_enter(ids, name_of(ids, 5000), 0, 100));
    assert_null(request_ids_find(ids, name_of(ids, 0)));
    assert_int_equal(request_ids_floor(ids), 3);
    assert_int_equal(request_ids_count(ids), REQUEST_IDS_COUNT_MIN);
    request_ids_close(ids);
}

enum { NAMES = 4000, ROUNDS = 300000 };

/* Random entries and ages against an array: every answer is compared. */
static void test_against_a_model(void **state)
{
    (void)state;
    struct request_ids *ids = open_ids(REQUEST_IDS_COUNT_MIN, 50);
    static uint64_t entered[NAMES]; /* version + 1; 0: never */
    uint64_t next = 1;
    uint64_t oldest = 1; /* versions before it have left */
    static uint32_t when[ROUNDS + 1];
    uint32_t now_sec = 1000;
    srand(7);
    for (unsigned round = 0; round < ROUNDS; round++) {
        unsigned number = (unsigned)rand() % NAMES;
        now_sec += rand() % 20 == 0;
        struct request_id *slot = request_ids_find(ids, name_of(ids, number));
        bool known = entered[number] >= oldest && entered[number] != 0;
        assert_int_equal(slot != NULL, known);
        if (known) {
            assert_int_equal(slot->version, entered[number]);
            assert_int_equal(slot->payload_hash, number);
        } else {
            oldest += next - oldest == REQUEST_IDS_COUNT_MIN;
            slot = request_ids_try_enter(ids, name_of(ids, number), number, now_sec);
            assert_non_null(slot);
            request_ids_commit(slot, next);
            entered[number] = next;
            when[next++] = now_sec;
        }
        if (rand() % 8 == 0) {
            request_ids_expire(ids, now_sec);
            for (unsigned i = 0; i < 64 && oldest < next && now_sec - when[oldest] > 50; i++) {
                oldest++;
            }
        }
        assert_int_equal(request_ids_count(ids), next - oldest);
        assert_int_equal(request_ids_floor(ids), oldest - 1);
    }
    assert_true(next > NAMES);
    request_ids_close(ids);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_an_id_goes_from_unknown_to_decided),
        cmocka_unit_test(test_a_rejection_keeps_its_conflicts),
        cmocka_unit_test(test_the_window_ends_by_age),
        cmocka_unit_test(test_the_window_ends_by_count_but_not_while_pending),
        cmocka_unit_test(test_against_a_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
