/* SPDX-License-Identifier: Apache-2.0 */
/*
 * router: path and method to route.
 *
 * Patterns are paths with optional parameter segments: "/v1/version", "/v1/retention/{id}". A
 * parameter matches one non-empty segment and is handed over percent-decoded. Literal segments
 * match case-sensitively after percent-decoding; no dot segments, no folding of slashes. Literal
 * segments win over parameters. GET routes serve HEAD too.
 *
 * A router is built once, before threads use it, then only read: any thread may look up.
 */
#ifndef HTTP_ROUTER_H
#define HTTP_ROUTER_H

#include "base/arena.h"
#include "base/bytes.h"
#include "base/err.h"
#include "http/request.h"

struct http_route {
    const char *pattern; /* static */
    enum http_method method;
    uint64_t body_bytes_max; /* 0: a body is refused with 413 */
    /* Accepted Content-Types, NULL-terminated: one of them is wanted even of an empty body, else
     * 415. NULL: any or none. */
    const char *const *media_types;
    const char *body_limit_key; /* configuration key named when body_bytes_max is broken */
};

struct http_router; /* http/router.c */

enum http_router_result {
    ROUTER_FOUND,
    ROUTER_NO_PATH,   /* 404 */
    ROUTER_NO_METHOD, /* 405, or the answer to OPTIONS; *out_allow lists the path's methods */
    ROUTER_BAD_PATH,  /* 400: a bad percent escape */
    ROUTER_NO_MEMORY, /* 503: the arena refused */
};

/* An empty router, or NULL. */
struct http_router *http_router_open(void);
void http_router_close(struct http_router *router);

/* Copies nothing: `route` must outlive the router. ERR_INVALID: pattern not well formed, or the
 * same pattern and method twice. ERR_MEMORY. */
enum err http_router_add(struct http_router *router, const struct http_route *route) WARN_UNUSED;

/* Looks request->path and request->method up; on ROUTER_FOUND fills in the request's params.
 * `out_allow` is the value of an Allow header (static until the router closes), with HEAD and
 * OPTIONS where they apply; for the target "*" it lists every method that any route has. */
enum http_router_result http_router_find(const struct http_router *router,
                                         struct http_request *request, struct arena *arena,
                                         const struct http_route **out_route,
                                         struct bytes *out_allow);

#endif
