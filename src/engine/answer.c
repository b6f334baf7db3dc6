/* SPDX-License-Identifier: Apache-2.0 */
/* The engine's own answers. */
#include "engine/answer.h"

#include "base/clock.h"
#include "base/logger.h"

#include <inttypes.h>
#include <stdio.h>

const struct http_problem ANSWER_NO_MEMORY = {
    .status = 503,
    .type = "memory",
    .detail = "The server has no memory left for this request; try again later.",
};
const struct http_problem ANSWER_RING_FULL = {
    .status = 503,
    .type = "overloaded",
    .detail = "Too many requests wait already; this one was not taken up. Try again later.",
};
const struct http_problem ANSWER_TIMEOUT = {
    .status = 408,
    .type = "request-timeout",
    .detail = "The request did not arrive completely in time.",
};
const struct http_problem ANSWER_CUT_SHORT = {
    .status = 400,
    .type = "malformed-request",
    .detail = "The connection was shut down before the request was complete.",
};
const struct http_problem ANSWER_NOTHING = {
    .status = 500,
    .type = "internal",
    .detail = "The request was processed without an answer.",
};

void answer_forget_request(struct active *active)
{
    struct http_request *request = &active->exchange.request;
    enum http_method method = HTTP_GET;
    uint8_t version_minor = 1;
    if (active->parser.request_line_complete) {
        method = request->method;
        version_minor = request->version_minor;
    }
    *request = (struct http_request){.method = method, .version_minor = version_minor};
}

static bool media_type_fits(const char *const *media_types, struct bytes content_type)
{
    struct bytes sent = http_media_type(content_type);
    for (; *media_types != NULL; media_types++) {
        if (bytes_equal_fold(sent, bytes_from_string(*media_types))) {
            return true;
        }
    }
    return false;
}

/* "a/b, c/d" in the arena; empty when that refuses. */
static struct bytes media_type_list(struct arena *arena, const char *const *media_types)
{
    size_t size = 0;
    for (const char *const *at = media_types; *at != NULL; at++) {
        size += strlen(*at) + 2;
    }
    char *list = arena_try_alloc(arena, size);
    if (list == NULL) {
        return bytes_of(NULL, 0);
    }
    char *out = list;
    for (const char *const *at = media_types; *at != NULL; at++) {
        size_t length = strlen(*at);
        memcpy(out, *at, length);
        memcpy(out + length, ", ", 2);
        out += length + 2;
    }
    return bytes_of(list, size - 2);
}

/* What speaks against the body before it is read. A route that names media types wants one of them
 * also of a request without a body, so that its handler always has one to go by. */
static enum answer_routed check_body(struct engine_core *core, struct exchange *exchange,
                                     struct http_problem *out_problem)
{
    const struct http_request *request = &exchange->request;
    const struct http_route *route = &exchange->route->match;
    if (route->media_types != NULL && !media_type_fits(route->media_types, request->content_type)) {
        struct bytes list = media_type_list(exchange->arena, route->media_types);
        if (list.size > 0) {
            (void)exchange_add_header(exchange, BYTES("Accept-Post"), list);
        }
        *out_problem = (struct http_problem){
            .status = 415,
            .type = "unsupported-media-type",
            .detail = "The Content-Type is not one that this path takes; Accept-Post lists them."};
        return ANSWER_PROBLEM;
    }
    if (!request->has_content_length) {
        return ANSWER_NONE; /* chunked: counted as it comes */
    }
    uint64_t memory_max = core->budget.limit_bytes / 2;
    if (request->content_length > route->body_bytes_max) {
        *out_problem = (struct http_problem){.status = 413,
                                             .type = "body-too-large",
                                             .detail = "The body is larger than this path takes.",
                                             .limit_key = route->body_limit_key,
                                             .limit = route->body_bytes_max,
                                             .actual = request->content_length};
        return ANSWER_PROBLEM;
    }
    if (request->content_length > memory_max) {
        *out_problem =
            (struct http_problem){.status = 413,
                                  .type = "body-too-large",
                                  .detail = "The body is larger than half of the memory that the "
                                            "server may use.",
                                  .limit_key = "http.memory_limit_bytes",
                                  .limit = memory_max,
                                  .actual = request->content_length};
        return ANSWER_PROBLEM;
    }
    return ANSWER_NONE;
}

/* The path is known, but not with this method. */
static enum answer_routed answer_allow(struct exchange *exchange, struct bytes allow,
                                       struct http_problem *out_problem)
{
    (void)exchange_add_header(exchange, BYTES("Allow"), allow);
    if (exchange->request.method == HTTP_OPTIONS) {
        exchange_answer(exchange, 204, bytes_of(NULL, 0), bytes_of(NULL, 0));
        return ANSWER_GIVEN;
    }
    *out_problem = (struct http_problem){
        .status = 405,
        .type = "method-not-allowed",
        .detail = "This path does not take that method; Allow lists those it takes."};
    return ANSWER_PROBLEM;
}

enum answer_routed answer_route(struct engine_core *core, struct exchange *exchange, bool has_body,
                                struct http_problem *out_problem)
{
    const struct http_route *match;
    struct bytes allow;
    switch (http_router_find(core->router, &exchange->request, exchange->arena, &match, &allow)) {
    case ROUTER_FOUND:
        exchange->route = engine_route_of(match);
        return has_body || match->media_types != NULL ? check_body(core, exchange, out_problem)
                                                      : ANSWER_NONE;
    case ROUTER_NO_PATH:
        *out_problem = (struct http_problem){
            .status = 404, .type = "not-found", .detail = "There is nothing at this path."};
        return ANSWER_PROBLEM;
    case ROUTER_NO_METHOD:
        return answer_allow(exchange, allow, out_problem);
    case ROUTER_BAD_PATH:
        *out_problem = (struct http_problem){.status = 400,
                                             .type = "malformed-request",
                                             .detail = "The path has a malformed percent escape."};
        return ANSWER_PROBLEM;
    case ROUTER_NO_MEMORY:
        *out_problem = ANSWER_NO_MEMORY;
        return ANSWER_PROBLEM;
    }
    UNREACHABLE();
}

/* A whole answer that closes the connection, without any memory but the stack's. */
static size_t write_canned(char *out, size_t room, const struct http_problem *problem,
                           const char *date_line)
{
    char body[HTTP_PROBLEM_BYTES_MAX];
    size_t body_size = http_problem_write(problem, body, sizeof body);
    const struct http_response response = {.status = problem->status,
                                           .close = true,
                                           .content_type = BYTES("application/problem+json"),
                                           .headers = BYTES("Retry-After: 1\r\n"),
                                           .body = bytes_of(body, body_size)};
    size_t head_max = http_response_head_bytes_max(&response, NULL);
    CHECK(head_max + body_size <= room);
    size_t size = http_response_write_head(&response, NULL, date_line, out);
    memcpy(out + size, body, body_size);
    return size + body_size;
}

void answer_canned_no_memory(struct poller *poller)
{
    size_t room = POLLER_OUTPUT_BYTES - poller->output_size;
    poller->output_size += write_canned(poller->output + poller->output_size, room,
                                        &ANSWER_NO_MEMORY, poller->date_line);
    poller_note_answer(poller, ENGINE_NO_ROUTE, 503, poller->now_ns);
}

void answer_write_date_line(char out[HTTP_DATE_LINE_BYTES], int64_t now_sec)
{
    memcpy(out, "Date: ", 6);
    clock_http_date((time_t)now_sec, out + 6);
    memcpy(out + 6 + 29, "\r\n", 2);
}

size_t answer_write_refusal(char *out, size_t room, int64_t now_sec)
{
    static const struct http_problem refusal = {
        .status = 503,
        .type = "too-many-connections",
        .detail = "All connections that the server may hold are in use; try again later.",
    };
    char date_line[HTTP_DATE_LINE_BYTES];
    answer_write_date_line(date_line, now_sec);
    return write_canned(out, room, &refusal, date_line);
}

static void access_log(const struct exchange *exchange)
{
    const struct http_request *request = &exchange->request;
    LOG_ACCESS(LOG_BYTES("method", http_method_name(request->method)),
               LOG_BYTES("target", request->target), LOG_U64("status", exchange->response.status),
               LOG_U64("body_bytes", exchange->response.body.size),
               LOG_U64("duration_us", (clock_monotonic_ns() - exchange->started_ns) / 1000),
               LOG_BYTES("request_id", request->request_id));
}

void answer_count(struct poller *poller, const struct exchange *exchange)
{
    uint32_t series = exchange->route == NULL ? ENGINE_NO_ROUTE : exchange->route->index;
    poller_note_answer(poller, series, exchange->response.status, exchange->started_ns);
    if (logger_is_access_enabled()) {
        access_log(exchange);
    }
}
