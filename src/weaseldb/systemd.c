/* SPDX-License-Identifier: Apache-2.0 */
/* docs/decisions/0006-systemd-protocol.md says why libsystemd is not used. */
#include "weaseldb/systemd.h"

#include "base/bytes.h"
#include "base/clock.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

enum { FIRST_FD = 3 };

#define WATCHDOG_USEC_MAX UINT64_C(3600000000) /* one that allows more is fed as if it did not */

static bool environment_number(const char *name, uint64_t *out)
{
    const char *value = getenv(name);
    return value != NULL && bytes_parse_u64(bytes_from_string(value), out);
}

int systemd_take_sockets(int out_fds[SYSTEMD_SOCKETS_MAX])
{
    uint64_t pid = 0;
    uint64_t count = 0;
    bool is_set = getenv("LISTEN_FDS") != NULL;
    bool for_us = environment_number("LISTEN_PID", &pid) && pid == (uint64_t)getpid();
    bool good = environment_number("LISTEN_FDS", &count) && count <= SYSTEMD_SOCKETS_MAX;
    (void)unsetenv("LISTEN_FDS");
    (void)unsetenv("LISTEN_PID");
    (void)unsetenv("LISTEN_FDNAMES");
    if (!is_set || !for_us) {
        return 0;
    }
    if (!good) {
        return -1;
    }
    for (int i = 0; i < (int)count; i++) {
        out_fds[i] = FIRST_FD + i;
    }
    return (int)count;
}

void systemd_notify(const char *state)
{
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (path == NULL || (path[0] != '/' && path[0] != '@') ||
        strlen(path) >= sizeof address.sun_path) {
        return;
    }
    size_t size = strlen(path);
    memcpy(address.sun_path, path, size);
    if (path[0] == '@') {
        address.sun_path[0] = '\0'; /* the abstract namespace */
    }
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return;
    }
    /* A manager that is busy may have a full queue; READY=1 must not be lost to that. */
    const struct timeval patience = {.tv_sec = SYSTEMD_SEND_SEC};
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    socklen_t address_size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + size);
    (void)sendto(fd, state, strlen(state), MSG_NOSIGNAL, (const struct sockaddr *)&address,
                 address_size);
    (void)close(fd);
}

void systemd_notify_reloading(void)
{
    char state[80];
    (void)snprintf(state, sizeof state, "RELOADING=1\nMONOTONIC_USEC=%" PRIu64,
                   clock_monotonic_ns() / 1000);
    systemd_notify(state);
}

void systemd_notify_patience(const char *status, uint64_t within_sec)
{
    char state[200];
    (void)snprintf(state, sizeof state, "%.100s\nEXTEND_TIMEOUT_USEC=%" PRIu64, status,
                   within_sec * 1000000);
    systemd_notify(state);
}

uint64_t systemd_take_watchdog_ns(void)
{
    uint64_t pid = 0;
    uint64_t allowed_us = 0;
    bool for_us = getenv("WATCHDOG_PID") == NULL ||
                  (environment_number("WATCHDOG_PID", &pid) && pid == (uint64_t)getpid());
    bool good = environment_number("WATCHDOG_USEC", &allowed_us);
    (void)unsetenv("WATCHDOG_USEC");
    (void)unsetenv("WATCHDOG_PID");
    if (!for_us || !good) {
        return 0;
    }
    return (allowed_us < WATCHDOG_USEC_MAX ? allowed_us : WATCHDOG_USEC_MAX) * 1000 / 2;
}
