/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The release stage: whatever reaches it is durable, so it may be told.
 */
#include "commit/commit_internal.h"

#include "base/check.h"

/* The version that a client who was refused may read at and try again. All that refused it came
 * before it in the pipeline, so it is durable now. */
static bool wants_fresh_version(enum commit_outcome outcome)
{
    return outcome == OUTCOME_CONFLICT || outcome == OUTCOME_TOO_OLD ||
           outcome == OUTCOME_WRONG_LEADER || outcome == OUTCOME_FENCED;
}

void commit_release(struct commit_service *service, struct commit_request *const *requests,
                    size_t count)
{
    /* relaxed: this stage alone writes it */
    uint64_t before = atomic_load_explicit(&service->durable_version, memory_order_relaxed);
    uint64_t durable = before;
    for (size_t i = 0; i < count; i++) {
        for (uint32_t j = 0; j < requests[i]->entry_count; j++) {
            struct commit_entry *entry = &requests[i]->entries[j];
            CHECK(entry->outcome != OUTCOME_NONE);
            if (entry->outcome == OUTCOME_COMMITTED && entry->version > durable) {
                CHECK(entry->step == COMMIT_APPEND);
                durable = entry->version;
            } else if (wants_fresh_version(entry->outcome)) {
                entry->version = durable;
            }
            service->outcomes[entry->outcome]++;
        }
    }
    if (durable > before) {
        /* release: pairs with commit_durable_version(). */
        atomic_store_explicit(&service->durable_version, durable, memory_order_release);
    }
    for (unsigned i = 0; i < OUTCOME_COUNT; i++) {
        number_set(&service->outcome_numbers[i], service->outcomes[i]);
    }
}
