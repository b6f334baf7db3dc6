/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Removal of old segments, on a helper thread.
 *
 * One round, with the crash points between its steps:
 *
 *   1. plan under `state_lock`, so that no policy changes meanwhile       nothing has happened
 *   2. replace `state`: the oldest segment that must be there             files below the bound
 *   3. take them off the list; the log's first version rises              likewise
 *   4. unlink the files, without a lock, and close them for readers       some of them
 *
 * A start after a crash at 2 to 4 removes what is below the bound. The directory is not synced:
 * names that come back after a crash are below the bound too.
 *
 * The thread sleeps until a segment is begun, a policy changes, or a segment becomes old enough;
 * without one that only age keeps, it sleeps without a limit.
 *
 * Waiting: `retain_wanted` and `retain_stopping` change under `view` with a signal of `retain`, and
 * the thread looks at them under the same lock before it sleeps; so no wake-up is lost.
 */
#include "base/bug.h"
#include "base/check.h"
#include "base/clock.h"
#include "commitlog/log_internal.h"

#include <errno.h>
#include <time.h>

#define NEVER UINT64_MAX

enum { ROUND_MAX = 64 }; /* segments of one round, so that they fit the stack */

#define RETRY_US UINT64_C(1000000)
#define SLEEP_US_MAX UINT64_C(300000000) /* the time of day may jump */

struct round {
    uint64_t now_us;
    uint64_t due_us; /* when the oldest that stays is old enough to go; NEVER */
    size_t count;    /* to be removed */
    uint64_t last_version;
    uint64_t overruled; /* of them, wanted by a policy */
    bool cuts_windows;
    struct log_segment segments[ROUND_MAX];
    uint32_t policy_count;
    struct log_policy policies[LOG_POLICIES_MAX]; /* as they were at the plan */
};

static uint64_t now_us(const struct log *log)
{
    return log->config.retention.now_us != NULL ? log->config.retention.now_us()
                                                : clock_realtime_ns() / 1000;
}

/* What all policies have passed. Without any: nothing. */
static uint64_t passed_version(const struct log_state *state)
{
    uint64_t version = state->policy_count == 0 ? 0 : UINT64_MAX;
    for (uint32_t i = 0; i < state->policy_count; i++) {
        uint64_t other = state->policies[i].version;
        version = other < version ? other : version;
    }
    return version;
}

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* Which of the oldest shall go; under `state_lock`. */
static void plan(const struct log *log, struct round *round)
{
    const struct log_retention_config *config = &log->config.retention;
    bool has_policies = log->state.policy_count > 0;
    uint64_t passed = passed_version(&log->state);
    /* The next segment is being prepared, or will be. */
    uint64_t bytes = atomic_load(&log->bytes) + log->config.segment_bytes;
    while (round->count < ROUND_MAX && round->count + 1 < log->list_count) {
        const struct log_segment *segment = &log->list[round->count];
        uint64_t last_version = segment[1].first_version - 1;
        bool is_passed = has_policies && (last_version <= passed || WEASEL_BUG(policy_ignored));
        bool is_old = segment->last_us + config->windows_us < round->now_us;
        bool capped =
            (config->bytes_max > 0 && bytes > config->bytes_max) ||
            (config->age_us_max > 0 && segment->last_us + config->age_us_max < round->now_us);
        if (!capped && !(is_passed && is_old)) {
            if (config->age_us_max > 0) {
                round->due_us = least(round->due_us, segment->last_us + config->age_us_max);
            }
            if (is_passed) {
                round->due_us = least(round->due_us, segment->last_us + config->windows_us);
            }
            return;
        }
        round->overruled += has_policies && !is_passed;
        round->cuts_windows = round->cuts_windows || !is_old;
        round->segments[round->count++] = *segment;
        round->last_version = last_version;
        bytes -= segment->bytes;
    }
}

static void tell(const struct log *log, const struct log_retention_event *event)
{
    if (log->config.retention.event != NULL) {
        log->config.retention.event(log->config.retention.context, event);
    }
}

static void tell_removed(const struct log *log, const struct round *round, uint64_t segments,
                         uint64_t bytes)
{
    struct log_retention_event event = {
        .type = LOG_RETENTION_REMOVED,
        .first_version = round->segments[0].first_version,
        .last_version = round->last_version,
        .segments = segments,
        .bytes = bytes,
    };
    tell(log, &event);
    for (uint32_t i = 0; i < round->policy_count; i++) {
        const struct log_policy *policy = &round->policies[i];
        if (policy->version < round->last_version) {
            event.policies++;
            bool is_farthest = event.policy == NULL || policy->version < event.policy->version;
            event.policy = is_farthest ? policy : event.policy;
        }
    }
    if (event.policies > 0) {
        event.type = LOG_RETENTION_OVERRULED;
        tell(log, &event);
    }
    if (round->cuts_windows) {
        event.type = LOG_RETENTION_WINDOWS;
        tell(log, &event);
    }
}

/* Step 4. */
static void unlink_files(struct log *log, const struct round *round)
{
    uint64_t segments = 0;
    uint64_t bytes = 0;
    for (size_t i = 0; i < round->count; i++) {
        char name[STORAGE_NAME_BYTES];
        const struct log_segment *segment = &round->segments[i];
        log_segment_name(segment->first_version, segment->ordinal, name);
        if (log->storage->operations->unlink(log->storage, name) != OK) {
            /* The next start finds it below the bound. */
            tell(log, &(struct log_retention_event){.type = LOG_RETENTION_STUCK,
                                                    .first_version = segment->first_version});
            continue;
        }
        segments++;
        bytes += segment->bytes;
        atomic_fetch_add(&log->removed_segments, 1);
        atomic_fetch_add(&log->removed_bytes, segment->bytes);
    }
    log_readers_close_removed(log);
    tell_removed(log, round, segments, bytes);
}

/* Steps 1 to 3. */
static enum err move_bound(struct log *log, struct round *round)
{
    enum err err = OK;
    log_lock(&log->state_lock);
    plan(log, round);
    if (round->count > 0) {
        struct log_state next = log->state;
        next.oldest_segment = log->list[round->count].number;
        round->policy_count = next.policy_count;
        memcpy(round->policies, next.policies, sizeof round->policies);
        if (WEASEL_BUG(files_removed_before_bound)) {
            unlink_files(log, round);
        }
        err = log_state_replace(log, &next);
        if (err == OK) {
            log_segments_drop(log, round->count);
            atomic_fetch_add(&log->overruled_segments, round->overruled);
        }
    }
    log_unlock(&log->state_lock);
    return err;
}

uint64_t log_retain(struct log *log)
{
    for (;;) {
        struct round round = {.now_us = now_us(log), .due_us = NEVER};
        enum err err = move_bound(log, &round);
        if (err != OK) {
            tell(log, &(struct log_retention_event){
                          .type = err == ERR_CLOSED ? LOG_RETENTION_FAILED : LOG_RETENTION_STUCK,
                          .first_version = round.segments[0].first_version});
            return err == ERR_CLOSED ? NEVER : RETRY_US;
        }
        if (round.count == 0) {
            return round.due_us == NEVER ? NEVER : round.due_us - round.now_us + 1;
        }
        unlink_files(log, &round);
        /* What fails here is tried again by whoever needs it next. */
        (void)log_state_set_aside(log);
    }
}

/* Until there may be something to remove; false: the end. */
static bool wait_for_work(struct log *log, uint64_t wait_us)
{
    struct timespec until;
    (void)clock_gettime(CLOCK_REALTIME, &until);
    uint64_t ns = (uint64_t)until.tv_nsec + least(wait_us, SLEEP_US_MAX) * 1000;
    until.tv_sec += (time_t)(ns / 1000000000);
    until.tv_nsec = (long)(ns % 1000000000);
    log_lock(&log->view);
    while (!log->retain_stopping && !log->retain_wanted) {
        if (wait_us == NEVER) {
            CHECK(pthread_cond_wait(&log->retain, &log->view) == 0);
        } else if (pthread_cond_timedwait(&log->retain, &log->view, &until) == ETIMEDOUT) {
            break;
        }
    }
    log->retain_wanted = false;
    bool go_on = !log->retain_stopping;
    log_unlock(&log->view);
    return go_on;
}

static void retainer_run(void *argument)
{
    struct log *log = argument;
    thread_check(ROLE_HELPER);
    while (wait_for_work(log, log_retain(log))) {
    }
}

enum err log_retainer_start(struct log *log)
{
    if (log->config.by_hand) {
        return OK;
    }
    enum err err = thread_start(&log->retainer, "log-retain", ROLE_HELPER, retainer_run, log);
    log->retainer_runs = err == OK;
    return err;
}

void log_retainer_stop(struct log *log)
{
    if (log->retainer_runs) {
        log_lock(&log->view);
        log->retain_stopping = true;
        CHECK(pthread_cond_signal(&log->retain) == 0);
        log_unlock(&log->view);
        thread_join(&log->retainer);
        log->retainer_runs = false;
    }
}

void log_retainer_wake(struct log *log)
{
    log_lock(&log->view);
    log->retain_wanted = true;
    CHECK(pthread_cond_signal(&log->retain) == 0);
    log_unlock(&log->view);
}

struct log_retention_stats log_retention_stats(const struct log *log)
{
    return (struct log_retention_stats){
        .removed_segments = atomic_load(&log->removed_segments),
        .removed_bytes = atomic_load(&log->removed_bytes),
        .overruled_segments = atomic_load(&log->overruled_segments),
    };
}
