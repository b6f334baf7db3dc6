/* SPDX-License-Identifier: Apache-2.0 */
/*
 * feed_read: readers that cost as little as they can.
 *
 *   feed_read --port N --until VERSION          one Protobuf subscriber, from the log's begin
 *   feed_read --port N --raw                    whatever comes, until the connection ends
 *   feed_read --port N --live COUNT [--stalled COUNT] --seconds S
 *                                               subscribers that read all that comes, and some
 *                                               that read nothing
 *
 * Prints how many bytes came, in how many seconds; with --until how many transactions; with --live
 * how many bytes the subscriber had that got the least. "ready" is printed when all --live ones
 * follow.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    BUFFER_BYTES = 1 << 18,
    LIVE_MAX = 4000,
    READY_EVENTS = 256,
    STALLED_RECEIVE_BYTES = 4096,
    VARINT_BYTES_MAX = 10,
};

static const char GET[] = "GET /v1/subscribe%s HTTP/1.0\r\nHost: localhost\r\n"
                          "Accept: application/protobuf\r\n\r\n";

static uint16_t port;
static char buffer[BUFFER_BYTES];
static int fds[LIVE_MAX];
static uint64_t received[LIVE_MAX];

_Noreturn static void fail(const char *what)
{
    (void)fprintf(stderr, "feed_read: %s: %s\n", what, strerror(errno));
    exit(1);
}

static double now(void)
{
    struct timespec time;
    (void)clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

static int open_connection(int receive_bytes)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (receive_bytes > 0) {
        (void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &receive_bytes, sizeof receive_bytes);
    }
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) != 0) {
        fail("connect");
    }
    return fd;
}

static int subscribe(const char *query, int receive_bytes)
{
    char request[sizeof GET + 32];
    int size = snprintf(request, sizeof request, GET, query);
    int fd = open_connection(receive_bytes);
    if (send(fd, request, (size_t)size, MSG_NOSIGNAL) != size) {
        fail("send");
    }
    return fd;
}

static size_t receive(int fd, char *data, size_t room)
{
    ssize_t got = recv(fd, data, room, 0);
    if (got < 0) {
        fail("recv");
    }
    return (size_t)got;
}

/* Reads the head and leaves what came behind it in the buffer; its size. */
static size_t skip_head(int fd)
{
    size_t size = 0;
    for (;;) {
        size_t got = receive(fd, buffer + size, sizeof buffer - 1 - size);
        size += got;
        buffer[size] = '\0';
        const char *end = strstr(buffer, "\r\n\r\n");
        if (got == 0 || (size > 12 && strncmp(buffer + 8, " 200", 4) != 0)) {
            (void)fprintf(stderr, "feed_read: an answer that was not expected: %s\n", buffer);
            exit(1);
        }
        if (end != NULL) {
            size -= (size_t)(end + 4 - buffer);
            memmove(buffer, end + 4, size);
            return size;
        }
    }
}

static size_t read_varint(const char *data, uint64_t *out)
{
    size_t size = 0;
    unsigned char byte;
    *out = 0;
    do {
        byte = (unsigned char)data[size];
        *out |= (uint64_t)(byte & 127) << 7 * size++;
    } while (byte > 127 && size < VARINT_BYTES_MAX);
    return size;
}

/* Takes the whole events of the buffer; the version of the last progress is in *out_progress. */
static size_t take_events(size_t size, uint64_t *transactions, uint64_t *out_progress)
{
    size_t at = 0;
    while (at < size) {
        char head[VARINT_BYTES_MAX + 1] = {0};
        uint64_t length;
        memcpy(head, buffer + at, size - at < VARINT_BYTES_MAX ? size - at : VARINT_BYTES_MAX);
        size_t head_bytes = read_varint(head, &length);
        if (size - at < head_bytes || size - at - head_bytes < length) {
            break;
        }
        at += head_bytes;
        *transactions += buffer[at] == (1 << 3 | 2);
        if (buffer[at] == (2 << 3 | 2)) {
            (void)read_varint(buffer + at + 3, out_progress); /* behind two tags and a size */
        }
        at += length;
    }
    return at;
}

static void read_until(uint64_t version)
{
    double start = now();
    int fd = subscribe("?after=0", 0);
    uint64_t transactions = 0;
    uint64_t progress = 0;
    size_t size = skip_head(fd);
    uint64_t total = size;
    for (;;) {
        size_t taken = take_events(size, &transactions, &progress);
        size -= taken;
        memmove(buffer, buffer + taken, size);
        if (progress >= version) {
            break;
        }
        size_t got = receive(fd, buffer + size, sizeof buffer - size);
        if (got == 0) {
            fail("the feed ended");
        }
        size += got;
        total += got;
    }
    (void)printf("bytes %llu seconds %.4f transactions %llu\n", (unsigned long long)total,
                 now() - start, (unsigned long long)transactions);
}

static void read_raw(void)
{
    double start = now();
    int fd = open_connection(0);
    uint64_t total = 0;
    size_t got;
    while ((got = receive(fd, buffer, sizeof buffer)) > 0) {
        total += got;
    }
    (void)printf("bytes %llu seconds %.4f\n", (unsigned long long)total, now() - start);
}

static void read_live(unsigned live, unsigned stalled, double seconds)
{
    struct epoll_event events[READY_EVENTS];
    int epoll_fd = epoll_create1(0);
    for (unsigned i = 0; i < live; i++) {
        fds[i] = subscribe("", 0);
        struct epoll_event event = {.events = EPOLLIN, .data.u32 = i};
        (void)skip_head(fds[i]);
        (void)epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fds[i], &event);
    }
    for (unsigned i = 0; i < stalled; i++) {
        (void)subscribe("", STALLED_RECEIVE_BYTES);
    }
    (void)printf("ready\n");
    (void)fflush(stdout);
    double end = now() + seconds;
    while (now() < end) {
        int count = epoll_wait(epoll_fd, events, READY_EVENTS, 10);
        for (int i = 0; i < count; i++) {
            uint32_t index = events[i].data.u32;
            size_t got = receive(fds[index], buffer, sizeof buffer);
            if (got == 0) {
                fail("a subscriber was cut");
            }
            received[index] += got;
        }
    }
    uint64_t total = 0;
    uint64_t least = UINT64_MAX;
    for (unsigned i = 0; i < live; i++) {
        total += received[i];
        least = received[i] < least ? received[i] : least;
    }
    (void)printf("bytes %llu seconds %.4f least %llu\n", (unsigned long long)total, seconds,
                 (unsigned long long)least);
}

int main(int argc, char **argv)
{
    static const struct option known[] = {{"port", required_argument, NULL, 'p'},
                                          {"until", required_argument, NULL, 'u'},
                                          {"raw", no_argument, NULL, 'r'},
                                          {"live", required_argument, NULL, 'l'},
                                          {"stalled", required_argument, NULL, 't'},
                                          {"seconds", required_argument, NULL, 's'},
                                          {NULL, 0, NULL, 0}};
    unsigned long values[256] = {0};
    int option;
    bool good = true;
    while ((option = getopt_long(argc, argv, "", known, NULL)) != -1) {
        values[option & 255] = optarg == NULL ? 1 : strtoul(optarg, NULL, 10);
        good = good && option != '?';
    }
    port = (uint16_t)values['p'];
    if (!good || port == 0 || optind != argc || values['l'] > LIVE_MAX ||
        (values['u'] != 0) + values['r'] + (values['l'] != 0) != 1) {
        (void)fputs("usage: feed_read --port N --until VERSION | --raw |\n"
                    "                 --live COUNT [--stalled COUNT] --seconds S\n",
                    stderr);
        return 2;
    }
    if (values['u'] != 0) {
        read_until(values['u']);
    } else if (values['r'] != 0) {
        read_raw();
    } else {
        read_live((unsigned)values['l'], (unsigned)values['t'], (double)values['s']);
    }
    return 0;
}
