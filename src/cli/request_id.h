/* SPDX-License-Identifier: Apache-2.0 */
/*
 * request_id: names for transactions that nobody else makes.
 *
 * Runs on: any thread. Blocks: never.
 */
#ifndef CLI_REQUEST_ID_H
#define CLI_REQUEST_ID_H

#include "base/bytes.h"

enum {
    REQUEST_ID_RANDOM_BYTES = 32, /* hex of 128 random bits */
};

/* NUL-terminated. */
void request_id_make(char out[REQUEST_ID_RANDOM_BYTES + 1]);

/* 1 to 128 printable ASCII characters, no blanks. */
bool request_id_is_valid(struct bytes id);

#endif
