/* SPDX-License-Identifier: Apache-2.0 */
/*
 * testserver: a server on the engine for the black-box tests: everything that the database's own
 * routes do not exercise.
 *
 *   GET  /hello                       at once
 *   GET  /busy?ms=N                   at once, after the network thread has been busy for N ms
 *   GET  /slow[?ms=N]                 pipeline "work" (two stages); the first sleeps N ms
 *   GET  /upper?text=T                the same pipeline, another service: T in upper case
 *   GET  /block                       waits in pipeline "gate" while the gate is closed
 *   POST /gate/close, /gate/open      close and open it
 *   GET  /parallel?n=N                pipeline "parallel" (three workers, then one): N doubled
 *   GET  /silent                      a pipeline that sets no answer (500)
 *   POST /echo                        the body, with its media type
 *   POST /upload                      size and FNV-1a hash of the body
 *   POST /json-only                   takes application/json only
 *   GET, PUT /items/{id}              the parameter, decoded
 *   GET  /big?bytes=N                 a large body from the arena
 *   GET  /stream?events=N[&interval_ms=M][&bytes=B]
 *                                     N events, every M ms (0: as fast as the client takes them),
 * each padded to B bytes GET  /abort  the same, but cut behind its events GET  /wait a stream that
 * ends with the next POST /wake POST /wake                        wakes all streams GET  /metrics
 */
#include "base/check.h"
#include "base/thread.h"
#include "engine/server.h"
#include "http/sse.h"

#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define TEXT BYTES("text/plain")
#define MEBIBYTE (UINT64_C(1) << 20)

static struct server *server;

/* ---- small help ---- */

static enum handler_verdict refuse(struct exchange *exchange, const char *detail)
{
    exchange_answer_problem(
        exchange, &(struct http_problem){.status = 400, .type = "bad-query", .detail = detail});
    return HANDLER_ANSWERED;
}

/* The number called `name` in the query, `fallback` when it is not there. False: not a number. */
static bool query_number(const struct exchange *exchange, const char *name, uint64_t fallback,
                         uint64_t *out)
{
    struct bytes rest = exchange->request.query;
    struct bytes key;
    struct bytes value;
    *out = fallback;
    while (http_query_next(&rest, &key, &value)) {
        if (bytes_equal(key, bytes_from_string(name)) && !bytes_parse_u64(value, out)) {
            return false;
        }
    }
    return true;
}

static void answer_number(struct exchange *exchange, uint64_t number)
{
    char *text = arena_try_alloc(exchange->arena, 20);
    if (text == NULL) {
        exchange_answer(exchange, 503, TEXT, BYTES("no memory"));
        return;
    }
    exchange_answer(exchange, 200, TEXT, bytes_of(text, bytes_format_u64(text, number)));
}

static void sleep_ms(uint64_t ms)
{
    struct timespec time = {.tv_sec = (time_t)(ms / 1000), .tv_nsec = (long)(ms % 1000) * 1000000L};
    (void)nanosleep(&time, NULL);
}

/* ---- at once ---- */

static enum handler_verdict hello(struct exchange *exchange, void *context)
{
    (void)context;
    exchange_answer(exchange, 200, BYTES("application/json"), BYTES("{\"hello\":\"world\"}"));
    return HANDLER_ANSWERED;
}

static enum handler_verdict busy(struct exchange *exchange, void *context)
{
    (void)context;
    uint64_t ms;
    if (!query_number(exchange, "ms", 0, &ms)) {
        return refuse(exchange, "ms must be a number");
    }
    sleep_ms(ms);
    exchange_answer(exchange, 200, TEXT, BYTES("busy"));
    return HANDLER_ANSWERED;
}

static enum handler_verdict echo(struct exchange *exchange, void *context)
{
    (void)context;
    exchange_answer(exchange, 200, exchange->request.content_type, exchange->request.body);
    return HANDLER_ANSWERED;
}

static enum handler_verdict upload(struct exchange *exchange, void *context)
{
    (void)context;
    uint64_t want_hash;
    uint64_t hash = UINT64_C(14695981039346656037);
    struct bytes body = exchange->request.body;
    if (!query_number(exchange, "hash", 0, &want_hash)) {
        return refuse(exchange, "hash must be a number");
    }
    for (size_t i = 0; want_hash != 0 && i < body.size; i++) {
        hash = (hash ^ (unsigned char)body.data[i]) * UINT64_C(1099511628211);
    }
    char *text = arena_try_alloc(exchange->arena, 64);
    if (text == NULL) {
        exchange_answer(exchange, 503, TEXT, BYTES("no memory"));
        return HANDLER_ANSWERED;
    }
    int size = snprintf(text, 64, "%zu %016llx", body.size,
                        want_hash == 0 ? 0ULL : (unsigned long long)hash);
    exchange_answer(exchange, 200, TEXT, bytes_of(text, (size_t)size));
    return HANDLER_ANSWERED;
}

static enum handler_verdict item(struct exchange *exchange, void *context)
{
    (void)context;
    exchange_answer(exchange, 200, BYTES("application/octet-stream"), exchange->request.params[0]);
    (void)exchange_add_header(exchange, BYTES("X-Method"),
                              http_method_name(exchange->request.method));
    return HANDLER_ANSWERED;
}

static enum handler_verdict big(struct exchange *exchange, void *context)
{
    (void)context;
    uint64_t size;
    if (!query_number(exchange, "bytes", 1 << 20, &size) || size > 64 * MEBIBYTE) {
        return refuse(exchange, "bytes must be a number up to 67108864");
    }
    char *data = arena_try_alloc(exchange->arena, (size_t)size);
    if (data == NULL) {
        exchange_answer_problem(
            exchange, &(struct http_problem){.status = 503, .type = "memory", .detail = "full"});
        return HANDLER_ANSWERED;
    }
    for (size_t i = 0; i < size; i++) {
        data[i] = (char)('a' + i % 26);
    }
    exchange_answer(exchange, 200, TEXT, bytes_of(data, (size_t)size));
    return HANDLER_ANSWERED;
}

/* ---- pipelines ---- */

/* Two services on the pipeline "work"; the stages tell them apart by the route's `service`. */
static const char SERVICE_SLOW[] = "slow";
static const char SERVICE_UPPER[] = "upper";

struct job {
    uint64_t number;
    struct bytes text;
};

static enum handler_verdict dispatch(struct exchange *exchange, void *context)
{
    const char *parameter = context;
    struct job *job = arena_try_alloc(exchange->arena, sizeof *job);
    if (job == NULL) {
        exchange_answer(exchange, 503, TEXT, BYTES("no memory"));
        return HANDLER_ANSWERED;
    }
    *job = (struct job){0};
    if (parameter != NULL && !query_number(exchange, parameter, 0, &job->number)) {
        return refuse(exchange, "the parameter must be a number");
    }
    if (job->number > 10000) {
        return refuse(exchange, "at most 10000");
    }
    exchange->state = job;
    return HANDLER_DISPATCH;
}

static enum handler_verdict upper(struct exchange *exchange, void *context)
{
    struct bytes rest = exchange->request.query;
    struct bytes key;
    struct bytes value;
    enum handler_verdict verdict = dispatch(exchange, context);
    while (verdict == HANDLER_DISPATCH && http_query_next(&rest, &key, &value)) {
        struct job *job = exchange->state;
        if (bytes_equal(key, BYTES("text")) &&
            http_percent_decode(exchange->arena, value, true, &job->text) != OK) {
            return refuse(exchange, "text is not well encoded");
        }
    }
    return verdict;
}

static void stage_work(void *context, unsigned worker, struct pipeline_batch *batch)
{
    (void)context;
    (void)worker;
    for (size_t i = 0; i < pipeline_batch_count(batch); i++) {
        struct exchange *exchange = pipeline_batch_at(batch, i);
        struct job *job = exchange->state;
        if (exchange->route->service == SERVICE_SLOW && job->number > 0) {
            sleep_ms(job->number);
        } else if (exchange->route->service == SERVICE_UPPER && job->text.size > 0) {
            char *text = arena_try_alloc(exchange->arena, job->text.size);
            for (size_t k = 0; text != NULL && k < job->text.size; k++) {
                char c = job->text.data[k];
                text[k] = (char)(c >= 'a' && c <= 'z' ? c - 32 : c);
            }
            job->text = bytes_of(text, text == NULL ? 0 : job->text.size);
        }
    }
}

static void stage_answer(void *context, unsigned worker, struct pipeline_batch *batch)
{
    (void)context;
    (void)worker;
    for (size_t i = 0; i < pipeline_batch_count(batch); i++) {
        struct exchange *exchange = pipeline_batch_at(batch, i);
        const struct job *job = exchange->state;
        if (exchange->route->service == SERVICE_UPPER) {
            exchange_answer(exchange, 200, TEXT, job->text);
        } else {
            exchange_answer(exchange, 200, TEXT, BYTES("slow"));
        }
    }
}

static struct {
    pthread_mutex_t lock;
    pthread_cond_t opened;
    bool closed;
} gate = {.lock = PTHREAD_MUTEX_INITIALIZER, .opened = PTHREAD_COND_INITIALIZER};

static void gate_set(bool closed)
{
    CHECK(pthread_mutex_lock(&gate.lock) == 0);
    gate.closed = closed;
    CHECK(pthread_cond_broadcast(&gate.opened) == 0);
    CHECK(pthread_mutex_unlock(&gate.lock) == 0);
}

static enum handler_verdict gate_handler(struct exchange *exchange, void *context)
{
    gate_set(context != NULL);
    exchange_answer(exchange, 200, TEXT, context != NULL ? BYTES("closed") : BYTES("open"));
    return HANDLER_ANSWERED;
}

static void stage_gate(void *context, unsigned worker, struct pipeline_batch *batch)
{
    (void)context;
    (void)worker;
    CHECK(pthread_mutex_lock(&gate.lock) == 0);
    while (gate.closed) {
        CHECK(pthread_cond_wait(&gate.opened, &gate.lock) == 0);
    }
    CHECK(pthread_mutex_unlock(&gate.lock) == 0);
    for (size_t i = 0; i < pipeline_batch_count(batch); i++) {
        exchange_answer(pipeline_batch_at(batch, i), 200, TEXT, BYTES("through"));
    }
}

static void stage_double(void *context, unsigned worker, struct pipeline_batch *batch)
{
    (void)context;
    (void)worker;
    for (size_t i = 0; i < pipeline_batch_count(batch); i++) {
        struct job *job = pipeline_batch_at(batch, i)->state;
        job->number *= 2;
    }
}

static void stage_number(void *context, unsigned worker, struct pipeline_batch *batch)
{
    (void)context;
    (void)worker;
    for (size_t i = 0; i < pipeline_batch_count(batch); i++) {
        struct exchange *exchange = pipeline_batch_at(batch, i);
        answer_number(exchange, ((const struct job *)exchange->state)->number);
    }
}

static void stage_silent(void *context, unsigned worker, struct pipeline_batch *batch)
{
    (void)context;
    (void)worker;
    (void)batch;
}

static enum handler_verdict dispatch_plain(struct exchange *exchange, void *context)
{
    (void)exchange;
    (void)context;
    return HANDLER_DISPATCH;
}

/* ---- streams ---- */

struct event_stream {
    struct stream_source source; /* first member */
    uint64_t sent;
    uint64_t events;
    uint64_t bytes;
    uint32_t interval_ms;
    bool waits;  /* for a wake-up */
    bool aborts; /* behind its events */
    uint64_t wake_count;
};

static _Atomic uint64_t wakes;

static enum stream_step events_pull(struct stream_source *source, char *out, size_t room,
                                    size_t *size, uint32_t *wait_ms, bool draining)
{
    struct event_stream *stream = (struct event_stream *)(void *)source;
    if (stream->waits) {
        bool woken = atomic_load(&wakes) != stream->wake_count;
        if (woken || draining) {
            memcpy(out, woken ? "woken" : "drain", 5);
            *size = 5;
            return STREAM_END;
        }
        return STREAM_WAIT;
    }
    if (stream->sent == stream->events || draining) {
        return stream->aborts ? STREAM_ABORT : STREAM_END;
    }
    size_t event_size = stream->bytes < 64 ? 64 : (size_t)stream->bytes;
    while (stream->sent < stream->events && room - *size >= event_size) {
        int text = snprintf(out + *size, 64, "id: %llu\ndata: ", (unsigned long long)stream->sent);
        memset(out + *size + text, 'x', event_size - (size_t)text - 2);
        memcpy(out + *size + event_size - 2, "\n\n", 2);
        *size += event_size;
        stream->sent++;
        if (stream->interval_ms > 0) {
            *wait_ms = stream->interval_ms;
            return STREAM_WAIT;
        }
    }
    return STREAM_MORE;
}

static _Atomic uint64_t streams_closed;

static void events_close(struct stream_source *source)
{
    (void)source;
    atomic_fetch_add(&streams_closed, 1);
}

static enum handler_verdict stream(struct exchange *exchange, void *context)
{
    struct event_stream *stream = arena_try_alloc(exchange->arena, sizeof *stream);
    uint64_t interval_ms;
    if (stream == NULL) {
        exchange_answer(exchange, 503, TEXT, BYTES("no memory"));
        return HANDLER_ANSWERED;
    }
    *stream = (struct event_stream){.source = {.pull = events_pull, .close = events_close},
                                    .waits = context == &wakes,
                                    .aborts = context == &streams_closed,
                                    .wake_count = atomic_load(&wakes)};
    if (!query_number(exchange, "events", 3, &stream->events) ||
        !query_number(exchange, "bytes", 64, &stream->bytes) ||
        !query_number(exchange, "interval_ms", 0, &interval_ms) || interval_ms > 60000 ||
        stream->bytes > STREAM_ROOM_BYTES_MIN) {
        return refuse(exchange, "events, interval_ms (to 60000) and bytes (to 4096) are numbers");
    }
    stream->interval_ms = (uint32_t)interval_ms;
    exchange_stream(exchange, 200, BYTES("text/event-stream"), &stream->source);
    return HANDLER_STREAM;
}

static enum handler_verdict wake(struct exchange *exchange, void *context)
{
    (void)context;
    atomic_fetch_add(&wakes, 1);
    server_wake_streams(server);
    exchange_answer(exchange, 200, TEXT, BYTES("woken"));
    return HANDLER_ANSWERED;
}

static int64_t read_streams_closed(void *context)
{
    (void)context;
    return (int64_t)atomic_load(&streams_closed);
}

/* ---- start ---- */

static const char *const JSON_ONLY[] = {"application/json", NULL};

#define GET(path) .match = {.pattern = (path), .method = HTTP_GET}
#define POST(path, bytes, types)                                                                   \
    .match = {.pattern = (path),                                                                   \
              .method = HTTP_POST,                                                                 \
              .body_bytes_max = (bytes),                                                           \
              .media_types = (types),                                                              \
              .body_limit_key = "http.max_body_bytes"}

static struct engine_route routes[] = {
    {GET("/hello"), .handle = hello},
    {GET("/busy"), .handle = busy},
    {GET("/slow"), .handle = dispatch, .context = (void *)(uintptr_t) "ms", .pipeline = "work",
     .service = SERVICE_SLOW, .refusal_outcome = "not_committed"},
    {GET("/upper"), .handle = upper, .pipeline = "work", .service = SERVICE_UPPER},
    {GET("/block"), .handle = dispatch_plain, .pipeline = "gate"},
    {POST("/gate/close", 0, NULL), .handle = gate_handler, .context = &gate},
    {POST("/gate/open", 0, NULL), .handle = gate_handler},
    {GET("/parallel"), .handle = dispatch, .context = (void *)(uintptr_t) "n",
     .pipeline = "parallel"},
    {GET("/silent"), .handle = dispatch_plain, .pipeline = "silent"},
    {POST("/echo", MEBIBYTE, NULL), .handle = echo},
    {POST("/upload", 16 * MEBIBYTE, NULL), .handle = upload},
    {POST("/json-only", 1024, JSON_ONLY), .handle = echo},
    {GET("/items/{id}"), .handle = item},
    {.match = {.pattern = "/items/{id}", .method = HTTP_PUT, .body_bytes_max = 1024},
     .handle = item},
    {GET("/big"), .handle = big},
    {GET("/stream"), .handle = stream},
    {GET("/abort"), .handle = stream, .context = &streams_closed},
    {GET("/wait"), .handle = stream, .context = &wakes},
    {POST("/wake", 0, NULL), .handle = wake},
    {GET("/metrics"), .handle = server_metrics_handler},
};

static const struct pipeline_stage_config WORK[] = {
    {.name = "work", .run = stage_work, .workers = 1},
    {.name = "answer", .run = stage_answer, .workers = 1},
};
static const struct pipeline_stage_config GATE[] = {
    {.name = "gate", .run = stage_gate, .workers = 1, .batch_max = 1},
};
static const struct pipeline_stage_config PARALLEL[] = {
    {.name = "double", .run = stage_double, .workers = 3},
    {.name = "number", .run = stage_number, .workers = 1},
};
static const struct pipeline_stage_config SILENT[] = {
    {.name = "silent", .run = stage_silent, .workers = 1},
};

static struct pipeline_config pipelines[] = {
    {"work", WORK, 2, 1024, 1},
    {"gate", GATE, 1, 1024, 1},
    {"parallel", PARALLEL, 2, 1024, 4},
    {"silent", SILENT, 1, 16, 1},
};

static struct server_config config = {
    .accept_threads = 1,
    .network_threads = 1,
    .bind_address = "127.0.0.1",
    .keepalive_timeout_sec = 60,
    .request_timeout_sec = 10,
    .write_timeout_sec = 10,
    .drain_timeout_sec = 10,
    .max_connections = 19000,
    .max_header_bytes = 16384,
    .memory_limit_bytes = 256 << 20,
    .stream_buffer_bytes = 16384,
};

static unsigned ring_slots = 1024;
static unsigned pipeline_threads = 1;

static void set_option(const char *name, const char *value)
{
    uint64_t number = 0;
    bool is_number = bytes_parse_u64(bytes_from_string(value), &number);
    const struct {
        const char *name;
        unsigned *target;
    } numbers[] = {
        {"network-threads", &config.network_threads},
        {"accept-threads", &config.accept_threads},
        {"ring", &ring_slots},
        {"threads", &pipeline_threads},
        {"max-connections", &config.max_connections},
        {"keepalive-timeout", &config.keepalive_timeout_sec},
        {"request-timeout", &config.request_timeout_sec},
        {"write-timeout", &config.write_timeout_sec},
        {"drain-timeout", &config.drain_timeout_sec},
        {"stream-buffer", &config.stream_buffer_bytes},
    };
    if (strcmp(name, "unix") == 0) {
        config.unix_socket = value;
        return;
    }
    if (strcmp(name, "bind") == 0) {
        config.bind_address = value;
        return;
    }
    if (!is_number) {
        (void)fprintf(stderr, "testserver: --%s takes a number\n", name);
        exit(2);
    }
    if (strcmp(name, "port") == 0) {
        config.port = (uint16_t)number;
    } else if (strcmp(name, "memory-limit-bytes") == 0) {
        config.memory_limit_bytes = number;
    } else if (strcmp(name, "body-rate") == 0) {
        config.body_bytes_per_sec_min = number;
    } else if (strcmp(name, "max-header-bytes") == 0) {
        config.max_header_bytes = number;
    }
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        if (strcmp(name, numbers[i].name) == 0) {
            *numbers[i].target = (unsigned)number;
        }
    }
}

static void parse_options(int argc, char **argv)
{
    static const char *const names[] = {
        "port",
        "bind",
        "unix",
        "network-threads",
        "accept-threads",
        "ring",
        "threads",
        "max-connections",
        "keepalive-timeout",
        "request-timeout",
        "write-timeout",
        "drain-timeout",
        "stream-buffer",
        "memory-limit-bytes",
        "body-rate",
        "max-header-bytes",
    };
    enum { NAMES = sizeof names / sizeof names[0] };
    struct option options[NAMES + 1] = {0};
    for (size_t i = 0; i < NAMES; i++) {
        options[i] = (struct option){names[i], required_argument, NULL, 0};
    }
    int index = 0;
    int found;
    while ((found = getopt_long(argc, argv, "", options, &index)) != -1) {
        if (found == '?') {
            exit(2);
        }
        set_option(options[index].name, optarg);
    }
}

static enum err open_server(void)
{
    enum err err = server_open(&config, &server);
    if (err != OK) {
        (void)fprintf(stderr, "testserver: a setting that cannot work\n");
        exit(2);
    }
    metrics_callback_register(metrics_family_register(server_metrics(server), METRICS_COUNTER,
                                                      METRICS_PLAIN, "test_streams_closed_total",
                                                      "Stream sources told to close."),
                              NULL, 0, read_streams_closed, NULL);
    for (size_t i = 0; err == OK && i < sizeof pipelines / sizeof pipelines[0]; i++) {
        pipelines[i].ring_buffer_size = ring_slots;
        if (i == 0) {
            pipelines[i].threads = pipeline_threads;
        }
        err = server_add_pipeline(server, &pipelines[i]);
    }
    for (size_t i = 0; err == OK && i < sizeof routes / sizeof routes[0]; i++) {
        if (routes[i].handle == server_metrics_handler) {
            routes[i].context = server;
        }
        err = server_add_route(server, &routes[i]);
    }
    return err == OK ? server_start(server) : err;
}

int main(int argc, char **argv)
{
    parse_options(argc, argv);
    sigset_t signals;
    int number;
    (void)sigemptyset(&signals);
    (void)sigaddset(&signals, SIGINT);
    (void)sigaddset(&signals, SIGTERM);
    (void)pthread_sigmask(SIG_BLOCK, &signals, NULL);
    if (open_server() != OK) {
        (void)fprintf(stderr, "testserver: %s\n", server_error(server));
        server_close(server);
        return 1;
    }
    for (unsigned i = 0; server_address(server, i) != NULL; i++) {
        (void)printf("listening on %s\n", server_address(server, i));
    }
    (void)printf("ready\n");
    (void)fflush(stdout);
    (void)sigwait(&signals, &number);
    server_drain(server);
    bool answered = server_join(server);
    server_close(server);
    return answered ? 0 : 1;
}
