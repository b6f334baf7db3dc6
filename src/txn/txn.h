/* SPDX-License-Identifier: Apache-2.0 */
/*
 * txn: the one model of a transaction, of its result, and the limits that both keep to.
 *
 * Codecs (txn/codec.h) make a transaction from a request body; everything behind them works on it
 * without copying: all views point into the body or into the arena that it was decoded with.
 *
 * Runs on: whoever owns the request. Never blocks.
 */
#ifndef TXN_TXN_H
#define TXN_TXN_H

#include "base/arena.h"
#include "base/bytes.h"

enum { TXN_REQUEST_ID_BYTES_MAX = 128 };

#define TXN_VERSION_MAX ((UINT64_C(1) << 53) - 1)

/* Keys order by unsigned bytes; a range is begin <= key < end. */
struct txn_precondition {
    struct bytes begin; /* of a point: the key */
    struct bytes end;   /* of a range; of a point: {NULL, 0} */
    uint64_t version;   /* holds when nothing in it was written after this version */
    bool is_range;
};

enum txn_operation_type {
    TXN_WRITE = 1, /* the numbers are those of the commit log and of Protobuf */
    TXN_DELETE = 2,
    TXN_RANGE_DELETE = 3,
};

struct txn_operation {
    struct bytes key;   /* of a range delete: its begin */
    struct bytes value; /* of a write: the value; of a range delete: its end; else {NULL, 0} */
    enum txn_operation_type type;
};

struct txn {
    struct bytes request_id; /* empty: none was given */
    struct bytes leader;     /* empty: none was given */
    const struct txn_precondition *preconditions;
    const struct txn_operation *operations;
    uint32_t precondition_count;
    uint32_t operation_count;
    uint64_t version_max;  /* the highest version that it names; 0: none */
    uint64_t payload_hash; /* of preconditions and operations; the same in all formats */
};

struct txn_batch {
    struct txn *transactions;
    uint32_t count;
};

/* [commit] of the configuration; fixed after start. */
struct txn_limits {
    uint32_t key_bytes_max;
    uint32_t value_bytes_max;
    uint32_t operations_max;    /* of one transaction */
    uint32_t preconditions_max; /* of one transaction */
    uint32_t batch_transactions_max;
};

/* What became of a transaction, or of a question for one. Fields that are empty or NULL are left
 * out of what is sent; http_status is in answers of batches only, version where has_version says
 * so. */
struct txn_result {
    unsigned http_status; /* 200, 400, 409, 422, 500 or 503 */
    const char *status;   /* "committed", "not_committed", "expired" or "unknown" */
    const char *reason;   /* of not_committed: "conflict", "too_old", "wrong_leader", "fenced" */
    const char *detail;   /* a sentence for people, with 400, 422, 500 and 503 */
    struct bytes request_id;
    struct bytes leader;
    bool has_version; /* a version of 0 (nothing was ever committed) is one too */
    uint64_t version;
    const uint32_t *conflicts; /* indices of the preconditions that failed, ascending */
    uint32_t conflict_count;
};

/* What GET /v1/version answers. */
struct txn_version_info {
    uint64_t version; /* the latest durable one; 0: none yet */
    struct bytes leader;
    uint64_t oldest_read_version;    /* the floor of the conflict window */
    uint64_t log_start_version;      /* the first one that is still in the log */
    uint64_t request_id_min_version; /* ids of commits after it are known; older ones expired */
    uint64_t request_id_window_sec;
    uint64_t request_id_count_max;
};

#endif
