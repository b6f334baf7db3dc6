/* SPDX-License-Identifier: Apache-2.0 */
/*
 * JSON, read by yyjson in place: the tree is arena memory, its strings are the body's own bytes,
 * and base64 is decoded over itself. The tree is walked once; fields may come in any order, so an
 * object's values are first found by name and then read in the order that the builder wants.
 *
 * yyjson itself refuses what is not JSON (comments, trailing commas, NaN, a byte order mark, bytes
 * that are not UTF-8, anything behind the value) and does not recurse. Left to this file: unknown
 * and repeated names, types, and that a version is written as a plain whole number (1.0, 1e3 and -0
 * have other types in the tree). Answers are written by txn/answer_json.c.
 */
#include "base/check.h"
#include "http/request.h"
#include "txn/answer_json.h"
#include "txn/base64.h"
#include "txn/builder.h"
#include "txn/codec.h"

#include <assert.h>
#include <yyjson.h>

static_assert(YYJSON_PADDING_SIZE <= REQUEST_BODY_SLACK, "yyjson writes behind the body");

/* ---- the arena as yyjson's allocator ---- */

static void *json_malloc(void *context, size_t size)
{
    return arena_try_alloc(context, size);
}

static size_t aligned(size_t size)
{
    return (size + ARENA_ALIGNMENT - 1) & ~(size_t)(ARENA_ALIGNMENT - 1);
}

static void *json_realloc(void *context, void *old, size_t old_size, size_t size)
{
    struct arena *arena = context;
    if (size <= old_size) {
        return old;
    }
    /* Nearly always `old` is the arena's newest piece: then what is missing follows it. */
    struct arena_mark mark = arena_mark(arena);
    char *behind = (char *)old + aligned(old_size);
    if (aligned(size) == aligned(old_size) ||
        arena_try_alloc(arena, aligned(size) - aligned(old_size)) == behind) {
        return old;
    }
    arena_rewind(arena, mark);
    void *moved = arena_try_alloc(arena, size);
    if (moved != NULL) {
        memcpy(moved, old, old_size);
    }
    return moved;
}

static void json_free(void *context, void *pointer)
{
    (void)context; /* it goes with the arena */
    (void)pointer;
}

/* The root of the tree, which lives as long as the arena. */
static enum err parse(struct txn_builder *builder, struct bytes body, yyjson_val **out_root)
{
    const yyjson_alc allocator = {json_malloc, json_realloc, json_free, builder->arena};
    yyjson_read_err error;
    char *text = (char *)(uintptr_t)body.data; /* ours to change, by the codec's contract */
    char behind[YYJSON_PADDING_SIZE];
    if (body.size == 0) {
        return txn_build_refuse_body(builder, "JSON", "it is empty", 0);
    }
    memcpy(behind, text + body.size, sizeof behind);
    memset(text + body.size, 0, sizeof behind);
    yyjson_doc *tree = yyjson_read_opts(text, body.size, YYJSON_READ_INSITU, &allocator, &error);
    memcpy(text + body.size, behind, sizeof behind);
    if (tree == NULL) {
        return error.code == YYJSON_READ_ERROR_MEMORY_ALLOCATION
                   ? ERR_MEMORY
                   : txn_build_refuse_body(builder, "JSON", error.msg, error.pos);
    }
    *out_root = yyjson_doc_get_root(tree);
    return OK;
}

/* ---- values ---- */

static struct bytes string_of(yyjson_val *value)
{
    return bytes_of(unsafe_yyjson_get_str(value), unsafe_yyjson_get_len(value));
}

static enum err read_text(struct txn_builder *builder, enum txn_field field, yyjson_val *value,
                          struct bytes *out)
{
    if (!unsafe_yyjson_is_str(value)) {
        return txn_build_refuse(builder, field, "must be a string");
    }
    *out = string_of(value);
    return OK;
}

static enum err read_bytes(struct txn_builder *builder, enum txn_field field, yyjson_val *value,
                           struct bytes *out)
{
    if (!unsafe_yyjson_is_str(value)) {
        return txn_build_refuse(builder, field, "must be a string of base64");
    }
    struct bytes text = string_of(value);
    char *decoded = (char *)(uintptr_t)text.data;
    size_t size;
    if (base64_decode(text, decoded, &size) != OK) {
        return txn_build_refuse(builder, field,
                                "must be canonical base64 of the standard alphabet, padded");
    }
    *out = bytes_of(decoded, size);
    return OK;
}

static enum err read_version(struct txn_builder *builder, enum txn_field field, yyjson_val *value,
                             uint64_t *out)
{
    if (!unsafe_yyjson_is_uint(value)) {
        return txn_build_refuse(builder, field, "must be a whole number from 0 to 2^53 - 1");
    }
    *out = unsafe_yyjson_get_uint(value);
    return OK;
}

/* The values of an object by field; those of `allowed` that are not there are NULL. */
static enum err find_fields(struct txn_builder *builder, yyjson_val *object, unsigned allowed,
                            yyjson_val *out[TXN_FIELDS])
{
    if (!unsafe_yyjson_is_obj(object)) {
        return txn_build_refuse(builder, TXN_FIELD_NONE, "must be an object");
    }
    unsigned found = 0;
    size_t count = unsafe_yyjson_get_len(object);
    for (yyjson_val *name = unsafe_yyjson_get_first(object); count > 0; count--) {
        yyjson_val *value = name + 1;
        enum txn_field field = txn_field_of(string_of(name));
        unsigned bit = 1U << field;
        if ((bit & allowed & ~found) == 0) {
            return txn_build_refuse_name(builder, string_of(name), (bit & found) != 0);
        }
        found |= bit;
        out[field] = value;
        name = unsafe_yyjson_get_next(value);
    }
    return OK;
}

/* ---- transactions ---- */

static enum err read_item(struct txn_builder *builder, yyjson_val *object)
{
    yyjson_val *values[TXN_FIELDS] = {NULL};
    struct txn_item item = {.fields = 0};
    enum err err = find_fields(builder, object, TXN_FIELDS_OF_ITEM, values);
    if (err != OK) {
        return err;
    }
    if (values[TXN_FIELD_TYPE] == NULL) {
        return txn_build_refuse(builder, TXN_FIELD_TYPE, "is missing");
    }
    struct bytes type;
    err = read_text(builder, TXN_FIELD_TYPE, values[TXN_FIELD_TYPE], &type);
    if (err != OK) {
        return err;
    }
    item.type = txn_item_type_of(type);
    for (enum txn_field field = TXN_FIELD_KEY; field < TXN_FIELDS_BYTES; field++) {
        if (values[field] != NULL) {
            err = read_bytes(builder, field, values[field], &item.bytes[field]);
            if (err != OK) {
                return err;
            }
            item.fields |= 1U << field;
        }
    }
    if (values[TXN_FIELD_VERSION] != NULL) {
        err = read_version(builder, TXN_FIELD_VERSION, values[TXN_FIELD_VERSION], &item.version);
        if (err != OK) {
            return err;
        }
        item.fields |= 1U << TXN_FIELD_VERSION;
    }
    return txn_build_item(builder, &item);
}

static enum err read_list(struct txn_builder *builder, enum txn_field list, yyjson_val *array)
{
    if (array == NULL) {
        return OK;
    }
    if (!unsafe_yyjson_is_arr(array)) {
        return txn_build_refuse(builder, list, "must be an array");
    }
    size_t count = unsafe_yyjson_get_len(array);
    enum err err = txn_build_list(builder, list, count);
    yyjson_val *object = unsafe_yyjson_get_first(array);
    for (uint32_t i = 0; err == OK && i < count; i++) {
        txn_build_at(builder, i);
        err = read_item(builder, object);
        object = unsafe_yyjson_get_next(object);
    }
    return err;
}

static enum err read_single_fields(struct txn_builder *builder, yyjson_val *values[TXN_FIELDS])
{
    struct bytes text;
    enum err err = OK;
    if (values[TXN_FIELD_REQUEST_ID] != NULL) {
        err = read_text(builder, TXN_FIELD_REQUEST_ID, values[TXN_FIELD_REQUEST_ID], &text);
        if (err == OK) {
            err = txn_build_request_id(builder, text);
        }
    }
    if (err == OK && values[TXN_FIELD_LEADER] != NULL) {
        err = read_text(builder, TXN_FIELD_LEADER, values[TXN_FIELD_LEADER], &text);
        if (err == OK) {
            err = txn_build_leader(builder, text);
        }
    }
    if (err == OK && values[TXN_FIELD_READ_VERSION] != NULL) {
        uint64_t version;
        err =
            read_version(builder, TXN_FIELD_READ_VERSION, values[TXN_FIELD_READ_VERSION], &version);
        if (err == OK) {
            err = txn_build_read_version(builder, version);
        }
    }
    return err;
}

static enum err read_transaction(struct txn_builder *builder, int64_t index, yyjson_val *object,
                                 struct txn *out)
{
    yyjson_val *values[TXN_FIELDS] = {NULL};
    txn_build_begin(builder, index);
    enum err err = find_fields(builder, object, TXN_FIELDS_OF_COMMIT, values);
    if (err == OK) {
        err = read_single_fields(builder, values);
    }
    if (err == OK) {
        err = read_list(builder, TXN_FIELD_PRECONDITIONS, values[TXN_FIELD_PRECONDITIONS]);
    }
    if (err == OK) {
        err = read_list(builder, TXN_FIELD_OPERATIONS, values[TXN_FIELD_OPERATIONS]);
    }
    if (err == OK) {
        txn_build_end(builder, out);
    }
    return err;
}

static enum err json_decode_commit(struct bytes body, const struct txn_limits *limits,
                                   struct arena *arena, struct txn *out,
                                   struct http_problem *out_problem)
{
    struct txn_builder builder;
    yyjson_val *root;
    txn_builder_init(&builder, limits, arena, out_problem);
    enum err err = parse(&builder, body, &root);
    return err != OK ? err : read_transaction(&builder, -1, root, out);
}

static enum err json_decode_batch(struct bytes body, const struct txn_limits *limits,
                                  struct arena *arena, struct txn_batch *out,
                                  struct http_problem *out_problem)
{
    struct txn_builder builder;
    yyjson_val *root;
    yyjson_val *values[TXN_FIELDS] = {NULL};
    txn_builder_init(&builder, limits, arena, out_problem);
    enum err err = parse(&builder, body, &root);
    if (err == OK) {
        err = find_fields(&builder, root, TXN_FIELDS_OF_BATCH, values);
    }
    if (err != OK) {
        return err;
    }
    yyjson_val *array = values[TXN_FIELD_TRANSACTIONS];
    if (array == NULL) {
        return txn_build_refuse(&builder, TXN_FIELD_TRANSACTIONS, "is missing");
    }
    if (!unsafe_yyjson_is_arr(array)) {
        return txn_build_refuse(&builder, TXN_FIELD_TRANSACTIONS, "must be an array");
    }
    size_t count = unsafe_yyjson_get_len(array);
    struct txn *transactions;
    err = txn_build_batch(&builder, count, &transactions);
    yyjson_val *object = unsafe_yyjson_get_first(array);
    for (uint32_t i = 0; err == OK && i < count; i++) {
        err = read_transaction(&builder, i, object, &transactions[i]);
        object = unsafe_yyjson_get_next(object);
    }
    if (err == OK) {
        *out = (struct txn_batch){transactions, (uint32_t)count};
    }
    return err;
}

static const char *const media_types[] = {"application/json", NULL};

const struct txn_codec txn_codec_json = {
    .name = "json",
    .media_types = media_types,
    .decode_commit = json_decode_commit,
    .decode_batch = json_decode_batch,
    .encode_result = json_encode_result,
    .encode_results = json_encode_results,
    .encode_version = json_encode_version,
};
