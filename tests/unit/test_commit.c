/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The commit service on a simulated disk: what its answers must mean when the log fails, or the
 * process starts anew. Each test is one way in which an answer could be taken back.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "commit/commit.h"
#include "commitlog/storage_sim.h"

#include <errno.h>

enum { WINDOW_SEC = 60 };

static uint64_t clock_us;
static uint64_t clock_step_us; /* that it goes on each time it is read */

static uint64_t read_clock(void)
{
    clock_us += clock_step_us;
    return clock_us;
}

struct server {
    struct storage_sim *sim;
    struct log *log;
    struct commit_service *service;
    struct memory_budget budget;
    struct chunk_pool pool;
    struct arena arena;
};

static void start(struct server *server)
{
    const struct commit_config config = {
        .conflict_bytes_max = UINT64_C(8) << 20,
        .conflict_window_sec = WINDOW_SEC,
        .request_id_window_sec = WINDOW_SEC,
        .request_id_count_max = REQUEST_IDS_COUNT_MIN,
        .now_us = read_clock,
    };
    const struct log_config log_config = {.segment_bytes = LOG_SEGMENT_BYTES_MIN, .by_hand = true};
    struct log_problem problem;
    assert_int_equal(commit_open(&config, &server->service), OK);
    enum err err = log_open(&log_config, storage_sim_storage(server->sim),
                            commit_log_visitor(server->service), &server->log, &problem);
    if (err != OK) {
        fail_msg("%s", problem.text);
    }
    commit_start(server->service, server->log);
}

static void stop(struct server *server)
{
    log_close(server->log);
    commit_close(server->service);
}

static void restart(struct server *server, enum storage_sim_end end)
{
    storage_sim_crash_at(server->sim, 0);
    stop(server);
    storage_sim_restart(server->sim, end);
    start(server);
}

static int setup(void **state)
{
    struct server *server = calloc(1, sizeof *server);
    assert_non_null(server);
    clock_us = UINT64_C(1700000000000000);
    clock_step_us = 0;
    assert_int_equal(storage_sim_open(1, &server->sim), OK);
    memory_budget_init(&server->budget, 1 << 24);
    chunk_pool_init(&server->pool, &server->budget, 1 << 16);
    arena_init(&server->arena, &server->pool);
    start(server);
    *state = server;
    return 0;
}

static int teardown(void **state)
{
    struct server *server = *state;
    stop(server);
    storage_sim_close(server->sim);
    arena_reset(&server->arena);
    chunk_pool_deinit(&server->pool);
    free(server);
    return 0;
}

/* A transaction that writes one key, and may have read it. */
struct sent {
    struct txn txn;
    struct txn_precondition precondition;
    struct txn_operation operation;
};

static void set_write(struct sent *sent, const char *id, const char *key, const char *value)
{
    *sent =
        (struct sent){.operation = {bytes_from_string(key), bytes_from_string(value), TXN_WRITE}};
    sent->txn = (struct txn){.request_id = bytes_from_string(id),
                             .operations = &sent->operation,
                             .operation_count = 1,
                             .payload_hash = 1 + (uint64_t)(unsigned char)value[0]};
}

static void set_read(struct sent *sent, uint64_t version)
{
    sent->precondition =
        (struct txn_precondition){.begin = sent->operation.key, .version = version};
    sent->txn.preconditions = &sent->precondition;
    sent->txn.precondition_count = 1;
    sent->txn.version_max = version;
}

/* Runs the entries through all stages as one batch. */
static void run(struct server *server, struct commit_entry *entries, uint32_t count,
                uint64_t min_version)
{
    struct commit_request request = {.arena = &server->arena,
                                     .entries = entries,
                                     .entry_count = count,
                                     .min_version = min_version};
    struct commit_request *requests[] = {&request};
    commit_sequence(server->service, requests, 1);
    commit_resolve(server->service, requests, 1);
    (void)!commit_persist(server->service, requests, 1);
    commit_release(server->service, requests, 1);
}

static struct commit_entry send(struct server *server, struct sent *sent)
{
    struct commit_entry entry;
    commit_entry_init(&entry, &sent->txn, false);
    run(server, &entry, 1, 0);
    return entry;
}

static struct commit_entry ask(struct server *server, const char *id, uint64_t min_version)
{
    static struct txn question;
    struct commit_entry entry;
    question = (struct txn){.request_id = bytes_from_string(id)};
    commit_entry_init(&entry, &question, true);
    run(server, &entry, 1, min_version);
    return entry;
}

static struct commit_entry write_key(struct server *server, const char *id, const char *key)
{
    struct sent sent;
    set_write(&sent, id, key, "v");
    return send(server, &sent);
}

static void fail_next_sync(struct server *server)
{
    storage_sim_fail_at(server->sim, STORAGE_SIM_SYNC, 1, EIO);
}

static void test_a_conflict_with_a_write_that_is_lost_is_not_told(void **state)
{
    struct server *server = *state;
    struct sent sent[2];
    struct commit_entry entries[2];
    set_write(&sent[0], "first", "k", "v");
    set_write(&sent[1], "second", "k", "v");
    set_read(&sent[1], 0);
    commit_entry_init(&entries[0], &sent[0].txn, false);
    commit_entry_init(&entries[1], &sent[1].txn, false);
    fail_next_sync(server);
    run(server, entries, 2, 0);
    assert_int_equal(entries[0].outcome, OUTCOME_FAILED);
    assert_int_equal(entries[1].outcome, OUTCOME_FAILED);
    assert_int_equal(entries[1].conflict_count, 0);
    /* Nor is a conflict that is found later. */
    assert_int_equal(send(server, &sent[1]).outcome, OUTCOME_FAILED);
}

static void test_what_is_unknown_has_no_version(void **state)
{
    struct server *server = *state;
    fail_next_sync(server);
    struct commit_entry entry = write_key(server, "a", "k");
    assert_int_equal(entry.outcome, OUTCOME_FAILED);
    assert_int_equal(commit_entry_result(server->service, &entry).version, 0);
}

static void test_a_fence_that_is_lost_is_not_told(void **state)
{
    struct server *server = *state;
    struct txn question = {.request_id = BYTES("late")};
    struct sent sent;
    struct commit_entry entries[2];
    set_write(&sent, "late", "k", "v");
    commit_entry_init(&entries[0], &question, true);
    commit_entry_init(&entries[1], &sent.txn, false);
    fail_next_sync(server);
    run(server, entries, 2, 0);
    assert_int_equal(entries[0].outcome, OUTCOME_FAILED);
    assert_int_equal(entries[1].outcome, OUTCOME_FAILED);
}

static void test_a_known_id_is_unknown_after_a_failure(void **state)
{
    struct server *server = *state;
    fail_next_sync(server);
    assert_int_equal(write_key(server, "a", "k").outcome, OUTCOME_FAILED);
    assert_int_equal(write_key(server, "a", "k").outcome, OUTCOME_FAILED);
    struct commit_entry other = write_key(server, "b", "k");
    assert_int_equal(other.outcome, OUTCOME_STOPPED);
    assert_string_equal(commit_entry_result(server->service, &other).status, "not_committed");
}

static void test_a_refused_question_denies_nothing(void **state)
{
    struct server *server = *state;
    fail_next_sync(server);
    (void)write_key(server, "a", "k");
    struct commit_entry entry = ask(server, "a", 0);
    assert_int_equal(entry.outcome, OUTCOME_STOPPED);
    struct txn_result result = commit_entry_result(server->service, &entry);
    assert_int_equal(result.http_status, 503);
    assert_string_equal(result.status, "unknown");
}

static void test_another_payload_of_a_refused_id_never_commits(void **state)
{
    struct server *server = *state;
    struct sent refused;
    struct sent other;
    assert_int_equal(write_key(server, "a", "k").outcome, OUTCOME_COMMITTED);
    set_write(&refused, "b", "k", "v");
    set_read(&refused, 0);
    assert_int_equal(send(server, &refused).outcome, OUTCOME_CONFLICT);
    set_write(&other, "b", "k", "w");
    assert_int_equal(send(server, &other).outcome, OUTCOME_OTHER_PAYLOAD);
    assert_int_equal(send(server, &refused).outcome, OUTCOME_CONFLICT);
    restart(server, STORAGE_SIM_POWER_LOSS);
    assert_int_equal(send(server, &other).outcome, OUTCOME_FENCED);
}

static void test_another_payload_of_a_pending_id_waits_for_it(void **state)
{
    struct server *server = *state;
    struct sent sent[2];
    struct commit_entry entries[2];
    set_write(&sent[0], "a", "k", "v");
    set_write(&sent[1], "a", "k", "w");
    commit_entry_init(&entries[0], &sent[0].txn, false);
    commit_entry_init(&entries[1], &sent[1].txn, false);
    run(server, entries, 2, 0);
    assert_int_equal(entries[0].outcome, OUTCOME_COMMITTED);
    assert_int_equal(entries[1].outcome, OUTCOME_OTHER_PAYLOAD);
    restart(server, STORAGE_SIM_POWER_LOSS);
    assert_int_equal(ask(server, "a", 0).version, 1);
}

static void test_what_is_too_old_never_commits(void **state)
{
    struct server *server = *state;
    struct sent sent;
    assert_int_equal(write_key(server, "a", "other").outcome, OUTCOME_COMMITTED);
    clock_us += 2000000;
    assert_int_equal(write_key(server, "b", "other").outcome, OUTCOME_COMMITTED);
    clock_us += (WINDOW_SEC + 10) * UINT64_C(1000000);
    set_write(&sent, "c", "k", "v");
    set_read(&sent, 0);
    assert_int_equal(send(server, &sent).outcome, OUTCOME_TOO_OLD);
    assert_int_equal(send(server, &sent).outcome, OUTCOME_TOO_OLD);
    /* The clock is set back: all is young again, and nothing speaks against it. */
    clock_us -= (WINDOW_SEC + 10) * UINT64_C(1000000);
    restart(server, STORAGE_SIM_POWER_LOSS);
    assert_int_equal(commit_version_info(server->service).oldest_read_version, 0);
    assert_int_equal(send(server, &sent).outcome, OUTCOME_FENCED);
}

static void test_the_later_use_of_an_id_counts_after_a_restart(void **state)
{
    struct server *server = *state;
    char id[16];
    struct sent conflict;
    assert_int_equal(write_key(server, "again", "k").version, 1);
    /* Refusals push it out of the window, and are not in the log. */
    for (unsigned i = 0; i < REQUEST_IDS_COUNT_MIN; i++) {
        (void)snprintf(id, sizeof id, "r%u", i);
        set_write(&conflict, id, "k", "v");
        set_read(&conflict, 0);
        assert_int_equal(send(server, &conflict).outcome, OUTCOME_CONFLICT);
    }
    assert_int_equal(ask(server, "again", 0).outcome, OUTCOME_EXPIRED);
    assert_int_equal(write_key(server, "again", "k").version, 2);
    assert_int_equal(ask(server, "again", 0).version, 2);
    restart(server, STORAGE_SIM_POWER_LOSS);
    assert_int_equal(ask(server, "again", 0).version, 2);
}

/* Each read of the clock takes as long as the window is deep: whichever read comes last finds the
 * commit too old. It must then be known to be forgotten. */
static void test_a_commit_at_the_edge_of_the_window_is_not_denied(void **state)
{
    struct server *server = *state;
    uint64_t committed_us = clock_us;
    assert_int_equal(write_key(server, "edge", "k").version, 1);
    for (unsigned reads = 0; reads < 12; reads++) {
        clock_us = committed_us + WINDOW_SEC * UINT64_C(1000000) - reads;
        clock_step_us = 1;
        restart(server, STORAGE_SIM_PROCESS_ENDS);
        enum commit_outcome outcome = ask(server, "edge", 0).outcome;
        assert_true(outcome == OUTCOME_COMMITTED || outcome == OUTCOME_EXPIRED);
    }
}

static void test_an_answered_commit_survives_all_that_ends_a_process(void **state)
{
    struct server *server = *state;
    assert_int_equal(write_key(server, "a", "k").version, 1);
    fail_next_sync(server);
    assert_int_equal(write_key(server, "b", "k").outcome, OUTCOME_FAILED);
    restart(server, STORAGE_SIM_PROCESS_ENDS);
    struct commit_entry found = ask(server, "b", 0);
    restart(server, STORAGE_SIM_POWER_LOSS);
    struct commit_entry again = ask(server, "b", 0);
    assert_int_equal(again.outcome, found.outcome);
    assert_int_equal(again.version, found.version);
    assert_int_equal(ask(server, "a", 0).version, 1);
}

#define on_server(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        on_server(test_a_conflict_with_a_write_that_is_lost_is_not_told),
        on_server(test_what_is_unknown_has_no_version),
        on_server(test_a_fence_that_is_lost_is_not_told),
        on_server(test_a_known_id_is_unknown_after_a_failure),
        on_server(test_a_refused_question_denies_nothing),
        on_server(test_another_payload_of_a_refused_id_never_commits),
        on_server(test_another_payload_of_a_pending_id_waits_for_it),
        on_server(test_what_is_too_old_never_commits),
        on_server(test_the_later_use_of_an_id_counts_after_a_restart),
        on_server(test_a_commit_at_the_edge_of_the_window_is_not_denied),
        on_server(test_an_answered_commit_survives_all_that_ends_a_process),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
