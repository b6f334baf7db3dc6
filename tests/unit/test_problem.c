/* SPDX-License-Identifier: Apache-2.0 */
/* Error bodies: their members, their escapes, their bound. */
#include "http/problem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static void expect_body(const struct http_problem *problem, const char *body)
{
    char out[HTTP_PROBLEM_BYTES_MAX + 1];
    size_t size = http_problem_write(problem, out, HTTP_PROBLEM_BYTES_MAX);
    assert_in_range(size, 1, HTTP_PROBLEM_BYTES_MAX);
    out[size] = '\0';
    assert_string_equal(out, body);
}

static void test_titles(void **state)
{
    (void)state;
    assert_string_equal(http_status_title(200), "OK");
    assert_string_equal(http_status_title(431), "Request Header Fields Too Large");
    assert_string_equal(http_status_title(505), "HTTP Version Not Supported");
    assert_string_equal(http_status_title(299), "Unknown");
    assert_string_equal(http_status_title(0), "Unknown");
    assert_string_equal(http_status_title(600), "Unknown");
    assert_string_equal(http_status_title(UINT32_MAX), "Unknown");
}

static void test_members(void **state)
{
    (void)state;
    struct http_problem problem = {.status = 404};
    expect_body(&problem, "{\"type\":\"about:blank\",\"title\":\"Not Found\",\"status\":404}\n");
    problem.type = "no-such-path";
    problem.detail = "There is nothing here.";
    expect_body(&problem, "{\"type\":\"urn:weaseldb:problem:no-such-path\",\"title\":\"Not Found\","
                          "\"status\":404,\"detail\":\"There is nothing here.\"}\n");
    problem = (struct http_problem){.status = 413,
                                    .type = "too-large",
                                    .outcome = "not_committed",
                                    .limit_key = "http.max_body_bytes",
                                    .limit = UINT64_MAX,
                                    .actual = 7};
    expect_body(&problem,
                "{\"type\":\"urn:weaseldb:problem:too-large\",\"title\":\"Content Too Large\","
                "\"status\":413,\"outcome\":\"not_committed\",\"limit_key\":"
                "\"http.max_body_bytes\",\"limit\":18446744073709551615,\"actual\":7}\n");
    problem.actual = 0; /* not known */
    problem.outcome = NULL;
    expect_body(&problem,
                "{\"type\":\"urn:weaseldb:problem:too-large\",\"title\":\"Content Too Large\","
                "\"status\":413,\"limit_key\":\"http.max_body_bytes\","
                "\"limit\":18446744073709551615}\n");
    problem.limit_key = NULL; /* no setting changes it */
    problem.limit = 4096;
    problem.actual = 4097;
    expect_body(&problem,
                "{\"type\":\"urn:weaseldb:problem:too-large\",\"title\":\"Content Too Large\","
                "\"status\":413,\"limit\":4096,\"actual\":4097}\n");
}

static void test_escapes(void **state)
{
    static const struct {
        const char *detail;
        const char *json;
    } rows[] = {
        {"\"\\/", "\\\"\\\\/"},
        {"\x01\n\x1f\x7f", "\\u0001\\u000a\\u001f\\u007f"},
        {"\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80", "\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80"},
        {"\xf4\x8f\xbf\xbf", "\xf4\x8f\xbf\xbf"},
        {"\x80", "\xef\xbf\xbd"},
        {"a\xffz", "a\xef\xbf\xbdz"},
        {"\xc3", "\xef\xbf\xbd"},
        {"\xc0\xaf", "\xef\xbf\xbd\xef\xbf\xbd"},                 /* overlong */
        {"\xe0\x80\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"}, /* overlong */
        {"\xed\xa0\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"}, /* surrogate */
        {"\xf4\x90\x80\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},
        {"\xe2\x82", "\xef\xbf\xbd\xef\xbf\xbd"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char body[512];
        struct http_problem problem = {.status = 400, .detail = rows[i].detail};
        int size = snprintf(body, sizeof(body),
                            "{\"type\":\"about:blank\",\"title\":\"Bad Request\",\"status\":400,"
                            "\"detail\":\"%s\"}\n",
                            rows[i].json);
        assert_in_range(size, 1, sizeof(body) - 1);
        expect_body(&problem, body);
    }
}

/* However long the detail, and whatever it needs escaped, the body stays whole and bounded. */
static void test_long_details(void **state)
{
    static const char *const fillers[] = {"a", "\"", "\x01", "\xe2\x82\xac", "\xff"};
    (void)state;
    for (size_t i = 0; i < sizeof(fillers) / sizeof(fillers[0]); i++) {
        char detail[4001] = "";
        char out[HTTP_PROBLEM_BYTES_MAX];
        size_t step = strlen(fillers[i]);
        for (size_t at = 0; at + step < sizeof(detail); at += step) {
            memcpy(detail + at, fillers[i], step + 1);
        }
        struct http_problem problem = {.status = 431,
                                       .type = "header-too-large",
                                       .detail = detail,
                                       .outcome = "not_committed",
                                       .limit_key = "http.max_header_bytes",
                                       .limit = UINT64_MAX,
                                       .actual = UINT64_MAX};
        size_t size = http_problem_write(&problem, out, sizeof(out));
        static const char end[] = "\",\"outcome\":\"not_committed\",\"limit_key\":"
                                  "\"http.max_header_bytes\",\"limit\":18446744073709551615,"
                                  "\"actual\":18446744073709551615}\n";
        assert_in_range(size, 600, sizeof(out));
        assert_memory_equal(out + size - (sizeof(end) - 1), end, sizeof(end) - 1);
        /* Cut between characters. */
        char last = out[size - sizeof(end)];
        assert_true(last == 'a' || last == '"' || last == '1' || last == '\xac' || last == '\xbd');
    }
}

static void test_render(void **state)
{
    (void)state;
    struct memory_budget budget;
    struct chunk_pool pool;
    struct arena arena;
    struct http_problem problem = {.status = 400, .detail = "x"};
    struct bytes body = {NULL, 0};
    char out[HTTP_PROBLEM_BYTES_MAX];
    memory_budget_init(&budget, 1 << 20);
    chunk_pool_init(&pool, &budget, 0);
    arena_init(&arena, &pool);
    assert_int_equal(http_problem_render(&problem, &arena, &body), OK);
    assert_true(bytes_equal(
        body, bytes_of(out, http_problem_write(&problem, out, HTTP_PROBLEM_BYTES_MAX))));
    arena_reset(&arena);
    chunk_pool_deinit(&pool);

    memory_budget_init(&budget, 1);
    chunk_pool_init(&pool, &budget, 0);
    arena_init(&arena, &pool);
    assert_int_equal(http_problem_render(&problem, &arena, &body), ERR_MEMORY);
    chunk_pool_deinit(&pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_titles),  cmocka_unit_test(test_members),
        cmocka_unit_test(test_escapes), cmocka_unit_test(test_long_details),
        cmocka_unit_test(test_render),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
