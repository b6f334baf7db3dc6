/* SPDX-License-Identifier: Apache-2.0 */
/* Server-sent events, byte for byte. */
#include "http/sse.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void test_events(void **state)
{
    static const struct {
        struct sse_event event;
        const char *text;
    } rows[] = {
        {{.data = BYTES_INIT("a")}, "data: a\n\n"},
        {{.data = BYTES_INIT("")}, "data: \n\n"},
        {{.has_retry = true, .retry_ms = 0}, "retry: 0\n\n"},
        {{.event = BYTES_INIT("transaction"), .id = BYTES_INIT("42"), .data = BYTES_INIT("{}")},
         "event: transaction\nid: 42\ndata: {}\n\n"},
        {{.id = BYTES_INIT("")}, "id: \n\n"},
        {{.has_retry = true, .retry_ms = UINT64_MAX, .data = BYTES_INIT("x")},
         "retry: 18446744073709551615\ndata: x\n\n"},
        {{.data = BYTES_INIT("a\nb")}, "data: a\ndata: b\n\n"},
        {{.data = BYTES_INIT("a\r\nb\rc\n")}, "data: a\ndata: b\ndata: c\ndata: \n\n"},
        {{.data = BYTES_INIT("\n\r")}, "data: \ndata: \ndata: \n\n"},
        {{.data = BYTES_INIT("a\nid: 7\n\nevent: x")},
         "data: a\ndata: id: 7\ndata: \ndata: event: x\n\n"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char out[256];
        memset(out, '#', sizeof(out));
        size_t size = sse_event_write(&rows[i].event, out);
        assert_int_equal(size, sse_event_bytes(&rows[i].event));
        assert_int_equal(out[size], '#');
        out[size] = '\0';
        assert_string_equal(out, rows[i].text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_events),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
