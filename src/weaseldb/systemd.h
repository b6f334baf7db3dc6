/* SPDX-License-Identifier: Apache-2.0 */
/*
 * systemd: sockets passed in (LISTEN_FDS) and notifications (NOTIFY_SOCKET), by their documented
 * protocols: sd_listen_fds(3), sd_notify(3). Without systemd every function does nothing.
 *
 * Runs on: the main thread. Blocks: never.
 */
#ifndef WEASELDB_SYSTEMD_H
#define WEASELDB_SYSTEMD_H

enum { SYSTEMD_SOCKETS_MAX = 16 };

/* The sockets passed to this process, written to `out_fds`; how many. Takes the variables out of
 * the environment, so that no child takes them for its own. -1: they are set, but make no sense. */
int systemd_take_sockets(int out_fds[SYSTEMD_SOCKETS_MAX]);

/* Sends lines such as "READY=1\nSTATUS=listening". A failure is not an error: nobody listens then.
 */
void systemd_notify(const char *state);

/* "RELOADING=1" with the time that the protocol asks for. */
void systemd_notify_reloading(void);

#endif
