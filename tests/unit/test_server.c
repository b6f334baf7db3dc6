/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A server whose sockets the test can reach, since it runs in the same process: events of a
 * connection's earlier life.
 *
 * Within a batch of events there are none: the kernel reports a descriptor once, and while a batch
 * is gone through each connection closes none but itself. Nor are there any later, as long as
 * close() closes: the last descriptor of a socket takes it out of epoll. But one that lives on
 * elsewhere (a child between fork() and exec(), a debugger, a descriptor that was passed on) keeps
 * the socket registered, and what happens to it is reported with the slot that another client has
 * by then. An answer does not depend on that, since a connection that a stage has is never closed
 * and its owner word is checked at each move (test_conn.c). The event itself does: its hang-up
 * would end the other client's stream.
 */
#include "base/check.h"
#include "engine/server.h"

#include <arpa/inet.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

enum { TEXT_BYTES = 64 << 10, DESCRIPTORS_MAX = 256, PATIENCE_MS = 20000 };

static struct server *server;

/* ---- routes ---- */

static enum handler_verdict hello(struct exchange *exchange, void *context)
{
    (void)context;
    exchange_answer(exchange, 200, BYTES("text/plain"), BYTES("hello"));
    return HANDLER_ANSWERED;
}

static _Atomic bool may_end;

/* "first", and "last" when it may. */
static enum stream_step pull(struct stream_source *source, char *out, size_t room, size_t *size,
                             uint32_t *wait_ms, bool draining)
{
    static bool has_begun;
    (void)source;
    (void)wait_ms;
    CHECK(room >= 8);
    if (!has_begun) {
        has_begun = true;
        *size = 5;
        memcpy(out, "first", *size);
        return STREAM_WAIT;
    }
    if (!atomic_load(&may_end) && !draining) {
        return STREAM_WAIT;
    }
    *size = 4;
    memcpy(out, "last", *size);
    return STREAM_END;
}

static enum handler_verdict stream(struct exchange *exchange, void *context)
{
    static struct stream_source source = {.pull = pull};
    (void)context;
    exchange_stream(exchange, 200, BYTES("text/plain"), &source);
    return HANDLER_STREAM;
}

static struct engine_route routes[] = {
    {.match = {.pattern = "/hello", .method = HTTP_GET}, .handle = hello},
    {.match = {.pattern = "/stream", .method = HTTP_GET}, .handle = stream},
};

/* One slot, so that the next connection has the place of the one before. */
static int start(void **state)
{
    (void)state;
    const struct server_config config = {
        .accept_threads = 1,
        .network_threads = 1,
        .bind_address = "127.0.0.1",
        .keepalive_timeout_sec = 60,
        .request_timeout_sec = 60,
        .write_timeout_sec = 60,
        .drain_timeout_sec = 10,
        .max_connections = 1,
        .max_header_bytes = 16384,
        .memory_limit_bytes = 64 << 20,
        .stream_buffer_bytes = 16384,
    };
    assert_int_equal(server_open(&config, &server), OK);
    for (size_t i = 0; i < sizeof routes / sizeof routes[0]; i++) {
        assert_int_equal(server_add_route(server, &routes[i]), OK);
    }
    assert_int_equal(server_start(server), OK);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    server_drain(server);
    (void)server_join(server);
    server_close(server);
    return 0;
}

/* ---- clients ---- */

static void send_get(int fd, const char *target, const char *header)
{
    char text[256];
    int size = snprintf(text, sizeof text, "GET %s HTTP/1.1\r\nHost: a\r\n%s\r\n", target, header);
    assert_int_equal(send(fd, text, (size_t)size, MSG_NOSIGNAL), size);
}

static int open_client(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(server_port(server))};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (const struct sockaddr *)&address, sizeof address), 0);
    return fd;
}

/* Reads on into `text`, which holds a string, until `wanted` is part of it. False: the server has
 * ended the connection before. */
static bool try_read_until(int fd, char text[TEXT_BYTES], const char *wanted)
{
    size_t size = strlen(text);
    while (strstr(text, wanted) == NULL) {
        struct pollfd wait = {.fd = fd, .events = POLLIN};
        assert_int_equal(poll(&wait, 1, PATIENCE_MS), 1);
        ssize_t got = recv(fd, text + size, TEXT_BYTES - 1 - size, 0);
        if (got <= 0) {
            return false;
        }
        size += (size_t)got;
        text[size] = '\0';
    }
    return true;
}

/* A descriptor of the server's end of the connection that is `client`'s. */
static int keep_server_end(int client)
{
    struct sockaddr_in mine;
    socklen_t size = sizeof mine;
    assert_int_equal(getsockname(client, (struct sockaddr *)&mine, &size), 0);
    for (int fd = 3; fd < DESCRIPTORS_MAX; fd++) {
        struct sockaddr_in peer = {0};
        size = sizeof peer;
        if (getpeername(fd, (struct sockaddr *)&peer, &size) == 0 && peer.sin_family == AF_INET &&
            peer.sin_port == mine.sin_port) {
            return dup(fd);
        }
    }
    return -1;
}

static void append(void *context, const char *data, size_t size)
{
    char *text = context;
    size_t before = strlen(text);
    assert_true(before + size < TEXT_BYTES);
    memcpy(text + before, data, size);
    text[before + size] = '\0';
}

static bool has_seen_stale_event(void)
{
    static char text[TEXT_BYTES];
    text[0] = '\0';
    metrics_render(server_metrics(server), (struct metrics_sink){append, text});
    const char *at = strstr(text, "\nhttp_stale_events_total ");
    assert_non_null(at);
    return at[sizeof "\nhttp_stale_events_total " - 1] != '0';
}

static void an_event_of_an_earlier_connection_leaves_the_next_one_alone(void **state)
{
    (void)state;
    static char text[TEXT_BYTES];

    int earlier = open_client();
    send_get(earlier, "/hello", "");
    assert_true(try_read_until(earlier, text, "hello"));
    int kept = keep_server_end(earlier);
    assert_true(kept >= 0);
    send_get(earlier, "/hello", "Connection: close\r\n");
    text[0] = '\0';
    assert_true(try_read_until(earlier, text, "\r\n\r\nhello"));

    /* The place is free a moment later; until then the server is full. */
    int next = -1;
    for (bool has_place = false; !has_place;) {
        next = open_client();
        send_get(next, "/stream", "");
        text[0] = '\0';
        assert_true(try_read_until(next, text, "\r\n\r\n"));
        has_place = strstr(text, "HTTP/1.1 200") == text;
        if (!has_place) {
            assert_non_null(strstr(text, "HTTP/1.1 503"));
            (void)close(next);
        }
    }
    assert_true(try_read_until(next, text, "first"));
    assert_false(has_seen_stale_event());

    /* Both directions at once: for epoll that is a hang-up. */
    assert_int_equal(shutdown(kept, SHUT_RDWR), 0);
    struct pollfd end = {.fd = next, .events = POLLIN};
    while (!has_seen_stale_event()) {
        assert_int_equal(poll(&end, 1, 1), 0); /* what is there now is the end of the stream */
    }
    atomic_store(&may_end, true);
    server_wake_streams(server);
    assert_true(try_read_until(next, text, "last"));
    (void)close(kept);
    (void)close(next);
    (void)close(earlier);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_event_of_an_earlier_connection_leaves_the_next_one_alone),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
