/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzzes the codecs: the first byte chooses the format, whether the body is a batch, and tight
 * limits; the rest is the body. Whatever a codec takes keeps to the model's rules and limits, and
 * written again in each format it is the same transaction with the same hash. A Protobuf body comes
 * out as if it were always scanned.
 */
#include "base/check.h"
#include "txn_bodies.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { CHOICE_BATCH = 0x10, CHOICE_TIGHT = 0x20, BODY_BYTES_MAX = 8192 };

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
