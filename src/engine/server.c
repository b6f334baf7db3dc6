/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Wiring: opens, starts and stops the parts in an order in which each finds what it needs.
 *
 *   start:  pollers -> pipelines -> accept threads
 *   stop:   accept threads -> connections answered -> pipelines -> pollers
 *
 * A pipeline may stop only when no poller dispatches any more, and a poller only when no stage
 * holds one of its connections.
 */
#include "engine/server.h"

#include "base/check.h"
#include "base/clock.h"
#include "engine/answer.h"
#include "engine/core.h"
#include "engine/listener.h"
#include "engine/pipeline_internal.h"
#include "engine/poller.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

enum {
    SPARE_DESCRIPTORS = 64, /* for listeners, epoll, logs and what the application opens */
    STOP_GRACE_MS = 1000,   /* for stages to finish after the drain time was up */
    MEMORY_LIMIT_BYTES_MIN = 1 << 20,
};

struct server {
    struct engine_core core;
    struct listener listeners[SERVER_LISTENERS_MAX];
    unsigned listener_count;
    struct engine_route *routes[ENGINE_ROUTES_MAX];
    unsigned route_count;
    bool started;
    bool stopped;  /* all threads have ended */
    bool stranded; /* a stage did not end: memory that it uses cannot be freed */
    _Atomic uint64_t drain_until_ms;
    char error[LISTENER_ERROR_BYTES];
};

static enum err fail(struct server *server, enum err err, const char *what)
{
    (void)snprintf(server->error, sizeof server->error, "%s: %s", what,
                   err == ERR_SYSTEM ? strerror(errno) : err_name(err));
    return err;
}

static void apply_timeouts(struct engine_core *core, const struct server_config *config)
{
    struct engine_timeouts *timeouts = &core->timeouts;
    /* relaxed: numbers by themselves, pairs with the loads where they are used */
    atomic_store_explicit(&timeouts->keepalive_ms, config->keepalive_timeout_sec * 1000,
                          memory_order_relaxed);
    atomic_store_explicit(&timeouts->request_ms, config->request_timeout_sec * 1000,
                          memory_order_relaxed);
    atomic_store_explicit(&timeouts->write_ms, config->write_timeout_sec * 1000,
                          memory_order_relaxed); /* pairs with: as above */
    atomic_store_explicit(&timeouts->body_bytes_per_sec_min, config->body_bytes_per_sec_min,
                          memory_order_relaxed); /* pairs with: as above */
}

static bool config_is_valid(const struct server_config *config)
{
    return config->accept_threads >= 1 && config->accept_threads <= LISTENER_THREADS_MAX &&
           config->network_threads >= 1 && config->network_threads <= POLLERS_MAX &&
           config->keepalive_timeout_sec >= 1 && config->request_timeout_sec >= 1 &&
           config->write_timeout_sec >= 1 && config->max_connections >= 1 &&
           config->max_header_bytes >= 256 &&
           config->memory_limit_bytes >= MEMORY_LIMIT_BYTES_MIN &&
           config->stream_buffer_bytes >= STREAM_ROOM_BYTES_MIN &&
           config->stream_buffer_bytes <= POLLER_OUTPUT_BYTES / 2;
}

enum err server_open(const struct server_config *config, struct server **out_server)
{
    if (!config_is_valid(config)) {
        return ERR_INVALID;
    }
    struct server *server = calloc(1, sizeof *server);
    if (server == NULL) {
        return ERR_MEMORY;
    }
    struct engine_core *core = &server->core;
    if (core_init(core) != OK) {
        free(server);
        return ERR_SYSTEM;
    }
    core->config = *config;
    core->parser_limits.header_bytes_max = config->max_header_bytes;
    memory_budget_init(&core->budget, config->memory_limit_bytes);
    apply_timeouts(core, config);
    core->router = http_router_open();
    core->metrics = metrics_open();
    if (core->router == NULL || core->metrics == NULL) {
        server_close(server);
        return ERR_MEMORY;
    }
    *out_server = server;
    return OK;
}

struct metrics *server_metrics(struct server *server)
{
    return server->core.metrics;
}

enum err server_add_pipeline(struct server *server, const struct pipeline_config *config)
{
    struct engine_core *core = &server->core;
    CHECK(!server->started);
    if (core->pipeline_count == ENGINE_PIPELINES_MAX) {
        return fail(server, ERR_LIMIT, "add pipeline");
    }
    for (unsigned i = 0; i < core->pipeline_count; i++) {
        if (strcmp(pipeline_name(core->pipelines[i]), config->name) == 0) {
            return fail(server, ERR_INVALID, "two pipelines of one name");
        }
    }
    enum err err =
        pipeline_open(core, config, core->pipeline_count, &core->pipelines[core->pipeline_count]);
    if (err != OK) {
        return fail(server, err, config->name);
    }
    core->pipeline_count++;
    return OK;
}

enum err server_add_route(struct server *server, struct engine_route *route)
{
    struct engine_core *core = &server->core;
    CHECK(!server->started);
    CHECK(route->handle != NULL);
    if (server->route_count == ENGINE_ROUTES_MAX) {
        return fail(server, ERR_LIMIT, "add route");
    }
    route->target = NULL;
    for (unsigned i = 0; i < core->pipeline_count && route->pipeline != NULL; i++) {
        if (strcmp(pipeline_name(core->pipelines[i]), route->pipeline) == 0) {
            route->target = core->pipelines[i];
        }
    }
    if (route->pipeline != NULL && route->target == NULL) {
        return fail(server, ERR_INVALID, "unknown pipeline of a route");
    }
    enum err err = http_router_add(core->router, &route->match);
    if (err != OK) {
        return fail(server, err, route->match.pattern);
    }
    server->routes[server->route_count++] = route;
    route->index = server->route_count; /* 0 is ENGINE_NO_ROUTE */
    return OK;
}

/* Raises the soft limit of descriptors as far as needed and possible, and lowers the number of
 * connections to what fits: clients must not take the descriptors that the application needs. */
static void fit_descriptors(struct engine_core *core)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) {
        return;
    }
    rlim_t needed = (rlim_t)core->config.max_connections + SPARE_DESCRIPTORS;
    if (limit.rlim_cur < needed) {
        limit.rlim_cur = limit.rlim_max < needed ? limit.rlim_max : needed;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= needed) {
        return;
    }
    rlim_t fitting = limit.rlim_cur > (rlim_t)2 * SPARE_DESCRIPTORS
                         ? limit.rlim_cur - SPARE_DESCRIPTORS
                         : (limit.rlim_cur + 1) / 2;
    if (fitting > 0 && fitting < core->config.max_connections) {
        core->config.max_connections = (unsigned)fitting;
    }
}

/* A pool that needs memory can free its own cache only: all caches together may hold a quarter of
 * the budget, so that no thread finds it used up by the others' free chunks. */
static void share_caches(struct engine_core *core)
{
    size_t threads = core->config.network_threads;
    for (unsigned i = 0; i < core->pipeline_count; i++) {
        threads += pipeline_thread_count(core->pipelines[i]);
    }
    core->cache_bytes_max = (size_t)(core->config.memory_limit_bytes / 4 / threads);
}

static enum err open_listeners(struct server *server)
{
    const struct server_config *config = &server->core.config;
    for (unsigned i = 0; i < config->inherited_count; i++) {
        enum err err = listener_open_inherited(&server->listeners[server->listener_count],
                                               &server->core, config->inherited[i], server->error);
        if (err != OK) {
            return err;
        }
        server->listener_count++;
    }
    if (config->inherited_count > 0) {
        return OK;
    }
    if (config->bind_address != NULL && config->bind_address[0] != '\0') {
        enum err err = listener_open_tcp(&server->listeners[server->listener_count], &server->core,
                                         config->bind_address, config->port, server->error);
        if (err != OK) {
            return err;
        }
        server->listener_count++;
    }
    if (config->unix_socket != NULL && config->unix_socket[0] != '\0') {
        enum err err = listener_open_unix(&server->listeners[server->listener_count], &server->core,
                                          config->unix_socket, server->error);
        if (err != OK) {
            return err;
        }
        server->listener_count++;
    }
    return server->listener_count > 0 ? OK : fail(server, ERR_INVALID, "no address to listen on");
}

static enum err start_pollers(struct server *server)
{
    struct engine_core *core = &server->core;
    core->pollers = aligned_alloc(64, core->config.network_threads * sizeof(struct poller));
    if (core->pollers == NULL) {
        return fail(server, ERR_MEMORY, "network threads");
    }
    for (unsigned i = 0; i < core->config.network_threads; i++) {
        enum err err = poller_init(&core->pollers[i], core, i, core->config.max_connections);
        if (err == OK) {
            err = poller_start(&core->pollers[i]);
            if (err != OK) {
                poller_deinit(&core->pollers[i]);
            }
        }
        if (err != OK) {
            return fail(server, err, "start network thread");
        }
        core->poller_count++;
    }
    return OK;
}

static enum err start_all(struct server *server)
{
    struct engine_core *core = &server->core;
    enum err err = open_listeners(server);
    if (err == OK) {
        err = start_pollers(server);
    }
    for (unsigned i = 0; err == OK && i < core->pipeline_count; i++) {
        err = pipeline_start(core->pipelines[i]);
        if (err != OK) {
            return fail(server, err, pipeline_name(core->pipelines[i]));
        }
    }
    for (unsigned i = 0; err == OK && i < server->listener_count; i++) {
        err = listener_start(&server->listeners[i], core->config.accept_threads);
        if (err != OK) {
            return fail(server, err, "start accept thread");
        }
    }
    return err;
}

/* Ends every thread; connections that are still open are cut. */
static void stop_all(struct server *server)
{
    struct engine_core *core = &server->core;
    uint64_t until_ms = clock_monotonic_ns() / 1000000 + STOP_GRACE_MS;
    for (unsigned i = 0; i < server->listener_count; i++) {
        listener_close(&server->listeners[i]);
    }
    server->listener_count = 0;
    for (unsigned i = 0; i < core->pipeline_count; i++) {
        pipeline_stop(core->pipelines[i]);
    }
    for (unsigned i = 0; i < core->pipeline_count; i++) {
        if (!pipeline_join(core->pipelines[i], until_ms)) {
            server->stranded = true;
        }
    }
    if (server->stranded) {
        return;
    }
    for (unsigned i = 0; i < core->poller_count; i++) {
        poller_ask(&core->pollers[i], POLLER_STOP);
    }
    for (unsigned i = 0; i < core->poller_count; i++) {
        thread_join(&core->pollers[i].thread);
    }
    server->stopped = true;
}

enum err server_start(struct server *server)
{
    CHECK(!server->started);
    struct engine_core *core = &server->core;
    if (instruments_init(&core->instruments, core, server->routes, server->route_count) != OK) {
        return fail(server, ERR_MEMORY, "metrics");
    }
    fit_descriptors(core);
    share_caches(core);
    server->started = true;
    enum err err = start_all(server);
    if (err != OK) {
        char text[LISTENER_ERROR_BYTES];
        int number = errno;
        memcpy(text, server->error, sizeof text);
        stop_all(server);
        memcpy(server->error, text, sizeof text);
        errno = number;
    }
    return err;
}

const char *server_error(const struct server *server)
{
    return server->error;
}

const char *server_address(const struct server *server, unsigned index)
{
    return index < server->listener_count ? server->listeners[index].address : NULL;
}

uint16_t server_port(const struct server *server)
{
    for (unsigned i = 0; i < server->listener_count; i++) {
        if (server->listeners[i].is_tcp) {
            return server->listeners[i].port;
        }
    }
    return 0;
}

void server_drain(struct server *server)
{
    struct engine_core *core = &server->core;
    CHECK(server->started);
    uint64_t until_ms =
        clock_monotonic_ns() / 1000000 + (uint64_t)core->config.drain_timeout_sec * 1000;
    uint64_t unset = 0;
    /* seq_cst: the first caller's time counts */
    (void)atomic_compare_exchange_strong(&server->drain_until_ms, &unset, until_ms);
    core_start_draining(core);
    for (unsigned i = 0; i < server->listener_count; i++) {
        listener_stop(&server->listeners[i]);
    }
}

unsigned server_max_connections(const struct server *server)
{
    return server->core.config.max_connections;
}

bool server_is_draining(const struct server *server)
{
    /* seq_cst */
    return atomic_load(&server->core.draining);
}

bool server_join(struct server *server)
{
    struct engine_core *core = &server->core;
    CHECK(server->started);
    CHECK(server_is_draining(server));
    /* First no new connections, then the pollers end the idle ones: none can slip in between. */
    for (unsigned i = 0; i < server->listener_count; i++) {
        listener_close(&server->listeners[i]);
    }
    for (unsigned i = 0; i < core->poller_count; i++) {
        poller_ask(&core->pollers[i], POLLER_DRAIN);
    }
    bool answered = core_wait_for_no_connections(core, atomic_load(&server->drain_until_ms));
    stop_all(server);
    return answered && !server->stranded;
}

bool server_has_stopped(const struct server *server)
{
    return server->stopped;
}

void server_close(struct server *server)
{
    struct engine_core *core = &server->core;
    if (server->stranded) {
        return; /* a stage still uses all this: the process is about to end */
    }
    CHECK(!server->started || server->stopped);
    for (unsigned i = 0; i < core->poller_count; i++) {
        poller_deinit(&core->pollers[i]);
    }
    free(core->pollers);
    for (unsigned i = 0; i < core->pipeline_count; i++) {
        pipeline_close(core->pipelines[i]);
    }
    if (core->router != NULL) {
        http_router_close(core->router);
    }
    if (core->metrics != NULL) {
        metrics_close(core->metrics);
    }
    instruments_deinit(&core->instruments);
    core_deinit(core);
    free(server);
}

void server_wake_streams(struct server *server)
{
    struct engine_core *core = &server->core;
    for (unsigned i = 0; i < core->poller_count; i++) {
        /* acq_rel, and a read-modify-write: pairs with stream_begin() */
        if (atomic_fetch_add_explicit(&core->pollers[i].stream_count, 0, memory_order_acq_rel) >
            0) {
            poller_ask(&core->pollers[i], POLLER_WAKE_STREAMS);
        }
    }
}

const char *server_stuck_stage(struct server *server, unsigned stuck_ms)
{
    const char *stuck = NULL;
    for (unsigned i = 0; i < server->core.pipeline_count && stuck == NULL; i++) {
        uint64_t now_ms = clock_monotonic_ns() / 1000000;
        stuck = pipeline_stuck_stage(server->core.pipelines[i], now_ms, stuck_ms);
    }
    return stuck;
}

void server_reload(struct server *server, const struct server_config *config)
{
    apply_timeouts(&server->core, config);
}

struct rendered {
    struct arena *arena;
    char *data;
    size_t size;
    size_t capacity;
    bool failed; /* the arena has refused */
};

static void rendered_write(void *context, const char *data, size_t size)
{
    struct rendered *rendered = context;
    if (rendered->capacity - rendered->size < size && !rendered->failed) {
        size_t capacity = (rendered->capacity + size) * 2;
        char *larger = arena_try_alloc(rendered->arena, capacity);
        rendered->failed = larger == NULL;
        if (larger != NULL) {
            memcpy(larger, rendered->data, rendered->size);
            rendered->data = larger;
            rendered->capacity = capacity;
        }
    }
    if (!rendered->failed) {
        memcpy(rendered->data + rendered->size, data, size);
        rendered->size += size;
    }
}

enum handler_verdict server_metrics_handler(struct exchange *exchange, void *context)
{
    struct server *server = context;
    struct rendered rendered = {.arena = exchange->arena, .capacity = 16384};
    rendered.data = arena_try_alloc(exchange->arena, rendered.capacity);
    rendered.failed = rendered.data == NULL;
    metrics_render(server->core.metrics,
                   (struct metrics_sink){.write = rendered_write, .context = &rendered});
    if (rendered.failed) {
        exchange_answer_problem(exchange, &ANSWER_NO_MEMORY);
    } else {
        exchange_answer(exchange, 200, BYTES(METRICS_CONTENT_TYPE),
                        bytes_of(rendered.data, rendered.size));
    }
    return HANDLER_ANSWERED;
}
