/* SPDX-License-Identifier: Apache-2.0 */
/*
 * base64: RFC 4648 base64 (standard alphabet). Decoding is strict: padding is required, and only
 * the canonical text of some bytes is taken (no blanks, no bits left over).
 *
 * Runs on: any thread. Never blocks, never allocates.
 */
#ifndef TXN_BASE64_H
#define TXN_BASE64_H

#include "base/bytes.h"
#include "base/err.h"

/* Decodes `text` into `out`, which has room for text.size bytes and may be text.data itself.
 * ERR_INVALID: `text` is not canonical; what is at `out` is undefined. */
enum err base64_decode(struct bytes text, char *out, size_t *out_size) WARN_UNUSED;

static inline size_t base64_encoded_bytes(size_t size)
{
    return (size + 2) / 3 * 4;
}

/* Writes the text of `bytes` at `out`, which has room for base64_encoded_bytes() of them; returns
 * that size. Pieces may follow each other when all but the last are a multiple of three bytes. */
size_t base64_encode(struct bytes bytes, char *out);

#endif
