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

/* Checks request->target and derives path, query and, from the absolute form, host. */
bool http_head_check_target(struct http_request *request, struct http_problem *problem) WARN_UNUSED;

/* Checks request->headers, in the order sent, and derives from them what struct http_request names.
 * http_head_check_target() comes first. */
bool http_head_check_fields(struct http_request *request, struct http_problem *problem) WARN_UNUSED;

#endif
