/* SPDX-License-Identifier: Apache-2.0 */
/* answers: see answers.h. */
#include "answers.h"

#include "base/check.h"

enum body_end { BODY_NONE, BODY_BY_LENGTH, BODY_BY_CHUNKS, BODY_BY_CLOSE };

/* The line at *rest without its CR LF; false: it is not whole. */
static bool take_line(struct bytes *rest, struct bytes *out)
{
    const char *at = bytes_find(*rest, '\n');
    if (at == NULL) {
        return false;
    }
    size_t size = (size_t)(at - rest->data);
    CHECK(size > 0 && at[-1] == '\r');
    *out = bytes_of(rest->data, size - 1);
    *rest = bytes_drop(*rest, size + 1);
    return true;
}

static void take_status(struct bytes line, struct answer *out)
{
    uint64_t status;
    CHECK(bytes_starts_with(line, BYTES("HTTP/1.1 ")) && line.size > 13 && line.data[12] == ' ');
    CHECK(bytes_parse_u64(bytes_of(line.data + 9, 3), &status) && status >= 100 && status <= 599);
    out->status = (unsigned)status;
}

/* The fields up to the blank line; false: they are not whole. */
static bool take_fields(struct bytes *rest, struct answer *out, enum body_end *out_end,
                        uint64_t *out_length)
{
    struct bytes line;
    bool has_date = false;
    *out_end = BODY_BY_CLOSE;
    *out_length = 0;
    for (;;) {
        char *start = (char *)(uintptr_t)rest->data;
        if (!take_line(rest, &line)) {
            return false;
        }
        if (line.size == 0) {
            CHECK(has_date || out->status == 100);
            return true;
        }
        struct bytes value = line;
        struct bytes name = bytes_split(&value, ':');
        CHECK(value.data != NULL && name.size > 0 && value.size > 1 && value.data[0] == ' ');
        value = bytes_trim(value);
        if (bytes_equal(name, BYTES("Content-Length"))) {
            CHECK(*out_end == BODY_BY_CLOSE && bytes_parse_u64(value, out_length));
            *out_end = BODY_BY_LENGTH;
        } else if (bytes_equal(name, BYTES("Transfer-Encoding"))) {
            CHECK(*out_end == BODY_BY_CLOSE && bytes_equal(value, BYTES("chunked")));
            *out_end = BODY_BY_CHUNKS;
        } else if (bytes_equal(name, BYTES("X-Target"))) {
            out->target = value;
        } else if (bytes_equal(name, BYTES("Date"))) {
            CHECK(!has_date);
            has_date = true;
        } else if (bytes_equal(name, BYTES("Connection")) && bytes_equal(value, BYTES("close"))) {
            out->closes = true;
            memset(start, ' ', line.size); /* told by `closes` alone */
        }
    }
}

/* De-chunks at *rest in place; false: not whole. */
static bool take_chunks(struct bytes *rest, struct bytes *out)
{
    char *to = (char *)(uintptr_t)rest->data;
    size_t size = 0;
    for (;;) {
        struct bytes line;
        if (!take_line(rest, &line)) {
            return false;
        }
        uint64_t chunk = 0;
        CHECK(line.size >= 1 && line.size <= 8);
        for (size_t i = 0; i < line.size; i++) {
            char c = line.data[i];
            CHECK((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'));
            chunk = chunk * 16 + (uint64_t)(c <= '9' ? c - '0' : c - 'a' + 10);
        }
        if (rest->size < chunk + 2) {
            return false;
        }
        CHECK(memcmp(rest->data + chunk, "\r\n", 2) == 0);
        memmove(to + size, rest->data, chunk);
        size += chunk;
        *rest = bytes_drop(*rest, chunk + 2);
        if (chunk == 0) {
            *out = bytes_of(to, size);
            return true;
        }
    }
}

static bool take_body(struct bytes *rest, enum body_end end, uint64_t length, bool ended,
                      struct bytes *out)
{
    switch (end) {
    case BODY_NONE:
        *out = bytes_of(NULL, 0);
        return true;
    case BODY_BY_CHUNKS:
        return take_chunks(rest, out);
    case BODY_BY_LENGTH:
        if (rest->size < length) {
            return false;
        }
        *out = bytes_of(rest->data, length);
        *rest = bytes_drop(*rest, length);
        return true;
    case BODY_BY_CLOSE:
        *out = *rest;
        *rest = bytes_of(NULL, 0);
        return ended;
    }
    UNREACHABLE();
}

/* One answer; false: it is not whole. */
static bool take_answer(struct bytes *rest, bool ended, enum http_method method, struct answer *out)
{
    struct bytes line;
    enum body_end end;
    uint64_t length;
    const char *start = rest->data;
    *out = (struct answer){.status = 0};
    if (!take_line(rest, &line)) {
        return false;
    }
    take_status(line, out);
    if (!take_fields(rest, out, &end, &length)) {
        return false;
    }
    out->head = bytes_of(start, (size_t)(rest->data - start));
    /* For want of memory a refusal may be written before the method is known; nothing follows. */
    bool is_unseen = out->status == 503 && out->closes && rest->size > 0;
    if ((method == HTTP_HEAD && !is_unseen) || out->status < 200 || out->status == 204 ||
        out->status == 304) {
        CHECK(out->status >= 200 || end == BODY_BY_CLOSE);
        end = BODY_NONE;
    }
    CHECK(end != BODY_BY_CLOSE || out->closes);
    return take_body(rest, end, length, ended, &out->body);
}

void answers_split(struct answers *out, char *received, size_t size, bool ended,
                   enum http_method (*method_of)(size_t index))
{
    struct bytes rest = bytes_of(received, size);
    out->count = 0;
    out->is_cut = false;
    while (rest.size > 0) {
        CHECK(out->count < ANSWERS_MAX);
        struct answer *answer = &out->list[out->count];
        if (!take_answer(&rest, ended, method_of(out->count), answer)) {
            out->is_cut = true;
            return;
        }
        if (answer->status >= 200) {
            out->count++;
            CHECK(!answer->closes || rest.size == 0);
        } else {
            CHECK(answer->status == 100);
        }
    }
}
