/* SPDX-License-Identifier: Apache-2.0 */
/*
 * embedded: files that scripts/embed has made part of the program, as answers.
 *
 * An ETag is a hash of the file, so a client that keeps one asks with If-None-Match and is answered
 * 304 until it changes.
 *
 * Runs on: network threads. Never blocks.
 */
#ifndef WEASELDB_EMBEDDED_H
#define WEASELDB_EMBEDDED_H

#include "engine/exchange.h"

struct embedded_file {
    const unsigned char *data;
    const size_t *size;
    const char *etag; /* with its quotes */
    struct bytes media_type;
};

/* What scripts/embed calls the file NAME, as the first three fields. */
#define EMBEDDED_FILE(name) embedded_##name, &embedded_##name##_bytes, embedded_##name##_etag

/* Declares them. */
#define EMBEDDED_FILE_DECLARE(name)                                                                \
    extern const unsigned char embedded_##name[];                                                  \
    extern const size_t embedded_##name##_bytes;                                                   \
    extern const char embedded_##name##_etag[]

/* Sets the answer: the file, or 304 when the request says that the client has it. */
void embedded_file_answer(struct exchange *exchange, const struct embedded_file *file);

#endif
