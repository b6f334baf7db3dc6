/* SPDX-License-Identifier: Apache-2.0 */
/* Views of bytes: comparing, cutting, splitting, numbers; with empty views that have no memory. */
#include "base/bytes.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static const struct bytes nothing = {NULL, 0};
static const struct bytes constant = BYTES_INIT("fixed");

static void assert_is(struct bytes actual, const char *expected)
{
    assert_int_equal(actual.size, strlen(expected));
    if (actual.size > 0) {
        assert_memory_equal(actual.data, expected, actual.size);
    }
}

static void views_come_from_literals_strings_and_memory(void **state)
{
    (void)state;
    const char memory[] = {'a', '\0', 'b'};
    assert_is(constant, "fixed");
    assert_is(BYTES(""), "");
    assert_int_equal(BYTES("a\0b").size, 3);
    assert_is(bytes_from_string("text"), "text");
    assert_int_equal(bytes_of(memory, 3).size, 3);
    assert_ptr_equal(bytes_of(memory, 3).data, memory);
}

static void equal_means_same_size_and_bytes(void **state)
{
    (void)state;
    assert_true(bytes_equal(nothing, BYTES("")));
    assert_true(bytes_equal(nothing, nothing));
    assert_true(bytes_equal(BYTES("a\0b"), BYTES("a\0b")));
    assert_false(bytes_equal(BYTES("a\0b"), BYTES("a\0c")));
    assert_false(bytes_equal(BYTES("ab"), BYTES("abc")));
    assert_false(bytes_equal(BYTES("ab"), BYTES("aB")));
}

static void folding_is_for_ascii_letters_only(void **state)
{
    (void)state;
    assert_true(bytes_equal_fold(BYTES("Content-TYPE"), BYTES("cONTENT-type")));
    assert_true(bytes_equal_fold(nothing, BYTES("")));
    assert_false(bytes_equal_fold(BYTES("ab"), BYTES("abc")));
    /* pairs that differ by 0x20 as letters do, and are none */
    assert_false(bytes_equal_fold(BYTES("@"), BYTES("`")));
    assert_false(bytes_equal_fold(BYTES("["), BYTES("{")));
    assert_false(bytes_equal_fold(BYTES("\xc4"), BYTES("\xe4")));
    assert_int_equal(ascii_lower('A'), 'a');
    assert_int_equal(ascii_lower('Z'), 'z');
    assert_int_equal(ascii_lower('@'), '@');
    assert_int_equal(ascii_lower('['), '[');
}

static void prefixes(void **state)
{
    (void)state;
    assert_true(bytes_starts_with(BYTES("abc"), BYTES("ab")));
    assert_true(bytes_starts_with(BYTES("abc"), BYTES("abc")));
    assert_true(bytes_starts_with(BYTES("abc"), nothing));
    assert_true(bytes_starts_with(nothing, nothing));
    assert_false(bytes_starts_with(BYTES("abc"), BYTES("abcd")));
    assert_false(bytes_starts_with(BYTES("abc"), BYTES("b")));
}

static void dropping_and_trimming(void **state)
{
    (void)state;
    assert_is(bytes_drop(BYTES("abc"), 0), "abc");
    assert_is(bytes_drop(BYTES("abc"), 2), "c");
    assert_is(bytes_drop(BYTES("abc"), 3), "");
    assert_is(bytes_drop(nothing, 0), "");
    assert_is(bytes_trim(BYTES(" \t a b\t ")), "a b");
    assert_is(bytes_trim(BYTES("\ra\n")), "\ra\n");
    assert_is(bytes_trim(BYTES(" \t ")), "");
    assert_is(bytes_trim(nothing), "");
}

static void splitting_takes_one_piece_at_a_time(void **state)
{
    (void)state;
    struct bytes rest = BYTES("a,,b");
    assert_is(bytes_split(&rest, ','), "a");
    assert_is(rest, ",b");
    assert_is(bytes_split(&rest, ','), "");
    assert_is(rest, "b");
    assert_is(bytes_split(&rest, ','), "b");
    assert_null(rest.data);
    assert_is(bytes_split(&rest, ','), "");

    rest = BYTES("a,");
    assert_is(bytes_split(&rest, ','), "a");
    assert_non_null(rest.data); /* a separator was there */
    assert_int_equal(rest.size, 0);
}

static void numbers_are_parsed_strictly(void **state)
{
    (void)state;
    uint64_t value = 7;
    assert_true(bytes_parse_u64(BYTES("0"), &value));
    assert_true(value == 0);
    assert_true(bytes_parse_u64(BYTES("00012"), &value));
    assert_true(value == 12);
    assert_true(bytes_parse_u64(BYTES("18446744073709551615"), &value));
    assert_true(value == UINT64_MAX);

    static const char *const wrong[] = {
        "",
        "-1",
        "+1",
        " 1",
        "1 ",
        "1.0",
        "0x1",
        "1a",
        "/",
        ":",
        "18446744073709551616",
        "99999999999999999999",
    };
    value = 7;
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        assert_false(bytes_parse_u64(bytes_from_string(wrong[i]), &value));
        assert_true(value == 7);
    }
    assert_false(bytes_parse_u64(nothing, &value));
}

static void numbers_are_formatted_and_come_back(void **state)
{
    (void)state;
    char text[20];
    assert_is(bytes_of(text, bytes_format_u64(text, 0)), "0");
    assert_is(bytes_of(text, bytes_format_u64(text, UINT64_MAX)), "18446744073709551615");
    for (uint64_t value = 1; value < UINT64_MAX / 7; value *= 7) {
        uint64_t back = 0;
        assert_true(bytes_parse_u64(bytes_of(text, bytes_format_u64(text, value)), &back));
        assert_true(back == value);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(views_come_from_literals_strings_and_memory),
        cmocka_unit_test(equal_means_same_size_and_bytes),
        cmocka_unit_test(folding_is_for_ascii_letters_only),
        cmocka_unit_test(prefixes),
        cmocka_unit_test(dropping_and_trimming),
        cmocka_unit_test(splitting_takes_one_piece_at_a_time),
        cmocka_unit_test(numbers_are_parsed_strictly),
        cmocka_unit_test(numbers_are_formatted_and_come_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
