/* SPDX-License-Identifier: Apache-2.0 */
/* What handlers and stages do with an exchange: set its answer. Nothing here touches a connection.
 */
#include "engine/exchange.h"

#include "base/check.h"

static const char NO_MEMORY_BODY[] =
    "{\"type\":\"urn:weaseldb:problem:memory\",\"title\":\"Service Unavailable\",\"status\":503,"
    "\"detail\":\"The server has no memory left for this request; try again later.\"}";

void exchange_answer(struct exchange *exchange, unsigned status, struct bytes content_type,
                     struct bytes body)
{
    CHECK(status >= 200);
    CHECK(status <= 599);
    exchange->response.status = status;
    exchange->response.framing =
        status == 204 || status == 304 ? HTTP_FRAMING_NONE : HTTP_FRAMING_LENGTH;
    exchange->response.content_type = content_type;
    exchange->response.body = body;
}

void exchange_answer_problem(struct exchange *exchange, const struct http_problem *problem)
{
    struct http_problem filled = *problem;
    if (filled.outcome == NULL && exchange->route != NULL) {
        filled.outcome = exchange->route->refusal_outcome;
    }
    struct bytes body;
    if (http_problem_render(&filled, exchange->arena, &body) != OK) {
        filled.status = 503;
        body = BYTES(NO_MEMORY_BODY);
    }
    exchange_answer(exchange, filled.status, BYTES("application/problem+json"), body);
    if (filled.status == 503) {
        (void)exchange_add_header(exchange, BYTES("Retry-After"), BYTES("1"));
    }
}

static bool is_field_text(struct bytes text)
{
    for (size_t i = 0; i < text.size; i++) {
        unsigned char byte = (unsigned char)text.data[i];
        if ((byte < 0x20 && byte != '\t') || byte == 0x7f) {
            return false;
        }
    }
    return true;
}

bool exchange_add_header(struct exchange *exchange, struct bytes name, struct bytes value)
{
    CHECK(name.size > 0);
    CHECK(is_field_text(name));
    CHECK(is_field_text(value));
    struct bytes before = exchange->response.headers;
    size_t size = before.size + name.size + 2 + value.size + 2;
    char *lines = arena_try_alloc(exchange->arena, size);
    if (lines == NULL) {
        return false;
    }
    char *out = lines;
    if (before.size > 0) {
        memcpy(out, before.data, before.size);
        out += before.size;
    }
    memcpy(out, name.data, name.size);
    out += name.size;
    memcpy(out, ": ", 2);
    out += 2;
    if (value.size > 0) {
        memcpy(out, value.data, value.size);
        out += value.size;
    }
    memcpy(out, "\r\n", 2);
    exchange->response.headers = bytes_of(lines, size);
    return true;
}

void exchange_stream(struct exchange *exchange, unsigned status, struct bytes content_type,
                     struct stream_source *source)
{
    CHECK(source != NULL);
    CHECK(source->pull != NULL);
    CHECK(exchange->stream == NULL);
    exchange->stream = source;
    exchange->response.status = status;
    exchange->response.content_type = content_type;
    exchange->response.body = bytes_of(NULL, 0);
}
