/* SPDX-License-Identifier: Apache-2.0 */
/* Response heads, byte for byte. */
#include "http/response.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define DATE "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n"

static const struct http_request current = {.version_minor = 1, .keep_alive = true};
static const struct http_request last = {.version_minor = 1, .keep_alive = false};
static const struct http_request old = {.version_minor = 0, .keep_alive = false};
static const struct http_request old_kept = {.version_minor = 0, .keep_alive = true};
static const struct http_request named = {
    .version_minor = 1, .keep_alive = true, .request_id = BYTES_INIT("r1")};

static void test_heads(void **state)
{
    static const struct {
        struct http_response response;
        const struct http_request *request;
        const char *head;
    } rows[] = {
        {{.status = 200, .body = BYTES_INIT("abc")},
         &current,
         "HTTP/1.1 200 OK\r\n" DATE "Content-Length: 3\r\n\r\n"},
        {{.status = 200, .content_type = BYTES_INIT("a/b"), .headers = BYTES_INIT("X: y\r\n")},
         &named,
         "HTTP/1.1 200 OK\r\n" DATE "Content-Type: a/b\r\nContent-Length: 0\r\n"
         "X-Request-Id: r1\r\nX: y\r\n\r\n"},
        {{.status = 404, .close = true},
         &current,
         "HTTP/1.1 404 Not Found\r\n" DATE "Content-Length: 0\r\nConnection: close\r\n\r\n"},
        {{.status = 200},
         &last,
         "HTTP/1.1 200 OK\r\n" DATE "Content-Length: 0\r\nConnection: close\r\n\r\n"},
        {{.status = 200},
         &old,
         "HTTP/1.1 200 OK\r\n" DATE "Content-Length: 0\r\nConnection: close\r\n\r\n"},
        {{.status = 200},
         &old_kept,
         "HTTP/1.1 200 OK\r\n" DATE "Content-Length: 0\r\nConnection: keep-alive\r\n\r\n"},
        {{.status = 200, .framing = HTTP_FRAMING_CHUNKED},
         &current,
         "HTTP/1.1 200 OK\r\n" DATE "Transfer-Encoding: chunked\r\n\r\n"},
        {{.status = 200, .framing = HTTP_FRAMING_CLOSE},
         &old_kept,
         "HTTP/1.1 200 OK\r\n" DATE "Connection: close\r\n\r\n"},
        {{.status = 204, .framing = HTTP_FRAMING_NONE},
         &current,
         "HTTP/1.1 204 No Content\r\n" DATE "\r\n"},
        {{.status = 204}, &current, "HTTP/1.1 204 No Content\r\n" DATE "\r\n"},
        {{.status = 304}, &current, "HTTP/1.1 304 Not Modified\r\n" DATE "\r\n"},
        {{.status = 299}, &current, "HTTP/1.1 299 Unknown\r\n" DATE "Content-Length: 0\r\n\r\n"},
        {{.status = 400, .close = true},
         NULL,
         "HTTP/1.1 400 Bad Request\r\n" DATE "Content-Length: 0\r\nConnection: close\r\n\r\n"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char out[1024];
        size_t size = http_response_write_head(&rows[i].response, rows[i].request, DATE, out);
        assert_in_range(size, 1, sizeof(out) - 1);
        out[size] = '\0';
        assert_string_equal(out, rows[i].head);
        assert_true(size <= http_response_head_bytes_max(&rows[i].response, rows[i].request));
    }
}

/* The promised bound holds for the longest of everything. */
static void test_bound(void **state)
{
    static const char text[2000] = {'a'};
    (void)state;
    struct http_request request = {.version_minor = 0, .keep_alive = true};
    request.request_id = bytes_of(text, 128);
    struct http_response response = {.status = 431,
                                     .content_type = bytes_of(text, 500),
                                     .headers = bytes_of(text, 1000),
                                     .body = bytes_of(text, SIZE_MAX)};
    char out[4096];
    size_t size = http_response_write_head(&response, &request, DATE, out);
    size_t bound = http_response_head_bytes_max(&response, &request);
    assert_true(size <= bound);
    assert_true(bound - size < 512);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_heads),
        cmocka_unit_test(test_bound),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
