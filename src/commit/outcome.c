/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What became of an entry, and how that is answered: one table.
 */
#include "commit/commit_internal.h"

#include "base/check.h"

#include <errno.h>
#include <string.h>

struct answer {
    unsigned http_status;
    const char *status;
    const char *reason;
    const char *detail;
    bool has_leader; /* answers of transactions do, those of questions do not */
};

static const struct answer ANSWERS[OUTCOME_COUNT] = {
    [OUTCOME_COMMITTED] = {200, "committed", NULL, NULL, true},
    [OUTCOME_NOT_COMMITTED] = {200, "not_committed", NULL, NULL, false},
    [OUTCOME_EXPIRED] = {200, "expired", NULL, NULL, false},
    [OUTCOME_CONFLICT] = {409, "not_committed", "conflict", NULL, true},
    [OUTCOME_TOO_OLD] = {409, "not_committed", "too_old", NULL, true},
    [OUTCOME_WRONG_LEADER] = {409, "not_committed", "wrong_leader", NULL, true},
    [OUTCOME_FENCED] = {409, "not_committed", "fenced", NULL, true},
    [OUTCOME_FUTURE_VERSION] = {400, "not_committed", NULL,
                                "The transaction names a version that this server has not reached; "
                                "GET /v1/version tells the latest.",
                                true},
    [OUTCOME_OTHER_PAYLOAD] = {422, "not_committed", NULL,
                               "The request_id was used before with other preconditions or "
                               "operations; a new transaction needs a new request_id.",
                               true},
    [OUTCOME_NO_SPACE] = {503, "not_committed", NULL,
                          "The commit log has no space left; try again when there is.", true},
    [OUTCOME_IDS_FULL] = {503, "not_committed", NULL,
                          "Too many transactions are under way; try again later.", true},
    [OUTCOME_STOPPED] = {503, "not_committed", NULL,
                         "The commit log has failed and the server is stopping.", true},
    [OUTCOME_FAILED] = {500, "unknown", NULL,
                        "The commit log failed with this transaction under way; ask /v1/status for "
                        "its outcome after the restart.",
                        true},
};

/* Static texts: results of a batch have no memory of their own for it. */
static const char *no_space_detail(int error)
{
#define NOT_MADE(why) "The next segment of the commit log cannot be made: " why "; try again later."
    switch (error) {
    case EMFILE:
        return NOT_MADE("the server has too many open files");
    case ENFILE:
        return NOT_MADE("the system has too many open files");
    case ENOMEM:
        return NOT_MADE("there is no memory");
    case 0:
    case ENOSPC:
    case EDQUOT:
        return ANSWERS[OUTCOME_NO_SPACE].detail;
    default:
        return NOT_MADE("the server's log says why");
    }
#undef NOT_MADE
}

struct txn_result commit_entry_result(const struct commit_service *service,
                                      const struct commit_entry *entry)
{
    CHECK(entry->outcome > OUTCOME_NONE && entry->outcome < OUTCOME_COUNT);
    const struct answer *answer = &ANSWERS[entry->outcome];
    bool has_leader = answer->has_leader && !entry->is_question;
    /* A refused question denies nothing: what it asks for may be committed, or come yet. */
    bool is_silent = entry->is_question && answer->http_status == 503;
    return (struct txn_result){
        .http_status = answer->http_status,
        .status = is_silent ? "unknown" : answer->status,
        .reason = answer->reason,
        .detail = entry->outcome == OUTCOME_NO_SPACE ? no_space_detail(entry->space_error)
                                                     : answer->detail,
        .request_id = entry->request_id,
        .leader = has_leader ? bytes_of(service->leader, service->leader_size) : bytes_of(NULL, 0),
        .has_version = answer->http_status == 409 || entry->outcome == OUTCOME_COMMITTED,
        .version = entry->version,
        .conflicts = entry->conflicts,
        .conflict_count = entry->conflict_count,
    };
}

static void take_conflicts(struct commit_entry *entry, const struct request_id *slot,
                           struct arena *arena)
{
    if (slot->conflict_count == 0) {
        return;
    }
    size_t bytes = slot->conflict_count * sizeof *entry->conflicts;
    entry->conflicts = arena_try_alloc(arena, bytes);
    if (entry->conflicts != NULL) {
        memcpy(entry->conflicts, slot->conflicts, bytes);
        entry->conflict_count = slot->conflict_count;
    }
}

void entry_take_outcome(struct commit_entry *entry, const struct request_id *slot,
                        struct arena *arena)
{
    switch (request_id_state(slot)) {
    case REQUEST_ID_COMMITTED:
        entry->version = slot->version;
        entry_decide(entry, OUTCOME_COMMITTED);
        return;
    case REQUEST_ID_REJECTED:
        if (entry->is_question) {
            entry_decide(entry, OUTCOME_NOT_COMMITTED);
            return;
        }
        take_conflicts(entry, slot, arena);
        entry_decide(entry, (enum commit_outcome)slot->reason);
        return;
    case REQUEST_ID_FENCED:
        entry_decide(entry, entry->is_question ? OUTCOME_NOT_COMMITTED : OUTCOME_FENCED);
        return;
    case REQUEST_ID_PENDING:
        break;
    }
    UNREACHABLE();
}

struct log_record entry_record(const struct commit_entry *entry, enum log_record_type type)
{
    if (type == LOG_RECORD_FENCE) {
        return (struct log_record){.type = LOG_RECORD_FENCE, .request_id = entry->request_id};
    }
    return (struct log_record){
        .type = LOG_RECORD_COMMIT,
        .version = entry->version,
        .request_id = entry->request_id,
        .payload_hash = entry->txn->payload_hash,
        .operations = entry->txn->operations,
        .operation_count = entry->txn->operation_count,
    };
}
