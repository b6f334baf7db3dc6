/* SPDX-License-Identifier: Apache-2.0 */
/*
 * response: renders heads by copying constant pieces; the status lines are made at compile time.
 * What a response may not say (a chunked body to HTTP/1.0, a close nobody announced) is checked
 * here, since here every answer passes.
 */
#include "http/response.h"

#include "base/check.h"
#include "http/status.h"

#include <assert.h>

/* The fixed pieces, the longest of each kind: status line (under 64), date, "Content-Type: \r\n",
 * "Transfer-Encoding: chunked\r\n" or Content-Length (under 40), "Connection: keep-alive\r\n",
 * "X-Request-Id: \r\n" and the blank line. */
static_assert(64 + HTTP_DATE_LINE_BYTES + 16 + 40 + 24 + 16 + 2 <= HTTP_RESPONSE_HEAD_BYTES_MAX,
              "a head without its variable parts fits HTTP_RESPONSE_HEAD_BYTES_MAX");

#define PUT(at, literal) (memcpy((at), (literal), sizeof(literal) - 1), (at) + sizeof(literal) - 1)

static char *put_bytes(char *at, struct bytes piece)
{
    if (piece.size > 0) {
        memcpy(at, piece.data, piece.size);
    }
    return at + piece.size;
}

static char *put_status_line(char *at, unsigned status)
{
#define STATUS_LINE(code, title)                                                                   \
    [(code)-HTTP_STATUS_FIRST] = BYTES_INIT("HTTP/1.1 " #code " " title "\r\n"),
    static const struct bytes lines[HTTP_STATUS_END - HTTP_STATUS_FIRST] = {
        HTTP_STATUS_LIST(STATUS_LINE)};
#undef STATUS_LINE
    CHECK(status >= HTTP_STATUS_FIRST && status < HTTP_STATUS_END);
    const struct bytes *line = &lines[status - HTTP_STATUS_FIRST];
    if (line->size > 0) {
        return put_bytes(at, *line);
    }
    at = PUT(at, "HTTP/1.1 ");
    at += bytes_format_u64(at, status);
    return PUT(at, " Unknown\r\n");
}

static char *put_content_length(char *at, const struct http_response *response)
{
    if (response->status == 204 || response->status == 304) {
        CHECK(response->body.size == 0);
        return at; /* RFC 9110 section 8.6: a 204 must not have one, and a 304 need not */
    }
    at = PUT(at, "Content-Length: ");
    at += bytes_format_u64(at, response->body.size);
    return PUT(at, "\r\n");
}

size_t http_response_head_bytes_max(const struct http_response *response,
                                    const struct http_request *request)
{
    return HTTP_RESPONSE_HEAD_BYTES_MAX + response->content_type.size + response->headers.size +
           (request != NULL ? request->request_id.size : 0);
}

size_t http_response_write_head(const struct http_response *response,
                                const struct http_request *request,
                                const char date_line[HTTP_DATE_LINE_BYTES], char *out)
{
    bool old = request != NULL && request->version_minor == 0;
    bool close = response->close || (request != NULL && !request->keep_alive);
    CHECK(request != NULL || response->close);

    char *at = put_status_line(out, response->status);
    memcpy(at, date_line, HTTP_DATE_LINE_BYTES);
    at += HTTP_DATE_LINE_BYTES;
    if (response->content_type.size > 0) {
        at = PUT(at, "Content-Type: ");
        at = put_bytes(at, response->content_type);
        at = PUT(at, "\r\n");
    }
    switch (response->framing) {
    case HTTP_FRAMING_LENGTH:
        at = put_content_length(at, response);
        break;
    case HTTP_FRAMING_CHUNKED:
        CHECK(!old);
        at = PUT(at, "Transfer-Encoding: chunked\r\n");
        break;
    case HTTP_FRAMING_CLOSE:
        close = true;
        break;
    case HTTP_FRAMING_NONE:
        CHECK(response->body.size == 0);
        break;
    }
    if (close) {
        at = PUT(at, "Connection: close\r\n");
    } else if (old) {
        at = PUT(at, "Connection: keep-alive\r\n");
    }
    if (request != NULL && request->request_id.size > 0) {
        at = PUT(at, "X-Request-Id: ");
        at = put_bytes(at, request->request_id);
        at = PUT(at, "\r\n");
    }
    at = put_bytes(at, response->headers);
    at = PUT(at, "\r\n");
    return (size_t)(at - out);
}
