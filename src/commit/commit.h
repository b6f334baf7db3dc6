/* SPDX-License-Identifier: Apache-2.0 */
/*
 * commit: orders transactions, refuses the stale ones and makes the rest durable.
 *
 * Requests pass four stages in one order, each stage handling a batch at a time:
 *
 *   sequence   knows repeats by their request ids, refuses what cannot be, makes sure of log space
 *   resolve    checks what was read against later writes, gives versions, notes the writes
 *   persist    appends commits and fences to the log, one sync a batch
 *   release    moves the durable version forward and completes the answers
 *
 * Nothing is answered before release, so whatever an answer tells of is durable.
 *
 * Runs on:  open and close: one thread, while no stage runs. Each stage function: the one thread of
 *           that stage; batches reach each stage in the same order. Several stages may share a
 *           thread. The functions at the end: any thread.
 * Owns:     conflict set and request ids. Borrows: the log, until close.
 * Blocks:   commit_persist() only, for one sync.
 */
#ifndef COMMIT_COMMIT_H
#define COMMIT_COMMIT_H

#include "commit/request_ids.h"
#include "commitlog/log.h"
#include "txn/txn.h"

struct commit_service; /* commit/commit_internal.h */

enum { COMMIT_ID_BYTES = 40, COMMIT_LEADER_BYTES = 40 };

/* Where an entry stands between the stages. */
enum commit_step {
    COMMIT_NEW,     /* not sequenced */
    COMMIT_RESOLVE, /* to be checked */
    COMMIT_RIDE,    /* a repeat of one that is still to be resolved */
    COMMIT_APPEND,  /* to be appended to the log */
    COMMIT_FENCE,   /* a fence is to be appended */
    COMMIT_DECIDED, /* nothing more to do */
};

/* What came out; commit/outcome.c says how each is answered. */
enum commit_outcome {
    OUTCOME_NONE,
    OUTCOME_COMMITTED,
    OUTCOME_NOT_COMMITTED, /* to a question: it is fenced for good */
    OUTCOME_EXPIRED,       /* to a question: nobody can say */
    OUTCOME_CONFLICT,
    OUTCOME_TOO_OLD,
    OUTCOME_WRONG_LEADER,
    OUTCOME_FENCED,
    OUTCOME_FUTURE_VERSION,
    OUTCOME_OTHER_PAYLOAD,
    OUTCOME_NO_SPACE,
    OUTCOME_IDS_FULL,
    OUTCOME_STOPPED, /* the log has failed before this was sequenced */
    OUTCOME_FAILED,  /* the log has failed with this under way */
    OUTCOME_COUNT,
};

/* One transaction, or a question for one, on its way. Made by commit_entry_init(). */
struct commit_entry {
    const struct txn *txn; /* of a question: only its request_id counts */
    enum commit_step step;
    enum commit_outcome outcome;
    bool is_question;
    bool is_fenced_too; /* writes a fence if the original, which it rides behind, is rejected */
    uint32_t conflict_count;
    uint32_t *conflicts;   /* in the arena of the request */
    uint64_t version;      /* committed: its own; else one to read at, set by release */
    size_t reserved_bytes; /* of the log */
    int space_error;       /* OUTCOME_NO_SPACE: why, as errno; 0: too much is promised */
    struct request_id *slot;
    struct request_id_name name;
    struct bytes request_id;
    char made_id[COMMIT_ID_BYTES]; /* where the client has given none */
};

/* What one HTTP request carries. It and all that it points to live until its answer is written. */
struct commit_request {
    struct arena *arena;
    struct commit_entry *entries;
    uint32_t entry_count;
    uint64_t min_version; /* of a question: the commit it asks for came after this one */
};

struct commit_config {
    uint64_t conflict_bytes_max;
    uint32_t conflict_window_sec;
    uint32_t request_id_window_sec;
    uint32_t request_id_count_max;
    uint64_t (*now_us)(void); /* the time of day, in microseconds since 1970 */
    uint64_t start_id;        /* in made request ids and the leader's name; 0: drawn at random */
};

/* Reads the log's tail into a service while log_open() runs; then commit_start() takes the log. */
enum err commit_open(const struct commit_config *config, struct commit_service **out) WARN_UNUSED;
const struct log_visitor *commit_log_visitor(struct commit_service *service);
void commit_start(struct commit_service *service, struct log *log);
void commit_close(struct commit_service *service);

void commit_entry_init(struct commit_entry *entry, const struct txn *txn, bool is_question);

/* The stages. */
void commit_sequence(struct commit_service *service, struct commit_request *const *requests,
                     size_t count);
void commit_resolve(struct commit_service *service, struct commit_request *const *requests,
                    size_t count);
/* ERR_SYSTEM: the log has failed; what was under way is OUTCOME_FAILED. The process must end. */
enum err commit_persist(struct commit_service *service, struct commit_request *const *requests,
                        size_t count);
void commit_release(struct commit_service *service, struct commit_request *const *requests,
                    size_t count);

/* How an entry that was released is answered. Lives as long as the entry. */
struct txn_result commit_entry_result(const struct commit_service *service,
                                      const struct commit_entry *entry);

/* Any thread. */
struct txn_version_info commit_version_info(const struct commit_service *service);
/* NULL: a commit of any size finds space, as far as is known now. Else why not, in words. */
const char *commit_why_not_writable(const struct commit_service *service);

/* Numbers for metrics, each of about now. */
struct commit_stats {
    uint64_t outcomes[OUTCOME_COUNT]; /* of transactions and questions answered */
    uint64_t repeats;                 /* answered from the original's outcome */
    uint64_t conflict_entries;
    uint64_t conflict_bytes;
    uint64_t conflict_floor_raises; /* times that memory ran short and raised the floor */
    uint64_t request_ids;
};
struct commit_stats commit_stats(const struct commit_service *service);

#endif
