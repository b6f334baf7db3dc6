/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The commit log at every crash: each storage call of a workload is tried as the last one, and each
 * as the one that fails, with several outcomes for what was not synced.
 *
 *   test_log_crash [SEED [OUTCOMES]]
 *
 * What must hold after any of it
 *  1. The log opens.
 *  2. It holds exactly what was acknowledged, and at most the whole batch that was under way.
 *  3. What it has once told of stays, also when the power fails right after.
 *  4. It goes on from there, and all that is added later stays too.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/random.h"
#include "support/log_world.h"

#include <errno.h>
#include <string.h>

static uint64_t seed = 1;
static unsigned outcomes = 4;
static unsigned stride = 1; /* of the crashes before the second one */

/* ---- workloads ---- */

enum step { END, COMMIT, FENCE, SYNC, PREPARE, REOPEN };

struct action {
    enum step step;
    unsigned times;
    size_t value_bytes;
};

static const struct action SMALL_BATCHES[] = {
    {COMMIT, 1, 10}, {SYNC, 1, 0}, {COMMIT, 3, 100}, {FENCE, 1, 0}, {SYNC, 1, 0},
    {FENCE, 2, 0},   {SYNC, 1, 0}, {COMMIT, 2, 700}, {SYNC, 1, 0},  {END, 0, 0},
};
/* Segments of 256 KiB: a switch with the next one prepared, and one where it is not. */
static const struct action SWITCHES[] = {
    {COMMIT, 1, 90000}, {SYNC, 1, 0},       {PREPARE, 1, 0}, {COMMIT, 2, 70000},
    {SYNC, 1, 0},       {COMMIT, 1, 60000}, {SYNC, 1, 0},    {COMMIT, 1, 150000},
    {SYNC, 1, 0},       {COMMIT, 1, 5},     {SYNC, 1, 0},    {END, 0, 0},
};
/* More than what is left of the segment, in one batch: it goes out in pieces. */
static const struct action PIECES[] = {
    {COMMIT, 1, 60000}, {SYNC, 1, 0}, {PREPARE, 1, 0}, {COMMIT, 3, 60000}, {FENCE, 3, 0},
    {COMMIT, 1, 2000},  {SYNC, 1, 0}, {COMMIT, 1, 5},  {SYNC, 1, 0},       {END, 0, 0},
};
/* Segments of nothing but fences. */
static const struct action FENCES[] = {
    {FENCE, 1500, 0}, {SYNC, 1, 0}, {FENCE, 2500, 0}, {SYNC, 1, 0}, {PREPARE, 1, 0},
    {FENCE, 1000, 0}, {SYNC, 1, 0}, {COMMIT, 1, 50},  {SYNC, 1, 0}, {END, 0, 0},
};
static const struct action STARTS[] = {
    {COMMIT, 1, 300}, {SYNC, 1, 0},    {REOPEN, 1, 0}, {REOPEN, 1, 0},      {COMMIT, 2, 300},
    {SYNC, 1, 0},     {PREPARE, 1, 0}, {REOPEN, 1, 0}, {COMMIT, 1, 190000}, {SYNC, 1, 0},
    {REOPEN, 1, 0},   {COMMIT, 1, 9},  {SYNC, 1, 0},   {END, 0, 0},
};

static const struct workload {
    const char *name;
    const struct action *actions;
} WORKLOADS[] = {
    {"small batches", SMALL_BATCHES},
    {"segment switches", SWITCHES},
    {"batches in pieces", PIECES},
    {"fences only", FENCES},
    {"starts", STARTS},
};

enum { WORKLOAD_COUNT = sizeof WORKLOADS / sizeof WORKLOADS[0] };

/* What was given to the log, in order. */
struct ledger {
    uint64_t hashes[WORLD_RECORDS_MAX];
    unsigned appended;
    unsigned acknowledged;
    uint64_t version;
};

static struct world world;
static struct ledger ledger;
static char where[200]; /* what is being tried, for failures */

static void say_where(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void say_where(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(where, sizeof where, format, arguments);
    va_end(arguments);
}

/* ERR_SYSTEM: the log has failed. */
static enum err append_one(const struct action *action)
{
    uint64_t version = action->step == COMMIT ? ledger.version + 1 : 0;
    struct log_record record = world_record(ledger.appended, version, action->value_bytes);
    uint64_t batches = log_stats(world.log).batches;
    enum err err = world_append(&world, &record);
    if (log_stats(world.log).batches > batches) {
        ledger.acknowledged = ledger.appended; /* a piece has gone out before it */
    }
    if (err == OK) {
        ledger.hashes[ledger.appended++] = world_record_hash(&record);
        ledger.version += action->step == COMMIT;
    }
    return err;
}

static enum err act(const struct action *action)
{
    switch (action->step) {
    case COMMIT:
    case FENCE:
        return append_one(action);
    case SYNC: {
        enum err err = world_sync(&world);
        ledger.acknowledged = err == OK ? ledger.appended : ledger.acknowledged;
        return err;
    }
    case PREPARE:
        log_prepare_step(world.log);
        return OK;
    case REOPEN:
        world_close(&world);
        storage_sim_restart(world.sim, STORAGE_SIM_PROCESS_ENDS);
        return world_open(&world);
    case END:
        break;
    }
    fail();
    return OK;
}

/* Up to the first error. */
static enum err run(const struct action *actions)
{
    enum err err = world_open(&world);
    for (const struct action *action = actions; err == OK && action->step != END; action++) {
        for (unsigned i = 0; err == OK && i < action->times; i++) {
            err = act(action);
        }
    }
    return err;
}

static void begin(uint64_t try_seed)
{
    world_init(&world, try_seed);
    memset(&ledger, 0, sizeof ledger);
}

/* ---- what must hold ---- */

static void open_or_fail(void)
{
    enum err err = world_open(&world);
    if (err != OK) {
        fail_msg("%s: refused: %s", where, world.problem.text);
    }
}

/* Rules 1 and 2; what is there counts as acknowledged from now on. */
static void check_found(unsigned may_be_there)
{
    if (world.found_count != ledger.acknowledged && world.found_count != may_be_there) {
        fail_msg("%s: %u records found, %u were acknowledged, and a batch up to %u was under way",
                 where, world.found_count, ledger.acknowledged, may_be_there);
    }
    uint64_t version = 0;
    for (unsigned i = 0; i < world.found_count; i++) {
        version += world.found[i].type == LOG_RECORD_COMMIT;
        if (world.found[i].hash != ledger.hashes[i]) {
            fail_msg("%s: record %u is not what was appended", where, i);
        }
    }
    assert_int_equal(log_last_version(world.log), version);
    assert_int_equal(world_check_files(&world), world.found_count);
    ledger.acknowledged = ledger.appended = world.found_count;
    ledger.version = version;
}

static enum storage_sim_end some_end(struct random *random)
{
    return random_once_in(random, 3) ? STORAGE_SIM_PROCESS_ENDS : STORAGE_SIM_POWER_LOSS;
}

/* From the end of a process on: all rules. */
static void check_recovery(enum storage_sim_end end)
{
    static const struct action more[] = {{COMMIT, 2, 1000}, {SYNC, 1, 0},  {COMMIT, 1, 120000},
                                         {SYNC, 1, 0},      {FENCE, 2, 0}, {SYNC, 1, 0}};
    world_close(&world);
    storage_sim_restart(world.sim, end);
    open_or_fail();
    check_found(ledger.appended);
    /* Rule 3: it was told, so it is durable. */
    storage_sim_crash_at(world.sim, 0);
    world_close(&world);
    storage_sim_restart(world.sim, STORAGE_SIM_POWER_LOSS);
    open_or_fail();
    check_found(ledger.appended);
    for (size_t i = 0; i < sizeof more / sizeof more[0]; i++) {
        for (unsigned j = 0; j < more[i].times; j++) {
            enum err err = act(&more[i]);
            if (err != OK) {
                fail_msg("%s: what is added later: %s", where, err_name(err));
            }
        }
    }
    storage_sim_crash_at(world.sim, 0);
    world_close(&world);
    storage_sim_restart(world.sim, STORAGE_SIM_POWER_LOSS);
    open_or_fail();
    check_found(ledger.appended);
}

/* ---- the tries ---- */

static uint64_t calls_of(const struct action *actions)
{
    begin(seed);
    assert_int_equal(run(actions), OK);
    uint64_t calls = storage_sim_count(world.sim, STORAGE_SIM_CALLS);
    world_deinit(&world);
    return calls;
}

static void test_every_call_as_the_last(void **state)
{
    (void)state;
    for (unsigned w = 0; w < WORKLOAD_COUNT; w++) {
        uint64_t calls = calls_of(WORKLOADS[w].actions);
        for (uint64_t n = 1; n <= calls * outcomes; n++) {
            uint64_t nth = (n - 1) / outcomes + 1;
            struct random random = {seed * 1000003 + w * 100003 + n};
            begin(random_next(&random));
            say_where("%s, call %llu of %llu, outcome %llu, seed %llu", WORKLOADS[w].name,
                      (unsigned long long)nth, (unsigned long long)calls,
                      (unsigned long long)(n % outcomes), (unsigned long long)seed);
            storage_sim_crash_at(world.sim, nth);
            if (run(WORKLOADS[w].actions) == OK) {
                storage_sim_crash_at(world.sim, 0); /* the preparer had the last call */
            }
            assert_true(storage_sim_has_crashed(world.sim));
            check_recovery(some_end(&random));
            world_deinit(&world);
        }
    }
}

/* A crash, then a second one at each call of the recovery. */
static void test_every_call_of_recovery_as_the_last(void **state)
{
    (void)state;
    for (unsigned w = 0; w < WORKLOAD_COUNT; w++) {
        uint64_t calls = calls_of(WORKLOADS[w].actions);
        for (uint64_t nth = 1 + seed % stride; nth <= calls; nth += stride) {
            bool recovered = false;
            for (uint64_t second = 1; !recovered; second++) {
                struct random random = {seed * 1000003 + w * 100003 + nth * 1009 + second};
                begin(random_next(&random));
                say_where("%s, call %llu, then call %llu of recovery, seed %llu", WORKLOADS[w].name,
                          (unsigned long long)nth, (unsigned long long)second,
                          (unsigned long long)seed);
                storage_sim_crash_at(world.sim, nth);
                (void)run(WORKLOADS[w].actions);
                storage_sim_crash_at(world.sim, 0);
                world_close(&world);
                storage_sim_restart(world.sim, some_end(&random));
                storage_sim_crash_at(world.sim, second);
                recovered = world_open(&world) == OK && !storage_sim_has_crashed(world.sim);
                storage_sim_crash_at(world.sim, 0);
                check_recovery(some_end(&random));
                world_deinit(&world);
            }
        }
    }
}

/* The nth call of a kind fails; true: it was made. */
static bool try_failure(const struct workload *workload, enum storage_sim_call call, uint64_t nth,
                        int error, unsigned outcome)
{
    struct random random = {seed * 7919 + nth * 3137 + (uint64_t)call * 31 + outcome};
    begin(random_next(&random));
    say_where("%s, call %llu of kind %d fails with %s, outcome %u, seed %llu", workload->name,
              (unsigned long long)nth, (int)call, strerror(error), outcome,
              (unsigned long long)seed);
    storage_sim_fail_at(world.sim, call, nth, error);
    enum err err = run(workload->actions);
    bool made = storage_sim_has_failed(world.sim);
    storage_sim_fail_at(world.sim, call, 0, 0);
    if (err == ERR_SYSTEM && world.log != NULL) {
        /* It is final: nothing is tried again. */
        struct log_record record = world_record(0, log_last_version(world.log) + 1, 1);
        uint64_t syncs = storage_sim_count(world.sim, STORAGE_SIM_SYNC);
        assert_int_equal(log_append(world.log, &record, ++world.now_us), ERR_SYSTEM);
        assert_int_equal(world_sync(&world), ERR_SYSTEM);
        assert_int_equal(storage_sim_count(world.sim, STORAGE_SIM_SYNC), syncs);
    }
    if (err == OK || err == ERR_FULL) {
        /* Without the next segment commits wait; then they go on. */
        assert_true(err == OK || made);
        log_prepare_step(world.log);
        assert_true(log_is_writable(world.log));
        assert_int_equal(act(&(struct action){SYNC, 1, 0}), OK);
    }
    check_recovery(STORAGE_SIM_PROCESS_ENDS);
    world_deinit(&world);
    return made;
}

/* Each call of the kind in turn, with several outcomes each; returns how many were made. */
static unsigned try_failures(const struct workload *workload, enum storage_sim_call call, int error)
{
    unsigned made = 0;
    for (uint64_t nth = 1;; nth++) {
        for (unsigned i = 0; i < outcomes; i++) {
            if (!try_failure(workload, call, nth, error, i)) {
                return made;
            }
        }
        made++;
    }
}

static void test_every_call_fails_in_turn(void **state)
{
    (void)state;
    for (int call = 0; call < STORAGE_SIM_CALLS; call++) {
        unsigned made = 0;
        for (unsigned w = 0; w < WORKLOAD_COUNT; w++) {
            made += try_failures(&WORKLOADS[w], (enum storage_sim_call)call, EIO);
        }
        if (made == 0) {
            fail_msg("no call of kind %d was made", call);
        }
    }
    for (unsigned w = 0; w < WORKLOAD_COUNT; w++) {
        assert_true(try_failures(&WORKLOADS[w], STORAGE_SIM_WRITE, ENOSPC) > 0);
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_call_as_the_last),
        cmocka_unit_test(test_every_call_of_recovery_as_the_last),
        cmocka_unit_test(test_every_call_fails_in_turn),
    };
    /* Under sanitizers this takes ten times as long, and a part shows them as much. */
    const char *scale = getenv("WEASELDB_TEST_SCALE");
    if (scale != NULL && strtod(scale, NULL) < 1) {
        outcomes = 1;
        stride = 8;
    }
    seed = argc > 1 ? strtoull(argv[1], NULL, 10) : seed;
    outcomes = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) : outcomes;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
