/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The rule, of the oldest segment that is there and not the newest one: it goes when a cap forbids
 * it, or when there are policies, all have passed it, and it is older than the windows.
 *
 * What segments there are is taken from the log's list; how old they are at least, from the model.
 */
#include "simulation/keeping.h"

#include "base/check.h"
#include "commitlog/log_internal.h"

#include <inttypes.h>
#include <stdio.h>

enum { LIST_MAX = 256 };

/* Why a segment may go. */
enum reason { REASON_NONE, REASON_POLICIES, REASON_AGE, REASON_BYTES };

/* Whether something broke in the calls since `no_space_before` was counted. */
static bool is_excused(const struct keeping *keeping, uint64_t no_space_before)
{
    return storage_sim_has_crashed(keeping->sim) || storage_sim_has_failed(keeping->sim) ||
           storage_sim_no_space_count(keeping->sim) > no_space_before;
}

/* ---- policies ---- */

static struct bytes policy_id(uint32_t index, char out[16])
{
    return bytes_of(out, (size_t)snprintf(out, 16, "policy-%u", (unsigned)index));
}

static uint32_t count_policies(const struct model *model)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < MODEL_POLICIES_MAX; i++) {
        count += model->policies[i].is_there;
    }
    return count;
}

static enum err change(const struct keeping *keeping, struct log *log, uint32_t index,
                       const struct model_policy *to_be)
{
    char text[16];
    bool found = false;
    if (to_be->is_there) {
        MARK(policy_put);
        return log_policy_put(log, policy_id(index, text), to_be->version);
    }
    MARK(policy_removed);
    enum err err = log_policy_remove(log, policy_id(index, text), &found);
    if (err == OK && found != keeping->model->policies[index].is_there) {
        model_complain(keeping->model, "policy %u was %s", (unsigned)index,
                       found ? "there" : "not there");
    }
    return err;
}

bool keeping_change_policy(const struct keeping *keeping, struct log *log)
{
    struct model *model = keeping->model;
    uint32_t index = (uint32_t)random_less(keeping->random, MODEL_POLICIES_MAX);
    struct model_policy to_be = {.is_there = !random_once_in(keeping->random, 4)};
    if (to_be.is_there) {
        /* Owners are up to date, or far behind. */
        uint64_t durable = model->synced_version;
        to_be.version = random_once_in(keeping->random, 2)
                            ? durable
                            : random_less(keeping->random, durable + 1);
    }
    bool too_many = to_be.is_there && !model->policies[index].is_there &&
                    count_policies(model) >= keeping->config.policies_max;
    uint64_t no_space_before = storage_sim_no_space_count(keeping->sim);
    model->policy_is_in_doubt = true;
    model->policy_doubted = index;
    model->policy_to_be = to_be;
    enum err err = change(keeping, log, index, &to_be);
    if (err == ERR_CLOSED || storage_sim_has_crashed(keeping->sim)) {
        MARK(policy_in_doubt);
        return false;
    }
    model->policy_is_in_doubt = false;
    if ((err == ERR_FULL) != too_many) {
        model_complain(model, "policies: %s with %" PRIu32 " of %" PRIu32, err_name(err),
                       count_policies(model), keeping->config.policies_max);
    }
    if (err == OK) {
        model->policies[index] = to_be;
    } else if (err == ERR_FULL) {
        MARK(policies_are_full);
    } else if (!is_excused(keeping, no_space_before)) {
        model_complain(model, "policies: %s, and nothing has failed", err_name(err));
    }
    return true;
}

static bool is_policy(const struct log_policy *found, bool is_found,
                      const struct model_policy *policy)
{
    return is_found == policy->is_there && (!is_found || found->version == policy->version);
}

void keeping_check_policies(const struct keeping *keeping, struct log *log)
{
    struct model *model = keeping->model;
    for (uint32_t i = 0; i < MODEL_POLICIES_MAX; i++) {
        char text[16];
        struct log_policy found;
        struct model_policy *policy = &model->policies[i];
        bool is_found = log_policy_find(log, policy_id(i, text), &found);
        if (model->policy_is_in_doubt && model->policy_doubted == i &&
            is_policy(&found, is_found, &model->policy_to_be)) {
            *policy = model->policy_to_be;
        }
        if (!is_policy(&found, is_found, policy)) {
            model_complain(model, "policy %" PRIu32 " is not what it was", i);
            return;
        }
    }
    model->policy_is_in_doubt = false;
}

/* ---- removal ---- */

/* What all policies have passed. */
static uint64_t passed_version(const struct model *model)
{
    uint64_t version = UINT64_MAX;
    for (uint32_t i = 0; i < MODEL_POLICIES_MAX; i++) {
        const struct model_policy *policy = &model->policies[i];
        version = policy->is_there && policy->version < version ? policy->version : version;
    }
    return version;
}

/* The oldest of `count` segments, with `bytes` in all files of the log. */
static enum reason judge(const struct keeping *keeping, const struct log_segment *segments,
                         size_t count, uint64_t bytes)
{
    const struct log_retention_config *config = &keeping->config;
    const struct model *model = keeping->model;
    if (count < 2) {
        return REASON_NONE;
    }
    uint64_t age_us =
        config->now_us() > segments->last_us ? config->now_us() - segments->last_us : 0;
    if (config->bytes_max > 0 && bytes > config->bytes_max) {
        return REASON_BYTES;
    }
    if (config->age_us_max > 0 && age_us > config->age_us_max) {
        return REASON_AGE;
    }
    if (count_policies(model) == 0) {
        return REASON_NONE;
    }
    if (segments[1].first_version - 1 > passed_version(model)) {
        MARK(policy_keeps_a_segment);
        return REASON_NONE;
    }
    if (age_us <= config->windows_us) {
        MARK(windows_keep_a_segment);
        return REASON_NONE;
    }
    return REASON_POLICIES;
}

static void mark_removal(const struct keeping *keeping, enum reason reason, uint64_t last_version)
{
    mark_counts[MARK_removed_by_policies] += reason == REASON_POLICIES;
    mark_counts[MARK_removed_by_age] += reason == REASON_AGE;
    mark_counts[MARK_removed_by_bytes] += reason == REASON_BYTES;
    mark_counts[MARK_removed_by_cap_against_a_policy] +=
        last_version > passed_version(keeping->model);
}

/* The times of segments, which removal goes by, are not earlier than those of what is in them. */
static void check_times(const struct keeping *keeping, const struct log_segment *segments,
                        size_t count)
{
    struct model *model = keeping->model;
    for (size_t i = 0; i + 1 < count; i++) {
        uint64_t last = segments[i + 1].first_version - 1;
        if (last >= segments[i].first_version &&
            model_record_of(model, last)->timestamp_us > segments[i].last_us) {
            model_complain(model, "segment %" PRIu64 " is younger than it is held for",
                           segments[i].number);
        }
    }
}

bool keeping_remove(const struct keeping *keeping, struct log *log)
{
    static struct log_segment segments[LIST_MAX];
    static enum reason reasons[LIST_MAX];
    struct model *model = keeping->model;
    size_t count = log->list_count;
    uint64_t bytes = log_stats(log).bytes + log->config.segment_bytes;
    size_t going = 0;
    CHECK(count > 0 && count <= LIST_MAX);
    memcpy(segments, log->list, count * sizeof *segments);
    check_times(keeping, segments, count);
    while ((reasons[going] = judge(keeping, &segments[going], count - going, bytes)) !=
           REASON_NONE) {
        bytes -= segments[going++].bytes;
    }
    uint64_t no_space_before = storage_sim_no_space_count(keeping->sim);
    model->first_version[1] = segments[going].first_version;
    (void)log_retain(log);
    bool has_crashed = storage_sim_has_crashed(keeping->sim);
    size_t gone = (size_t)(log->list[0].number - segments[0].number);
    if (gone > going) {
        model_complain(model, "segment %" PRIu64 " was removed, and nothing forbids it",
                       segments[going].number);
        return true;
    }
    if (gone < going && !log->state_unknown && !is_excused(keeping, no_space_before)) {
        model_complain(model, "segment %" PRIu64 " is kept, and nothing needs it",
                       segments[gone].number);
    }
    for (size_t i = 0; i < gone; i++) {
        MARK(old_segments_are_removed);
        mark_removal(keeping, reasons[i], segments[i + 1].first_version - 1);
    }
    mark_counts[MARK_crash_before_the_bound] += has_crashed && gone < going;
    mark_counts[MARK_crash_behind_the_bound] += has_crashed && gone > 0;
    model->first_version[0] = log_first_version(log);
    if (!has_crashed && !log->state_unknown) {
        model->first_version[1] = model->first_version[0];
    }
    return !log->state_unknown;
}
