/* SPDX-License-Identifier: Apache-2.0 */
/* JSON: what is refused and how it is named, and the edge cases that public suites collect. */
#include "txn_bodies.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

#define READ "{\"type\":\"point_read\",\"key\":\"YQ==\",\"version\":1}"
#define OPERATION(fields) "{\"operations\":[{\"type\":\"delete\",\"key\":\"\"}," fields "]}"
#define PRECONDITION(fields) "{\"preconditions\":[" READ "," fields "]}"

static void expect_refused(struct bytes body, const char *type, const char *says)
{
    struct decoded decoded;
    decode_commit(&decoded, BODY_JSON, body);
    if (decoded.err != ERR_INVALID || strcmp(decoded.problem.type, type) != 0 ||
        strstr(decoded.problem.detail, says) == NULL) {
        fail_msg("%.*s: error %d, not '%s' but '%s'", (int)body.size, body.data, decoded.err, says,
                 decoded.problem.detail == NULL ? "" : decoded.problem.detail);
    }
    decode_free(&decoded);
}

static const struct {
    const char *body;
    const char *says;
} mistakes[] = {
    {"[]", "The body must be a map of fields."},
    {"\"\"", "The body must be a map of fields."},
    {"null", "The body must be a map of fields."},
    {"7", "The body must be a map of fields."},
    {"{\"foo\":1}", "foo is not a field that is known here."},
    {"{\"\":1}", "(an empty name) is not a field"},
    {"{\"Operations\":[]}", "Operations is not a field"},
    {"{\"transactions\":[]}", "transactions is not a field"},
    {"{\"key\":\"\"}", "key is not a field"},
    {"{\"operations\":[],\"operations\":[]}", "operations is there twice."},
    {"{\"operations\":[],\"operation\\u0073\":[]}", "operations is there twice."},
    {"{\"read_version\":1,\"read_version\":1}", "read_version is there twice."},
    {"{\"operations\":{}}", "operations must be an array."},
    {"{\"operations\":null}", "operations must be an array."},
    {"{\"preconditions\":\"\"}", "preconditions must be an array."},
    /* single fields */
    {"{\"request_id\":null}", "request_id must be a string."},
    {"{\"request_id\":1}", "request_id must be a string."},
    {"{\"request_id\":\"\"}", "request_id must be 1 to 128 printable"},
    {"{\"request_id\":\"a b\"}", "request_id must be 1 to 128 printable"},
    {"{\"request_id\":\"1234 678\"}", "request_id must be 1 to 128 printable"},
    {"{\"request_id\":\"12345678 \"}", "request_id must be 1 to 128 printable"},
    {"{\"request_id\":\"1234567\\u007f\"}", "request_id must be 1 to 128 printable"},
    {"{\"request_id\":\"\\u0000\"}", "request_id must be 1 to 128 printable"},
    {"{\"request_id\":\"12\\n45678\"}", "request_id must be 1 to 128 printable"},
    {"{\"request_id\":\"\xc3\xa4\"}", "request_id must be 1 to 128 printable"},
    {"{\"request_id\":\"123456\xc3\xa4\"}", "request_id must be 1 to 128 printable"},
    {"{\"request_id\":\"\\ud83d\\ude00\"}", "request_id must be 1 to 128 printable"},
    {"{\"leader\":\"\"}", "leader must be 1 to 128 printable"},
    {"{\"leader\":[]}", "leader must be a string."},
    {"{\"leader\":\"\\t\"}", "leader must be 1 to 128 printable"},
    /* versions */
    {"{\"read_version\":\"1\"}", "read_version must be a whole number"},
    {"{\"read_version\":null}", "read_version must be a whole number"},
    {"{\"read_version\":true}", "read_version must be a whole number"},
    {"{\"read_version\":-1}", "read_version must be a whole number"},
    {"{\"read_version\":-0}", "read_version must be a whole number"},
    {"{\"read_version\":1.0}", "read_version must be a whole number"},
    {"{\"read_version\":1e3}", "read_version must be a whole number"},
    {"{\"read_version\":1E+2}", "read_version must be a whole number"},
    {"{\"read_version\":0.1}", "read_version must be a whole number"},
    {"{\"read_version\":9007199254740992}", "read_version must be below 2^53."},
    {"{\"read_version\":18446744073709551615}", "read_version must be below 2^53."},
    {"{\"read_version\":18446744073709551616}", "read_version must be a whole number"},
    {"{\"read_version\":1000000000000000000000000}", "read_version must be a whole number"},
    {PRECONDITION("{\"type\":\"point_read\",\"key\":\"\",\"version\":9007199254740992}"),
     "preconditions[1].version must be below 2^53."},
    {PRECONDITION("{\"type\":\"point_read\",\"key\":\"\",\"version\":1.5}"),
     "preconditions[1].version must be a whole number"},
    {PRECONDITION("{\"type\":\"point_read\",\"key\":\"\"}"),
     "preconditions[1].version is missing, and there is no read_version."},
    {PRECONDITION("{\"type\":\"range_read\",\"begin\":\"\",\"end\":\"YQ==\"}"),
     "preconditions[1].version is missing, and there is no read_version."},
    /* items */
    {PRECONDITION("[]"), "preconditions[1] must be a map of fields."},
    {PRECONDITION("{}"), "preconditions[1].type is missing."},
    {PRECONDITION("{\"type\":\"write\",\"key\":\"\",\"value\":\"\"}"),
     "preconditions[1].type is none of point_read and range_read."},
    {PRECONDITION("{\"type\":\"point_read\",\"version\":1}"), "preconditions[1].key is missing."},
    {PRECONDITION("{\"type\":\"range_read\",\"begin\":\"\",\"version\":1}"),
     "preconditions[1].end is missing."},
    {PRECONDITION("{\"type\":\"range_read\",\"end\":\"YQ==\",\"version\":1}"),
     "preconditions[1].begin is missing."},
    {PRECONDITION("{\"type\":\"range_read\",\"begin\":\"YQ==\",\"end\":\"YQ==\",\"version\":1}"),
     "preconditions[1].begin must be before end."},
    {PRECONDITION("{\"type\":\"range_read\",\"begin\":\"YWE=\",\"end\":\"YQ==\",\"version\":1}"),
     "preconditions[1].begin must be before end."},
    {PRECONDITION("{\"type\":\"point_read\",\"key\":\"\",\"begin\":\"\",\"version\":1}"),
     "preconditions[1].begin does not belong to this type."},
    {PRECONDITION("{\"type\":\"point_read\",\"key\":\"\",\"value\":\"\",\"version\":1}"),
     "preconditions[1].value does not belong to this type."},
    {OPERATION("7"), "operations[1] must be a map of fields."},
    {OPERATION("{\"key\":\"\"}"), "operations[1].type is missing."},
    {OPERATION("{\"type\":7,\"key\":\"\"}"), "operations[1].type must be a string."},
    {OPERATION("{\"type\":\"\",\"key\":\"\"}"), "operations[1].type is none of write, delete"},
    {OPERATION("{\"type\":\"Write\",\"key\":\"\",\"value\":\"\"}"),
     "operations[1].type is none of write, delete and range_delete."},
    {OPERATION("{\"type\":\"point_read\",\"key\":\"\"}"), "operations[1].type is none of write,"},
    {OPERATION("{\"type\":\"write\",\"value\":\"\"}"), "operations[1].key is missing."},
    {OPERATION("{\"type\":\"write\",\"key\":\"\"}"), "operations[1].value is missing."},
    {OPERATION("{\"type\":\"write\",\"key\":\"\",\"value\":null}"),
     "operations[1].value must be a string of base64."},
    {OPERATION("{\"type\":\"write\",\"key\":7,\"value\":\"\"}"),
     "operations[1].key must be a string of base64."},
    {OPERATION("{\"type\":\"delete\",\"key\":\"\",\"key\":\"\"}"),
     "operations[1].key is there twice."},
    {OPERATION("{\"type\":\"delete\",\"type\":\"delete\",\"key\":\"\"}"),
     "operations[1].type is there twice."},
    {OPERATION("{\"type\":\"delete\",\"key\":\"\",\"value\":\"\"}"),
     "operations[1].value does not belong to this type."},
    {OPERATION("{\"type\":\"delete\",\"key\":\"\",\"version\":1}"),
     "operations[1].version does not belong to this type."},
    {OPERATION("{\"type\":\"delete\",\"key\":\"\",\"keys\":1}"),
     "operations[1].keys is not a field that is known here."},
    {OPERATION("{\"type\":\"delete\",\"key\":\"\",\"request_id\":\"a\"}"),
     "operations[1].request_id is not a field"},
    {OPERATION("{\"type\":\"range_delete\",\"begin\":\"Yg==\",\"end\":\"YQ==\"}"),
     "operations[1].begin must be before end."},
    {OPERATION("{\"type\":\"range_delete\",\"begin\":\"\",\"end\":\"\"}"),
     "operations[1].begin must be before end."},
    {OPERATION("{\"type\":\"range_delete\",\"begin\":\"gA==\",\"end\":\"fw==\"}"),
     "operations[1].begin must be before end."}, /* 0x80 is above 0x7f */
    /* base64; test_base64.c knows more */
    {OPERATION("{\"type\":\"delete\",\"key\":\"YQ\"}"), "operations[1].key must be canonical"},
    {OPERATION("{\"type\":\"delete\",\"key\":\"YR==\"}"), "operations[1].key must be canonical"},
    {OPERATION("{\"type\":\"delete\",\"key\":\"Y Q=\"}"), "operations[1].key must be canonical"},
    {OPERATION("{\"type\":\"delete\",\"key\":\"_-==\"}"), "operations[1].key must be canonical"},
    {OPERATION("{\"type\":\"delete\",\"key\":\"YQ==\\u0000\"}"), "operations[1].key must be can"},
    {OPERATION("{\"type\":\"write\",\"key\":\"\",\"value\":\"YQ=A\"}"),
     "operations[1].value must be canonical base64 of the standard alphabet, padded."},
};

static void test_mistakes(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(mistakes); i++) {
        expect_refused(bytes_from_string(mistakes[i].body), "invalid-transaction",
                       mistakes[i].says);
    }
}

static void test_batch_mistakes(void **state)
{
    (void)state;
    static const struct {
        const char *body;
        const char *says;
    } batches[] = {
        {"{}", "transactions is missing."},
        {"[]", "The body must be a map of fields."},
        {"{\"transactions\":{}}", "transactions must be an array."},
        {"{\"transactions\":[],\"transactions\":[]}", "transactions is there twice."},
        {"{\"transactions\":[],\"leader\":\"a\"}", "leader is not a field"},
        {"{\"transactions\":[{},7]}", "transactions[1] must be a map of fields."},
        {"{\"transactions\":[{},{\"foo\":1}]}", "transactions[1].foo is not a field"},
        {"{\"transactions\":[{},{\"leader\":1}]}", "transactions[1].leader must be a string."},
        {"{\"transactions\":[{\"read_version\":1,\"operations\":[]},"
         "{\"preconditions\":[{\"type\":\"point_read\",\"key\":\"\"}]}]}",
         "transactions[1].preconditions[0].version is missing, and there is no read_version."},
        {"{\"transactions\":[{\"operations\":[{\"type\":\"delete\",\"key\":\"\"}]},"
         "{\"operations\":[{\"type\":\"delete\"}]}]}",
         "transactions[1].operations[0].key is missing."},
    };
    for (size_t i = 0; i < COUNT(batches); i++) {
        struct decoded decoded;
        decode_batch(&decoded, BODY_JSON, bytes_from_string(batches[i].body));
        assert_int_equal(decoded.err, ERR_INVALID);
        assert_non_null(strstr(decoded.problem.detail, batches[i].says));
        decode_free(&decoded);
    }
}

/* A name that a client chose is shown in part, whatever it is. */
static void test_long_names(void **state)
{
    (void)state;
    char body[4000] = "{\"operations\":[{\"";
    memset(body + strlen(body), 'n', 3000);
    memcpy(body + strlen(body), "\":1}]}", sizeof "\":1}]}");
    expect_refused(bytes_from_string(body), "invalid-transaction",
                   "nnn is not a field that is known here.");
}

/* Not JSON (RFC 8259), after the collections of cases that parsers get wrong. */
static const char *const broken[] = {
    "",
    " ",
    "{",
    "}",
    "{\"",
    "{\"a",
    "{\"a\"",
    "{\"a\":",
    "{\"a\":1",
    "{\"a\":1,",
    "{,}",
    "{:1}",
    "{\"a\" 1}",
    "{\"a\"::1}",
    "{a:1}",
    "{'a':1}",
    "{1:1}",
    "{\"a\":1,}",
    "{\"a\":1,,\"b\":1}",
    "{\"a\":1}}",
    "{\"a\":1}]",
    "{} {}",
    "{},",
    "{}x",
    "{}\"\"",
    "{}#",
    "{}//",
    "{}/**/",
    "/**/{}",
    "{\"a\":/*b*/1}",
    "{\"a\":1 //b\n}",
    "\xef\xbb\xbf{}",
    "\xff\xfe{\0}\0",
    "{\"a\":[1,]}",
    "{\"a\":[,1]}",
    "{\"a\":[1 2]}",
    "{\"a\":[1}",
    "{\"a\":[}",
    "{\"a\":1]",
    "{\"a\":True}",
    "{\"a\":tru}",
    "{\"a\":nul}",
    "{\"a\":NaN}",
    "{\"a\":Infinity}",
    "{\"a\":-Infinity}",
    "{\"a\":+1}",
    "{\"a\":-}",
    "{\"a\":01}",
    "{\"a\":-01}",
    "{\"a\":1.}",
    "{\"a\":.1}",
    "{\"a\":-.1}",
    "{\"a\":1e}",
    "{\"a\":1e+}",
    "{\"a\":1.e1}",
    "{\"a\":0x1}",
    "{\"a\":1_000}",
    "{\"a\":1a}",
    "{\"a\":--1}",
    "{\"a\":1e1.5}",
    "{\"a\":\"\\x00\"}",
    "{\"a\":\"\\a\"}",
    "{\"a\":\"\\\"}",
    "{\"a\":\"\\u\"}",
    "{\"a\":\"\\u12\"}",
    "{\"a\":\"\\u12g4\"}",
    "{\"a\":\"\\ud800\"}",
    "{\"a\":\"\\udc00\"}",
    "{\"a\":\"\\ud800\\ud800\"}",
    "{\"a\":\"\\ud800x\"}",
    "{\"a\":\"\\U0041\"}",
    "{\"a\":\"a\nb\"}",
    "{\"a\":\"a\tb\"}",
    "{\"a\":\"\x01\"}",
    "{\"a\":\"\x1f\"}",
    "{\"a\":'b'}",
    "{\"a\":\"b}",
    "{\"a\":\"\x80\"}",
    "{\"a\":\"\xc3\"}",
    "{\"a\":\"\xc0\xaf\"}",
    "{\"a\":\"\xe0\x80\xaf\"}",
    "{\"a\":\"\xed\xa0\x80\"}",
    "{\"a\":\"\xf4\x90\x80\x80\"}",
    "{\"a\":\"\xf8\x88\x80\x80\x80\"}",
    "{\"a\":\"\xff\"}",
    "{\"a\":\"\xe2\x82\"}",
    "{\"\xff\":1}",
    "{\"a\":\x80}",
    "\xe2\x80\x8b{}",
    "{\"a\":\f1}",
    "{\"a\":\v1}",
    ("{\"a\":\xc2\xa0"
     "1}"),
    "{\"a\":1\\}",
    "{]",
    "[}",
    "[1,{]",
    "{[",
};

static void test_broken(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(broken); i++) {
        expect_refused(bytes_from_string(broken[i]), "malformed-body", ", at byte ");
    }
    expect_refused(BYTES("{\"a\":1\0}"), "malformed-body", ", at byte 6.");
    expect_refused(BYTES("{}\0"), "malformed-body", ", at byte 2.");
    expect_refused(BYTES("{\"a\0\":1}"), "malformed-body", ", at byte 3.");
    expect_refused(BYTES("{\"leader\": x}"), "malformed-body", ", at byte 11.");
}

/* Right, if unusual. */
static void test_accepted(void **state)
{
    (void)state;
    static const char *const bodies[] = {
        "{}",
        " \t\r\n{ \"operations\" : [ ] , \"preconditions\" : [ ] } \n\n",
        "{\"request_id\":\"\\u0041\\/\\\\\\\"\",\"\\u006ceader\":\"\\u007e\"}",
        "{\"read_version\":9007199254740991}",
        "{\"read_version\":0}",
        "{\"operations\":[{\"end\":\"YQ==\",\"begin\":\"\",\"type\":\"range_delete\"}]}",
        "{\"operations\":[{\"key\":\"\\u0059Q=\\u003d\",\"\\u0074ype\":\"\\u0064elete\"}]}",
        "{\"operations\":[{\"key\":\"\\/\\/\\/\\/\",\"type\":\"delete\"}]}",
        ("{\"preconditions\":[{\"type\":\"range_read\",\"begin\":\"\",\"end\":\"AA==\","
         "\"version\":0}]}"),
    };
    for (size_t i = 0; i < COUNT(bodies); i++) {
        struct decoded decoded;
        decode_commit(&decoded, BODY_JSON, bytes_from_string(bodies[i]));
        assert_int_equal(decoded.err, OK);
        decode_free(&decoded);
    }
    struct decoded decoded;
    decode_commit(&decoded, BODY_JSON, bytes_from_string(bodies[2]));
    assert_true(bytes_equal(decoded.txn.request_id, BYTES("A/\\\"")));
    assert_true(bytes_equal(decoded.txn.leader, BYTES("~")));
    decode_free(&decoded);
    decode_commit(&decoded, BODY_JSON, bytes_from_string(bodies[6]));
    assert_true(bytes_equal(decoded.txn.operations[0].key, BYTES("a")));
    decode_free(&decoded);
    decode_commit(&decoded, BODY_JSON, bytes_from_string(bodies[7]));
    assert_true(bytes_equal(decoded.txn.operations[0].key, BYTES("\xff\xff\xff")));
    decode_free(&decoded);
}

static void test_nesting_bombs(void **state)
{
    (void)state;
    enum { DEPTH = 100000 };
    char *body = malloc(2 * DEPTH);
    assert_non_null(body);
    memset(body, '[', 2 * (size_t)DEPTH);
    expect_refused(bytes_of(body, DEPTH), "malformed-body", ", at byte 100000.");
    memset(body + DEPTH, ']', DEPTH);
    expect_refused(bytes_of(body, 2 * (size_t)DEPTH), "invalid-transaction",
                   "The body must be a map of fields.");
    for (size_t i = 0; i < DEPTH; i++) {
        memcpy(body + 5 * i % DEPTH, "{\"a\":", 5);
    }
    expect_refused(bytes_of(body, DEPTH), "malformed-body", ", at byte 100000.");
    free(body);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mistakes),   cmocka_unit_test(test_batch_mistakes),
        cmocka_unit_test(test_long_names), cmocka_unit_test(test_broken),
        cmocka_unit_test(test_accepted),   cmocka_unit_test(test_nesting_bombs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
