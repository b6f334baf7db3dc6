/* SPDX-License-Identifier: Apache-2.0 */
/* Counts brackets outside of strings. Where they do not match, the object ends at a wrong place,
 * and is refused by whoever reads it as JSON. */
#include "cli/transaction_reader.h"

#include <errno.h>
#include <unistd.h>

enum { READ_BYTES = 1 << 16 };

/* How far the end of an object has been looked for. */
struct scan {
    size_t at; /* from its beginning */
    unsigned long depth;
    bool in_string;
    bool is_escaped;
};

void transaction_reader_init(struct transaction_reader *reader, int fd, size_t bytes_max)
{
    *reader = (struct transaction_reader){
        .place = {.line = 1, .column = 1}, .fd = fd, .bytes_max = bytes_max};
}

void transaction_reader_deinit(struct transaction_reader *reader)
{
    buffer_deinit(&reader->text);
}

/* Reads more; at the end of the file it sets has_ended. */
static enum err fill(struct transaction_reader *reader)
{
    buffer_drop(&reader->text, reader->taken);
    reader->taken = 0;
    char *room = buffer_reserve(&reader->text, READ_BYTES);
    ssize_t got;
    do {
        got = read(reader->fd, room, READ_BYTES);
    } while (got < 0 && errno == EINTR);
    if (got < 0) {
        return ERR_SYSTEM;
    }
    reader->text.size += (size_t)got;
    reader->has_ended = got == 0;
    return OK;
}

static void take(struct transaction_reader *reader, size_t count)
{
    const char *bytes = reader->text.data + reader->taken;
    for (size_t i = 0; i < count; i++) {
        if (bytes[i] == '\n') {
            reader->place.line++;
            reader->place.column = 1;
        } else if (((unsigned char)bytes[i] & 0xc0) != 0x80) {
            reader->place.column++; /* columns count characters of UTF-8 */
        }
    }
    reader->taken += count;
}

/* Takes blanks and line ends. ERR_CLOSED: nothing else is left. */
static enum err skip_space(struct transaction_reader *reader)
{
    for (;;) {
        while (reader->taken < reader->text.size) {
            char c = reader->text.data[reader->taken];
            if (c != ' ' && c != '\t' && c != '\r' && c != '\n') {
                return OK;
            }
            take(reader, 1);
        }
        if (reader->has_ended) {
            return ERR_CLOSED;
        }
        enum err err = fill(reader);
        if (err != OK) {
            return err;
        }
    }
}

/* Whether the object ends within `text`; then scan->at is behind it. */
static bool find_end(struct bytes text, struct scan *scan)
{
    while (scan->at < text.size) {
        char c = text.data[scan->at++];
        if (scan->is_escaped) {
            scan->is_escaped = false;
        } else if (scan->in_string) {
            scan->is_escaped = c == '\\';
            scan->in_string = c != '"';
        } else if (c == '"') {
            scan->in_string = true;
        } else if (c == '{' || c == '[') {
            scan->depth++;
        } else if ((c == '}' || c == ']') && --scan->depth == 0) {
            return true;
        }
    }
    return false;
}

enum err transaction_reader_next(struct transaction_reader *reader, struct bytes *out)
{
    struct scan scan = {0};
    take(reader, reader->given);
    reader->given = 0;
    enum err err = skip_space(reader);
    if (err != OK) {
        return err;
    }
    if (reader->text.data[reader->taken] != '{') {
        return ERR_INVALID;
    }
    for (;;) {
        struct bytes text = bytes_drop(buffer_bytes(&reader->text), reader->taken);
        bool is_whole = find_end(text, &scan) || reader->has_ended;
        if (scan.at > reader->bytes_max) {
            return ERR_LIMIT;
        }
        if (is_whole) {
            reader->given = scan.at;
            *out = bytes_of(text.data, scan.at);
            return OK;
        }
        err = fill(reader);
        if (err != OK) {
            return err;
        }
    }
}
