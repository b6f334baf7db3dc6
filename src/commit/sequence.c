/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The sequence stage: request ids first, then what can be refused without the conflict set.
 *
 * A repeat never commits: it takes its original's outcome here when that is decided, or rides
 * behind it to the resolve stage. Either way it is answered at its own place in the pipeline, so
 * not before the sync that covers its original.
 *
 * A transaction without operations changes nothing: it is checked anew each time it is sent, and
 * its id is not entered.
 */
#include "commit/commit_internal.h"

#include "base/bug.h"
#include "base/check.h"

static uint32_t seconds(const struct commit_service *service)
{
    return (uint32_t)(service->config.now_us() / 1000000);
}

/* "<16 hex digits of this start>-<count>": unique among all starts. */
static struct bytes make_id(struct commit_service *service, char out[COMMIT_ID_BYTES])
{
    memcpy(out, service->id_prefix, 16);
    out[16] = '-';
    return bytes_of(out, 17 + bytes_format_u64(out + 17, ++service->made_ids));
}

static bool reserve_log(struct commit_service *service, struct commit_entry *entry,
                        enum log_reserve kind)
{
    struct log_record record =
        entry_record(entry, kind == LOG_RESERVE_FENCE ? LOG_RECORD_FENCE : LOG_RECORD_COMMIT);
    size_t bytes = log_record_bytes(&record);
    if (!log_try_reserve(service->log, bytes, kind)) {
        entry->space_error = log_prepare_error(service->log);
        entry_decide(entry, OUTCOME_NO_SPACE);
        return false;
    }
    entry->reserved_bytes = bytes;
    return true;
}

static void ride(struct commit_entry *entry, struct request_id *slot)
{
    request_ids_ride(slot);
    entry->slot = slot;
    entry->step = COMMIT_RIDE;
}

/* The original is rejected, or it may yet be: nothing in the log says so. After a restart another
 * payload under the same id could commit, unless a fence says that none ever will. */
static void ride_with_fence(struct commit_service *service, struct commit_entry *entry,
                            struct request_id *slot)
{
    if (!slot->fenced_durably) {
        if (!reserve_log(service, entry, LOG_RESERVE_FENCE)) {
            return;
        }
        slot->fenced_durably = true;
        entry->is_fenced_too = true;
    }
    ride(entry, slot);
}

/* A known id: the original's answer, whatever it is. */
static void sequence_repeat(struct commit_service *service, struct commit_request *request,
                            struct commit_entry *entry, struct request_id *slot)
{
    enum request_id_state state = request_id_state(slot);
    if (state == REQUEST_ID_FENCED) {
        entry_decide(entry, OUTCOME_FENCED);
    } else if (slot->payload_hash != entry->txn->payload_hash) {
        if (state == REQUEST_ID_COMMITTED) {
            entry_decide(entry, OUTCOME_OTHER_PAYLOAD);
        } else {
            ride_with_fence(service, entry, slot);
        }
    } else if (state == REQUEST_ID_PENDING) {
        ride(entry, slot);
    } else {
        entry_take_outcome(entry, slot, request->arena);
    }
    number_set(&service->repeats, number_get(&service->repeats) + 1);
}

static enum commit_outcome refused_outright(const struct commit_service *service,
                                            const struct txn *txn)
{
    if (txn->leader.size > 0 &&
        !bytes_equal(txn->leader, bytes_of(service->leader, service->leader_size))) {
        return OUTCOME_WRONG_LEADER;
    }
    /* Whoever has heard of a version heard of it after its release. */
    if (txn->version_max > commit_durable_version(service)) {
        return OUTCOME_FUTURE_VERSION;
    }
    return OUTCOME_NONE;
}

static void sequence_transaction(struct commit_service *service, struct commit_request *request,
                                 struct commit_entry *entry, uint32_t now_sec)
{
    const struct txn *txn = entry->txn;
    bool has_id = txn->request_id.size > 0;
    struct request_id_name name = entry->name;
    struct request_id *slot = has_id ? request_ids_find(service->ids, name) : NULL;
    if (slot != NULL) {
        sequence_repeat(service, request, entry, slot);
        return;
    }
    enum commit_outcome refused = refused_outright(service, txn);
    if (refused != OUTCOME_NONE) {
        entry_decide(entry, refused);
        return;
    }
    if (txn->operation_count == 0) {
        entry->step = COMMIT_RESOLVE;
        return;
    }
    if (!reserve_log(service, entry, LOG_RESERVE_COMMIT)) {
        return;
    }
    entry->slot = request_ids_try_enter(service->ids, name, txn->payload_hash, now_sec);
    if (entry->slot == NULL) {
        log_release(service->log, entry->reserved_bytes);
        entry->reserved_bytes = 0;
        entry_decide(entry, OUTCOME_IDS_FULL);
        return;
    }
    entry->step = COMMIT_RESOLVE;
}

/* An unknown id that was never committed within the window: it is fenced. */
static void fence(struct commit_service *service, struct commit_entry *entry,
                  struct request_id_name name, uint32_t now_sec)
{
    if (!reserve_log(service, entry, LOG_RESERVE_FENCE)) {
        return;
    }
    entry->slot = request_ids_try_enter(service->ids, name, 0, now_sec);
    if (entry->slot == NULL) {
        log_release(service->log, entry->reserved_bytes);
        entry->reserved_bytes = 0;
        entry_decide(entry, OUTCOME_IDS_FULL);
        return;
    }
    entry->slot->fenced_durably = true;
    request_ids_fence(entry->slot);
    entry->step = COMMIT_FENCE;
    entry->outcome = OUTCOME_NOT_COMMITTED;
    if (WEASEL_BUG(fence_ignored)) {
        log_release(service->log, entry->reserved_bytes);
        entry->step = COMMIT_DECIDED;
    }
}

static void sequence_question(struct commit_service *service, struct commit_request *request,
                              struct commit_entry *entry, uint32_t now_sec)
{
    struct request_id_name name = entry->name;
    struct request_id *slot = request_ids_find(service->ids, name);
    if (slot == NULL && request->min_version < request_ids_floor(service->ids)) {
        entry_decide(entry, OUTCOME_EXPIRED);
        return;
    }
    if (slot == NULL) {
        fence(service, entry, name, now_sec);
        return;
    }
    enum request_id_state state = request_id_state(slot);
    if (state == REQUEST_ID_COMMITTED || state == REQUEST_ID_FENCED) {
        entry_take_outcome(entry, slot, request->arena);
        return;
    }
    ride_with_fence(service, entry, slot);
}

/* The log has failed. What has not been sequenced never happened; but of a known id, an original
 * may be in the log, whatever becomes of its repeat. */
static void sequence_failed(struct commit_service *service, struct commit_entry *entry)
{
    bool is_known = !entry->is_question && request_ids_find(service->ids, entry->name) != NULL;
    entry_decide(entry, is_known ? OUTCOME_FAILED : OUTCOME_STOPPED);
}

/* Names all of them first, so that what the index holds of one is there when its turn comes. */
static void name_entries(struct commit_service *service, struct commit_request *request)
{
    for (uint32_t i = 0; i < request->entry_count; i++) {
        struct commit_entry *entry = &request->entries[i];
        bool has_id = entry->txn->request_id.size > 0;
        entry->request_id = has_id ? entry->txn->request_id : make_id(service, entry->made_id);
        entry->name = request_ids_name(service->ids, entry->request_id);
        request_ids_prefetch(service->ids, entry->name);
    }
}

void commit_sequence(struct commit_service *service, struct commit_request *const *requests,
                     size_t count)
{
    uint32_t now_sec = seconds(service);
    bool failed = commit_has_failed(service);
    if (!failed) {
        request_ids_expire(service->ids, now_sec); /* else an original may be in doubt */
    }
    for (size_t i = 0; i < count; i++) {
        name_entries(service, requests[i]);
    }
    for (size_t i = 0; i < count; i++) {
        struct commit_request *request = requests[i];
        for (uint32_t j = 0; j < request->entry_count; j++) {
            struct commit_entry *entry = &request->entries[j];
            CHECK(entry->step == COMMIT_NEW);
            if (failed) {
                sequence_failed(service, entry);
            } else if (entry->is_question) {
                sequence_question(service, request, entry, now_sec);
            } else {
                sequence_transaction(service, request, entry, now_sec);
            }
            CHECK(entry->step != COMMIT_NEW);
        }
    }
    number_set(&service->ids_floor, request_ids_floor(service->ids));
    number_set(&service->ids_count, request_ids_count(service->ids));
}
