/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http_parse: nanoseconds per request of the protocol folder alone, no sockets: parse, route,
 * render a head; beside a bare llhttp_execute() of the same bytes with empty callbacks, and sixteen
 * pipelined requests in one buffer. Medians of interleaved rounds.
 *
 *   http_parse [--smoke]     --smoke: a few rounds, to see that it runs
 */
#include "base/check.h"
#include "http/parser.h"
#include "http/response.h"
#include "http/router.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { ROUNDS_MAX = 31, PIPELINED = 16 };

/* llhttp_bare.c; its header and ours do not go together. */
size_t llhttp_bare(const char *data, size_t size);

static const char small[] = "GET / HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n\r\n";
static const char browser[] =
    "GET /v1/status?request_id=6f2c HTTP/1.1\r\nHost: db.example.com\r\n"
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n"
    "Accept: application/json,text/html;q=0.9,*/*;q=0.8\r\nAccept-Language: en-US,en;q=0.5\r\n"
    "Accept-Encoding: gzip, deflate, br\r\nConnection: keep-alive\r\n"
    "Upgrade-Insecure-Requests: 1\r\nX-Request-Id: 0123456789abcdef\r\n\r\n";
static const char date_line[HTTP_DATE_LINE_BYTES + 1] = "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n";

struct fixture {
    struct arena arena;
    struct http_router *router;
    struct http_parser parser;
    struct http_request request;
    char pipelined[PIPELINED * sizeof(small)];
    size_t pipelined_size;
    char out[PIPELINED * 1024];
};

static bool no_body(void *context, struct bytes piece, struct http_problem *problem)
{
    (void)context;
    (void)piece;
    (void)problem;
    return true;
}

static size_t parse(struct fixture *f, const char *data, size_t size)
{
    static const struct http_parser_limits limits = {.header_bytes_max = 16384};
    size_t consumed;
    http_parser_begin(&f->parser, &limits, &f->request, &f->arena,
                      (struct http_body_sink){.take = no_body});
    enum http_parser_event event = http_parser_feed(&f->parser, data, size, &consumed);
    CHECK(event == PARSER_DONE);
    return consumed;
}

static void route(struct fixture *f)
{
    const struct http_route *found;
    struct bytes allow;
    enum http_router_result result =
        http_router_find(f->router, &f->request, &f->arena, &found, &allow);
    CHECK(result == ROUTER_FOUND);
}

static size_t render(const struct fixture *f, char *out)
{
    struct http_response response = {.status = 200,
                                     .content_type = BYTES("application/json"),
                                     .body = BYTES("{\"name\":\"weaseldb\"}")};
    return http_response_write_head(&response, &f->request, date_line, out);
}

static void bench_bare(struct fixture *f)
{
    (void)f;
    CHECK(llhttp_bare(small, sizeof(small) - 1) == sizeof(small) - 1);
}

static void bench_parse(struct fixture *f)
{
    struct arena_mark mark = arena_mark(&f->arena);
    (void)parse(f, small, sizeof(small) - 1);
    arena_rewind(&f->arena, mark);
}

static void bench_bare_browser(struct fixture *f)
{
    (void)f;
    CHECK(llhttp_bare(browser, sizeof(browser) - 1) == sizeof(browser) - 1);
}

static void bench_parse_browser(struct fixture *f)
{
    struct arena_mark mark = arena_mark(&f->arena);
    (void)parse(f, browser, sizeof(browser) - 1);
    arena_rewind(&f->arena, mark);
}

static void bench_route(struct fixture *f)
{
    route(f);
}

static void bench_render(struct fixture *f)
{
    CHECK(render(f, f->out) > 0);
}

static void bench_all(struct fixture *f)
{
    struct arena_mark mark = arena_mark(&f->arena);
    (void)parse(f, small, sizeof(small) - 1);
    route(f);
    CHECK(render(f, f->out) > 0);
    arena_rewind(&f->arena, mark);
}

static void bench_pipelined(struct fixture *f)
{
    size_t at = 0;
    char *out = f->out;
    while (at < f->pipelined_size) {
        struct arena_mark mark = arena_mark(&f->arena);
        at += parse(f, f->pipelined + at, f->pipelined_size - at);
        route(f);
        out += render(f, out);
        arena_rewind(&f->arena, mark);
    }
}

struct row {
    const char *name;
    void (*run)(struct fixture *f);
    unsigned requests; /* of one run */
    double samples[ROUNDS_MAX];
};

static double now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a;
    double y = *(const double *)b;
    return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
    static const struct http_route routes[] = {
        {.pattern = "/", .method = HTTP_GET},
        {.pattern = "/livez", .method = HTTP_GET},
        {.pattern = "/readyz", .method = HTTP_GET},
        {.pattern = "/metrics", .method = HTTP_GET},
        {.pattern = "/v1/status", .method = HTTP_GET},
        {.pattern = "/v1/commit", .method = HTTP_POST},
        {.pattern = "/v1/retention/{id}", .method = HTTP_PUT},
    };
    static struct row rows[] = {
        {.name = "bare llhttp, small GET", .run = bench_bare, .requests = 1},
        {.name = "parse, small GET", .run = bench_parse, .requests = 1},
        {.name = "bare llhttp, browser's GET", .run = bench_bare_browser, .requests = 1},
        {.name = "parse, browser's GET", .run = bench_parse_browser, .requests = 1},
        {.name = "route", .run = bench_route, .requests = 1},
        {.name = "render head", .run = bench_render, .requests = 1},
        {.name = "parse + route + render", .run = bench_all, .requests = 1},
        {.name = "the same, pipelined x16", .run = bench_pipelined, .requests = PIPELINED},
    };
    bool smoke = argc > 1 && strcmp(argv[1], "--smoke") == 0;
    unsigned rounds = smoke ? 3 : ROUNDS_MAX;
    unsigned requests = smoke ? 1600 : 160000;

    static struct fixture f;
    struct memory_budget budget;
    struct chunk_pool pool;
    memory_budget_init(&budget, 1 << 20);
    chunk_pool_init(&pool, &budget, 1 << 20);
    arena_init(&f.arena, &pool);
    void *held = arena_try_alloc(&f.arena, 1); /* as in a connection that has read something */
    f.router = http_router_open();
    CHECK(held != NULL && f.router != NULL);
    for (size_t i = 0; i < sizeof(routes) / sizeof(routes[0]); i++) {
        enum err err = http_router_add(f.router, &routes[i]);
        CHECK(err == OK);
    }
    for (size_t i = 0; i < PIPELINED; i++) {
        memcpy(f.pipelined + f.pipelined_size, small, sizeof(small) - 1);
        f.pipelined_size += sizeof(small) - 1;
    }
    (void)parse(&f, small, sizeof(small) - 1);

    const size_t row_count = sizeof(rows) / sizeof(rows[0]);
    for (unsigned round = 0; round < rounds; round++) {
        for (size_t r = 0; r < row_count; r++) {
            double start = now_ns();
            for (unsigned i = 0; i < requests; i += rows[r].requests) {
                rows[r].run(&f);
            }
            rows[r].samples[round] = (now_ns() - start) / requests;
        }
    }
    printf("%-28s %12s\n", "", "ns/request");
    for (size_t r = 0; r < row_count; r++) {
        qsort(rows[r].samples, rounds, sizeof(double), compare);
        printf("%-28s %12.1f\n", rows[r].name, rows[r].samples[rounds / 2]);
    }
    arena_reset(&f.arena);
    chunk_pool_deinit(&pool);
    http_router_close(f.router);
    return 0;
}
