/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench_answer: reads of an HTTP answer what a benchmark must know, and no more.
 *
 * Trusts the server to speak HTTP with a Content-Length, but never reads beyond what was given.
 * Runs on: any thread. Blocks: never, never allocates.
 */
#ifndef CLI_BENCH_ANSWER_H
#define CLI_BENCH_ANSWER_H

#include "base/bytes.h"

struct bench_answer {
    unsigned status;
    uint64_t committed;  /* transactions */
    uint64_t refused;    /* transactions: HTTP status 409 */
    uint64_t shed;       /* transactions: 503 */
    uint64_t others;     /* transactions of a batch that were answered otherwise */
    struct bytes detail; /* what the last of these says, in `whole` */
    uint64_t version;    /* the highest that is named; 0: none */
};

/* The size of the whole answer that `received` begins with; 0: its head is not complete. false: it
 * is no answer with a Content-Length. */
bool bench_answer_measure(struct bytes received, size_t *out_size);

/* Reads one whole answer, whose body is Protobuf: a CommitResult, or CommitResults with `is_batch`.
 * false: it is not. */
bool bench_answer_read(struct bytes whole, bool is_batch, struct bench_answer *out);

/* The answer's body. */
struct bytes bench_answer_body(struct bytes whole);

#endif
