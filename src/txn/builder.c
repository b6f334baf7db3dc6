/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The rules of a transaction, once for all formats.
 *
 * The payload hash is a chain: each item starts from the hash so far, mixed with its type (and, for
 * a precondition, its version), then each of its byte strings is hashed with that as the seed. A
 * string's hash covers its length and a type has a fixed number of strings, so that no two
 * different transactions feed the same chain. Versions are the resolved ones: naming the read
 * version once, or at each precondition, is the same payload.
 */
#include "txn/builder.h"

#include "base/check.h"

#include <stdarg.h>
#include <stdio.h>

#define XXH_INLINE_ALL /* half of the cost of a short key is the call */
#include <xxhash.h>

enum {
    DETAIL_BYTES_MAX = 320,
    PLACE_BYTES_MAX = 192, /* two lists with indices, and a name */
    NAME_SHOWN_BYTES_MAX = 64,
    LIMIT_BYTES_MAX = 96,
};

#define NAME(literal)                                                                              \
    {                                                                                              \
        literal, sizeof(literal) - 1                                                               \
    }

static const struct bytes field_names[TXN_FIELDS] = {
    [TXN_FIELD_KEY] = NAME("key"),
    [TXN_FIELD_VALUE] = NAME("value"),
    [TXN_FIELD_BEGIN] = NAME("begin"),
    [TXN_FIELD_END] = NAME("end"),
    [TXN_FIELD_TYPE] = NAME("type"),
    [TXN_FIELD_VERSION] = NAME("version"),
    [TXN_FIELD_REQUEST_ID] = NAME("request_id"),
    [TXN_FIELD_LEADER] = NAME("leader"),
    [TXN_FIELD_READ_VERSION] = NAME("read_version"),
    [TXN_FIELD_PRECONDITIONS] = NAME("preconditions"),
    [TXN_FIELD_OPERATIONS] = NAME("operations"),
    [TXN_FIELD_TRANSACTIONS] = NAME("transactions"),
};

#define RULE(list, first, second, optional, operation)                                             \
    {                                                                                              \
        (list), (first), (second), 1U << (first) | ((second) == 0 ? 0 : 1U << (second)),           \
            (optional), (operation)                                                                \
    }

/* What an item of each type has: one byte string, or two. */
static const struct item_rule {
    enum txn_field list;
    enum txn_field first;  /* TXN_FIELD_KEY or _BEGIN */
    enum txn_field second; /* TXN_FIELD_VALUE, _END or _NONE */
    unsigned required;     /* the set of both */
    unsigned optional;
    enum txn_operation_type operation;
} item_rules[] = {
    [TXN_ITEM_POINT_READ] =
        RULE(TXN_FIELD_PRECONDITIONS, TXN_FIELD_KEY, TXN_FIELD_NONE, 1U << TXN_FIELD_VERSION, 0),
    [TXN_ITEM_RANGE_READ] =
        RULE(TXN_FIELD_PRECONDITIONS, TXN_FIELD_BEGIN, TXN_FIELD_END, 1U << TXN_FIELD_VERSION, 0),
    [TXN_ITEM_WRITE] = RULE(TXN_FIELD_OPERATIONS, TXN_FIELD_KEY, TXN_FIELD_VALUE, 0, TXN_WRITE),
    [TXN_ITEM_DELETE] = RULE(TXN_FIELD_OPERATIONS, TXN_FIELD_KEY, TXN_FIELD_NONE, 0, TXN_DELETE),
    [TXN_ITEM_RANGE_DELETE] =
        RULE(TXN_FIELD_OPERATIONS, TXN_FIELD_BEGIN, TXN_FIELD_END, 0, TXN_RANGE_DELETE),
};

enum txn_item_type txn_item_type_of(struct bytes name)
{
    switch (name.size) {
    case sizeof "write" - 1:
        return TXN_NAME_IS("write") ? TXN_ITEM_WRITE : TXN_ITEM_NONE;
    case sizeof "delete" - 1:
        return TXN_NAME_IS("delete") ? TXN_ITEM_DELETE : TXN_ITEM_NONE;
    case sizeof "point_read" - 1:
        return TXN_NAME_IS("point_read")   ? TXN_ITEM_POINT_READ
               : TXN_NAME_IS("range_read") ? TXN_ITEM_RANGE_READ
                                           : TXN_ITEM_NONE;
    case sizeof "range_delete" - 1:
        return TXN_NAME_IS("range_delete") ? TXN_ITEM_RANGE_DELETE : TXN_ITEM_NONE;
    default:
        return TXN_ITEM_NONE;
    }
}

/* ---- refusals ---- */

/* Texts that are cut where their room ends. */
__attribute__((format(printf, 3, 4))) static void text_write(char *out, size_t room,
                                                             const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(out, room, format, arguments);
    va_end(arguments);
}

/* Writes where the builder is, such as "transactions[3].operations[2].key"; `field` may be empty.
 */
static void place_write(const struct txn_builder *builder, struct bytes field,
                        char out[PLACE_BYTES_MAX])
{
    char transaction[40] = "";
    char item[48] = "";
    if (builder->transaction >= 0) {
        text_write(transaction, sizeof transaction, "transactions[%lld]",
                   (long long)builder->transaction);
    }
    if (builder->index >= 0) {
        text_write(item, sizeof item, "%s%s[%lld]", transaction[0] == '\0' ? "" : ".",
                   field_names[builder->list].data, (long long)builder->index);
    }
    bool is_first = transaction[0] == '\0' && item[0] == '\0';
    if (is_first && field.size == 0) {
        text_write(out, PLACE_BYTES_MAX, "The body");
    } else {
        text_write(out, PLACE_BYTES_MAX, "%s%s%s%.*s", transaction, item,
                   is_first || field.size == 0 ? "" : ".", (int)field.size,
                   field.size == 0 ? "" : field.data);
    }
}

/* A detail that begins with a place. Without memory for it the refusal stands, but says less. */
static void tell_place(struct txn_builder *builder, struct bytes field, const char *says)
{
    char place[PLACE_BYTES_MAX];
    char *detail = arena_try_alloc(builder->arena, DETAIL_BYTES_MAX);
    if (detail != NULL) {
        place_write(builder, field, place);
        text_write(detail, DETAIL_BYTES_MAX, "%s %s.", place, says);
    }
    *builder->out_problem = (struct http_problem){
        .status = 400, .type = "invalid-transaction", .detail = detail, .outcome = "not_committed"};
}

void txn_builder_tell(struct txn_builder *builder, enum txn_field field, const char *says)
{
    tell_place(builder, field_names[field], says);
}

void txn_builder_tell_name(struct txn_builder *builder, struct bytes name, bool is_twice)
{
    char shown[NAME_SHOWN_BYTES_MAX];
    size_t size = name.size < sizeof shown ? name.size : sizeof shown;
    for (size_t i = 0; i < size; i++) {
        shown[i] = name.data[i];
        if (shown[i] == '\0') {
            shown[i] = '?'; /* a NUL would end the text */
        }
    }
    tell_place(builder, size == 0 ? BYTES("(an empty name)") : bytes_of(shown, size),
               is_twice ? "is there twice" : "is not a field that is known here");
}

void txn_builder_tell_body(struct txn_builder *builder, const char *format, const char *why,
                           size_t offset)
{
    char *detail = arena_try_alloc(builder->arena, DETAIL_BYTES_MAX);
    if (detail != NULL) {
        text_write(detail, DETAIL_BYTES_MAX, "The body is not valid %s: %s, at byte %zu.", format,
                   why, offset);
    }
    *builder->out_problem = (struct http_problem){
        .status = 400, .type = "malformed-body", .detail = detail, .outcome = "not_committed"};
}

static enum err refuse_limit(struct txn_builder *builder, enum txn_field field, const char *unit,
                             const char *key, uint64_t limit, uint64_t actual)
{
    char says[LIMIT_BYTES_MAX];
    text_write(says, sizeof says, "has %llu %s; %llu are allowed", (unsigned long long)actual, unit,
               (unsigned long long)limit);
    tell_place(builder, field_names[field], says);
    builder->out_problem->status = 413;
    builder->out_problem->type = "limit-exceeded";
    builder->out_problem->limit_key = key;
    builder->out_problem->limit = limit;
    builder->out_problem->actual = actual;
    return ERR_LIMIT;
}

/* ---- building ---- */

void txn_builder_init(struct txn_builder *builder, const struct txn_limits *limits,
                      struct arena *arena, struct http_problem *out_problem)
{
    *builder = (struct txn_builder){.limits = limits,
                                    .arena = arena,
                                    .out_problem = out_problem,
                                    .transaction = -1,
                                    .index = -1};
}

enum err txn_build_batch(struct txn_builder *builder, uint64_t count, struct txn **out_transactions)
{
    uint32_t count_max = builder->limits->batch_transactions_max;
    if (count > count_max) {
        return refuse_limit(builder, TXN_FIELD_TRANSACTIONS, "elements",
                            "commit.max_batch_transactions", count_max, count);
    }
    struct txn *transactions = arena_try_alloc(builder->arena, count * sizeof *transactions);
    if (transactions == NULL) {
        return ERR_MEMORY;
    }
    *out_transactions = transactions;
    return OK;
}

void txn_build_begin(struct txn_builder *builder, int64_t transaction)
{
    builder->transaction = transaction;
    builder->index = -1;
    builder->list = TXN_FIELD_NONE;
    builder->has_read_version = false;
    builder->read_version = 0;
    builder->txn = (struct txn){0};
}

/* Whether each of eight bytes is within 0x21 to 0x7e: none is above 0x7f, reaches 0x80 with one
 * more or goes below 0 with 0x21 less. A carry or borrow into a neighbour comes only from a wrong
 * one. */
static bool is_printable_word(const char *at)
{
    uint64_t word;
    memcpy(&word, at, sizeof word);
    const uint64_t each = UINT64_C(0x0101010101010101);
    return ((word | (word + each) | (word - 0x21 * each)) & 0x80 * each) == 0;
}

static bool is_printable(struct bytes text)
{
    if (text.size == 0 || text.size > TXN_REQUEST_ID_BYTES_MAX) {
        return false;
    }
    size_t i = 0;
    for (; text.size - i >= sizeof(uint64_t); i += sizeof(uint64_t)) {
        if (!is_printable_word(text.data + i)) {
            return false;
        }
    }
    for (; i < text.size; i++) {
        if (text.data[i] < 0x21 || text.data[i] > 0x7e) {
            return false;
        }
    }
    return true;
}

static const char *const not_printable = "must be 1 to 128 printable ASCII characters, no blanks";

enum err txn_build_request_id(struct txn_builder *builder, struct bytes id)
{
    if (!is_printable(id)) {
        return txn_build_refuse(builder, TXN_FIELD_REQUEST_ID, not_printable);
    }
    builder->txn.request_id = id;
    return OK;
}

enum err txn_build_leader(struct txn_builder *builder, struct bytes leader)
{
    if (!is_printable(leader)) {
        return txn_build_refuse(builder, TXN_FIELD_LEADER, not_printable);
    }
    builder->txn.leader = leader;
    return OK;
}

static enum err check_version(struct txn_builder *builder, enum txn_field field, uint64_t version)
{
    if (version > TXN_VERSION_MAX) {
        return txn_build_refuse(builder, field, "must be below 2^53");
    }
    if (version > builder->txn.version_max) {
        builder->txn.version_max = version;
    }
    return OK;
}

enum err txn_build_read_version(struct txn_builder *builder, uint64_t version)
{
    builder->has_read_version = true;
    builder->read_version = version;
    return check_version(builder, TXN_FIELD_READ_VERSION, version);
}

enum err txn_build_list(struct txn_builder *builder, enum txn_field list, uint64_t count)
{
    bool is_operations = list == TXN_FIELD_OPERATIONS;
    uint32_t count_max =
        is_operations ? builder->limits->operations_max : builder->limits->preconditions_max;
    builder->index = -1;
    if (count > count_max) {
        return refuse_limit(builder, list, "elements",
                            is_operations ? "commit.max_operations" : "commit.max_preconditions",
                            count_max, count);
    }
    size_t item_bytes =
        is_operations ? sizeof *builder->operations : sizeof *builder->preconditions;
    void *items = arena_try_alloc(builder->arena, count * item_bytes);
    if (items == NULL) {
        return ERR_MEMORY;
    }
    builder->list = list;
    if (is_operations) {
        builder->operations = items;
        builder->txn.operations = items;
        builder->txn.operation_count = (uint32_t)count;
    } else {
        builder->preconditions = items;
        builder->txn.preconditions = items;
        builder->txn.precondition_count = (uint32_t)count;
    }
    return OK;
}

static bool is_before(struct bytes begin, struct bytes end)
{
    size_t common = begin.size < end.size ? begin.size : end.size;
    int order = common == 0 ? 0 : memcmp(begin.data, end.data, common);
    return order != 0 ? order < 0 : begin.size < end.size;
}

/* The item's fields are not those of its type: says of the first. */
static enum err refuse_fields(struct txn_builder *builder, const struct txn_item *item)
{
    const struct item_rule *rule = &item_rules[item->type];
    unsigned missing = rule->required & ~item->fields;
    unsigned wrong = missing | (item->fields & ~(rule->required | rule->optional));
    enum txn_field field = (enum txn_field)__builtin_ctz(wrong);
    return txn_build_refuse(builder, field,
                            (missing >> field & 1) != 0 ? "is missing"
                                                        : "does not belong to this type");
}

static enum err check_size(struct txn_builder *builder, enum txn_field field, struct bytes bytes)
{
    bool is_value = field == TXN_FIELD_VALUE;
    uint32_t size_max =
        is_value ? builder->limits->value_bytes_max : builder->limits->key_bytes_max;
    if (bytes.size <= size_max) {
        return OK;
    }
    return refuse_limit(builder, field, "bytes",
                        is_value ? "commit.max_value_bytes" : "commit.max_key_bytes", size_max,
                        bytes.size);
}

/* The version that a precondition holds at. */
static enum err resolve_version(struct txn_builder *builder, const struct txn_item *item,
                                uint64_t *out_version)
{
    if ((item->fields & 1U << TXN_FIELD_VERSION) != 0) {
        *out_version = item->version;
        return check_version(builder, TXN_FIELD_VERSION, item->version);
    }
    if (!builder->has_read_version) {
        return txn_build_refuse(builder, TXN_FIELD_VERSION,
                                "is missing, and there is no read_version");
    }
    *out_version = builder->read_version;
    return OK;
}

static uint64_t hash_header(uint64_t hash, enum txn_item_type type, uint64_t version)
{
    /* Odd constants: steps that lose nothing of the hash, and no version is lost below 2^53. */
    return ((hash ^ (version << 4 | type)) + UINT64_C(0x9e3779b97f4a7c15)) *
           UINT64_C(0xd6e8feb86659fd93);
}

static uint64_t hash_bytes(uint64_t hash, struct bytes bytes)
{
    return XXH3_64bits_withSeed(bytes.data, bytes.size, hash);
}

enum err txn_build_item(struct txn_builder *builder, const struct txn_item *item)
{
    const struct item_rule *rule = &item_rules[item->type];
    bool is_operation = builder->list == TXN_FIELD_OPERATIONS;
    if (item->type == TXN_ITEM_NONE || rule->list != builder->list) {
        return txn_build_refuse(builder, TXN_FIELD_TYPE,
                                is_operation ? "is none of write, delete and range_delete"
                                             : "is none of point_read and range_read");
    }
    if ((item->fields & ~rule->optional) != rule->required) {
        return refuse_fields(builder, item);
    }
    struct bytes first = item->bytes[rule->first];
    struct bytes second = {NULL, 0};
    uint64_t version = 0;
    enum err err = check_size(builder, rule->first, first);
    if (err == OK && rule->second != TXN_FIELD_NONE) {
        second = item->bytes[rule->second];
        err = check_size(builder, rule->second, second);
    }
    if (err == OK && rule->second == TXN_FIELD_END && !is_before(first, second)) {
        err = txn_build_refuse(builder, TXN_FIELD_BEGIN, "must be before end");
    }
    if (err == OK && !is_operation) {
        err = resolve_version(builder, item, &version);
    }
    if (err != OK) {
        return err;
    }
    uint64_t hash = hash_bytes(hash_header(builder->txn.payload_hash, item->type, version), first);
    builder->txn.payload_hash = rule->second == TXN_FIELD_NONE ? hash : hash_bytes(hash, second);
    if (is_operation) {
        builder->operations[builder->index] =
            (struct txn_operation){first, second, rule->operation};
    } else {
        builder->preconditions[builder->index] =
            (struct txn_precondition){first, second, version, rule->second == TXN_FIELD_END};
    }
    return OK;
}

void txn_build_end(struct txn_builder *builder, struct txn *out)
{
    *out = builder->txn;
}
