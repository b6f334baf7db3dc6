/* SPDX-License-Identifier: Apache-2.0 */
/*
 * text: how keys and values, which are bytes, are written on a command line and to a terminal.
 *
 * Escaped text stands for itself but for \\ \n \r \t and \xNN. What is written so is read back as
 * the same bytes. Runs on: any thread. Blocks: never. Allocates: buffers.
 */
#ifndef CLI_TEXT_H
#define CLI_TEXT_H

#include "base/err.h"
#include "cli/buffer.h"

enum text_form {
    TEXT_ESCAPED,
    TEXT_HEX,    /* two digits a byte, either case */
    TEXT_BASE64, /* RFC 4648, padded, canonical */
};

/* Appends to `out` the bytes that `text` means. ERR_INVALID: *out_mistake says, statically, why it
 * means none; `out` is as it was. */
enum err text_read(struct bytes text, enum text_form form, struct buffer *out,
                   const char **out_mistake) WARN_UNUSED;

/* Appends `bytes` as escaped text: printable ASCII as it is, all else escaped. */
void text_write_escaped(struct bytes bytes, struct buffer *out);

/* Appends `bytes` as padded base64. */
void text_write_base64(struct bytes bytes, struct buffer *out);

/* Splits "KEY=VALUE" at the first '=' that is not of the key's base64 padding. false: there is
 * none. */
bool text_split_pair(struct bytes pair, enum text_form form, struct bytes *out_key,
                     struct bytes *out_value);

/* Splits "KEY@VERSION" at its last '@', when digits below 2^53 stand behind it; else all of it is
 * the key, and *out_has_version false. */
void text_split_version(struct bytes text, struct bytes *out_key, bool *out_has_version,
                        uint64_t *out_version);

#endif
