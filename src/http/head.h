/* SPDX-License-Identifier: Apache-2.0 */
/*
 * head: the rules of RFC 9112 and 9110 that a head must keep although it is well formed: the form
 * of its target, its Host, its framing, its expectations. Used by the parser alone.
 *
 * Runs on: the connection's owner. Never blocks, never allocates; views point where the head's do.
 * Fails:   false, and *problem says what is wrong and what is allowed (static texts).
 */
#ifndef HTTP_HEAD_H
#define HTTP_HEAD_H

#include "http/problem.h"
#include "http/request.h"

/* Slugs of the problems that a head can have (struct http_problem's type). */
#define HTTP_PROBLEM_MALFORMED "malformed-request"

/* Whether `c` may stand in a token (RFC 9110 section 5.6.2): methods, header names. */
bool http_is_token_char(char c);

/* The rest of a request line behind its target: " HTTP/1.1\r\n". */
enum { HTTP_HEAD_VERSION_BYTES = 11 };

/* Whether `text` starts with a space and a version of HTTP, known or not. */
bool http_head_is_version(struct bytes text);

/* False: `token` is none of enum http_method. */
bool http_head_find_method(struct bytes token, enum http_method *out) WARN_UNUSED;

/* Problems of request lines; always false, so that a check can end with one. */
bool http_head_refuse_method(struct http_problem *problem);
bool http_head_refuse_version(struct http_problem *problem);
bool http_head_refuse_form(struct http_problem *problem);

/* Checks the form of `line`, its line end included, around request->target, which points into it;
 * derives method and version_minor. */
bool http_head_check_request_line(struct http_request *request, struct bytes line,
                                  struct http_problem *problem) WARN_UNUSED;

/* Checks request->target and derives path, query and, from the absolute form, host. */
bool http_head_check_target(struct http_request *request, struct http_problem *problem) WARN_UNUSED;

/* Checks request->headers, in the order sent, and derives from them what struct http_request names.
 * http_head_check_target() comes first. */
bool http_head_check_fields(struct http_request *request, struct http_problem *problem) WARN_UNUSED;

#endif
