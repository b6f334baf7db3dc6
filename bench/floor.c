/* SPDX-License-Identifier: Apache-2.0 */
/*
 * floor: what answering costs when nothing is parsed: the least that any server on the same system
 * calls can need.
 *
 *   floor MODE --port PORT --response FILE [--request-bytes N]
 *
 * FILE holds the bytes of one response, as the server that is compared has given them.
 *
 *   level          one epoll loop, level-triggered: read, write
 *   oneshot        the same, armed again with EPOLLONESHOT after each request
 *   handoff        an epoll thread reads and writes; a worker thread gets each connection through a
 * queue and gives it back by arming it for writing (EPOLLONESHOT) handoff-inbox  the same,
 * edge-triggered; the worker gives whole batches back through a list and one write to an eventfd
 *   accept         an accept thread hands each connection to the epoll loop, which answers and
 * closes upload         reads a head, then as many bytes as its Content-Length says, into one
 * buffer
 *
 * With --request-bytes a read of several pipelined requests of that size is answered with as many
 * responses in one write.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
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
static char buffer[BUFFER_BYTES];
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

static void answer(int fd, size_t received)
{
    size_t count = request_bytes == 0 ? 1 : received / request_bytes;
    count = count > BURST_MAX ? BURST_MAX : count;
    if (write(fd, responses, count * response_bytes) < 0) {
        (void)close(fd);
    }
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
    ssize_t got = read(fd, buffer, sizeof buffer - 1);
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
        answer(fd, 0);
    }
}

static void readable(int fd)
{
    if (mode == UPLOAD) {
        upload(fd);
        return;
    }
    ssize_t got = read(fd, buffer, 65536);
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
    case ACCEPT:
        answer(fd, (size_t)got);
        (void)close(fd);
        return;
    case ONESHOT:
        answer(fd, (size_t)got);
        arm(EPOLL_CTL_MOD, fd, EPOLLIN | EPOLLONESHOT);
        return;
    case LEVEL:
    case UPLOAD:
        answer(fd, (size_t)got);
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
                    answer(at, 0);
                }
            } else if ((events[i].events & EPOLLOUT) != 0) {
                answer(fd, 0);
                arm(EPOLL_CTL_MOD, fd, EPOLLIN | EPOLLONESHOT);
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

int main(int argc, char **argv)
{
    static const char *const modes[] = {"level",         "oneshot", "handoff",
                                        "handoff-inbox", "accept",  "upload"};
    uint16_t port = 0;
    bool known = false;
    for (size_t i = 0; argc > 1 && i < sizeof modes / sizeof modes[0]; i++) {
        if (strcmp(argv[1], modes[i]) == 0) {
            mode = (enum mode)i;
            known = true;
        }
    }
    for (int i = 2; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--port") == 0) {
            port = (uint16_t)strtoul(argv[i + 1], NULL, 10);
        } else if (strcmp(argv[i], "--response") == 0) {
            read_response(argv[i + 1]);
        } else if (strcmp(argv[i], "--request-bytes") == 0) {
            request_bytes = strtoul(argv[i + 1], NULL, 10);
        }
    }
    if (!known || responses == NULL) {
        (void)fputs("usage: floor MODE --port PORT --response FILE [--request-bytes N]\n", stderr);
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
