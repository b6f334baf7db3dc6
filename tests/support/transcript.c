/* SPDX-License-Identifier: Apache-2.0 */
/* transcript: see transcript.h. */
#include "transcript.h"

#include "base/check.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

struct body {
    char *data;
    size_t size;
    size_t capacity;
};

static bool take(void *context, struct bytes piece, struct http_problem *problem)
{
    struct body *body = context;
    (void)problem;
    CHECK(piece.size > 0 && piece.size <= body->capacity - body->size);
    memcpy(body->data + body->size, piece.data, piece.size);
    body->size += piece.size;
    return true;
}

__attribute__((format(printf, 2, 3))) static void say(struct transcript *t, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int size = vsnprintf(t->text + t->size, TRANSCRIPT_BYTES_MAX - t->size, format, arguments);
    va_end(arguments);
    CHECK(size >= 0 && (size_t)size < TRANSCRIPT_BYTES_MAX - t->size);
    t->size += (size_t)size;
}

__attribute__((format(printf, 2, 3))) static void sum_up(struct transcript *t, const char *format,
                                                         ...)
{
    size_t used = strlen(t->summary);
    va_list arguments;
    va_start(arguments, format);
    if (used > 0 && used + 4 < sizeof(t->summary)) {
        memcpy(t->summary + used, " | ", 4);
        used += 3;
    }
    int size = vsnprintf(t->summary + used, sizeof(t->summary) - used, format, arguments);
    va_end(arguments);
    CHECK(size >= 0); /* a summary too long is cut; the text is not */
}

static void say_bytes(struct transcript *t, const char *name, struct bytes view)
{
    say(t, " %s=", name);
    if (view.data == NULL) {
        say(t, "-");
        return;
    }
    say(t, "%zu:", view.size);
    for (size_t i = 0; i < view.size; i++) {
        unsigned char c = (unsigned char)view.data[i];
        say(t, c > ' ' && c < 0x7f ? "%c" : "\\x%02x", c);
    }
}

static void say_request(struct transcript *t, const struct http_request *request,
                        const struct body *body)
{
    struct bytes method = http_method_name(request->method);
    say(t, "DONE %.*s 1.%u keep=%d chunked=%d length=%d:%llu continue=%d", (int)method.size,
        method.data, request->version_minor, request->keep_alive, request->chunked,
        request->has_content_length, (unsigned long long)request->content_length,
        request->expects_continue);
    say_bytes(t, "target", request->target);
    say_bytes(t, "path", request->path);
    say_bytes(t, "query", request->query);
    say_bytes(t, "host", request->host);
    say_bytes(t, "type", request->content_type);
    say_bytes(t, "accept", request->accept);
    say_bytes(t, "id", request->request_id);
    for (unsigned i = 0; i < request->header_count; i++) {
        say_bytes(t, "name", request->headers[i].name);
        say_bytes(t, "value", request->headers[i].value);
    }
    say_bytes(t, "body", bytes_of(body->data, body->size));
    say(t, "\n");
    sum_up(t, "%.*s %.*s%s%.*s%s%.*s%s", (int)method.size, method.data, (int)request->path.size,
           request->path.data, request->query.data != NULL ? "?" : "", (int)request->query.size,
           request->query.data != NULL ? request->query.data : "", body->size > 0 ? " '" : "",
           (int)body->size, body->data, body->size > 0 ? "'" : "");
}

static void say_problem(struct transcript *t, const struct http_parser *parser)
{
    const struct http_problem *problem = &parser->problem;
    CHECK(problem->status >= 400 && problem->status <= 599 && problem->detail != NULL);
    say(t, "FAILED %u %s %s %s %llu line=%d", problem->status, problem->type, problem->detail,
        problem->limit_key != NULL ? problem->limit_key : "-", (unsigned long long)problem->limit,
        parser->request_line_complete);
    if (parser->request_line_complete) {
        struct bytes method = http_method_name(parser->request->method);
        say(t, " %.*s 1.%u", (int)method.size, method.data, parser->request->version_minor);
    }
    sum_up(t, "%u", problem->status);
    int size = snprintf(t->detail, sizeof(t->detail), "%s", problem->detail);
    CHECK(size >= 0);
}

static bool in_stream(struct bytes stream, struct bytes view)
{
    return view.data == NULL ||
           (view.data >= stream.data && view.data + view.size <= stream.data + stream.size);
}

/* Views point into the stream, but for the path "/" that an absolute target may leave out. */
static void check_views(const struct http_request *request, struct bytes stream)
{
    CHECK(in_stream(stream, request->target) && in_stream(stream, request->query));
    CHECK(in_stream(stream, request->path) || bytes_equal(request->path, BYTES("/")));
    CHECK(in_stream(stream, request->host) && in_stream(stream, request->content_type));
    CHECK(in_stream(stream, request->accept) && in_stream(stream, request->request_id));
    for (unsigned i = 0; i < request->header_count; i++) {
        CHECK(in_stream(stream, request->headers[i].name));
        CHECK(in_stream(stream, request->headers[i].value));
    }
}

/* The end of the piece that starts at `at`. */
static size_t piece_end(size_t at, size_t size, size_t step, size_t cut)
{
    size_t end = step == 0 ? size : (at / step + 1) * step;
    if (at < cut && cut < end) {
        end = cut;
    }
    return end < size ? end : size;
}

/* One request from *at on; false: nothing more is to be parsed. */
static bool run_one(struct transcript *t, struct arena *arena, struct body *body,
                    struct bytes source, char *copy, size_t *at, size_t step, size_t cut)
{
    struct bytes stream = bytes_of(copy, source.size);
    struct http_parser parser;
    struct http_request request;
    size_t start = *at;
    body->size = 0;
    http_parser_begin(&parser, &t->limits, &request, arena,
                      (struct http_body_sink){.take = take, .context = body});
    while (*at < stream.size) {
        size_t end = piece_end(*at, stream.size, step, cut);
        size_t consumed = 0;
        /* What has not come yet is not there to be read. */
        memcpy(copy + *at, source.data + *at, end - *at);
        memset(copy + end, 0xaa, stream.size - end);
        enum http_parser_event event =
            http_parser_feed(&parser, stream.data + *at, end - *at, &consumed);
        CHECK(consumed <= end - *at);
        *at += consumed;
        if (event == PARSER_MORE) {
            CHECK(*at == end);
        } else if (event == PARSER_HEAD) {
            CHECK(parser.head_complete && parser.request_line_complete && body->size == 0);
            check_views(&request, stream);
            say(t, "HEAD at %zu ", *at);
        } else if (event == PARSER_FAILED) {
            say_problem(t, &parser);
            return false;
        } else {
            struct bytes message = bytes_of(stream.data + start, *at - start);
            while (message.data[0] == '\r' || message.data[0] == '\n') {
                message = bytes_drop(message, 1);
            }
            CHECK(http_parser_started(&parser));
            check_views(&request, stream);
            say(t, "at %zu ", *at);
            say_request(t, &request, body);
            if (t->on_request != NULL) {
                t->on_request(&request, message, bytes_of(body->data, body->size));
            }
            return true;
        }
    }
    say(t, "MORE started=%d line=%d head=%d", http_parser_started(&parser),
        parser.request_line_complete, parser.head_complete);
    say_bytes(t, "body", bytes_of(body->data, body->size));
    sum_up(t, "MORE");
    return false;
}

void transcript_run(struct transcript *transcript, struct bytes stream, size_t step, size_t cut)
{
    struct memory_budget budget;
    struct chunk_pool pool;
    struct arena arena;
    memory_budget_init(&budget, 1 << 20);
    chunk_pool_init(&pool, &budget, 1 << 20);
    arena_init(&arena, &pool);

    char *copy = malloc(stream.size);
    struct body body = {malloc(stream.size + 1), 0, stream.size};
    transcript->text = malloc(TRANSCRIPT_BYTES_MAX);
    CHECK(copy != NULL && body.data != NULL && transcript->text != NULL);
    transcript->text[0] = '\0';
    transcript->size = 0;
    transcript->summary[0] = '\0';
    transcript->detail[0] = '\0';

    size_t at = 0;
    bool more = stream.size > 0;
    while (more) {
        more = run_one(transcript, &arena, &body, stream, copy, &at, step, cut);
        arena_reset(&arena);
        more = more && at < stream.size;
    }
    chunk_pool_deinit(&pool);
    CHECK(atomic_load_explicit(&budget.used_bytes, memory_order_relaxed) == 0);
    free(copy);
    free(body.data);
}

void transcript_free(struct transcript *transcript)
{
    free(transcript->text);
    transcript->text = NULL;
}
