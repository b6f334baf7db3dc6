/* SPDX-License-Identifier: Apache-2.0 */
/*
 * commit_options: the words of `weasel commit`, made into a transaction.
 *
 * Runs on: the main thread. Blocks: reading a file or standard input.
 */
#ifndef CLI_COMMIT_OPTIONS_H
#define CLI_COMMIT_OPTIONS_H

#include "cli/command.h"
#include "cli/endpoint.h"
#include "cli/transaction.h"

struct commit_options {
    struct endpoint endpoint;
    struct transaction *transaction; /* without a request id */
    struct bytes request_id;         /* the one given, or a random one */
    uint64_t conflict_retries;
    uint64_t deadline_ns; /* of clock_monotonic_ns() */
    bool as_json;
    struct buffer id_room; /* for request_id */
};

/* false: there is nothing to send, and *out_status is what to end with. Deinit in either case. */
bool commit_options_init(struct commit_options *options, int argc, char **argv,
                         enum command_status *out_status);
void commit_options_deinit(struct commit_options *options);

#endif
