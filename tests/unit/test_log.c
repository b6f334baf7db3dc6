/* SPDX-License-Identifier: Apache-2.0 */
/* The commit log on a simulated disk: what it keeps, how it promises space, what it refuses. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/random.h"
#include "commitlog/log_internal.h"
#include "support/log_world.h"

enum { SEGMENT = 256 << 10 };

static struct world world;

static int setup(void **state)
{
    (void)state;
    world_init(&world, 1);
    assert_int_equal(world_open(&world), OK);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    world_deinit(&world);
    return 0;
}

static void reopen(void)
{
    world_close(&world);
    storage_sim_restart(world.sim, STORAGE_SIM_PROCESS_ENDS);
    assert_int_equal(world_open(&world), OK);
}

/* Record `number` with the next version. */
static void commit(uint64_t number, size_t value_bytes)
{
    struct log_record record = world_record(number, log_last_version(world.log) + 1, value_bytes);
    assert_int_equal(world_append(&world, &record), OK);
}

static void fence(uint64_t number)
{
    struct log_record record = world_record(number, 0, 0);
    assert_int_equal(world_append(&world, &record), OK);
}

static void sync(void)
{
    assert_int_equal(world_sync(&world), OK);
}

static void test_an_empty_log(void **state)
{
    (void)state;
    assert_int_equal(log_last_version(world.log), 0);
    assert_int_equal(log_first_version(world.log), 1);
    assert_int_equal(log_epoch(world.log), 1);
    sync(); /* nothing */
    reopen();
    assert_int_equal(log_last_version(world.log), 0);
    assert_int_equal(log_epoch(world.log), 2);
    assert_int_equal(log_id(world.log), 77);
    assert_int_equal(world.found_count, 0);
}

static void test_what_is_synced_comes_back(void **state)
{
    (void)state;
    uint64_t hashes[3];
    for (unsigned i = 0; i < 3; i++) {
        struct log_record record = world_record(i, i == 1 ? 0 : log_last_version(world.log) + 1, i);
        hashes[i] = world_record_hash(&record);
        assert_int_equal(world_append(&world, &record), OK);
    }
    sync();
    reopen();
    assert_int_equal(world.found_count, 3);
    assert_int_equal(world.batch_count, 1);
    assert_int_equal(log_last_version(world.log), 2);
    for (unsigned i = 0; i < 3; i++) {
        assert_true(world.found[i].hash == hashes[i]);
    }
    assert_int_equal(world_check_files(&world), 3);
}

static void test_a_segment_follows_where_the_next_batch_does_not_fit(void **state)
{
    (void)state;
    static char names[WORLD_SEGMENTS_MAX][STORAGE_NAME_BYTES];
    for (unsigned i = 0; i < 4; i++) {
        commit(i, 100000);
        sync();
        log_prepare_step(world.log);
    }
    assert_int_equal(world_segments(&world, names), 2);
    assert_string_equal(names[0], "commit-00000000000000000001.log");
    assert_string_equal(names[1], "commit-00000000000000000003.log");
    reopen();
    assert_int_equal(world.found_count, 4);
    assert_int_equal(log_stats(world.log).segments, 2);
}

static void test_segments_of_fences_have_ordinals(void **state)
{
    (void)state;
    static char names[WORLD_SEGMENTS_MAX][STORAGE_NAME_BYTES];
    commit(0, 10);
    sync();
    for (unsigned i = 1; i <= 17500; i++) {
        fence(i);
        if (i % 500 == 0) {
            sync();
        }
    }
    commit(18000, 10);
    sync();
    assert_int_equal(world_segments(&world, names), 3);
    assert_string_equal(names[1], "commit-00000000000000000002.log");
    assert_string_equal(names[2], "commit-00000000000000000002-1.log");
    reopen();
    assert_int_equal(world.found_count, 17502);
    assert_int_equal(log_last_version(world.log), 2);
}

static void test_a_batch_that_outgrows_its_segment_goes_out_in_pieces(void **state)
{
    (void)state;
    commit(0, 150000);
    sync();
    log_prepare_step(world.log);
    commit(1, 90000);
    commit(2, 90000);
    assert_int_equal(log_stats(world.log).batches, 2);
    sync();
    assert_int_equal(log_stats(world.log).batches, 3);
    reopen();
    assert_int_equal(world.found_count, 3);
}

static void test_one_process_has_the_directory(void **state)
{
    (void)state;
    const struct log_visitor visitor = {0};
    struct log *second;
    struct log_problem problem;
    assert_int_equal(
        log_open(&world.config, storage_sim_storage(world.sim), &visitor, &second, &problem),
        ERR_FULL);
    assert_non_null(strstr(problem.text, "pid 1"));
}

/* ---- promises of space ---- */

static void test_a_promise_is_as_large_as_what_is_left(void **state)
{
    (void)state;
    size_t left = SEGMENT - LOG_SEGMENT_HEADER_BYTES;
    storage_sim_set_space(world.sim, storage_sim_used_bytes(world.sim));
    assert_false(log_try_reserve(world.log, left - LOG_RESERVE_BYTES + 1, LOG_RESERVE_COMMIT));
    assert_true(log_try_reserve(world.log, left - LOG_RESERVE_BYTES, LOG_RESERVE_COMMIT));
    assert_false(log_try_reserve(world.log, 1, LOG_RESERVE_COMMIT));
    /* Fences use the rest up. */
    assert_false(log_try_reserve(world.log, LOG_RESERVE_BYTES + 1, LOG_RESERVE_FENCE));
    assert_true(log_try_reserve(world.log, LOG_RESERVE_BYTES, LOG_RESERVE_FENCE));
    assert_false(log_try_reserve(world.log, 1, LOG_RESERVE_FENCE));
    /* What is given back can be promised again. */
    log_release(world.log, LOG_RESERVE_BYTES + 100);
    assert_false(log_try_reserve(world.log, 101, LOG_RESERVE_COMMIT));
    assert_true(log_try_reserve(world.log, 100, LOG_RESERVE_COMMIT));
    log_release(world.log, left - LOG_RESERVE_BYTES);
}

static void test_commits_go_on_when_there_is_space_again(void **state)
{
    (void)state;
    storage_sim_set_space(world.sim, storage_sim_used_bytes(world.sim));
    for (unsigned i = 0; i < 3; i++) {
        commit(i, 60000);
        sync();
    }
    struct log_record record = world_record(3, 4, 60000);
    assert_int_equal(world_append(&world, &record), ERR_FULL);
    assert_false(log_is_writable(world.log));
    fence(4);
    sync();
    /* A refusal has cost nothing, and nothing is tried until the helper does. */
    uint64_t calls = storage_sim_count(world.sim, STORAGE_SIM_CALLS);
    assert_int_equal(world_append(&world, &record), ERR_FULL);
    assert_int_equal(storage_sim_count(world.sim, STORAGE_SIM_CALLS), calls);
    storage_sim_set_space(world.sim, UINT64_MAX);
    log_prepare_step(world.log);
    assert_true(log_is_writable(world.log));
    assert_int_equal(world_append(&world, &record), OK);
    sync();
    reopen();
    assert_int_equal(world.found_count, 5);
}

/* The disk is full to the last byte when the segment is begun, which was promised: neither it nor
 * the state file that names it may need any more. */
static void test_a_full_disk_does_not_keep_a_prepared_segment_from_being_begun(void **state)
{
    (void)state;
    commit(0, 150000);
    sync();
    log_prepare_step(world.log);
    storage_sim_set_space(world.sim, storage_sim_used_bytes(world.sim));
    commit(1, 150000);
    sync();
    reopen();
    assert_int_equal(world.found_count, 2);
}

/* What was promised never fails, however little space there is. */
static void test_no_promise_is_broken(void **state)
{
    (void)state;
    struct random random = {7};
    unsigned refused = 0;
    unsigned appended = 0;
    for (unsigned i = 0; i < 4000; i++) {
        bool is_fence = random_once_in(&random, 3);
        size_t size = (size_t)random_less(&random, random_once_in(&random, 4) ? 100000 : 500);
        struct log_record record =
            world_record(i, is_fence ? 0 : log_last_version(world.log) + 1, size);
        enum err err = world_append(&world, &record);
        assert_true(err == OK || err == ERR_FULL);
        refused += err == ERR_FULL;
        appended += err == OK;
        if (random_once_in(&random, 3)) {
            sync();
        }
        if (random_once_in(&random, 50)) {
            log_prepare_step(world.log);
        }
        if (random_once_in(&random, 40)) {
            storage_sim_set_space(world.sim, storage_sim_used_bytes(world.sim) +
                                                 random_less(&random, SEGMENT + 1000));
        }
    }
    sync();
    assert_true(refused > 50 && appended > 500);
    storage_sim_set_space(world.sim, UINT64_MAX);
    reopen();
    assert_int_equal(world.found_count, appended);
}

/* ---- two threads ---- */

static unsigned calls_until_meanwhile;

/* What the sequence stage and the helper do while the persist stage waits for the disk. */
static void prepare_meanwhile(void *context)
{
    (void)context;
    if (--calls_until_meanwhile == 0) {
        if (log_try_reserve(world.log, 1000, LOG_RESERVE_COMMIT)) {
            log_release(world.log, 1000);
        }
        log_prepare_step(world.log);
    }
}

/* While a segment is being begun there is none prepared, and whoever wants one must not have the
 * next one prepared under the name that this one still has: at none of its calls. */
static void test_a_segment_that_is_begun_is_not_prepared_over(void **state)
{
    (void)state;
    for (unsigned nth = 1; nth <= 16; nth++) {
        world_deinit(&world);
        world_init(&world, nth);
        assert_int_equal(world_open(&world), OK);
        commit(0, 190000);
        sync();
        log_prepare_step(world.log);
        commit(1, 150000);
        calls_until_meanwhile = nth;
        storage_sim_set_meanwhile(world.sim, prepare_meanwhile, NULL);
        sync();
        storage_sim_set_meanwhile(world.sim, NULL, NULL);
        commit(2, 150000);
        sync();
        assert_int_equal(world_check_files(&world), 3);
        reopen();
        assert_int_equal(world.found_count, 3);
    }
}

/* ---- what is refused ---- */

/* The log is opened, and says `what`; nothing was changed. */
static void assert_refused(const char *what)
{
    world_close(&world);
    storage_sim_restart(world.sim, STORAGE_SIM_PROCESS_ENDS);
    uint64_t writes = storage_sim_count(world.sim, STORAGE_SIM_WRITE);
    uint64_t renames = storage_sim_count(world.sim, STORAGE_SIM_RENAME);
    assert_int_equal(world_open(&world), ERR_INVALID);
    if (strstr(world.problem.text, what) == NULL) {
        fail_msg("\"%s\" does not say \"%s\"", world.problem.text, what);
    }
    assert_int_equal(storage_sim_count(world.sim, STORAGE_SIM_WRITE), writes);
    assert_int_equal(storage_sim_count(world.sim, STORAGE_SIM_RENAME), renames);
}

/* Two batches of two records, and three segments after that. */
static void fill(void)
{
    for (unsigned i = 0; i < 4; i++) {
        commit(i, 1000);
        if (i % 2 == 1) {
            sync();
        }
    }
    for (unsigned i = 4; i < 7; i++) {
        commit(i, 190000);
        sync();
        log_prepare_step(world.log);
    }
}

static const char *const FIRST = "commit-00000000000000000001.log";

static void test_each_byte_of_what_is_behind_another_batch_counts(void **state)
{
    (void)state;
    commit(0, 20);
    sync();
    uint64_t end = world.log->offset;
    commit(1, 20);
    sync();
    for (uint64_t offset = LOG_SEGMENT_HEADER_BYTES; offset < end; offset++) {
        storage_sim_corrupt(world.sim, FIRST, offset, 1);
        bool is_padding = offset >= end - LOG_ALIGNMENT;
        if (!is_padding) {
            assert_refused("offset 64: no valid batch stands here");
        }
        storage_sim_corrupt(world.sim, FIRST, offset, 1);
    }
    reopen();
    assert_int_equal(world.found_count, 2);
}

static void test_a_damaged_end_of_a_segment_is_named(void **state)
{
    (void)state;
    fill();
    storage_sim_corrupt(world.sim, FIRST, world.config.segment_bytes / 2, 0x80);
    assert_refused("no valid batch stands here (number 2, after version 4), and the next segment");
    assert_non_null(strstr(world.problem.text, "weasel log repair --truncate-at 4 --yes"));
}

static void test_a_damaged_segment_header_is_named(void **state)
{
    (void)state;
    fill();
    storage_sim_corrupt(world.sim, FIRST, 20, 1);
    assert_refused("commit-00000000000000000001.log: its header (offset 0) is damaged");
}

static void test_a_missing_segment_is_named(void **state)
{
    (void)state;
    static char names[WORLD_SEGMENTS_MAX][STORAGE_NAME_BYTES];
    fill();
    unsigned count = world_segments(&world, names);
    assert_int_equal(count, 3);
    struct storage *storage = storage_sim_storage(world.sim);
    assert_int_equal(storage->operations->rename(storage, names[1], "away"), OK);
    assert_refused("a segment is missing before");
    assert_int_equal(storage->operations->rename(storage, "away", names[1]), OK);
    assert_int_equal(storage->operations->rename(storage, names[2], "away"), OK);
    assert_refused("segment number 2 is missing");
}

/* Also after a crash in which the first segment's name came to be durable before `state` knew it.
 */
static void test_a_missing_segment_is_noticed_after_any_start(void **state)
{
    (void)state;
    world_deinit(&world);
    for (uint64_t nth = 1;; nth++) {
        world_init(&world, nth);
        storage_sim_crash_at(world.sim, nth);
        bool started = world_open(&world) == OK;
        storage_sim_crash_at(world.sim, 0);
        world_close(&world);
        storage_sim_restart(world.sim, STORAGE_SIM_PROCESS_ENDS);
        assert_int_equal(world_open(&world), OK);
        commit(0, 10);
        sync();
        struct storage *storage = storage_sim_storage(world.sim);
        assert_int_equal(storage->operations->unlink(storage, FIRST), OK);
        assert_refused("all segments are missing");
        if (started) {
            break;
        }
        world_deinit(&world);
    }
}

static void test_a_log_without_its_state_is_refused(void **state)
{
    (void)state;
    fill();
    struct storage *storage = storage_sim_storage(world.sim);
    storage_sim_corrupt(world.sim, LOG_STATE_NAME, 30, 1);
    assert_refused("the file `state` is damaged");
    assert_int_equal(storage->operations->unlink(storage, LOG_STATE_NAME), OK);
    assert_refused("3 segments but no file `state`");
}

static void test_a_segment_of_another_log_is_refused(void **state)
{
    (void)state;
    fill();
    world_close(&world);
    struct storage *storage = storage_sim_storage(world.sim);
    size_t size;
    char *header = storage_sim_copy(world.sim, FIRST, &size);
    struct storage_file *file;
    assert_int_equal(storage->operations->open(storage, FIRST, false, &file), OK);
    log_segment_header_encode(&(struct log_segment_header){.log_id = 78, .first_version = 1},
                              header);
    assert_int_equal(storage->operations->write(storage, file, 0, header, LOG_SEGMENT_HEADER_BYTES),
                     OK);
    storage->operations->close(storage, file);
    free(header);
    assert_refused("belongs to another log");
}

#define on_log(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        on_log(test_an_empty_log),
        on_log(test_what_is_synced_comes_back),
        on_log(test_a_segment_follows_where_the_next_batch_does_not_fit),
        on_log(test_segments_of_fences_have_ordinals),
        on_log(test_a_batch_that_outgrows_its_segment_goes_out_in_pieces),
        on_log(test_one_process_has_the_directory),
        on_log(test_a_promise_is_as_large_as_what_is_left),
        on_log(test_commits_go_on_when_there_is_space_again),
        on_log(test_a_full_disk_does_not_keep_a_prepared_segment_from_being_begun),
        on_log(test_no_promise_is_broken),
        on_log(test_a_segment_that_is_begun_is_not_prepared_over),
        on_log(test_each_byte_of_what_is_behind_another_batch_counts),
        on_log(test_a_damaged_end_of_a_segment_is_named),
        on_log(test_a_damaged_segment_header_is_named),
        on_log(test_a_missing_segment_is_named),
        on_log(test_a_missing_segment_is_noticed_after_any_start),
        on_log(test_a_log_without_its_state_is_refused),
        on_log(test_a_segment_of_another_log_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
