/* SPDX-License-Identifier: Apache-2.0 */
/* Events out of streams, whole and split at every byte; and what the server's own writer makes. */
#include "cli/sse_reader.h"

#include "http/sse.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

/* Notes events as "type|id|data;". */
static bool note(void *context, const struct sse_message *message)
{
    struct buffer *seen = context;
    buffer_add(seen, message->event);
    buffer_add_byte(seen, '|');
    buffer_add(seen, message->id);
    buffer_add_byte(seen, '|');
    buffer_add(seen, message->data);
    buffer_add_byte(seen, ';');
    return true;
}

static void expect(struct bytes stream, const char *events)
{
    /* `cut` splits in two; the last round is one byte at a time. */
    for (size_t cut = 0; cut <= stream.size + 1; cut++) {
        struct buffer seen = {0};
        struct sse_reader reader;
        sse_reader_init(&reader, note, &seen);
        if (cut <= stream.size) {
            assert_int_equal(sse_reader_push(&reader, bytes_of(stream.data, cut)), OK);
            assert_int_equal(sse_reader_push(&reader, bytes_drop(stream, cut)), OK);
        } else {
            for (size_t i = 0; i < stream.size; i++) {
                assert_int_equal(sse_reader_push(&reader, bytes_of(stream.data + i, 1)), OK);
            }
        }
        assert_string_equal(buffer_string(&seen), events);
        sse_reader_deinit(&reader);
        buffer_deinit(&seen);
    }
}

static void test_streams(void **state)
{
    static const struct {
        struct bytes stream;
        const char *events;
    } rows[] = {
        {BYTES_INIT(""), ""},
        {BYTES_INIT("data: a\n\n"), "message||a;"},
        {BYTES_INIT("data:a\r\n\r\n"), "message||a;"},
        {BYTES_INIT("data:  a\r\r"), "message|| a;"},
        {BYTES_INIT("\xef\xbb\xbf"
                    "data: a\n\n"),
         "message||a;"},
        {BYTES_INIT("data: a\ndata\ndata: b\n\n"), "message||a\n\nb;"},
        {BYTES_INIT("data: a\n"), ""},
        {BYTES_INIT("event: x\nid: 1\n\ndata: a\n\n"), "message|1|a;"},
        {BYTES_INIT("event: x\nid: 1\ndata: a\n\ndata: b\n\n"), "x|1|a;message|1|b;"},
        {BYTES_INIT("id: 1\ndata: a\n\nid\ndata: b\n\n"), "message|1|a;message||b;"},
        {BYTES_INIT("id: 1\ndata: a\n\nid: 2\0\ndata: b\n\n"), "message|1|a;message|1|b;"},
        {BYTES_INIT(": comment\n:\nother: x\nDATA: y\ndata: a\n\n"), "message||a;"},
        {BYTES_INIT("data: a:b: c\n\n\n\n"), "message||a:b: c;"},
        {BYTES_INIT("data\n\n"), "message||;"},
        {BYTES_INIT("data: a\r\ndata: b\r\n\n"), "message||a\nb;"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        expect(rows[i].stream, rows[i].events);
    }
}

static void test_retry(void **state)
{
    struct buffer seen = {0};
    struct sse_reader reader;
    (void)state;
    sse_reader_init(&reader, note, &seen);
    assert_int_equal(sse_reader_push(&reader, BYTES("retry: x\nretry: 1.5\nretry: -1\n\n")), OK);
    assert_false(reader.has_retry);
    assert_int_equal(sse_reader_push(&reader, BYTES("retry: 250\n")), OK);
    assert_true(reader.has_retry);
    assert_int_equal(reader.retry_ms, 250);
    assert_int_equal(seen.size, 0);
    sse_reader_deinit(&reader);
    buffer_deinit(&seen);
}

static bool refuse(void *context, const struct sse_message *message)
{
    (void)message;
    return ++*(int *)context < 2;
}

static void test_refusal_ends_it(void **state)
{
    int calls = 0;
    struct sse_reader reader;
    (void)state;
    sse_reader_init(&reader, refuse, &calls);
    assert_int_equal(sse_reader_push(&reader, BYTES("data: 1\n\ndata: 2\n\ndata: 3\n\n")),
                     ERR_CLOSED);
    assert_int_equal(calls, 2);
    sse_reader_deinit(&reader);
}

static void test_restart_drops_what_had_begun(void **state)
{
    struct buffer seen = {0};
    struct sse_reader reader;
    (void)state;
    sse_reader_init(&reader, note, &seen);
    assert_int_equal(sse_reader_push(&reader, BYTES("id: 7\ndata: a\n\nevent: x\ndata: lost\nda")),
                     OK);
    sse_reader_restart(&reader);
    assert_int_equal(sse_reader_push(&reader, BYTES("\ndata: b\n\n")), OK);
    assert_string_equal(buffer_string(&seen), "message|7|a;message|7|b;");
    sse_reader_deinit(&reader);
    buffer_deinit(&seen);
}

static void test_what_the_server_writes(void **state)
{
    const struct sse_event event = {.event = BYTES("transaction"),
                                    .id = BYTES("42"),
                                    .data = BYTES("a\r\nid: 9\rb\n"),
                                    .has_retry = true,
                                    .retry_ms = 5};
    char stream[256];
    (void)state;
    size_t size = sse_event_write(&event, stream);
    expect(bytes_of(stream, size), "transaction|42|a\nid: 9\nb\n;");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_streams),
        cmocka_unit_test(test_retry),
        cmocka_unit_test(test_refusal_ends_it),
        cmocka_unit_test(test_restart_drops_what_had_begun),
        cmocka_unit_test(test_what_the_server_writes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
