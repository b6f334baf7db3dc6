/* SPDX-License-Identifier: Apache-2.0 */
/* Names, help texts and labels of the engine's metrics. */
#include "engine/instruments.h"

#include "base/check.h"
#include "base/logger.h"
#include "engine/core.h"
#include "engine/pipeline_internal.h"
#include "engine/poller.h"
#include "http/status.h"

#include <stdio.h>
#include <stdlib.h>

enum { LATENCY_BOUNDS = 24, BATCH_BOUNDS = 14 };

static struct metrics_counter counter(struct metrics *metrics, enum metrics_unit unit,
                                      const char *name, const char *help)
{
    return metrics_counter_register(
        metrics_family_register(metrics, METRICS_COUNTER, unit, name, help), NULL, 0);
}

static void callback(struct metrics *metrics, enum metrics_type type, enum metrics_unit unit,
                     const char *name, const char *help, int64_t (*read)(void *), void *context)
{
    metrics_callback_register(metrics_family_register(metrics, type, unit, name, help), NULL, 0,
                              read, context);
}

static void register_statuses(struct engine_instruments *instruments, struct metrics *metrics)
{
    struct metrics_family *family =
        metrics_family_register(metrics, METRICS_COUNTER, METRICS_PLAIN, "http_responses_total",
                                "Answers given, by status code; \"other\" is any code that this "
                                "server does not use itself.");
    unsigned count = 0;
    instruments->statuses[count++] =
        metrics_counter_register(family, (const struct metrics_label[]){{"status", "other"}}, 1);
#define REGISTER_STATUS(code, title)                                                               \
    instruments->status_index[code] = (uint8_t)count;                                              \
    instruments->statuses[count++] =                                                               \
        metrics_counter_register(family, (const struct metrics_label[]){{"status", #code}}, 1);
    HTTP_STATUS_LIST(REGISTER_STATUS)
#undef REGISTER_STATUS
    CHECK(count <= INSTRUMENTS_STATUSES_MAX);
}

static void register_routes(struct engine_instruments *instruments, struct metrics *metrics,
                            struct engine_route *const *routes, unsigned route_count)
{
    static const char *const classes[INSTRUMENTS_CLASSES] = {"1xx", "2xx", "3xx", "4xx", "5xx"};
    uint64_t bounds[LATENCY_BOUNDS];
    for (unsigned i = 0; i < LATENCY_BOUNDS; i++) {
        bounds[i] = UINT64_C(2000) << i; /* 2 us, 4 us, ... 17 s */
    }
    struct metrics_family *answers = metrics_family_register(
        metrics, METRICS_COUNTER, METRICS_PLAIN, "http_requests_total",
        "Requests answered, by route, method and class of the status; route=\"\" took none.");
    struct metrics_family *latency = metrics_histogram_family_register(
        metrics, METRICS_NANOSECONDS, "http_request_duration_seconds",
        "Time from the complete request to its answer being with the kernel, by route.", bounds,
        LATENCY_BOUNDS);
    for (unsigned i = 0; i <= route_count; i++) {
        struct instruments_route *route = &instruments->routes[i];
        struct metrics_label labels[3] = {{"route", ""}, {"method", ""}, {"class", ""}};
        if (i != ENGINE_NO_ROUTE) {
            labels[0].value = routes[i - 1]->match.pattern;
            labels[1].value = http_method_name(routes[i - 1]->match.method).data;
        }
        route->latency = metrics_histogram_register(latency, labels, 2);
        for (unsigned class = 0; class < INSTRUMENTS_CLASSES; class ++) {
            labels[2].value = classes[class];
            route->answers[class] = metrics_counter_register(answers, labels, 3);
        }
    }
}

static void register_connections(struct engine_instruments *instruments, struct metrics *metrics)
{
    static const char *const states[INSTRUMENTS_CONN_STATES] = {
        [CONN_IDLE] = "idle",        [CONN_HEAD] = "head",     [CONN_BODY] = "body",
        [CONN_DISPATCH] = "blocked", [CONN_AWAY] = "pipeline", [CONN_LEAVING] = "writing",
        [CONN_STREAM] = "stream",    [CONN_LINGER] = "linger",
    };
    struct metrics_family *family =
        metrics_family_register(metrics, METRICS_GAUGE, METRICS_PLAIN, "http_connections",
                                "Open connections, by what they wait for.");
    for (unsigned i = 0; i < INSTRUMENTS_CONN_STATES; i++) {
        instruments->conn_states[i] =
            metrics_gauge_register(family, (const struct metrics_label[]){{"state", states[i]}}, 1);
    }
    instruments->accepted = counter(metrics, METRICS_PLAIN, "http_connections_accepted_total",
                                    "Connections accepted and handed to a network thread.");
    instruments->closed = counter(metrics, METRICS_PLAIN, "http_connections_closed_total",
                                  "Connections ended, by either side.");
    instruments->refused_connections =
        counter(metrics, METRICS_PLAIN, "http_connections_refused_total",
                "Connections answered 503 at once, since http.max_connections were open.");
    instruments->accept_pauses =
        counter(metrics, METRICS_PLAIN, "http_accept_pauses_total",
                "Pauses of an accept thread, for want of descriptors or kernel memory.");
    instruments->stale_events =
        counter(metrics, METRICS_PLAIN, "http_stale_events_total",
                "Events for connections that were closed in the same batch; dropped.");
    family = metrics_family_register(metrics, METRICS_COUNTER, METRICS_PLAIN, "http_timeouts_total",
                                     "Connections ended by a deadline, by its kind.");
    instruments->idle_timeouts =
        metrics_counter_register(family, (const struct metrics_label[]){{"kind", "idle"}}, 1);
    instruments->request_timeouts =
        metrics_counter_register(family, (const struct metrics_label[]){{"kind", "request"}}, 1);
    instruments->write_timeouts =
        metrics_counter_register(family, (const struct metrics_label[]){{"kind", "write"}}, 1);
}

static int64_t read_open(void *context)
{
    return atomic_load(&((struct engine_core *)context)->connections);
}

static int64_t read_connection_limit(void *context)
{
    return ((struct engine_core *)context)->config.max_connections;
}

static int64_t read_memory_used(void *context)
{
    return (int64_t)atomic_load(&((struct engine_core *)context)->budget.used_bytes);
}

static int64_t read_memory_limit(void *context)
{
    return (int64_t)((struct engine_core *)context)->budget.limit_bytes;
}

static int64_t read_chunks(void *context)
{
    struct engine_core *core = context;
    int64_t chunks = 0;
    for (unsigned i = 0; i < core->poller_count; i++) {
        chunks += chunk_pool_balance(&core->pollers[i].pool);
    }
    for (unsigned i = 0; i < core->pipeline_count; i++) {
        chunks += pipeline_chunk_balance(core->pipelines[i]);
    }
    return chunks;
}

static int64_t read_draining(void *context)
{
    return atomic_load(&((struct engine_core *)context)->draining);
}

static int64_t read_dropped_lines(void *context)
{
    (void)context;
    return (int64_t)logger_dropped_lines();
}

static void register_resources(struct engine_instruments *instruments, struct engine_core *core)
{
    struct metrics *metrics = core->metrics;
    instruments->received_bytes = counter(metrics, METRICS_BYTES, "http_received_bytes_total",
                                          "Bytes read from connections.");
    instruments->sent_bytes = counter(metrics, METRICS_BYTES, "http_sent_bytes_total",
                                      "Bytes that connections have taken.");
    instruments->memory_refused =
        counter(metrics, METRICS_PLAIN, "http_memory_refused_total",
                "Requests answered 503, since the memory budget was used up.");
    callback(metrics, METRICS_GAUGE, METRICS_PLAIN, "http_connections_open",
             "Open connections, those just accepted included.", read_open, core);
    callback(metrics, METRICS_GAUGE, METRICS_PLAIN, "http_connections_limit",
             "What http_connections_open may reach.", read_connection_limit, core);
    callback(metrics, METRICS_GAUGE, METRICS_BYTES, "http_memory_used_bytes",
             "Memory held for requests, free chunks that are kept included.", read_memory_used,
             core);
    callback(metrics, METRICS_GAUGE, METRICS_BYTES, "http_memory_limit_bytes",
             "What http_memory_used_bytes may reach.", read_memory_limit, core);
    callback(metrics, METRICS_GAUGE, METRICS_PLAIN, "http_memory_chunks",
             "Chunks of memory in use by requests.", read_chunks, core);
    callback(metrics, METRICS_GAUGE, METRICS_PLAIN, "http_draining",
             "1 while the server shuts down.", read_draining, core);
    callback(metrics, METRICS_COUNTER, METRICS_PLAIN, "log_dropped_lines_total",
             "Log lines lost because nobody took them.", read_dropped_lines, NULL);
}

static int64_t read_slots(void *context)
{
    return (int64_t)pipeline_slot_count(context);
}

static int64_t read_occupancy(void *context)
{
    return (int64_t)pipeline_occupancy(context);
}

static enum err register_pipelines(struct engine_instruments *instruments, struct engine_core *core)
{
    uint64_t bounds[BATCH_BOUNDS];
    if (core->pipeline_count == 0) {
        return OK;
    }
    for (unsigned i = 0; i < BATCH_BOUNDS; i++) {
        bounds[i] = UINT64_C(1) << i;
    }
    struct metrics *metrics = core->metrics;
    struct metrics_family *slots =
        metrics_family_register(metrics, METRICS_GAUGE, METRICS_PLAIN, "http_pipeline_ring_slots",
                                "Requests that a pipeline may hold.");
    struct metrics_family *occupancy =
        metrics_family_register(metrics, METRICS_GAUGE, METRICS_PLAIN,
                                "http_pipeline_ring_occupancy", "Requests that it holds.");
    struct metrics_family *full =
        metrics_family_register(metrics, METRICS_COUNTER, METRICS_PLAIN, "http_pipeline_full_total",
                                "Requests answered 503, since the pipeline's ring was full.");
    struct metrics_family *batches = metrics_histogram_family_register(
        metrics, METRICS_PLAIN, "http_pipeline_batch_size",
        "Requests that a stage handled at once.", bounds, BATCH_BOUNDS);
    for (unsigned i = 0; i < core->pipeline_count; i++) {
        struct pipeline *pipeline = core->pipelines[i];
        struct metrics_label labels[2] = {{"pipeline", pipeline_name(pipeline)}, {"stage", ""}};
        metrics_callback_register(slots, labels, 1, read_slots, pipeline);
        metrics_callback_register(occupancy, labels, 1, read_occupancy, pipeline);
        instruments->ring_full[i] = metrics_counter_register(full, labels, 1);
        unsigned stages = pipeline_stage_count(pipeline);
        instruments->batch_sizes[i] = calloc(stages, sizeof *instruments->batch_sizes[i]);
        if (instruments->batch_sizes[i] == NULL) {
            return ERR_MEMORY;
        }
        for (unsigned stage = 0; stage < stages; stage++) {
            labels[1].value = pipeline_stage_name(pipeline, stage);
            instruments->batch_sizes[i][stage] = metrics_histogram_register(batches, labels, 2);
        }
    }
    return OK;
}

enum err instruments_init(struct engine_instruments *instruments, struct engine_core *core,
                          struct engine_route *const *routes, unsigned route_count)
{
    instruments->routes = calloc((size_t)route_count + 1, sizeof *instruments->routes);
    if (instruments->routes == NULL) {
        return ERR_MEMORY;
    }
    register_routes(instruments, core->metrics, routes, route_count);
    register_statuses(instruments, core->metrics);
    register_connections(instruments, core->metrics);
    register_resources(instruments, core);
    return register_pipelines(instruments, core);
}

void instruments_deinit(struct engine_instruments *instruments)
{
    for (unsigned i = 0; i < ENGINE_PIPELINES_MAX; i++) {
        free(instruments->batch_sizes[i]);
    }
    free(instruments->routes);
}
