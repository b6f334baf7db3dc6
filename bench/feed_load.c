/* SPDX-License-Identifier: Apache-2.0 */
/*
 * feed_load: the server's CPU time for each event that it delivers to many subscribers.
 *
 *   feed_load [--smoke] [--server PATH]
 *
 * Starts a server of its own on core 0 with a fresh log, opens subscribers from core 1, and commits
 * one transaction at a time (a write of 100 bytes), or batches of 100, each once every subscriber
 * has read the last: so all of them follow live. What the commits themselves cost is measured by
 * the same load without subscribers, and taken off.
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { SUBSCRIBERS_MAX = 1000, BODY_BYTES_MAX = 64 << 10, READ_BYTES = 256 << 10 };

static char directory[] = "/tmp/weasel-feed-load-XXXXXX";
static pid_t server;
static uint16_t port;
static int feeds[SUBSCRIBERS_MAX];
static uint64_t seen[SUBSCRIBERS_MAX]; /* transactions */
static char buffer[READ_BYTES];

_Noreturn static void fail(const char *what)
{
    perror(what);
    if (server > 0) {
        (void)kill(server, SIGKILL);
    }
    exit(1);
}

static void bind_to(size_t core)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(core, &set);
    (void)sched_setaffinity(0, sizeof set, &set);
}

static double now(void)
{
    struct timespec time;
    (void)clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

static uint16_t free_port(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, size) != 0 ||
        getsockname(fd, (struct sockaddr *)&address, &size) != 0) {
        fail("port");
    }
    (void)close(fd);
    return ntohs(address.sin_port);
}

static void start_server(const char *path)
{
    char setting[3][128];
    port = free_port();
    (void)snprintf(setting[0], sizeof setting[0], "http.port=%u", port);
    (void)snprintf(setting[1], sizeof setting[1], "log.directory=%s/log", directory);
    (void)snprintf(setting[2], sizeof setting[2], "subscribe.max_subscribers=%d",
                   2 * SUBSCRIBERS_MAX);
    server = fork();
    if (server == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        bind_to(0);
        int errors = open("/dev/null", O_WRONLY | O_CLOEXEC);
        (void)dup2(errors, STDERR_FILENO);
        (void)execl(path, path, "--set", setting[0], "--set", setting[1], "--set", setting[2],
                    "--set", "http.network_threads=1", "--set", "log.durability=none", "--set",
                    "log.segment_bytes=33554432", (char *)NULL);
        _exit(127);
    }
    if (server < 0) {
        fail("fork");
    }
}

static int try_connect(void)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof address) != 0) {
        (void)close(fd);
        fd = -1;
    }
    return fd;
}

static int connect_when_it_listens(void)
{
    double until = now() + 10;
    int fd;
    while ((fd = try_connect()) < 0) {
        int status;
        if (now() > until || waitpid(server, &status, WNOHANG) == server) {
            fail("the server does not listen");
        }
        (void)usleep(10000);
    }
    return fd;
}

static void send_all(int fd, const char *data, size_t size)
{
    while (size > 0) {
        ssize_t sent = send(fd, data, size, MSG_NOSIGNAL);
        if (sent <= 0) {
            fail("send");
        }
        data += sent;
        size -= (size_t)sent;
    }
}

/* Reads one answer with a Content-Length into `buffer`; its body. */
static const char *read_answer(int fd)
{
    size_t size = 0;
    for (;;) {
        ssize_t got = recv(fd, buffer + size, sizeof buffer - 1 - size, 0);
        if (got <= 0) {
            fail("recv");
        }
        size += (size_t)got;
        buffer[size] = '\0';
        const char *body = strstr(buffer, "\r\n\r\n");
        const char *length = strstr(buffer, "Content-Length: ");
        if (body != NULL && length != NULL &&
            (size_t)(body + 4 - buffer) + strtoul(length + 16, NULL, 10) <= size) {
            if (strncmp(buffer, "HTTP/1.1 200", 12) != 0) {
                (void)fprintf(stderr, "%s\n", buffer);
                exit(1);
            }
            return body + 4;
        }
    }
}

/* User and system time of the server so far, in seconds. */
static double server_cpu(int fd)
{
    static const char request[] = "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n";
    send_all(fd, request, sizeof request - 1);
    const char *line = strstr(read_answer(fd), "\nprocess_cpu_seconds_total ");
    return line == NULL ? 0 : strtod(line + 27, NULL);
}

static void subscribe(unsigned count)
{
    static const char request[] = "GET /v1/subscribe HTTP/1.1\r\nHost: x\r\n"
                                  "Accept: application/x-ndjson\r\n\r\n";
    for (unsigned i = 0; i < count; i++) {
        feeds[i] = connect_when_it_listens();
        seen[i] = 0;
        send_all(feeds[i], request, sizeof request - 1);
    }
    /* The first progress tells that it stands at the end. */
    for (unsigned i = 0; i < count; i++) {
        size_t size = 0;
        do {
            ssize_t got = recv(feeds[i], buffer + size, sizeof buffer - 1 - size, 0);
            if (got <= 0) {
                fail("subscribe");
            }
            size += (size_t)got;
            buffer[size] = '\0';
        } while (strstr(buffer, "\"progress\"") == NULL);
    }
}

/* Reads until every subscriber has seen `count` transactions. */
static void read_feeds(unsigned subscribers, uint64_t count)
{
    for (unsigned i = 0; i < subscribers; i++) {
        while (seen[i] < count) {
            ssize_t got = recv(feeds[i], buffer, sizeof buffer, 0);
            if (got <= 0) {
                fail("feed");
            }
            /* Each transaction's line ends so, and nothing else has that. */
            for (const char *at = buffer; (at = memchr(at, ']', (size_t)(buffer + got - at)));) {
                seen[i]++;
                at++;
            }
        }
    }
}

static size_t make_request(char *out, unsigned batch)
{
    static char body[BODY_BYTES_MAX];
    size_t size = (size_t)snprintf(body, sizeof body, "{\"transactions\":[");
    for (unsigned i = 0; i < batch; i++) {
        size += (size_t)snprintf(body + size, sizeof body - size,
                                 "%s{\"operations\":[{\"type\":\"write\",\"key\":\"a2V5LTAxMjM0NTY3"
                                 "ODk=\",\"value\":\"%0136d\"}]}",
                                 i == 0 ? "" : ",", 0);
    }
    size += (size_t)snprintf(body + size, sizeof body - size, "]}");
    return (size_t)sprintf(out,
                           "POST /v1/commits HTTP/1.1\r\nHost: x\r\nContent-Type: application/json"
                           "\r\nContent-Length: %zu\r\n\r\n%s",
                           size, body);
}

/* Server CPU of `rounds` commits, in seconds; *out_wall is how long they took. */
static double measure(int fd, unsigned subscribers, unsigned batch, unsigned rounds,
                      double *out_wall)
{
    static char request[BODY_BYTES_MAX + 256];
    size_t size = make_request(request, batch);
    subscribe(subscribers);
    double cpu = server_cpu(fd);
    double start = now();
    for (unsigned i = 1; i <= rounds; i++) {
        send_all(fd, request, size);
        (void)read_answer(fd);
        read_feeds(subscribers, (uint64_t)i * batch);
    }
    *out_wall = now() - start;
    cpu = server_cpu(fd) - cpu;
    for (unsigned i = 0; i < subscribers; i++) {
        /* By a reset, which the server sees before it sends the next event. */
        struct linger at_once = {.l_onoff = 1, .l_linger = 0};
        (void)setsockopt(feeds[i], SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
        (void)close(feeds[i]);
    }
    return cpu;
}

int main(int argc, char **argv)
{
    const char *path = "";
    bool smoke = false;
    char beside[512];
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--smoke") == 0) {
            smoke = true;
        } else if (strcmp(argv[i], "--server") == 0 && i + 1 < argc) {
            path = argv[++i];
        } else {
            (void)fprintf(stderr, "usage: feed_load [--smoke] [--server PATH]\n");
            return 2;
        }
    }
    ssize_t size = readlink("/proc/self/exe", beside, sizeof beside - 1);
    if (path[0] == '\0' && size > 0) {
        beside[size] = '\0';
        char *slash = strstr(beside, "/bench/");
        if (slash != NULL) {
            (void)snprintf(slash, sizeof beside - (size_t)(slash - beside), "/weaseldb");
        }
        path = beside;
    }
    if (mkdtemp(directory) == NULL) {
        fail("mkdtemp");
    }
    bind_to(1);
    start_server(path);
    int fd = connect_when_it_listens();
    static const unsigned subscribers[] = {1, 10, 100, 1000};
    static const unsigned batches[] = {1, 100};
    (void)printf("%12s %6s %14s %16s\n", "subscribers", "batch", "events/s", "CPU ns/event");
    for (unsigned b = 0; b < 2; b++) {
        unsigned rounds = smoke ? 5 : 500;
        double wall;
        double alone = measure(fd, 0, batches[b], rounds, &wall) / rounds;
        for (unsigned s = 0; s < (smoke ? 3 : 4); s++) {
            unsigned own_rounds = subscribers[s] == 1000 && !smoke ? rounds / 10 : rounds;
            double cpu = measure(fd, subscribers[s], batches[b], own_rounds, &wall);
            double events = (double)own_rounds * batches[b] * subscribers[s];
            (void)printf("%12u %6u %14.0f %16.0f\n", subscribers[s], batches[b], events / wall,
                         (cpu - alone * own_rounds) * 1e9 / events);
            (void)fflush(stdout);
        }
    }
    (void)kill(server, SIGTERM);
    (void)waitpid(server, NULL, 0);
    if (fork() == 0) {
        (void)execlp("rm", "rm", "-rf", directory, (char *)NULL);
        _exit(127);
    }
    int status = 1;
    (void)wait(&status);
    return status == 0 ? 0 : 1;
}
