/* SPDX-License-Identifier: Apache-2.0 */
/*
 * feed_event: reads the data of one event of the feed (cli/feed.h has the rules).
 *
 * Runs on: the main thread. Blocks: never.
 */
#ifndef CLI_FEED_EVENT_H
#define CLI_FEED_EVENT_H

#include "cli/feed.h"

struct yyjson_doc;

/* ERR_INVALID: it is not a transaction. The views live as long as `data` and *out_doc, which the
 * caller frees with yyjson_doc_free(). */
enum err feed_event_read(struct bytes data, struct feed_transaction *out,
                         struct yyjson_doc **out_doc) WARN_UNUSED;

enum err feed_event_read_progress(struct bytes data, uint64_t *out_version) WARN_UNUSED;

/* The reason that the event `end` with this data gives, as a string of printable ASCII; cut to
 * `room`, empty when there is none. */
void feed_event_read_end(struct bytes data, char *out, size_t room);

/* Whether the transaction may follow where `feed` is; else *out_why is added to. */
bool feed_event_follows(const struct feed *feed, const struct feed_transaction *transaction,
                        struct buffer *out_why);

/* What it is remembered by, and whether it is the one remembered. */
struct feed_mark feed_event_mark(const struct feed_transaction *transaction);
bool feed_event_is(const struct feed_transaction *transaction, const struct feed_mark *mark);

#endif
