/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Listening and accepting.
 *
 * Stopping. A thread blocked in accept4() is interrupted by LISTENER_SIGNAL, which does nothing but
 * make the call return EINTR. shutdown() of the socket would also end the call, but it resets the
 * connections that wait in the backlog, and stops a socket that systemd keeps for the next start. A
 * signal that comes just before the call blocks is lost, so it is repeated until the thread has
 * said that it left the loop.
 */
#include "engine/listener.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/logger.h"
#include "engine/answer.h"
#include "engine/poller.h"
#include "engine/socket.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum {
    BACKLOG = 4096, /* the kernel cuts it to net.core.somaxconn */
    DEFER_ACCEPT_SEC = 1,
};

union socket_address {
    struct sockaddr any;
    struct sockaddr_in ip4;
    struct sockaddr_in6 ip6;
    struct sockaddr_un local;
};

static enum err fail(char *error, const char *what, const char *address, int number)
{
    (void)snprintf(error, LISTENER_ERROR_BYTES, "%s %s: %s", what, address, strerror(number));
    errno = number;
    return ERR_SYSTEM;
}

static void init(struct listener *listener, struct engine_core *core)
{
    memset(listener, 0, sizeof *listener);
    listener->core = core;
    listener->fd = -1;
}

/* Reads the socket's own address back into words. */
static void name_address(struct listener *listener)
{
    union socket_address address = {0};
    socklen_t size = sizeof address;
    char text[INET6_ADDRSTRLEN] = "?";
    if (getsockname(listener->fd, &address.any, &size) != 0) {
        return;
    }
    if (address.any.sa_family == AF_INET) {
        (void)inet_ntop(AF_INET, &address.ip4.sin_addr, text, sizeof text);
        listener->port = ntohs(address.ip4.sin_port);
        listener->is_tcp = true;
        (void)snprintf(listener->address, sizeof listener->address, "%s:%u", text, listener->port);
    } else if (address.any.sa_family == AF_INET6) {
        (void)inet_ntop(AF_INET6, &address.ip6.sin6_addr, text, sizeof text);
        listener->port = ntohs(address.ip6.sin6_port);
        listener->is_tcp = true;
        (void)snprintf(listener->address, sizeof listener->address, "[%s]:%u", text,
                       listener->port);
    } else {
        (void)snprintf(listener->address, sizeof listener->address, "unix:%.*s",
                       (int)sizeof address.local.sun_path,
                       address.local.sun_path[0] == '\0' ? "?" : address.local.sun_path);
    }
}

/* Options that accepted connections inherit: no Nagle, since answers leave whole anyway; no wake-up
 * before the first bytes of a request are there, so that one event brings both; and little in the
 * kernel for a client that does not read: it would take megabytes for each, which no limit of ours
 * counts. None can fail in a way that matters. */
static void set_tcp_options(int fd)
{
    int on = 1;
    int defer = DEFER_ACCEPT_SEC;
    int unsent = SOCKET_UNSENT_BYTES;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &unsent, sizeof unsent);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_DEFER_ACCEPT, &defer, sizeof defer);
}

static enum err listen_on(struct listener *listener, const union socket_address *address,
                          socklen_t size, const char *name, char *error)
{
    int on = 1;
    listener->fd = socket(address->any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (listener->fd < 0) {
        return fail(error, "socket for", name, errno);
    }
    if (address->any.sa_family != AF_UNIX) {
        (void)setsockopt(listener->fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
        set_tcp_options(listener->fd);
    }
    if (bind(listener->fd, &address->any, size) != 0 || listen(listener->fd, BACKLOG) != 0) {
        int number = errno;
        (void)close(listener->fd);
        listener->fd = -1;
        return fail(error, "listen on", name, number);
    }
    name_address(listener);
    return OK;
}

enum err listener_open_tcp(struct listener *listener, struct engine_core *core,
                           const char *bind_address, uint16_t port,
                           char error[LISTENER_ERROR_BYTES])
{
    init(listener, core);
    union socket_address address = {0};
    socklen_t size = 0;
    char name[LISTENER_ADDRESS_BYTES];
    if (inet_pton(AF_INET, bind_address, &address.ip4.sin_addr) == 1) {
        address.ip4.sin_family = AF_INET;
        address.ip4.sin_port = htons(port);
        size = sizeof address.ip4;
        (void)snprintf(name, sizeof name, "%.100s:%u", bind_address, port);
    } else if (inet_pton(AF_INET6, bind_address, &address.ip6.sin6_addr) == 1) {
        address.ip6.sin6_family = AF_INET6;
        address.ip6.sin6_port = htons(port);
        size = sizeof address.ip6;
        (void)snprintf(name, sizeof name, "[%.100s]:%u", bind_address, port);
    } else {
        (void)snprintf(error, LISTENER_ERROR_BYTES,
                       "listen on '%.100s': not an IPv4 or IPv6 address", bind_address);
        return ERR_INVALID;
    }
    return listen_on(listener, &address, size, name, error);
}

/* A socket file that nobody listens on is left from a crash: it goes. Anything else stays. */
static enum err clear_stale_socket(const union socket_address *address, const char *path,
                                   char *error)
{
    struct stat status;
    if (lstat(path, &status) != 0) {
        return errno == ENOENT ? OK : fail(error, "listen on", path, errno);
    }
    if (!S_ISSOCK(status.st_mode)) {
        return fail(error, "listen on", path, EEXIST);
    }
    int probe = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (probe < 0) {
        return fail(error, "socket for", path, errno);
    }
    int result = connect(probe, &address->any, sizeof address->local);
    int number = errno;
    (void)close(probe);
    if (result == 0 || number != ECONNREFUSED) {
        return fail(error, "listen on", path, EADDRINUSE);
    }
    return unlink(path) == 0 ? OK : fail(error, "remove stale socket", path, errno);
}

enum err listener_open_unix(struct listener *listener, struct engine_core *core, const char *path,
                            char error[LISTENER_ERROR_BYTES])
{
    init(listener, core);
    union socket_address address = {.local.sun_family = AF_UNIX};
    size_t size = strlen(path);
    if (size >= sizeof address.local.sun_path) {
        (void)snprintf(error, LISTENER_ERROR_BYTES,
                       "listen on unix socket: the path has %zu bytes, at most %zu are possible",
                       size, sizeof address.local.sun_path - 1);
        return ERR_INVALID;
    }
    memcpy(address.local.sun_path, path, size + 1);
    enum err err = clear_stale_socket(&address, path, error);
    if (err == OK) {
        err = listen_on(listener, &address, sizeof address.local, path, error);
    }
    if (err == OK) {
        memcpy(listener->unix_path, path, size + 1);
    }
    return err;
}

enum err listener_open_inherited(struct listener *listener, struct engine_core *core, int fd,
                                 char error[LISTENER_ERROR_BYTES])
{
    init(listener, core);
    char name[32];
    (void)snprintf(name, sizeof name, "descriptor %d", fd);
    int listening = 0;
    int type = 0;
    socklen_t size = sizeof listening;
    if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &size) != 0) {
        return fail(error, "inherited", name, errno);
    }
    size = sizeof type;
    if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) != 0 || !listening ||
        type != SOCK_STREAM) {
        (void)snprintf(error, LISTENER_ERROR_BYTES, "inherited %s: not a listening stream socket",
                       name);
        return ERR_INVALID;
    }
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags & ~O_NONBLOCK) != 0 ||
        fcntl(fd, F_SETFD, FD_CLOEXEC) != 0) {
        return fail(error, "inherited", name, errno);
    }
    listener->fd = fd;
    listener->inherited = true;
    name_address(listener);
    if (listener->is_tcp) {
        set_tcp_options(fd);
    }
    return OK;
}

/* ---- the accept threads ---- */

/* Tells a client that there is no room for it. Best effort: nothing waits for a slow client here.
 */
static void refuse(struct listener_thread *thread, int fd)
{
    char text[HTTP_RESPONSE_HEAD_BYTES_MAX + HTTP_PROBLEM_BYTES_MAX + 256];
    char unread[4096];
    size_t size = answer_write_refusal(text, sizeof text, clock_realtime_sec());
    (void)send(fd, text, size, MSG_NOSIGNAL | MSG_DONTWAIT);
    (void)shutdown(fd, SHUT_WR);
    /* Bytes left unread would turn the close into a reset, and that could overtake the answer. */
    (void)recv(fd, unread, sizeof unread, MSG_DONTWAIT);
    (void)close(fd);
    metrics_add(thread->cells, thread->listener->core->instruments.refused_connections, 1);
}

static void hand_over(struct listener_thread *thread, int fd)
{
    struct engine_core *core = thread->listener->core;
    if (!core_try_open_connection(core)) {
        refuse(thread, fd);
        return;
    }
    struct poller *home = &core->pollers[thread->next_home];
    thread->next_home = (thread->next_home + 1) % core->poller_count;
    /* Each poller has a slot for every connection allowed. */
    struct conn *conn = poller_try_reserve(home);
    if (conn != NULL && poller_hand(home, conn, fd) == OK) {
        metrics_add(thread->cells, core->instruments.accepted, 1);
        return;
    }
    core_connections_closed(core, 1);
    refuse(thread, fd);
}

static void pause_accepting(struct listener_thread *thread, int number)
{
    struct timespec pause = {.tv_nsec = LISTENER_PAUSE_MS * 1000000L};
    metrics_add(thread->cells, thread->listener->core->instruments.accept_pauses, 1);
    LOG_RATE_LIMITED(LOG_WARN, 1, "accepting is paused",
                     LOG_STRING("address", thread->listener->address),
                     LOG_STRING("error", strerror(number)), LOG_U64("pause_ms", LISTENER_PAUSE_MS));
    (void)nanosleep(&pause, NULL); /* ended early by LISTENER_SIGNAL */
}

/* Errors of one connection, which accept4() reports although the listener is well (accept(2)). */
static bool is_connections_error(int number)
{
    return number == ECONNABORTED || number == EPROTO || number == ENOPROTOOPT ||
           number == EHOSTDOWN || number == ENONET || number == EHOSTUNREACH ||
           number == EOPNOTSUPP || number == ENETUNREACH || number == ENETDOWN || number == EPERM ||
           number == EINTR || number == EAGAIN;
}

static bool is_stopping(struct listener *listener)
{
    /* relaxed: the loop looks again at once; pairs with listener_stop() */
    return atomic_load_explicit(&listener->stopping, memory_order_relaxed);
}

static void accept_one(struct listener_thread *thread)
{
    int fd = accept4(thread->listener->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0) {
        hand_over(thread, fd);
    } else if (!is_connections_error(errno)) {
        pause_accepting(thread, errno);
    }
}

static bool backlog_waits(const struct listener *listener)
{
    struct pollfd waiting = {.fd = listener->fd, .events = POLLIN};
    return poll(&waiting, 1, 0) == 1;
}

/* Who has connected already is still served; bounded, so that a flood cannot hold the stop up, and
 * without a pause for want of descriptors. An inherited socket lives on: its backlog is the next
 * process's. */
static void take_backlog(struct listener_thread *thread)
{
    const struct listener *listener = thread->listener;
    for (unsigned i = 0; i < BACKLOG && !listener->inherited && backlog_waits(listener); i++) {
        int fd = accept4(listener->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            hand_over(thread, fd);
        } else if (!is_connections_error(errno)) {
            return;
        }
    }
}

static void accept_run(void *argument)
{
    struct listener_thread *thread = argument;
    struct listener *listener = thread->listener;
    sigset_t interrupt;
    (void)sigemptyset(&interrupt);
    (void)sigaddset(&interrupt, LISTENER_SIGNAL);
    CHECK(pthread_sigmask(SIG_UNBLOCK, &interrupt, NULL) == 0);
    while (!is_stopping(listener)) {
        accept_one(thread);
    }
    /* release: pairs with the load in interrupt_threads() */
    atomic_store_explicit(&thread->finished, true, memory_order_release);
}

static void on_signal(int number)
{
    (void)number;
}

enum err listener_start(struct listener *listener, unsigned threads)
{
    CHECK(listener->fd >= 0);
    CHECK(threads <= LISTENER_THREADS_MAX);
    struct sigaction action = {.sa_handler = on_signal}; /* without SA_RESTART */
    (void)sigemptyset(&action.sa_mask);
    CHECK(sigaction(LISTENER_SIGNAL, &action, NULL) == 0);
    for (unsigned i = 0; i < threads; i++) {
        struct listener_thread *thread = &listener->threads[i];
        char name[16];
        thread->listener = listener;
        thread->next_home = i % listener->core->poller_count;
        thread->cells = metrics_cells_open(listener->core->metrics);
        (void)snprintf(name, sizeof name, "accept-%u", i);
        if (thread_start(&thread->thread, name, ROLE_ACCEPT, accept_run, thread) != OK) {
            listener_stop(listener);
            return ERR_SYSTEM;
        }
        listener->thread_count++;
    }
    return OK;
}

void listener_stop(struct listener *listener)
{
    /* relaxed: the signal that follows makes the thread look; pairs with is_stopping() */
    atomic_store_explicit(&listener->stopping, true, memory_order_relaxed);
}

/* Until every thread has left its loop. */
static void interrupt_threads(struct listener *listener)
{
    struct timespec pause = {.tv_nsec = 1000000L};
    for (unsigned i = 0; i < listener->thread_count; i++) {
        struct listener_thread *thread = &listener->threads[i];
        /* acquire: pairs with the store at the end of accept_run() */
        while (!atomic_load_explicit(&thread->finished, memory_order_acquire)) {
            (void)pthread_kill(thread->thread.handle, LISTENER_SIGNAL);
            (void)nanosleep(&pause, NULL);
        }
        thread_join(&thread->thread);
    }
    listener->thread_count = 0;
}

void listener_close(struct listener *listener)
{
    if (listener->fd < 0) {
        return;
    }
    listener_stop(listener);
    bool accepted_before = listener->thread_count > 0;
    interrupt_threads(listener);
    if (accepted_before) {
        take_backlog(&listener->threads[0]); /* its thread has ended: its cells are ours */
    }
    (void)close(listener->fd);
    listener->fd = -1;
    if (listener->unix_path[0] != '\0') {
        (void)unlink(listener->unix_path);
    }
}
