/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http_client: one request after the other to one server.
 *
 *   struct http_client *client = http_client_open(&endpoint);
 *   http_client_call(client, &call, &reply);
 *   http_reply_deinit(&reply);
 *   http_client_close(client);
 *
 * Runs on: the main thread. Blocks: call() until the answer, at most its timeout. Proxies of the
 * environment are not used: a commit goes to the server itself or fails.
 */
#ifndef CLI_HTTP_CLIENT_H
#define CLI_HTTP_CLIENT_H

#include "cli/buffer.h"
#include "cli/endpoint.h"

struct http_client; /* cli/http_client.c */

struct http_call {
    const char *target; /* with the query */
    bool is_post;       /* of `body`, which is JSON; else GET */
    struct bytes body;
    uint64_t timeout_ms;
};

enum http_reach {
    HTTP_NOT_SENT, /* nothing of the request has left */
    HTTP_UNKNOWN,  /* it may have arrived, but there is no whole answer */
    HTTP_ANSWERED,
};

struct http_reply {
    enum http_reach reach;
    unsigned status;
    struct buffer body;
    bool has_retry_after;
    uint64_t retry_after_ms;
    char failure[256]; /* when not answered: why, for people */
};

/* `endpoint` is only read here. */
struct http_client *http_client_open(const struct endpoint *endpoint);
void http_client_close(struct http_client *client); /* NULL is allowed */

/* `out` is set up here; the caller deinits it. */
void http_client_call(struct http_client *client, const struct http_call *call,
                      struct http_reply *out);
void http_reply_deinit(struct http_reply *reply);

/* Appends `text` percent-encoded for a query. */
void http_query_escape(struct bytes text, struct buffer *out);

/* Sleeps `ms` and up to as long again, so that clients that fail together do not retry together;
 * never beyond `deadline_ns` of clock_monotonic_ns(). */
void http_client_pause(uint64_t ms, uint64_t deadline_ns);

/* From the kernel. */
uint64_t http_client_random(void);

#endif
