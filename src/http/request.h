/* SPDX-License-Identifier: Apache-2.0 */
/*
 * request: one HTTP/1.x request as views into the bytes it came in.
 *
 * Filled in by the parser (http/parser.h); read by handlers. Every view lives as long as the
 * request does: until its response has been written, or the arena of its connection is reset.
 *
 * Runs on: whoever owns the connection. Never blocks. Functions that allocate take the arena.
 */
#ifndef HTTP_REQUEST_H
#define HTTP_REQUEST_H

#include "base/arena.h"
#include "base/bytes.h"

enum http_method {
    HTTP_GET,
    HTTP_HEAD,
    HTTP_POST,
    HTTP_PUT,
    HTTP_DELETE,
    HTTP_PATCH,
    HTTP_OPTIONS,
    HTTP_TRACE,
    HTTP_METHODS, /* how many there are */
};

/* "GET" and so on; static. */
struct bytes http_method_name(enum http_method method);

struct http_header {
    struct bytes name;  /* as sent; compare with bytes_equal_fold() */
    struct bytes value; /* without blanks at both ends */
};

enum {
    REQUEST_PARAMS_MAX = 4, /* of one route's pattern */
    REQUEST_BODY_SLACK = 8, /* writable bytes that follow every body; see `body` */
};

struct http_request {
    enum http_method method;
    uint8_t version_minor;   /* 0 or 1: HTTP/1.0 or HTTP/1.1 */
    bool keep_alive;         /* the client allows another request on this connection */
    bool chunked;            /* Transfer-Encoding: chunked */
    bool has_content_length; /* then content_length is valid */
    bool expects_continue;   /* Expect: 100-continue, on HTTP/1.1 only */
    unsigned header_count;
    unsigned param_count;
    uint64_t content_length;
    struct bytes target; /* as sent */
    struct bytes path;   /* origin-form path as sent, still percent-encoded; "*" for OPTIONS * */
    struct bytes query;  /* behind '?', still percent-encoded; empty when there is none */
    struct http_header *headers; /* in the order sent; trailers are checked and dropped */
    /* The headers that the engine itself reads, so that nobody has to search for them again. A
     * header that was not sent is {NULL, 0}. Repeated ones: the first. */
    struct bytes host;
    struct bytes content_type;
    struct bytes accept;
    struct bytes request_id; /* X-Request-Id, when well formed: 1 to 128 visible ASCII characters */
    struct bytes params[REQUEST_PARAMS_MAX]; /* of the route's pattern, percent-decoded */
    /* Complete when a handler runs. The REQUEST_BODY_SLACK bytes behind it may be overwritten while
     * the request lasts, by one who restores them before the response is given (they may be the
     * start of the next request). */
    struct bytes body;
};

/* The first header called `name` (case-folded), or {NULL, 0}. */
struct bytes http_request_header(const struct http_request *request, struct bytes name);

/* Whether a comma-separated header value holds `token`, case-folded (RFC 9110 section 5.6.1). */
bool http_list_has_token(struct bytes list, struct bytes token);

/* The media type of a Content-Type value: without parameters and blanks; compare case-folded. */
struct bytes http_media_type(struct bytes content_type);

/* How much an Accept value wants `media_type` ("type/subtype"), by the range that matches it most
 * closely: from 0, not at all, to HTTP_WEIGHT_MAX; an absent or empty value wants everything (RFC
 * 9110 section 12.5.1). *out_match tells how closely: 3 by its name, 2 its type, 1 any type, 0 no
 * range at all. */
enum { HTTP_WEIGHT_MAX = 1000 };
unsigned http_accept_weight(struct bytes accept, struct bytes media_type, unsigned *out_match);

/* Decodes %XX into *out: a view of `encoded` itself when there is nothing to decode, else arena
 * memory. `plus_is_space` is for query strings. ERR_INVALID: a bad escape or %00.
 * ERR_MEMORY: the budget refused. */
enum err http_percent_decode(struct arena *arena, struct bytes encoded, bool plus_is_space,
                             struct bytes *out) WARN_UNUSED;

/* Walks name=value pairs of a query string. Start with `*rest` = request->query; returns false at
 * the end. Empty pairs ("&&") are skipped; names and values come undecoded; no '=': value {NULL,
 * 0}. */
bool http_query_next(struct bytes *rest, struct bytes *out_name, struct bytes *out_value);

#endif
