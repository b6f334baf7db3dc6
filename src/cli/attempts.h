/* SPDX-License-Identifier: Apache-2.0 */
/*
 * attempts: sends a transaction until its outcome is known, or time is up.
 *
 * What became of an attempt decides what follows:
 *
 *   answered 200, 409, 4xx              known: the end
 *   answered 503 "not_committed"        nothing has happened: again after Retry-After
 *   no whole answer, any other 5xx      unknown: again under the same id, which commits at most
 *                                       once
 *   nothing was sent, nothing unknown   known: the server cannot be reached; the end
 *
 * When time is nearly up and an attempt's outcome is unknown, /v1/status is asked: its answer is
 * final.
 *
 * Runs on: the main thread. Blocks: until the end, at most until the deadline.
 */
#ifndef CLI_ATTEMPTS_H
#define CLI_ATTEMPTS_H

#include "cli/http_client.h"

enum attempts_end {
    ATTEMPTS_ANSWERED,      /* `reply` is the answer to the transaction: 200, 409 or 4xx */
    ATTEMPTS_ASKED,         /* `reply` is the answer of /v1/status: 200 */
    ATTEMPTS_NOT_COMMITTED, /* refused to the end with 503: `reply` says why */
    ATTEMPTS_UNREACHED,     /* nothing was sent: `reply` says why */
    ATTEMPTS_UNKNOWN,       /* `reply` is the last failure */
};

struct attempts {
    struct http_client *client;
    const char *name; /* of the command: for notes on a terminal */
    struct bytes request_id;
    uint64_t deadline_ns; /* of clock_monotonic_ns(): of all of it, the question too */
    bool tells;           /* of each retry, to standard error */
    bool waits;           /* a question: also for a server that cannot be reached */
};

/* `body` carries attempts->request_id. The caller deinits `out_reply`. */
enum attempts_end attempts_commit(const struct attempts *attempts, struct bytes body,
                                  struct http_reply *out_reply);

/* Asks /v1/status until it answers 200 or 4xx (ATTEMPTS_ASKED), or time is up. `min_version`: 0:
 * none. */
enum attempts_end attempts_ask(const struct attempts *attempts, uint64_t min_version,
                               struct http_reply *out_reply);

/* Why `reply` is no answer, or what its problem details say, for people. Valid until the next call.
 */
const char *attempts_why(struct http_reply *reply);

#endif
