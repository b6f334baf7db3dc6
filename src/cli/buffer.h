/* SPDX-License-Identifier: Apache-2.0 */
/*
 * buffer: bytes that grow at their end.
 *
 *   struct buffer text = {0};
 *   buffer_add(&text, bytes);
 *   buffer_deinit(&text);
 *
 * For the command line only: when there is no memory, the process says so and ends with
 * COMMAND_FAILED. Runs on: any thread, one at a time. Owns: its memory.
 */
#ifndef CLI_BUFFER_H
#define CLI_BUFFER_H

#include "base/bytes.h"

struct buffer {
    char *data; /* NULL while nothing was ever added */
    size_t size;
    size_t room;
};

/* Makes room for `count` bytes behind what there is, and returns where they begin; the size stays.
 */
char *buffer_reserve(struct buffer *buffer, size_t count);

void buffer_add(struct buffer *buffer, struct bytes bytes);
void buffer_add_byte(struct buffer *buffer, char byte);
__attribute__((format(printf, 2, 3))) void buffer_add_format(struct buffer *buffer,
                                                             const char *format, ...);

/* Drops the first `count` bytes (count <= size). */
void buffer_drop(struct buffer *buffer, size_t count);

/* Keeps the memory. */
static inline void buffer_clear(struct buffer *buffer)
{
    buffer->size = 0;
}

/* Valid until something is added. */
static inline struct bytes buffer_bytes(const struct buffer *buffer)
{
    return bytes_of(buffer->data == NULL ? "" : buffer->data, buffer->size);
}

/* The same as a string: a NUL is kept behind it. */
const char *buffer_string(struct buffer *buffer);

void buffer_deinit(struct buffer *buffer);

#endif
