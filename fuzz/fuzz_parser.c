/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzzes the parser with streams of requests: the first byte chooses a limit for heads, the next
 * two how the stream is split. Fed whole and split, it must say the same; and whatever it takes for
 * a request must be one by an oracle of its own, which reads the bytes again in the plainest way.
 *
 * Covers: src/http/parser.c src/http/head.c
 */
#include "base/check.h"
#include "http/parser.h"
#include "transcript.h"

#include <stdlib.h>
#include <strings.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { STREAM_BYTES_MAX = 4096, CHOICE_BYTES = 3 };

/* The line at *rest, without its CR LF, which must be there. */
static struct bytes take_line(struct bytes *rest)
{
    for (size_t i = 0; i + 1 < rest->size; i++) {
        if (rest->data[i] == '\r' && rest->data[i + 1] == '\n') {
            struct bytes line = bytes_of(rest->data, i);
            *rest = bytes_drop(*rest, i + 2);
            CHECK(i == 0 ||
                  (memchr(line.data, '\r', i) == NULL && memchr(line.data, '\n', i) == NULL &&
                   memchr(line.data, 0, i) == NULL));
            return line;
        }
    }
    UNREACHABLE();
}

static bool is_name(struct bytes name)
{
    for (size_t i = 0; i < name.size; i++) {
        unsigned char c = (unsigned char)name.data[i];
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (!letter && (c == 0 || strchr("!#$%&'*+-.^_`|~", c) == NULL)) {
            return false;
        }
    }
    return name.size > 0;
}

static struct bytes take_field(struct bytes line, struct bytes *out_value)
{
    struct bytes rest = line;
    struct bytes name = bytes_split(&rest, ':');
    CHECK(rest.data != NULL && is_name(name));
    *out_value = bytes_trim(rest);
    return name;
}

/* Fields that must not be there may not be there under any name that differs in case only. */
static bool named(struct bytes name, const char *text)
{
    return name.size == strlen(text) && strncasecmp(name.data, text, name.size) == 0;
}

static void check_host(struct bytes host)
{
    CHECK(host.size > 0 && host.data[0] != ':');
    for (size_t i = 0; i < host.size; i++) {
        unsigned char c = (unsigned char)host.data[i];
        CHECK(c > ' ' && c < 0x7f && strchr("/?#@,\"<>\\^`{|}", c) == NULL);
    }
}

static void check_target(struct bytes target)
{
    for (size_t i = 0; i < target.size; i++) {
        unsigned char c = (unsigned char)target.data[i];
        CHECK(c > ' ' && c < 0x7f && strchr("\"<>\\^`{|}#", c) == NULL);
    }
    CHECK(target.data[0] == '/' || bytes_equal(target, BYTES("*")) ||
          strncasecmp(target.data, "http", 4) == 0);
}

/* De-chunks `rest` to its end and compares with `body`. */
static void check_chunks(struct bytes rest, struct bytes body)
{
    for (;;) {
        struct bytes line = take_line(&rest);
        struct bytes digits = bytes_split(&line, ';');
        uint64_t size = 0;
        CHECK(digits.size > 0);
        for (size_t i = 0; i < digits.size; i++) {
            char c = ascii_lower(digits.data[i]);
            CHECK((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'));
            CHECK(size >> 60 == 0);
            size = size * 16 + (uint64_t)(c <= '9' ? c - '0' : c - 'a' + 10);
        }
        if (size == 0) {
            break;
        }
        CHECK(size <= body.size && size + 2 <= rest.size);
        CHECK(memcmp(rest.data, body.data, size) == 0);
        CHECK(memcmp(rest.data + size, "\r\n", 2) == 0);
        rest = bytes_drop(rest, size + 2);
        body = bytes_drop(body, size);
    }
    CHECK(body.size == 0);
    for (struct bytes line = take_line(&rest); line.size > 0; line = take_line(&rest)) {
        struct bytes value;
        struct bytes name = take_field(line, &value);
        CHECK(!named(name, "content-length") && !named(name, "transfer-encoding") &&
              !named(name, "host"));
    }
    CHECK(rest.size == 0);
}

static void check_request(const struct http_request *request, struct bytes message,
                          struct bytes body)
{
    struct bytes rest = message;
    struct bytes line = take_line(&rest);
    struct bytes method = bytes_split(&line, ' ');
    struct bytes target = bytes_split(&line, ' ');
    CHECK(bytes_equal(method, http_method_name(request->method)));
    CHECK(bytes_equal(target, request->target) && target.size > 0);
    CHECK(bytes_equal(line, request->version_minor == 0 ? BYTES("HTTP/1.0") : BYTES("HTTP/1.1")));
    check_target(target);

    unsigned hosts = 0;
    unsigned lengths = 0;
    unsigned codings = 0;
    unsigned count = 0;
    uint64_t length = 0;
    bool close = false;
    bool keep = false;
    for (line = take_line(&rest); line.size > 0; line = take_line(&rest)) {
        struct bytes value;
        struct bytes name = take_field(line, &value);
        CHECK(count < request->header_count);
        CHECK(bytes_equal(name, request->headers[count].name));
        CHECK(bytes_equal(value, request->headers[count].value));
        count++;
        if (named(name, "host")) {
            hosts++;
            check_host(value);
        } else if (named(name, "content-length")) {
            lengths++;
            CHECK(bytes_parse_u64(value, &length));
        } else if (named(name, "transfer-encoding")) {
            codings++;
            CHECK(named(value, "chunked"));
        } else if (named(name, "connection")) {
            while (value.size > 0) {
                struct bytes token = bytes_trim(bytes_split(&value, ','));
                close = close || named(token, "close");
                keep = keep || named(token, "keep-alive");
            }
        }
    }
    CHECK(count == request->header_count && count <= HTTP_HEADERS_MAX);
    CHECK(hosts == 1 || (hosts == 0 && request->version_minor == 0));
    CHECK(lengths + codings <= 1 && (codings == 0 || request->version_minor == 1));
    CHECK(request->chunked == (codings == 1) && request->has_content_length == (lengths == 1));
    CHECK(request->keep_alive == (!close && (request->version_minor == 1 || keep)));
    if (codings == 1) {
        check_chunks(rest, body);
    } else {
        CHECK(request->content_length == length && rest.size == length);
        CHECK(bytes_equal(rest, body));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < CHOICE_BYTES || size > STREAM_BYTES_MAX) {
        return 0;
    }
    struct bytes stream = bytes_of((const char *)data + CHOICE_BYTES, size - CHOICE_BYTES);
    size_t header_bytes_max = data[0] < 128 ? 16384 : data[0];
    struct transcript whole = {.limits = {header_bytes_max}, .on_request = check_request};
    struct transcript split = {.limits = {header_bytes_max}};
    struct transcript single = {.limits = {header_bytes_max}};
    transcript_run(&whole, stream, 0, 0);
    transcript_run(&split, stream, data[1], data[2]);
    transcript_run(&single, stream, 1, 0);
    CHECK(strcmp(whole.text, split.text) == 0);
    CHECK(strcmp(whole.text, single.text) == 0);
    transcript_free(&whole);
    transcript_free(&split);
    transcript_free(&single);
    return 0;
}
