/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The engine's own poller, state machine, streams and pipelines, step by step on one thread: a
 * client at the other end of a socket sends a stream of pipelined requests, once in one piece and
 * once as the first bytes of the input say, perhaps with a bystander that sends the same.
 *
 * Covers: src/engine/answer.c src/engine/deadline.c src/engine/exchange.c src/engine/output.c
 * src/engine/poller.c src/engine/receive.c src/engine/serve.c src/engine/stream.c
 * src/http/response.c src/http/problem.c src/http/router.c
 *
 * What must be so:
 *  1. Answers are well formed, as many as the parser finds requests, up to one that says that it is
 *     the last; each carries the target of its request, and the body where that is echoed.
 *  2. How the bytes come makes no difference. When the client leaves, time passes, memory is short
 *     or the server drains, what is answered until then is the same, but for 503 and the last one.
 *  3. Then the connection ends, and nothing is left: no connection, no stream, no byte of memory.
 *
 * The clocks are the fuzzer's (-Wl,--wrap), so time passes only where the input says so.
 */
#include "answers.h"
#include "base/check.h"
#include "engine/output.h"
#include "engine/pipeline_internal.h"
#include "engine/stream.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    STEPS = 8,
    CHOICE_BYTES = 1 + STEPS, /* the first byte: enum ending and more; the next: steps */
    STREAM_BYTES_MAX = 6000,  /* more than the first buffer of a connection takes */
    RECEIVED_BYTES_MAX = 4 << 20,
    BODY_BYTES_MAX = 700,
    LARGE_BYTES = 10000, /* more than is copied behind its head */
    PULLS_MAX = 4,
    MEMORY_BYTES = 1 << 24,
    SETTLE_ROUNDS_MAX = 10000,
    END_ROUNDS_MAX = 2000,
};

/* Bits of the first byte beside its ending; the upper four are the memory of ENDING_MEMORY. */
enum { CHOICE_ENDINGS = 7, CHOICE_DEAF = 8, CHOICE_BYSTANDER = 0x10 };

enum ending {
    ENDING_SHUTDOWN, /* the client shuts down its side and reads to the end */
    ENDING_SHUTDOWN_TOO,
    ENDING_SHUTDOWN_THREE,
    ENDING_LEAVE,  /* it closes at once */
    ENDING_DRAIN,  /* the server drains, then as ENDING_SHUTDOWN */
    ENDING_TIME,   /* it reads, but sends no more: time-outs */
    ENDING_DEAF,   /* it does not even read */
    ENDING_MEMORY, /* little memory all the time, then as ENDING_SHUTDOWN */
};

/* What a step does after its piece; bits. */
enum { STEP_SERVE = 0x10, STEP_READ = 0x20, STEP_STAGES = 0x40, STEP_WAKE = 0x80 };

static const uint16_t piece_bytes[16] = {0,  1,  2,  3,   4,   6,   9,    14,
                                         21, 33, 50, 100, 250, 700, 3100, STREAM_BYTES_MAX};

/* ---- clocks ---- */

static uint64_t now_ns = UINT64_C(1) << 40;

uint64_t __wrap_clock_monotonic_ns(void);
int64_t __wrap_clock_realtime_sec(void);

uint64_t __wrap_clock_monotonic_ns(void)
{
    now_ns += 1000; /* so that what costs time seems to */
    return now_ns;
}

int64_t __wrap_clock_realtime_sec(void)
{
    return 1700000000; /* one date, so that answers can be compared */
}

/* ---- the server ---- */

static struct engine_core core;
static struct poller poller;
static char large[LARGE_BYTES];
static unsigned open_streams;

struct script {
    struct stream_source source; /* first member */
    struct bytes steps;
    size_t at;
};

static bool say_target(struct exchange *exchange)
{
    if (!exchange_add_header(exchange, BYTES("X-Target"), exchange->request.target)) {
        exchange_answer_no_memory(exchange);
        return false;
    }
    return true;
}

static void answer_echo(struct exchange *exchange)
{
    if (say_target(exchange)) {
        exchange_answer(exchange, 200, BYTES("application/octet-stream"), exchange->request.body);
    }
}

static enum handler_verdict echo(struct exchange *exchange, void *context)
{
    (void)context;
    answer_echo(exchange);
    return HANDLER_ANSWERED;
}

static enum handler_verdict give_large(struct exchange *exchange, void *context)
{
    (void)context;
    if (say_target(exchange)) {
        exchange_answer(exchange, 200, BYTES("text/plain"), bytes_of(large, sizeof large));
    }
    return HANDLER_ANSWERED;
}

static enum handler_verdict dispatch(struct exchange *exchange, void *context)
{
    (void)context;
    exchange->state = exchange;
    return HANDLER_DISPATCH;
}

/* The letters of the path's last segment say what each pull does; a drain changes nothing, so that
 * what was sent can be compared. */
static enum stream_step pull(struct stream_source *source, char *out, size_t room, size_t *size,
                             uint32_t *wait_ms, bool draining)
{
    struct script *script = (struct script *)(void *)source;
    (void)draining;
    CHECK(room >= STREAM_ROOM_BYTES_MIN);
    if (script->at == script->steps.size || script->at == PULLS_MAX) {
        return STREAM_END;
    }
    char step = script->steps.data[script->at++];
    *size = step == 'f'   ? (size_t)STREAM_ROOM_BYTES_MIN
            : step == 'w' ? 0
                          : (size_t)(unsigned char)step % 32;
    memset(out, step, *size);
    *wait_ms = step == 'W' ? 7 : 0;
    return step == 'a'                  ? STREAM_ABORT
           : step == 'e'                ? STREAM_END
           : step == 'w' || step == 'W' ? STREAM_WAIT
                                        : STREAM_MORE;
}

static void close_stream(struct stream_source *source)
{
    (void)source;
    CHECK(open_streams > 0);
    open_streams--;
}

static enum handler_verdict give_stream(struct exchange *exchange, void *context)
{
    (void)context;
    struct script *script = arena_try_alloc(exchange->arena, sizeof *script);
    if (script == NULL) {
        exchange_answer_no_memory(exchange);
        return HANDLER_ANSWERED;
    }
    if (!say_target(exchange)) {
        return HANDLER_ANSWERED;
    }
    *script = (struct script){.source = {.pull = pull, .close = close_stream},
                              .steps = exchange->request.params[0]};
    open_streams++;
    exchange_stream(exchange, 200, BYTES("text/plain"), &script->source);
    return HANDLER_STREAM;
}

static void stage_look(void *context, unsigned worker, struct pipeline_batch *batch)
{
    (void)context;
    (void)worker;
    for (size_t i = 0; i < pipeline_batch_count(batch); i++) {
        struct exchange *exchange = pipeline_batch_at(batch, i);
        CHECK(exchange->state == exchange);
    }
}

static void stage_answer(void *context, unsigned worker, struct pipeline_batch *batch)
{
    (void)context;
    (void)worker;
    for (size_t i = 0; i < pipeline_batch_count(batch); i++) {
        struct exchange *exchange = pipeline_batch_at(batch, i);
        if (exchange->route->service == NULL) {
            answer_echo(exchange);
        }
    }
}

static const char *const json_only[] = {"application/json", NULL};

#define ROUTE(path, verb, bytes, function)                                                         \
    .match = {.pattern = (path), .method = (verb), .body_bytes_max = (bytes)}, .handle = (function)

static struct engine_route routes[] = {
    {ROUTE("/e", HTTP_GET, BODY_BYTES_MAX, echo)},
    {ROUTE("/e", HTTP_POST, BODY_BYTES_MAX, echo)},
    {ROUTE("/e/{a}/{b}", HTTP_PUT, 16, echo)},
    {ROUTE("/l", HTTP_GET, 0, give_large)},
    {ROUTE("/w/{letters}", HTTP_GET, 0, give_stream)},
    {ROUTE("/p", HTTP_GET, 0, dispatch), .pipeline = "p"},
    {ROUTE("/p", HTTP_POST, BODY_BYTES_MAX, dispatch), .pipeline = "p"},
    {ROUTE("/nothing", HTTP_GET, 0, dispatch), .pipeline = "p", .service = &core},
    {.match = {.pattern = "/j",
               .method = HTTP_POST,
               .body_bytes_max = BODY_BYTES_MAX,
               .media_types = json_only,
               .body_limit_key = "limit"},
     .handle = echo,
     .refusal_outcome = "not_committed"},
};

enum { ROUTES = sizeof routes / sizeof routes[0] };

static void make_server(void)
{
    static const struct pipeline_stage_config stages[] = {
        {.name = "look", .run = stage_look, .workers = 1},
        {.name = "answer", .run = stage_answer, .workers = 1},
    };
    static const struct pipeline_config pipeline = {
        .name = "p", .stages = stages, .stage_count = 2, .ring_buffer_size = 2, .threads = 2};
    struct engine_route *list[ROUTES];
    memset(large, 'l', sizeof large);
    thread_role_set(ROLE_NETWORK);
    CHECK(core_init(&core) == OK);
    core.config = (struct server_config){.max_connections = 2,
                                         .memory_limit_bytes = MEMORY_BYTES,
                                         .stream_buffer_bytes = STREAM_ROOM_BYTES_MIN};
    core.parser_limits.header_bytes_max = 5000;
    core.timeouts.keepalive_ms = 6000;
    core.timeouts.request_ms = 9000;
    core.timeouts.write_ms = 8000;
    core.timeouts.body_bytes_per_sec_min = 100;
    core.router = http_router_open();
    core.metrics = metrics_open();
    CHECK(core.router != NULL);
    CHECK(pipeline_open(&core, &pipeline, 0, &core.pipelines[0]) == OK);
    core.pipeline_count = 1;
    for (unsigned i = 0; i < ROUTES; i++) {
        CHECK(http_router_add(core.router, &routes[i].match) == OK);
        routes[i].index = i + 1;
        routes[i].target = routes[i].pipeline == NULL ? NULL : core.pipelines[0];
        list[i] = &routes[i];
    }
    CHECK(instruments_init(&core.instruments, &core, list, ROUTES) == OK);
    /* cache_bytes_max is 0: each chunk that is given back is freed, and a sanitizer sees who still
     * has it. */
    memory_budget_init(&core.budget, MEMORY_BYTES);
    CHECK(poller_init(&poller, &core, 0, 2) == OK);
    core.pollers = &poller;
    core.poller_count = 1;
}

static void check_nothing_left(void)
{
    CHECK(core.connections == 0 && open_streams == 0);
    CHECK(core.budget.used_bytes == 0);
    CHECK(poller.streams_waiting.next == &poller.streams_waiting && poller.stream_count == 0);
    CHECK(list_is_empty(&poller.streams_due));
    CHECK(list_is_empty(&poller.ready) && poller.inbox == NULL);
    CHECK(pipeline_occupancy(core.pipelines[0]) == 0);
}

/* ---- the requests, as the parser alone finds them ---- */

struct expected {
    enum http_method method;
    struct bytes target;
    struct bytes body;
};

static struct expected expected[ANSWERS_MAX];
static size_t expected_count; /* the last one may be broken or cut short: it has no target */
static char bodies[STREAM_BYTES_MAX];
static size_t bodies_bytes;

static bool take_body(void *context, struct bytes piece, struct http_problem *problem)
{
    (void)context;
    (void)problem;
    CHECK(piece.size <= sizeof bodies - bodies_bytes);
    memcpy(bodies + bodies_bytes, piece.data, piece.size);
    bodies_bytes += piece.size;
    return true;
}

/* False: it is the last. */
static bool expect_one(struct arena *arena, struct bytes *rest)
{
    struct http_parser parser;
    struct http_request request;
    enum http_parser_event event;
    size_t body_start = bodies_bytes;
    http_parser_begin(&parser, &core.parser_limits, &request, arena,
                      (struct http_body_sink){.take = take_body});
    do {
        size_t consumed;
        event = http_parser_feed(&parser, rest->data, rest->size, &consumed);
        *rest = bytes_drop(*rest, consumed);
    } while (event == PARSER_HEAD);
    if (event == PARSER_MORE && !http_parser_started(&parser)) {
        return false;
    }
    CHECK(expected_count < ANSWERS_MAX);
    expected[expected_count++] = (struct expected){
        .method = parser.request_line_complete ? request.method : HTTP_GET,
        .target = event == PARSER_DONE ? request.target : bytes_of(NULL, 0),
        .body = bytes_of(bodies + body_start, bodies_bytes - body_start),
    };
    return event == PARSER_DONE;
}

static void expect(struct bytes stream)
{
    struct memory_budget budget;
    struct chunk_pool pool;
    struct arena arena;
    bool more = true;
    memory_budget_init(&budget, MEMORY_BYTES);
    chunk_pool_init(&pool, &budget, MEMORY_BYTES);
    arena_init(&arena, &pool);
    expected_count = 0;
    bodies_bytes = 0;
    while (more && stream.size > 0) {
        more = expect_one(&arena, &stream);
        arena_reset(&arena);
    }
    chunk_pool_deinit(&pool);
}

static enum http_method method_of(size_t index)
{
    return index < expected_count ? expected[index].method : HTTP_GET;
}

/* ---- the client ---- */

struct client {
    int fd;
    bool is_deaf; /* it reads only when it is told to */
    bool ended;   /* the server has closed */
    bool refused; /* it takes no more bytes */
    char *received;
    size_t received_bytes;
};

static char received[3][RECEIVED_BYTES_MAX];
static struct client bystander = {.fd = -1};

static void client_open(struct client *client, char *buffer, bool narrow)
{
    int pair[2];
    int least = 1;
    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) == 0);
    if (narrow) {
        CHECK(setsockopt(pair[1], SOL_SOCKET, SO_SNDBUF, &least, sizeof least) == 0);
    }
    *client = (struct client){.fd = pair[0], .received = buffer};
    CHECK(core_try_open_connection(&core));
    struct conn *conn = poller_try_reserve(&poller);
    CHECK(conn != NULL);
    CHECK(poller_hand(&poller, conn, pair[1]) == OK);
}

static void client_read(struct client *client)
{
    while (!client->ended) {
        size_t room = RECEIVED_BYTES_MAX - client->received_bytes;
        CHECK(room > 0);
        ssize_t got = recv(client->fd, client->received + client->received_bytes, room, 0);
        if (got < 0 && errno == EAGAIN) {
            return;
        }
        client->ended = got <= 0;
        client->received_bytes += got > 0 ? (size_t)got : 0;
    }
}

static bool server_is_busy(void)
{
    struct pollfd events = {.fd = poller.epoll_fd, .events = POLLIN};
    return !list_is_empty(&poller.ready) || poller.inbox != NULL || poller.asked != 0 ||
           !list_is_empty(&poller.streams_due) || poll(&events, 1, 0) > 0;
}

/* Until there is nothing left to do without the client or time. */
static void serve(struct client *client, bool stages)
{
    unsigned rounds = 0;
    bool worked = true;
    while (worked || server_is_busy()) {
        CHECK(rounds++ < SETTLE_ROUNDS_MAX);
        CHECK(poller_step(&poller, false));
        worked = stages && pipeline_step(core.pipelines[0]);
        if (!client->is_deaf && client->fd >= 0) {
            client_read(client);
        }
        if (bystander.fd >= 0) {
            client_read(&bystander);
        }
    }
}

static void wake(void)
{
    poller_ask(&poller, POLLER_WAKE_STREAMS);
}

/* A client that finds no room reads, or it would wait for ever. */
static void client_send(struct client *client, struct bytes piece)
{
    while (piece.size > 0 && !client->refused) {
        ssize_t sent = send(client->fd, piece.data, piece.size, MSG_NOSIGNAL);
        client->refused = sent < 0 && errno != EAGAIN;
        if (sent > 0) {
            piece = bytes_drop(piece, (size_t)sent);
        }
        if (piece.size > 0 && !client->refused) {
            serve(client, true);
            client_read(client);
            wake();
        }
    }
}

static void client_leave(struct client *client)
{
    CHECK(close(client->fd) == 0);
    client->fd = -1;
}

/* Reads until the server has closed. */
static void read_to_end(struct client *client, uint64_t step_ns)
{
    for (unsigned i = 0; !client->ended; i++) {
        CHECK(i < END_ROUNDS_MAX);
        serve(client, true);
        client_read(client);
        wake();
        now_ns += step_ns;
    }
}

/* Time passes until the server has closed, which the client does not look at. */
static void wait_for_close(struct client *client)
{
    for (unsigned i = 0; core.connections > 0; i++) {
        CHECK(i < END_ROUNDS_MAX);
        serve(client, true);
        wake();
        now_ns += UINT64_C(1000000000);
    }
    client_read(client);
}

/* ---- a run ---- */

static void run_steps(struct client *client, struct bytes *rest, const uint8_t steps[STEPS])
{
    for (unsigned i = 0; i < STEPS; i++) {
        size_t size = piece_bytes[steps[i] & 0x0f];
        size = size < rest->size ? size : rest->size;
        client_send(client, bytes_of(rest->data, size));
        *rest = bytes_drop(*rest, size);
        if ((steps[i] & STEP_WAKE) != 0) {
            wake();
        }
        if ((steps[i] & STEP_SERVE) != 0) {
            serve(client, (steps[i] & STEP_STAGES) != 0);
        }
        if ((steps[i] & STEP_READ) != 0) {
            client_read(client);
        }
    }
}

static void run_end(struct client *client, enum ending ending)
{
    switch (ending) {
    case ENDING_LEAVE:
        return;
    case ENDING_TIME:
        client->is_deaf = false;
        read_to_end(client, UINT64_C(1000000000));
        return;
    case ENDING_DEAF:
        client->is_deaf = true;
        wait_for_close(client);
        return;
    case ENDING_DRAIN:
        poller_ask(&poller, POLLER_DRAIN);
        serve(client, true);
        break;
    case ENDING_SHUTDOWN:
    case ENDING_SHUTDOWN_TOO:
    case ENDING_SHUTDOWN_THREE:
    case ENDING_MEMORY:
        break;
    }
    if (shutdown(client->fd, SHUT_WR) != 0) {
        CHECK(errno == ENOTCONN);
    }
    client->is_deaf = false;
    read_to_end(client, 0);
}

static void run(struct client *client, struct bytes stream, const uint8_t *steps,
                enum ending ending)
{
    if (steps != NULL) {
        run_steps(client, &stream, steps);
    }
    client_send(client, ending == ENDING_LEAVE ? bytes_of(NULL, 0) : stream);
    run_end(client, ending);
    client_leave(client);
    serve(client, true);
    if (bystander.fd >= 0) {
        run_end(&bystander, ENDING_SHUTDOWN);
        client_leave(&bystander);
        serve(client, true);
    }
    poller.draining = false;
    check_nothing_left();
}

/* ---- what must be so ---- */

static bool is_echo(struct bytes target)
{
    struct bytes path = bytes_split(&target, '?');
    return bytes_equal(path, BYTES("/e")) || bytes_equal(path, BYTES("/p"));
}

/* `is_whole`: nothing but the client's bytes has had its part in it. */
static void check_expected(const struct answers *answers, bool is_whole)
{
    size_t count = answers->count;
    if (count == expected_count + 1 && !is_whole) {
        /* Without memory for a buffer to read into, nobody knows whether there is a request. */
        count--;
        CHECK(answers->list[count].status == 503 && answers->list[count].closes);
    }
    CHECK(count <= expected_count);
    for (size_t i = 0; i < count; i++) {
        const struct answer *answer = &answers->list[i];
        CHECK(answer->status != 200 || answer->target.data != NULL);
        CHECK(answer->target.data == NULL || bytes_equal(answer->target, expected[i].target));
        if (answer->status == 200 && expected[i].method != HTTP_HEAD &&
            is_echo(expected[i].target)) {
            CHECK(bytes_equal(answer->body, expected[i].body));
        }
    }
    if (is_whole && (count == 0 || !answers->list[count - 1].closes)) {
        CHECK(count == expected_count);
    }
}

static bool is_same(const struct answer *a, const struct answer *b)
{
    return a->status == b->status && a->closes == b->closes && bytes_equal(a->head, b->head) &&
           bytes_equal(a->body, b->body);
}

/* A stream that is cut takes the answers before it along that have not left yet. */
static void check_same(const struct answers *whole, const struct answers *split, bool is_disturbed)
{
    if (!is_disturbed && !whole->is_cut) {
        CHECK(whole->count == split->count && !split->is_cut);
    }
    for (size_t i = 0; i < whole->count && i < split->count; i++) {
        const struct answer *answer = &split->list[i];
        bool is_last = i + 1 == split->count;
        CHECK(is_same(&whole->list[i], answer) ||
              (is_disturbed && (is_last || answer->status == 503)));
    }
}

static bool may_be_cut(void)
{
    for (size_t i = 0; i < expected_count; i++) {
        if (bytes_starts_with(expected[i].target, BYTES("/w/"))) {
            return true;
        }
    }
    return false;
}

/* ---- mutations: whole requests beside bytes, and the steps by themselves ---- */

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t room);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t room, unsigned seed);

#define HOST " HTTP/1.1\r\nHost: a\r\n"

#define HEADER_50 "X: 3456789 123456789 123456789 123456789 12345678\r\n"
#define HEADER_500                                                                                 \
    HEADER_50 HEADER_50 HEADER_50 HEADER_50 HEADER_50 HEADER_50 HEADER_50 HEADER_50 HEADER_50      \
        HEADER_50

static const char *const requests[] = {
    "GET /e" HOST "\r\n",
    "GET /e HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    "HEAD /l" HOST "\r\n",
    "GET /l" HOST "\r\n",
    "GET /p?q=1" HOST "X-Request-Id: r\r\n\r\n",
    "GET /nothing" HOST "\r\n",
    "GET /w/xWfwe" HOST "\r\n",
    "GET /w/ff HTTP/1.0\r\n\r\n",
    "GET /w/xxa" HOST "\r\n",
    "HEAD /w/x" HOST "\r\n",
    "POST /e" HOST "Content-Length: 4\r\n\r\nbody",
    "POST /p" HOST "Content-Length: 9\r\nExpect: 100-continue\r\n\r\n123456789",
    "POST /p" HOST "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nA: b\r\n\r\n",
    "POST /e" HOST "Content-Length: 701\r\n\r\n",
    "POST /e" HOST "Transfer-Encoding: chunked\r\n\r\n2bd\r\n",
    "PUT /e/%41/b" HOST "Content-Length: 2\r\n\r\n\r\n",
    "PUT /e/%4" HOST "Content-Length: 0\r\n\r\n",
    "POST /j" HOST "Content-Type: application/json;a=b\r\nContent-Length: 2\r\n\r\n{}",
    "POST /j" HOST "Content-Length: 2\r\n\r\n{}",
    "OPTIONS *" HOST "\r\n",
    "OPTIONS /p" HOST "Connection: close\r\n\r\n",
    "DELETE /e" HOST "Content-Length: 3\r\n\r\nabc",
    "GET /none" HOST "\r\n",
    "GET /e" HOST HEADER_500 HEADER_500 "\r\n",
    "\r\n",
};

enum { REQUESTS = sizeof requests / sizeof requests[0] };

/* Where the n-th request, or what looks like the end of a head, is over. */
static size_t boundary(const uint8_t *data, size_t size, unsigned n)
{
    size_t at = CHOICE_BYTES;
    for (size_t i = at; i + 4 <= size && n > 0; i++) {
        if (memcmp(data + i, "\r\n\r\n", 4) == 0) {
            at = i + 4;
            n--;
        }
    }
    return n == 0 ? at : size;
}

static size_t insert(uint8_t *data, size_t size, size_t room, size_t at, const char *text)
{
    size_t length = strlen(text);
    if (length > room - size) {
        return size;
    }
    memmove(data + at + length, data + at, size - at);
    memcpy(data + at, text, length);
    return size + length;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t room, unsigned seed)
{
    unsigned choice = seed % 8;
    unsigned what = seed / 8;
    room = room < CHOICE_BYTES + STREAM_BYTES_MAX ? room : CHOICE_BYTES + STREAM_BYTES_MAX;
    if (size < CHOICE_BYTES || size > room || choice < 4) {
        return LLVMFuzzerMutate(data, size < room ? size : room, room);
    }
    if (choice == 4) {
        (void)LLVMFuzzerMutate(data, CHOICE_BYTES, CHOICE_BYTES);
        return size;
    }
    if (choice == 5) {
        size_t from = boundary(data, size, what / 8 % 4);
        size_t to = boundary(data, size, what / 8 % 4 + 1);
        memmove(data + from, data + to, size - to);
        return size - (to - from);
    }
    return insert(data, size, room, boundary(data, size, what / REQUESTS % 6),
                  requests[what % REQUESTS]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct answers whole;
    static struct answers split;
    struct client client;
    if (size < CHOICE_BYTES || size > CHOICE_BYTES + STREAM_BYTES_MAX) {
        return 0;
    }
    if (core.router == NULL) {
        make_server();
    }
    struct bytes stream = bytes_of((const char *)data + CHOICE_BYTES, size - CHOICE_BYTES);
    enum ending ending = (enum ending)(data[0] & CHOICE_ENDINGS);
    bool is_disturbed = ending > ENDING_SHUTDOWN_THREE;
    expect(stream);

    client_open(&client, received[0], false);
    run(&client, stream, NULL, ENDING_SHUTDOWN);
    answers_split(&whole, client.received, client.received_bytes, true, method_of);
    check_expected(&whole, !whole.is_cut && !may_be_cut());

    if (ending == ENDING_MEMORY) {
        core.budget.limit_bytes = (uint64_t)(1 + (data[0] >> 4)) << 12;
    }
    bool has_bystander = (data[0] & CHOICE_BYSTANDER) != 0;
    if (has_bystander) {
        client_open(&bystander, received[2], false);
        client_send(&bystander, stream);
    }
    client_open(&client, received[1], (data[0] & CHOICE_DEAF) != 0);
    client.is_deaf = (data[0] & CHOICE_DEAF) != 0;
    run(&client, stream, data + 1, ending);
    core.budget.limit_bytes = MEMORY_BYTES;
    answers_split(&split, client.received, client.received_bytes, ending != ENDING_LEAVE,
                  method_of);
    check_expected(&split, false);
    check_same(&whole, &split, is_disturbed || may_be_cut());
    if (has_bystander) {
        answers_split(&split, bystander.received, bystander.received_bytes, true, method_of);
        check_expected(&split, false);
        check_same(&whole, &split, (is_disturbed && ending != ENDING_LEAVE) || may_be_cut());
    }
    return 0;
}
