/* SPDX-License-Identifier: Apache-2.0 */
/*
 * floor: what answering costs when nothing is parsed: the least that any server on the same system
 * calls can need.
 *
 *   floor MODE --response FILE [OPTION...]
 *
 * FILE holds the bytes of one response, as the server that is compared has given them. Modes:
 *
 *   level          one epoll loop, level-triggered: read, write
 *   oneshot        the same, armed again with EPOLLONESHOT after each request
 *   handoff        the loop reads; a worker thread gets each connection through a queue and gives
 *                  it back by arming it for writing with EPOLLONESHOT; the loop writes
 *   handoff-inbox  the same, edge-triggered: the worker gives a whole batch back through a list
 *                  and one write to an eventfd
 *   accept         like level, but a thread of its own accepts and adds connections to the epoll
 *   upload         reads a head, then as many bytes as its Content-Length says
 *
 * Options:
 *
 *   --port N         0, the default: a free one, which is printed
 *   --request-bytes N
 *                    a read of several pipelined requests of that size is answered with as
 *                    many responses in one write
 *   --read-bytes N   how much one read may take
 *   --defer          accept connections when their first bytes are there
 *   --close          close each connection after its answer
 */
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <linux/futex.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { EVENTS = 256, BUFFER_BYTES = 1 << 20, BURST_MAX = 64, QUEUE_SLOTS = 1 << 16, FDS = 1 << 16 };

enum mode { LEVEL, ONESHOT, HANDOFF, HANDOFF_INBOX, ACCEPT, UPLOAD };

static enum mode mode;
static int epoll_fd;
static int listen_fd;
static int doorbell_fd;
static char *responses; /* BURST_MAX times the response */
static size_t response_bytes;
static size_t request_bytes;
static size_t read_bytes = 65536;
static bool defer_accept;
static bool close_after;
static char buffer[BUFFER_BYTES + 1]; /* a NUL ends what upload() searches */
static size_t body_left[FDS];

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static void arm(int operation, int fd, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.fd = fd};
    if (epoll_ctl(epoll_fd, operation, fd, &event) != 0) {
        die("epoll_ctl");
    }
}

/* ---- the queue to the worker: one producer, one consumer ---- */

static int queue[QUEUE_SLOTS];
static _Atomic uint32_t queue_head;
static _Atomic uint32_t queue_tail;
static _Atomic uint32_t worker_sleeps;

static void queue_put(int fd)
{
    uint32_t tail = atomic_load(&queue_tail);
    queue[tail % QUEUE_SLOTS] = fd;
    atomic_store(&queue_tail, tail + 1);
}

static void queue_wake(void)
{
    if (atomic_exchange(&worker_sleeps, 0) != 0) {
        (void)syscall(SYS_futex, &worker_sleeps, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
    }
}

/* No wake-up is lost: this thread says that it sleeps and then looks at the queue once more; the
 * other one puts something there and then looks whether this one sleeps. All is sequentially
 * consistent, so one of the two sees the other's word; and the kernel looks at that word again. */
static void queue_wait(void)
{
    while (atomic_load(&queue_head) == atomic_load(&queue_tail)) {
        atomic_store(&worker_sleeps, 1);
        if (atomic_load(&queue_head) == atomic_load(&queue_tail)) {
            (void)syscall(SYS_futex, &worker_sleeps, FUTEX_WAIT_PRIVATE, 1, NULL, NULL, 0);
        }
        atomic_store(&worker_sleeps, 0);
    }
}

/* ---- the way back ---- */

static _Atomic int inbox = -1; /* descriptors, linked by inbox_next */
static int inbox_next[FDS];

static void inbox_put(int fd)
{
    int head = atomic_load(&inbox);
    do {
        inbox_next[fd] = head;
    } while (!atomic_compare_exchange_weak(&inbox, &head, fd));
}

static void *worker_run(void *unused)
{
    for (;;) {
        queue_wait();
        uint32_t tail = atomic_load(&queue_tail);
        for (uint32_t head = atomic_load(&queue_head); head != tail; head++) {
            int fd = queue[head % QUEUE_SLOTS];
            if (mode == HANDOFF) {
                arm(EPOLL_CTL_MOD, fd, EPOLLOUT | EPOLLONESHOT);
            } else {
                inbox_put(fd);
            }
        }
        atomic_store(&queue_head, tail);
        if (mode == HANDOFF_INBOX) {
            uint64_t one = 1;
            if (write(doorbell_fd, &one, sizeof one) != (ssize_t)sizeof one) {
                die("doorbell");
            }
        }
    }
    return unused;
}

static void *accept_run(void *unused)
{
    for (;;) {
        int fd = accept4(listen_fd, NULL, NULL, SOCK_NONBLOCK);
        if (fd >= 0) {
            arm(EPOLL_CTL_ADD, fd, EPOLLIN);
        }
    }
    return unused;
}

/* ---- the epoll thread ---- */

/* The bare system calls: the C library's are cancellation points, which cost a program with threads
 * two locked instructions each. On sockets, recvfrom() and sendto() cost 1 to 2 % of a request less
 * than read() and write(), which go through the file layer. */
static ssize_t take(int fd)
{
    return syscall(SYS_recvfrom, fd, buffer, read_bytes, 0, NULL, NULL);
}

static ssize_t give(int fd, size_t bytes)
{
    return syscall(SYS_sendto, fd, responses, bytes, MSG_NOSIGNAL, NULL, 0);
}

/* False: the connection is closed. */
static bool answer(int fd, size_t received)
{
    size_t count = request_bytes == 0 ? 1 : received / request_bytes;
    count = count > BURST_MAX ? BURST_MAX : count;
    if (give(fd, count * response_bytes) < 0 || close_after) {
        (void)close(fd);
        return false;
    }
    return true;
}

static void accept_all(void)
{
    static const uint32_t interest[] = {[LEVEL] = EPOLLIN,
                                        [ONESHOT] = EPOLLIN | EPOLLONESHOT,
                                        [HANDOFF] = EPOLLIN | EPOLLONESHOT,
                                        [HANDOFF_INBOX] = EPOLLIN | EPOLLET,
                                        [ACCEPT] = EPOLLIN,
                                        [UPLOAD] = EPOLLIN};
    int fd;
    while ((fd = accept4(listen_fd, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
        if (fd >= FDS) {
            (void)close(fd);
            continue;
        }
        body_left[fd] = 0;
        arm(EPOLL_CTL_ADD, fd, interest[mode]);
    }
}

/* Trusts what it is sent: it is the floor, not a server. */
static void upload(int fd)
{
    ssize_t got = take(fd);
    if (got <= 0) {
        if (got == 0 || errno != EAGAIN) {
            (void)close(fd);
        }
        return;
    }
    size_t body = (size_t)got;
    if (body_left[fd] == 0) {
        buffer[got] = '\0';
        const char *end = strstr(buffer, "\r\n\r\n");
        const char *length = strstr(buffer, "Content-Length: ");
        if (end == NULL || length == NULL) {
            (void)close(fd);
            return;
        }
        body_left[fd] = strtoul(length + 16, NULL, 10);
        body -= (size_t)(end + 4 - buffer);
    }
    body_left[fd] -= body < body_left[fd] ? body : body_left[fd];
    if (body_left[fd] == 0) {
        (void)answer(fd, 0);
    }
}

static void readable(int fd)
{
    if (mode == UPLOAD) {
        upload(fd);
        return;
    }
    ssize_t got = take(fd);
    if (got <= 0) {
        if (got == 0 || errno != EAGAIN) {
            (void)close(fd);
        }
        return;
    }
    switch (mode) {
    case HANDOFF:
    case HANDOFF_INBOX:
        queue_put(fd);
        return;
    case ONESHOT:
        if (answer(fd, (size_t)got)) {
            arm(EPOLL_CTL_MOD, fd, EPOLLIN | EPOLLONESHOT);
        }
        return;
    case LEVEL:
    case ACCEPT:
    case UPLOAD:
        (void)answer(fd, (size_t)got);
        return;
    }
}

static void loop(void)
{
    struct epoll_event events[EVENTS];
    for (;;) {
        int count = epoll_wait(epoll_fd, events, EVENTS, -1);
        for (int i = 0; i < count; i++) {
            int fd = events[i].data.fd;
            if (fd == listen_fd) {
                accept_all();
            } else if (fd == doorbell_fd) {
                int next;
                for (int at = atomic_exchange(&inbox, -1); at >= 0; at = next) {
                    next = inbox_next[at];
                    (void)answer(at, 0);
                }
            } else if ((events[i].events & EPOLLOUT) != 0) {
                if (answer(fd, 0)) {
                    arm(EPOLL_CTL_MOD, fd, EPOLLIN | EPOLLONESHOT);
                }
            } else {
                readable(fd);
            }
        }
        if (mode == HANDOFF || mode == HANDOFF_INBOX) {
            queue_wake();
        }
    }
}

static void listen_on(uint16_t port)
{
    int on = 1;
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    listen_fd = socket(AF_INET, SOCK_STREAM | (mode == ACCEPT ? 0 : SOCK_NONBLOCK), 0);
    (void)setsockopt(listen_fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    (void)setsockopt(listen_fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (defer_accept) {
        (void)setsockopt(listen_fd, IPPROTO_TCP, TCP_DEFER_ACCEPT, &on, sizeof on);
    }
    if (bind(listen_fd, (struct sockaddr *)&address, size) != 0 || listen(listen_fd, 4096) != 0) {
        die("listen");
    }
    (void)getsockname(listen_fd, (struct sockaddr *)&address, &size);
    (void)printf("listening on 127.0.0.1:%u\n", ntohs(address.sin_port));
    (void)fflush(stdout);
}

static void read_response(const char *path)
{
    FILE *file = fopen(path, "rb");
    static char one[65536];
    if (file == NULL) {
        die(path);
    }
    response_bytes = fread(one, 1, sizeof one, file);
    (void)fclose(file);
    responses = malloc(BURST_MAX * response_bytes);
    if (responses == NULL) {
        die("malloc");
    }
    for (size_t i = 0; i < BURST_MAX; i++) {
        memcpy(responses + i * response_bytes, one, response_bytes);
    }
}

static bool parse_mode(const char *name)
{
    static const char *const modes[] = {"level",         "oneshot", "handoff",
                                        "handoff-inbox", "accept",  "upload"};
    for (size_t i = 0; i < sizeof modes / sizeof modes[0]; i++) {
        if (strcmp(name, modes[i]) == 0) {
            mode = (enum mode)i;
            return true;
        }
    }
    return false;
}

static bool parse_options(int argc, char **argv, uint16_t *out_port)
{
    static const struct option options[] = {{"port", required_argument, NULL, 'p'},
                                            {"response", required_argument, NULL, 'r'},
                                            {"request-bytes", required_argument, NULL, 'q'},
                                            {"read-bytes", required_argument, NULL, 'b'},
                                            {"defer", no_argument, NULL, 'd'},
                                            {"close", no_argument, NULL, 'c'},
                                            {NULL, 0, NULL, 0}};
    int option;
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (option) {
        case 'p':
            *out_port = (uint16_t)strtoul(optarg, NULL, 10);
            break;
        case 'r':
            read_response(optarg);
            break;
        case 'q':
            request_bytes = strtoul(optarg, NULL, 10);
            break;
        case 'b':
            read_bytes = strtoul(optarg, NULL, 10);
            break;
        case 'd':
            defer_accept = true;
            break;
        case 'c':
            close_after = true;
            break;
        default:
            return false;
        }
    }
    return optind + 1 == argc && parse_mode(argv[optind]) && responses != NULL && read_bytes > 0 &&
           read_bytes <= BUFFER_BYTES;
}

int main(int argc, char **argv)
{
    uint16_t port = 0;
    if (!parse_options(argc, argv, &port)) {
        (void)fputs(
            "usage: floor level|oneshot|handoff|handoff-inbox|accept|upload --response FILE "
            "[--port N]\n             [--request-bytes N] [--read-bytes N] [--defer] [--close]\n",
            stderr);
        return 2;
    }
    pthread_t thread;
    epoll_fd = epoll_create1(0);
    listen_on(port);
    if (mode == ACCEPT) {
        (void)pthread_create(&thread, NULL, accept_run, NULL);
    } else {
        arm(EPOLL_CTL_ADD, listen_fd, EPOLLIN);
    }
    if (mode == HANDOFF || mode == HANDOFF_INBOX) {
        doorbell_fd = eventfd(0, EFD_NONBLOCK);
        arm(EPOLL_CTL_ADD, doorbell_fd, EPOLLIN | EPOLLET);
        (void)pthread_create(&thread, NULL, worker_run, NULL);
    }
    loop();
}
