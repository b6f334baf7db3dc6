/* SPDX-License-Identifier: Apache-2.0 */
/*
 * builder: makes transactions from the fields that a codec has read, and keeps the rules and limits
 * that are the same in every format: which fields belong together, which keys, ranges, versions and
 * ids are allowed, how many items there may be. Also names the place in every refusal.
 *
 * For each transaction: txn_build_begin(), the single fields (read_version before the lists), for
 * each list txn_build_list() and an item for each index in order, txn_build_end(). The first error
 * ends it; the builder is of no use then.
 *
 * Runs on: network threads. Never blocks. Owns nothing: all memory is the arena's.
 */
#ifndef TXN_BUILDER_H
#define TXN_BUILDER_H

#include "base/arena.h"
#include "base/bytes.h"
#include "http/problem.h"
#include "txn/txn.h"

/* Every field there is, by its name in JSON, MessagePack and Protobuf. */
enum txn_field {
    TXN_FIELD_NONE, /* no such name */
    TXN_FIELD_KEY,
    TXN_FIELD_VALUE,
    TXN_FIELD_BEGIN,
    TXN_FIELD_END,
    TXN_FIELD_TYPE,
    TXN_FIELD_VERSION,
    TXN_FIELD_REQUEST_ID,
    TXN_FIELD_LEADER,
    TXN_FIELD_READ_VERSION,
    TXN_FIELD_PRECONDITIONS,
    TXN_FIELD_OPERATIONS,
    TXN_FIELD_TRANSACTIONS,
    TXN_FIELDS,
    TXN_FIELDS_BYTES = TXN_FIELD_END + 1, /* the fields before it carry keys and values */
};

/* Sets of fields: bit 1 << field. */
enum {
    TXN_FIELDS_OF_ITEM = 1 << TXN_FIELD_KEY | 1 << TXN_FIELD_VALUE | 1 << TXN_FIELD_BEGIN |
                         1 << TXN_FIELD_END | 1 << TXN_FIELD_TYPE | 1 << TXN_FIELD_VERSION,
    TXN_FIELDS_OF_COMMIT = 1 << TXN_FIELD_REQUEST_ID | 1 << TXN_FIELD_LEADER |
                           1 << TXN_FIELD_READ_VERSION | 1 << TXN_FIELD_PRECONDITIONS |
                           1 << TXN_FIELD_OPERATIONS,
    TXN_FIELDS_OF_BATCH = 1 << TXN_FIELD_TRANSACTIONS,
};

enum txn_item_type {
    TXN_ITEM_NONE,
    TXN_ITEM_POINT_READ,
    TXN_ITEM_RANGE_READ,
    TXN_ITEM_WRITE,
    TXN_ITEM_DELETE,
    TXN_ITEM_RANGE_DELETE,
};

/* A precondition or an operation as it was sent. */
struct txn_item {
    struct bytes bytes[TXN_FIELDS_BYTES]; /* by field; those in `fields` are valid */
    uint64_t version;
    unsigned fields; /* the set of fields that were sent, type excepted */
    enum txn_item_type type;
};

struct txn_builder {
    const struct txn_limits *limits;
    struct arena *arena;
    struct http_problem *out_problem;
    /* where it is */
    int64_t transaction; /* index in a batch; -1: not in one */
    int64_t index;       /* in the list; -1: in none */
    enum txn_field list; /* TXN_FIELD_PRECONDITIONS, _OPERATIONS or _NONE */
    /* of this transaction */
    bool has_read_version;
    uint64_t read_version;
    struct txn_precondition *preconditions;
    struct txn_operation *operations;
    struct txn txn;
};

/* Literals, so that the compiler compares words instead of calling memcmp(). */
#define TXN_NAME_IS(literal) (memcmp(name.data, literal, sizeof(literal) - 1) == 0)

/* The field called `name`, or TXN_FIELD_NONE. Inline: it is asked for each field of each item. */
static inline enum txn_field txn_field_of(struct bytes name)
{
    switch (name.size) {
    case sizeof "key" - 1:
        return TXN_NAME_IS("key")   ? TXN_FIELD_KEY
               : TXN_NAME_IS("end") ? TXN_FIELD_END
                                    : TXN_FIELD_NONE;
    case sizeof "type" - 1:
        return TXN_NAME_IS("type") ? TXN_FIELD_TYPE : TXN_FIELD_NONE;
    case sizeof "value" - 1:
        return TXN_NAME_IS("value")   ? TXN_FIELD_VALUE
               : TXN_NAME_IS("begin") ? TXN_FIELD_BEGIN
                                      : TXN_FIELD_NONE;
    case sizeof "leader" - 1:
        return TXN_NAME_IS("leader") ? TXN_FIELD_LEADER : TXN_FIELD_NONE;
    case sizeof "version" - 1:
        return TXN_NAME_IS("version") ? TXN_FIELD_VERSION : TXN_FIELD_NONE;
    case sizeof "operations" - 1:
        return TXN_NAME_IS("operations")   ? TXN_FIELD_OPERATIONS
               : TXN_NAME_IS("request_id") ? TXN_FIELD_REQUEST_ID
                                           : TXN_FIELD_NONE;
    case sizeof "read_version" - 1:
        return TXN_NAME_IS("read_version")   ? TXN_FIELD_READ_VERSION
               : TXN_NAME_IS("transactions") ? TXN_FIELD_TRANSACTIONS
                                             : TXN_FIELD_NONE;
    case sizeof "preconditions" - 1:
        return TXN_NAME_IS("preconditions") ? TXN_FIELD_PRECONDITIONS : TXN_FIELD_NONE;
    default:
        return TXN_FIELD_NONE;
    }
}

/* The item type called `name`, or TXN_ITEM_NONE. */
enum txn_item_type txn_item_type_of(struct bytes name);

void txn_builder_init(struct txn_builder *builder, const struct txn_limits *limits,
                      struct arena *arena, struct http_problem *out_problem);

/* The transactions of a batch: ERR_LIMIT, ERR_MEMORY. */
enum err txn_build_batch(struct txn_builder *builder, uint64_t count,
                         struct txn **out_transactions) WARN_UNUSED;

/* `transaction`: its index in the batch, -1: it is not in one. */
void txn_build_begin(struct txn_builder *builder, int64_t transaction);

enum err txn_build_request_id(struct txn_builder *builder, struct bytes id) WARN_UNUSED;
enum err txn_build_leader(struct txn_builder *builder, struct bytes leader) WARN_UNUSED;
enum err txn_build_read_version(struct txn_builder *builder, uint64_t version) WARN_UNUSED;

/* Begins a list: makes room for its items. ERR_LIMIT, ERR_MEMORY. */
enum err txn_build_list(struct txn_builder *builder, enum txn_field list,
                        uint64_t count) WARN_UNUSED;

/* What is said from here on is about this item of the list. */
static inline void txn_build_at(struct txn_builder *builder, uint32_t index)
{
    builder->index = index;
}

/* The item at the index set before. */
enum err txn_build_item(struct txn_builder *builder, const struct txn_item *item) WARN_UNUSED;

void txn_build_end(struct txn_builder *builder, struct txn *out);

/* Refusals: each fills in the problem and returns ERR_INVALID. Inline, so that a caller's compiler
 * knows that it is never OK. */
void txn_builder_tell(struct txn_builder *builder, enum txn_field field, const char *says);
void txn_builder_tell_name(struct txn_builder *builder, struct bytes name, bool is_twice);
void txn_builder_tell_body(struct txn_builder *builder, const char *format, const char *why,
                           size_t offset);

/* `says` ends a sentence that begins with the place, such as "operations[2].key". */
static inline enum err txn_build_refuse(struct txn_builder *builder, enum txn_field field,
                                        const char *says)
{
    txn_builder_tell(builder, field, says);
    return ERR_INVALID;
}

/* A field that is unknown here, or is there twice. */
static inline enum err txn_build_refuse_name(struct txn_builder *builder, struct bytes name,
                                             bool is_twice)
{
    txn_builder_tell_name(builder, name, is_twice);
    return ERR_INVALID;
}

/* The body is not of its format at all: `format` such as "JSON", at byte `offset`. */
static inline enum err txn_build_refuse_body(struct txn_builder *builder, const char *format,
                                             const char *why, size_t offset)
{
    txn_builder_tell_body(builder, format, why, offset);
    return ERR_INVALID;
}

#endif
