/* SPDX-License-Identifier: Apache-2.0 */
/* MessagePack: what is refused and how it is named, and every way to write a number or a string. */
#include "txn_bodies.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof(array)[0])
#define RAW(literal) BYTES_INIT(literal)

/* Names and values: a fixstr begins with 0xa0 and its length. */
#define REQUEST_ID "\xaarequest_id"
#define LEADER                                                                                     \
    "\xa6"                                                                                         \
    "leader"
#define READ_VERSION "\xacread_version"
#define PRECONDITIONS "\xadpreconditions"
#define OPERATIONS "\xaaoperations"
#define TRANSACTIONS "\xactransactions"
#define TYPE "\xa4type"
#define KEY "\xa3key"
#define VALUE "\xa5value"
#define BEGIN                                                                                      \
    "\xa5"                                                                                         \
    "begin"
#define END                                                                                        \
    "\xa3"                                                                                         \
    "end"
#define VERSION "\xa7version"
#define DELETE                                                                                     \
    "\xa6"                                                                                         \
    "delete"
#define WRITE "\xa5write"
#define POINT_READ "\xaapoint_read"
#define BIN_A                                                                                      \
    "\xc4\x01"                                                                                     \
    "a"

static void expect_refused(struct bytes body, bool is_batch, const char *type, const char *says)
{
    struct decoded decoded;
    if (is_batch) {
        decode_batch(&decoded, BODY_MSGPACK, body);
    } else {
        decode_commit(&decoded, BODY_MSGPACK, body);
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
        {RAW("\x90"), "The body must be a map of fields."},
        {RAW("\xc0"), "The body must be a map of fields."},
        {RAW("\x07"), "The body must be a map of fields."},
        {RAW("\xc4\x02{}"), "The body must be a map of fields."},
        {RAW("\x81\xa3"
             "foo\x01"),
         "foo is not a field that is known here."},
        {RAW("\x81\xa0\x01"), "(an empty name) is not a field"},
        {RAW("\x81" TRANSACTIONS "\x90"), "transactions is not a field"},
        {RAW("\x81\x01\x01"), "The body has a name that is not a string."},
        {RAW("\x81\xc4\x06"
             "leader"
             "\xa1"
             "a"),
         "The body has a name that is not a string."},
        {RAW("\x81\xc0\x01"), "The body has a name that is not a string."},
        {RAW("\x82" LEADER "\xa1"
             "a" LEADER "\xa1"
             "a"),
         "leader is there twice."},
        {RAW("\x81" OPERATIONS "\x80"), "operations must be an array."},
        {RAW("\x81" OPERATIONS "\xc0"), "operations must be an array."},
        {RAW("\x81" REQUEST_ID "\xc4\x01"
             "a"),
         "request_id must be a str."},
        {RAW("\x81" REQUEST_ID "\xa0"), "request_id must be 1 to 128 printable"},
        {RAW("\x81" REQUEST_ID "\xa2"
             "a "),
         "request_id must be 1 to 128 printable"},
        {RAW("\x81" REQUEST_ID "\xa1\x00"), "request_id must be 1 to 128 printable"},
        {RAW("\x81" REQUEST_ID "\xa2\xc3\xa4"), "request_id must be 1 to 128 printable"},
        {RAW("\x81" REQUEST_ID "\xa1\xff"), "request_id must be 1 to 128 printable"},
        {RAW("\x81" LEADER "\xc0"), "leader must be a str."},
        {RAW("\x81" READ_VERSION "\xa1"
             "1"),
         "read_version must be an integer"},
        {RAW("\x81" READ_VERSION "\xc0"), "read_version must be an integer"},
        {RAW("\x81" READ_VERSION "\xc3"), "read_version must be an integer"},
        {RAW("\x81" READ_VERSION "\xff"), "read_version must be an integer"}, /* -1 */
        {RAW("\x81" READ_VERSION "\xd0\x80"), "read_version must be an integer"},
        {RAW("\x81" READ_VERSION "\xd1\xff\xff"), "read_version must be an integer"},
        {RAW("\x81" READ_VERSION "\xd2\x80\0\0\0"), "read_version must be an integer"},
        {RAW("\x81" READ_VERSION "\xd3\xff\xff\xff\xff\xff\xff\xff\xff"), "must be an integer"},
        {RAW("\x81" READ_VERSION "\xca\x3f\x80\0\0"), "read_version must be an integer"}, /* 1.0 */
        {RAW("\x81" READ_VERSION "\xcb\x3f\xf0\0\0\0\0\0\0"), "read_version must be an integer"},
        {RAW("\x81" READ_VERSION "\xd4\x01\x01"), "read_version must be an integer"}, /* ext */
        {RAW("\x81" READ_VERSION "\xc7\x00\x01"), "read_version must be an integer"},
        {RAW("\x81" READ_VERSION "\xcf\x00\x20\0\0\0\0\0\0"), "read_version must be below 2^53."},
        {RAW("\x81" READ_VERSION "\xd3\x00\x20\0\0\0\0\0\0"), "read_version must be below 2^53."},
        {RAW("\x81" READ_VERSION "\xcf\xff\xff\xff\xff\xff\xff\xff\xff"), "must be below 2^53."},
        {RAW("\x81" OPERATIONS "\x91\x90"), "operations[0] must be a map of fields."},
        {RAW("\x81" OPERATIONS "\x91\x80"), "operations[0].type is missing."},
        {RAW("\x81" OPERATIONS "\x91\x81" KEY BIN_A), "operations[0].type is missing."},
        {RAW("\x81" OPERATIONS "\x91\x82" TYPE "\x01" KEY BIN_A), "operations[0].type must be a"},
        {RAW("\x81" OPERATIONS "\x91\x82" TYPE POINT_READ KEY BIN_A),
         "operations[0].type is none of write, delete and range_delete."},
        {RAW("\x81" OPERATIONS "\x91\x81" TYPE DELETE), "operations[0].key is missing."},
        {RAW("\x81" OPERATIONS "\x91\x82" TYPE WRITE KEY BIN_A), "operations[0].value is missing."},
        {RAW("\x81" OPERATIONS "\x91\x82" TYPE DELETE KEY "\x01"), "operations[0].key must be a"},
        {RAW("\x81" OPERATIONS "\x91\x82" TYPE DELETE KEY "\xc0"), "operations[0].key must be a"},
        {RAW("\x81" OPERATIONS "\x91\x82" TYPE DELETE KEY "\xd4\x01\x01"),
         "operations[0].key must be a bin."},
        {RAW("\x81" OPERATIONS "\x91\x83" TYPE DELETE KEY BIN_A KEY BIN_A),
         "operations[0].key is there twice."},
        {RAW("\x81" OPERATIONS "\x91\x83" TYPE DELETE KEY BIN_A VALUE BIN_A),
         "operations[0].value does not belong to this type."},
        {RAW("\x81" OPERATIONS "\x91\x83" TYPE DELETE KEY BIN_A LEADER BIN_A),
         "operations[0].leader is not a field"},
        {RAW("\x81" OPERATIONS "\x91\x82" TYPE DELETE "\x05" BIN_A),
         "operations[0] has a name that is not a string."},
        {RAW("\x81" OPERATIONS "\x91\x83" TYPE "\xac"
             "range_delete" BEGIN BIN_A END BIN_A),
         "operations[0].begin must be before end."},
        {RAW("\x81" PRECONDITIONS "\x91\x82" TYPE POINT_READ KEY BIN_A),
         "preconditions[0].version is missing, and there is no read_version."},
        {RAW("\x81" PRECONDITIONS "\x91\x83" TYPE POINT_READ KEY BIN_A VERSION "\xe0"),
         "preconditions[0].version must be an integer"},
    };
    for (size_t i = 0; i < COUNT(mistakes); i++) {
        expect_refused(mistakes[i].body, false, "invalid-transaction", mistakes[i].says);
    }
}

static void test_batch_mistakes(void **state)
{
    (void)state;
    static const struct mistake mistakes[] = {
        {RAW("\x80"), "transactions is missing."},
        {RAW("\x90"), "The body must be a map of fields."},
        {RAW("\x81" TRANSACTIONS "\x80"), "transactions must be an array."},
        {RAW("\x81" OPERATIONS "\x90"), "operations is not a field"},
        {RAW("\x81" TRANSACTIONS "\x92\x80\x81" LEADER "\x01"), "transactions[1].leader must be"},
        {RAW("\x81" TRANSACTIONS "\x92\x80\x81" OPERATIONS "\x91\x81" TYPE DELETE),
         "transactions[1].operations[0].key is missing."},
    };
    for (size_t i = 0; i < COUNT(mistakes); i++) {
        expect_refused(mistakes[i].body, true, "invalid-transaction", mistakes[i].says);
    }
}

static void test_broken(void **state)
{
    (void)state;
    static const struct mistake bodies[] = {
        {RAW(""), "it ends too early, at byte 0."},
        {RAW("\xc1"), "no value begins so, at byte 0."},
        {RAW("\x81" LEADER "\xc1"), "no value begins so, at byte 8."},
        {RAW("\x80\x80"), "something follows the value, at byte 1."},
        {RAW("\x80\0"), "something follows the value, at byte 1."},
        {RAW("\x80\xc1"), "something follows the value, at byte 1."},
        {RAW("\x81" LEADER), "it ends too early, at byte 8."},
        {RAW("\x81" LEADER "\xa2"
             "a"),
         "it ends too early, at byte 10."},
        {RAW("\x81" OPERATIONS "\x91"), "it ends too early"},
        {RAW("\x81\xdb\xff\xff\xff\xff"), "it ends too early"},
        {RAW("\x81" LEADER "\xc6\xff\xff\xff\xff"
             "a"),
         "it ends too early"},
        {RAW("\x81" LEADER "\xc9\xff\xff\xff\xff\x01"), "t"}, /* an extension of 2^32 bytes */
        {RAW("\x91\x91\x91\x91\x91\x91\x91\x01"), "it is nested too deeply"},
        {RAW("\xdf\xff\xff\xff\xff"), "more is announced than comes"},
        {RAW("\xdd\xff\xff\xff\xff"), "more is announced than comes"},
        {RAW("\xdd\0\0\0\x06"), "more is announced than comes"},
        {RAW("\x81" OPERATIONS "\xdd\x10\0\0\0"), "more is announced than comes"},
        {RAW("\xde\xff\xff\x01\x01"), "more is announced than comes"},
    };
    for (size_t i = 0; i < COUNT(bodies); i++) {
        expect_refused(bodies[i].body, false, "malformed-body", bodies[i].says);
    }
}

/* However little room there is, what is merely announced takes none. */
static void test_announced_takes_no_memory(void **state)
{
    (void)state;
    enum { DEPTH = 5, BUDGET = 1 << 14 };
    char body[64] = "";
    for (size_t i = 0; i < DEPTH; i++) {
        memcpy(body + 5 * i, "\xdd\x7f\xff\xff\xff", 5);
    }
    struct decoded decoded;
    decode_run(&decoded, body_codec(BODY_MSGPACK), bytes_of(body, sizeof body), false, &body_limits,
               BUDGET);
    assert_int_equal(decoded.err, ERR_INVALID);
    decode_free(&decoded);
}

static void test_nesting_bomb(void **state)
{
    (void)state;
    enum { SIZE = 100000 };
    char *body = malloc(SIZE);
    assert_non_null(body);
    memset(body, 0x91, SIZE);
    expect_refused(bytes_of(body, SIZE), false, "malformed-body", "it is nested too deeply");
    memset(body, 0x81, SIZE); /* maps as names */
    expect_refused(bytes_of(body, SIZE), false, "malformed-body", "it is nested too deeply");
    free(body);
}

static void test_every_integer(void **state)
{
    (void)state;
    static const struct {
        struct bytes body;
        uint64_t version;
    } numbers[] = {
        {RAW("\x81" READ_VERSION "\x00"), 0},
        {RAW("\x81" READ_VERSION "\x7f"), 127},
        {RAW("\x81" READ_VERSION "\xcc\x05"), 5},
        {RAW("\x81" READ_VERSION "\xcc\xff"), 255},
        {RAW("\x81" READ_VERSION "\xcd\xff\xfe"), 65534},
        {RAW("\x81" READ_VERSION "\xce\xff\xff\xff\xfe"), 4294967294},
        {RAW("\x81" READ_VERSION "\xcf\0\0\0\0\0\0\0\x01"), 1},
        {RAW("\x81" READ_VERSION "\xcf\x00\x1f\xff\xff\xff\xff\xff\xff"), TXN_VERSION_MAX},
        {RAW("\x81" READ_VERSION "\xd0\x7f"), 127},
        {RAW("\x81" READ_VERSION "\xd1\x7f\xff"), 32767},
        {RAW("\x81" READ_VERSION "\xd2\x7f\xff\xff\xff"), 2147483647},
        {RAW("\x81" READ_VERSION "\xd3\x00\x1f\xff\xff\xff\xff\xff\xff"), TXN_VERSION_MAX},
    };
    for (size_t i = 0; i < COUNT(numbers); i++) {
        struct decoded decoded;
        decode_commit(&decoded, BODY_MSGPACK, numbers[i].body);
        assert_int_equal(decoded.err, OK);
        assert_int_equal(decoded.txn.version_max, numbers[i].version);
        decode_free(&decoded);
    }
}

/* A str is taken as its bytes, whatever they are, in every width; so is a bin. */
static void test_every_string(void **state)
{
    (void)state;
    static const struct bytes keys[] = {
        RAW("\xa2\xff\0"),           RAW("\xd9\x02\xff\0"), RAW("\xda\0\x02\xff\0"),
        RAW("\xdb\0\0\0\x02\xff\0"), RAW("\xc4\x02\xff\0"), RAW("\xc5\0\x02\xff\0"),
        RAW("\xc6\0\0\0\x02\xff\0"),
    };
    for (size_t i = 0; i < COUNT(keys); i++) {
        struct body body = {NULL, 0, 0};
        struct decoded decoded;
        static const char head[] = "\x81" OPERATIONS "\x91\x82" TYPE DELETE KEY;
        body_append(&body, head, sizeof head - 1);
        body_append(&body, keys[i].data, keys[i].size);
        decode_commit(&decoded, BODY_MSGPACK, body_end(&body));
        assert_int_equal(decoded.err, OK);
        assert_true(bytes_equal(decoded.txn.operations[0].key, BYTES("\xff\0")));
        decode_free(&decoded);
        body_free(&body);
    }
}

/* Names and arrays in wider forms than needed, and fields in another order. */
static void test_wide_forms(void **state)
{
    (void)state;
    static const char body[] = "\xdf\0\0\0\x02" OPERATIONS "\xdd\0\0\0\x01\xde\0\x02"
                               "\xd9\x03"
                               "key" BIN_A "\xda\0\x04"
                               "type"
                               "\xdb\0\0\0\x06"
                               "delete" READ_VERSION "\x03";
    struct decoded decoded;
    decode_commit(&decoded, BODY_MSGPACK, bytes_of(body, sizeof body - 1));
    assert_int_equal(decoded.err, OK);
    assert_int_equal(decoded.txn.operation_count, 1);
    assert_int_equal(decoded.txn.operations[0].type, TXN_DELETE);
    assert_int_equal(decoded.txn.version_max, 3);
    decode_free(&decoded);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mistakes),     cmocka_unit_test(test_batch_mistakes),
        cmocka_unit_test(test_broken),       cmocka_unit_test(test_announced_takes_no_memory),
        cmocka_unit_test(test_nesting_bomb), cmocka_unit_test(test_every_integer),
        cmocka_unit_test(test_every_string), cmocka_unit_test(test_wide_forms),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
