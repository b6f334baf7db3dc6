/* SPDX-License-Identifier: Apache-2.0 */
/*
 * transaction_reader: JSON objects out of a file or a pipe, one behind the other, with or without
 * space and line ends between.
 *
 *   transaction_reader_init(&reader, fd, bytes_max);
 *   while (transaction_reader_next(&reader, &text) == OK) { ... reader.place ... }
 *   transaction_reader_deinit(&reader);
 *
 * It finds where an object ends, and nothing else: whether it is JSON is left to whoever reads it.
 * An object is given as soon as its last byte is there, so that a slow writer need not end.
 *
 * Runs on: the main thread. Blocks: while the file has nothing to read. Owns: room for one object
 * and what was read with it. Borrows: `fd`, until deinit.
 */
#ifndef CLI_TRANSACTION_READER_H
#define CLI_TRANSACTION_READER_H

#include "cli/transaction.h"

struct transaction_reader {
    /* Where the object begins that was given last, or what stands in the place of the next one. */
    struct text_place place;
    /* Its own. */
    int fd;
    size_t bytes_max;
    struct buffer
        text; /* read; of it, `taken` bytes were given before, and `given` the last time */
    size_t taken;
    size_t given;
    bool has_ended;
};

/* Objects have `bytes_max` bytes at most. */
void transaction_reader_init(struct transaction_reader *reader, int fd, size_t bytes_max);
void transaction_reader_deinit(struct transaction_reader *reader);

/* The next object, as a view until the next call; when the file ends in the middle of it, what
 * there is. ERR_CLOSED: there is none; ERR_INVALID: something else stands here; ERR_LIMIT: it is
 * too large; ERR_SYSTEM: reading failed. After an error other than ERR_CLOSED there is no next. */
enum err transaction_reader_next(struct transaction_reader *reader, struct bytes *out) WARN_UNUSED;

#endif
