/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server: the HTTP engine as a whole; wires listeners, pollers and pipelines.
 *
 *   server_open(&config, &server)
 *   server_add_pipeline(server, &pipeline)     as many as wanted
 *   server_add_route(server, &route)           as many as wanted
 *   server_start(server)                       binds, starts all threads
 *   ... server_drain(server); server_join(server)
 *   server_close(server)
 *
 * Runs on: the thread that opened it, unless a function says otherwise.
 * Owns:    all engine threads, sockets, connections and memory.
 */
#ifndef ENGINE_SERVER_H
#define ENGINE_SERVER_H

#include "base/err.h"
#include "base/metrics.h"
#include "engine/exchange.h"
#include "engine/pipeline.h"

enum { SERVER_LISTENERS_MAX = 16 };

struct server_config {
    unsigned accept_threads;
    unsigned network_threads;
    const char *bind_address; /* IPv4 or IPv6 literal; NULL or "": no TCP listener of our own */
    uint16_t port;            /* 0: the kernel picks */
    const char *unix_socket;  /* path; NULL or "": none. A stale socket file is replaced */
    const int *inherited; /* listening sockets passed in (systemd); the server takes them over */
    unsigned inherited_count; /* when > 0, bind_address and unix_socket are not used */
    unsigned keepalive_timeout_sec;
    unsigned request_timeout_sec;
    unsigned write_timeout_sec; /* longest time that a write may make no progress */
    unsigned drain_timeout_sec;
    uint64_t body_bytes_per_sec_min; /* a body earns more time at this rate; 0: it never does */
    unsigned max_connections;
    size_t max_header_bytes;
    uint64_t memory_limit_bytes;
    unsigned stream_buffer_bytes; /* of each stream */
};

struct server;

/* Copies the configuration. ERR_MEMORY, ERR_INVALID (a value that cannot work). */
enum err server_open(const struct server_config *config, struct server **out_server) WARN_UNUSED;

/* Registry for the application's own metrics; series must be registered before server_start(). */
struct metrics *server_metrics(struct server *server);

/* Copies the configuration; the stages' array and names must outlive the server. */
enum err server_add_pipeline(struct server *server,
                             const struct pipeline_config *config) WARN_UNUSED;

/* `route` must outlive the server. ERR_INVALID: malformed, duplicate, or an unknown pipeline. */
enum err server_add_route(struct server *server, struct engine_route *route) WARN_UNUSED;

/* Binds and starts everything. On an error nothing runs, and server_error() says what failed; with
 * ERR_SYSTEM errno says why. */
enum err server_start(struct server *server) WARN_UNUSED;

/* What the last failed call was about, in words ("bind 127.0.0.1:8080: Address already in use").
 * Lives until the next call. */
const char *server_error(const struct server *server);

/* Listening addresses, as text ("127.0.0.1:8080", "[::1]:8080", "unix:/run/w.sock"); NULL past the
 * last. Valid after server_start(). */
const char *server_address(const struct server *server, unsigned index);

/* How many connections may be open: fewer than configured when the process may not have as many
 * descriptors. Valid after server_start(). */
unsigned server_max_connections(const struct server *server);

/* The TCP port of the first TCP listener, 0 when there is none. */
uint16_t server_port(const struct server *server);

/* Any thread. Begins a graceful stop: no new connections, idle ones closed, requests in progress
 * answered with `Connection: close`, streams told to end. Returns at once. */
void server_drain(struct server *server);

/* Any thread. */
bool server_is_draining(const struct server *server);

/* Waits until all connections are gone and the rings are empty, at most drain_timeout_sec after
 * server_drain(); then stops every thread. True: everything was answered; false: the time was up
 * and connections were cut. */
bool server_join(struct server *server);

/* After server_join(): every thread has ended. False: a stage did not, and still uses what it was
 * given; the process can only end. */
bool server_has_stopped(const struct server *server);

void server_close(struct server *server);

/* Any thread. Every waiting stream's `pull` is called soon. */
void server_wake_streams(struct server *server);

/* Any thread. The name of a pipeline stage that has had work for more than `stuck_ms` without
 * making progress, or NULL when all move. */
const char *server_stuck_stage(struct server *server, unsigned stuck_ms);

/* Any thread. Changes what can change while running: the timeouts. */
void server_reload(struct server *server, const struct server_config *config);

/* A ready-made handler for GET /metrics (context: the server). */
handler_fn server_metrics_handler;

#endif
