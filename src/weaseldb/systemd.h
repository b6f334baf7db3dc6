/* SPDX-License-Identifier: Apache-2.0 */
/*
 * systemd: sockets passed in (LISTEN_FDS), notifications (NOTIFY_SOCKET) and the watchdog
 * (WATCHDOG_USEC), by their documented protocols: sd_listen_fds(3), sd_notify(3),
 * sd_watchdog_enabled(3). Without systemd every function does nothing.
 *
 * Runs on: the main thread. Blocks: a notification while the manager does not read those before it,
 * at most SYSTEMD_SEND_SEC.
 */
#ifndef WEASELDB_SYSTEMD_H
#define WEASELDB_SYSTEMD_H

#include <stdint.h>

enum { SYSTEMD_SOCKETS_MAX = 16, SYSTEMD_SEND_SEC = 5 };

/* The sockets passed to this process, written to `out_fds`; how many. Takes the variables out of
 * the environment, so that no child takes them for its own. -1: they are set, but make no sense. */
int systemd_take_sockets(int out_fds[SYSTEMD_SOCKETS_MAX]);

/* Sends lines such as "READY=1\nSTATUS=listening". A failure is not an error: nobody listens then.
 */
void systemd_notify(const char *state);

/* "RELOADING=1" with the time that the protocol asks for. */
void systemd_notify_reloading(void);

/* What the unit's TimeoutStartSec= or TimeoutStopSec= says may pass by: `status` goes on, and will
 * say so again or end within `within_sec` from now. */
void systemd_notify_patience(const char *status, uint64_t within_sec);

/* How often the watchdog must be fed with "WATCHDOG=1": half of the time that it allows. 0: nobody
 * watches this process. Takes the variables out of the environment. */
uint64_t systemd_take_watchdog_ns(void);

#endif
