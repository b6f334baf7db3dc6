/* SPDX-License-Identifier: Apache-2.0 */
/*
 * commit_internal: what the four stages share, and who may touch which part of it.
 */
#ifndef COMMIT_COMMIT_INTERNAL_H
#define COMMIT_COMMIT_INTERNAL_H

#include "commit/commit.h"
#include "commit/conflict_set.h"

#include <stdatomic.h>

/* Written by one stage, read by anyone. */
struct commit_number {
    _Alignas(64) _Atomic uint64_t value;
};

static inline void number_set(struct commit_number *number, uint64_t value)
{
    /* relaxed: a number by itself, for metrics; pairs with nothing */
    atomic_store_explicit(&number->value, value, memory_order_relaxed);
}

static inline uint64_t number_get(const struct commit_number *number)
{
    /* relaxed: as in number_set() */
    return atomic_load_explicit(&number->value, memory_order_relaxed);
}

enum { CLOCK_MARKS = 512 };

struct commit_service {
    /* Fixed after start. */
    struct commit_config config;
    struct log *log;
    struct log_visitor visitor;
    char leader[COMMIT_LEADER_BYTES];
    size_t leader_size;
    char id_prefix[17]; /* drawn at each start */
    bool recovers_ids;  /* of the batch that recovery is at */

    /* The sequence stage's. */
    struct request_ids *ids;
    uint64_t made_ids;

    /* The resolve stage's. */
    struct conflict_set *conflicts;
    uint64_t last_version; /* given */
    struct {               /* versions given at some moments, oldest first, to age the window by */
        uint32_t sec;
        uint64_t version;
    } marks[CLOCK_MARKS];
    uint32_t mark_first;
    uint32_t mark_count;

    /* The persist stage's. */
    uint64_t synced_version;
    uint64_t last_us; /* timestamp of the last batch: they never go back */

    /* The release stage's. */
    uint64_t outcomes[OUTCOME_COUNT];

    /* Shared; each with one writer. */
    _Alignas(64) _Atomic uint64_t durable_version;       /* release */
    _Alignas(64) _Atomic bool failed;                    /* persist */
    struct commit_number conflict_floor;                 /* resolve */
    struct commit_number conflict_entries;               /* resolve */
    struct commit_number conflict_bytes;                 /* resolve */
    struct commit_number conflict_floor_raises;          /* resolve */
    struct commit_number ids_floor;                      /* sequence */
    struct commit_number ids_count;                      /* sequence */
    struct commit_number repeats;                        /* sequence */
    struct commit_number outcome_numbers[OUTCOME_COUNT]; /* release */
};

static inline uint64_t commit_durable_version(const struct commit_service *service)
{
    /* acquire: pairs with commit_release(); who sees a version sees its log records too. */
    return atomic_load_explicit(&service->durable_version, memory_order_acquire);
}

static inline bool commit_has_failed(const struct commit_service *service)
{
    /* acquire: pairs with commit_persist(). */
    return atomic_load_explicit(&service->failed, memory_order_acquire);
}

static inline void entry_decide(struct commit_entry *entry, enum commit_outcome outcome)
{
    entry->step = COMMIT_DECIDED;
    entry->outcome = outcome;
}

/* Takes the outcome of the original over, with room for its conflicts from `arena`. */
void entry_take_outcome(struct commit_entry *entry, const struct request_id *slot,
                        struct arena *arena);

/* The log record that the entry becomes at COMMIT_APPEND or COMMIT_FENCE. */
struct log_record entry_record(const struct commit_entry *entry, enum log_record_type type);

/* Notes what the transaction writes. */
void resolve_note_writes(struct commit_service *service, const struct txn_operation *operations,
                         uint32_t count, uint64_t version);
void resolve_age_window(struct commit_service *service, uint32_t now_sec);

#endif
