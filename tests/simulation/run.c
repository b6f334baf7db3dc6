/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A run: requests wait in one queue; four numbers say how far each stage is in it. A step lets one
 * of them go on, so that any speeds of the stages happen. Everything else that may happen is a step
 * as well.
 */
#include "commit/commit_internal.h"
#include "commitlog/log_internal.h"
#include "commitlog/storage_sim.h"
#include "simulation/damage.h"
#include "simulation/keeping.h"
#include "simulation/simulation.h"
#include "simulation/subscribers.h"
#include "simulation/workload.h"

#include "base/check.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

enum { QUEUE_MAX = 128, STAGE_SEQUENCE = 0, STAGE_RESOLVE, STAGE_PERSIST, STAGE_RELEASE, STAGES };

#define START_US UINT64_C(1700000000000000)

struct run {
    struct random random;
    struct workload workload;
    struct model *model;
    struct storage_sim *sim;
    struct subscribers *subscribers;
    struct keeping keeping;
    struct log *log;
    struct commit_service *service;
    struct ticket *queue[QUEUE_MAX]; /* by number modulo QUEUE_MAX */
    uint64_t sent;                   /* tickets so far */
    uint64_t done[STAGES];           /* tickets that have passed it */
    unsigned failed_steps;           /* that a failed server still takes */
    bool was_refused_space;
    bool is_draining; /* nothing else goes on */
    bool is_keeping;  /* the thread of retention, or one that changes a policy, is at work */
    bool must_end;    /* one of them has failed for good */
    bool verbose;
    bool has_started; /* once */
    bool ids_have_moved;
    uint64_t answers;
    uint64_t restarts;
    uint64_t trace;
};

static uint64_t clock_us; /* the simulated time of day */
static unsigned current_step;

static uint64_t read_clock(void)
{
    return clock_us;
}

static void say(const struct run *run, const char *what, uint64_t number)
{
    if (run->verbose) {
        (void)fprintf(stderr, "%6u  %s %" PRIu64 "\n", current_step, what, number);
    }
}

static void set_clock(struct run *run, uint64_t now_us)
{
    clock_us = now_us;
    model_set_clock(run->model, now_us);
}

static struct ticket *ticket_at(const struct run *run, uint64_t number)
{
    return run->queue[number % QUEUE_MAX];
}

static bool due(struct run *run, unsigned every)
{
    return every > 0 && random_once_in(&run->random, every);
}

/* ---- starting ---- */

struct recovery {
    struct run *run;
    const struct log_visitor *visitor;
    bool wanted;
};

static bool visit_batch(void *context, const struct log_batch_header *header)
{
    struct recovery *recovery = context;
    recovery->wanted = recovery->visitor->batch(recovery->visitor->context, header);
    return true; /* the model wants all */
}

static void visit_record(void *context, const struct log_record *record, uint64_t timestamp_us)
{
    struct recovery *recovery = context;
    model_recovered_record(recovery->run->model, record);
    if (recovery->wanted) {
        recovery->visitor->record(recovery->visitor->context, record, timestamp_us);
    }
}

static struct log_config config_of_log(const struct run *run)
{
    return (struct log_config){
        .segment_bytes = LOG_SEGMENT_BYTES_MIN, .by_hand = true, .retention = run->keeping.config};
}

/* False: the disk did not let it, or it was wrong. */
static bool try_start(struct run *run)
{
    struct log_config log_config = config_of_log(run);
    log_config.new_log_id = random_next(&run->random) | 1;
    struct commit_config config = run->model->config;
    struct log_problem problem;
    uint64_t no_space_before = storage_sim_no_space_count(run->sim);
    config.start_id = random_next(&run->random) | 1;
    CHECK(commit_open(&config, &run->service) == OK);
    struct recovery recovery = {.run = run, .visitor = commit_log_visitor(run->service)};
    const struct log_visitor visitor = {
        .context = &recovery, .batch = visit_batch, .record = visit_record};
    model_recovery_begins(run->model);
    enum err err =
        log_open(&log_config, storage_sim_storage(run->sim), &visitor, &run->log, &problem);
    if (err != OK || storage_sim_has_crashed(run->sim)) {
        bool is_full = storage_sim_no_space_count(run->sim) > no_space_before;
        bool excused = storage_sim_has_crashed(run->sim) || storage_sim_has_failed(run->sim);
        mark_counts[MARK_no_space_to_start] += is_full;
        if (is_full) {
            storage_sim_set_space(run->sim, UINT64_MAX);
        }
        if (!(excused || is_full) || (err != OK && err != ERR_SYSTEM)) {
            model_complain(run->model, "the log was refused: %s", problem.text);
        }
        if (err == OK) {
            log_close(run->log);
        }
        run->log = NULL;
        commit_close(run->service);
        run->service = NULL;
        return false;
    }
    commit_start(run->service, run->log);
    model_recovered(run->model, log_first_version(run->log));
    keeping_check_policies(&run->keeping, run->log);
    subscribers_start(run->subscribers, run->log, run->service);
    model_check_conflict_floor(run->model, commit_version_info(run->service).oldest_read_version);
    if (log_last_version(run->log) != run->model->last_version) {
        model_complain(run->model, "recovered up to version %" PRIu64 ", not %" PRIu64,
                       log_last_version(run->log), run->model->last_version);
    }
    mark_counts[MARK_segment_of_fences] += run->log->segment_ordinal > 0;
    run->has_started = true;
    return true;
}

/* Starts until it succeeds; each time something else may break. */
static void start(struct run *run)
{
    for (unsigned tries = 0; run->model->problem[0] == '\0'; tries++) {
        bool may_break = tries < 3 && run->workload.profile.crash_every > 0;
        storage_sim_fail_at(run->sim, STORAGE_SIM_CALLS, 0, 0);
        if (may_break && random_once_in(&run->random, 3)) {
            storage_sim_crash_at(run->sim, 1 + random_less(&run->random, 25));
        } else if (may_break && random_once_in(&run->random, 6)) {
            run->model->space_was_short = true; /* it may strike when a segment is prepared */
            storage_sim_fail_at(run->sim, STORAGE_SIM_CALLS, 1 + random_less(&run->random, 25),
                                EIO);
        }
        if (tries == 0 && run->workload.profile.shortage_every > 0 &&
            random_once_in(&run->random, 20)) {
            run->model->space_was_short = true;
            storage_sim_set_space(run->sim, storage_sim_used_bytes(run->sim) +
                                                random_less(&run->random, 16 << 10));
        }
        if (try_start(run)) {
            return;
        }
        if (storage_sim_has_crashed(run->sim)) {
            MARK(crash_in_recovery);
            mark_counts[MARK_crash_in_first_start] += !run->has_started;
        } else {
            MARK(error_in_recovery);
        }
        say(run, "the start failed, try", tries);
        storage_sim_restart(run->sim, random_once_in(&run->random, 2) ? STORAGE_SIM_POWER_LOSS
                                                                      : STORAGE_SIM_PROCESS_ENDS);
    }
}

/* ---- stages ---- */

static void note_sequenced(struct run *run, const struct ticket *ticket)
{
    for (uint32_t i = 0; i < ticket->request.entry_count; i++) {
        const struct commit_entry *entry = &ticket->request.entries[i];
        bool rides = entry->step == COMMIT_RIDE;
        mark_counts[MARK_repeat_rides] += rides && !entry->is_question;
        if (rides && ticket->ids[i]->payloads[1] == ticket->txns[i] && !entry->is_question) {
            MARK(other_payload_of_pending);
        }
    }
    run->model->ids_were_many = run->model->ids_were_many || ticket->request.entry_count > 10;
}

static void run_sequence(struct run *run, struct commit_request *const *requests, size_t count)
{
    struct model_passage seen = {
        .leader = run->service->leader,
        .sequenced = {clock_us, run->model->tick},
        .durable_version = commit_version_info(run->service).version,
        .was_failed = run->model->has_failed,
    };
    seen.ids_floor[0] = commit_version_info(run->service).request_id_min_version;
    commit_sequence(run->service, requests, count);
    /* While a segment is being begun there is none to promise; a thread would wait for that. */
    seen.promised_bytes =
        run->log->is_taken ? LOG_SEGMENT_BYTES_MIN : atomic_load(&run->log->reserved);
    seen.ids_floor[1] = commit_version_info(run->service).request_id_min_version;
    if (seen.ids_floor[1] > seen.ids_floor[0]) {
        MARK(window_of_ids_moves);
    }
    for (size_t i = 0; i < count; i++) {
        struct ticket *ticket = ticket_at(run, run->done[STAGE_SEQUENCE] + i);
        seen.min_version = ticket->passage.min_version;
        ticket->passage = seen;
        note_sequenced(run, ticket);
    }
    if (storage_sim_no_space_count(run->sim) > 0) {
        run->model->space_was_short = true;
    }
}

/* What riders came to. */
static void note_resolved(struct run *run, const struct ticket *ticket, const uint8_t *rode)
{
    for (uint32_t i = 0; i < ticket->request.entry_count; i++) {
        const struct commit_entry *entry = &ticket->request.entries[i];
        if (rode[i] && entry->is_question) {
            if (entry->outcome == OUTCOME_COMMITTED) {
                MARK(question_rides_to_committed);
            } else {
                MARK(question_rides_to_rejected);
            }
        }
        if (entry->step == COMMIT_APPEND) {
            model_given(run->model, entry->version);
        }
    }
}

static void run_resolve(struct run *run, struct commit_request *const *requests, size_t count)
{
    static uint8_t rode[QUEUE_MAX][REQUEST_IDS_COUNT_MIN * 2];
    uint64_t before = commit_version_info(run->service).oldest_read_version;
    for (size_t i = 0; i < count; i++) {
        for (uint32_t j = 0; j < requests[i]->entry_count; j++) {
            rode[i][j] = requests[i]->entries[j].step == COMMIT_RIDE;
        }
    }
    commit_resolve(run->service, requests, count);
    uint64_t after = commit_version_info(run->service).oldest_read_version;
    for (size_t i = 0; i < count; i++) {
        struct ticket *ticket = ticket_at(run, run->done[STAGE_RESOLVE] + i);
        ticket->passage.conflict_floor[0] = before;
        ticket->passage.conflict_floor[1] = after;
        note_resolved(run, ticket, rode[i]);
    }
    if (after > before) {
        MARK(window_of_conflicts_moves);
        model_check_conflict_floor(run->model, after);
    }
}

/* What goes to the log, for the model; ids that the server has made come to be known. */
static void tell_appends(struct run *run, struct ticket *ticket)
{
    for (uint32_t i = 0; i < ticket->request.entry_count; i++) {
        const struct commit_entry *entry = &ticket->request.entries[i];
        if (entry->step != COMMIT_APPEND && entry->step != COMMIT_FENCE) {
            continue;
        }
        if (ticket->ids[i] == NULL) {
            struct model_id *id = model_add_id(run->model, entry->request_id);
            id->was_made_by_server = true;
            id->payloads[0] = (struct model_txn *)(uintptr_t)ticket->txns[i];
            id->known_version = ticket->passage.durable_version;
            ticket->ids[i] = id;
        }
        struct log_record record = {.type = LOG_RECORD_FENCE, .request_id = entry->request_id};
        if (entry->step == COMMIT_APPEND) {
            record.type = LOG_RECORD_COMMIT;
            record.version = entry->version;
            record.payload_hash = entry->txn->payload_hash;
            record.operations = entry->txn->operations;
            record.operation_count = entry->txn->operation_count;
        }
        model_append(run->model, &record, ticket->ids[i], ticket->txns[i]);
    }
}

static void send(struct run *run);
static void run_stage_in_part(struct run *run, unsigned stage);

/* Nobody is writing `state`, who would have to be waited for. */
static bool state_is_free(struct run *run)
{
    if (pthread_mutex_trylock(&run->log->state_lock) != 0) {
        return false;
    }
    log_unlock(&run->log->state_lock);
    return true;
}

static void meanwhile(void *context);

static void change_policy(struct run *run)
{
    if (run->must_end) {
        return;
    }
    run->is_keeping = true;
    run->must_end = !keeping_change_policy(&run->keeping, run->log) || run->must_end;
    run->is_keeping = false;
}

static void remove_segments(struct run *run)
{
    if (run->must_end) {
        return;
    }
    run->is_keeping = true;
    run->must_end = !keeping_remove(&run->keeping, run->log) || run->must_end;
    run->is_keeping = false;
    mark_counts[MARK_removed_under_a_cursor] += subscribers_in_removed_segments(run->subscribers);
}

/* While one thread waits for the disk, the others go on. */
static void meanwhile(void *context)
{
    struct run *run = context;
    if (storage_sim_has_crashed(run->sim) || random_once_in(&run->random, 2)) {
        return;
    }
    bool is_free = state_is_free(run);
    uint64_t what = random_less(&run->random, 8);
    if (what == 0) {
        send(run);
    } else if (what == 1 && (is_free || run->log->is_taken)) {
        run_stage_in_part(run, STAGE_SEQUENCE);
        mark_counts[MARK_sequenced_while_a_segment_begins] += run->log->is_taken;
    } else if (what == 2) {
        run_stage_in_part(run, STAGE_RESOLVE);
    } else if (what == 3) {
        run_stage_in_part(run, STAGE_RELEASE);
    } else if (what == 4 && is_free) {
        log_prepare_step(run->log);
        mark_counts[MARK_prepared_while_syncing] += run->log->prepared != NULL;
    } else if (what == 5 && is_free && !run->is_keeping && random_once_in(&run->random, 8)) {
        if (random_once_in(&run->random, 2)) {
            change_policy(run);
        } else {
            remove_segments(run);
        }
        MARK(kept_while_syncing);
    } else if (what > 5) {
        subscribers_step(run->subscribers);
    }
}

static bool has_step(const struct commit_request *request, enum commit_step step,
                     enum commit_outcome outcome)
{
    for (uint32_t i = 0; i < request->entry_count; i++) {
        if (request->entries[i].step == step && request->entries[i].outcome == outcome) {
            return true;
        }
    }
    return false;
}

static void run_persist(struct run *run, struct commit_request *const *requests, size_t count)
{
    struct log_stats before = log_stats(run->log);
    bool appends = false;
    bool conflicts = false;
    if (!run->model->has_failed) {
        model_batch_begins(run->model);
    }
    for (size_t i = 0; i < count && !run->model->has_failed; i++) {
        appends = appends || has_step(requests[i], COMMIT_APPEND, OUTCOME_COMMITTED);
        conflicts = conflicts || has_step(requests[i], COMMIT_DECIDED, OUTCOME_CONFLICT);
        tell_appends(run, ticket_at(run, run->done[STAGE_PERSIST] + i));
    }
    if (!run->is_draining) {
        storage_sim_set_meanwhile(run->sim, meanwhile, run);
    }
    bool had_room_for_state = run->log->state_spare != NULL;
    uint64_t no_space_before = storage_sim_no_space_count(run->sim);
    enum err err = commit_persist(run->service, requests, count);
    storage_sim_set_meanwhile(run->sim, NULL, NULL);
    if (err == OK && !storage_sim_has_crashed(run->sim)) {
        model_synced(run->model);
        struct log_stats after = log_stats(run->log);
        mark_counts[MARK_batch_in_pieces] += after.batches > before.batches + 1;
        mark_counts[MARK_segment_begun] += after.segments > before.segments;
        mark_counts[MARK_segment_of_fences] += run->log->segment_ordinal > 0;
        mark_counts[MARK_commits_after_no_space] += appends && run->was_refused_space;
        run->was_refused_space = run->was_refused_space && !appends;
        return;
    }
    if (storage_sim_has_crashed(run->sim)) {
        MARK(crash_in_persist);
        return;
    }
    if (!run->model->has_failed) {
        MARK(log_failed);
        say(run, "the log failed", 0);
        mark_counts[MARK_conflict_behind_unsynced_write] += appends && conflicts;
        run->failed_steps = (unsigned)random_less(&run->random, 30);
        /* Removing old segments may have failed before, half way; or the room for the next `state`
         * could not be made again after it was used for a policy, and there is none now. */
        bool has_no_room =
            !had_room_for_state && storage_sim_no_space_count(run->sim) > no_space_before;
        if (!storage_sim_has_failed(run->sim) && !run->log->state_unknown && !has_no_room) {
            model_complain(run->model, "the log failed, and nothing has made it fail");
        }
    }
    run->model->has_failed = true;
}

static void trace_answer(struct run *run, const struct commit_entry *entry)
{
    const uint64_t numbers[3] = {(uint64_t)entry->outcome, entry->version, entry->conflict_count};
    run->trace = XXH3_64bits_withSeed(numbers, sizeof numbers, run->trace);
    run->trace = XXH3_64bits_withSeed(entry->request_id.data, entry->request_id.size, run->trace);
    run->answers++;
}

static void run_release(struct run *run, struct commit_request *const *requests, size_t count)
{
    commit_release(run->service, requests, count);
    for (size_t i = 0; i < count; i++) {
        struct ticket *ticket = ticket_at(run, run->done[STAGE_RELEASE] + i);
        for (uint32_t j = 0; j < ticket->request.entry_count; j++) {
            const struct commit_entry *entry = &ticket->request.entries[j];
            trace_answer(run, entry);
            run->was_refused_space = run->was_refused_space || entry->outcome == OUTCOME_NO_SPACE;
            model_answer(run->model, &ticket->passage, run->service, entry, ticket->ids[j],
                         ticket->txns[j]);
        }
        ticket_free(ticket);
    }
    if (commit_version_info(run->service).version != run->model->last_version) {
        model_complain(run->model, "the durable version is told as %" PRIu64,
                       commit_version_info(run->service).version);
    }
}

static uint64_t waiting_for(const struct run *run, unsigned stage)
{
    return (stage == 0 ? run->sent : run->done[stage - 1]) - run->done[stage];
}

static void run_stage(struct run *run, unsigned stage, uint64_t count)
{
    static void (*const stages[STAGES])(struct run *, struct commit_request *const *, size_t) = {
        run_sequence, run_resolve, run_persist, run_release};
    struct commit_request *requests[QUEUE_MAX];
    for (uint64_t i = 0; i < count; i++) {
        requests[i] = &ticket_at(run, run->done[stage] + i)->request;
    }
    if (count > 0) {
        stages[stage](run, requests, count);
        if (!storage_sim_has_crashed(run->sim)) {
            run->done[stage] += count;
        }
    }
}

static void run_stage_in_part(struct run *run, unsigned stage)
{
    uint64_t waiting = waiting_for(run, stage);
    if (waiting > 0) {
        run_stage(run, stage, 1 + random_less(&run->random, waiting));
    }
}

/* ---- ends ---- */

static void close_server(struct run *run)
{
    subscribers_stop(run->subscribers);
    if (run->log != NULL) {
        log_close(run->log);
        run->log = NULL;
    }
    commit_close(run->service);
    run->service = NULL;
}

static void restart(struct run *run, enum storage_sim_end end)
{
    if (end == STORAGE_SIM_POWER_LOSS) {
        MARK(power_loss);
    } else {
        MARK(process_ends);
    }
    for (uint64_t i = run->done[STAGE_RELEASE]; i < run->sent; i++) {
        ticket_free(ticket_at(run, i));
    }
    for (unsigned i = 0; i < STAGES; i++) {
        run->done[i] = run->sent;
    }
    close_server(run);
    storage_sim_restart(run->sim, end);
    run->must_end = false;
    run->restarts++;
    say(run, end == STORAGE_SIM_POWER_LOSS ? "power loss, restart" : "restart", run->restarts);
    start(run);
}

/* What was synced before may have been answered just before. */
static void crash(struct run *run)
{
    run_stage(run, STAGE_RELEASE, waiting_for(run, STAGE_RELEASE));
    run->done[STAGE_RELEASE] = run->done[STAGE_PERSIST]; /* also when the disk has crashed */
    restart(run,
            random_once_in(&run->random, 2) ? STORAGE_SIM_POWER_LOSS : STORAGE_SIM_PROCESS_ENDS);
}

static void drain(struct run *run)
{
    run->is_draining = true;
    for (unsigned stage = 0; stage < STAGES && !storage_sim_has_crashed(run->sim); stage++) {
        run_stage(run, stage, waiting_for(run, stage));
    }
    run->is_draining = false;
}

/* The disk damages what it had kept, and somebody repairs the log. */
static void damage_log(struct run *run)
{
    const struct log_config config = config_of_log(run);
    const struct damage damage = {
        .random = &run->random, .model = run->model, .sim = run->sim, .config = &config};
    uint64_t version;
    if (damage_and_repair(&damage, &version)) {
        subscribers_forget(run->subscribers, version);
        say(run, "damaged, and repaired up to version", version);
    }
}

static void end_gracefully(struct run *run)
{
    drain(run);
    if (storage_sim_has_crashed(run->sim)) {
        crash(run);
        return;
    }
    if (!run->model->has_failed && atomic_load(&run->log->reserved) != 0) {
        model_complain(run->model, "%" PRIu64 " bytes are promised to nobody",
                       atomic_load(&run->log->reserved));
    }
    conflict_set_check_invariants(run->service->conflicts);
    close_server(run);
    /* Closing may be where the disk crashes: then it was not so graceful. */
    MARK(graceful_restart);
    storage_sim_restart(run->sim, STORAGE_SIM_PROCESS_ENDS);
    run->restarts++;
    say(run, "graceful restart", run->restarts);
    if (!run->model->has_failed && !run->must_end && due(run, run->workload.profile.damage_every)) {
        damage_log(run);
    }
    start(run);
}

/* ---- other things that happen ---- */

static void jump(struct run *run)
{
    uint64_t far_us = random_less(&run->random, 200) * 1000000;
    if (random_once_in(&run->random, 2)) {
        MARK(clock_jumps_forward);
        set_clock(run, clock_us + far_us);
    } else {
        MARK(clock_jumps_back);
        set_clock(run, clock_us - far_us);
    }
}

static void arm_failure(struct run *run)
{
    static const enum storage_sim_call calls[] = {
        STORAGE_SIM_WRITE,  STORAGE_SIM_SYNC,           STORAGE_SIM_OPEN,
        STORAGE_SIM_RENAME, STORAGE_SIM_SYNC_DIRECTORY, STORAGE_SIM_CALLS,
    };
    uint64_t kind = random_less(&run->random, sizeof calls / sizeof calls[0]);
    run->model->space_was_short = true; /* preparing may meet it */
    storage_sim_fail_at(run->sim, calls[kind], 1 + random_less(&run->random, 8),
                        random_once_in(&run->random, 2) ? EIO : ENOSPC);
}

static void change_space(struct run *run)
{
    uint64_t space = UINT64_MAX;
    if (random_once_in(&run->random, 2)) {
        space = storage_sim_used_bytes(run->sim) + random_less(&run->random, 600000);
        run->model->space_was_short = true;
    }
    storage_sim_set_space(run->sim, space);
    say(run, "space", space);
    if (space != UINT64_MAX || storage_sim_has_crashed(run->sim)) {
        return;
    }
    log_preparer_ask(run->log);
    log_prepare_step(run->log);
    bool excused = storage_sim_has_crashed(run->sim) || storage_sim_has_failed(run->sim);
    if (!excused && !log_is_writable(run->log)) {
        model_complain(run->model, "there is space again, and the log is not writable");
    }
}

static void send(struct run *run)
{
    if (run->sent - run->done[STAGE_RELEASE] >= run->workload.profile.depth_max) {
        return;
    }
    CHECK(run->service != NULL);
    struct bytes leader = bytes_of(run->service->leader, run->service->leader_size);
    run->queue[run->sent % QUEUE_MAX] =
        workload_make(&run->workload, commit_version_info(run->service).version, leader);
    run->sent++;
}

static void take_step(struct run *run)
{
    const struct profile *profile = &run->workload.profile;
    set_clock(run, clock_us + random_less(&run->random, profile->pace_us));
    uint64_t what = random_less(&run->random, 100);
    if (what < 40) {
        send(run);
    } else if (what < 95) {
        run_stage_in_part(run, (unsigned)random_less(&run->random, STAGES));
    } else if (what < 98) {
        log_prepare_step(run->log);
        mark_counts[MARK_crash_in_preparing] += storage_sim_has_crashed(run->sim);
    } else {
        storage_sim_set_meanwhile(run->sim, meanwhile, run);
        remove_segments(run);
        storage_sim_set_meanwhile(run->sim, NULL, NULL);
    }
    if (due(run, profile->policy_every) && !storage_sim_has_crashed(run->sim)) {
        storage_sim_set_meanwhile(run->sim, meanwhile, run);
        change_policy(run);
        storage_sim_set_meanwhile(run->sim, NULL, NULL);
    }
    subscribers_step(run->subscribers);
    if (due(run, profile->jump_every)) {
        jump(run);
    }
    if (due(run, profile->shortage_every)) {
        change_space(run);
    }
    if (due(run, profile->failure_every)) {
        arm_failure(run);
    }
    if (due(run, profile->crash_every)) {
        storage_sim_crash_at(run->sim, random_less(&run->random, 20));
    }
    if (storage_sim_has_crashed(run->sim)) {
        crash(run);
    } else if (run->must_end || (run->model->has_failed && run->failed_steps-- == 0)) {
        drain(run);
        crash(run);
    } else if (!run->model->has_failed && !run->must_end && due(run, profile->restart_every)) {
        end_gracefully(run);
    }
}

static uint64_t window_sec(const struct profile *profile)
{
    return profile->request_id_window_sec > profile->conflict_window_sec
               ? profile->request_id_window_sec
               : profile->conflict_window_sec;
}

static void init(struct run *run, uint64_t seed, bool verbose)
{
    memset(run, 0, sizeof *run);
    run->random.state = seed;
    run->verbose = verbose;
    run->model = calloc(1, sizeof *run->model);
    CHECK(run->model != NULL);
    struct profile profile = profile_draw(&run->random);
    run->model->config = (struct commit_config){
        .conflict_bytes_max = profile.conflict_bytes_max,
        .conflict_window_sec = profile.conflict_window_sec,
        .request_id_window_sec = profile.request_id_window_sec,
        .request_id_count_max = REQUEST_IDS_COUNT_MIN,
        .now_us = read_clock,
    };
    run->model->is_capped = profile.log_bytes_max > 0;
    run->model->first_version[0] = run->model->first_version[1] = 1;
    run->model->memory_is_short = profile.key_bytes_max > 100;
    CHECK(storage_sim_open(random_next(&run->random), &run->sim) == OK);
    workload_init(&run->workload, &run->random, run->model, &profile);
    run->subscribers =
        subscribers_open(&run->random, run->model, run->sim, profile.subscriber_count);
    run->keeping = (struct keeping){.random = &run->random, .model = run->model, .sim = run->sim};
    run->keeping.config = (struct log_retention_config){
        .age_us_max = profile.log_age_sec * UINT64_C(1000000),
        .bytes_max = profile.log_bytes_max,
        .windows_us = window_sec(&profile) * UINT64_C(1000000),
        .policies_max = profile.policies_max,
        .now_us = read_clock,
    };
    set_clock(run, START_US);
}

static void deinit(struct run *run)
{
    for (uint64_t i = run->done[STAGE_RELEASE]; i < run->sent; i++) {
        ticket_free(ticket_at(run, i));
    }
    close_server(run);
    subscribers_close(run->subscribers);
    storage_sim_close(run->sim);
    workload_deinit(&run->workload);
    model_free(run->model);
}

void simulation_run(uint64_t seed, unsigned steps, bool verbose, struct simulation_result *out)
{
    static struct run run;
    current_step = 0;
    init(&run, seed, verbose);
    start(&run);
    const struct model *model = run.model;
    for (; current_step < steps && model->problem[0] == '\0'; current_step++) {
        if (model->id_count + 2 * QUEUE_MAX * 8 > MODEL_IDS_MAX ||
            model->ledger_count + 2 * QUEUE_MAX * 8 > MODEL_LEDGER_MAX) {
            break;
        }
        take_step(&run);
    }
    *out = (struct simulation_result){
        .good = model->problem[0] == '\0',
        .trace = XXH3_64bits_withSeed(&run.trace, sizeof run.trace, storage_sim_trace(run.sim)),
        .answers = run.answers,
        .events = subscribers_events(run.subscribers),
        .restarts = run.restarts,
    };
    if (!out->good) {
        (void)snprintf(out->problem, sizeof out->problem, "step %u: %s", current_step,
                       model->problem);
    }
    deinit(&run);
}
