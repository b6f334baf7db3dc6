/* SPDX-License-Identifier: Apache-2.0 */
/* Keys and values on the command line: what is written is read back as the same bytes. */
#include "cli/text.h"

#include "cli/endpoint.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static void test_every_byte_comes_back(void **state)
{
    (void)state;
    char bytes[257];
    for (size_t i = 0; i < sizeof bytes; i++) {
        bytes[i] = (char)i;
    }
    for (size_t size = 0; size <= sizeof bytes; size++) {
        struct bytes all = bytes_of(bytes + sizeof bytes - size, size);
        struct buffer escaped = {0};
        struct buffer base64 = {0};
        struct buffer back = {0};
        const char *mistake;
        text_write_escaped(all, &escaped);
        for (size_t i = 0; i < escaped.size; i++) {
            assert_in_range(escaped.data[i], 0x20, 0x7e);
        }
        assert_int_equal(text_read(buffer_bytes(&escaped), TEXT_ESCAPED, &back, &mistake), OK);
        assert_true(bytes_equal(buffer_bytes(&back), all));
        text_write_base64(all, &base64);
        buffer_clear(&back);
        assert_int_equal(text_read(buffer_bytes(&base64), TEXT_BASE64, &back, &mistake), OK);
        assert_true(bytes_equal(buffer_bytes(&back), all));
        buffer_deinit(&escaped);
        buffer_deinit(&base64);
        buffer_deinit(&back);
    }
}

static void test_escapes(void **state)
{
    static const struct {
        const char *text;
        enum text_form form;
        struct bytes bytes; /* data NULL: a mistake */
    } rows[] = {
        {"", TEXT_ESCAPED, BYTES_INIT("")},
        {"a b=\"c\"", TEXT_ESCAPED, BYTES_INIT("a b=\"c\"")},
        {"\\\\\\n\\r\\t\\x00\\xfF", TEXT_ESCAPED, BYTES_INIT("\\\n\r\t\0\xff")},
        {"\xc3\xa9", TEXT_ESCAPED, BYTES_INIT("\xc3\xa9")},
        {"\\", TEXT_ESCAPED, {NULL, 0}},
        {"a\\x", TEXT_ESCAPED, {NULL, 0}},
        {"a\\x1", TEXT_ESCAPED, {NULL, 0}},
        {"a\\x1g", TEXT_ESCAPED, {NULL, 0}},
        {"\\0", TEXT_ESCAPED, {NULL, 0}},
        {"\\N", TEXT_ESCAPED, {NULL, 0}},
        {"", TEXT_HEX, BYTES_INIT("")},
        {"00aBff", TEXT_HEX, BYTES_INIT("\0\xab\xff")},
        {"0", TEXT_HEX, {NULL, 0}},
        {"0g", TEXT_HEX, {NULL, 0}},
        {"YQ==", TEXT_BASE64, BYTES_INIT("a")},
        {"YQ", TEXT_BASE64, {NULL, 0}},
        {"YR==", TEXT_BASE64, {NULL, 0}},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct buffer out = {0};
        const char *mistake = NULL;
        buffer_add(&out, BYTES("kept"));
        enum err err = text_read(bytes_from_string(rows[i].text), rows[i].form, &out, &mistake);
        struct bytes read = bytes_drop(buffer_bytes(&out), 4);
        if (rows[i].bytes.data == NULL) {
            assert_int_equal(err, ERR_INVALID);
            assert_non_null(mistake);
            assert_int_equal(read.size, 0);
        } else {
            assert_int_equal(err, OK);
            assert_true(bytes_equal(read, rows[i].bytes));
        }
        buffer_deinit(&out);
    }
}

static void test_pairs(void **state)
{
    static const struct {
        const char *text;
        enum text_form form;
        const char *key; /* NULL: no pair */
        const char *value;
    } rows[] = {
        {"a=b", TEXT_ESCAPED, "a", "b"},
        {"=", TEXT_ESCAPED, "", ""},
        {"a=b=c", TEXT_ESCAPED, "a", "b=c"},
        {"ab", TEXT_ESCAPED, NULL, NULL},
        {"YQ===YQ==", TEXT_BASE64, "YQ==", "YQ=="},
        {"YWE==YQ==", TEXT_BASE64, "YWE=", "YQ=="},
        {"YWFh=YQ==", TEXT_BASE64, "YWFh", "YQ=="},
        {"=YQ==", TEXT_BASE64, "", "YQ=="},
        {"YQ==", TEXT_BASE64, NULL, NULL},
        {"00=11", TEXT_HEX, "00", "11"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct bytes key;
        struct bytes value;
        bool is_pair = text_split_pair(bytes_from_string(rows[i].text), rows[i].form, &key, &value);
        assert_int_equal(is_pair, rows[i].key != NULL);
        if (is_pair) {
            assert_true(bytes_equal(key, bytes_from_string(rows[i].key)));
            assert_true(bytes_equal(value, bytes_from_string(rows[i].value)));
        }
    }
}

static void test_versions(void **state)
{
    static const struct {
        const char *text;
        const char *key;
        bool has_version;
        uint64_t version;
    } rows[] = {
        {"a", "a", false, 0},
        {"a@7", "a", true, 7},
        {"a@b@0", "a@b", true, 0},
        {"@", "@", false, 0},
        {"@1", "", true, 1},
        {"a@", "a@", false, 0},
        {"a@1b", "a@1b", false, 0},
        {"a@9007199254740991", "a", true, 9007199254740991},
        {"a@9007199254740992", "a@9007199254740992", false, 0},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct bytes key;
        bool has_version;
        uint64_t version = 0;
        text_split_version(bytes_from_string(rows[i].text), &key, &has_version, &version);
        assert_true(bytes_equal(key, bytes_from_string(rows[i].key)));
        assert_int_equal(has_version, rows[i].has_version);
        assert_int_equal(version, rows[i].version);
    }
}

static void test_endpoints(void **state)
{
    static const struct {
        const char *text;
        const char *host; /* NULL: a mistake; "": a Unix socket */
        const char *port;
        const char *authority;
    } rows[] = {
        {"http://127.0.0.1:8080", "127.0.0.1", "8080", "127.0.0.1:8080"},
        {"http://db.example/", "db.example", "80", "db.example:80"},
        {"http://[::1]:65535", "::1", "65535", "[::1]:65535"},
        {"http://[::1]", "::1", "80", "[::1]:80"},
        {"unix:/run/weaseldb", "", "/run/weaseldb", "localhost"},
        {"http://a:1:2", NULL, NULL, NULL},
        {"http://a:", NULL, NULL, NULL},
        {"http://:1", NULL, NULL, NULL},
        {"http://u@a", NULL, NULL, NULL},
        {"http://a b", NULL, NULL, NULL},
        {"http://[::1", NULL, NULL, NULL},
        {"http://[]", NULL, NULL, NULL},
        {"http://a/b", NULL, NULL, NULL},
        {"127.0.0.1:8080", NULL, NULL, NULL},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct endpoint endpoint;
        const char *mistake = NULL;
        enum err err = endpoint_read(rows[i].text, &endpoint, &mistake);
        assert_string_equal(endpoint.name, rows[i].text);
        if (rows[i].host == NULL) {
            assert_int_equal(err, ERR_INVALID);
            assert_non_null(mistake);
            continue;
        }
        assert_int_equal(err, OK);
        assert_string_equal(endpoint.authority, rows[i].authority);
        assert_int_equal(endpoint.is_unix, rows[i].host[0] == '\0');
        assert_string_equal(endpoint.is_unix ? endpoint.path : endpoint.port, rows[i].port);
        assert_string_equal(endpoint.host, rows[i].host);
    }
}

static void test_the_default_endpoint(void **state)
{
    struct endpoint endpoint;
    const char *mistake;
    (void)state;
    assert_int_equal(unsetenv("WEASEL_SERVER"), 0);
    assert_int_equal(endpoint_read(NULL, &endpoint, &mistake), OK);
    assert_string_equal(endpoint.authority, "127.0.0.1:8080");
    assert_int_equal(setenv("WEASEL_SERVER", "http://other:1", 1), 0);
    assert_int_equal(endpoint_read(NULL, &endpoint, &mistake), OK);
    assert_string_equal(endpoint.host, "other");
    assert_int_equal(endpoint_read("http://given", &endpoint, &mistake), OK);
    assert_string_equal(endpoint.host, "given");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_byte_comes_back),
        cmocka_unit_test(test_escapes),
        cmocka_unit_test(test_pairs),
        cmocka_unit_test(test_versions),
        cmocka_unit_test(test_endpoints),
        cmocka_unit_test(test_the_default_endpoint),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
