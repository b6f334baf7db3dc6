/* SPDX-License-Identifier: Apache-2.0 */
/* Protobuf: what is refused and how it is named. Bytes are written by hand: a tag is the field's
 * number * 8 and its wire type (0: varint, 2: length and bytes). */
#include "txn_bodies.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof(array)[0])
#define RAW(literal) BYTES_INIT(literal)

static void expect_refused(struct bytes body, bool is_batch, const char *type, const char *says)
{
    struct decoded decoded;
    if (is_batch) {
        decode_batch(&decoded, BODY_PROTOBUF, body);
    } else {
        decode_commit(&decoded, BODY_PROTOBUF, body);
    }
    if (decoded.err != ERR_INVALID || strcmp(decoded.problem.type, type) != 0 ||
        strstr(decoded.problem.detail, says) == NULL) {
        fail_msg("error %d, not '%s' but '%s'", decoded.err, says,
                 decoded.err == OK || decoded.problem.detail == NULL ? "" : decoded.problem.detail);
    }
    decode_free(&decoded);
}

struct mistake {
    struct bytes body;
    const char *says;
};

static void test_mistakes(void **state)
{
    (void)state;
    static const struct mistake mistakes[] = {
        /* unknown fields, at each depth */
        {RAW("\x30\x01"), "6 is not a field that is known here."},
        {RAW("\x00\x01"), "0 is not a field that is known here."},
        {RAW("\xf8\xff\xff\xff\x0f\x01"), "536870911 is not a field that is known here."},
        {RAW("\x2a\x02\x20\x01"), "operations[0].4 is not a field that is known here."},
        {RAW("\x2a\x00\x2a\x02\x20\x01"), "operations[1].4 is not a field that is known here."},
        {RAW("\x2a\x04\x0a\x02\x18\x01"), "operations[0].3 is not a field that is known here."},
        {RAW("\x22\x02\x20\x01"), "preconditions[0].4 is not a field that is known here."},
        {RAW("\x22\x04\x0a\x02\x12\x00"), "preconditions[0].2 is not a field"},
        {RAW("\x22\x06\x0a\x02\x0a\x00\x18\x01\x2a\x06\x12\x02\x0a\x00\x20\x01"),
         "operations[0].4 is not a field"},
        {RAW("\x2a\x04\x12\x02\x0a\x00\x30\x01"), "6 is not a field"}, /* behind an item */
        /* fields that are there twice */
        {RAW("\x0a\x01"
             "a"
             "\x0a\x01"
             "a"),
         "request_id is there twice."},
        {RAW("\x12\x01"
             "a"
             "\x12\x01"
             "a"),
         "leader is there twice."},
        {RAW("\x18\x01\x18\x01"), "read_version is there twice."},
        {RAW("\x22\x0a\x0a\x02\x0a\x00\x18\x01\x18\x01\x18\x01"),
         "preconditions[0].version is there twice."},
        {RAW("\x22\x08\x0a\x00\x0a\x02\x0a\x00\x18\x01"), "preconditions[0].type is there twice."},
        {RAW("\x22\x08\x0a\x00\x12\x02\x0a\x00\x18\x01"), "preconditions[0].type is there twice."},
        {RAW("\x2a\x06\x12\x04\x0a\x00\x0a\x00"), "operations[0].key is there twice."},
        {RAW("\x2a\x08\x0a\x06\x0a\x00\x12\x00\x12\x00"), "operations[0].value is there twice."},
        {RAW("\x2a\x04\x12\x00\x0a\x00"), "operations[0].type is there twice."},
        /* wire types */
        {RAW("\x08\x01"), "request_id has the wrong wire type."},
        {RAW("\x1a\x01\x01"), "read_version has the wrong wire type."},
        {RAW("\x19\0\0\0\0\0\0\0\0"), "read_version has the wrong wire type."},
        {RAW("\x1d\0\0\0\0"), "read_version has the wrong wire type."},
        {RAW("\x2b\x2c"), "operations has the wrong wire type."}, /* a group */
        {RAW("\x2e\x00"), "operations has the wrong wire type."},
        {RAW("\x2a\x04\x0a\x02\x08\x01"), "operations[0].key has the wrong wire type."},
        /* values */
        {RAW("\x0a\x00"), "request_id must be 1 to 128 printable"},
        {RAW("\x0a\x02"
             "a "),
         "request_id must be 1 to 128 printable"},
        {RAW("\x0a\x02"
             "a\xff"),
         "request_id must be 1 to 128 printable"},
        {RAW("\x0a\x03"
             "a\0b"),
         "request_id must not have a NUL."},
        {RAW("\x12\x01\0"), "leader must not have a NUL."},
        {RAW("\x12\x00"), "leader must be 1 to 128 printable"},
        {RAW("\x18\x80\x80\x80\x80\x80\x80\x80\x10"), "read_version must be below 2^53."},
        {RAW("\x18\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"), "read_version must be below 2^53."},
        {RAW("\x22\x0d\x0a\x02\x0a\x00\x18\x80\x80\x80\x80\x80\x80\x80\x10"),
         "preconditions[0].version must be below 2^53."},
        /* what is missing */
        {RAW("\x2a\x00"), "operations[0].type is none of write, delete and range_delete."},
        {RAW("\x2a\x02\x0a\x00"), "operations[0].key is missing."},
        {RAW("\x2a\x04\x0a\x02\x0a\x00"), "operations[0].value is missing."},
        {RAW("\x2a\x02\x12\x00"), "operations[0].key is missing."},
        {RAW("\x2a\x02\x1a\x00"), "operations[0].begin is missing."},
        {RAW("\x2a\x04\x1a\x02\x0a\x00"), "operations[0].end is missing."},
        {RAW("\x2a\x06\x1a\x04\x0a\x00\x12\x00"), "operations[0].begin must be before end."},
        {RAW("\x22\x02\x18\x01"), "preconditions[0].type is none of point_read and range_read."},
        {RAW("\x22\x04\x0a\x00\x18\x01"), "preconditions[0].key is missing."},
        {RAW("\x22\x04\x12\x00\x18\x01"), "preconditions[0].begin is missing."},
        {RAW("\x22\x04\x0a\x02\x0a\x00"),
         "preconditions[0].version is missing, and there is no read_version."},
    };
    for (size_t i = 0; i < COUNT(mistakes); i++) {
        expect_refused(mistakes[i].body, false, "invalid-transaction", mistakes[i].says);
    }
}

static void test_batch_mistakes(void **state)
{
    (void)state;
    static const struct mistake mistakes[] = {
        {RAW("\x10\x01"), "2 is not a field that is known here."},
        {RAW("\x08\x01"), "transactions has the wrong wire type."},
        {RAW("\x0a\x00\x0a\x02\x30\x01"), "transactions[1].6 is not a field"},
        {RAW("\x0a\x02\x2a\x00"), "transactions[0].operations[0].type is none of"},
        {RAW("\x0a\x00\x0a\x04\x2a\x02\x12\x00"), "transactions[1].operations[0].key is missing."},
        {RAW("\x0a\x04\x18\x01\x18\x01"), "transactions[0].read_version is there twice."},
        {RAW("\x0a\x02\x0a\x00"), "transactions[0].request_id must be 1 to 128"},
        {RAW("\x0a\x00\x10\x01"), "2 is not a field that is known here."}, /* behind one */
    };
    for (size_t i = 0; i < COUNT(mistakes); i++) {
        expect_refused(mistakes[i].body, true, "invalid-transaction", mistakes[i].says);
    }
}

static void test_broken(void **state)
{
    (void)state;
    static const struct mistake bodies[] = {
        {RAW("\x80"), "a tag is cut off or does not fit, at byte 0."},
        {RAW("\x12\x01"
             "a\x80"),
         "a tag is cut off or does not fit, at byte 3."},
        {RAW("\x98\x80\x80\x80\x80\x80\x80\x80\x80\x80\x00\x01"), "a tag is cut off"},
        {RAW("\x18"), "a number is cut off or does not fit, at byte 0."},
        {RAW("\x18\x80"), "a number is cut off or does not fit, at byte 0."},
        {RAW("\x18\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02"),
         "a number is cut off or does not fit"},
        {RAW("\x18\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"), "a number is cut off"},
        {RAW("\x12"), "a number is cut off or does not fit, at byte 0."},
        {RAW("\x12\x02"
             "a"),
         "a length goes beyond the end, at byte 0."},
        {RAW("\x12\xff\xff\xff\xff\x7f"
             "a"),
         "a length goes beyond the end, at byte 0."},
        /* tags and lengths that no reader takes, although they would be small */
        {RAW("\x98\x80\x80\x80\x80\x00\x05"), "a tag is cut off or does not fit, at byte 0."},
        {RAW("\x12\x81\x80\x80\x80\x80\x00"
             "a"),
         "a number is cut off or does not fit, at byte 0."},
        {RAW("\x2a\x09\x12\x07\x8a\x80\x80\x80\x80\x00\x00"), "a tag is cut off"},
        {RAW("\x2a\x09\x12\x07\x0a\x80\x80\x80\x80\x80\x00"), "a number is cut off"},
        {RAW("\x2a\x04\x12\x02\x0a\x01"
             "a"),
         "a length goes beyond the end, at byte 4."},
        {RAW("\x2a\x03\x12\x02\x0a\x00"), "a length goes beyond the end, at byte 2."},
        {RAW("\x2a\x01\x80\x01"), "a tag is cut off or does not fit, at byte 2."},
        {RAW("{}"), ""},
    };
    for (size_t i = 0; i + 1 < COUNT(bodies); i++) {
        expect_refused(bodies[i].body, false, "malformed-body", bodies[i].says);
    }
    /* JSON by mistake begins with a field that is unknown */
    expect_refused(bodies[COUNT(bodies) - 1].body, false, "invalid-transaction", "15 is not a");
}

/* What the format allows although writers do otherwise. */
static void test_accepted(void **state)
{
    (void)state;
    static const struct bytes bodies[] = {
        RAW(""),
        /* numbers longer than need be, in tags, lengths and values */
        RAW("\xaa\x80\x80\x80\x00\x84\x80\x80\x80\x00\x12\x02\x0a\x00\x18\x85\x80\x80\x80\x80\x80"
            "\x80\x80\x80\x00"),
        /* elements of two lists in turn, and a single field behind them */
        RAW("\x2a\x04\x12\x02\x0a\x00\x22\x04\x0a\x02\x0a\x00\x2a\x04\x12\x02\x0a\x00"
            "\x22\x06\x0a\x02\x0a\x00\x18\x07\x18\x05"),
    };
    static const struct {
        uint32_t preconditions;
        uint32_t operations;
        uint64_t version_max;
    } expected[] = {{0, 0, 0}, {0, 1, 5}, {2, 2, 7}};
    for (size_t i = 0; i < COUNT(bodies); i++) {
        struct decoded decoded;
        decode_commit(&decoded, BODY_PROTOBUF, bodies[i]);
        assert_int_equal(decoded.err, OK);
        assert_int_equal(decoded.txn.precondition_count, expected[i].preconditions);
        assert_int_equal(decoded.txn.operation_count, expected[i].operations);
        assert_int_equal(decoded.txn.version_max, expected[i].version_max);
        decode_free(&decoded);
    }
}

/* An element takes two bytes of the body; however many come, the limit answers. */
static void test_many_elements(void **state)
{
    (void)state;
    enum { ELEMENTS = 100000 };
    char *body = malloc((size_t)2 * ELEMENTS);
    assert_non_null(body);
    struct decoded decoded;
    for (size_t i = 0; i < ELEMENTS; i++) {
        memcpy(body + 2 * i, "\x2a\x00", 2);
    }
    decode_commit(&decoded, BODY_PROTOBUF, bytes_of(body, (size_t)2 * ELEMENTS));
    assert_int_equal(decoded.err, ERR_LIMIT);
    assert_int_equal(decoded.problem.actual, ELEMENTS);
    decode_free(&decoded);
    free(body);
}

/* ---- the scan and its absence ---- */

/* Numbers with mistakes now and then, for bodies that are nearly right. */
struct chance {
    uint64_t state;
    unsigned mistakes_in_256;
};

static uint32_t chance_below(struct chance *chance, uint32_t limit)
{
    /* splitmix64 */
    uint64_t z = chance->state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return (uint32_t)((z ^ (z >> 31)) >> 32) % limit;
}

static bool chance_mistake(struct chance *chance)
{
    return chance_below(chance, 256) < chance->mistakes_in_256;
}

static void put_varint(struct body *body, struct chance *chance, uint64_t number)
{
    unsigned char bytes[12];
    size_t size = 0;
    for (; number > 0x7f; number >>= 7) {
        bytes[size++] = (unsigned char)(number | 0x80);
    }
    bytes[size++] = (unsigned char)number;
    if (chance_mistake(chance)) { /* longer than need be, or than allowed */
        bytes[size - 1] |= 0x80;
        for (uint32_t more = chance_below(chance, 9); more > 0 && size + 1 < sizeof bytes; more--) {
            bytes[size++] = 0x80;
        }
        bytes[size++] = (unsigned char)(chance_below(chance, 4) == 0 ? chance_below(chance, 8) : 0);
    }
    body_append(body, bytes, size);
}

/* The messages of a request, with the fields that each has: see api/weaseldb.proto. */
enum kind { COMMIT, BATCH, PRECONDITION, OPERATION, KEY, RANGE, WRITE, TEXT, BLOB, NUMBER };

static const struct {
    unsigned char count;   /* of its fields */
    bool is_one;           /* of them may be there, but for a version */
    unsigned char repeats; /* up to so often comes a field of a list */
    unsigned char kinds[6];
} messages[] = {
    [COMMIT] = {5, false, 3, {0, TEXT, TEXT, NUMBER, PRECONDITION, OPERATION}},
    [BATCH] = {1, false, 3, {0, COMMIT}},
    [PRECONDITION] = {3, true, 1, {0, KEY, RANGE, NUMBER}},
    [OPERATION] = {3, true, 1, {0, WRITE, KEY, RANGE}},
    [KEY] = {1, false, 1, {0, BLOB}},
    [RANGE] = {2, false, 1, {0, BLOB, BLOB}},
    [WRITE] = {2, false, 1, {0, BLOB, BLOB}},
};

static void put_message(struct body *body, struct chance *chance, enum kind kind);

static void put_content(struct body *body, struct chance *chance, enum kind kind, uint32_t number)
{
    static const char filler[300] = "0123456789abcdef";
    struct body inside = {NULL, 0, 0};
    if (kind == TEXT || kind == BLOB) {
        uint32_t size = chance_below(chance, 8) == 0 ? chance_below(chance, 300) : 1 + number;
        body_append(&inside, chance_mistake(chance) ? filler + 14 : filler, size < 16 ? size : 16);
        if (kind == BLOB && size > 16) {
            body_append(&inside, filler, size < 280 ? size : 280);
        }
    } else {
        put_message(&inside, chance, kind);
    }
    put_varint(body, chance, inside.size + (chance_mistake(chance) ? 1 : 0));
    body_append(body, inside.data, inside.size);
    body_free(&inside);
}

static void put_field(struct body *body, struct chance *chance, enum kind kind, uint32_t number)
{
    bool is_number = kind == NUMBER;
    uint32_t type = is_number ? 0 : 2;
    if (chance_mistake(chance)) {
        type = chance_below(chance, 8);
    }
    put_varint(body, chance, (uint64_t)(chance_mistake(chance) ? number + 3 : number) << 3 | type);
    if (is_number) {
        bool is_odd = chance_mistake(chance);
        put_varint(body, chance, is_odd ? UINT64_MAX >> chance_below(chance, 20) : number * 70);
    } else {
        put_content(body, chance, kind, number);
    }
}

static void put_message(struct body *body, struct chance *chance, enum kind kind)
{
    uint32_t only = 1 + chance_below(chance, 2);
    for (uint32_t number = 1; number <= messages[kind].count; number++) {
        enum kind inside = (enum kind)messages[kind].kinds[number];
        bool is_list = inside == COMMIT || inside == PRECONDITION || inside == OPERATION;
        uint32_t times = is_list ? chance_below(chance, messages[kind].repeats + 1U) : 1;
        if (messages[kind].is_one && inside != NUMBER && number != only) {
            times = 0;
        }
        if (chance_mistake(chance)) {
            times = chance_below(chance, 3);
        }
        while (times-- > 0) {
            put_field(body, chance, inside, number);
        }
    }
}

/* Cuts, doubles, moves or changes some bytes. */
static void mutate(struct body *body, struct chance *chance)
{
    if (body->size == 0) {
        return;
    }
    size_t at = chance_below(chance, (uint32_t)body->size);
    size_t size = 1 + chance_below(chance, (uint32_t)(body->size - at));
    struct body changed = {NULL, 0, 0};
    body_append(&changed, body->data, at);
    switch (chance_below(chance, 4)) {
    case 0: /* without these */
        break;
    case 1: /* twice */
        body_append(&changed, body->data + at, size);
        body_append(&changed, body->data + at, size);
        break;
    case 2: /* one of them is another */
        body_append(&changed, body->data + at, size);
        changed.data[at] = (char)chance_below(chance, 256);
        break;
    default: /* nothing behind them */
        body_append(&changed, body->data + at, size);
        at = body->size - size;
        break;
    }
    body_append(&changed, body->data + at + size, body->size - at - size);
    body_free(body);
    *body = changed;
}

/* However a body came to be, it comes out as if it had been scanned. */
static void test_scan_is_left_out_rightly(void **state)
{
    (void)state;
    enum { ROUNDS = 60000 };
    unsigned outcomes[2] = {0, 0};
    struct chance chance = {.state = 1};
    for (unsigned round = 0; round < ROUNDS; round++) {
        bool is_batch = round % 2 != 0;
        struct body body = {NULL, 0, 0};
        struct decoded decoded;
        chance.mistakes_in_256 = round % 3 * 6;
        put_message(&body, &chance, is_batch ? BATCH : COMMIT);
        if (round % 5 == 0) {
            mutate(&body, &chance);
        }
        decode_run(&decoded, body_codec(BODY_PROTOBUF), bytes_of(body.data, body.size), is_batch,
                   &body_limits, 1 << 26);
        decode_check_scan(&decoded, bytes_of(body.data, body.size), is_batch);
        outcomes[decoded.err == OK]++;
        decode_free(&decoded);
        body_free(&body);
    }
    assert_true(outcomes[0] > ROUNDS / 8);
    assert_true(outcomes[1] > ROUNDS / 8);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mistakes),      cmocka_unit_test(test_batch_mistakes),
        cmocka_unit_test(test_broken),        cmocka_unit_test(test_accepted),
        cmocka_unit_test(test_many_elements), cmocka_unit_test(test_scan_is_left_out_rightly),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
