/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench_requests: makes the requests of a benchmark, each whole in one piece of memory, from parts
 * that were prepared, so that making one costs little beside sending it.
 *
 * Runs on: one thread. Blocks: never. Owns: its memory; without any, the process ends (CHECK).
 */
#ifndef CLI_BENCH_REQUESTS_H
#define CLI_BENCH_REQUESTS_H

#include "base/bytes.h"
#include "cli/bench_keys.h"

enum bench_format { BENCH_PROTOBUF, BENCH_JSON };

struct bench_shape {
    enum bench_format format;
    uint32_t batch;        /* transactions in a request; 1: POST /v1/commit */
    uint32_t operations;   /* writes in a transaction */
    uint32_t reads;        /* point reads in a transaction: of the keys it writes, then of others */
    uint32_t value_bytes;  /* 0 to BENCH_VALUE_BYTES_MAX */
    double check_share;    /* of transactions that read and write nothing: 0 to 1 */
    double conflict_share; /* of transactions with one read that is stale for sure */
    uint64_t stale_version; /* at which `bench_conflict_key` was read: before it was written */
};

enum {
    BENCH_BATCH_MAX = 1000,
    BENCH_ENTRIES_MAX = 10000, /* operations, and reads, of one transaction */
    BENCH_VALUE_BYTES_MAX = 1 << 20,
    BENCH_REQUEST_BYTES_MAX = 1 << 28, /* of what the options multiply to */
    BENCH_KEY_BYTES = 18,
};

/* Is written before a run that has a conflict_share. */
extern const char bench_conflict_key[BENCH_KEY_BYTES + 1];

struct bench_requests; /* cli/bench_requests.c */

/* How large a request may become. */
uint64_t bench_requests_bytes_max(const struct bench_shape *shape);

/* `authority`: for the Host header. `keys` is borrowed. */
struct bench_requests *bench_requests_open(const struct bench_shape *shape, const char *authority,
                                           struct bench_keys *keys);
void bench_requests_close(struct bench_requests *requests); /* NULL is allowed */

/* The next request, that reads at `version`. The view lives until the next call. *io_conflicts is
 * counted up by the transactions in it that are made to conflict. */
struct bytes bench_requests_make(struct bench_requests *requests, uint64_t version,
                                 uint64_t *io_conflicts);

#endif
