/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzzes the codecs, with mutations of bytes and of transactions: the first byte chooses the
 * format, whether the body is a batch, and tight limits; the rest is the body. Whatever a codec
 * takes keeps to the model's rules and limits, and written again in each format it is the same
 * transaction with the same hash. A Protobuf body comes out as if it were always scanned.
 *
 * Covers: src/txn/base64.c src/txn/builder.c src/txn/codec.c src/txn/codec_json.c
 * src/txn/codec_msgpack.c src/txn/codec_protobuf.c src/txn/protobuf_scan.c
 */
#include "base/check.h"
#include "txn_bodies.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { CHOICE_BATCH = 0x10, CHOICE_TIGHT = 0x20, BODY_BYTES_MAX = 8192 };

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t room);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t room, unsigned seed);

static const struct txn_limits tight = {3, 5, 2, 2, 2};

static bool is_before(struct bytes begin, struct bytes end)
{
    size_t common = begin.size < end.size ? begin.size : end.size;
    int order = common == 0 ? 0 : memcmp(begin.data, end.data, common);
    return order < 0 || (order == 0 && begin.size < end.size);
}

static void check_text(struct bytes text)
{
    CHECK(text.size <= TXN_REQUEST_ID_BYTES_MAX);
    for (size_t i = 0; i < text.size; i++) {
        CHECK(text.data[i] > ' ' && text.data[i] < 0x7f);
    }
}

static void check_rules(const struct txn *txn, const struct txn_limits *limits)
{
    check_text(txn->request_id);
    check_text(txn->leader);
    CHECK(txn->precondition_count <= limits->preconditions_max);
    CHECK(txn->operation_count <= limits->operations_max);
    CHECK(txn->version_max <= TXN_VERSION_MAX);
    for (uint32_t i = 0; i < txn->precondition_count; i++) {
        const struct txn_precondition *precondition = &txn->preconditions[i];
        CHECK(precondition->version <= txn->version_max);
        CHECK(precondition->begin.size <= limits->key_bytes_max);
        CHECK(precondition->end.size <= limits->key_bytes_max);
        CHECK(precondition->is_range ? is_before(precondition->begin, precondition->end)
                                     : precondition->end.size == 0);
    }
    for (uint32_t i = 0; i < txn->operation_count; i++) {
        const struct txn_operation *operation = &txn->operations[i];
        CHECK(operation->key.size <= limits->key_bytes_max);
        CHECK(operation->value.size <=
              (operation->type == TXN_WRITE ? limits->value_bytes_max : limits->key_bytes_max));
        CHECK(operation->type == TXN_WRITE ||
              (operation->type == TXN_DELETE ? operation->value.size == 0
                                             : operation->type == TXN_RANGE_DELETE &&
                                                   is_before(operation->key, operation->value)));
    }
}

static void check_same_again(const struct txn *txn)
{
    for (enum body_format format = BODY_JSON; format < BODY_FORMATS; format++) {
        struct body body = {NULL, 0, 0};
        struct decoded again;
        body_write_commit(&body, format, txn);
        decode_commit(&again, format, body_end(&body));
        CHECK(again.err == OK);
        CHECK(txn_equal(&again.txn, txn));
        CHECK(again.txn.payload_hash == txn->payload_hash);
        decode_free(&again);
        body_free(&body);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1 || size > BODY_BYTES_MAX) {
        return 0;
    }
    enum body_format format = (enum body_format)((data[0] & 0x0f) % BODY_FORMATS);
    bool is_batch = (data[0] & CHOICE_BATCH) != 0;
    const struct txn_limits *limits = (data[0] & CHOICE_TIGHT) != 0 ? &tight : &body_limits;
    struct decoded decoded;
    decode_run(&decoded, body_codec(format), bytes_of((const char *)data + 1, size - 1), is_batch,
               limits, 1 << 26);
    CHECK(decoded.err != ERR_MEMORY);
    if (format == BODY_PROTOBUF) {
        decode_check_scan(&decoded, bytes_of((const char *)data + 1, size - 1), is_batch);
    }
    if (decoded.err != OK) {
        CHECK(decoded.problem.detail != NULL);
    } else if (is_batch) {
        CHECK(decoded.batch.count <= limits->batch_transactions_max);
        for (uint32_t i = 0; i < decoded.batch.count; i++) {
            check_rules(&decoded.batch.transactions[i], limits);
            check_same_again(&decoded.batch.transactions[i]);
        }
    } else {
        check_rules(&decoded.txn, limits);
        check_same_again(&decoded.txn);
    }
    decode_free(&decoded);
    return 0;
}

/* ---- mutations of what a body says, written again in any format ---- */

enum { MUTATED_MAX = 8, MUTATED_BYTES_MAX = 24 };

struct mutated {
    struct txn txn;
    struct txn_precondition preconditions[MUTATED_MAX + 1];
    struct txn_operation operations[MUTATED_MAX + 1];
    uint8_t bytes[MUTATED_BYTES_MAX];
};

/* The bytes, changed; they live in `mutated`, for one at a time. */
static struct bytes mutate_bytes(struct mutated *mutated, struct bytes bytes)
{
    size_t size = bytes.size < MUTATED_BYTES_MAX ? bytes.size : MUTATED_BYTES_MAX;
    if (size > 0) {
        memcpy(mutated->bytes, bytes.data, size);
    }
    size = LLVMFuzzerMutate(mutated->bytes, size, MUTATED_BYTES_MAX);
    return bytes_of((const char *)mutated->bytes, size);
}

static void mutate_operation(struct mutated *mutated, struct txn_operation *operation,
                             unsigned what)
{
    switch (what % 4) {
    case 0:
        operation->key = mutate_bytes(mutated, operation->key);
        return;
    case 1:
        operation->value = mutate_bytes(mutated, operation->value);
        return;
    case 2:
        operation->type = (enum txn_operation_type)(TXN_WRITE + what / 4 % 3);
        return;
    default: /* begin and end next to each other */
        operation->type = TXN_RANGE_DELETE;
        operation->value = operation->key;
        operation->key = mutate_bytes(mutated, operation->key);
    }
}

static void mutate_precondition(struct mutated *mutated, struct txn_precondition *precondition,
                                unsigned what)
{
    static const uint64_t versions[] = {0, 1, TXN_VERSION_MAX, TXN_VERSION_MAX + 1, UINT64_MAX};
    switch (what % 4) {
    case 0:
        precondition->begin = mutate_bytes(mutated, precondition->begin);
        return;
    case 1:
        precondition->end = mutate_bytes(mutated, precondition->end);
        return;
    case 2:
        precondition->is_range = !precondition->is_range;
        return;
    default:
        precondition->version = versions[what / 4 % 5];
    }
}

/* One change: of a name, of one item, or one item more or fewer. */
static void mutate_txn(struct mutated *mutated, unsigned seed)
{
    struct txn *txn = &mutated->txn;
    unsigned at = seed / 64;
    unsigned what = seed / 4096;
    static const struct txn_operation write = {.type = TXN_WRITE, .key = BYTES_INIT("k")};
    static const struct txn_precondition read = {.begin = BYTES_INIT("k")};
    switch (seed / 8 % 8) {
    case 0:
        txn->request_id = mutate_bytes(mutated, txn->request_id);
        break;
    case 1:
        txn->leader = mutate_bytes(mutated, txn->leader);
        break;
    case 2:
        mutated->operations[txn->operation_count] =
            txn->operation_count == 0 ? write : mutated->operations[at % txn->operation_count];
        txn->operation_count++;
        break;
    case 3:
        mutated->preconditions[txn->precondition_count] =
            txn->precondition_count == 0 ? read
                                         : mutated->preconditions[at % txn->precondition_count];
        txn->precondition_count++;
        break;
    case 4:
        txn->operation_count -= txn->operation_count > 0;
        break;
    case 5:
        txn->precondition_count -= txn->precondition_count > 0;
        break;
    case 6:
        if (txn->operation_count > 0) {
            mutate_operation(mutated, &mutated->operations[at % txn->operation_count], what);
        }
        break;
    default:
        if (txn->precondition_count > 0) {
            mutate_precondition(mutated, &mutated->preconditions[at % txn->precondition_count],
                                what);
        }
    }
}

static void take_txn(struct mutated *out, const struct txn *txn)
{
    out->txn = *txn;
    out->txn.operation_count =
        txn->operation_count < MUTATED_MAX ? txn->operation_count : MUTATED_MAX;
    out->txn.precondition_count =
        txn->precondition_count < MUTATED_MAX ? txn->precondition_count : MUTATED_MAX;
    for (uint32_t i = 0; i < out->txn.operation_count; i++) {
        out->operations[i] = txn->operations[i];
    }
    for (uint32_t i = 0; i < out->txn.precondition_count; i++) {
        out->preconditions[i] = txn->preconditions[i];
    }
    out->txn.operations = out->operations;
    out->txn.preconditions = out->preconditions;
}

/* A body that says something like what `decoded` does; 0: it would not fit. */
static size_t rewrite(const struct decoded *decoded, bool is_batch, uint8_t *data, size_t room,
                      unsigned seed)
{
    static const struct txn nothing;
    struct mutated mutated;
    struct body body = {NULL, 0, 0};
    enum body_format format = (enum body_format)(seed / 512 % BODY_FORMATS);
    const struct txn *from = !is_batch                  ? &decoded->txn
                             : decoded->batch.count > 0 ? &decoded->batch.transactions[0]
                                                        : &nothing;
    take_txn(&mutated, from);
    mutate_txn(&mutated, seed);
    if (seed / 2048 % 4 == 0) {
        struct txn two[2] = {*from, mutated.txn};
        body_write_batch(&body, format, &(struct txn_batch){two, 2});
        data[0] = (uint8_t)(CHOICE_BATCH | format);
    } else {
        body_write_commit(&body, format, &mutated.txn);
        data[0] = (uint8_t)(format | (data[0] & CHOICE_TIGHT));
    }
    size_t size = body.size < room ? body.size + 1 : 0;
    if (size > 1) {
        memcpy(data + 1, body.data, body.size);
    }
    body_free(&body);
    return size;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t room, unsigned seed)
{
    size_t rewritten = 0;
    if (seed % 4 == 0 && size > 1 && size <= BODY_BYTES_MAX) {
        bool is_batch = (data[0] & CHOICE_BATCH) != 0;
        struct decoded decoded;
        decode_run(&decoded, body_codec((enum body_format)((data[0] & 0x0f) % BODY_FORMATS)),
                   bytes_of((const char *)data + 1, size - 1), is_batch, &body_limits, 1 << 26);
        if (decoded.err == OK) {
            rewritten = rewrite(&decoded, is_batch, data, room, seed);
        }
        decode_free(&decoded);
    }
    return rewritten > 0 ? rewritten : LLVMFuzzerMutate(data, size, room);
}
