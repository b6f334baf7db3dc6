/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Policies: a sorted table in `state`, replaced with it as a whole. One that has been answered for
 * is durable, and removal, which plans under the same lock, obeys it from then on.
 */
#include "base/check.h"
#include "commitlog/log_internal.h"

static bool is_letter_or_digit(char c)
{
    return (ascii_lower(c) >= 'a' && ascii_lower(c) <= 'z') || (c >= '0' && c <= '9');
}

bool log_policy_id_is_valid(struct bytes id)
{
    if (id.size < 1 || id.size > LOG_POLICY_ID_BYTES_MAX || !is_letter_or_digit(id.data[0])) {
        return false;
    }
    for (size_t i = 1; i < id.size; i++) {
        char c = id.data[i];
        if (!is_letter_or_digit(c) && c != '.' && c != '_' && c != '-') {
            return false;
        }
    }
    return true;
}

/* Where it is, or belongs. */
static uint32_t place_of(const struct log_state *state, struct bytes id, bool *out_found)
{
    uint32_t at = 0;
    *out_found = false;
    for (; at < state->policy_count; at++) {
        struct bytes other = bytes_from_string(state->policies[at].id);
        size_t size = id.size < other.size ? id.size : other.size;
        int order = memcmp(other.data, id.data, size);
        if (order > 0 || (order == 0 && other.size >= id.size)) {
            *out_found = order == 0 && other.size == id.size;
            break;
        }
    }
    return at;
}

/* Under `state_lock`. */
static enum err replace(struct log *log, const struct log_state *next)
{
    enum err err = log_state_replace(log, next);
    if (err == OK) {
        log_retainer_wake(log);
    }
    return err;
}

enum err log_policy_put(struct log *log, struct bytes id, uint64_t version)
{
    CHECK(log_policy_id_is_valid(id));
    CHECK(version <= TXN_VERSION_MAX);
    bool found;
    enum err err = OK;
    log_lock(&log->state_lock);
    struct log_state next = log->state;
    uint32_t at = place_of(&next, id, &found);
    if (!found && next.policy_count >= log->config.retention.policies_max) {
        err = ERR_FULL;
    } else if (!found || next.policies[at].version != version) {
        if (!found) {
            memmove(&next.policies[at + 1], &next.policies[at],
                    (next.policy_count - at) * sizeof next.policies[0]);
            next.policies[at] = (struct log_policy){.version = 0};
            memcpy(next.policies[at].id, id.data, id.size);
            next.policy_count++;
        }
        next.policies[at].version = version;
        err = replace(log, &next);
    }
    log_unlock(&log->state_lock);
    /* What fails here is tried again by whoever needs it next. */
    (void)log_state_set_aside(log);
    return err;
}

enum err log_policy_remove(struct log *log, struct bytes id, bool *out_found)
{
    bool found;
    enum err err = OK;
    log_lock(&log->state_lock);
    struct log_state next = log->state;
    uint32_t at = place_of(&next, id, &found);
    if (found) {
        next.policy_count--;
        memmove(&next.policies[at], &next.policies[at + 1],
                (next.policy_count - at) * sizeof next.policies[0]);
        next.policies[next.policy_count] = (struct log_policy){.version = 0};
        err = replace(log, &next);
    }
    log_unlock(&log->state_lock);
    (void)log_state_set_aside(log); /* as above */
    if (err == OK) {
        *out_found = found;
    }
    return err;
}

size_t log_policies(struct log *log, struct log_policy out[LOG_POLICIES_MAX])
{
    log_lock(&log->view);
    size_t count = log->state.policy_count;
    memcpy(out, log->state.policies, count * sizeof *out);
    log_unlock(&log->view);
    return count;
}

bool log_policy_find(struct log *log, struct bytes id, struct log_policy *out)
{
    bool found;
    log_lock(&log->view);
    uint32_t at = place_of(&log->state, id, &found);
    if (found) {
        *out = log->state.policies[at];
    }
    log_unlock(&log->view);
    return found;
}
