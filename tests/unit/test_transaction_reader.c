/* SPDX-License-Identifier: Apache-2.0 */
/* Objects out of a file: where they begin and end, whatever the reads are, and what is none. */
#include "cli/transaction_reader.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

enum { BYTES_MAX = 100, NOTE_MAX = 256 };

/* Writes "LINE:COLUMN:OBJECT;" for each, and then how it ended. */
static void note_all(struct transaction_reader *reader, struct buffer *out)
{
    struct bytes object;
    enum err err;
    while ((err = transaction_reader_next(reader, &object)) == OK) {
        buffer_add_format(out, "%d:%d:%.*s;", (int)reader->place.line, (int)reader->place.column,
                          (int)object.size, object.data);
    }
    buffer_add_format(out, "%s %d:%d",
                      err == ERR_CLOSED    ? "end"
                      : err == ERR_INVALID ? "invalid"
                      : err == ERR_LIMIT   ? "limit"
                                           : "failed",
                      (int)reader->place.line, (int)reader->place.column);
}

static void expect(struct bytes text, const char *notes)
{
    int ends[2];
    struct transaction_reader reader;
    struct buffer seen = {0};
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(write(ends[1], text.data, text.size), text.size);
    assert_int_equal(close(ends[1]), 0);
    transaction_reader_init(&reader, ends[0], BYTES_MAX);
    note_all(&reader, &seen);
    assert_string_equal(buffer_string(&seen), notes);
    transaction_reader_deinit(&reader);
    assert_int_equal(close(ends[0]), 0);
    buffer_deinit(&seen);
}

static void test_texts(void **state)
{
    static const struct {
        struct bytes text;
        const char *notes;
    } rows[] = {
        {BYTES_INIT(""), "end 1:1"},
        {BYTES_INIT(" \t\r\n\n "), "end 3:2"},
        {BYTES_INIT("{}"), "1:1:{};end 1:3"},
        {BYTES_INIT("{}{}\n{}\n"), "1:1:{};1:3:{};2:1:{};end 3:1"},
        {BYTES_INIT("\n {\"a\":[{},{}]\n} {}"), "2:2:{\"a\":[{},{}]\n};3:3:{};end 3:5"},
        {BYTES_INIT("{\"}\":\"{\\\"]\\\\\"}{}"), "1:1:{\"}\":\"{\\\"]\\\\\"};1:15:{};end 1:17"},
        {BYTES_INIT("{\"\xc3\xa4\xe2\x82\xac\"} {"),
         "1:1:{\"\xc3\xa4\xe2\x82\xac\"};1:8:{;end 1:9"},
        {BYTES_INIT("{]{}"), "1:1:{];1:3:{};end 1:5"},
        {BYTES_INIT("{} []"), "1:1:{};invalid 1:4"},
        {BYTES_INIT("{},{}"), "1:1:{};invalid 1:3"},
        {BYTES_INIT("}"), "invalid 1:1"},
        {BYTES_INIT("\0{}"), "invalid 1:1"},
        {BYTES_INIT("{}\n{\"a"), "1:1:{};2:1:{\"a;end 2:4"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        expect(rows[i].text, rows[i].notes);
    }
}

/* Each byte comes by itself: an object is there with its last one, and no earlier. */
static void test_an_object_is_given_with_its_last_byte(void **state)
{
    static const char text[] = "{\"a\":\"}\"}\n{}";
    int ends[2];
    struct transaction_reader reader;
    struct bytes object;
    (void)state;
    assert_int_equal(pipe(ends), 0);
    transaction_reader_init(&reader, ends[0], BYTES_MAX);
    for (int round = 0; round < 2; round++) {
        const char *at = round == 0 ? text : text + 9;
        size_t size = round == 0 ? 9 : 3;
        assert_int_equal(write(ends[1], at, size), size);
        assert_int_equal(transaction_reader_next(&reader, &object), OK);
        assert_int_equal(object.size, round == 0 ? 9 : 2);
    }
    assert_int_equal(close(ends[1]), 0);
    assert_int_equal(transaction_reader_next(&reader, &object), ERR_CLOSED);
    transaction_reader_deinit(&reader);
    assert_int_equal(close(ends[0]), 0);
}

static void test_the_limit(void **state)
{
    char text[2 * BYTES_MAX + 4];
    char notes[NOTE_MAX];
    (void)state;
    for (int size = BYTES_MAX - 1; size <= BYTES_MAX + 1; size++) {
        int written = snprintf(text, sizeof text, "{\"%*s\"}", size - 4, "");
        assert_int_equal(written, size);
        (void)snprintf(notes, sizeof notes, "1:1:%s;end 1:%d", text, size + 1);
        expect(bytes_of(text, (size_t)size), size <= BYTES_MAX ? notes : "limit 1:1");
        text[size - 1] = ' '; /* never ends */
        text[size - 1 + BYTES_MAX] = '\0';
        memset(text + size, ' ', BYTES_MAX);
        expect(bytes_of(text, (size_t)size + BYTES_MAX), "limit 1:1");
    }
}

static void test_a_file_that_cannot_be_read(void **state)
{
    struct transaction_reader reader;
    struct bytes object;
    (void)state;
    transaction_reader_init(&reader, -1, BYTES_MAX);
    assert_int_equal(transaction_reader_next(&reader, &object), ERR_SYSTEM);
    transaction_reader_deinit(&reader);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_texts),
        cmocka_unit_test(test_an_object_is_given_with_its_last_byte),
        cmocka_unit_test(test_the_limit),
        cmocka_unit_test(test_a_file_that_cannot_be_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
