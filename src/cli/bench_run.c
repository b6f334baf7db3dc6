/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One epoll loop. A connection is idle or has one request under way. Most requests leave in one
 * send() and most answers come in one recv(), so both go through shared memory; only what is left
 * over is copied to the connection.
 */
#include "cli/bench_run.h"

#include "base/check.h"
#include "base/clock.h"
#include "cli/bench_answer.h"
#include "cli/stop.h"

#include <assert.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <unistd.h>

enum {
    EVENTS = 256,
    RECEIVE_BYTES = 1 << 18,
    TICK_MS = 100,       /* how often the loop looks at signals and at the clock */
    PATIENCE_MS = 5000,  /* for the last answers */
    FAILURE_BYTES = 300, /* of an answer that is shown */
    ANSWER_BYTES_MAX = 1 << 26,
};

#define MS_NS UINT64_C(1000000)
#define SECOND_NS UINT64_C(1000000000)

struct client {
    int fd;
    bool busy;
    bool waits_to_send;
    uint64_t started_ns; /* when the request was meant to be sent */
    struct buffer in;    /* of an answer that came in pieces */
    struct buffer out;   /* of a request that the socket has not taken */
};

struct run {
    const struct bench_plan *plan;
    struct bench_outcome *outcome;
    struct bench_requests *requests;
    struct client *clients;
    struct client **idle; /* a stack */
    uint32_t idle_count;
    int epoll_fd;
    int timer_fd;
    uint64_t version;
    struct bench_counts *second; /* since the last progress */
    uint64_t start_ns;
    uint64_t end_ns;
    uint64_t last_ns;   /* when the last answer came */
    double interval_ns; /* between two requests of an open loop; 0: closed loop */
    uint64_t sent;
    uint64_t armed_ns; /* what the timer is set to */
    bool is_ending;    /* nothing more is sent */
    bool has_failed;   /* no connection can be made */
    char *received;
};

static void note_failure(struct run *run, const char *text, size_t size)
{
    struct buffer *failure = &run->outcome->failure;
    if (failure->size == 0) {
        buffer_add(failure, bytes_of(text, size < FAILURE_BYTES ? size : FAILURE_BYTES));
    }
}

/* ---- connections ---- */

static int connect_unix(const struct endpoint *endpoint)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    static_assert(sizeof address.sun_path > ENDPOINT_PATH_MAX, "a path fits, and its NUL");
    (void)snprintf(address.sun_path, sizeof address.sun_path, "%s", endpoint->path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof address) != 0) {
        int saved = errno;
        (void)close(fd);
        errno = saved;
        return -1;
    }
    return fd;
}

static int connect_tcp(const struct endpoint *endpoint, const char **out_mistake)
{
    static const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    struct addrinfo *found;
    int on = 1;
    int fd = -1;
    int error = getaddrinfo(endpoint->host, endpoint->port, &hints, &found);
    if (error != 0) {
        *out_mistake = gai_strerror(error);
        return -1;
    }
    for (const struct addrinfo *one = found; one != NULL && fd < 0; one = one->ai_next) {
        fd = socket(one->ai_family, one->ai_socktype | SOCK_CLOEXEC, one->ai_protocol);
        if (fd >= 0 && connect(fd, one->ai_addr, one->ai_addrlen) != 0) {
            *out_mistake = strerror(errno);
            (void)close(fd);
            fd = -1;
        }
    }
    freeaddrinfo(found);
    if (fd >= 0) {
        (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    }
    return fd;
}

static bool open_client(struct run *run, struct client *client)
{
    const char *mistake = NULL;
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = client};
    const struct endpoint *endpoint = run->plan->endpoint;
    client->fd = endpoint->is_unix ? connect_unix(endpoint) : connect_tcp(endpoint, &mistake);
    if (client->fd < 0) {
        mistake = mistake == NULL ? strerror(errno) : mistake;
        /* This one is what to tell, whatever went wrong before. */
        buffer_clear(&run->outcome->failure);
        note_failure(run, mistake, strlen(mistake));
        run->has_failed = true;
        return false;
    }
    CHECK(epoll_ctl(run->epoll_fd, EPOLL_CTL_ADD, client->fd, &event) == 0);
    client->busy = false;
    client->waits_to_send = false;
    buffer_clear(&client->in);
    buffer_clear(&client->out);
    run->idle[run->idle_count++] = client;
    return true;
}

/* ---- requests ---- */

static void want(struct run *run, struct client *client, bool to_send)
{
    struct epoll_event event = {.events = EPOLLIN | (to_send ? (uint32_t)EPOLLOUT : 0),
                                .data.ptr = client};
    if (client->waits_to_send != to_send) {
        CHECK(epoll_ctl(run->epoll_fd, EPOLL_CTL_MOD, client->fd, &event) == 0);
        client->waits_to_send = to_send;
    }
}

/* Sends what it can; what is left over is kept. A broken connection shows itself when read. */
static void push(struct run *run, struct client *client, struct bytes data)
{
    ssize_t sent = send(client->fd, data.data, data.size, MSG_NOSIGNAL | MSG_DONTWAIT);
    size_t taken = sent > 0 ? (size_t)sent : 0;
    bool is_broken = sent < 0 && errno != EAGAIN;
    if (taken < data.size && !is_broken) {
        struct buffer rest = {0};
        buffer_add(&rest, bytes_drop(data, taken));
        buffer_deinit(&client->out);
        client->out = rest;
    } else {
        buffer_clear(&client->out);
    }
    want(run, client, client->out.size > 0);
}

static void start_request(struct run *run, uint64_t meant_ns)
{
    struct client *client = run->idle[--run->idle_count];
    client->busy = true;
    client->started_ns = meant_ns;
    run->sent++;
    push(run, client,
         bench_requests_make(run->requests, run->version, &run->outcome->made_conflicts));
}

/* When the next request of an open loop is meant to be sent. */
static uint64_t next_due_ns(const struct run *run)
{
    return run->start_ns + (uint64_t)((double)run->sent * run->interval_ns);
}

/* Starts what can be started now. */
static void start_requests(struct run *run, uint64_t now_ns)
{
    while (!run->is_ending && run->idle_count > 0) {
        uint64_t meant_ns = run->interval_ns > 0 ? next_due_ns(run) : now_ns;
        if (meant_ns > now_ns || meant_ns >= run->end_ns) {
            return;
        }
        start_request(run, meant_ns);
    }
}

/* ---- answers ---- */

static void count(struct run *run, const struct client *client, struct bytes whole, uint64_t now_ns)
{
    struct bench_answer answer;
    struct bench_counts *second = run->second;
    uint32_t batch = run->plan->shape->batch;
    bool good = bench_answer_read(whole, batch > 1, &answer);
    second->requests++;
    run->last_ns = now_ns;
    if (!good || (answer.status != 200 && answer.status != 409 && answer.status != 503)) {
        struct bytes shown = good ? bench_answer_body(whole) : whole;
        second->errors += batch;
        note_failure(run, shown.data, shown.size);
        return;
    }
    if (answer.status == 503) {
        second->shed += batch;
        return;
    }
    second->committed += answer.committed;
    second->refused += answer.refused;
    second->shed += answer.shed;
    second->errors += answer.others;
    if (answer.others > 0) {
        note_failure(run, answer.detail.data, answer.detail.size);
    }
    run->version = answer.version > run->version ? answer.version : run->version;
    histogram_add(&second->latency_ns, now_ns - client->started_ns);
}

static void lose(struct run *run, struct client *client, const char *why)
{
    bool was_busy = client->busy;
    (void)close(client->fd);
    if (was_busy) {
        run->second->errors += run->plan->shape->batch;
        note_failure(run, why, strlen(why));
    } else {
        for (uint32_t i = 0; i < run->idle_count; i++) {
            if (run->idle[i] == client) {
                run->idle[i] = run->idle[--run->idle_count];
                break;
            }
        }
    }
    (void)open_client(run, client);
}

/* Looks at what has come so far of an answer; the whole of it is counted. */
static void take(struct run *run, struct client *client, struct bytes received)
{
    size_t size;
    if (!client->busy || !bench_answer_measure(received, &size) || size > ANSWER_BYTES_MAX ||
        (size > 0 && received.size > size)) {
        note_failure(run, received.data, received.size);
        lose(run, client, "not an HTTP answer");
        return;
    }
    if (size == 0 || received.size < size) {
        if (received.data != client->in.data) {
            buffer_add(&client->in, received);
        }
        return;
    }
    count(run, client, received, clock_monotonic_ns());
    buffer_clear(&client->in);
    client->busy = false;
    run->idle[run->idle_count++] = client;
}

static void receive(struct run *run, struct client *client)
{
    ssize_t got = recv(client->fd, run->received, RECEIVE_BYTES, MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) {
        return;
    }
    if (got <= 0) {
        lose(run, client, got == 0 ? "the server closed the connection" : strerror(errno));
        return;
    }
    struct bytes received = bytes_of(run->received, (size_t)got);
    if (client->in.size > 0) {
        buffer_add(&client->in, received);
        received = buffer_bytes(&client->in);
    }
    take(run, client, received);
}

/* ---- the loop ---- */

/* Sleeps until something comes, or the next request is due. */
static int wait_events(struct run *run, struct epoll_event *events)
{
    uint64_t due_ns =
        run->interval_ns > 0 && run->idle_count > 0 && !run->is_ending ? next_due_ns(run) : 0;
    if (due_ns != 0 && due_ns != run->armed_ns) {
        struct itimerspec at = {.it_value = {.tv_sec = (time_t)(due_ns / SECOND_NS),
                                             .tv_nsec = (long)(due_ns % SECOND_NS)}};
        CHECK(timerfd_settime(run->timer_fd, TFD_TIMER_ABSTIME, &at, NULL) == 0);
        run->armed_ns = due_ns;
    }
    int count_events = epoll_wait(run->epoll_fd, events, EVENTS, TICK_MS);
    return count_events < 0 ? 0 : count_events;
}

static void handle(struct run *run, const struct epoll_event *event)
{
    struct client *client = event->data.ptr;
    if (client == NULL) {
        return; /* the timer: edge-triggered, so it need not be read */
    }
    if ((event->events & EPOLLOUT) != 0 && client->out.size > 0) {
        push(run, client, buffer_bytes(&client->out));
    }
    if ((event->events & (EPOLLIN | EPOLLERR | EPOLLHUP)) != 0) {
        receive(run, client);
    }
}

/* Adds the second to the whole, and starts a new one. */
static void end_second(struct run *run, uint64_t now_ns)
{
    struct bench_counts *total = &run->outcome->counts;
    const struct bench_counts *second = run->second;
    if (run->plan->progress != NULL) {
        run->plan->progress(second, (now_ns - run->start_ns) / MS_NS);
    }
    total->requests += second->requests;
    total->committed += second->committed;
    total->refused += second->refused;
    total->shed += second->shed;
    total->errors += second->errors;
    histogram_merge(&total->latency_ns, &second->latency_ns);
    *run->second = (struct bench_counts){0};
}

static void loop(struct run *run)
{
    struct epoll_event events[EVENTS];
    uint64_t now_ns = clock_monotonic_ns();
    uint64_t second_ns = now_ns + SECOND_NS;
    while (!run->has_failed) {
        start_requests(run, now_ns);
        int got = wait_events(run, events);
        for (int i = 0; i < got && !run->has_failed; i++) {
            handle(run, &events[i]);
        }
        now_ns = clock_monotonic_ns();
        if (now_ns >= second_ns) {
            end_second(run, now_ns);
            second_ns = now_ns + SECOND_NS;
        }
        if (!run->is_ending && (now_ns >= run->end_ns || stop_is_wanted())) {
            run->is_ending = true;
            run->end_ns = now_ns < run->end_ns ? now_ns : run->end_ns;
        }
        if (run->is_ending &&
            (run->idle_count == run->plan->clients || now_ns > run->end_ns + PATIENCE_MS * MS_NS)) {
            return;
        }
    }
}

/* Requests that were never answered, or never sent though they were due, were slow at least so
 * long. Left out, the worst of a server would be what is not seen. */
static void count_missing(struct run *run)
{
    uint64_t now_ns = clock_monotonic_ns();
    for (uint32_t i = 0; i < run->plan->clients; i++) {
        if (run->clients[i].busy) {
            run->second->errors += run->plan->shape->batch;
            histogram_add(&run->second->latency_ns, now_ns - run->clients[i].started_ns);
            note_failure(run, "no answer within 5 s after the end", 34);
        }
    }
    for (; run->interval_ns > 0 && next_due_ns(run) < run->end_ns; run->sent++) {
        run->outcome->unsent++;
        histogram_add(&run->second->latency_ns, run->end_ns - next_due_ns(run));
    }
}

static double cpu_seconds(void)
{
    struct rusage usage;
    CHECK(getrusage(RUSAGE_SELF, &usage) == 0);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static void open_run(struct run *run, const struct bench_plan *plan, struct bench_outcome *outcome)
{
    *run = (struct run){
        .plan = plan,
        .outcome = outcome,
        .requests = bench_requests_open(plan->shape, plan->endpoint->authority, plan->keys),
        .clients = calloc(plan->clients, sizeof *run->clients),
        .idle = calloc(plan->clients, sizeof(struct client *)),
        .epoll_fd = epoll_create1(EPOLL_CLOEXEC),
        .timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC),
        .version = plan->version,
        .second = calloc(1, sizeof *run->second),
        .interval_ns = plan->rate > 0 ? 1e9 * plan->shape->batch / plan->rate : 0,
        .received = malloc(RECEIVE_BYTES),
    };
    struct epoll_event event = {.events = EPOLLIN | EPOLLET};
    CHECK(run->clients != NULL && run->idle != NULL && run->second != NULL &&
          run->received != NULL);
    CHECK(epoll_ctl(run->epoll_fd, EPOLL_CTL_ADD, run->timer_fd, &event) == 0);
    for (uint32_t i = 0; i < plan->clients; i++) {
        run->clients[i].fd = -1;
    }
}

static void close_run(struct run *run)
{
    for (uint32_t i = 0; i < run->plan->clients; i++) {
        struct client *client = &run->clients[i];
        if (client->fd >= 0) {
            (void)close(client->fd);
        }
        buffer_deinit(&client->in);
        buffer_deinit(&client->out);
    }
    (void)close(run->epoll_fd);
    (void)close(run->timer_fd);
    bench_requests_close(run->requests);
    free(run->clients);
    free((void *)run->idle);
    free(run->second);
    free(run->received);
}

enum err bench_run(const struct bench_plan *plan, struct bench_outcome *out)
{
    struct run run;
    *out = (struct bench_outcome){0};
    open_run(&run, plan, out);
    for (uint32_t i = 0; i < plan->clients && !run.has_failed; i++) {
        (void)open_client(&run, &run.clients[i]);
    }
    double cpu_before = cpu_seconds();
    run.start_ns = clock_monotonic_ns();
    run.last_ns = run.start_ns;
    run.end_ns = run.start_ns + plan->duration_ms * MS_NS;
    if (!run.has_failed) {
        loop(&run);
    }
    out->cpu_seconds = cpu_seconds() - cpu_before;
    out->seconds = (double)(run.last_ns - run.start_ns) / 1e9;
    count_missing(&run);
    end_second(&run, clock_monotonic_ns());
    enum err err = run.has_failed ? ERR_SYSTEM : OK;
    close_run(&run);
    return err;
}
