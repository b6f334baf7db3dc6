/* SPDX-License-Identifier: Apache-2.0 */
/*
 * problem: writes error bodies into a buffer of fixed size, so that an error can be told even when
 * there is no memory. Only `detail` can be long; it is cut, at a character, to what is left beside
 * the members that must fit.
 */
#include "http/problem.h"

#include "base/check.h"
#include "http/status.h"

enum {
    NAME_BYTES_MAX = 64, /* of a slug, an outcome, a configuration key: all static, ours */
    /* What follows the detail at most: three texts with their member names, two numbers, the end */
    TAIL_BYTES_MAX = 2 * NAME_BYTES_MAX + 128,
};

const char *http_status_title(unsigned status)
{
#define TITLE(code, title) [(code)-HTTP_STATUS_FIRST] = title,
    static const char *const titles[HTTP_STATUS_END - HTTP_STATUS_FIRST] = {
        HTTP_STATUS_LIST(TITLE)};
#undef TITLE
    const char *title = NULL;
    if (status >= HTTP_STATUS_FIRST && status < HTTP_STATUS_END) {
        title = titles[status - HTTP_STATUS_FIRST];
    }
    return title != NULL ? title : "Unknown";
}

struct writer {
    char *at;
    char *end;
};

static void write_text(struct writer *writer, const char *text)
{
    size_t size = strlen(text);
    CHECK(size <= (size_t)(writer->end - writer->at));
    memcpy(writer->at, text, size);
    writer->at += size;
}

static void write_u64(struct writer *writer, uint64_t value)
{
    CHECK(writer->end - writer->at >= 20);
    writer->at += bytes_format_u64(writer->at, value);
}

/* The size of the UTF-8 character at `text` (RFC 3629: no overlong forms, no surrogates, nothing
 * above U+10FFFF); 0: it is none. */
static size_t utf8_size(const unsigned char *text)
{
    unsigned char first = text[0];
    unsigned char low = 0x80;
    unsigned char high = 0xbf;
    size_t size;
    if (first < 0x80) {
        return 1;
    }
    if (first >= 0xc2 && first <= 0xdf) {
        size = 2;
    } else if (first >= 0xe0 && first <= 0xef) {
        size = 3;
        low = first == 0xe0 ? 0xa0 : low;
        high = first == 0xed ? 0x9f : high;
    } else if (first >= 0xf0 && first <= 0xf4) {
        size = 4;
        low = first == 0xf0 ? 0x90 : low;
        high = first == 0xf4 ? 0x8f : high;
    } else {
        return 0;
    }
    for (size_t i = 1; i < size; i++) {
        if (text[i] < low || text[i] > high) {
            return 0; /* also at the NUL that ends the text */
        }
        low = 0x80;
        high = 0xbf;
    }
    return size;
}

/* The text as the inside of a JSON string. A detail may quote a peer's bytes: what is not UTF-8
 * becomes U+FFFD. */
static void write_escaped(struct writer *writer, const char *text, const char *end)
{
    static const char digits[] = "0123456789abcdef";
    for (const unsigned char *at = (const unsigned char *)text; *at != '\0';) {
        char escape[6] = {'\\', 'u', '0', '0', 0, 0};
        const void *piece = at;
        size_t step = utf8_size(at);
        size_t size = step;
        if (step == 0) {
            piece = "\xef\xbf\xbd";
            size = 3;
            step = 1;
        } else if (*at == '"' || *at == '\\') {
            escape[1] = (char)*at;
            piece = escape;
            size = 2;
        } else if (*at < 0x20 || *at == 0x7f) {
            escape[4] = digits[*at >> 4];
            escape[5] = digits[*at & 15];
            piece = escape;
            size = 6;
        }
        if (size > (size_t)(end - writer->at)) {
            return;
        }
        memcpy(writer->at, piece, size);
        writer->at += size;
        at += step;
    }
}

static void write_member(struct writer *writer, const char *name, const char *value)
{
    CHECK(strlen(value) <= NAME_BYTES_MAX);
    write_text(writer, name);
    write_escaped(writer, value, writer->end);
    write_text(writer, "\"");
}

size_t http_problem_write(const struct http_problem *problem, char *out, size_t room)
{
    CHECK(room >= HTTP_PROBLEM_BYTES_MAX);
    struct writer writer = {out, out + HTTP_PROBLEM_BYTES_MAX};
    if (problem->type != NULL) {
        write_member(&writer, "{\"type\":\"urn:weaseldb:problem:", problem->type);
    } else {
        write_text(&writer, "{\"type\":\"about:blank\"");
    }
    write_member(&writer, ",\"title\":\"", http_status_title(problem->status));
    write_text(&writer, ",\"status\":");
    write_u64(&writer, problem->status);
    if (problem->detail != NULL) {
        write_text(&writer, ",\"detail\":\"");
        write_escaped(&writer, problem->detail, writer.end - TAIL_BYTES_MAX);
        write_text(&writer, "\"");
    }
    if (problem->outcome != NULL) {
        write_member(&writer, ",\"outcome\":\"", problem->outcome);
    }
    if (problem->limit_key != NULL) {
        write_member(&writer, ",\"limit_key\":\"", problem->limit_key);
    }
    if (problem->limit_key != NULL || problem->limit != 0) {
        write_text(&writer, ",\"limit\":");
        write_u64(&writer, problem->limit);
        if (problem->actual != 0) {
            write_text(&writer, ",\"actual\":");
            write_u64(&writer, problem->actual);
        }
    }
    if (problem->number_name != NULL) {
        write_text(&writer, ",\"");
        write_escaped(&writer, problem->number_name, writer.end);
        write_text(&writer, "\":");
        write_u64(&writer, problem->number);
    }
    write_text(&writer, "}\n");
    return (size_t)(writer.at - out);
}

enum err http_problem_render(const struct http_problem *problem, struct arena *arena,
                             struct bytes *out_body)
{
    char *out = arena_try_alloc(arena, HTTP_PROBLEM_BYTES_MAX);
    if (out == NULL) {
        return ERR_MEMORY;
    }
    *out_body = bytes_of(out, http_problem_write(problem, out, HTTP_PROBLEM_BYTES_MAX));
    return OK;
}
