/* SPDX-License-Identifier: Apache-2.0 */
/*
 * feed: the transactions of a log as the server streams them, in order, none twice and none left
 * out, through ends of connections and restarts of the server.
 *
 * Where it is in the log, it knows by two numbers:
 *   position  everything up to here is known; a new connection asks for what is after it
 *   last      the last transaction up to there, when it is known
 *
 * Rules, for a feed without filters: each transaction's version is above `position`, and its
 * prev_version is `last`, or when that is not known, not above `position`. Else something is
 * missing, and the feed ends with an error. With filters a prev_version may be of a transaction
 * that was left out, so only the order is checked.
 *
 * Another log may have transactions with the same numbers. So a new connection asks for `last` once
 * more, which must be the same one by its request id and its time, and is not handed on again. (Not
 * when the log no longer has it; nor with filters, when that would be far back.)
 *
 * Runs on: the main thread. Blocks: feed_run() until the end.
 */
#ifndef CLI_FEED_H
#define CLI_FEED_H

#include "base/err.h"
#include "cli/buffer.h"
#include "cli/command.h"
#include "cli/endpoint.h"

struct yyjson_val;

struct feed_transaction {
    uint64_t version;
    uint64_t prev_version;
    struct bytes request_id;
    struct bytes timestamp;
    struct bytes json; /* the whole, as it came */
    struct yyjson_val *operations;
};

enum feed_operation_type { FEED_WRITE, FEED_DELETE, FEED_RANGE_DELETE };

struct feed_operation {
    enum feed_operation_type type;
    struct buffer key;   /* of a range delete: its begin */
    struct buffer value; /* of a range delete: its end; of a delete: empty */
};

/* Called with each operation in order; false: stop. */
typedef bool feed_take_operation(void *context, const struct feed_operation *operation);

/* Decodes the operations. ERR_INVALID: one is none; ERR_CLOSED: `take` has stopped. */
enum err feed_operations(const struct feed_transaction *transaction, feed_take_operation *take,
                         void *context) WARN_UNUSED;

/* What a command does with a feed. Each returns whether it wants more; all views live during the
 * call. */
struct feed_handler {
    void *context;
    bool (*take_transaction)(void *context, const struct feed_transaction *transaction);
    /* Nothing more stands before `version`: a safe point to resume at. */
    bool (*take_progress)(void *context, uint64_t version);
    /* All that has come is taken, or nothing came for a while (FEED_IDLE_MS). */
    bool (*take_idle)(void *context);
};

enum { FEED_IDLE_MS = 50, FEED_ID_BYTES_MAX = 128, FEED_TIMESTAMP_BYTES_MAX = 40 };

/* A transaction of the log, and what tells it from that of another. */
struct feed_mark {
    uint64_t version; /* 0: none is known */
    char request_id[FEED_ID_BYTES_MAX + 1];
    char timestamp[FEED_TIMESTAMP_BYTES_MAX + 1];
};

struct feed {
    const char *name; /* of the command, for messages */
    const struct endpoint *endpoint;
    struct feed_handler handler;
    bool has_position; /* false: from the server's version on */
    uint64_t position;
    struct feed_mark last;
    const char *filters; /* more of the query, "&begin=...&end=..."; empty: none */
    uint64_t silence_ms; /* a connection that brings nothing for so long is given up */
    uint64_t head;       /* the server's version when it was last asked */
    bool until_end;      /* wants no more once it is there */
};

/* Runs until the handler wants no more or a signal asked to stop: COMMAND_OK; or until nothing
 * can go on, and then it has said why. position and last follow what was handed on. */
enum command_status feed_run(struct feed *feed);

#endif
