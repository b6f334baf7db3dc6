/* SPDX-License-Identifier: Apache-2.0 */
/* What handlers and stages do with an exchange: set its answer. Nothing here touches a connection.
 */
#include "engine/exchange.h"

#include "base/check.h"

#define NO_MEMORY(title, status, detail, more)                                                     \
    BYTES_INIT("{\"type\":\"urn:weaseldb:problem:memory\",\"title\":\"" title                      \
               "\",\"status\":" status ",\"detail\":\"" detail "\"" more "}\n")
#define TRY_AGAIN "The server has no memory left for this request; try again later."

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

/* There is no memory to say more. 503 would mean that nothing has happened: a problem whose outcome
 * is not known stays 500. */
static void answer_no_memory(struct exchange *exchange, const char *outcome)
{
    static const struct bytes plain = NO_MEMORY("Service Unavailable", "503", TRY_AGAIN, "");
    static const struct bytes not_committed =
        NO_MEMORY("Service Unavailable", "503", TRY_AGAIN, ",\"outcome\":\"not_committed\"");
    static const struct bytes unknown =
        NO_MEMORY("Internal Server Error", "500",
                  "The server had no memory left to tell the outcome.", ",\"outcome\":\"unknown\"");
    bool is_unknown = outcome != NULL && strcmp(outcome, "unknown") == 0;
    exchange->response.headers = is_unknown ? bytes_of(NULL, 0) : BYTES("Retry-After: 1\r\n");
    exchange_answer(exchange, is_unknown ? 500 : 503, BYTES("application/problem+json"),
                    is_unknown        ? unknown
                    : outcome != NULL ? not_committed
                                      : plain);
}

void exchange_answer_problem(struct exchange *exchange, const struct http_problem *problem)
{
    struct http_problem filled = *problem;
    if (filled.outcome == NULL && exchange->route != NULL) {
        filled.outcome = exchange->route->refusal_outcome;
    }
    struct bytes body;
    if (http_problem_render(&filled, exchange->arena, &body) != OK ||
        (filled.status == 503 &&
         !exchange_add_header(exchange, BYTES("Retry-After"), BYTES("1")))) {
        answer_no_memory(exchange, filled.outcome);
        return;
    }
    exchange_answer(exchange, filled.status, BYTES("application/problem+json"), body);
}

void exchange_answer_no_memory(struct exchange *exchange)
{
    answer_no_memory(exchange, exchange->route == NULL ? NULL : exchange->route->refusal_outcome);
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
