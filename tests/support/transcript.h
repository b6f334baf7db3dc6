/* SPDX-License-Identifier: Apache-2.0 */
/*
 * transcript: everything that the parser says about a stream of bytes, as text, for one way of
 * splitting the stream over feeds. Equal texts mean equal events, requests, bodies and problems.
 *
 * Used by test_parser.c and fuzz_parser.c. Each feed continues the memory before it, as the parser
 * asks; bytes that have not been fed yet are overwritten, so that reading ahead shows.
 */
#ifndef SUPPORT_TRANSCRIPT_H
#define SUPPORT_TRANSCRIPT_H

#include "http/parser.h"

enum { TRANSCRIPT_BYTES_MAX = 100000, SUMMARY_BYTES_MAX = 4096 };

struct transcript {
    struct http_parser_limits limits;
    /* Called for each complete request, before the next begins; may be NULL. `message` is the
     * request's bytes from the first of its line to the last of its body. */
    void (*on_request)(const struct http_request *request, struct bytes message, struct bytes body);
    char *text; /* NUL-terminated */
    size_t size;
    char summary[SUMMARY_BYTES_MAX]; /* "GET /a?b 'body'", "400" or "MORE", joined by " | " */
    char detail[256];                /* of the problem, when there is one */
};

/* Parses `stream` in pieces that end at each multiple of `step` (0: none) and at `cut`. */
void transcript_run(struct transcript *transcript, struct bytes stream, size_t step, size_t cut);

void transcript_free(struct transcript *transcript);

#endif
