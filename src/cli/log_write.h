/* SPDX-License-Identifier: Apache-2.0 */
/*
 * log_write: one record of a log on standard output, for people or for programs.
 *
 * Runs on: the main thread.
 */
#ifndef CLI_LOG_WRITE_H
#define CLI_LOG_WRITE_H

#include "commitlog/format.h"

struct log_write {
    const struct log_record *record;
    struct bytes operations; /* encoded */
    const struct log_batch_header *batch;
    uint64_t before; /* the version before the record */
    bool keys_only;
};

/* A line for the record and one for each operation, indented. */
void log_write_text(const struct log_write *what);

/* One object on a line. A commit:
 *   {"type":"commit","version":V,"prev_version":V-1,"request_id":"...","timestamp":"...",
 *    "batch":N,"payload_hash":"16 hex digits","operations":[...]}
 * with operations as in POST /v1/commit; with keys_only "value_bytes" instead of "value". A fence:
 *   {"type":"fence","prev_version":V,"request_id":"...","timestamp":"...","batch":N} */
void log_write_json(const struct log_write *what);

#endif
