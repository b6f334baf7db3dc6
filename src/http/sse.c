/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sse: one routine both measures and writes, so that the two cannot differ.
 *
 * A break inside an event's type or id would let its text forge fields: that is a programmer's
 * error. In data it makes a further data line.
 */
#include "http/sse.h"

#include "base/check.h"

/* Where the event goes; `out` NULL: it is only measured. */
struct writer {
    char *out;
    size_t size;
};

static void put(struct writer *writer, struct bytes piece)
{
    if (writer->out != NULL && piece.size > 0) {
        memcpy(writer->out + writer->size, piece.data, piece.size);
    }
    writer->size += piece.size;
}

static void put_line(struct writer *writer, struct bytes name, struct bytes value)
{
    put(writer, name);
    put(writer, value);
    put(writer, BYTES("\n"));
}

/* The size of the line that `text` starts with, without its break. */
static size_t line_size(struct bytes text)
{
    size_t size = 0;
    while (size < text.size && text.data[size] != '\r' && text.data[size] != '\n') {
        size++;
    }
    return size;
}

static void put_single(struct writer *writer, struct bytes name, struct bytes value)
{
    if (value.data != NULL) {
        CHECK(line_size(value) == value.size);
        CHECK(value.size == 0 || memchr(value.data, '\0', value.size) == NULL);
        put_line(writer, name, value);
    }
}

static void put_data(struct writer *writer, struct bytes text)
{
    for (;;) {
        size_t size = line_size(text);
        put_line(writer, BYTES("data: "), bytes_of(text.data, size));
        if (size == text.size) {
            return;
        }
        bool pair = text.size - size > 1 && text.data[size] == '\r' && text.data[size + 1] == '\n';
        text = bytes_drop(text, size + (pair ? 2 : 1));
    }
}

static size_t put_event(const struct sse_event *event, char *out)
{
    struct writer writer = {out, 0};
    if (event->has_retry) {
        char digits[20];
        size_t size = bytes_format_u64(digits, event->retry_ms);
        put_line(&writer, BYTES("retry: "), bytes_of(digits, size));
    }
    put_single(&writer, BYTES("event: "), event->event);
    put_single(&writer, BYTES("id: "), event->id);
    if (event->data.data != NULL) {
        put_data(&writer, event->data);
    }
    put(&writer, BYTES("\n"));
    return writer.size;
}

size_t sse_event_bytes(const struct sse_event *event)
{
    return put_event(event, NULL);
}

size_t sse_event_write(const struct sse_event *event, char *out)
{
    CHECK(out != NULL);
    return put_event(event, out);
}
