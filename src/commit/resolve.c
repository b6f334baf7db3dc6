/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The resolve stage: optimistic concurrency control.
 *
 * In the one order of all transactions, each is checked against the writes of those before it; one
 * that passes gets the next version and its writes are noted under it. So the conflict set is
 * always ahead of the log by what is being persisted, and nothing else.
 */
#include "commit/commit_internal.h"

#include "base/bug.h"
#include "base/check.h"

enum { TRIM_STEPS = 64 }; /* for each batch: some 50 microseconds at most */

/* Notes a moment, and forgets what is older than the window. One mark for each 1/256 of the window,
 * so that the marks reach over all of it. */
void resolve_age_window(struct commit_service *service, uint32_t now_sec)
{
    uint32_t window_sec = service->config.conflict_window_sec;
    uint32_t step_sec = window_sec / (CLOCK_MARKS / 2) + 1;
    uint32_t last = (service->mark_first + service->mark_count - 1) % CLOCK_MARKS;
    if (service->mark_count == 0 || now_sec >= service->marks[last].sec + step_sec) {
        if (service->mark_count < CLOCK_MARKS) {
            last = (service->mark_first + service->mark_count++) % CLOCK_MARKS;
            service->marks[last].sec = now_sec;
            service->marks[last].version = service->last_version;
        }
    }
    uint64_t floor = conflict_set_floor(service->conflicts);
    while (service->mark_count > 0 &&
           service->marks[service->mark_first].sec + window_sec < now_sec) {
        floor = WEASEL_BUG(trimmed_too_far) ? service->last_version
                                            : service->marks[service->mark_first].version;
        service->mark_first = (service->mark_first + 1) % CLOCK_MARKS;
        service->mark_count--;
    }
    (void)conflict_set_trim(service->conflicts, floor, TRIM_STEPS);
}

void resolve_note_writes(struct commit_service *service, const struct txn_operation *operations,
                         uint32_t count, uint64_t version)
{
    for (uint32_t i = 0; i < count && !WEASEL_BUG(writes_not_inserted); i++) {
        const struct txn_operation *operation = &operations[i];
        if (operation->type == TXN_RANGE_DELETE) {
            conflict_set_write_range(service->conflicts, operation->key, operation->value, version);
        } else {
            conflict_set_write_point(service->conflicts, operation->key, version);
        }
    }
}

static bool is_newer(const struct conflict_set *set, const struct txn_precondition *precondition)
{
    if (WEASEL_BUG(reads_not_checked)) {
        return false;
    }
    if (WEASEL_BUG(range_end_off_by_one) && precondition->is_range &&
        conflict_set_point_is_newer(set, precondition->end, precondition->version)) {
        return true;
    }
    return precondition->is_range
               ? conflict_set_range_is_newer(set, precondition->begin, precondition->end,
                                             precondition->version)
               : conflict_set_point_is_newer(set, precondition->begin, precondition->version);
}

/* Notes a failed precondition. Without memory the answer names fewer of them. */
static void add_conflict(struct commit_entry *entry, struct arena *arena, uint32_t index)
{
    if (entry->conflicts == NULL) {
        size_t bytes = entry->txn->precondition_count * sizeof *entry->conflicts;
        entry->conflicts = arena_try_alloc(arena, bytes);
        if (entry->conflicts == NULL) {
            return;
        }
    }
    entry->conflicts[entry->conflict_count++] = index;
}

/* OUTCOME_NONE: all preconditions hold. */
static enum commit_outcome check_preconditions(struct commit_service *service,
                                               struct commit_entry *entry, struct arena *arena)
{
    const struct txn *txn = entry->txn;
    const struct conflict_set *set = service->conflicts;
    enum commit_outcome outcome = OUTCOME_NONE;
    for (uint32_t i = 0; i < txn->precondition_count; i++) {
        const struct txn_precondition *precondition = &txn->preconditions[i];
        if (precondition->version < conflict_set_floor(set)) {
            /* What is known to have changed is the better reason. */
            outcome = outcome == OUTCOME_CONFLICT ? outcome : OUTCOME_TOO_OLD;
            add_conflict(entry, arena, i);
        } else if (is_newer(set, precondition)) {
            outcome = OUTCOME_CONFLICT;
            add_conflict(entry, arena, i);
        }
    }
    return outcome;
}

/* A floor falls at a restart when the clock goes back, or the memory is larger: then the same
 * transaction could pass. So it is refused by a fence, in the space of what it would have written.
 * Nobody sends an id again that the server has made. A conflict needs none: the write that it met
 * is durable, so it is met again, or the floor has risen above it. */
static void refuse_for_good(struct commit_service *service, struct commit_entry *entry)
{
    if (entry->txn->request_id.size == 0) {
        return;
    }
    struct log_record record = entry_record(entry, LOG_RECORD_FENCE);
    size_t bytes = log_record_bytes(&record);
    CHECK(bytes < entry->reserved_bytes);
    log_release(service->log, entry->reserved_bytes - bytes);
    entry->reserved_bytes = bytes;
    entry->step = COMMIT_FENCE;
}

static void resolve_refused(struct commit_service *service, struct commit_entry *entry,
                            enum commit_outcome refused)
{
    entry_decide(entry, refused);
    if (entry->slot == NULL) {
        return; /* a check: it has no space, and its id is not known */
    }
    request_ids_reject(entry->slot, &(struct request_id_rejection){
                                        .reason = (uint8_t)refused,
                                        .conflict_count = entry->conflict_count,
                                        .conflicts = entry->conflicts,
                                    });
    if (refused == OUTCOME_TOO_OLD && !WEASEL_BUG(refusal_not_fenced)) {
        refuse_for_good(service, entry);
    }
    if (entry->step == COMMIT_DECIDED) {
        log_release(service->log, entry->reserved_bytes);
        entry->reserved_bytes = 0;
    }
}

static void resolve_transaction(struct commit_service *service, struct commit_request *request,
                                struct commit_entry *entry)
{
    const struct txn *txn = entry->txn;
    enum commit_outcome refused = check_preconditions(service, entry, request->arena);
    if (refused != OUTCOME_NONE) {
        resolve_refused(service, entry, refused);
        return;
    }
    entry->outcome = OUTCOME_COMMITTED;
    if (txn->operation_count == 0) {
        entry->version = service->last_version;
        entry->step = COMMIT_DECIDED;
        return;
    }
    CHECK(service->last_version < TXN_VERSION_MAX);
    entry->version = ++service->last_version;
    entry->step = COMMIT_APPEND;
    resolve_note_writes(service, txn->operations, txn->operation_count, entry->version);
    request_ids_commit(entry->slot, entry->version);
}

/* The original came before, so it is decided by now. */
static void resolve_rider(struct commit_service *service, struct commit_request *request,
                          struct commit_entry *entry)
{
    struct request_id *slot = entry->slot;
    bool is_rejected = request_id_state(slot) == REQUEST_ID_REJECTED;
    if (!entry->is_question && entry->txn->payload_hash != slot->payload_hash) {
        entry_decide(entry, OUTCOME_OTHER_PAYLOAD);
    } else {
        entry_take_outcome(entry, slot, request->arena);
    }
    request_ids_leave(slot);
    entry->slot = NULL;
    if (entry->is_fenced_too && is_rejected &&
        !(WEASEL_BUG(refusal_not_fenced) && !entry->is_question)) {
        entry->step = COMMIT_FENCE;
    } else {
        log_release(service->log, entry->reserved_bytes);
        entry->reserved_bytes = 0;
    }
}

void commit_resolve(struct commit_service *service, struct commit_request *const *requests,
                    size_t count)
{
    resolve_age_window(service, (uint32_t)(service->config.now_us() / 1000000));
    for (size_t i = 0; i < count; i++) {
        struct commit_request *request = requests[i];
        for (uint32_t j = 0; j < request->entry_count; j++) {
            struct commit_entry *entry = &request->entries[j];
            if (entry->step == COMMIT_RESOLVE) {
                resolve_transaction(service, request, entry);
            } else if (entry->step == COMMIT_RIDE) {
                resolve_rider(service, request, entry);
            }
        }
    }
    struct conflict_set_stats stats = conflict_set_stats(service->conflicts);
    number_set(&service->conflict_floor, conflict_set_floor(service->conflicts));
    number_set(&service->conflict_entries, stats.entries);
    number_set(&service->conflict_bytes, stats.bytes);
    number_set(&service->conflict_floor_raises, stats.floor_raises);
}
