/* SPDX-License-Identifier: Apache-2.0 */
/*
 * commit_options: the words of `weasel commit`.
 *
 * Runs on: the main thread. Blocks: never.
 */
#ifndef CLI_COMMIT_OPTIONS_H
#define CLI_COMMIT_OPTIONS_H

#include "cli/command.h"
#include "cli/endpoint.h"
#include "cli/transaction.h"

enum {
    /* What may be put behind a request id: the number of a conflict's retry, and of a transaction
     * in a file. */
    COMMIT_RETRY_SUFFIX_BYTES = 8,
    COMMIT_FILE_SUFFIX_BYTES = 21,
};

struct commit_options {
    struct endpoint endpoint;
    struct transaction *transaction; /* of the words; with `file` there are none */
    const char *file;                /* of transactions, "-": standard input; NULL: none */
    const char *request_id;          /* NULL: not given */
    const char *leader;              /* NULL: any */
    uint64_t read_version;
    bool has_read_version;
    uint64_t conflict_retries;
    uint64_t timeout_ms; /* for each transaction */
    bool as_json;
};

/* Of a request id that `suffix_bytes` more go behind, besides the number of a retry. */
size_t commit_options_id_bytes_max(const struct commit_options *options, size_t suffix_bytes);

/* false: there is nothing to send, and *out_status is what to end with. Deinit in either case. */
bool commit_options_init(struct commit_options *options, int argc, char **argv,
                         enum command_status *out_status);
void commit_options_deinit(struct commit_options *options);

#endif
