/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hello: a small server on the engine, with nothing else of WeaselDB.
 *
 *   GET /hello          answered at once, on the network thread
 *   GET /slow?n=12      answered by service threads: a pipeline of two stages, which square the
 * number and then write the answer
 *
 *   hello [--port PORT] [--network-threads N]
 */
#include "engine/server.h"

#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

static const struct bytes TEXT = BYTES_INIT("text/plain");

/* A handler that answers at once. Static memory or the request's arena may go into the answer. */
static enum handler_verdict hello(struct exchange *exchange, void *context)
{
    (void)context;
    exchange_answer(exchange, 200, TEXT, BYTES("Hello!\n"));
    return HANDLER_ANSWERED;
}

/* What the stages of the pipeline know of a request; it lives in the request's arena. */
struct square {
    uint64_t number;
};

/* A handler that checks the request, then leaves the work to the pipeline that its route names. */
static enum handler_verdict slow(struct exchange *exchange, void *context)
{
    (void)context;
    struct bytes rest = exchange->request.query;
    struct bytes name;
    struct bytes value;
    struct square *square = arena_try_alloc(exchange->arena, sizeof *square);
    if (square == NULL) {
        exchange_answer(exchange, 503, TEXT, BYTES("No memory left.\n"));
        return HANDLER_ANSWERED;
    }
    square->number = 7;
    while (http_query_next(&rest, &name, &value)) {
        if (!bytes_equal(name, BYTES("n")) || !bytes_parse_u64(value, &square->number) ||
            square->number > UINT32_MAX) {
            exchange_answer(exchange, 400, TEXT, BYTES("Only n=NUMBER, up to 4294967295.\n"));
            return HANDLER_ANSWERED;
        }
    }
    exchange->state = square;
    return HANDLER_DISPATCH;
}

/* The first stage: sees all requests that are ready as one batch, in order. It may block. */
static void stage_square(void *context, unsigned worker, struct pipeline_batch *batch)
{
    (void)context;
    (void)worker;
    for (size_t i = 0; i < pipeline_batch_count(batch); i++) {
        struct square *square = pipeline_batch_at(batch, i)->state;
        square->number *= square->number;
    }
}

/* The second and last stage: sets the answers. The engine then sends each on its way. */
static void stage_answer(void *context, unsigned worker, struct pipeline_batch *batch)
{
    (void)context;
    (void)worker;
    for (size_t i = 0; i < pipeline_batch_count(batch); i++) {
        struct exchange *exchange = pipeline_batch_at(batch, i);
        const struct square *square = exchange->state;
        char *text = arena_try_alloc(exchange->arena, 32);
        if (text == NULL) {
            exchange_answer(exchange, 503, TEXT, BYTES("No memory left.\n"));
            continue;
        }
        size_t size = bytes_format_u64(text, square->number);
        text[size++] = '\n';
        exchange_answer(exchange, 200, TEXT, bytes_of(text, size));
    }
}

static const struct pipeline_stage_config STAGES[] = {
    {.name = "square", .run = stage_square, .workers = 1},
    {.name = "answer", .run = stage_answer, .workers = 1},
};

static struct engine_route routes[] = {
    {.match = {.pattern = "/hello", .method = HTTP_GET}, .handle = hello},
    {.match = {.pattern = "/slow", .method = HTTP_GET}, .handle = slow, .pipeline = "work"},
};

/* Opens a server with the pipeline and the routes, and starts it. NULL: it could not. */
static struct server *start(const struct server_config *config)
{
    static const struct pipeline_config pipeline = {
        .name = "work", .stages = STAGES, .stage_count = 2, .ring_buffer_size = 1024, .threads = 1};
    struct server *server;
    if (server_open(config, &server) != OK) {
        (void)fprintf(stderr, "hello: out of memory, or a setting that cannot work\n");
        return NULL;
    }
    enum err err = server_add_pipeline(server, &pipeline);
    for (size_t i = 0; err == OK && i < sizeof routes / sizeof routes[0]; i++) {
        err = server_add_route(server, &routes[i]);
    }
    if (err == OK) {
        err = server_start(server);
    }
    if (err != OK) {
        (void)fprintf(stderr, "hello: %s\n", server_error(server));
        server_close(server);
        return NULL;
    }
    return server;
}

int main(int argc, char **argv)
{
    struct server_config config = {
        .accept_threads = 1,
        .network_threads = 1,
        .bind_address = "127.0.0.1",
        .port = 8081,
        .keepalive_timeout_sec = 60,
        .request_timeout_sec = 10,
        .write_timeout_sec = 10,
        .drain_timeout_sec = 10,
        .max_connections = 10000,
        .max_header_bytes = 16384,
        .memory_limit_bytes = 64 << 20,
        .stream_buffer_bytes = 16384,
    };
    static const struct option options[] = {{"port", required_argument, NULL, 'p'},
                                            {"network-threads", required_argument, NULL, 'n'},
                                            {NULL, 0, NULL, 0}};
    int option;
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        uint64_t number;
        if (option == '?' || !bytes_parse_u64(bytes_from_string(optarg), &number) ||
            number > UINT16_MAX) {
            (void)fprintf(stderr, "usage: hello [--port PORT] [--network-threads N]\n");
            return 2;
        }
        if (option == 'p') {
            config.port = (uint16_t)number;
        } else {
            config.network_threads = (unsigned)number;
        }
    }
    /* The signals that end the program are waited for below; the engine's threads leave them alone.
     */
    sigset_t signals;
    int signal_number;
    (void)sigemptyset(&signals);
    (void)sigaddset(&signals, SIGINT);
    (void)sigaddset(&signals, SIGTERM);
    (void)pthread_sigmask(SIG_BLOCK, &signals, NULL);

    struct server *server = start(&config);
    if (server == NULL) {
        return 1;
    }
    (void)printf("listening on %s\n", server_address(server, 0));
    (void)fflush(stdout);
    (void)sigwait(&signals, &signal_number);
    server_drain(server);
    bool answered = server_join(server);
    server_close(server);
    return answered ? 0 : 1;
}
