/* SPDX-License-Identifier: Apache-2.0 */
/*
 * listener: a listening socket and its accept threads.
 *
 * An accept thread blocks in accept4(), picks a home poller for each connection in turn, and hands
 * it over. When no more connections are allowed it answers 503 and closes; when descriptors run out
 * it pauses for LISTENER_PAUSE_MS and tries again.
 *
 * Runs on: functions on the server's thread; the accept threads are the listener's own.
 */
#ifndef ENGINE_LISTENER_H
#define ENGINE_LISTENER_H

#include "base/thread.h"
#include "engine/core.h"

enum {
    LISTENER_THREADS_MAX = 64,
    LISTENER_ADDRESS_BYTES = 160,
    LISTENER_PAUSE_MS = 100,
};

/* Interrupts a blocked accept4(); nothing else is done by it. Ignored by default. */
#define LISTENER_SIGNAL SIGURG

struct listener;

struct listener_thread {
    struct listener *listener;
    struct thread thread;
    struct metrics_cells *cells;
    unsigned next_home;    /* poller for the next connection */
    _Atomic bool finished; /* the loop has been left */
};

struct listener {
    struct engine_core *core;
    int fd; /* -1: closed */
    bool inherited;
    bool is_tcp;
    uint16_t port;
    char address[LISTENER_ADDRESS_BYTES];   /* "127.0.0.1:8080", "[::1]:8080", "unix:/path" */
    char unix_path[LISTENER_ADDRESS_BYTES]; /* to remove at close; "" otherwise */
    _Atomic bool stopping;
    unsigned thread_count;
    struct listener_thread threads[LISTENER_THREADS_MAX];
};

/* Each of these makes a listening socket. ERR_INVALID: the address is not one; ERR_SYSTEM: errno
 * tells. `error` (room for ERROR bytes) says in words what failed. */
enum { LISTENER_ERROR_BYTES = 256 };
enum err listener_open_tcp(struct listener *listener, struct engine_core *core,
                           const char *bind_address, uint16_t port,
                           char error[LISTENER_ERROR_BYTES]) WARN_UNUSED;
enum err listener_open_unix(struct listener *listener, struct engine_core *core, const char *path,
                            char error[LISTENER_ERROR_BYTES]) WARN_UNUSED;
enum err listener_open_inherited(struct listener *listener, struct engine_core *core, int fd,
                                 char error[LISTENER_ERROR_BYTES]) WARN_UNUSED;

/* Starts its accept threads. ERR_SYSTEM: none runs. */
enum err listener_start(struct listener *listener, unsigned threads) WARN_UNUSED;

/* Any thread. The threads hand over what waits in the backlog, then end. Returns at once. */
void listener_stop(struct listener *listener);

/* Waits for the threads, closes the socket and removes a Unix socket's file. */
void listener_close(struct listener *listener);

#endif
