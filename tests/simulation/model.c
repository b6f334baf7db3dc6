/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The rules, each where it is checked:
 *
 *   versions     a commit has the version behind the last one: no gaps, none twice
 *   serializable a commit's preconditions hold in the order of versions, and a refusal is real
 *   once         a known id gets its original's answer
 *   final        what was refused for good never commits; what was committed stays so
 *   expired      is said only of what may be forgotten, and nothing else is said of that
 *   durable      recovery finds what was synced, and after it only what was being written
 */
#include "simulation/model.h"

#include "base/check.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *const mark_names[MARK_COUNT] = {
#define MARK_NAME(name) #name,
    MARKS(MARK_NAME)
#undef MARK_NAME
};

uint64_t mark_counts[MARK_COUNT];

static const char *const OUTCOME_NAMES[OUTCOME_COUNT] = {
    [OUTCOME_NONE] = "none",
    [OUTCOME_COMMITTED] = "committed",
    [OUTCOME_NOT_COMMITTED] = "not_committed",
    [OUTCOME_EXPIRED] = "expired",
    [OUTCOME_CONFLICT] = "conflict",
    [OUTCOME_TOO_OLD] = "too_old",
    [OUTCOME_WRONG_LEADER] = "wrong_leader",
    [OUTCOME_FENCED] = "fenced",
    [OUTCOME_FUTURE_VERSION] = "future_version",
    [OUTCOME_OTHER_PAYLOAD] = "other_payload",
    [OUTCOME_NO_SPACE] = "no_space",
    [OUTCOME_IDS_FULL] = "ids_full",
    [OUTCOME_STOPPED] = "stopped",
    [OUTCOME_FAILED] = "failed",
};

void model_complain(struct model *model, const char *format, ...)
{
    if (model->problem[0] != '\0') {
        return;
    }
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(model->problem, sizeof model->problem, format, arguments);
    va_end(arguments);
}

/* ---- the clock ---- */

void model_set_clock(struct model *model, uint64_t now_us)
{
    model->tick++;
    while (model->peak_count > 0 && model->peaks[model->peak_count - 1].us <= now_us) {
        model->peak_count--;
    }
    CHECK(model->peak_count < MODEL_PEAKS_MAX);
    model->peaks[model->peak_count++] = (struct moment){now_us, model->tick};
}

/* The latest time of day that was ever shown since the tick. */
static uint64_t latest_since(const struct model *model, uint64_t tick)
{
    for (uint32_t i = 0; i < model->peak_count; i++) {
        if (model->peaks[i].tick >= tick) {
            return model->peaks[i].us;
        }
    }
    return 0;
}

static bool is_older(const struct model *model, const struct moment *moment, uint64_t age_us)
{
    uint64_t latest = latest_since(model, moment->tick);
    return latest > moment->us && latest - moment->us > age_us;
}

/* ---- what there is ---- */

struct model_txn *model_add_txn(struct model *model)
{
    struct model_txn *txn = calloc(1, sizeof *txn);
    CHECK(txn != NULL);
    txn->next = model->txns;
    model->txns = txn;
    return txn;
}

struct model_id *model_add_id(struct model *model, struct bytes text)
{
    CHECK(model->id_count < MODEL_IDS_MAX && text.size < COMMIT_ID_BYTES);
    struct model_id *id = &model->ids[model->id_count++];
    memset(id, 0, sizeof *id);
    memcpy(id->text, text.data, text.size);
    return id;
}

void model_free(struct model *model)
{
    while (model->txns != NULL) {
        struct model_txn *next = model->txns->next;
        free(model->txns);
        model->txns = next;
    }
    free(model);
}

/* The server must know the id, whatever became of it. */
static bool must_be_known(const struct model *model, const struct model_id *id)
{
    return id->has_entered &&
           model->entered_count - id->entered_count < model->config.request_id_count_max &&
           !is_older(model, &id->entered, model->config.request_id_window_sec * UINT64_C(1000000));
}

static void enter(struct model *model, struct model_id *id, const struct model_passage *passage)
{
    model->entered_count++;
    if (id != NULL) {
        id->has_entered = true;
        id->entered_count = model->entered_count;
        id->entered = passage->sequenced;
        id->is_recovered = false;
    }
}

static void apply_commit(struct model *model, const struct model_txn *txn, uint64_t version)
{
    for (uint32_t i = 0; i < txn->txn.operation_count; i++) {
        for (uint32_t key = txn->written[i][0]; key < txn->written[i][1]; key++) {
            model->newest[key] = version;
        }
    }
    model->last_version = version;
}

static void note_committed(struct model_id *id, const struct model_txn *txn, uint64_t version)
{
    id->state = MODEL_COMMITTED;
    id->decided = txn;
    id->version = version;
    id->last_version = version;
}

/* ---- transactions ---- */

struct trial {
    struct model *model;
    const struct model_passage *passage;
    const struct commit_entry *entry;
    struct model_id *id;
    const struct model_txn *txn;
};

static void complain(const struct trial *trial, const char *what)
{
    const struct model_id *id = trial->id;
    model_complain(trial->model,
                   "%s: %s %s answered %s, version %" PRIu64 " (last version %" PRIu64
                   ", state %d, its version %" PRIu64 ", floors %" PRIu64 " %" PRIu64 ")",
                   what, trial->entry->is_question ? "question" : "transaction",
                   id == NULL ? "without id" : id->text, OUTCOME_NAMES[trial->entry->outcome],
                   trial->entry->version, trial->model->last_version,
                   id == NULL ? -1 : (int)id->state, id == NULL ? 0 : id->version,
                   trial->passage->ids_floor[1], trial->passage->conflict_floor[1]);
}

static void expect(const struct trial *trial, bool good, const char *rule)
{
    if (!good) {
        complain(trial, rule);
    }
}

static unsigned payload_index(const struct trial *trial)
{
    return trial->id != NULL && trial->id->payloads[1] == trial->txn;
}

static bool is_listed(const struct commit_entry *entry, uint32_t index)
{
    for (uint32_t i = 0; i < entry->conflict_count; i++) {
        if (entry->conflicts[i] == index) {
            return true;
        }
    }
    return false;
}

/* What was refused was really stale, and all that was stale was refused. */
static void check_preconditions(const struct trial *trial)
{
    const struct model *model = trial->model;
    const uint64_t *floor = trial->passage->conflict_floor;
    bool surely_conflicts = false;
    bool maybe_conflicts = false;
    for (uint32_t i = 0; i < trial->txn->txn.precondition_count; i++) {
        uint64_t version = trial->txn->preconditions[i].version;
        bool is_stale = false;
        for (uint32_t key = trial->txn->read[i][0]; key < trial->txn->read[i][1]; key++) {
            is_stale = is_stale || model->newest[key] > version;
        }
        bool listed = is_listed(trial->entry, i);
        expect(trial, listed || !is_stale, "a stale precondition was missed");
        expect(trial, listed || version >= floor[0], "a precondition below the floor was missed");
        expect(trial, !listed || is_stale || version < floor[1],
               "a precondition that holds failed");
        surely_conflicts = surely_conflicts || (is_stale && version >= floor[1]);
        maybe_conflicts = maybe_conflicts || (is_stale && version >= floor[0]);
    }
    enum commit_outcome outcome = trial->entry->outcome;
    bool refused = trial->entry->conflict_count > 0;
    expect(trial, outcome != OUTCOME_COMMITTED || !refused, "committed with failed preconditions");
    expect(trial, outcome != OUTCOME_CONFLICT || maybe_conflicts, "the conflict is not real");
    expect(trial, outcome != OUTCOME_TOO_OLD || (refused && !surely_conflicts),
           "too old, and it is not");
}

/* Not known before: judged by what it names. */
static void check_new(const struct trial *trial)
{
    struct model *model = trial->model;
    struct model_id *id = trial->id;
    enum commit_outcome outcome = trial->entry->outcome;
    const struct txn *txn = &trial->txn->txn;
    bool changes = txn->operation_count > 0;
    bool wrong_leader = txn->leader.size > 0 &&
                        !bytes_equal(txn->leader, bytes_from_string(trial->passage->leader));
    expect(trial, (outcome == OUTCOME_WRONG_LEADER) == wrong_leader, "the leader");
    if (wrong_leader) {
        MARK(wrong_leader);
        return;
    }
    bool from_future = txn->version_max > trial->passage->durable_version;
    expect(trial, (outcome == OUTCOME_FUTURE_VERSION) == from_future, "the future");
    if (from_future) {
        MARK(future_version);
        return;
    }
    check_preconditions(trial);
    if (outcome == OUTCOME_COMMITTED && !changes) {
        MARK(check_held);
        expect(trial, trial->entry->version == model->last_version, "a check's version");
        return;
    }
    if (changes) {
        enter(model, id, trial->passage);
    } else {
        MARK(check_failed);
    }
    if (outcome == OUTCOME_COMMITTED) {
        MARK(committed);
        expect(trial, trial->entry->version == model->last_version + 1, "versions without gaps");
        apply_commit(model, trial->txn, trial->entry->version);
        if (id != NULL) {
            note_committed(id, trial->txn, trial->entry->version);
        }
        return;
    }
    expect(trial, outcome == OUTCOME_CONFLICT || outcome == OUTCOME_TOO_OLD, "a new transaction");
    if (outcome == OUTCOME_CONFLICT) {
        MARK(conflict);
    } else {
        MARK(too_old);
        mark_counts[MARK_too_old_by_memory] += model->memory_is_short;
    }
    if (id != NULL && changes) {
        id->state = MODEL_REJECTED;
        id->decided = trial->txn;
        id->reason = outcome;
    }
}

/* Whether this is what a known id must be answered. */
static bool is_repeat(const struct trial *trial)
{
    const struct model_id *id = trial->id;
    enum commit_outcome outcome = trial->entry->outcome;
    if (id->state == MODEL_FENCED) {
        return outcome == OUTCOME_FENCED;
    }
    if (id->decided != trial->txn) {
        return outcome == OUTCOME_OTHER_PAYLOAD;
    }
    return id->state == MODEL_COMMITTED
               ? outcome == OUTCOME_COMMITTED && trial->entry->version == id->version
               : outcome == id->reason;
}

static void mark_repeat(const struct trial *trial)
{
    const struct model_id *id = trial->id;
    bool other = trial->entry->outcome == OUTCOME_OTHER_PAYLOAD;
    mark_counts[MARK_fenced_original] += id->state == MODEL_FENCED;
    mark_counts[MARK_fenced_after_restart] += id->state == MODEL_FENCED && id->is_recovered;
    mark_counts[MARK_repeat_of_committed] += id->state == MODEL_COMMITTED && !other;
    mark_counts[MARK_repeat_of_rejected] += id->state == MODEL_REJECTED && !other;
    mark_counts[MARK_repeat_after_restart] += id->state == MODEL_COMMITTED && id->is_recovered;
    mark_counts[MARK_other_payload] += other;
    mark_counts[MARK_other_payload_of_rejected] += other && id->state == MODEL_REJECTED;
}

/* It is rejected, or was still to be resolved then. */
static bool may_need_fence(const struct model_id *id)
{
    return id->state == MODEL_REJECTED || (id->state == MODEL_COMMITTED && !id->is_recovered);
}

static bool says_never(enum commit_outcome outcome)
{
    return outcome == OUTCOME_CONFLICT || outcome == OUTCOME_TOO_OLD || outcome == OUTCOME_FENCED ||
           outcome == OUTCOME_OTHER_PAYLOAD || outcome == OUTCOME_WRONG_LEADER;
}

/* By a question. */
static bool is_denied(const struct model_id *id)
{
    return id->never[0] == OUTCOME_NOT_COMMITTED || id->never[1] == OUTCOME_NOT_COMMITTED;
}

static void answer_transaction(const struct trial *trial)
{
    struct model *model = trial->model;
    struct model_id *id = trial->id;
    enum commit_outcome outcome = trial->entry->outcome;
    bool known = id != NULL && id->state != MODEL_UNKNOWN;
    bool sure = known && must_be_known(model, id);
    if (outcome == OUTCOME_NO_SPACE || outcome == OUTCOME_IDS_FULL) {
        bool other = known && id->decided != trial->txn && may_need_fence(id);
        expect(trial, !sure || (outcome == OUTCOME_NO_SPACE && other), "a known id");
        return;
    }
    if (known && (sure || is_repeat(trial))) {
        expect(trial, is_repeat(trial), "a repeat gets its original's answer");
        mark_repeat(trial);
        if (!sure) {
            enter(model, NULL, trial->passage); /* if it was forgotten */
        }
    } else if (outcome == OUTCOME_FENCED && known && is_denied(id)) {
        MARK(fenced_original); /* by a question, when it may have been forgotten */
    } else {
        bool forgotten = known || (id != NULL && id->last_version > 0);
        enum commit_outcome never = id == NULL ? OUTCOME_NONE : id->never[payload_index(trial)];
        bool rejected_before = id != NULL && id->was_rejected;
        if (forgotten) {
            id->last_version =
                0; /* its client sends again what it should not: that is all it gets */
        }
        check_new(trial);
        bool committed = outcome == OUTCOME_COMMITTED && trial->txn->txn.operation_count > 0;
        if (committed && never != OUTCOME_NONE && !forgotten) {
            char what[80];
            (void)snprintf(what, sizeof what, "it was refused for good as %s",
                           OUTCOME_NAMES[never]);
            complain(trial, what);
        }
        mark_counts[MARK_forgotten_id_commits_again] += forgotten && committed;
        mark_counts[MARK_rejected_again_after_restart] += rejected_before && !committed;
        mark_counts[MARK_rejected_id_commits_other_payload] += rejected_before && committed;
    }
    if (id != NULL && says_never(outcome)) {
        id->never[payload_index(trial)] = outcome;
    }
}

/* ---- questions ---- */

static void answer_question(const struct trial *trial)
{
    struct model *model = trial->model;
    struct model_id *id = trial->id;
    const struct model_passage *passage = trial->passage;
    enum commit_outcome outcome = trial->entry->outcome;
    bool known = id->state != MODEL_UNKNOWN;
    bool sure = known && must_be_known(model, id);
    mark_counts[MARK_question_with_min_version] += passage->min_version > 0;
    switch (outcome) {
    case OUTCOME_COMMITTED:
        MARK(question_of_committed);
        mark_counts[MARK_made_id_asked_for] += id->was_made_by_server;
        expect(trial, id->state == MODEL_COMMITTED && id->version == trial->entry->version,
               "a question about what is committed");
        return;
    case OUTCOME_EXPIRED:
        MARK(question_expired);
        expect(trial, !sure, "a known id is not expired");
        expect(trial, passage->min_version < passage->ids_floor[1], "nothing has expired");
        return;
    case OUTCOME_NOT_COMMITTED:
        expect(trial, !sure || id->state != MODEL_COMMITTED, "it is committed");
        expect(trial, id->last_version == 0 || id->last_version <= passage->min_version,
               "what may be forgotten is expired, and not denied");
        if (id->state == MODEL_UNKNOWN) {
            MARK(question_of_unknown);
            expect(trial, passage->min_version >= passage->ids_floor[0], "it may be forgotten");
            enter(model, id, passage);
            id->state = MODEL_FENCED;
        } else if (!sure) {
            enter(model, NULL, passage); /* if it was forgotten */
        } else if (id->state == MODEL_REJECTED) {
            MARK(question_of_rejected);
        } else {
            MARK(question_of_fenced);
        }
        id->never[0] = id->never[1] = outcome;
        return;
    case OUTCOME_NO_SPACE:
        MARK(no_space_for_a_fence);
        expect(trial, !sure || may_need_fence(id), "a known id needs no space");
        return;
    case OUTCOME_IDS_FULL:
        expect(trial, !sure, "a known id needs no room");
        return;
    case OUTCOME_NONE:
    case OUTCOME_CONFLICT:
    case OUTCOME_TOO_OLD:
    case OUTCOME_WRONG_LEADER:
    case OUTCOME_FENCED:
    case OUTCOME_FUTURE_VERSION:
    case OUTCOME_OTHER_PAYLOAD:
    case OUTCOME_STOPPED:
    case OUTCOME_FAILED:
    case OUTCOME_COUNT:
        break;
    }
    complain(trial, "not an answer to a question");
}

/* ---- every answer ---- */

/* As far as the server must remember. */
static bool may_be_committed(const struct model *model, const struct model_id *id)
{
    bool doubted =
        id->is_in_doubt && !is_older(model, &id->in_doubt_since,
                                     model->config.request_id_window_sec * UINT64_C(1000000));
    return (doubted && !model->ids_were_many) ||
           (id->state == MODEL_COMMITTED && must_be_known(model, id));
}

/* The log has failed: nothing is known, and nobody says otherwise. True: there is no more to check.
 */
static bool answer_failure(const struct trial *trial)
{
    struct model_id *id = trial->id;
    enum commit_outcome outcome = trial->entry->outcome;
    if (outcome == OUTCOME_FAILED) {
        MARK(answered_unknown);
        expect(trial, trial->model->has_failed, "the log has not failed");
        expect(trial, trial->entry->version == 0, "what is unknown has no version");
        trial->model->entered_count++; /* perhaps */
        if (id != NULL && trial->txn != NULL && trial->txn->txn.operation_count > 0) {
            mark_counts[MARK_known_id_after_failure] += id->is_in_doubt;
            /* Since the original was sequenced, whatever its repeats ask: with it the id leaves. */
            if (!id->is_in_doubt) {
                id->in_doubt_since = id->has_entered && id->state != MODEL_UNKNOWN
                                         ? id->entered
                                         : trial->passage->sequenced;
            }
            id->is_in_doubt = true;
        }
        return true;
    }
    if (outcome == OUTCOME_STOPPED) {
        MARK(answered_stopped);
        expect(trial, trial->passage->was_failed, "the log has not failed");
        expect(trial,
               id == NULL || trial->entry->is_question || !may_be_committed(trial->model, id),
               "a transaction that may be committed is not refused");
        return true;
    }
    return false;
}

static void check_result(const struct trial *trial, const struct txn_result *result)
{
    bool is_refused = result->http_status >= 500;
    bool denied = strcmp(result->status, "not_committed") == 0;
    expect(trial, !(trial->entry->is_question && is_refused && denied),
           "a question that is not answered denies nothing");
    bool wants_version = result->http_status == 409;
    expect(trial, !wants_version || result->version == trial->model->last_version,
           "the version to read at is the latest durable one");
}

/* What is under way may not be more than a segment can take. */
static bool too_much_is_promised(const struct trial *trial)
{
    struct log_record record = {.type = LOG_RECORD_FENCE, .request_id = trial->entry->request_id};
    uint64_t kept = 0;
    if (!trial->entry->is_question) {
        record.operations = trial->txn->txn.operations;
        record.operation_count = trial->txn->txn.operation_count;
        kept = LOG_RESERVE_BYTES;
    }
    return trial->passage->promised_bytes + log_record_bytes(&record) + kept >
           LOG_SEGMENT_BYTES_MIN;
}

void model_answer(struct model *model, const struct model_passage *passage,
                  const struct commit_service *service, const struct commit_entry *entry,
                  struct model_id *id, const struct model_txn *txn)
{
    const struct trial trial = {model, passage, entry, id, txn};
    struct txn_result result = commit_entry_result(service, entry);
    check_result(&trial, &result);
    if (answer_failure(&trial)) {
        return;
    }
    if (entry->outcome == OUTCOME_NO_SPACE) {
        MARK(no_space);
        expect(&trial, model->space_was_short || too_much_is_promised(&trial), "there was space");
    }
    if (entry->outcome == OUTCOME_IDS_FULL) {
        MARK(ids_full);
        /* The window is full, and a rider holds up its oldest id; or it is full of new ones. */
        bool many = model->ids_were_many ||
                    model->entered_count + MODEL_UNRELEASED_MAX >= REQUEST_IDS_COUNT_MIN;
        expect(&trial, many, "there was room for ids");
    }
    if (entry->is_question) {
        answer_question(&trial);
    } else {
        answer_transaction(&trial);
    }
}

/* Only what is older than the window is forgotten, unless memory is short. */
void model_check_conflict_floor(struct model *model, uint64_t floor)
{
    if (floor == 0 || model->memory_is_short || model->is_capped) {
        return;
    }
    /* The window is kept in whole seconds. */
    uint64_t window_us = (model->config.conflict_window_sec - 1) * UINT64_C(1000000);
    if (!is_older(model, &model->given[floor], window_us)) {
        model_complain(model, "the conflict window forgot version %" PRIu64 " too early", floor);
    }
}

/* ---- the log ---- */

static uint64_t record_hash(const struct log_record *record)
{
    size_t size = log_record_size(record);
    char *bytes = malloc(size);
    CHECK(bytes != NULL);
    log_record_encode(record, bytes);
    uint64_t hash = log_payload_hash(bytes_of(bytes, size));
    free(bytes);
    return hash;
}

void model_given(struct model *model, uint64_t version)
{
    CHECK(version < MODEL_LEDGER_MAX);
    model->given[version] = (struct moment){model->peaks[model->peak_count - 1].us, model->tick};
}

void model_batch_begins(struct model *model)
{
    uint64_t now_us = model->peaks[model->peak_count - 1].us;
    model->log_us = now_us > model->log_us ? now_us : model->log_us;
    model->batch++;
}

const struct ledger_record *model_record_of(const struct model *model, uint64_t version)
{
    CHECK(version > 0 && version <= model->given_version);
    return &model->ledger[model->places[version]];
}

uint64_t model_batch_end(const struct model *model, uint64_t version)
{
    uint64_t batch = model_record_of(model, version)->batch;
    while (version < model->given_version && model_record_of(model, version + 1)->batch == batch) {
        version++;
    }
    return version;
}

void model_append(struct model *model, const struct log_record *record, struct model_id *id,
                  const struct model_txn *txn)
{
    CHECK(model->ledger_count < MODEL_LEDGER_MAX);
    bool is_commit = record->type == LOG_RECORD_COMMIT;
    struct moment now = {model->peaks[model->peak_count - 1].us, model->tick};
    if (is_commit && now.us < model->given[record->version].us) {
        model->given[record->version] = now; /* the clock went back: so says the log */
    }
    if (is_commit) {
        model->places[record->version] = model->ledger_count;
        model->given_version = record->version;
    }
    model->ledger[model->ledger_count++] = (struct ledger_record){
        .hash = record_hash(record),
        .version = is_commit ? record->version : 0,
        .id = id,
        .txn = txn,
        .since = is_commit ? model->given[record->version] : now,
        .timestamp_us = model->log_us,
        .batch = model->batch,
    };
}

void model_synced(struct model *model)
{
    model->ledger_durable = model->ledger_count;
    model->synced_version = model->given_version;
}

void model_recovery_begins(struct model *model)
{
    model->found_count = 0;
}

void model_recovered_record(struct model *model, const struct log_record *record)
{
    CHECK(model->found_count < MODEL_LEDGER_MAX);
    model->found[model->found_count++] = record_hash(record);
}

/* Whether what was found is the ledger from `first` on, with all that was synced. */
static bool is_ledger_from(const struct model *model, uint32_t first)
{
    uint32_t end = first + model->found_count;
    if (end < model->ledger_durable || end > model->ledger_count) {
        return false;
    }
    for (uint32_t i = 0; i < model->found_count; i++) {
        if (model->found[i] != model->ledger[first + i].hash) {
            return false;
        }
    }
    return true;
}

/* What the log says of each id; the later record counts. */
static void replay_ids(struct model *model)
{
    for (uint32_t i = 0; i < model->id_count; i++) {
        struct model_id *id = &model->ids[i];
        id->was_rejected = id->was_rejected || id->state == MODEL_REJECTED;
        id->state = MODEL_UNKNOWN;
        id->is_in_doubt = false;
        id->has_entered = false;
    }
    for (uint32_t i = 0; i < model->ledger_first; i++) {
        struct model_id *id = model->ledger[i].id;
        id->never[0] = id->never[1] = OUTCOME_NONE; /* what was removed is forgotten */
    }
    for (uint32_t i = model->ledger_first; i < model->ledger_count; i++) {
        const struct ledger_record *record = &model->ledger[i];
        struct model_id *id = record->id;
        if (record->version > 0) {
            note_committed(id, record->txn, record->version);
        } else {
            id->state = MODEL_FENCED;
            id->last_version = 0; /* a commit before it was forgotten when its id was used again */
        }
        id->is_recovered = true;
        id->has_entered = true;
        id->entered = record->since;
        id->entered_count = i + 1;
    }
    model->entered_count = model->ledger_count;
}

/* That the log begins with this version is what removal may have led to, and what was found. */
static void check_first_version(struct model *model, uint32_t first, uint64_t first_version)
{
    if (first_version < model->first_version[0] || first_version > model->first_version[1]) {
        model_complain(model,
                       "the log begins with version %" PRIu64 ", not with one from %" PRIu64
                       " to %" PRIu64,
                       first_version, model->first_version[0], model->first_version[1]);
    }
    for (uint32_t i = model->ledger_first; i < model->ledger_count; i++) {
        uint64_t version = model->ledger[i].version;
        if (version > 0 && (version < first_version) != (i < first)) {
            model_complain(model, "the log begins with version %" PRIu64 ", and %" PRIu64 " is %s",
                           first_version, version, i < first ? "gone" : "there");
            return;
        }
    }
    mark_counts[MARK_old_segments_are_gone] += first > model->ledger_first;
    model->first_version[0] = model->first_version[1] = first_version;
    model->ledger_first = first;
}

void model_recovered(struct model *model, uint64_t first_version)
{
    uint32_t first = model->ledger_first;
    for (uint32_t i = first; i < model->ledger_count; i++) {
        uint64_t version = model->ledger[i].version;
        first = version > 0 && version < first_version ? i + 1 : first;
    }
    while (first < model->ledger_count && !is_ledger_from(model, first)) {
        first++;
    }
    if (!is_ledger_from(model, first)) {
        model_complain(model,
                       "recovery: the %" PRIu32 " records found are not what was appended; %" PRIu32
                       " were synced, %" PRIu32 " given to the log, and %" PRIu32 " removed",
                       model->found_count, model->ledger_durable, model->ledger_count,
                       model->ledger_first);
        return;
    }
    check_first_version(model, first, first_version);
    uint32_t found = first + model->found_count;
    if (found > model->ledger_durable) {
        MARK(unacknowledged_batch_survives);
    } else if (model->ledger_count > model->ledger_durable) {
        MARK(unacknowledged_batch_is_lost);
    }
    for (uint32_t i = model->ledger_durable; i < found; i++) {
        const struct ledger_record *record = &model->ledger[i];
        if (record->version > 0) {
            CHECK(record->version == model->last_version + 1);
            apply_commit(model, record->txn, record->version);
        }
    }
    model->ledger_count = model->ledger_durable = found;
    model->given_version = model->synced_version = model->last_version;
    model->log_us = model->found_count == 0 ? 0 : model->ledger[found - 1].timestamp_us;
    model->has_failed = false;
    replay_ids(model);
}

void model_cut(struct model *model, uint64_t version, uint32_t end, bool is_state_lost)
{
    model->ledger_count = 0;
    memset(model->newest, 0, sizeof model->newest);
    for (uint32_t i = 0; i < end && model->ledger[i].version <= version; i++) {
        model->ledger_count = i + 1;
        if (model->ledger[i].version > 0) {
            apply_commit(model, model->ledger[i].txn, model->ledger[i].version);
        }
    }
    model->ledger_durable = model->ledger_count;
    model->last_version = model->given_version = model->synced_version = version;
    for (uint32_t i = 0; i < model->id_count; i++) {
        struct model_id *id = &model->ids[i];
        id->never[0] = id->never[1] = OUTCOME_NONE;
        id->known_version = id->known_version < version ? id->known_version : version;
        id->last_version = id->last_version <= version ? id->last_version : 0;
    }
    for (uint32_t i = 0; i < MODEL_POLICIES_MAX; i++) {
        struct model_policy *policy = &model->policies[i];
        policy->version = policy->version < version ? policy->version : version;
        policy->is_there = policy->is_there && !is_state_lost;
    }
}
