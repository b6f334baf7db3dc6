/* SPDX-License-Identifier: Apache-2.0 */
/*
 * model: what the commit path may answer, from an account of its own.
 *
 * It is told of each request in the order of the pipeline when its answer is given, and of what
 * goes to the log when that is tried. From that alone it says whether an answer was right, and what
 * a recovery may find. It knows nothing of stages, slots or sectors.
 *
 * Keys are numbers: the sorted table model->keys gives their bytes, and every key and every end of
 * a range is one of them.
 */
#ifndef SIMULATION_MODEL_H
#define SIMULATION_MODEL_H

#include "commit/commit.h"
#include "simulation/marks.h"

enum {
    MODEL_KEYS_MAX = 64,
    MODEL_PART_MAX = 5, /* operations, and preconditions, of one transaction */
    MODEL_IDS_MAX = 12000,
    MODEL_LEDGER_MAX = 20000,
    MODEL_PROBLEM_BYTES = 512,
    MODEL_PEAKS_MAX = 4096,
    MODEL_UNRELEASED_MAX = 600, /* transactions on their way, but for floods of ids */
    MODEL_POLICIES_MAX = 5,
};

struct moment {
    uint64_t us;
    uint64_t tick;
};

/* A transaction; one that is sent again is the same one. */
struct model_txn {
    struct txn txn;
    struct txn_precondition preconditions[MODEL_PART_MAX];
    struct txn_operation operations[MODEL_PART_MAX];
    uint32_t read[MODEL_PART_MAX][2];    /* keys [begin, end) */
    uint32_t written[MODEL_PART_MAX][2]; /* likewise */
    char leader[COMMIT_LEADER_BYTES];
    struct model_txn *next; /* of all */
};

enum model_state { MODEL_UNKNOWN, MODEL_COMMITTED, MODEL_REJECTED, MODEL_FENCED };

struct model_id {
    char text[COMMIT_ID_BYTES];
    struct model_txn *payloads[2]; /* the second one is sent by mistake */
    uint64_t known_version;        /* the latest that its client knew of when it was made */
    bool was_made_by_server;
    /* What the server knows of it. */
    enum model_state state;
    const struct model_txn *decided; /* committed or rejected */
    enum commit_outcome reason;      /* of rejected */
    uint64_t version;                /* of committed */
    bool is_recovered;               /* since a restart */
    /* When it entered the window, if it has. */
    bool has_entered;
    struct moment entered;
    uint64_t entered_count;
    /* What clients were told, for all time. */
    enum commit_outcome never[2]; /* why it was said that this payload does not commit */
    bool was_rejected;            /* in an earlier life */
    uint64_t last_version;        /* of its latest commit; 0: none */
    bool is_in_doubt;             /* was answered as unknown since the last restart */
    struct moment in_doubt_since;
};

struct ledger_record {
    uint64_t hash;
    uint64_t version; /* of a fence: 0 */
    struct model_id *id;
    const struct model_txn *txn;
    struct moment since;   /* when it was resolved */
    uint64_t timestamp_us; /* of its batch */
    uint64_t batch;        /* given to the log together; perhaps in pieces */
};

struct model_policy {
    bool is_there;
    uint64_t version; /* what comes after it is kept */
};

struct model {
    /* Fixed for a run. */
    struct bytes keys[MODEL_KEYS_MAX];
    uint32_t key_count;
    struct commit_config config;
    bool memory_is_short; /* the conflict window may be cut by it */
    bool is_capped;       /* by bytes: both windows may be cut at a restart */

    uint64_t last_version; /* answered */
    uint64_t newest[MODEL_KEYS_MAX];
    struct model_id ids[MODEL_IDS_MAX];
    uint32_t id_count;
    uint64_t entered_count;
    struct model_txn *txns;
    /* All that was given to the log. */
    struct ledger_record ledger[MODEL_LEDGER_MAX];
    uint32_t ledger_count;
    uint32_t ledger_durable;
    uint32_t places[MODEL_LEDGER_MAX]; /* of versions in the ledger */
    uint64_t given_version;            /* the last one there */
    uint64_t synced_version;           /* the last one that is durable */
    uint64_t log_us;                   /* of the last batch */
    uint64_t batch;
    uint32_t ledger_first;            /* that recovery has found; those before were removed */
    uint64_t found[MODEL_LEDGER_MAX]; /* by the recovery under way: hashes of records */
    uint32_t found_count;

    /* The clock: its maxima from each tick on. */
    uint64_t tick;
    struct moment peaks[MODEL_PEAKS_MAX];
    uint32_t peak_count;
    struct moment given[MODEL_LEDGER_MAX]; /* when each version was */

    /* What of the log is kept. Its first version is known, but for a removal that a crash has cut
     * off: then it is from the first to the second one. */
    uint64_t first_version[2];
    struct model_policy policies[MODEL_POLICIES_MAX];
    bool policy_is_in_doubt; /* a change of one was cut off: it is as before, or as it was to be */
    uint32_t policy_doubted;
    struct model_policy policy_to_be;

    bool space_was_short;
    bool ids_were_many;
    bool has_failed;                   /* the log, since the last restart */
    char problem[MODEL_PROBLEM_BYTES]; /* the first thing that was wrong; empty: nothing */
};

/* What the harness saw of a request on its way. */
struct model_passage {
    const char *leader; /* of the server */
    struct moment sequenced;
    uint64_t durable_version;   /* then */
    uint64_t ids_floor[2];      /* before and after */
    uint64_t conflict_floor[2]; /* before and after it was resolved */
    uint64_t min_version;
    uint64_t promised_bytes; /* of the log, after it was sequenced */
    bool was_failed;         /* when it was sequenced */
};

/* Notes the first problem. */
void model_complain(struct model *model, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

void model_set_clock(struct model *model, uint64_t now_us);

/* A transaction that is kept for as long as the model. */
struct model_txn *model_add_txn(struct model *model);
struct model_id *model_add_id(struct model *model, struct bytes text);

/* One entry was answered, all before it were. `id` is NULL when the client gave none. */
void model_answer(struct model *model, const struct model_passage *passage,
                  const struct commit_service *service, const struct commit_entry *entry,
                  struct model_id *id, const struct model_txn *txn);

/* The floor of the conflict window has moved: was that right? */
void model_check_conflict_floor(struct model *model, uint64_t floor);

/* A transaction was given the version, now. */
void model_given(struct model *model, uint64_t version);

/* A batch begins. What is given to the log now; then it was synced. */
void model_batch_begins(struct model *model);
void model_append(struct model *model, const struct log_record *record, struct model_id *id,
                  const struct model_txn *txn);
void model_synced(struct model *model);

/* Recovery: from the beginning, each record in turn, then the end of it. */
void model_recovery_begins(struct model *model);
void model_recovered_record(struct model *model, const struct log_record *record);
void model_recovered(struct model *model, uint64_t first_version);

/* A repair has cut off what comes after `version`, and the ledger from `end` on; policies are lost
 * with `state`. Nothing that was told of it holds any more. */
void model_cut(struct model *model, uint64_t version, uint32_t end, bool is_state_lost);

/* What is known of a version that is, or was, in the log. */
const struct ledger_record *model_record_of(const struct model *model, uint64_t version);
/* The last version that was given to the log together with it. */
uint64_t model_batch_end(const struct model *model, uint64_t version);

void model_free(struct model *model);

#endif
