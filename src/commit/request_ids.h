/* SPDX-License-Identifier: Apache-2.0 */
/*
 * request_ids: what became of each recent request id, so that a repeat gets the original's answer.
 *
 *   slot = request_ids_find(ids, name)          known: answer from it, or ride behind the original
 *   request_ids_try_enter(ids, name, ...)       unknown: pending from now on
 *   request_ids_commit(), _reject(), _fence()   later, one of them, once
 *
 * The window: the newest `count_max` ids, none older than `window_sec`. Ids leave it in the order
 * in which they entered; one that is pending, or has riders, holds up those behind it. An id is
 * known by a 128-bit hash under a random seed, so that a slot has a fixed size; the seed is drawn
 * at each start and kept to the process.
 *
 * Runs on:  everything the sequence stage's thread, but what decides and request_ids_leave(), which
 * are the resolve stage's.
 * Owns:     its memory, reserved at open and used as ids come.
 * Blocks:   never.
 */
#ifndef COMMIT_REQUEST_IDS_H
#define COMMIT_REQUEST_IDS_H

#include "base/bytes.h"
#include "base/err.h"

#include <stdatomic.h>

enum { REQUEST_IDS_COUNT_MIN = 1024, REQUEST_IDS_COUNT_MAX = 1 << 28 };

enum request_id_state {
    REQUEST_ID_PENDING,   /* sequenced, and not yet resolved */
    REQUEST_ID_COMMITTED, /* `version` says where */
    REQUEST_ID_REJECTED,  /* `rejection` says why */
    REQUEST_ID_FENCED,    /* by a question; a late original is refused */
};

/* Why a transaction was refused, as its repeats will hear again. */
struct request_id_rejection {
    uint8_t reason;            /* the caller's */
    uint32_t conflict_count;   /* at most UINT32_MAX / 4 */
    const uint32_t *conflicts; /* copied; NULL when there are none */
};

struct request_id_name {
    uint64_t low;
    uint64_t high;
};

struct request_id {
    /* The sequence stage's. */
    struct request_id_name name;
    uint64_t payload_hash;
    uint32_t entered_sec;
    bool fenced_durably; /* a fence in the log says that it will never commit */
    bool is_forgotten;   /* cannot be found any more */

    /* Written before `state` by the one who decides. */
    uint8_t reason;
    uint64_t version; /* that it committed at; of others 0 */
    uint32_t conflict_count;
    uint32_t *conflicts;

    /* Shared. */
    _Atomic uint32_t state;  /* enum request_id_state; the rest is valid once it is not pending */
    _Atomic uint32_t riders; /* duplicates on their way to the resolve stage */
};

struct request_ids; /* commit/request_ids.c */

struct request_ids_config {
    uint32_t count_max; /* REQUEST_IDS_COUNT_MIN to REQUEST_IDS_COUNT_MAX */
    uint32_t window_sec;
};

/* ERR_MEMORY, ERR_SYSTEM (no random bytes). */
enum err request_ids_open(const struct request_ids_config *config,
                          struct request_ids **out) WARN_UNUSED;
void request_ids_close(struct request_ids *ids);

struct request_id_name request_ids_name(const struct request_ids *ids, struct bytes id);

/* Begins to load what the functions below will look at: worth it some microseconds ahead. */
void request_ids_prefetch(const struct request_ids *ids, struct request_id_name name);

/* NULL: unknown, or no longer in the window. Valid until the next call that enters or expires, or,
 * with a rider, until that leaves. */
struct request_id *request_ids_find(struct request_ids *ids, struct request_id_name name);

/* Enters an unknown id. NULL: the window is full of ids that are still pending. */
struct request_id *request_ids_try_enter(struct request_ids *ids, struct request_id_name name,
                                         uint64_t payload_hash, uint32_t now_sec);

/* A decided id cannot be found from now on and may be entered anew. */
void request_ids_forget(struct request_ids *ids, struct request_id *slot);

/* Lets go of what is older than the window; at most a bounded number at a time. */
void request_ids_expire(struct request_ids *ids, uint32_t now_sec);

/* Ids of commits up to this version may have left the window. */
uint64_t request_ids_floor(const struct request_ids *ids);
void request_ids_raise_floor(struct request_ids *ids, uint64_t version);
uint32_t request_ids_count(const struct request_ids *ids);

/* The duplicate that holds `slot` will reach the resolve stage, which then lets it leave. */
void request_ids_ride(struct request_id *slot);
void request_ids_leave(struct request_id *slot);

/* Each decides a pending id. Conflicts that find no memory are left out. */
void request_ids_commit(struct request_id *slot, uint64_t version);
void request_ids_reject(struct request_id *slot, const struct request_id_rejection *rejection);
void request_ids_fence(struct request_id *slot);

static inline enum request_id_state request_id_state(const struct request_id *slot)
{
    /* acquire: pairs with decide(); what was decided is visible. */
    return (enum request_id_state)atomic_load_explicit(&slot->state, memory_order_acquire);
}

#endif
