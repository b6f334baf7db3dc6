/* SPDX-License-Identifier: Apache-2.0 */
/*
 * load: a load generator that costs little, so that one core of it keeps one core of a
 * server busy.
 *
 *   load --port N [--connections N] [--seconds S] [--path P] [--pipeline N] [--post BYTES]
 *        [--close] [--rate N]
 *
 *   --pipeline N   send N requests at once, then wait for N answers
 *   --post BYTES   POST with a body of that size instead of GET
 *   --close        a connection for each request: Connection: close, wait for the end
 *   --rate N       an open loop: N requests a second, each due at a time of its own. Latency counts
 *                  from then, whether or not its connection was free.
 *
 * One request is sent first, alone, and the size of its answer is taken from its Content-Length.
 * All other answers must be of the same size, so that bytes are only counted; but the status line
 * of each is looked at. A connection that got anything else is counted and opened anew. Latency
 * is that of a burst, in steps of an epoll_wait().
 *
 * Prints what it has seen; the status is 1 when an answer was missing, wrong or not 2xx.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

enum {
    EVENTS = 256,
    CONNECTIONS_MAX = 16384,
    PIPELINE_MAX = 256,
    REQUEST_BYTES_MAX = 65536,
    LATENCY_STEPS = 32, /* for each power of two: 3 % */
    LATENCY_BUCKETS = 64 * LATENCY_STEPS,
};

#define SECOND_NS UINT64_C(1000000000)
static const char STATUS_LINE[] = "HTTP/1.1 2";

struct client {
    int fd;
    size_t received; /* of the answers to this burst */
    size_t to_send;  /* of a body that the socket has not taken */
    uint64_t started_ns;
    uint64_t due_ns; /* of the next request, with --rate */
    bool busy;
    bool connecting; /* the request goes out once the connection stands */
};

static struct {
    uint16_t port;
    unsigned connections;
    unsigned pipeline;
    double seconds;
    const char *path;
    size_t body_bytes;
    bool close;
    double rate; /* 0: the next request follows the answer */
} options = {.connections = 64, .pipeline = 1, .seconds = 1, .path = "/"};

static struct client clients[CONNECTIONS_MAX];
static int epoll_fd;
static char request[REQUEST_BYTES_MAX]; /* `pipeline` times one */
static size_t request_bytes;
static char *body;
static size_t answer_bytes; /* one answer */
static char buffer[1 << 20];

static uint64_t requests;
static uint64_t errors;
static uint64_t not_2xx;
static uint64_t latency[LATENCY_BUCKETS];

static void fail(const char *what)
{
    (void)fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
    exit(1);
}

static uint64_t now_ns(void)
{
    struct timespec time;
    (void)clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * SECOND_NS + (uint64_t)time.tv_nsec;
}

/* ---- latency: LATENCY_STEPS buckets for each power of two ---- */

static size_t latency_bucket(uint64_t ns)
{
    if (ns < LATENCY_STEPS) {
        return (size_t)ns;
    }
    unsigned shift = 63 - (unsigned)__builtin_clzll(ns / LATENCY_STEPS);
    return LATENCY_STEPS * (size_t)shift + (size_t)(ns >> shift);
}

static double latency_us(double share)
{
    uint64_t total = 0;
    for (size_t i = 0; i < LATENCY_BUCKETS; i++) {
        total += latency[i];
    }
    uint64_t rank = (uint64_t)((double)total * share);
    uint64_t seen = 0;
    for (size_t i = 0; i < LATENCY_BUCKETS; i++) {
        seen += latency[i];
        if (seen > rank) {
            size_t shift = i < 2 * LATENCY_STEPS ? 0 : i / LATENCY_STEPS - 1;
            return (double)((uint64_t)(i - LATENCY_STEPS * shift) << shift) / 1000;
        }
    }
    return 0;
}

/* ---- connections ---- */

/* `type`: 0, or SOCK_NONBLOCK for one that may not stand yet. */
static int open_connection(int type)
{
    int on = 1;
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons(options.port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | type, 0);
    if (fd < 0 ||
        (connect(fd, (struct sockaddr *)&address, sizeof address) != 0 && errno != EINPROGRESS)) {
        fail("connect");
    }
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return fd;
}

static void send_body(struct client *client)
{
    while (client->to_send > 0) {
        const char *rest = body + options.body_bytes - client->to_send;
        ssize_t sent = send(client->fd, rest, client->to_send, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent < 0) {
            return; /* full: EPOLLOUT will come; broken: receiving says so */
        }
        client->to_send -= (size_t)sent;
    }
}

static void send_burst(struct client *client)
{
    int more = options.body_bytes > 0 ? MSG_MORE : 0;
    ssize_t sent = send(client->fd, request, request_bytes, MSG_NOSIGNAL | more);
    client->connecting = false;
    client->to_send = sent == (ssize_t)request_bytes ? options.body_bytes : 0;
    send_body(client);
}

static void open_client(struct client *client)
{
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = client};
    client->connecting = true;
    client->fd = open_connection(SOCK_NONBLOCK);
    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, client->fd, &event) != 0) {
        fail("epoll_ctl");
    }
}

/* A request, or a burst of them, that was due at `due`. */
static void start_request(struct client *client, uint64_t due)
{
    client->received = 0;
    client->started_ns = due;
    client->busy = true;
    if (client->fd < 0) {
        open_client(client);
    } else {
        send_burst(client);
    }
}

static void close_client(struct client *client)
{
    (void)close(client->fd);
    client->fd = -1;
}

/* The last request has ended, whichever way: the next one follows, at once or when it is due. */
static void go_on(struct client *client, uint64_t now)
{
    client->busy = false;
    if (options.rate == 0) {
        start_request(client, now);
    }
}

static void start_due(struct client *client, uint64_t now)
{
    if (options.rate > 0 && !client->busy && client->due_ns <= now) {
        start_request(client, client->due_ns);
        client->due_ns += (uint64_t)(1e9 * options.connections / options.rate);
    }
}

/* ---- answers ---- */

/* Whether each answer that begins in these bytes begins as it should. One whose beginning is split
 * is believed. */
static bool heads_are_good(const struct client *client, size_t got)
{
    size_t into = client->received % answer_bytes;
    size_t at = into == 0 ? 0 : answer_bytes - into;
    for (; at + sizeof STATUS_LINE - 1 <= got; at += answer_bytes) {
        if (memcmp(buffer + at, STATUS_LINE, sizeof STATUS_LINE - 1) != 0) {
            return false;
        }
    }
    return true;
}

static void receive(struct client *client, uint64_t now)
{
    size_t expected = answer_bytes * options.pipeline;
    for (;;) {
        ssize_t got = recv(client->fd, buffer, sizeof buffer, MSG_DONTWAIT);
        if (got < 0 && errno == EAGAIN) {
            return;
        }
        if (got <= 0 && !(options.close && got == 0 && client->received == expected)) {
            errors++;
            close_client(client);
            go_on(client, now);
            return;
        }
        if (got > 0 && !heads_are_good(client, (size_t)got)) {
            not_2xx++;
            close_client(client);
            go_on(client, now);
            return;
        }
        client->received += (size_t)got;
        if (client->received > expected) {
            errors++;
            close_client(client);
            go_on(client, now);
            return;
        }
        if (options.close && got > 0) {
            continue; /* the end may be there already, and has no edge of its own then */
        }
        if (client->received == expected) {
            requests += options.pipeline;
            latency[latency_bucket(now - client->started_ns)]++;
            if (options.close) {
                close_client(client);
            }
            go_on(client, now);
        }
        return;
    }
}

/* Sends one request alone and learns the size of its answer. */
static void learn(size_t one_request_bytes)
{
    static const struct timeval patience = {.tv_sec = 10};
    int fd = open_connection(0);
    size_t got = 0;
    const char *end = NULL;
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    if (send(fd, request, one_request_bytes, MSG_NOSIGNAL) != (ssize_t)one_request_bytes ||
        send(fd, body, options.body_bytes, MSG_NOSIGNAL) != (ssize_t)options.body_bytes) {
        fail("send");
    }
    while (end == NULL || got < answer_bytes) {
        ssize_t size = recv(fd, buffer + got, sizeof buffer - 1 - got, 0);
        if (size <= 0) {
            fail("the first answer");
        }
        got += (size_t)size;
        buffer[got] = '\0';
        end = strstr(buffer, "\r\n\r\n");
        const char *length = strcasestr(buffer, "\r\nContent-Length:");
        if (end != NULL && length != NULL) {
            answer_bytes = (size_t)(end + 4 - buffer) + strtoul(length + 17, NULL, 10);
        }
        if (strncmp(buffer, STATUS_LINE, sizeof STATUS_LINE - 1) != 0 ||
            (end != NULL && length == NULL)) {
            (void)fprintf(stderr, "load: not a 2xx answer with a Content-Length: %.60s\n", buffer);
            exit(1);
        }
    }
    (void)close(fd);
}

static void handle_event(const struct epoll_event *event, uint64_t now)
{
    struct client *client = event->data.ptr;
    if (client->connecting && (event->events & (EPOLLOUT | EPOLLERR)) != 0) {
        send_burst(client);
    } else {
        send_body(client);
    }
    receive(client, now);
}

static struct timespec until_next_due(uint64_t now)
{
    uint64_t wait = SECOND_NS / 100;
    for (unsigned i = 0; options.rate > 0 && i < options.connections; i++) {
        if (!clients[i].busy && clients[i].due_ns < now + wait) {
            wait = clients[i].due_ns > now ? clients[i].due_ns - now : 0;
        }
    }
    return (struct timespec){.tv_nsec = (long)wait};
}

static double run(void)
{
    struct epoll_event events[EVENTS];
    uint64_t start = now_ns();
    uint64_t now = start;
    uint64_t end = start + (uint64_t)(options.seconds * 1e9);
    for (unsigned i = 0; i < options.connections; i++) {
        clients[i].fd = -1;
        if (options.rate > 0) {
            clients[i].due_ns = start + (uint64_t)(1e9 * i / options.rate);
        } else {
            start_request(&clients[i], now);
        }
    }
    while (now < end) {
        struct timespec wait = until_next_due(now);
        int count = epoll_pwait2(epoll_fd, events, EVENTS, &wait, NULL);
        now = now_ns();
        for (int i = 0; i < count; i++) {
            handle_event(&events[i], now);
        }
        for (unsigned i = 0; i < options.connections; i++) {
            start_due(&clients[i], now);
        }
    }
    for (unsigned i = 0; i < options.connections; i++) {
        if (clients[i].busy && now - clients[i].started_ns > SECOND_NS) { /* still no answer */
            latency[latency_bucket(now - clients[i].started_ns)]++;
            errors++;
        }
    }
    return (double)(now - start) / 1e9;
}

/* ---- start ---- */

static size_t build_requests(void)
{
    char length[64] = "";
    size_t one = 0;
    if (options.body_bytes > 0) {
        (void)snprintf(length, sizeof length, "Content-Length: %zu\r\n", options.body_bytes);
    }
    for (unsigned i = 0; i < options.pipeline; i++) {
        int size = snprintf(request + request_bytes, sizeof request - request_bytes,
                            "%s %s HTTP/1.1\r\nHost: 127.0.0.1:%u\r\n%s%s\r\n",
                            options.body_bytes > 0 ? "POST" : "GET", options.path, options.port,
                            options.close ? "Connection: close\r\n" : "", length);
        if (size < 0 || (size_t)size >= sizeof request - request_bytes) {
            (void)fprintf(stderr, "load: the requests of a burst are too long\n");
            exit(2);
        }
        one = (size_t)size;
        request_bytes += one;
    }
    body = calloc(1, options.body_bytes + 1);
    if (body == NULL) {
        fail("memory");
    }
    return one;
}

static bool parse_options(int argc, char **argv)
{
    static const struct option known[] = {{"port", required_argument, NULL, 'p'},
                                          {"connections", required_argument, NULL, 'c'},
                                          {"seconds", required_argument, NULL, 's'},
                                          {"path", required_argument, NULL, 'u'},
                                          {"pipeline", required_argument, NULL, 'l'},
                                          {"post", required_argument, NULL, 'b'},
                                          {"close", no_argument, NULL, 'x'},
                                          {"rate", required_argument, NULL, 'r'},
                                          {NULL, 0, NULL, 0}};
    int option;
    while ((option = getopt_long(argc, argv, "", known, NULL)) != -1) {
        switch (option) {
        case 'p':
            options.port = (uint16_t)strtoul(optarg, NULL, 10);
            break;
        case 'c':
            options.connections = (unsigned)strtoul(optarg, NULL, 10);
            break;
        case 's':
            options.seconds = strtod(optarg, NULL);
            break;
        case 'u':
            options.path = optarg;
            break;
        case 'l':
            options.pipeline = (unsigned)strtoul(optarg, NULL, 10);
            break;
        case 'b':
            options.body_bytes = strtoul(optarg, NULL, 10);
            break;
        case 'x':
            options.close = true;
            break;
        case 'r':
            options.rate = strtod(optarg, NULL);
            break;
        default:
            return false;
        }
    }
    /* Bodies and closing go with single requests. */
    return optind == argc && options.port != 0 && options.connections > 0 &&
           options.connections <= CONNECTIONS_MAX && options.pipeline > 0 &&
           options.pipeline <= PIPELINE_MAX && options.rate >= 0 &&
           (options.pipeline == 1 || (options.body_bytes == 0 && !options.close));
}

int main(int argc, char **argv)
{
    if (!parse_options(argc, argv)) {
        (void)fputs("usage: load --port N [--connections N] [--seconds S] [--path P] "
                    "[--pipeline N | --post BYTES | --close] [--rate N]\n",
                    stderr);
        return 2;
    }
    epoll_fd = epoll_create1(0);
    learn(build_requests());
    double seconds = run();
    (void)printf("requests %llu seconds %.3f\n", (unsigned long long)requests, seconds);
    (void)printf("errors %llu not-2xx %llu\n", (unsigned long long)errors,
                 (unsigned long long)not_2xx);
    (void)printf("per-second %.0f\n", (double)requests / seconds);
    (void)printf("latency-us p50 %.1f p90 %.1f p99 %.1f p99.9 %.1f max %.1f\n", latency_us(0.5),
                 latency_us(0.9), latency_us(0.99), latency_us(0.999), latency_us(1 - 1e-12));
    return requests > 0 && errors == 0 && not_2xx == 0 ? 0 : 1;
}
