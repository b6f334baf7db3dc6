/* SPDX-License-Identifier: Apache-2.0 */
/* Log lines: exact text in both formats, escaping of hostile bytes, cutting of what is too long. */
#include "base/log_line.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define TS UINT64_C(1795411920123456789) /* 2026-11-23T05:32:00.123456Z */
#define LOGFMT_START "ts=2026-11-23T05:32:00.123456Z level=info msg=m"
#define JSON_START "{\"ts\":\"2026-11-23T05:32:00.123456Z\",\"level\":\"info\",\"msg\":\"m\""

static char line[LOG_LINE_BYTES_MAX + 1];

static const char *format(enum log_format how, enum log_level level, const char *message,
                          const struct log_field *fields)
{
    line[LOG_LINE_BYTES_MAX] = '#';
    size_t size = log_line_format(line, how, TS, level, message, fields);
    assert_true(size <= LOG_LINE_BYTES_MAX);
    assert_int_equal(line[LOG_LINE_BYTES_MAX], '#');
    line[size] = '\0';
    assert_int_equal(strlen(line), size);
    return line;
}

#define LOGFMT(...)                                                                                \
    format(LOG_LOGFMT, LOG_INFO, "m", (const struct log_field[]){__VA_ARGS__, LOG_END_})
#define JSON(...) format(LOG_JSON, LOG_INFO, "m", (const struct log_field[]){__VA_ARGS__, LOG_END_})

static void each_kind_of_value_has_its_text(void **state)
{
    (void)state;
    assert_string_equal(
        LOGFMT(LOG_STRING("s", "plain"), LOG_U64("u", UINT64_MAX), LOG_I64("i", INT64_MIN),
               LOG_I64("j", 5), LOG_BOOL("t", true), LOG_BOOL("f", false),
               LOG_SECONDS("d", 1500000001), LOG_SECONDS("w", 3000000000),
               LOG_SECONDS("z", UINT64_MAX), log_field_suppressed(0), log_field_suppressed(3)),
        LOGFMT_START " s=plain u=18446744073709551615 i=-9223372036854775808 j=5 t=true f=false "
                     "d=1.500000001 w=3 z=18446744073.709551615 suppressed=3\n");
    assert_string_equal(
        JSON(LOG_STRING("s", "plain"), LOG_U64("u", UINT64_MAX), LOG_I64("i", INT64_MIN),
             LOG_BOOL("t", true), LOG_SECONDS("d", 50), log_field_suppressed(3)),
        JSON_START ",\"s\":\"plain\",\"u\":18446744073709551615,\"i\":-9223372036854775808,"
                   "\"t\":true,\"d\":0.00000005,\"suppressed\":3}\n");
}

static void levels_and_messages(void **state)
{
    (void)state;
    const struct log_field none[] = {LOG_END_};
    assert_string_equal(format(LOG_LOGFMT, LOG_DEBUG, "two words", none),
                        "ts=2026-11-23T05:32:00.123456Z level=debug msg=\"two words\"\n");
    assert_string_equal(format(LOG_LOGFMT, LOG_WARN, "w", none),
                        "ts=2026-11-23T05:32:00.123456Z level=warn msg=w\n");
    assert_string_equal(
        format(LOG_JSON, LOG_ERROR, "e", none),
        "{\"ts\":\"2026-11-23T05:32:00.123456Z\",\"level\":\"error\",\"msg\":\"e\"}\n");
}

static void logfmt_quotes_only_what_needs_it(void **state)
{
    (void)state;
    assert_string_equal(LOGFMT(LOG_STRING("a", "/x?y&z[]{}%:;,'"), LOG_STRING("b", ""),
                               LOG_STRING("c", "k=v"), LOG_STRING("d", "a b"),
                               LOG_STRING("e", "\""), LOG_STRING("f", "\\"),
                               LOG_BYTES("g", bytes_of(NULL, 0))),
                        LOGFMT_START " a=/x?y&z[]{}%:;,' b=\"\" c=\"k=v\" d=\"a b\" e=\"\\\"\" "
                                     "f=\"\\\\\" g=\"\"\n");
}

static void a_value_cannot_forge_a_line(void **state)
{
    (void)state;
    const char *attack = "x\n{\"level\":\"error\"}\r\ts=\"1\"\x1b[2J";
    assert_string_equal(LOGFMT(LOG_STRING("v", attack)),
                        LOGFMT_START " v=\"x\\n{\\\"level\\\":\\\"error\\\"}\\r\\ts=\\\"1\\\""
                                     "\\x1b[2J\"\n");
    assert_string_equal(JSON(LOG_STRING("v", attack)),
                        JSON_START ",\"v\":\"x\\n{\\\"level\\\":\\\"error\\\"}\\r\\ts=\\\"1\\\""
                                   "\\u001b[2J\"}\n");
    assert_string_equal(LOGFMT(LOG_BYTES("v", BYTES("\0\x7f"))),
                        LOGFMT_START " v=\"\\x00\\x7f\"\n");
    assert_string_equal(JSON(LOG_BYTES("v", BYTES("\0\x7f"))),
                        JSON_START ",\"v\":\"\\u0000\\u007f\"}\n");
}

static void valid_utf8_stays_unless_terminals_obey_it(void **state)
{
    (void)state;
    /* two, three and four bytes, the last character of all */
    const char *good = "\xc3\xa9\xe2\x82\xac\xf0\x9f\x90\xbe\xf4\x8f\xbf\xbf";
    assert_string_equal(LOGFMT(LOG_STRING("v", good)),
                        LOGFMT_START " v=\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x90\xbe\xf4\x8f\xbf\xbf\""
                                     "\n");
    assert_string_equal(JSON(LOG_STRING("v", good)),
                        JSON_START ",\"v\":\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x90\xbe\xf4\x8f\xbf\xbf\""
                                   "}\n");
    /* U+009B (a terminal's CSI), U+2028 (a line end), U+202E (right to left) */
    const char *obeyed = "\xc2\x9b\xe2\x80\xa8\xe2\x80\xae";
    assert_string_equal(LOGFMT(LOG_STRING("v", obeyed)),
                        LOGFMT_START " v=\"\\xc2\\x9b\\xe2\\x80\\xa8\\xe2\\x80\\xae\"\n");
    assert_string_equal(JSON(LOG_STRING("v", obeyed)),
                        JSON_START ",\"v\":\"\\u009b\\u2028\\u202e\"}\n");
}

static void invalid_utf8_is_escaped_byte_by_byte(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        const char *logfmt;
        const char *json;
    } cases[] = {
        {"\x80", "\\x80", "\\ufffd"},                                 /* no lead */
        {"\xff", "\\xff", "\\ufffd"},                                 /* never valid */
        {"\xc3", "\\xc3", "\\ufffd"},                                 /* cut short */
        {"\xc3(", "\\xc3(", "\\ufffd("},                              /* no continuation */
        {"\xc0\xaf", "\\xc0\\xaf", "\\ufffd\\ufffd"},                 /* too long a form */
        {"\xe0\x9f\xbf", "\\xe0\\x9f\\xbf", "\\ufffd\\ufffd\\ufffd"}, /* too long a form */
        {"\xf0\x8f\xbf\xbf", "\\xf0\\x8f\\xbf\\xbf", "\\ufffd\\ufffd\\ufffd\\ufffd"},
        {"\xed\xa0\x80", "\\xed\\xa0\\x80", "\\ufffd\\ufffd\\ufffd"}, /* a surrogate */
        {"\xf4\x90\x80\x80", "\\xf4\\x90\\x80\\x80", "\\ufffd\\ufffd\\ufffd\\ufffd"},
        {"\xe2\x82", "\\xe2\\x82", "\\ufffd\\ufffd"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char expected[256];
        (void)snprintf(expected, sizeof expected, "%s v=\"%s\"\n", LOGFMT_START, cases[i].logfmt);
        assert_string_equal(LOGFMT(LOG_STRING("v", cases[i].bytes)), expected);
        (void)snprintf(expected, sizeof expected, "%s,\"v\":\"%s\"}\n", JSON_START, cases[i].json);
        assert_string_equal(JSON(LOG_STRING("v", cases[i].bytes)), expected);
    }
}

static void a_long_value_is_cut_with_a_mark(void **state)
{
    (void)state;
    char value[3000];
    memset(value, 'v', sizeof value);
    const char *text = LOGFMT(LOG_BYTES("a", bytes_of(value, sizeof value)), LOG_U64("b", 1));
    assert_int_equal(strlen(text), strlen(LOGFMT_START " a=\"\" b=1\n") + LOG_VALUE_BYTES_MAX);
    assert_non_null(strstr(text, "vvv...\" b=1\n"));
    text = LOGFMT(LOG_BYTES("a", bytes_of(value, LOG_VALUE_BYTES_MAX)), LOG_U64("b", 1));
    assert_null(strstr(text, "..."));
    text = JSON(LOG_BYTES("a", bytes_of(value, sizeof value)), LOG_U64("b", 1));
    assert_non_null(strstr(text, "vvv...\",\"b\":1}\n"));
    /* escapes are never cut in two */
    memset(value, '\x01', sizeof value);
    text = JSON(LOG_BYTES("a", bytes_of(value, sizeof value)));
    assert_non_null(strstr(text, "\\u0001...\"}\n"));
}

static void a_line_too_long_is_still_a_line(void **state)
{
    (void)state;
    char value[2040]; /* two do not fit into one line */
    memset(value, 'v', sizeof value);
    struct bytes bytes = bytes_of(value, sizeof value);
    const char *text = LOGFMT(LOG_BYTES("a", bytes), LOG_BYTES("b", bytes), LOG_BYTES("c", bytes),
                              LOG_U64("d", 1));
    assert_non_null(strstr(text, "vvv...\" truncated=true\n"));
    text =
        JSON(LOG_BYTES("a", bytes), LOG_BYTES("b", bytes), LOG_BYTES("c", bytes), LOG_U64("d", 1));
    assert_non_null(strstr(text, "vvv...\",\"truncated\":true}\n"));
}

/* --- Properties over random values --------------------------------------------------------------
 */

static uint64_t random_state = 88172645463325252;

static unsigned next_random(unsigned below)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (unsigned)(random_state >> 11) % below;
}

/* Bytes of any kind, with many that are special. */
static struct bytes random_value(char *out, size_t room)
{
    static const char special[] = "\"\\\n\r\t =\x7f\xc3\xa9\xe2\x80\xa8\xf0\x9f\x90\xbe\xff";
    size_t size = next_random(8) == 0 ? next_random((unsigned)room) : next_random(40);
    for (size_t i = 0; i < size; i++) {
        switch (next_random(3)) {
        case 0:
            out[i] = (char)next_random(256);
            break;
        case 1:
            out[i] = special[next_random(sizeof special)];
            break;
        default:
            out[i] = (char)('a' + next_random(26));
        }
    }
    return bytes_of(out, size);
}

/* Reads a JSON string (RFC 8259) at *at; only escapes and characters that it allows. */
static void expect_json_string(const char **at)
{
    assert_int_equal(*(*at)++, '"');
    while (**at != '"') {
        assert_true((unsigned char)**at >= 0x20);
        if (*(*at)++ == '\\') {
            char kind = *(*at)++;
            assert_non_null(strchr("\"\\nrtu", kind));
            for (int i = 0; kind == 'u' && i < 4; i++) {
                assert_non_null(strchr("0123456789abcdef", *(*at)++));
            }
        }
    }
    (*at)++;
}

static void expect_valid_utf8(const char *text)
{
    while (*text != '\0') {
        unsigned char lead = (unsigned char)*text++;
        int more = lead < 0x80 ? 0 : lead < 0xe0 ? 1 : lead < 0xf0 ? 2 : 3;
        assert_true(lead < 0x80 || (lead >= 0xc2 && lead <= 0xf4));
        for (int i = 0; i < more; i++) {
            assert_int_equal((unsigned char)*text++ & 0xc0, 0x80);
        }
    }
}

/* A flat object of strings and literals, and then a newline and nothing else. */
static void expect_json_line(const char *text)
{
    expect_valid_utf8(text);
    assert_int_equal(*text++, '{');
    for (;;) {
        expect_json_string(&text);
        assert_int_equal(*text++, ':');
        if (*text == '"') {
            expect_json_string(&text);
        } else {
            size_t size = strspn(text, "0123456789");
            size = size > 0 ? size : strlen("true") * (size_t)(strncmp(text, "true", 4) == 0);
            assert_true(size > 0);
            text += size;
        }
        if (*text == '}') {
            break;
        }
        assert_int_equal(*text++, ',');
    }
    assert_string_equal(text, "}\n");
}

static void any_bytes_make_valid_json(void **state)
{
    (void)state;
    char a[5000];
    char b[5000];
    for (int i = 0; i < 20000; i++) {
        struct bytes first = random_value(a, sizeof a);
        struct bytes second = random_value(b, sizeof b);
        expect_json_line(
            JSON(LOG_BYTES("first", first), LOG_BYTES("second", second), LOG_U64("n", 1)));
    }
}

/* Undoes logfmt's escapes in place; `text` begins behind the key. Returns the value's size. */
static size_t unescape(char *text)
{
    size_t size = 0;
    if (*text != '"') {
        return strcspn(text, " \n");
    }
    for (const char *at = text + 1; *at != '"';) {
        if (*at != '\\') {
            text[size++] = *at++;
            continue;
        }
        at++;
        switch (*at++) {
        case 'n':
            text[size++] = '\n';
            break;
        case 'r':
            text[size++] = '\r';
            break;
        case 't':
            text[size++] = '\t';
            break;
        case 'x': {
            const char digits[3] = {at[0], at[1], '\0'};
            text[size++] = (char)strtoul(digits, NULL, 16);
            at += 2;
            break;
        }
        default:
            text[size++] = at[-1];
        }
    }
    return size;
}

static void logfmt_loses_nothing(void **state)
{
    (void)state;
    char value[500]; /* short enough never to be cut, at four characters a byte */
    for (int i = 0; i < 20000; i++) {
        struct bytes original = random_value(value, sizeof value);
        (void)LOGFMT(LOG_BYTES("v", original));
        assert_ptr_equal(strchr(line, '\n'), line + strlen(line) - 1);
        char *text = strstr(line, " v=") + strlen(" v=");
        size_t size = unescape(text);
        assert_int_equal(size, original.size);
        assert_memory_equal(text, size == 0 ? "" : original.data, size);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_kind_of_value_has_its_text),
        cmocka_unit_test(levels_and_messages),
        cmocka_unit_test(logfmt_quotes_only_what_needs_it),
        cmocka_unit_test(a_value_cannot_forge_a_line),
        cmocka_unit_test(valid_utf8_stays_unless_terminals_obey_it),
        cmocka_unit_test(invalid_utf8_is_escaped_byte_by_byte),
        cmocka_unit_test(a_long_value_is_cut_with_a_mark),
        cmocka_unit_test(a_line_too_long_is_still_a_line),
        cmocka_unit_test(any_bytes_make_valid_json),
        cmocka_unit_test(logfmt_loses_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
