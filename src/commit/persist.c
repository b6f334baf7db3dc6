/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The persist stage: everything of a batch that must survive becomes one batch of the log, made
 * durable by one sync. While it syncs, the next batch gathers in the ring.
 *
 * The first failure is the last: what it leaves on the disk is not known, so whatever was not
 * durable before is answered as unknown, and recovery decides.
 */
#include "commit/commit_internal.h"

#include "base/check.h"

/* Whether the answer would tell of something that is not in the log. */
static bool hangs_on_sync(const struct commit_service *service, const struct commit_entry *entry)
{
    switch (entry->step) {
    case COMMIT_APPEND:
    case COMMIT_FENCE:
        return true;
    case COMMIT_DECIDED:
        /* A repeat or a check may tell of an original that is under way. */
        return (entry->outcome == OUTCOME_COMMITTED && entry->version > service->synced_version) ||
               entry->outcome == OUTCOME_NOT_COMMITTED;
    case COMMIT_NEW:
    case COMMIT_RESOLVE:
    case COMMIT_RIDE:
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
            struct log_record record = entry_record(entry);
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
        (appended > 0 && log_sync(service->log, now_us) != OK)) {
        fail_batch(service, requests, count);
        return ERR_SYSTEM;
    }
    service->synced_version = version;
    return OK;
}
