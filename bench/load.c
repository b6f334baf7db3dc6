/* SPDX-License-Identifier: Apache-2.0 */
/*
 * load: a closed-loop load generator that costs little, so that one core of it keeps one core of a
 * server busy. It knows the size of the response from the first one and then only counts bytes.
 *
 *   load --port PORT --connections N --seconds S [--path P] [--pipeline N] [--post BYTES]
 *
 * Prints "requests N seconds S" and, when something went wrong, a message and status 1.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { EVENTS = 256, CONNECTIONS_MAX = 16384, REQUEST_BYTES_MAX = 65536 };

struct client {
    int fd;
    size_t to_receive; /* of the answers to the last burst */
    size_t to_send;    /* of a body that the socket has not taken */
};

static struct client clients[CONNECTIONS_MAX];
static char request[REQUEST_BYTES_MAX];
static size_t request_bytes;
static char *body;
static size_t body_bytes;
static size_t answer_bytes; /* to one burst */
static char buffer[1 << 20];

static void fail(const char *what)
{
    (void)fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
    exit(1);
}

static double now(void)
{
    struct timespec time;
    (void)clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static void send_body(struct client *client)
{
    while (client->to_send > 0) {
        ssize_t sent =
            send(client->fd, body + body_bytes - client->to_send, client->to_send, MSG_NOSIGNAL);
        if (sent < 0) {
            if (errno == EAGAIN) {
                return;
            }
            fail("send");
        }
        client->to_send -= (size_t)sent;
    }
}

static void start_burst(struct client *client)
{
    if (send(client->fd, request, request_bytes, MSG_NOSIGNAL | (body_bytes > 0 ? MSG_MORE : 0)) !=
        (ssize_t)request_bytes) {
        fail("send");
    }
    client->to_receive = answer_bytes;
    client->to_send = body_bytes;
    send_body(client);
}

/* Sends one burst and reads all that comes, to learn how much that is. */
static void learn(struct client *client)
{
    size_t got = 0;
    answer_bytes = 0;
    start_burst(client);
    for (int quiet = 0; quiet < 20;) {
        ssize_t size = recv(client->fd, buffer + got, sizeof buffer - got, 0);
        if (size == 0) {
            fail("the server closed");
        }
        if (size > 0) {
            got += (size_t)size;
            quiet = 0;
        } else {
            struct timespec pause = {.tv_nsec = 10000000};
            send_body(client);
            (void)nanosleep(&pause, NULL);
            quiet += got > 0 ? 1 : 0;
        }
    }
    if (strncmp(buffer, "HTTP/1.1 200 ", 13) != 0) {
        (void)fprintf(stderr, "load: answered %.20s\n", buffer);
        exit(1);
    }
    answer_bytes = got;
}

static int open_connection(uint16_t port)
{
    int on = 1;
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) != 0) {
        fail("connect");
    }
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (fcntl(fd, F_SETFL, O_NONBLOCK) != 0) {
        fail("fcntl");
    }
    return fd;
}

static uint64_t run(int epoll_fd, unsigned connections, unsigned pipeline, double seconds)
{
    struct epoll_event events[EVENTS];
    uint64_t requests = 0;
    for (unsigned i = 0; i < connections; i++) {
        start_burst(&clients[i]);
    }
    double end = now() + seconds;
    while (now() < end) {
        int count = epoll_wait(epoll_fd, events, EVENTS, 100);
        for (int i = 0; i < count; i++) {
            struct client *client = &clients[events[i].data.u32];
            send_body(client);
            ssize_t got = recv(client->fd, buffer, sizeof buffer, 0);
            if (got == 0) {
                fail("the server closed");
            }
            if (got < 0) {
                continue;
            }
            if ((size_t)got > client->to_receive) {
                fail("more came than was asked for");
            }
            client->to_receive -= (size_t)got;
            if (client->to_receive == 0) {
                requests += pipeline;
                start_burst(client);
            }
        }
    }
    return requests;
}

int main(int argc, char **argv)
{
    uint16_t port = 0;
    unsigned connections = 64;
    unsigned pipeline = 1;
    double seconds = 1;
    const char *path = "/";
    for (int i = 1; i + 1 < argc; i += 2) {
        const char *value = argv[i + 1];
        if (strcmp(argv[i], "--port") == 0) {
            port = (uint16_t)strtoul(value, NULL, 10);
        } else if (strcmp(argv[i], "--connections") == 0) {
            connections = (unsigned)strtoul(value, NULL, 10);
        } else if (strcmp(argv[i], "--pipeline") == 0) {
            pipeline = (unsigned)strtoul(value, NULL, 10);
        } else if (strcmp(argv[i], "--seconds") == 0) {
            seconds = strtod(value, NULL);
        } else if (strcmp(argv[i], "--path") == 0) {
            path = value;
        } else if (strcmp(argv[i], "--post") == 0) {
            body_bytes = strtoul(value, NULL, 10);
        }
    }
    if (port == 0 || connections == 0 || connections > CONNECTIONS_MAX || pipeline > 256) {
        (void)fputs("usage: load --port PORT --connections N --seconds S [--path P] "
                    "[--pipeline N] [--post BYTES]\n",
                    stderr);
        return 2;
    }
    for (unsigned i = 0; i < pipeline; i++) {
        char length[64] = "";
        if (body_bytes > 0) {
            (void)snprintf(length, sizeof length, "Content-Length: %zu\r\n", body_bytes);
        }
        request_bytes += (size_t)snprintf(request + request_bytes, sizeof request - request_bytes,
                                          "%s %s HTTP/1.1\r\nHost: 127.0.0.1:%u\r\n%s\r\n",
                                          body_bytes > 0 ? "POST" : "GET", path, port, length);
    }
    body = calloc(1, body_bytes + 1);
    int epoll_fd = epoll_create1(0);
    for (unsigned i = 0; i < connections; i++) {
        struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.u32 = i};
        clients[i].fd = open_connection(port);
        (void)epoll_ctl(epoll_fd, EPOLL_CTL_ADD, clients[i].fd, &event);
    }
    learn(&clients[0]);
    double start = now();
    uint64_t requests = run(epoll_fd, connections, pipeline, seconds);
    (void)printf("requests %llu seconds %.3f\n", (unsigned long long)requests, now() - start);
    return 0;
}
