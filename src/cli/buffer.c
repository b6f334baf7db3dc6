/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/buffer.h"

#include "base/check.h"
#include "cli/command.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum { FIRST_ROOM = 256 };

static _Noreturn void end_without_memory(void)
{
    (void)fputs("weasel: out of memory\n", stderr);
    exit(COMMAND_FAILED);
}

char *buffer_reserve(struct buffer *buffer, size_t count)
{
    size_t needed;
    if (__builtin_add_overflow(buffer->size, count, &needed) || needed > SIZE_MAX / 2) {
        end_without_memory();
    }
    if (buffer->data == NULL || needed > buffer->room) {
        size_t room = buffer->room * 2 > needed ? buffer->room * 2 : needed;
        room = room < FIRST_ROOM ? FIRST_ROOM : room;
        char *data = realloc(buffer->data, room);
        if (data == NULL) {
            end_without_memory();
        }
        buffer->data = data;
        buffer->room = room;
    }
    return buffer->data + buffer->size;
}

void buffer_add(struct buffer *buffer, struct bytes bytes)
{
    char *at = buffer_reserve(buffer, bytes.size);
    if (bytes.size > 0) {
        memcpy(at, bytes.data, bytes.size);
    }
    buffer->size += bytes.size;
}

void buffer_add_byte(struct buffer *buffer, char byte)
{
    *buffer_reserve(buffer, 1) = byte;
    buffer->size++;
}

void buffer_add_format(struct buffer *buffer, const char *format, ...)
{
    va_list arguments;
    va_list again;
    va_start(arguments, format);
    va_copy(again, arguments);
    int size = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    CHECK(size >= 0);
    (void)vsnprintf(buffer_reserve(buffer, (size_t)size + 1), (size_t)size + 1, format, again);
    va_end(again);
    buffer->size += (size_t)size;
}

void buffer_drop(struct buffer *buffer, size_t count)
{
    CHECK(count <= buffer->size);
    if (count > 0) {
        memmove(buffer->data, buffer->data + count, buffer->size - count);
        buffer->size -= count;
    }
}

const char *buffer_string(struct buffer *buffer)
{
    *buffer_reserve(buffer, 1) = '\0';
    return buffer->data;
}

void buffer_deinit(struct buffer *buffer)
{
    free(buffer->data);
    *buffer = (struct buffer){0};
}
