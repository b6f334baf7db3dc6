/* SPDX-License-Identifier: Apache-2.0 */
/*
 * follow_store: a table of keys and values in an SQLite database, and how far in the log it is.
 *
 *   CREATE TABLE kv (key BLOB PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID
 *   CREATE TABLE weasel_follow (table_name TEXT PRIMARY KEY, log TEXT NOT NULL,
 *                               version INTEGER NOT NULL, last_version INTEGER NOT NULL) WITHOUT
 * ROWID
 *
 * What a transaction of the log changes and the version it leads to are in one transaction of
 * SQLite, so that after a crash both are there or neither is.
 *
 * Runs on: the main thread. Blocks: on the disk, and up to 10 s for other writers of the database.
 */
#ifndef CLI_FOLLOW_STORE_H
#define CLI_FOLLOW_STORE_H

#include "base/err.h"
#include "cli/feed.h"

struct follow_store; /* cli/follow_store.c */

/* Where the table is in the log; all 0 and empty when it is new. */
struct follow_place {
    uint64_t version;      /* everything up to here is in the table */
    struct feed_mark last; /* the last transaction up to there */
};

/* Opens or makes the database and the table. ERR_INVALID: it is not a follower's; ERR_SYSTEM:
 * SQLite has failed. `out_mistake` says more in either case. */
enum err follow_store_open(const char *path, const char *table, struct follow_store **out_store,
                           struct follow_place *out_place, struct buffer *out_mistake) WARN_UNUSED;
void follow_store_close(struct follow_store *store); /* NULL is allowed; drops what has begun */

/* Each ERR_SYSTEM: SQLite has failed, and follow_store_mistake() says why. A transaction of SQLite
 * begins by itself with the first. */
enum err follow_store_apply(struct follow_store *store,
                            const struct feed_operation *operation) WARN_UNUSED;

/* Makes what was applied durable together with `place`. ERR_INVALID: another process has moved the
 * table on meanwhile; nothing of it is there. */
enum err follow_store_commit(struct follow_store *store,
                             const struct follow_place *place) WARN_UNUSED;

const char *follow_store_mistake(const struct follow_store *store);

#endif
