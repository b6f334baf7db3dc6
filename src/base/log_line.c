/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A line is written front to back into a fixed buffer whose last bytes are kept back for its end,
 * so a line that is too long is still a whole line.
 *
 *   logfmt   ts=... level=info msg="two words" key=value key="quoted \"value\"\n\xff"
 *   JSON     {"ts":"...","level":"info","msg":"two words","key":"value","count":3}
 *
 * Values are not trusted. Plain ASCII is copied. Valid UTF-8 stays as it is, but for characters
 * that terminals and log viewers obey (controls, line separators, changes of direction). All else
 * is escaped: in logfmt each byte as \xNN; in JSON a character as \uNNNN, and a byte that belongs
 * to no character as \ufffd.
 */
#include "base/log_line.h"

#include "base/check.h"
#include "base/clock.h"

#include <assert.h>

enum {
    TAIL_BYTES = 20,    /* ` truncated=true`, or `,"truncated":true}`, and the newline */
    SHORT_BYTES = 40,   /* room for punctuation and any number, or for a cut value */
    ESCAPED_BYTES = 16, /* the longest escape: four bytes as \xNN */
};

static_assert(sizeof ",\"truncated\":true}\n" - 1 <= TAIL_BYTES, "the tail fits its room");

struct line {
    char *cursor;
    char *end; /* the tail's room begins here */
    enum log_format format;
};

static void put(struct line *line, struct bytes text)
{
    CHECK(text.size <= (size_t)(line->end - line->cursor));
    memcpy(line->cursor, text.data, text.size);
    line->cursor += text.size;
}

static bool is_plain(char c)
{
    return c >= ' ' && c <= '~' && c != '"' && c != '\\';
}

/* Nothing in it needs quotes or escapes in logfmt. */
static bool is_bare(struct bytes value)
{
    for (size_t i = 0; i < value.size; i++) {
        if (!is_plain(value.data[i]) || value.data[i] == ' ' || value.data[i] == '=') {
            return false;
        }
    }
    return value.size > 0;
}

/* The size in bytes of the UTF-8 character at the start of `text` (not empty), and the character
 * itself; 0 when no valid one starts there: cut short, too long a form, a surrogate, above
 * U+10FFFF. */
static size_t decode_utf8(struct bytes text, uint32_t *out_character)
{
    static const uint32_t smallest[] = {0, 0, 0x80, 0x800, 0x10000};
    unsigned char lead = (unsigned char)text.data[0];
    if (lead < 0x80) {
        *out_character = lead;
        return 1;
    }
    size_t size = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
    if (lead < 0xc2 || lead > 0xf4 || text.size < size) {
        return 0;
    }
    uint32_t character = lead & (0x7fu >> size);
    for (size_t i = 1; i < size; i++) {
        unsigned char next = (unsigned char)text.data[i];
        if ((next & 0xc0) != 0x80) {
            return 0;
        }
        character = character << 6 | (next & 0x3fu);
    }
    if (character < smallest[size] || (character >= 0xd800 && character <= 0xdfff) ||
        character > 0x10ffff) {
        return 0;
    }
    *out_character = character;
    return size;
}

/* Controls (C0, DEL, C1), line and paragraph separators, and what turns the writing direction. */
static bool is_obeyed(uint32_t character)
{
    return character < 0x20 || (character >= 0x7f && character <= 0x9f) ||
           (character >= 0x2028 && character <= 0x202e) ||
           (character >= 0x2066 && character <= 0x2069);
}

static size_t put_hex(char *out, const char *prefix, uint32_t value, unsigned digits)
{
    static const char hex[] = "0123456789abcdef";
    size_t size = strlen(prefix);
    memcpy(out, prefix, size);
    for (unsigned i = digits; i > 0; i--) {
        out[size++] = hex[value >> (4 * (i - 1)) & 15];
    }
    return size;
}

static char short_escape(uint32_t character)
{
    switch (character) {
    case '\n':
        return 'n';
    case '\r':
        return 'r';
    case '\t':
        return 't';
    case '"':
    case '\\':
        return (char)character;
    default:
        return '\0';
    }
}

/* Writes what stands for the character (or the stray byte) at the start of `text`, at most
 * ESCAPED_BYTES; *out_used is how much of `text` it was. */
static size_t escape(char *out, enum log_format format, struct bytes text, size_t *out_used)
{
    uint32_t character = 0;
    size_t used = decode_utf8(text, &character);
    char letter = '\0';
    if (used == 1) {
        letter = short_escape(character);
    }
    *out_used = used == 0 ? 1 : used;
    if (letter != '\0') {
        out[0] = '\\';
        out[1] = letter;
        return 2;
    }
    if (used > 0 && !is_obeyed(character)) {
        memcpy(out, text.data, used);
        return used;
    }
    if (format == LOG_JSON) {
        return put_hex(out, "\\u", used == 0 ? 0xfffd : character, 4);
    }
    size_t size = 0;
    for (size_t i = 0; i < *out_used; i++) {
        size += put_hex(out + size, "\\x", (unsigned char)text.data[i], 2);
    }
    return size;
}

/* `value` in quotes, cut to what is allowed to a value and to what the line has room for. */
static void put_quoted(struct line *line, struct bytes value)
{
    size_t room = (size_t)(line->end - line->cursor) - strlen("\"\"");
    size_t left = room < LOG_VALUE_BYTES_MAX ? room : LOG_VALUE_BYTES_MAX;
    left -= strlen("...");
    put(line, BYTES("\""));
    while (value.size > 0) {
        size_t run = 0;
        while (run < value.size && run < left && is_plain(value.data[run])) {
            run++;
        }
        put(line, bytes_of(value.data, run));
        value = bytes_drop(value, run);
        left -= run;
        if (value.size == 0) {
            break;
        }
        char escaped[ESCAPED_BYTES];
        size_t used;
        size_t size = escape(escaped, line->format, value, &used);
        if (size > left) {
            put(line, BYTES("..."));
            break;
        }
        put(line, bytes_of(escaped, size));
        value = bytes_drop(value, used);
        left -= size;
    }
    put(line, BYTES("\""));
}

static void put_text(struct line *line, struct bytes value)
{
    if (line->format == LOG_LOGFMT && value.size <= LOG_VALUE_BYTES_MAX &&
        value.size <= (size_t)(line->end - line->cursor) && is_bare(value)) {
        put(line, value);
    } else {
        put_quoted(line, value);
    }
}

static void put_u64(struct line *line, uint64_t value)
{
    char digits[20];
    put(line, bytes_of(digits, bytes_format_u64(digits, value)));
}

static void put_seconds(struct line *line, uint64_t ns)
{
    put_u64(line, ns / 1000000000);
    uint64_t rest = ns % 1000000000;
    char decimals[10] = ".";
    size_t size = 1;
    for (uint64_t place = 100000000; rest > 0; place /= 10) {
        decimals[size++] = (char)('0' + rest / place);
        rest %= place;
    }
    put(line, bytes_of(decimals, size == 1 ? 0 : size));
}

static void put_value(struct line *line, const struct log_field *field)
{
    switch (field->kind) {
    case LOG_KIND_BYTES:
        put_text(line, field->value.bytes);
        return;
    case LOG_KIND_U64:
        put_u64(line, field->value.u64);
        return;
    case LOG_KIND_I64:
        if (field->value.i64 < 0) {
            put(line, BYTES("-"));
        }
        put_u64(line,
                field->value.i64 < 0 ? 0 - (uint64_t)field->value.i64 : (uint64_t)field->value.i64);
        return;
    case LOG_KIND_SECONDS:
        put_seconds(line, field->value.u64);
        return;
    case LOG_KIND_BOOL:
        put(line, field->value.boolean ? BYTES("true") : BYTES("false"));
        return;
    case LOG_KIND_END:
    case LOG_KIND_NONE:
        break;
    }
    UNREACHABLE();
}

static struct bytes level_name(enum log_level level)
{
    switch (level) {
    case LOG_DEBUG:
        return BYTES("debug");
    case LOG_INFO:
        return BYTES("info");
    case LOG_WARN:
        return BYTES("warn");
    case LOG_ERROR:
        return BYTES("error");
    }
    UNREACHABLE();
}

/* What stands before a field's value. */
static void put_key(struct line *line, const char *key)
{
    bool json = line->format == LOG_JSON;
    put(line, json ? BYTES(",\"") : BYTES(" "));
    put(line, bytes_from_string(key));
    put(line, json ? BYTES("\":") : BYTES("="));
}

static void put_start(struct line *line, uint64_t realtime_ns, enum log_level level,
                      const char *message)
{
    bool json = line->format == LOG_JSON;
    char time[CLOCK_RFC3339_BYTES];
    clock_rfc3339(realtime_ns, time);
    put(line, json ? BYTES("{\"ts\":\"") : BYTES("ts="));
    put(line, bytes_of(time, sizeof time));
    put(line, json ? BYTES("\",\"level\":\"") : BYTES(" level="));
    put(line, level_name(level));
    put(line, json ? BYTES("\",\"msg\":") : BYTES(" msg="));
    put_text(line, bytes_from_string(message));
}

size_t log_line_format(char out[static LOG_LINE_BYTES_MAX], enum log_format format,
                       uint64_t realtime_ns, enum log_level level, const char *message,
                       const struct log_field *fields)
{
    struct line line = {out, out + LOG_LINE_BYTES_MAX - TAIL_BYTES, format};
    put_start(&line, realtime_ns, level, message);
    bool truncated = false;
    for (; fields->kind != LOG_KIND_END; fields++) {
        if (fields->kind == LOG_KIND_NONE) {
            continue;
        }
        if (strlen(fields->key) + SHORT_BYTES > (size_t)(line.end - line.cursor)) {
            truncated = true;
            break;
        }
        put_key(&line, fields->key);
        put_value(&line, fields);
    }
    line.end = out + LOG_LINE_BYTES_MAX;
    if (truncated) {
        put_key(&line, "truncated");
        put(&line, BYTES("true"));
    }
    put(&line, format == LOG_JSON ? BYTES("}\n") : BYTES("\n"));
    return (size_t)(line.cursor - out);
}
