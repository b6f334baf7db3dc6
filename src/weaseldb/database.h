/* SPDX-License-Identifier: Apache-2.0 */
/*
 * database: the commit log and the commit service of this process, from opening to closing.
 *
 * Runs on: the main thread. Blocks: database_open() for recovery, with progress in the log.
 */
#ifndef WEASELDB_DATABASE_H
#define WEASELDB_DATABASE_H

#include "commit/commit.h"
#include "weaseldb/config.h"

struct database {
    struct storage *storage;
    struct log *log;
    struct commit_service *commits;
    uint64_t recovery_ns; /* how long it took */
};

/* Takes the directory, recovers, and logs what it found. On an error nothing is left open, and the
 * reason has been logged. `log_failed` is called on a helper thread when the log has failed behind
 * the back of all commits: the process must end. */
enum err database_open(const struct config *config, void (*log_failed)(void),
                       struct database *out) WARN_UNUSED;

/* After the server has ended. */
void database_close(struct database *database);

struct txn_limits database_limits(const struct config *config);

#endif
