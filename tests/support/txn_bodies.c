/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests by the libraries' own writers (JSON by hand), so that a codec is not tested against
 * itself.
 */
#include "txn_bodies.h"

#include "base/check.h"
#include "http/request.h"
#include "txn/protobuf_scan.h"

#include <inttypes.h>
#include <msgpack.h>
#include <stdio.h>
#include <stdlib.h>
#include <weaseldb.pb-c.h>

const struct txn_codec *body_codec(enum body_format format)
{
    static const char *const types[BODY_FORMATS] = {"application/json", "application/msgpack",
                                                    "application/protobuf"};
    const struct txn_codec *codec = txn_codec_of(bytes_from_string(types[format]));
    CHECK(codec != NULL);
    return codec;
}

void body_append(struct body *body, const void *data, size_t size)
{
    if (body->size + size > body->room) {
        body->room = 2 * (body->size + size);
        body->data = realloc(body->data, body->room);
        CHECK(body->data != NULL);
    }
    if (size > 0) {
        memcpy(body->data + body->size, data, size);
        body->size += size;
    }
}

void body_append_text(struct body *body, const char *text)
{
    body_append(body, text, strlen(text));
}

void body_append_base64(struct body *body, struct bytes bytes)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < bytes.size; i += 3) {
        size_t left = bytes.size - i;
        unsigned char three[3] = {0};
        memcpy(three, bytes.data + i, left < 3 ? left : 3);
        char four[4] = {digits[three[0] >> 2], digits[(three[0] & 3) << 4 | three[1] >> 4],
                        (char)(left > 1 ? digits[(three[1] & 15) << 2 | three[2] >> 6] : '='),
                        (char)(left > 2 ? digits[three[2] & 63] : '=')};
        body_append(body, four, sizeof four);
    }
}

struct bytes body_end(struct body *body)
{
    /* Cut to its size, so that a sanitizer sees who goes beyond. */
    char *exact = malloc(body->size + REQUEST_BODY_SLACK);
    CHECK(exact != NULL);
    if (body->size > 0) {
        memcpy(exact, body->data, body->size);
    }
    memset(exact + body->size, BODY_SLACK_BYTE, REQUEST_BODY_SLACK);
    free(body->data);
    body->data = exact;
    body->room = body->size;
    return bytes_of(body->data, body->size);
}

bool body_slack_is_whole(const struct body *body)
{
    for (size_t i = 0; i < REQUEST_BODY_SLACK; i++) {
        if (body->data[body->size + i] != BODY_SLACK_BYTE) {
            return false;
        }
    }
    return true;
}

void body_free(struct body *body)
{
    free(body->data);
    *body = (struct body){NULL, 0, 0};
}

/* ---- JSON ---- */

static void json_member(struct body *body, const char *name, struct bytes bytes)
{
    body_append_text(body, ",\"");
    body_append_text(body, name);
    body_append_text(body, "\":\"");
    body_append_base64(body, bytes);
    body_append_text(body, "\"");
}

static void json_text(struct body *body, const char *name, struct bytes text)
{
    if (text.size == 0) {
        return;
    }
    body_append_text(body, "\"");
    body_append_text(body, name);
    body_append_text(body, "\":\"");
    for (size_t i = 0; i < text.size; i++) {
        if (text.data[i] == '"' || text.data[i] == '\\') {
            body_append_text(body, "\\");
        }
        body_append(body, text.data + i, 1);
    }
    body_append_text(body, "\",");
}

static void json_precondition(struct body *body, const struct txn_precondition *precondition)
{
    char version[48];
    body_append_text(body, precondition->is_range ? "{\"type\":\"range_read\""
                                                  : "{\"type\":\"point_read\"");
    json_member(body, precondition->is_range ? "begin" : "key", precondition->begin);
    if (precondition->is_range) {
        json_member(body, "end", precondition->end);
    }
    (void)snprintf(version, sizeof version, ",\"version\":%" PRIu64 "}", precondition->version);
    body_append_text(body, version);
}

static void json_operation(struct body *body, const struct txn_operation *operation)
{
    bool is_range = operation->type == TXN_RANGE_DELETE;
    body_append_text(body, operation->type == TXN_WRITE    ? "{\"type\":\"write\""
                           : operation->type == TXN_DELETE ? "{\"type\":\"delete\""
                                                           : "{\"type\":\"range_delete\"");
    json_member(body, is_range ? "begin" : "key", operation->key);
    if (operation->type != TXN_DELETE) {
        json_member(body, is_range ? "end" : "value", operation->value);
    }
    body_append_text(body, "}");
}

static void json_commit(struct body *body, const struct txn *txn)
{
    body_append_text(body, "{");
    json_text(body, "request_id", txn->request_id);
    json_text(body, "leader", txn->leader);
    body_append_text(body, "\"preconditions\":[");
    for (uint32_t i = 0; i < txn->precondition_count; i++) {
        body_append_text(body, i == 0 ? "" : ",");
        json_precondition(body, &txn->preconditions[i]);
    }
    body_append_text(body, "],\"operations\":[");
    for (uint32_t i = 0; i < txn->operation_count; i++) {
        body_append_text(body, i == 0 ? "" : ",");
        json_operation(body, &txn->operations[i]);
    }
    body_append_text(body, "]}");
}

/* ---- MessagePack ---- */

static int packer_write(void *context, const char *data, size_t size)
{
    body_append(context, data, size);
    return 0;
}

static void pack_name(msgpack_packer *packer, const char *name)
{
    msgpack_pack_str_with_body(packer, name, strlen(name));
}

static void pack_text(msgpack_packer *packer, const char *name, struct bytes text)
{
    if (text.size > 0) {
        pack_name(packer, name);
        msgpack_pack_str_with_body(packer, text.data, text.size);
    }
}

static void pack_bin(msgpack_packer *packer, const char *name, struct bytes bytes)
{
    pack_name(packer, name);
    msgpack_pack_bin(packer, bytes.size);
    msgpack_pack_bin_body(packer, bytes.data, bytes.size);
}

static void msgpack_commit(struct body *body, const struct txn *txn)
{
    msgpack_packer packer;
    msgpack_packer_init(&packer, body, packer_write);
    msgpack_pack_map(&packer, 2U + (txn->request_id.size > 0) + (txn->leader.size > 0));
    pack_text(&packer, "request_id", txn->request_id);
    pack_text(&packer, "leader", txn->leader);
    pack_name(&packer, "preconditions");
    msgpack_pack_array(&packer, txn->precondition_count);
    for (uint32_t i = 0; i < txn->precondition_count; i++) {
        const struct txn_precondition *precondition = &txn->preconditions[i];
        bool is_range = precondition->is_range;
        msgpack_pack_map(&packer, is_range ? 4 : 3);
        pack_text(&packer, "type", is_range ? BYTES("range_read") : BYTES("point_read"));
        pack_bin(&packer, is_range ? "begin" : "key", precondition->begin);
        if (is_range) {
            pack_bin(&packer, "end", precondition->end);
        }
        pack_name(&packer, "version");
        msgpack_pack_uint64(&packer, precondition->version);
    }
    pack_name(&packer, "operations");
    msgpack_pack_array(&packer, txn->operation_count);
    for (uint32_t i = 0; i < txn->operation_count; i++) {
        const struct txn_operation *operation = &txn->operations[i];
        bool is_range = operation->type == TXN_RANGE_DELETE;
        msgpack_pack_map(&packer, operation->type == TXN_DELETE ? 2 : 3);
        pack_text(&packer, "type",
                  is_range                        ? BYTES("range_delete")
                  : operation->type == TXN_DELETE ? BYTES("delete")
                                                  : BYTES("write"));
        pack_bin(&packer, is_range ? "begin" : "key", operation->key);
        if (operation->type != TXN_DELETE) {
            pack_bin(&packer, is_range ? "end" : "value", operation->value);
        }
    }
}

/* ---- Protobuf ---- */

/* One message of each kind for every item; only one of them is used. */
struct protobuf_item {
    Weaseldb__V1__Precondition precondition;
    Weaseldb__V1__PointRead point_read;
    Weaseldb__V1__RangeRead range_read;
    Weaseldb__V1__Operation operation;
    Weaseldb__V1__Write write;
    Weaseldb__V1__Delete delete;
    Weaseldb__V1__RangeDelete range_delete;
};

static void *allocate(size_t size)
{
    void *memory = calloc(1, size + 1);
    CHECK(memory != NULL);
    return memory;
}

static void set_bytes(protobuf_c_boolean *has, ProtobufCBinaryData *data, struct bytes bytes)
{
    *has = true;
    data->data = (uint8_t *)(uintptr_t)bytes.data;
    data->len = bytes.size;
}

static char *string_copy(struct bytes text)
{
    if (text.size == 0) {
        return NULL;
    }
    char *copy = allocate(text.size);
    memcpy(copy, text.data, text.size);
    return copy;
}

static void fill_precondition(struct protobuf_item *item,
                              const struct txn_precondition *precondition)
{
    weaseldb__v1__precondition__init(&item->precondition);
    weaseldb__v1__point_read__init(&item->point_read);
    weaseldb__v1__range_read__init(&item->range_read);
    item->precondition.has_version = true;
    item->precondition.version = precondition->version;
    if (precondition->is_range) {
        item->precondition.read_case = WEASELDB__V1__PRECONDITION__READ_RANGE_READ;
        item->precondition.range_read = &item->range_read;
        set_bytes(&item->range_read.has_begin, &item->range_read.begin, precondition->begin);
        set_bytes(&item->range_read.has_end, &item->range_read.end, precondition->end);
    } else {
        item->precondition.read_case = WEASELDB__V1__PRECONDITION__READ_POINT_READ;
        item->precondition.point_read = &item->point_read;
        set_bytes(&item->point_read.has_key, &item->point_read.key, precondition->begin);
    }
}

static void fill_operation(struct protobuf_item *item, const struct txn_operation *operation)
{
    weaseldb__v1__operation__init(&item->operation);
    weaseldb__v1__write__init(&item->write);
    weaseldb__v1__delete__init(&item->delete);
    weaseldb__v1__range_delete__init(&item->range_delete);
    if (operation->type == TXN_WRITE) {
        item->operation.change_case = WEASELDB__V1__OPERATION__CHANGE_WRITE;
        item->operation.write = &item->write;
        set_bytes(&item->write.has_key, &item->write.key, operation->key);
        set_bytes(&item->write.has_value, &item->write.value, operation->value);
    } else if (operation->type == TXN_DELETE) {
        item->operation.change_case = WEASELDB__V1__OPERATION__CHANGE_DELETE;
        item->operation.delete_ = &item->delete;
        set_bytes(&item->delete.has_key, &item->delete.key, operation->key);
    } else {
        item->operation.change_case = WEASELDB__V1__OPERATION__CHANGE_RANGE_DELETE;
        item->operation.range_delete = &item->range_delete;
        set_bytes(&item->range_delete.has_begin, &item->range_delete.begin, operation->key);
        set_bytes(&item->range_delete.has_end, &item->range_delete.end, operation->value);
    }
}

/* As an element of a batch, or the whole body. */
static void protobuf_commit(struct body *body, const struct txn *txn, bool is_element)
{
    Weaseldb__V1__CommitRequest request = WEASELDB__V1__COMMIT_REQUEST__INIT;
    Weaseldb__V1__CommitRequest *requests[] = {&request};
    Weaseldb__V1__CommitBatch batch = WEASELDB__V1__COMMIT_BATCH__INIT;
    size_t count = (size_t)txn->precondition_count + txn->operation_count;
    struct protobuf_item *items = allocate(count * sizeof *items);
    Weaseldb__V1__Precondition **preconditions = allocate(count * sizeof *preconditions);
    Weaseldb__V1__Operation **operations = allocate(count * sizeof *operations);
    for (uint32_t i = 0; i < txn->precondition_count; i++) {
        fill_precondition(&items[i], &txn->preconditions[i]);
        preconditions[i] = &items[i].precondition;
    }
    for (uint32_t i = 0; i < txn->operation_count; i++) {
        fill_operation(&items[txn->precondition_count + i], &txn->operations[i]);
        operations[i] = &items[txn->precondition_count + i].operation;
    }
    request.request_id = string_copy(txn->request_id);
    request.leader = string_copy(txn->leader);
    request.n_preconditions = txn->precondition_count;
    request.preconditions = preconditions;
    request.n_operations = txn->operation_count;
    request.operations = operations;
    batch.n_transactions = 1;
    batch.transactions = requests;
    /* The fields of messages can be put one behind the other: a batch of one, many times. */
    const ProtobufCMessage *message = is_element ? &batch.base : &request.base;
    uint8_t *packed = allocate(protobuf_c_message_get_packed_size(message));
    body_append(body, packed, protobuf_c_message_pack(message, packed));
    free(packed);
    free(request.request_id);
    free(request.leader);
    free(operations);
    free(preconditions);
    free(items);
}

/* ---- all ---- */

void body_write_commit(struct body *body, enum body_format format, const struct txn *txn)
{
    if (format == BODY_JSON) {
        json_commit(body, txn);
    } else if (format == BODY_MSGPACK) {
        msgpack_commit(body, txn);
    } else {
        protobuf_commit(body, txn, false);
    }
}

void body_write_batch(struct body *body, enum body_format format, const struct txn_batch *batch)
{
    if (format == BODY_JSON) {
        body_append_text(body, "{\"transactions\":[");
    } else if (format == BODY_MSGPACK) {
        msgpack_packer packer;
        msgpack_packer_init(&packer, body, packer_write);
        msgpack_pack_map(&packer, 1);
        pack_name(&packer, "transactions");
        msgpack_pack_array(&packer, batch->count);
    }
    for (uint32_t i = 0; i < batch->count; i++) {
        if (format == BODY_PROTOBUF) {
            protobuf_commit(body, &batch->transactions[i], true);
        } else {
            body_append_text(body, format == BODY_JSON && i > 0 ? "," : "");
            body_write_commit(body, format, &batch->transactions[i]);
        }
    }
    if (format == BODY_JSON) {
        body_append_text(body, "]}");
    }
}

/* ---- decoding ---- */

const struct txn_limits body_limits = {1 << 12, 1 << 20, 1 << 10, 1 << 10, 1 << 10};

static bool is_filled(const void *memory, size_t size, unsigned char byte)
{
    const unsigned char *at = memory;
    for (size_t i = 0; i < size; i++) {
        if (at[i] != byte) {
            return false;
        }
    }
    return true;
}

static void check_problem(const struct decoded *decoded)
{
    const struct http_problem *problem = &decoded->problem;
    bool is_limit = decoded->err == ERR_LIMIT;
    CHECK(is_limit || decoded->err == ERR_INVALID);
    CHECK(problem->status == (is_limit ? 413 : 400) && problem->type != NULL);
    CHECK(strcmp(problem->outcome, "not_committed") == 0);
    CHECK((problem->limit_key != NULL) == is_limit);
    CHECK(!is_limit || problem->actual > problem->limit);
}

void decode_run(struct decoded *out, const struct txn_codec *codec, struct bytes data,
                bool is_batch, const struct txn_limits *limits, uint64_t memory_bytes)
{
    enum { UNTOUCHED = 0x55 };
    *out = (struct decoded){.err = OK};
    memory_budget_init(&out->budget, memory_bytes);
    chunk_pool_init(&out->pool, &out->budget, 0);
    arena_init(&out->arena, &out->pool);
    body_append(&out->body, data.data, data.size);
    struct bytes body = body_end(&out->body);
    memset(&out->txn, UNTOUCHED, sizeof out->txn);
    memset(&out->batch, UNTOUCHED, sizeof out->batch);
    if (is_batch) {
        out->err = codec->decode_batch(body, limits, &out->arena, &out->batch, &out->problem);
    } else {
        out->err = codec->decode_commit(body, limits, &out->arena, &out->txn, &out->problem);
    }
    CHECK(body_slack_is_whole(&out->body));
    if (out->err != OK) {
        CHECK(is_filled(&out->txn, sizeof out->txn, UNTOUCHED));
        CHECK(is_filled(&out->batch, sizeof out->batch, UNTOUCHED));
    }
    if (out->err != OK && out->err != ERR_MEMORY) {
        check_problem(out);
    }
}

void decode_commit(struct decoded *out, enum body_format format, struct bytes data)
{
    decode_run(out, body_codec(format), data, false, &body_limits, 1 << 26);
}

void decode_batch(struct decoded *out, enum body_format format, struct bytes data)
{
    decode_run(out, body_codec(format), data, true, &body_limits, 1 << 26);
}

void decode_free(struct decoded *decoded)
{
    arena_reset(&decoded->arena);
    chunk_pool_deinit(&decoded->pool);
    body_free(&decoded->body);
}

void decode_check_scan(const struct decoded *decoded, struct bytes data, bool is_batch)
{
    struct memory_budget budget;
    struct chunk_pool pool;
    struct arena arena;
    struct txn_builder builder;
    struct http_problem problem;
    memory_budget_init(&budget, 1 << 20);
    chunk_pool_init(&pool, &budget, 0);
    arena_init(&arena, &pool);
    txn_builder_init(&builder, &body_limits, &arena, &problem);
    enum err err = protobuf_scan(&builder, is_batch, data);
    if (err != OK) {
        CHECK(err == ERR_INVALID);
        CHECK(decoded->err == ERR_INVALID);
        CHECK(strcmp(decoded->problem.type, problem.type) == 0);
        CHECK(strcmp(decoded->problem.detail, problem.detail) == 0);
    } else {
        CHECK(decoded->err != ERR_MEMORY);
        CHECK(decoded->err == OK || strcmp(decoded->problem.type, "malformed-body") != 0);
    }
    arena_reset(&arena);
    chunk_pool_deinit(&pool);
}

bool txn_equal(const struct txn *a, const struct txn *b)
{
    if (!bytes_equal(a->request_id, b->request_id) || !bytes_equal(a->leader, b->leader) ||
        a->precondition_count != b->precondition_count ||
        a->operation_count != b->operation_count) {
        return false;
    }
    for (uint32_t i = 0; i < a->precondition_count; i++) {
        const struct txn_precondition *x = &a->preconditions[i];
        const struct txn_precondition *y = &b->preconditions[i];
        if (!bytes_equal(x->begin, y->begin) || !bytes_equal(x->end, y->end) ||
            x->version != y->version || x->is_range != y->is_range) {
            return false;
        }
    }
    for (uint32_t i = 0; i < a->operation_count; i++) {
        const struct txn_operation *x = &a->operations[i];
        const struct txn_operation *y = &b->operations[i];
        if (!bytes_equal(x->key, y->key) || !bytes_equal(x->value, y->value) ||
            x->type != y->type) {
            return false;
        }
    }
    return true;
}
