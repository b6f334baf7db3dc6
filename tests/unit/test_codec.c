/* SPDX-License-Identifier: Apache-2.0 */
/* What holds in every format: the same transaction, limits, refusals of cut bodies and of memory.
 */
#include "txn_bodies.h"

#include "base/check.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

static const char zeros_and_ones[] = {0, -1, 0, -1, 127, -128};
static char long_bytes[3000];
static char printable[0x7e - 0x21 + 1];
static char long_id[TXN_REQUEST_ID_BYTES_MAX];

static const struct txn_precondition reads[] = {
    {BYTES_INIT("a"), {NULL, 0}, 40, false},
    {BYTES_INIT("a"), BYTES_INIT("b"), 41, true},
    {BYTES_INIT(""), {NULL, 0}, 0, false},
    {BYTES_INIT(""), BYTES_INIT("\0"), 1, true},
    {BYTES_INIT("k"), BYTES_INIT("k\0"), 127, true},
    {{zeros_and_ones, sizeof zeros_and_ones}, {NULL, 0}, 128, false},
    {BYTES_INIT("\x7f"), BYTES_INIT("\x80"), (UINT64_C(1) << 32) + 7, true},
    {{long_bytes, sizeof long_bytes}, {NULL, 0}, TXN_VERSION_MAX, false},
};

static const struct txn_operation changes[] = {
    {BYTES_INIT("a"), BYTES_INIT("1"), TXN_WRITE},
    {BYTES_INIT("c"), {NULL, 0}, TXN_DELETE},
    {BYTES_INIT("d"), BYTES_INIT("e"), TXN_RANGE_DELETE},
    {BYTES_INIT(""), BYTES_INIT(""), TXN_WRITE},
    {BYTES_INIT(""), {NULL, 0}, TXN_DELETE},
    {BYTES_INIT(""), BYTES_INIT("\xff\xff"), TXN_RANGE_DELETE},
    {{zeros_and_ones, sizeof zeros_and_ones}, {long_bytes, sizeof long_bytes}, TXN_WRITE},
    {BYTES_INIT("ab"), {long_bytes, 100}, TXN_WRITE},
    {BYTES_INIT("\xfe\xff"), BYTES_INIT("\xff"), TXN_RANGE_DELETE},
};

static const struct txn transactions[] = {
    {.request_id = {NULL, 0}},
    {.operations = changes, .operation_count = 1},
    {.operations = changes + 1, .operation_count = 1},
    {.operations = changes + 2, .operation_count = 1},
    {.operations = changes, .operation_count = COUNT(changes)},
    {.preconditions = reads, .precondition_count = 1, .version_max = 40},
    {.preconditions = reads + 2, .precondition_count = 1},
    {.preconditions = reads,
     .precondition_count = COUNT(reads),
     .operations = changes,
     .operation_count = COUNT(changes),
     .request_id = {long_id, sizeof long_id},
     .leader = {printable, sizeof printable},
     .version_max = TXN_VERSION_MAX},
    {.preconditions = reads,
     .precondition_count = 5,
     .operations = changes,
     .operation_count = 2,
     .request_id = {printable, sizeof printable},
     .leader = BYTES_INIT("l"),
     .version_max = 127},
    {.request_id = BYTES_INIT("1"), .operations = changes, .operation_count = 1},
};

static int set_up(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof long_bytes; i++) {
        long_bytes[i] = (char)(i * 7 + i / 256);
    }
    for (size_t i = 0; i < sizeof printable; i++) {
        printable[i] = (char)(0x21 + i);
    }
    for (size_t i = 0; i < sizeof long_id; i++) {
        long_id[i] = (char)(0x21 + i % 94);
    }
    return 0;
}

static void test_same_in_all_formats(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(transactions); i++) {
        uint64_t hashes[BODY_FORMATS];
        for (enum body_format format = BODY_JSON; format < BODY_FORMATS; format++) {
            struct body body = {NULL, 0, 0};
            struct decoded decoded;
            body_write_commit(&body, format, &transactions[i]);
            decode_commit(&decoded, format, body_end(&body));
            assert_int_equal(decoded.err, OK);
            assert_true(txn_equal(&decoded.txn, &transactions[i]));
            assert_int_equal(decoded.txn.version_max, transactions[i].version_max);
            hashes[format] = decoded.txn.payload_hash;
            decode_free(&decoded);
            body_free(&body);
        }
        assert_int_equal(hashes[BODY_JSON], hashes[BODY_MSGPACK]);
        assert_int_equal(hashes[BODY_JSON], hashes[BODY_PROTOBUF]);
    }
}

static void test_batches(void **state)
{
    (void)state;
    for (uint32_t count = 0; count <= COUNT(transactions); count++) {
        struct txn copies[COUNT(transactions)];
        memcpy(copies, transactions, sizeof copies);
        for (enum body_format format = BODY_JSON; format < BODY_FORMATS; format++) {
            struct body body = {NULL, 0, 0};
            struct decoded decoded;
            body_write_batch(&body, format, &(struct txn_batch){copies, count});
            decode_batch(&decoded, format, body_end(&body));
            assert_int_equal(decoded.err, OK);
            assert_int_equal(decoded.batch.count, count);
            for (uint32_t i = 0; i < count; i++) {
                const struct txn *txn = &decoded.batch.transactions[i];
                assert_true(txn_equal(txn, &transactions[i]));
                assert_int_equal(txn->version_max, transactions[i].version_max);
            }
            decode_free(&decoded);
            body_free(&body);
        }
    }
}

static uint64_t hash_of(const struct txn *txn)
{
    struct body body = {NULL, 0, 0};
    struct decoded decoded;
    body_write_commit(&body, BODY_PROTOBUF, txn);
    decode_commit(&decoded, BODY_PROTOBUF, body_end(&body));
    assert_int_equal(decoded.err, OK);
    uint64_t hash = decoded.txn.payload_hash;
    decode_free(&decoded);
    body_free(&body);
    return hash;
}

static void test_hash_covers_payload(void **state)
{
    (void)state;
    /* Each differs from the others in one thing; ids and the leader are none. */
    static const struct txn_operation w[] = {{BYTES_INIT("a"), BYTES_INIT("b"), TXN_WRITE},
                                             {BYTES_INIT("ab"), BYTES_INIT(""), TXN_WRITE},
                                             {BYTES_INIT(""), BYTES_INIT("ab"), TXN_WRITE},
                                             {BYTES_INIT("a"), BYTES_INIT("b"), TXN_RANGE_DELETE},
                                             {BYTES_INIT("a"), {NULL, 0}, TXN_DELETE},
                                             {BYTES_INIT("b"), BYTES_INIT("a"), TXN_WRITE},
                                             {BYTES_INIT("a"), BYTES_INIT("c"), TXN_WRITE},
                                             {BYTES_INIT("a"), BYTES_INIT("c"), TXN_RANGE_DELETE}};
    static const struct txn_precondition p[] = {{BYTES_INIT("a"), {NULL, 0}, 1, false},
                                                {BYTES_INIT("a"), {NULL, 0}, 2, false},
                                                {BYTES_INIT("a"), BYTES_INIT("b"), 1, true},
                                                {BYTES_INIT("b"), {NULL, 0}, 1, false},
                                                {BYTES_INIT("a"), BYTES_INIT("c"), 1, true}};
    struct txn all[] = {
        {.operation_count = 0},
        {.operations = &w[0], .operation_count = 1},
        {.operations = &w[1], .operation_count = 1},
        {.operations = &w[2], .operation_count = 1},
        {.operations = &w[3], .operation_count = 1},
        {.operations = &w[4], .operation_count = 1},
        {.operations = &w[5], .operation_count = 1},
        {.operations = &w[6], .operation_count = 1},
        {.operations = &w[7], .operation_count = 1},
        {.operations = &w[0], .operation_count = 2},
        {.operations = &w[1], .operation_count = 2},
        {.preconditions = &p[0], .precondition_count = 1},
        {.preconditions = &p[1], .precondition_count = 1},
        {.preconditions = &p[2], .precondition_count = 1},
        {.preconditions = &p[3], .precondition_count = 1},
        {.preconditions = &p[4], .precondition_count = 1},
        {.preconditions = &p[0],
         .precondition_count = 1,
         .operations = &w[0],
         .operation_count = 1},
    };
    uint64_t hashes[COUNT(all)];
    for (size_t i = 0; i < COUNT(all); i++) {
        hashes[i] = hash_of(&all[i]);
        for (size_t j = 0; j < i; j++) {
            assert_int_not_equal(hashes[i], hashes[j]);
        }
        all[i].request_id = BYTES("id");
        all[i].leader = BYTES("leader");
        assert_int_equal(hashes[i], hash_of(&all[i]));
    }
}

static void test_read_version_is_the_default(void **state)
{
    (void)state;
    /* version resolved: the same payload, whichever way it was said, and wherever it stands. */
    static const char *const bodies[] = {
        "{\"read_version\":7,\"preconditions\":[{\"type\":\"point_read\",\"key\":\"YQ==\"}]}",
        "{\"preconditions\":[{\"key\":\"YQ==\",\"type\":\"point_read\"}],\"read_version\":7}",
        "{\"preconditions\":[{\"version\":7,\"key\":\"YQ==\",\"type\":\"point_read\"}]}",
        ("{\"read_version\":5,\"preconditions\":"
         "[{\"type\":\"point_read\",\"key\":\"YQ==\",\"version\":7}]}"),
    };
    uint64_t hash = 0;
    for (size_t i = 0; i < COUNT(bodies); i++) {
        struct decoded decoded;
        decode_commit(&decoded, BODY_JSON, bytes_from_string(bodies[i]));
        assert_int_equal(decoded.err, OK);
        assert_int_equal(decoded.txn.preconditions[0].version, 7);
        assert_int_equal(decoded.txn.version_max, 7);
        assert_true(i == 0 || decoded.txn.payload_hash == hash);
        hash = decoded.txn.payload_hash;
        decode_free(&decoded);
    }
    struct decoded decoded; /* named, so it counts, although nothing is read at it */
    decode_commit(&decoded, BODY_JSON, BYTES("{\"read_version\":9}"));
    assert_int_equal(decoded.txn.version_max, 9);
    decode_free(&decoded);
}

/* Whether a Protobuf message may end at `size`: behind a whole field. */
static bool is_between_fields(struct bytes body, size_t size)
{
    size_t at = 0;
    while (at < size) {
        unsigned char tag = (unsigned char)body.data[at++];
        uint64_t number = 0;
        unsigned shift = 0;
        unsigned char byte;
        do {
            byte = (unsigned char)body.data[at++];
            number |= (uint64_t)(byte & 0x7f) << shift;
            shift += 7;
        } while (byte >= 0x80);
        at += (tag & 7) == 2 ? number : 0;
    }
    return at == size;
}

static void expect_cut(enum body_format format, struct bytes whole, bool is_batch)
{
    for (size_t size = 0; size < whole.size; size++) {
        struct decoded decoded;
        if (is_batch) {
            decode_batch(&decoded, format, bytes_of(whole.data, size));
        } else {
            decode_commit(&decoded, format, bytes_of(whole.data, size));
        }
        /* A Protobuf message has no end of its own. */
        bool is_whole = format == BODY_PROTOBUF && is_between_fields(whole, size);
        assert_int_equal(decoded.err, is_whole ? OK : ERR_INVALID);
        assert_true(is_whole || strstr(decoded.problem.detail, "byte ") != NULL);
        decode_free(&decoded);
    }
}

static void test_truncation(void **state)
{
    (void)state;
    struct txn copies[COUNT(transactions)];
    memcpy(copies, transactions, sizeof copies);
    for (enum body_format format = BODY_JSON; format < BODY_FORMATS; format++) {
        for (size_t i = 0; i < COUNT(transactions); i++) {
            struct body body = {NULL, 0, 0};
            body_write_commit(&body, format, &transactions[i]);
            expect_cut(format, body_end(&body), false);
            body_free(&body);
        }
        struct body body = {NULL, 0, 0};
        body_write_batch(&body, format, &(struct txn_batch){copies, 4});
        expect_cut(format, body_end(&body), true);
        body_free(&body);
    }
}

/* ---- limits ---- */

/* Decodes `batch` (alone, when it has one transaction) in all formats under the limits. */
static void expect_limit(const struct txn_batch *batch, bool is_batch,
                         const struct txn_limits *limits, const char *key, uint64_t limit,
                         const char *place)
{
    for (enum body_format format = BODY_JSON; format < BODY_FORMATS; format++) {
        struct body body = {NULL, 0, 0};
        struct decoded decoded;
        if (is_batch) {
            body_write_batch(&body, format, batch);
        } else {
            body_write_commit(&body, format, batch->transactions);
        }
        decode_run(&decoded, body_codec(format), body_end(&body), is_batch, limits, 1 << 26);
        if (key == NULL) {
            assert_int_equal(decoded.err, OK);
        } else {
            assert_int_equal(decoded.err, ERR_LIMIT);
            assert_string_equal(decoded.problem.limit_key, key);
            assert_int_equal(decoded.problem.limit, limit);
            assert_int_equal(decoded.problem.actual, limit + 1);
            assert_int_equal(strncmp(decoded.problem.detail, place, strlen(place)), 0);
        }
        decode_free(&decoded);
        body_free(&body);
    }
}

static void test_limits_of_sizes(void **state)
{
    (void)state;
    static const struct txn_limits limits = {10, 20, 100, 100, 100};
    for (size_t delta = 0; delta <= 2; delta++) { /* one below, at, one above */
        bool is_over = delta == 2;
        struct bytes key = {long_bytes, 9 + delta};
        struct bytes value = {long_bytes, 19 + delta};
        struct txn_operation operations[] = {{BYTES("a"), BYTES("b"), TXN_RANGE_DELETE},
                                             {BYTES("a"), BYTES("b"), TXN_WRITE}};
        struct txn_precondition precondition = {.begin = key};
        struct txn txn = {.operations = operations, .operation_count = 2};
        struct txn_batch batch = {&txn, 1};

        operations[1].key = key;
        expect_limit(&batch, false, &limits, is_over ? "commit.max_key_bytes" : NULL, 10,
                     "operations[1].key has 11 bytes; 10 are allowed");
        expect_limit(&batch, true, &limits, is_over ? "commit.max_key_bytes" : NULL, 10,
                     "transactions[0].operations[1].key ");
        operations[1] = (struct txn_operation){key, {NULL, 0}, TXN_DELETE};
        expect_limit(&batch, false, &limits, is_over ? "commit.max_key_bytes" : NULL, 10,
                     "operations[1].key ");
        operations[1] = (struct txn_operation){BYTES("a"), value, TXN_WRITE};
        expect_limit(&batch, false, &limits, is_over ? "commit.max_value_bytes" : NULL, 20,
                     "operations[1].value ");
        operations[1] = (struct txn_operation){key, BYTES("\xff"), TXN_RANGE_DELETE};
        expect_limit(&batch, false, &limits, is_over ? "commit.max_key_bytes" : NULL, 10,
                     "operations[1].begin ");
        operations[1] = (struct txn_operation){BYTES(""), key, TXN_RANGE_DELETE};
        expect_limit(&batch, false, &limits, is_over ? "commit.max_key_bytes" : NULL, 10,
                     "operations[1].end ");

        txn = (struct txn){.preconditions = &precondition, .precondition_count = 1};
        expect_limit(&batch, false, &limits, is_over ? "commit.max_key_bytes" : NULL, 10,
                     "preconditions[0].key ");
        precondition = (struct txn_precondition){BYTES(""), key, 1, true};
        expect_limit(&batch, false, &limits, is_over ? "commit.max_key_bytes" : NULL, 10,
                     "preconditions[0].end ");
        precondition = (struct txn_precondition){key, BYTES("\xff"), 1, true};
        expect_limit(&batch, false, &limits, is_over ? "commit.max_key_bytes" : NULL, 10,
                     "preconditions[0].begin ");
    }
}

static void test_limits_of_counts(void **state)
{
    (void)state;
    static const struct txn_limits limits = {100, 100, 3, 2, 4};
    static const struct txn_operation operations[4] = {{BYTES_INIT("a"), {NULL, 0}, TXN_DELETE},
                                                       {BYTES_INIT("a"), {NULL, 0}, TXN_DELETE},
                                                       {BYTES_INIT("a"), {NULL, 0}, TXN_DELETE},
                                                       {BYTES_INIT("a"), {NULL, 0}, TXN_DELETE}};
    static const struct txn_precondition preconditions[3] = {
        {.begin = BYTES_INIT("a")}, {.begin = BYTES_INIT("a")}, {.begin = BYTES_INIT("a")}};
    for (uint32_t delta = 0; delta <= 2; delta++) {
        bool is_over = delta == 2;
        struct txn txns[5] = {{.operations = operations, .operation_count = 2 + delta}};
        expect_limit(&(struct txn_batch){txns, 1}, false, &limits,
                     is_over ? "commit.max_operations" : NULL, 3, "operations has 4 elements");
        txns[0] = (struct txn){.preconditions = preconditions, .precondition_count = 1 + delta};
        expect_limit(&(struct txn_batch){txns, 1}, false, &limits,
                     is_over ? "commit.max_preconditions" : NULL, 2, "preconditions has 3 ");
        txns[1] = txns[0];
        txns[0] = (struct txn){.operation_count = 0};
        expect_limit(&(struct txn_batch){txns, 2}, true, &limits,
                     is_over ? "commit.max_preconditions" : NULL, 2,
                     "transactions[1].preconditions has 3 ");
        txns[1] = txns[0];
        expect_limit(&(struct txn_batch){txns, 3 + delta}, true, &limits,
                     is_over ? "commit.max_batch_transactions" : NULL, 4,
                     "transactions has 5 elements");
    }
}

static void test_memory_refused(void **state)
{
    (void)state;
    enum { OPERATIONS = 500, STEP = 4096, STEPS_MAX = 1000 };
    struct txn_operation *operations = calloc(OPERATIONS, sizeof *operations);
    assert_non_null(operations);
    for (size_t i = 0; i < OPERATIONS; i++) {
        operations[i] = (struct txn_operation){bytes_of(long_bytes, i), BYTES("v"), TXN_WRITE};
    }
    struct txn txn = {.operations = operations, .operation_count = OPERATIONS};
    for (unsigned side = 0; side < 2 * BODY_FORMATS; side++) {
        enum body_format format = (enum body_format)(side / 2);
        bool is_batch = side % 2 == 1;
        struct body body = {NULL, 0, 0};
        if (is_batch) {
            body_write_batch(&body, format, &(struct txn_batch){&txn, 1});
        } else {
            body_write_commit(&body, format, &txn);
        }
        struct bytes data = body_end(&body);
        unsigned refused = 0;
        enum err err = ERR_MEMORY;
        for (; err != OK && refused < STEPS_MAX; refused++) {
            struct decoded decoded;
            decode_run(&decoded, body_codec(format), data, is_batch, &body_limits,
                       (uint64_t)refused * STEP);
            err = decoded.err;
            assert_true(err == OK || err == ERR_MEMORY);
            decode_free(&decoded);
        }
        assert_int_equal(err, OK);
        assert_in_range(refused, 4, STEPS_MAX); /* each allocation was refused in its turn */
        body_free(&body);
    }
    free(operations);
}

/* A refusal stands although there is no memory left to say more. */
static void test_refusal_without_memory(void **state)
{
    (void)state;
    struct decoded decoded;
    decode_run(&decoded, body_codec(BODY_PROTOBUF), BYTES("\x30\x01"), false, &body_limits, 0);
    assert_int_equal(decoded.err, ERR_INVALID);
    assert_null(decoded.problem.detail);
    decode_free(&decoded);
}

/* ---- the registry ---- */

static void test_registry(void **state)
{
    (void)state;
    size_t count = 0;
    for (; txn_codec_media_types[count] != NULL; count++) {
        assert_non_null(txn_codec_of(bytes_from_string(txn_codec_media_types[count])));
    }
    size_t of_codecs = 0;
    for (enum body_format format = BODY_JSON; format < BODY_FORMATS; format++) {
        const struct txn_codec *codec = body_codec(format);
        for (const char *const *type = codec->media_types; *type != NULL; type++) {
            assert_string_equal(*type, txn_codec_media_types[of_codecs++]);
            assert_ptr_equal(txn_codec_of(bytes_from_string(*type)), codec);
        }
    }
    assert_int_equal(of_codecs, count);
    assert_string_equal(txn_codec_of(BYTES("application/json"))->name, "json");
    assert_string_equal(txn_codec_of(BYTES("Application/X-MsgPack"))->name, "msgpack");
    assert_string_equal(txn_codec_of(BYTES("application/vnd.msgpack"))->name, "msgpack");
    assert_string_equal(txn_codec_of(BYTES("application/x-protobuf ; a=b"))->name, "protobuf");
    assert_string_equal(txn_codec_of(BYTES("application/json; charset=utf-8"))->name, "json");
    assert_null(txn_codec_of(BYTES("")));
    assert_null(txn_codec_of(BYTES("text/plain")));
    assert_null(txn_codec_of(BYTES("application/jsonp")));
    assert_null(txn_codec_of(BYTES("application/problem+json")));
}

static void expect_answer(const char *accept, const struct txn_codec *preferred, const char *name)
{
    assert_string_equal(txn_codec_for_answer(bytes_from_string(accept), preferred)->name, name);
}

static void test_answer_format(void **state)
{
    (void)state;
    const struct txn_codec *protobuf = body_codec(BODY_PROTOBUF);
    expect_answer("", NULL, "json");
    expect_answer("", protobuf, "protobuf");
    expect_answer("*/*", protobuf, "protobuf");
    expect_answer("application/*", protobuf, "protobuf");
    expect_answer("application/json", protobuf, "json");
    expect_answer("application/x-msgpack", protobuf, "msgpack");
    expect_answer("application/protobuf;q=0, */*", protobuf, "json"); /* by any of its names */
    expect_answer("application/x-protobuf;q=0, */*", protobuf, "json");
    expect_answer("application/x-protobuf, application/protobuf;q=0", protobuf, "protobuf");
    expect_answer("text/html", protobuf, "protobuf"); /* rather than no answer */
    expect_answer("text/html", NULL, "json");
    expect_answer("application/msgpack, application/json;q=0.5", NULL, "msgpack");
    expect_answer("application/json;q=0.4, application/vnd.msgpack;q=0.5", protobuf, "msgpack");
    expect_answer("application/msgpack, application/json", protobuf, "json"); /* as registered */
    expect_answer("*/*;q=0.1, application/x-msgpack", NULL, "msgpack");
    expect_answer("*/*;q=0.9, application/json;q=0.1", NULL, "msgpack");
    expect_answer("*/*;q=0", protobuf, "protobuf");
    expect_answer("application/msgpack", NULL, "msgpack");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_in_all_formats),
        cmocka_unit_test(test_batches),
        cmocka_unit_test(test_hash_covers_payload),
        cmocka_unit_test(test_read_version_is_the_default),
        cmocka_unit_test(test_truncation),
        cmocka_unit_test(test_limits_of_sizes),
        cmocka_unit_test(test_limits_of_counts),
        cmocka_unit_test(test_memory_refused),
        cmocka_unit_test(test_refusal_without_memory),
        cmocka_unit_test(test_registry),
        cmocka_unit_test(test_answer_format),
    };
    return cmocka_run_group_tests(tests, set_up, NULL);
}
