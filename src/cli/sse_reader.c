/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/sse_reader.h"

void sse_reader_init(struct sse_reader *reader, sse_take *take, void *context)
{
    *reader = (struct sse_reader){.take = take, .context = context};
}

void sse_reader_deinit(struct sse_reader *reader)
{
    buffer_deinit(&reader->line);
    buffer_deinit(&reader->event);
    buffer_deinit(&reader->id);
    buffer_deinit(&reader->data);
}

void sse_reader_restart(struct sse_reader *reader)
{
    buffer_clear(&reader->line);
    buffer_clear(&reader->event);
    buffer_clear(&reader->data);
    reader->after_cr = false;
    reader->has_begun = false;
}

static enum err dispatch(struct sse_reader *reader)
{
    bool wanted = true;
    if (reader->data.size > 0) {
        struct bytes data = buffer_bytes(&reader->data);
        struct bytes event = buffer_bytes(&reader->event);
        data.size--; /* the last LF */
        wanted =
            reader->take(reader->context, &(struct sse_message){
                                              .event = event.size > 0 ? event : BYTES("message"),
                                              .id = buffer_bytes(&reader->id),
                                              .data = data,
                                          });
    }
    buffer_clear(&reader->data);
    buffer_clear(&reader->event);
    return wanted ? OK : ERR_CLOSED;
}

static void replace(struct buffer *buffer, struct bytes value)
{
    buffer_clear(buffer);
    buffer_add(buffer, value);
}

static enum err take_line(struct sse_reader *reader, struct bytes line)
{
    if (!reader->has_begun && bytes_starts_with(line, BYTES("\xef\xbb\xbf"))) {
        line = bytes_drop(line, 3);
    }
    reader->has_begun = true;
    if (line.size == 0) {
        return dispatch(reader);
    }
    struct bytes value = line;
    struct bytes field = bytes_split(&value, ':');
    if (value.size > 0 && value.data[0] == ' ') {
        value = bytes_drop(value, 1);
    }
    uint64_t number;
    if (bytes_equal(field, BYTES("data"))) {
        if (value.size > SSE_EVENT_BYTES_MAX - reader->data.size) {
            return ERR_LIMIT;
        }
        buffer_add(&reader->data, value);
        buffer_add_byte(&reader->data, '\n');
    } else if (bytes_equal(field, BYTES("event"))) {
        replace(&reader->event, value);
    } else if (bytes_equal(field, BYTES("id")) && bytes_find(value, '\0') == NULL) {
        replace(&reader->id, value);
    } else if (bytes_equal(field, BYTES("retry")) && bytes_parse_u64(value, &number)) {
        reader->has_retry = true;
        reader->retry_ms = number;
    }
    return OK;
}

/* Where the first CR or LF stands; NULL: nowhere. */
static const char *find_end(struct bytes bytes)
{
    const char *lf = bytes_find(bytes, '\n');
    size_t before = lf == NULL ? bytes.size : (size_t)(lf - bytes.data);
    const char *cr = bytes_find(bytes_of(bytes.data, before), '\r');
    return cr != NULL ? cr : lf;
}

enum err sse_reader_push(struct sse_reader *reader, struct bytes piece)
{
    enum err err = OK;
    while (err == OK && piece.size > 0) {
        if (reader->after_cr && piece.data[0] == '\n') {
            piece = bytes_drop(piece, 1);
        }
        reader->after_cr = false;
        const char *end = find_end(piece);
        size_t size = end == NULL ? piece.size : (size_t)(end - piece.data);
        if (size > SSE_EVENT_BYTES_MAX - reader->line.size) {
            return ERR_LIMIT;
        }
        struct bytes line = bytes_of(piece.data, size);
        if (end == NULL) {
            buffer_add(&reader->line, line);
            return OK;
        }
        reader->after_cr = *end == '\r';
        piece = bytes_drop(piece, size + 1);
        if (reader->line.size > 0) {
            buffer_add(&reader->line, line);
            line = buffer_bytes(&reader->line);
        }
        err = take_line(reader, line);
        buffer_clear(&reader->line);
    }
    return err;
}
