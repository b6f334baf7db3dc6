/* SPDX-License-Identifier: Apache-2.0 */
/*
 * parser: turns the bytes of a connection into requests, as they come, strictly.
 *
 * Wraps llhttp in strict mode (parser.c is the only file that sees it) and enforces what llhttp
 * leaves to its user: limits, Host, versions, Transfer-Encoding rules, target forms (RFC 9112).
 *
 *   http_parser_begin(p, limits, request, arena, sink)       one request
 *   event = http_parser_feed(p, data, size, &consumed)       as bytes come
 *     PARSER_MORE     all consumed; feed more when there is more
 *     PARSER_HEAD     request line and headers complete and valid, and a body follows; the bytes
 *                     behind `consumed` belong to it. Decide, then feed on.
 *     PARSER_DONE     the request is complete; what follows `consumed` is the next one. For a
 *                     request without a body this comes without PARSER_HEAD.
 *     PARSER_FAILED   p->problem says why; the connection must be closed after the answer, since
 *                     the end of the message is in doubt. Only `method` and `version_minor` of the
 *                     request may be read, and only if p->request_line_complete.
 *
 * Bytes of the head must stay where they are: each feed must continue the memory of the one before
 * (the views are pointers into it). After moving them, call http_parser_rebase(). Bytes of the body
 * may lie anywhere; they are handed to the sink and not kept.
 *
 * Whatever the split of the bytes over feeds, the events, the request and the problem are the same.
 *
 * Runs on: the connection's owner. Never blocks. Allocates only the header array, from the arena
 * (a refused budget is a problem with status 503).
 */
#ifndef HTTP_PARSER_H
#define HTTP_PARSER_H

#include "base/arena.h"
#include "base/bytes.h"
#include "http/problem.h"
#include "http/request.h"

enum {
    HTTP_REQUEST_LINE_BYTES_MAX = 8192,    /* also bounded by header_bytes_max */
    HTTP_HEADERS_MAX = 100,                /* fields of one head, and of one trailer section */
    HTTP_CHUNK_EXTENSION_BYTES_MAX = 4096, /* of one request, all chunks together */
    HTTP_PARSER_STATE_BYTES = 128,
};

struct http_parser_limits {
    size_t header_bytes_max; /* request line and headers, with their line ends: 431 (414 when the
                                request line alone breaks it or HTTP_REQUEST_LINE_BYTES_MAX);
                                also bounds the trailer section */
};

enum http_parser_event { PARSER_MORE, PARSER_HEAD, PARSER_DONE, PARSER_FAILED };

/* Takes a piece of the body, de-chunked, in order; valid during the call. Anything but true stops
 * the parser: PARSER_FAILED with *problem as the sink has filled it in. */
struct http_body_sink {
    bool (*take)(void *context, struct bytes piece, struct http_problem *problem);
    void *context;
};

struct http_parser {
    _Alignas(16) unsigned char state[HTTP_PARSER_STATE_BYTES]; /* llhttp's */
    struct http_request *request;
    struct arena *arena;
    struct http_body_sink sink;
    struct http_parser_limits limits;
    struct http_problem problem;
    bool request_line_complete;
    bool head_complete;
    /* private to parser.c from here on */
    uint8_t step;
    bool in_name; /* of a header or trailer field: no byte of its value has come yet */
    bool request_line_checked;
    bool memory_refused;
    bool sink_refused;
    bool trailer_forbidden;
    uint8_t blank_bytes;  /* before the request line */
    unsigned field_count; /* headers, those beyond HTTP_HEADERS_MAX included */
    unsigned header_capacity;
    unsigned trailer_count;
    const char *head;           /* its first byte; NULL before it came */
    struct http_header *header; /* the current one, NULL: it is not kept */
    size_t head_bytes;
    uint64_t body_left;
    size_t line_bytes; /* of the current chunk's size line */
    size_t extension_bytes;
    size_t trailer_bytes;
    size_t trailer_name_size;
    char trailer_name[18]; /* as much as tells the forbidden ones */
};

void http_parser_begin(struct http_parser *parser, const struct http_parser_limits *limits,
                       struct http_request *request, struct arena *arena,
                       struct http_body_sink sink);

enum http_parser_event http_parser_feed(struct http_parser *parser, const char *data, size_t size,
                                        size_t *out_consumed);

/* The head's bytes were moved from `from` to `to`: moves every view of the request along. */
void http_parser_rebase(struct http_parser *parser, const char *from, const char *to);

/* Whether any byte of this request has been fed (blank lines before it do not count). */
bool http_parser_started(const struct http_parser *parser);

#endif
