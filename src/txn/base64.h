/* SPDX-License-Identifier: Apache-2.0 */
/*
 * base64: decodes RFC 4648 base64 (standard alphabet) strictly: padding is required, and only the
 * canonical text of some bytes is taken (no blanks, no bits left over).
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

#endif
