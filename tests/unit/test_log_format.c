/* SPDX-License-Identifier: Apache-2.0 */
/* The bytes of the commit log: there and back, and every single damage to them. */
#include "commitlog/format.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "support/dies.h"

static const struct log_segment_header SEGMENT = {
    .log_id = UINT64_C(0x1122334455667788),
    .number = 3,
    .first_version = 1001,
    .first_batch = 77,
    .segment_bytes = 1 << 20,
};

static const struct log_batch_header BATCH = {
    .number = 77,
    .first_version = 1001,
    .last_version = 1002,
    .timestamp_us = UINT64_C(1763970000123456),
    .payload_bytes = 333,
    .payload_hash = UINT64_C(0xfeedfacecafebeef),
    .count = 3,
};

static const struct log_position POSITION = {
    .log_id = UINT64_C(0x1122334455667788), .segment_number = 3, .offset = 4096};

static void flip(char *bytes, size_t bit)
{
    bytes[bit / 8] = (char)(bytes[bit / 8] ^ 1 << bit % 8);
}

static void test_a_segment_header_comes_back(void **state)
{
    (void)state;
    char bytes[LOG_SEGMENT_HEADER_BYTES];
    struct log_segment_header header;
    log_segment_header_encode(&SEGMENT, bytes);
    assert_memory_equal(bytes, "WEASELOG", 8);
    assert_int_equal(log_segment_header_decode(bytes, &header), LOG_HEADER_GOOD);
    assert_true(header.log_id == SEGMENT.log_id && header.number == SEGMENT.number &&
                header.first_version == SEGMENT.first_version &&
                header.first_batch == SEGMENT.first_batch &&
                header.segment_bytes == SEGMENT.segment_bytes);
}

static void test_each_bit_of_a_segment_header_counts(void **state)
{
    (void)state;
    char bytes[LOG_SEGMENT_HEADER_BYTES];
    log_segment_header_encode(&SEGMENT, bytes);
    for (unsigned bit = 0; bit < sizeof bytes * 8; bit++) {
        struct log_segment_header header = {.number = 999};
        flip(bytes, bit);
        enum log_header_result result = log_segment_header_decode(bytes, &header);
        /* A later format may look different in all but its magic and its number. */
        bool is_format = bit / 8 >= 8 && bit / 8 < 12;
        assert_true(result == LOG_HEADER_BAD || (is_format && result == LOG_HEADER_FUTURE));
        assert_int_equal(header.number, 999);
        flip(bytes, bit);
    }
}

static void test_a_batch_header_comes_back(void **state)
{
    (void)state;
    char bytes[LOG_BATCH_HEADER_BYTES];
    struct log_batch_header header;
    log_batch_header_encode(&BATCH, &POSITION, bytes);
    assert_true(log_batch_header_decode(bytes, &POSITION, &header));
    assert_true(header.number == BATCH.number && header.first_version == BATCH.first_version &&
                header.last_version == BATCH.last_version &&
                header.timestamp_us == BATCH.timestamp_us &&
                header.payload_bytes == BATCH.payload_bytes &&
                header.payload_hash == BATCH.payload_hash && header.count == BATCH.count);
}

static void test_each_bit_of_a_batch_header_counts(void **state)
{
    (void)state;
    char bytes[LOG_BATCH_HEADER_BYTES];
    log_batch_header_encode(&BATCH, &POSITION, bytes);
    for (unsigned bit = 0; bit < sizeof bytes * 8; bit++) {
        struct log_batch_header header = {.number = 999};
        flip(bytes, bit);
        assert_false(log_batch_header_decode(bytes, &POSITION, &header));
        assert_int_equal(header.number, 999);
        flip(bytes, bit);
    }
}

static void test_a_batch_is_valid_in_its_place_alone(void **state)
{
    (void)state;
    char bytes[LOG_BATCH_HEADER_BYTES];
    struct log_batch_header header;
    log_batch_header_encode(&BATCH, &POSITION, bytes);
    const struct log_position others[] = {
        {POSITION.log_id + 1, POSITION.segment_number, POSITION.offset},
        {POSITION.log_id, POSITION.segment_number + 1, POSITION.offset},
        {POSITION.log_id, POSITION.segment_number - 1, POSITION.offset},
        {POSITION.log_id, POSITION.segment_number, POSITION.offset + LOG_ALIGNMENT},
        {POSITION.log_id, POSITION.segment_number, POSITION.offset - LOG_ALIGNMENT},
    };
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        assert_false(log_batch_header_decode(bytes, &others[i], &header));
    }
    static const char zeros[LOG_BATCH_HEADER_BYTES];
    assert_false(log_batch_header_decode(zeros, &POSITION, &header));
}

/* ---- records ---- */

static const struct txn_operation OPERATIONS[] = {
    {BYTES_INIT("key"), BYTES_INIT("value"), TXN_WRITE},
    {BYTES_INIT("empty"), BYTES_INIT(""), TXN_WRITE},
    {BYTES_INIT("gone\0\xff"), {NULL, 0}, TXN_DELETE},
    {BYTES_INIT("a"), BYTES_INIT("b"), TXN_RANGE_DELETE},
    {BYTES_INIT(""), BYTES_INIT("x"), TXN_WRITE},
};

enum { OPERATION_COUNT = sizeof OPERATIONS / sizeof OPERATIONS[0] };

static const struct log_record COMMIT = {
    .type = LOG_RECORD_COMMIT,
    .request_id = BYTES_INIT("request-1"),
    .version = 42,
    .payload_hash = UINT64_C(0x0102030405060708),
    .operations = OPERATIONS,
    .operation_count = OPERATION_COUNT,
};

static const struct log_record FENCE = {.type = LOG_RECORD_FENCE, .request_id = BYTES_INIT("f")};

/* In memory of its exact size, so that a sanitizer sees a read outside. */
static struct bytes encode(const struct log_record *record)
{
    size_t size = log_record_size(record);
    char *bytes = malloc(size);
    assert_non_null(bytes);
    log_record_encode(record, bytes);
    return bytes_of(bytes, size);
}

static void free_bytes(struct bytes bytes)
{
    free((void *)(uintptr_t)bytes.data);
}

static void assert_commit(const struct log_record *record, struct bytes operations)
{
    assert_int_equal(record->type, LOG_RECORD_COMMIT);
    assert_true(bytes_equal(record->request_id, COMMIT.request_id));
    assert_true(record->version == COMMIT.version && record->payload_hash == COMMIT.payload_hash);
    assert_int_equal(record->operation_count, OPERATION_COUNT);
    for (unsigned i = 0; i < OPERATION_COUNT; i++) {
        struct txn_operation operation;
        assert_true(log_operation_decode(&operations, &operation));
        assert_int_equal(operation.type, OPERATIONS[i].type);
        assert_true(bytes_equal(operation.key, OPERATIONS[i].key));
        assert_true(bytes_equal(operation.value, OPERATIONS[i].value));
    }
    assert_int_equal(operations.size, 0);
}

static void test_records_come_back(void **state)
{
    (void)state;
    struct bytes commit = encode(&COMMIT);
    struct bytes fence = encode(&FENCE);
    char both[512];
    memcpy(both, commit.data, commit.size);
    memcpy(both + commit.size, fence.data, fence.size);
    struct bytes payload = bytes_of(both, commit.size + fence.size);
    struct log_record record;
    struct bytes operations;
    assert_true(log_record_decode(&payload, &record, &operations));
    assert_commit(&record, operations);
    assert_int_equal(payload.size, fence.size);
    assert_true(log_record_decode(&payload, &record, &operations));
    assert_int_equal(record.type, LOG_RECORD_FENCE);
    assert_true(bytes_equal(record.request_id, FENCE.request_id));
    assert_int_equal(record.operation_count, 0);
    assert_int_equal(payload.size, 0);
    assert_false(log_record_decode(&payload, &record, &operations));
    free_bytes(commit);
    free_bytes(fence);
}

static void test_a_record_cut_anywhere_is_none(void **state)
{
    (void)state;
    struct bytes whole = encode(&COMMIT);
    for (size_t size = 0; size < whole.size; size++) {
        char *part = malloc(size + (size == 0));
        assert_non_null(part);
        memcpy(part, whole.data, size);
        struct bytes payload = bytes_of(part, size);
        struct log_record record;
        struct bytes operations;
        assert_false(log_record_decode(&payload, &record, &operations));
        assert_int_equal(payload.size, size);
        free(part);
    }
    free_bytes(whole);
}

/* The batch's checksum finds each of them; the decoder alone must stay inside. */
static void test_each_bit_of_a_record_counts(void **state)
{
    (void)state;
    struct bytes whole = encode(&COMMIT);
    char *bytes = malloc(whole.size);
    assert_non_null(bytes);
    memcpy(bytes, whole.data, whole.size);
    uint64_t hash = log_payload_hash(whole);
    for (size_t bit = 0; bit < whole.size * 8; bit++) {
        flip(bytes, bit);
        assert_true(log_payload_hash(bytes_of(bytes, whole.size)) != hash);
        struct bytes payload = bytes_of(bytes, whole.size);
        struct log_record record;
        struct bytes operations;
        if (log_record_decode(&payload, &record, &operations)) {
            struct txn_operation operation;
            while (log_operation_decode(&operations, &operation)) {
                assert_true(operation.key.size + operation.value.size <= whole.size);
            }
        }
        flip(bytes, bit);
    }
    free(bytes);
    free_bytes(whole);
}

/* Whether the record is refused when the byte at `offset` is `value`. */
static bool is_refused(const struct log_record *from, size_t offset, int value)
{
    struct bytes whole = encode(from);
    char *bytes = (char *)(uintptr_t)whole.data;
    bytes[offset] = (char)value;
    struct bytes payload = whole;
    struct log_record record;
    struct bytes operations;
    bool refused = !log_record_decode(&payload, &record, &operations);
    free_bytes(whole);
    return refused;
}

static void test_what_no_writer_writes_is_refused(void **state)
{
    (void)state;
    size_t operation = LOG_RECORD_HEADER_BYTES + COMMIT.request_id.size;
    assert_false(is_refused(&COMMIT, 4, LOG_RECORD_COMMIT));
    assert_true(is_refused(&COMMIT, 4, 0));                /* no type */
    assert_true(is_refused(&COMMIT, 4, 3));                /* an unknown one */
    assert_true(is_refused(&COMMIT, 4, LOG_RECORD_FENCE)); /* a fence with operations */
    assert_true(is_refused(&FENCE, 4, LOG_RECORD_COMMIT)); /* a commit without */
    assert_true(is_refused(&COMMIT, 5, 0));                /* no id */
    assert_true(is_refused(&COMMIT, 6, 1));                /* what is zero */
    assert_true(is_refused(&COMMIT, 7, 1));
    assert_true(is_refused(&COMMIT, operation, 0)); /* no type of an operation */
    assert_true(is_refused(&COMMIT, operation, 4));
    assert_true(is_refused(&COMMIT, operation, TXN_DELETE)); /* a delete with a value */
}

static void test_ids_have_1_to_128_bytes(void **state)
{
    (void)state;
    char id[TXN_REQUEST_ID_BYTES_MAX + 1];
    char bytes[512];
    memset(id, 'i', sizeof id);
    for (size_t size = 0; size <= sizeof id; size++) {
        struct log_record record = FENCE;
        record.request_id = bytes_of(id, size);
        if (size < 1 || size > TXN_REQUEST_ID_BYTES_MAX) {
            assert_dies((log_record_encode(&record, bytes), true));
            continue;
        }
        struct bytes payload = encode(&record);
        struct bytes whole = payload;
        struct bytes operations;
        assert_true(log_record_decode(&payload, &record, &operations));
        assert_int_equal(record.request_id.size, size);
        free_bytes(whole);
    }
}

static void test_batches_are_aligned(void **state)
{
    (void)state;
    assert_int_equal(log_align(0), 0);
    assert_int_equal(log_align(1), 8);
    assert_int_equal(log_align(7), 8);
    assert_int_equal(log_align(8), 8);
    assert_int_equal(log_align(9), 16);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_segment_header_comes_back),
        cmocka_unit_test(test_each_bit_of_a_segment_header_counts),
        cmocka_unit_test(test_a_batch_header_comes_back),
        cmocka_unit_test(test_each_bit_of_a_batch_header_counts),
        cmocka_unit_test(test_a_batch_is_valid_in_its_place_alone),
        cmocka_unit_test(test_records_come_back),
        cmocka_unit_test(test_a_record_cut_anywhere_is_none),
        cmocka_unit_test(test_each_bit_of_a_record_counts),
        cmocka_unit_test(test_what_no_writer_writes_is_refused),
        cmocka_unit_test(test_ids_have_1_to_128_bytes),
        cmocka_unit_test(test_batches_are_aligned),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
