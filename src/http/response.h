/* SPDX-License-Identifier: Apache-2.0 */
/*
 * response: an answer as values, and its rendering into HTTP/1.1 bytes.
 *
 * Views in a response must live until it has been written: static, or the request's arena.
 * Runs on: whoever owns the connection. Never blocks, never allocates.
 */
#ifndef HTTP_RESPONSE_H
#define HTTP_RESPONSE_H

#include "base/bytes.h"
#include "http/request.h"

enum http_framing {
    HTTP_FRAMING_LENGTH,  /* Content-Length: body.size (of the body that GET would have, on HEAD) */
    HTTP_FRAMING_CHUNKED, /* Transfer-Encoding: chunked; the body follows as chunks */
    HTTP_FRAMING_CLOSE,   /* the body ends with the connection (streams to HTTP/1.0) */
    HTTP_FRAMING_NONE,    /* 204 and 304: no body, no length */
};

struct http_response {
    unsigned status;
    enum http_framing framing;
    bool close;                /* the connection ends after this response */
    struct bytes content_type; /* empty: no such header */
    struct bytes headers;      /* further header lines, each "Name: value\r\n", already valid */
    struct bytes body;
};

/* "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n", kept by each network thread and renewed once a second.
 */
enum { HTTP_DATE_LINE_BYTES = 37 };

enum { HTTP_RESPONSE_HEAD_BYTES_MAX = 512 }; /* without `headers`, `content_type`, X-Request-Id */

/* How many bytes http_response_write_head() needs at most for this answer. */
size_t http_response_head_bytes_max(const struct http_response *response,
                                    const struct http_request *request);

/* Writes the status line and headers, blank line included: Date, Content-Type, framing, Connection
 * (close, or keep-alive to a HTTP/1.0 client that asked for it), X-Request-Id (echoed when the
 * request has a valid one), then response->headers. `request` may be NULL (nothing of it is known:
 * HTTP/1.1, and response->close must be set). Returns the size written. */
size_t http_response_write_head(const struct http_response *response,
                                const struct http_request *request,
                                const char date_line[HTTP_DATE_LINE_BYTES], char *out);

#endif
