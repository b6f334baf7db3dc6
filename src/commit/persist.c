/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The persist stage: everything of a batch that must survive becomes one batch of the log, made
 * durable by one sync. While it syncs, the next batch gathers in the ring.
 *
 * The first failure is the last: what it leaves on the disk is not known, so whatever was not
 * durable before is answered as unknown, and recovery decides.
 */
#include "commit/commit_internal.h"

#include "base/bug.h"
#include "base/check.h"

/* Whether the answer rests on something that may not be in the log. All that is said of an id, and
 * every conflict, may rest on a commit or a fence that is under way: if that is lost, the
 * transaction that was refused for it could commit after the restart. */
static bool hangs_on_sync(const struct commit_service *service, const struct commit_entry *entry)
{
    switch (entry->outcome) {
    case OUTCOME_COMMITTED:
        /* Also a repeat, or a check, may tell of what is under way. */
        return entry->version > service->synced_version;
    case OUTCOME_CONFLICT:
        return !WEASEL_BUG(conflict_told_after_failure);
    case OUTCOME_NOT_COMMITTED:
    case OUTCOME_TOO_OLD:
    case OUTCOME_FENCED:
    case OUTCOME_OTHER_PAYLOAD:
        return true;
    case OUTCOME_EXPIRED:
    case OUTCOME_WRONG_LEADER:
    case OUTCOME_FUTURE_VERSION:
    case OUTCOME_NO_SPACE:
    case OUTCOME_IDS_FULL:
    case OUTCOME_STOPPED:
    case OUTCOME_FAILED:
        return false;
    case OUTCOME_NONE:
    case OUTCOME_COUNT:
        break;
    }
    UNREACHABLE();
}

static void fail_batch(struct commit_service *service, struct commit_request *const *requests,
                       size_t count)
{
    /* release: pairs with commit_has_failed(). */
    atomic_store_explicit(&service->failed, true, memory_order_release);
    for (size_t i = 0; i < count; i++) {
        for (uint32_t j = 0; j < requests[i]->entry_count; j++) {
            struct commit_entry *entry = &requests[i]->entries[j];
            if (hangs_on_sync(service, entry)) {
                /* Nor its version: it may be given to another one after the restart. */
                entry->version = WEASEL_BUG(version_of_unknown_told) ? entry->version : 0;
                entry->conflict_count = 0;
                entry_decide(entry, OUTCOME_FAILED);
            }
        }
    }
}

/* Appends what is to be appended; *out_version: the last version among it. */
static enum err append_batch(struct commit_service *service, struct commit_request *const *requests,
                             size_t count, uint64_t now_us, size_t *out_appended,
                             uint64_t *out_version)
{
    size_t appended = 0;
    uint64_t version = service->synced_version;
    for (size_t i = 0; i < count; i++) {
        for (uint32_t j = 0; j < requests[i]->entry_count; j++) {
            const struct commit_entry *entry = &requests[i]->entries[j];
            if (entry->step != COMMIT_APPEND && entry->step != COMMIT_FENCE) {
                continue;
            }
            struct log_record record = entry_record(
                entry, entry->step == COMMIT_FENCE ? LOG_RECORD_FENCE : LOG_RECORD_COMMIT);
            if (log_append(service->log, &record, now_us) != OK) {
                return ERR_SYSTEM;
            }
            appended++;
            if (entry->step == COMMIT_APPEND) {
                CHECK(entry->version > version);
                version = entry->version;
            }
        }
    }
    *out_appended = appended;
    *out_version = version;
    return OK;
}

static uint64_t timestamp_us(struct commit_service *service)
{
    uint64_t now_us = service->config.now_us();
    service->last_us = now_us > service->last_us ? now_us : service->last_us;
    return service->last_us;
}

enum err commit_persist(struct commit_service *service, struct commit_request *const *requests,
                        size_t count)
{
    size_t appended = 0;
    uint64_t version = 0;
    uint64_t now_us = timestamp_us(service);
    if (commit_has_failed(service) ||
        append_batch(service, requests, count, now_us, &appended, &version) != OK ||
        (appended > 0 && !(WEASEL_BUG(answered_before_sync) && now_us % 2 == 0) &&
         log_sync(service->log, now_us) != OK)) {
        fail_batch(service, requests, count);
        return ERR_SYSTEM;
    }
    service->synced_version = version;
    return OK;
}
