/* SPDX-License-Identifier: Apache-2.0 */
/* What handlers ask of a request: lists, media types, Accept, escapes, queries. */
#include "http/request.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void test_method_names(void **state)
{
    static const char *const names[HTTP_METHODS] = {"GET",    "HEAD",  "POST",    "PUT",
                                                    "DELETE", "PATCH", "OPTIONS", "TRACE"};
    (void)state;
    for (unsigned i = 0; i < HTTP_METHODS; i++) {
        assert_true(
            bytes_equal(http_method_name((enum http_method)i), bytes_from_string(names[i])));
    }
}

static void test_header(void **state)
{
    (void)state;
    struct http_header headers[] = {
        {BYTES("A"), BYTES("1")}, {BYTES("b-C"), BYTES("2")}, {BYTES("a"), BYTES("3")}};
    struct http_request request = {.headers = headers, .header_count = 3};
    assert_true(bytes_equal(http_request_header(&request, BYTES("a")), BYTES("1")));
    assert_true(bytes_equal(http_request_header(&request, BYTES("B-c")), BYTES("2")));
    assert_null(http_request_header(&request, BYTES("b")).data);
}

static void test_list(void **state)
{
    static const struct {
        const char *list;
        bool has;
    } rows[] = {
        {"", false},           {"close", true},   {" Close\t", true}, {"a,close", true},
        {"a ,\tCLOSE,", true}, {",,close", true}, {"closed", false},  {"a close", false},
        {"clos,e", false},     {"a,b", false},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        bool has = http_list_has_token(bytes_from_string(rows[i].list), BYTES("close"));
        if (has != rows[i].has) {
            fail_msg("\"%s\": %d", rows[i].list, has);
        }
    }
}

static void test_media_type(void **state)
{
    (void)state;
    assert_true(bytes_equal(http_media_type(BYTES("a/b")), BYTES("a/b")));
    assert_true(bytes_equal(http_media_type(BYTES(" a/b ; c=d;e")), BYTES("a/b")));
    assert_int_equal(http_media_type(BYTES("")).size, 0);
}

static void test_accepts(void **state)
{
    static const struct {
        const char *accept;
        unsigned weight;
        unsigned match;
    } rows[] = {
        {"", 1000, 0},
        {"  ", 1000, 0},
        {"*/*", 1000, 1},
        {"*", 1000, 1},
        {"application/*", 1000, 2},
        {"Application/JSON", 1000, 3},
        {"text/html", 0, 0},
        {"text/*", 0, 0},
        {"text/html, application/json;q=0.1", 100, 3},
        {"application/json;q=0", 0, 3},
        {"application/json; Q=0.000", 0, 3},
        {"application/json ; q=0.001", 1, 3},
        {"application/json;q=0, */*", 0, 3},
        {"*/*, application/*;q=0", 0, 2},
        {"*/*;q=0, application/json", 1000, 3},
        {"*/*;q=0", 0, 1},
        {"application/*;q=0, */*;q=1", 0, 2},
        {"application/json;charset=utf-8", 1000, 3},
        {"text/html;a=\"b,application/json\"", 0, 0},
        {"text/html;a=\"\\\",application/json", 0, 0},
        {"text/html;a=\"b\", application/json", 1000, 3},
        {"application/jsonx, applicatio/json, application/", 0, 0},
        {",,", 0, 0},
        {"/*, */json", 0, 0},
        {"application/json;q=0.25", 250, 3},
        {"application/json;q=0.999", 999, 3},
        {"application/json;q=0.9999", 999, 3},
        {"application/json;q=0.", 0, 3},
        {"application/json;q=1.000", 1000, 3},
        {"application/json;q=0.2, application/json;q=0.3", 300, 3},
        {"application/json;q=0.3, application/json;q=0.2", 300, 3},
        {"application/json;v=1;q=0.4", 400, 3},
        {"application/json;q=", 1000, 3},
        {"application/json;q=00.5", 1000, 3},
        {"application/json;q=0.x", 1000, 3},
        {"application/json;q=-1", 1000, 3},
        {"*/*;q=0.7, application/*;q=0.1", 100, 2},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        unsigned match;
        unsigned weight = http_accept_weight(bytes_from_string(rows[i].accept),
                                             BYTES("application/json"), &match);
        if (weight != rows[i].weight || match != rows[i].match) {
            fail_msg("\"%s\": %u by a match of %u", rows[i].accept, weight, match);
        }
    }
    unsigned match;
    assert_int_equal(http_accept_weight(bytes_of(NULL, 0), BYTES("a/b"), &match), HTTP_WEIGHT_MAX);
    assert_int_equal(match, 0);
}

static void test_percent_decode(void **state)
{
    static const struct {
        struct bytes encoded;
        bool plus;
        struct bytes decoded; /* data NULL: invalid */
    } rows[] = {
        {BYTES_INIT("%41%7e%2F"), false, BYTES_INIT("A~/")},
        {BYTES_INIT("a+b%2b"), false, BYTES_INIT("a+b+")},
        {BYTES_INIT("a+b%2b"), true, BYTES_INIT("a b+")},
        {BYTES_INIT("%fF%0a"), false, BYTES_INIT("\xff\n")},
        {BYTES_INIT("%2541"), false, BYTES_INIT("%41")},
        {BYTES_INIT("%00"), false, {NULL, 0}},
        {BYTES_INIT("a%"), false, {NULL, 0}},
        {BYTES_INIT("a%4"), false, {NULL, 0}},
        {BYTES_INIT("%4g"), false, {NULL, 0}},
        {BYTES_INIT("%g4"), false, {NULL, 0}},
        {BYTES_INIT("%%41"), false, {NULL, 0}},
        {BYTES_INIT("%-1"), false, {NULL, 0}},
    };
    (void)state;
    struct memory_budget budget;
    struct chunk_pool pool;
    struct arena arena;
    memory_budget_init(&budget, 1 << 20);
    chunk_pool_init(&pool, &budget, 0);
    arena_init(&arena, &pool);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct bytes out = BYTES("untouched");
        enum err err = http_percent_decode(&arena, rows[i].encoded, rows[i].plus, &out);
        if (rows[i].decoded.data == NULL) {
            assert_int_equal(err, ERR_INVALID);
            assert_true(bytes_equal(out, BYTES("untouched")));
        } else {
            assert_int_equal(err, OK);
            assert_true(bytes_equal(out, rows[i].decoded));
        }
    }
    arena_reset(&arena);
    chunk_pool_deinit(&pool);
}

static void test_percent_decode_without_memory(void **state)
{
    (void)state;
    struct memory_budget budget;
    struct chunk_pool pool;
    struct arena arena;
    memory_budget_init(&budget, 1);
    chunk_pool_init(&pool, &budget, 0);
    arena_init(&arena, &pool);
    struct bytes plain = BYTES("a+b");
    struct bytes out = {NULL, 0};
    assert_int_equal(http_percent_decode(&arena, plain, false, &out), OK);
    assert_ptr_equal(out.data, plain.data); /* nothing to decode: the view itself */
    assert_int_equal(http_percent_decode(&arena, plain, true, &out), ERR_MEMORY);
    assert_int_equal(http_percent_decode(&arena, bytes_of(NULL, 0), true, &out), OK);
    assert_int_equal(out.size, 0);
    chunk_pool_deinit(&pool);
}

static void test_query(void **state)
{
    static const struct {
        const char *name;
        const char *value; /* NULL: no '=' */
    } pairs[] = {{"a", "b"}, {"c", NULL}, {"d", ""}, {"", "e"}, {"f", "g=h"}};
    (void)state;
    struct bytes rest = BYTES("&&a=b&c&d=&=e&&f=g=h&");
    struct bytes name;
    struct bytes value;
    for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
        assert_true(http_query_next(&rest, &name, &value));
        assert_true(bytes_equal(name, bytes_from_string(pairs[i].name)));
        assert_int_equal(value.data == NULL, pairs[i].value == NULL);
        if (pairs[i].value != NULL) {
            assert_true(bytes_equal(value, bytes_from_string(pairs[i].value)));
        }
    }
    assert_false(http_query_next(&rest, &name, &value));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_method_names),
        cmocka_unit_test(test_header),
        cmocka_unit_test(test_list),
        cmocka_unit_test(test_media_type),
        cmocka_unit_test(test_accepts),
        cmocka_unit_test(test_percent_decode),
        cmocka_unit_test(test_percent_decode_without_memory),
        cmocka_unit_test(test_query),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
