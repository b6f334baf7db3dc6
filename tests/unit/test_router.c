/* SPDX-License-Identifier: Apache-2.0 */
/* Routes: what is found, what precedes what, what Allow says, which patterns are refused. */
#include "http/router.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static const struct http_route routes[] = {
    {.pattern = "/", .method = HTTP_GET},
    {.pattern = "/v1/{a}/{b}", .method = HTTP_GET},
    {.pattern = "/v1/retention/{id}", .method = HTTP_GET},
    {.pattern = "/v1/retention/{other}", .method = HTTP_PUT}, /* the same shape */
    {.pattern = "/v1/retention/all", .method = HTTP_DELETE},
    {.pattern = "/v1/{x}/all", .method = HTTP_POST},
    {.pattern = "/v1/commit", .method = HTTP_POST},
    {.pattern = "/v1/commit/", .method = HTTP_PATCH},
    {.pattern = "/head", .method = HTTP_HEAD},
    {.pattern = "/options", .method = HTTP_OPTIONS},
};
enum { ROUTES = sizeof(routes) / sizeof(routes[0]) };

struct fixture {
    struct memory_budget budget;
    struct chunk_pool pool;
    struct arena arena;
    struct http_router *router;
};

static void open_fixture(struct fixture *f, uint64_t limit_bytes)
{
    memory_budget_init(&f->budget, limit_bytes);
    chunk_pool_init(&f->pool, &f->budget, 0);
    arena_init(&f->arena, &f->pool);
    f->router = http_router_open();
    assert_non_null(f->router);
    for (size_t i = 0; i < ROUTES; i++) {
        assert_int_equal(http_router_add(f->router, &routes[i]), OK);
    }
}

static void close_fixture(struct fixture *f)
{
    arena_reset(&f->arena);
    chunk_pool_deinit(&f->pool);
    http_router_close(f->router);
}

static void test_find(void **state)
{
    static const struct {
        enum http_method method;
        const char *path;
        enum http_router_result result;
        int route;
        const char *params; /* joined by '|'; or the Allow value */
    } rows[] = {
        {HTTP_GET, "/", ROUTER_FOUND, 0, ""},
        {HTTP_HEAD, "/", ROUTER_FOUND, 0, ""},
        {HTTP_POST, "/", ROUTER_NO_METHOD, 0, "GET, HEAD, OPTIONS"},
        {HTTP_OPTIONS, "/", ROUTER_NO_METHOD, 0, "GET, HEAD, OPTIONS"},
        {HTTP_GET, "", ROUTER_NO_PATH, 0, NULL},
        {HTTP_GET, "//", ROUTER_NO_PATH, 0, NULL},
        {HTTP_GET, "/V1/commit", ROUTER_NO_PATH, 0, NULL},
        {HTTP_POST, "/v1/commit", ROUTER_FOUND, 6, ""},
        {HTTP_POST, "/v1/c%6Fmmit", ROUTER_FOUND, 6, ""},
        {HTTP_POST, "/%76%31/commit", ROUTER_FOUND, 6, ""},
        {HTTP_POST, "/v1%2Fcommit", ROUTER_NO_PATH, 0, NULL},
        {HTTP_PATCH, "/v1/commit/", ROUTER_FOUND, 7, ""},
        {HTTP_POST, "/v1/commit/", ROUTER_NO_METHOD, 0, "PATCH, OPTIONS"},
        {HTTP_GET, "/v1/commit", ROUTER_NO_METHOD, 0, "POST, OPTIONS"},
        {HTTP_GET, "/v1/retention/7", ROUTER_FOUND, 2, "7"},
        {HTTP_PUT, "/v1/retention/7", ROUTER_FOUND, 3, "7"},
        {HTTP_POST, "/v1/retention/7", ROUTER_NO_METHOD, 0, "GET, HEAD, PUT, OPTIONS"},
        {HTTP_GET, "/v1/retention/a%2Fb%20", ROUTER_FOUND, 2, "a/b "},
        {HTTP_GET, "/v1/retention/", ROUTER_NO_PATH, 0, NULL},
        {HTTP_GET, "/v1/retention/a/", ROUTER_NO_PATH, 0, NULL},
        {HTTP_GET, "/v1//b", ROUTER_NO_PATH, 0, NULL},
        {HTTP_GET, "/v1/retention/.", ROUTER_NO_PATH, 0, NULL},
        {HTTP_GET, "/v1/retention/%2e%2E", ROUTER_NO_PATH, 0, NULL},
        {HTTP_GET, "/v1/retention/...", ROUTER_FOUND, 2, "..."},
        /* The literal wins, also where its methods do not fit. */
        {HTTP_DELETE, "/v1/retention/all", ROUTER_FOUND, 4, ""},
        {HTTP_DELETE, "/v1/retention/al%6c", ROUTER_FOUND, 4, ""},
        {HTTP_GET, "/v1/retention/all", ROUTER_NO_METHOD, 0, "DELETE, OPTIONS"},
        /* The earlier literal wins. */
        {HTTP_POST, "/v1/b/all", ROUTER_FOUND, 5, "b"},
        {HTTP_GET, "/v1/b/c", ROUTER_FOUND, 1, "b|c"},
        {HTTP_GET, "/head", ROUTER_NO_METHOD, 0, "HEAD, OPTIONS"},
        {HTTP_OPTIONS, "/options", ROUTER_FOUND, 9, ""},
        {HTTP_GET, "/options", ROUTER_NO_METHOD, 0, "OPTIONS"},
        {HTTP_OPTIONS, "*", ROUTER_NO_METHOD, 0, "GET, HEAD, POST, PUT, DELETE, PATCH, OPTIONS"},
        {HTTP_GET, "/v1/%00/x", ROUTER_BAD_PATH, 0, NULL},
        {HTTP_GET, "/v1/%zz", ROUTER_BAD_PATH, 0, NULL},
        {HTTP_GET, "/a/b/c/d/e/f/g/h/i/j/k/l/m/n/o/p/q/r/s/t/u/v/w/x/y/z", ROUTER_NO_PATH, 0, NULL},
    };
    (void)state;
    struct fixture f;
    open_fixture(&f, 1 << 20);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct http_request request = {.method = rows[i].method,
                                       .path = bytes_from_string(rows[i].path)};
        const struct http_route *route = NULL;
        struct bytes allow = {NULL, 0};
        char text[256] = "";
        enum http_router_result result =
            http_router_find(f.router, &request, &f.arena, &route, &allow);
        if (result != rows[i].result) {
            fail_msg("%s: result %d", rows[i].path, result);
        }
        size_t used = 0;
        for (unsigned p = 0; p < request.param_count; p++) {
            int size = snprintf(text + used, sizeof(text) - used, "%s%.*s", p > 0 ? "|" : "",
                                (int)request.params[p].size, request.params[p].data);
            used += (size_t)size;
        }
        if (result == ROUTER_FOUND) {
            assert_ptr_equal(route, &routes[rows[i].route]);
            assert_string_equal(text, rows[i].params);
        } else if (result == ROUTER_NO_METHOD) {
            assert_true(bytes_equal(allow, bytes_from_string(rows[i].params)));
        }
    }
    close_fixture(&f);
}

static void test_no_memory(void **state)
{
    (void)state;
    struct fixture f;
    open_fixture(&f, 1);
    struct http_request request = {.path = BYTES("/v1/retention/%41")};
    const struct http_route *route;
    struct bytes allow;
    assert_int_equal(http_router_find(f.router, &request, &f.arena, &route, &allow),
                     ROUTER_NO_MEMORY);
    request.path = BYTES("/v1/retention/A"); /* nothing to decode: nothing needed */
    assert_int_equal(http_router_find(f.router, &request, &f.arena, &route, &allow), ROUTER_FOUND);
    close_fixture(&f);
}

static void test_empty(void **state)
{
    (void)state;
    struct http_router *router = http_router_open();
    struct memory_budget budget;
    struct chunk_pool pool;
    struct arena arena;
    memory_budget_init(&budget, 1);
    chunk_pool_init(&pool, &budget, 0);
    arena_init(&arena, &pool);
    struct http_request request = {.path = BYTES("/")};
    const struct http_route *route;
    struct bytes allow = {NULL, 0};
    assert_int_equal(http_router_find(router, &request, &arena, &route, &allow), ROUTER_NO_PATH);
    request = (struct http_request){.method = HTTP_OPTIONS, .path = BYTES("*")};
    assert_int_equal(http_router_find(router, &request, &arena, &route, &allow), ROUTER_NO_METHOD);
    assert_true(bytes_equal(allow, BYTES("OPTIONS")));
    http_router_close(router);
    http_router_close(NULL);
    chunk_pool_deinit(&pool);
}

static void test_bad_patterns(void **state)
{
    static const char *const patterns[] = {
        "",
        "a",
        "*",
        "/a b",
        "/a%20",
        "/a?b",
        "/a#b",
        "/{",
        "/{}",
        "/{a",
        "/a}",
        "/a{b}",
        "/{a}b",
        "/{a{b}}",
        "/a//b",
        "//",
        "/.",
        "/a/../b",
        "/\x80",
        "/{a b}",
        "/{a}/{b}/{c}/{d}/{e}",
        "/a/b/c/d/e/f/g/h/i/j/k/l/m/n/o/p/q",
    };
    (void)state;
    struct fixture f;
    open_fixture(&f, 1 << 20);
    for (size_t i = 0; i < sizeof(patterns) / sizeof(patterns[0]); i++) {
        struct http_route route = {.pattern = patterns[i], .method = HTTP_GET};
        if (http_router_add(f.router, &route) != ERR_INVALID) {
            fail_msg("%s was taken", patterns[i]);
        }
    }
    /* Twice the same, also under another name of the parameter. */
    struct http_route route = {.pattern = "/", .method = HTTP_GET};
    assert_int_equal(http_router_add(f.router, &route), ERR_INVALID);
    route.pattern = "/v1/retention/{again}";
    assert_int_equal(http_router_add(f.router, &route), ERR_INVALID);
    close_fixture(&f);
}

/* Many routes: the table grows, and each is found by its path. */
static void test_many(void **state)
{
    enum { MANY = 300 };
    static struct http_route many[MANY];
    static char patterns[MANY][32];
    (void)state;
    struct fixture f;
    open_fixture(&f, 1 << 20);
    for (size_t i = 0; i < MANY; i++) {
        (void)snprintf(patterns[i], sizeof(patterns[i]), "/many/%zu/%zu", i % 7, i);
        many[i] = (struct http_route){.pattern = patterns[i], .method = HTTP_GET};
        assert_int_equal(http_router_add(f.router, &many[i]), OK);
    }
    for (size_t i = 0; i < MANY; i++) {
        struct http_request request = {.path = bytes_from_string(patterns[i])};
        const struct http_route *route = NULL;
        struct bytes allow;
        assert_int_equal(http_router_find(f.router, &request, &f.arena, &route, &allow),
                         ROUTER_FOUND);
        assert_ptr_equal(route, &many[i]);
    }
    close_fixture(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_find),  cmocka_unit_test(test_no_memory),
        cmocka_unit_test(test_empty), cmocka_unit_test(test_bad_patterns),
        cmocka_unit_test(test_many),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
