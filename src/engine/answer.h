/* SPDX-License-Identifier: Apache-2.0 */
/*
 * answer: the answers that the engine gives by itself, and the count of all answers.
 *
 * Runs on: the home poller, which owns the connection. Never blocks.
 */
#ifndef ENGINE_ANSWER_H
#define ENGINE_ANSWER_H

#include "engine/poller.h"

extern const struct http_problem ANSWER_NO_MEMORY; /* 503: the memory budget refused */
extern const struct http_problem ANSWER_RING_FULL; /* 503: the pipeline's ring is full */
extern const struct http_problem ANSWER_TIMEOUT;   /* 408: the request did not come in time */
extern const struct http_problem ANSWER_CUT_SHORT; /* 400: the client ended amid a request */
extern const struct http_problem ANSWER_NOTHING;   /* 500: a pipeline gave no answer */

enum answer_routed {
    ANSWER_NONE,    /* the route is found, nothing speaks against the request so far */
    ANSWER_PROBLEM, /* refused: *out_problem says why; header lines are in the exchange already */
    ANSWER_GIVEN,   /* the exchange holds the answer (OPTIONS) */
};

/* Finds the route; checks method, media type and body size before the body is read. */
enum answer_routed answer_route(struct engine_core *core, struct exchange *exchange, bool has_body,
                                struct http_problem *out_problem);

/* Forgets all of the request but what may be known of its first line. */
void answer_forget_request(struct active *active);

/* Appends a whole 503 to the poller's output, without any memory. */
void answer_canned_no_memory(struct poller *poller);

/* The same for accept threads, which refuse a connection. The text is static but for its date. */
size_t answer_write_refusal(char *out, size_t room, int64_t now_sec);

/* "Date: ...\r\n" of that second since the epoch. */
void answer_write_date_line(char out[HTTP_DATE_LINE_BYTES], int64_t now_sec);

/* Counts the answer, and logs it when the access log is on. */
void answer_count(struct poller *poller, const struct exchange *exchange);

#endif
