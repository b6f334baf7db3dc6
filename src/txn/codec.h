/* SPDX-License-Identifier: Apache-2.0 */
/*
 * codec: the formats of transactions on the wire, one file each, and their registry.
 *
 * All formats mean the same, keep the same limits and refuse the same mistakes, naming the field.
 * Adding one is a file with a `const struct txn_codec` and a line in codec.c.
 *
 * Runs on: network threads, and the pipeline's last stage (encoding). Never blocks.
 */
#ifndef TXN_CODEC_H
#define TXN_CODEC_H

#include "base/arena.h"
#include "base/bytes.h"
#include "http/problem.h"
#include "txn/txn.h"

struct txn_codec {
    const char *name;               /* "json" */
    const char *const *media_types; /* ends with NULL; the first is the one that answers carry */

    /* Decode a body. `body` is changed in place and must live, like `arena`, as long as the result.
     * The REQUEST_BODY_SLACK bytes behind it are written and restored.
     * ERR_INVALID, ERR_LIMIT: *out_problem says what, where and what is allowed (its texts live in
     * the arena); ERR_MEMORY: the arena was refused. On errors *out is untouched. */
    enum err (*decode_commit)(struct bytes body, const struct txn_limits *limits,
                              struct arena *arena, struct txn *out,
                              struct http_problem *out_problem) WARN_UNUSED;
    enum err (*decode_batch)(struct bytes body, const struct txn_limits *limits,
                             struct arena *arena, struct txn_batch *out,
                             struct http_problem *out_problem) WARN_UNUSED;

    /* Encode an answer into arena memory. ERR_MEMORY: the arena was refused. */
    enum err (*encode_result)(const struct txn_result *result, struct arena *arena,
                              struct bytes *out) WARN_UNUSED;
    enum err (*encode_results)(const struct txn_result *results, uint32_t count,
                               struct arena *arena, struct bytes *out) WARN_UNUSED;
    enum err (*encode_version)(const struct txn_version_info *info, struct arena *arena,
                               struct bytes *out) WARN_UNUSED;
};

/* All media types of all codecs, NULL-terminated, for routes to declare: static. */
extern const char *const txn_codec_media_types[];

/* The codec for a Content-Type value (parameters ignored, case folded); NULL: none. */
const struct txn_codec *txn_codec_of(struct bytes content_type);

/* The codec for an answer: the one that `accept` wants most; of several, and when it wants none,
 * `preferred` (NULL: JSON), then the registry's order. */
const struct txn_codec *txn_codec_for_answer(struct bytes accept,
                                             const struct txn_codec *preferred);

#endif
