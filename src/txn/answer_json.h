/* SPDX-License-Identifier: Apache-2.0 */
/*
 * answer_json: writes answers as JSON into arena memory, in one allocation each.
 *
 * See txn/codec.h for what they mean. Runs on: the stage or network thread that answers. Never
 * blocks. ERR_MEMORY: the arena was refused.
 */
#ifndef TXN_ANSWER_JSON_H
#define TXN_ANSWER_JSON_H

#include "base/arena.h"
#include "base/bytes.h"
#include "txn/txn.h"

enum err json_encode_result(const struct txn_result *result, struct arena *arena,
                            struct bytes *out) WARN_UNUSED;
enum err json_encode_results(const struct txn_result *results, uint32_t count, struct arena *arena,
                             struct bytes *out) WARN_UNUSED;
enum err json_encode_version(const struct txn_version_info *info, struct arena *arena,
                             struct bytes *out) WARN_UNUSED;

#endif
