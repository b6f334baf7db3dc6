/* SPDX-License-Identifier: Apache-2.0 */
/*
 * socket: recv() and send() as plain system calls.
 *
 * In a process with threads the C library makes each of them a cancellation point, at the cost of
 * two atomic exchanges; nobody cancels threads here. Measured: 0.1 µs of 4.2 for a request
 * (docs/performance.md). Sanitizers know the C library's functions only, so their builds use those.
 *
 * Runs on: any thread. Blocks: never, on sockets that are non-blocking. Errors: as recv(2) and
 * send(2).
 */
#ifndef ENGINE_SOCKET_H
#define ENGINE_SOCKET_H

#include <linux/sock_diag.h>
#include <linux/sockios.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SOCKET_BY_LIBRARY 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SOCKET_BY_LIBRARY 1
#endif
#endif

#if defined(SOCKET_BY_LIBRARY) || !defined(SYS_recvfrom) || !defined(SYS_sendto)
static inline ssize_t socket_receive(int fd, void *out, size_t room)
{
    return recv(fd, out, room, 0);
}

static inline ssize_t socket_send(int fd, const void *data, size_t size)
{
    return send(fd, data, size, MSG_NOSIGNAL);
}
#else
static inline ssize_t socket_receive(int fd, void *out, size_t room)
{
    return syscall(SYS_recvfrom, fd, out, room, 0, NULL, NULL);
}

static inline ssize_t socket_send(int fd, const void *data, size_t size)
{
    return syscall(SYS_sendto, fd, data, size, MSG_NOSIGNAL, NULL, 0);
}
#endif

/* How much a TCP socket holds at most beyond what the client's window takes, about. */
enum { SOCKET_UNSENT_BYTES = 128 << 10 };

/* How many bytes it would take about now; 0 when that is not known. */
static inline size_t socket_room(int fd)
{
    uint32_t words[SK_MEMINFO_VARS];
    socklen_t size = sizeof words;
    int unsent = 0;
    if (ioctl(fd, SIOCOUTQNSD, &unsent) != 0 || unsent >= SOCKET_UNSENT_BYTES) {
        return 0; /* full, or no TCP socket, which says nothing of what it holds */
    }
    if (getsockopt(fd, SOL_SOCKET, SO_MEMINFO, words, &size) != 0 || size < sizeof words ||
        words[SK_MEMINFO_WMEM_QUEUED] >= words[SK_MEMINFO_SNDBUF]) {
        return 0;
    }
    size_t room = words[SK_MEMINFO_SNDBUF] - words[SK_MEMINFO_WMEM_QUEUED];
    size_t room_unsent = (size_t)(SOCKET_UNSENT_BYTES - unsent);
    return room < room_unsent ? room : room_unsent;
}

#endif
