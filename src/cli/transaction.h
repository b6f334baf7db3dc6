/* SPDX-License-Identifier: Apache-2.0 */
/*
 * transaction: the JSON of a commit, put together from options or read from a file.
 *
 *   struct transaction *transaction = transaction_open();
 *   transaction_add_write(transaction, key, value);
 *   transaction_set_request_id(transaction, "...");
 *   transaction_write(transaction, &body);
 *   transaction_close(transaction);
 *
 * What the server checks (names of fields, limits) is left to the server. Runs on: the main thread.
 * Blocks: never. All views are copied.
 */
#ifndef CLI_TRANSACTION_H
#define CLI_TRANSACTION_H

#include "base/err.h"
#include "cli/buffer.h"

#include <stdbool.h>
#include <stdint.h>

struct transaction; /* cli/transaction.c */

struct transaction *transaction_open(void);
void transaction_close(struct transaction *transaction); /* NULL is allowed */

/* In a text: lines, and characters of a line, from 1 on. */
struct text_place {
    uint64_t line;
    uint64_t column;
};

/* Reads the whole from the JSON of the API, which begins with '{', at `place`. ERR_INVALID:
 * `out_mistake` gets the reason behind "LINE:COLUMN: ", and nothing is changed. */
enum err transaction_read(struct transaction *transaction, struct bytes text,
                          struct text_place place, struct buffer *out_mistake) WARN_UNUSED;

void transaction_add_write(struct transaction *transaction, struct bytes key, struct bytes value);
void transaction_add_delete(struct transaction *transaction, struct bytes key);
void transaction_add_range_delete(struct transaction *transaction, struct bytes begin,
                                  struct bytes end);

/* `version` NULL: the read version. */
void transaction_add_point_read(struct transaction *transaction, struct bytes key,
                                const uint64_t *version);
void transaction_add_range_read(struct transaction *transaction, struct bytes begin,
                                struct bytes end, const uint64_t *version);

/* Whether it has one; as a view that lives until it is set, {NULL, 0} when it is no string. */
bool transaction_has_request_id(const struct transaction *transaction, struct bytes *out);

void transaction_set_request_id(struct transaction *transaction, struct bytes request_id);
void transaction_set_read_version(struct transaction *transaction, uint64_t version);
void transaction_set_leader(struct transaction *transaction, struct bytes leader);

/* Neither operations nor preconditions. */
bool transaction_is_empty(const struct transaction *transaction);

/* Whether a precondition has a version of its own. */
bool transaction_has_fixed_reads(const struct transaction *transaction);

/* Appends the JSON. */
void transaction_write(const struct transaction *transaction, struct buffer *out);

#endif
