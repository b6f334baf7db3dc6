/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Targets of /v1: paths with their parameters and query strings, given to the database's own
 * handlers on a small log in memory. The first byte chooses method and path, the second headers;
 * the rest goes on with the target.
 *
 * Covers: src/weaseldb/query.c src/weaseldb/subscribe.c src/weaseldb/commit_routes.c
 * src/weaseldb/retention_routes.c src/weaseldb/feed_filter.c src/http/request.c src/http/router.c
 *
 * Whatever is refused is refused with a sentence. And the target, decoded here and written again
 * with every byte of its path and values escaped, is answered the same: by the same status and
 * body, for a question the same id and version, for a subscriber the same stream.
 *
 * No thread runs: what would be a pipeline's stages is run here, and those of the commit service
 * are here too, since they would fill the log with fences.
 */
#include "base/check.h"
#include "base/thread.h"
#include "commit/commit_internal.h"
#include "commitlog/storage_sim.h"
#include "http/parser.h"
#include "weaseldb/commit_routes.h"
#include "weaseldb/retention_routes.h"
#include "weaseldb/subscribe.h"

#include <stdio.h>
#include <stdlib.h>

enum {
    CHOICE_BYTES = 2,
    TARGET_BYTES_MAX = 1500,
    MEMORY_BYTES = 1 << 22,
    STREAM_BYTES = 1 << 16,
    RECORDS = 12,
    PULLS_MAX = 64,
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* ---- the engine's part: where routes and pipelines go ---- */

struct pipeline_batch {
    struct exchange *exchange;
};

static struct http_router *router;
static struct metrics *the_metrics;
static struct pipeline_config pipelines[2];
static unsigned pipeline_count;

size_t pipeline_batch_count(const struct pipeline_batch *batch)
{
    (void)batch;
    return 1;
}

struct exchange *pipeline_batch_at(const struct pipeline_batch *batch, size_t index)
{
    CHECK(index == 0);
    return batch->exchange;
}

struct metrics *server_metrics(struct server *server)
{
    (void)server;
    return the_metrics;
}

enum err server_add_pipeline(struct server *server, const struct pipeline_config *config)
{
    (void)server;
    CHECK(pipeline_count < sizeof pipelines / sizeof pipelines[0]);
    pipelines[pipeline_count++] = *config;
    return OK;
}

enum err server_add_route(struct server *server, struct engine_route *route)
{
    (void)server;
    return http_router_add(router, &route->match);
}

void server_wake_streams(struct server *server)
{
    (void)server;
}

/* ---- the commit service's stages: what was asked for, and an answer to it (-Wl,--wrap) ---- */

struct asked {
    bool is_question;
    uint64_t min_version;
    size_t id_bytes;
    char id[TXN_REQUEST_ID_BYTES_MAX];
};

static struct asked asked;

void __wrap_commit_sequence(struct commit_service *service, struct commit_request *const *requests,
                            size_t count);
void __wrap_commit_resolve(struct commit_service *service, struct commit_request *const *requests,
                           size_t count);
enum err __wrap_commit_persist(struct commit_service *service,
                               struct commit_request *const *requests, size_t count);
void __wrap_commit_release(struct commit_service *service, struct commit_request *const *requests,
                           size_t count);

void __wrap_commit_sequence(struct commit_service *service, struct commit_request *const *requests,
                            size_t count)
{
    const struct commit_request *request = requests[0];
    (void)service;
    CHECK(count == 1 && request->entry_count == 1);
    struct commit_entry *entry = &request->entries[0];
    CHECK(entry->txn->request_id.size <= sizeof asked.id);
    asked = (struct asked){.is_question = entry->is_question,
                           .min_version = request->min_version,
                           .id_bytes = entry->txn->request_id.size};
    memcpy(asked.id, entry->txn->request_id.data, asked.id_bytes);
    entry->request_id = entry->txn->request_id;
    entry->outcome = request->min_version % 2 == 0 ? OUTCOME_NOT_COMMITTED : OUTCOME_EXPIRED;
}

void __wrap_commit_resolve(struct commit_service *service, struct commit_request *const *requests,
                           size_t count)
{
    (void)service;
    (void)requests;
    (void)count;
}

enum err __wrap_commit_persist(struct commit_service *service,
                               struct commit_request *const *requests, size_t count)
{
    (void)service;
    (void)requests;
    (void)count;
    return OK;
}

void __wrap_commit_release(struct commit_service *service, struct commit_request *const *requests,
                           size_t count)
{
    (void)service;
    (void)requests;
    (void)count;
}

/* ---- the database ---- */

static uint64_t now_us(void)
{
    return 1000000;
}

static void log_failed(void)
{
    UNREACHABLE();
}

static bool no_batch(void *context, const struct log_batch_header *header)
{
    (void)context;
    (void)header;
    return false;
}

/* Keys k1, k2, ...; each third record deletes a range too. */
static void fill_log(const struct log_config *config, struct storage *storage)
{
    const struct log_visitor nobody = {.batch = no_batch};
    struct log_problem problem;
    struct log *log;
    CHECK(log_open(config, storage, &nobody, &log, &problem) == OK);
    for (unsigned i = 1; i <= RECORDS; i++) {
        char key[8];
        struct bytes name = bytes_of(key, (size_t)snprintf(key, sizeof key, "k%u", i));
        const struct txn_operation operations[2] = {
            {.type = TXN_WRITE, .key = name, .value = BYTES("value")},
            {.type = TXN_RANGE_DELETE, .key = name, .value = BYTES("x")}};
        const struct log_record record = {.type = LOG_RECORD_COMMIT,
                                          .request_id = name,
                                          .version = i,
                                          .payload_hash = i,
                                          .operations = operations,
                                          .operation_count = i % 3 == 0 ? 2 : 1};
        CHECK(log_try_reserve(log, log_record_bytes(&record), LOG_RESERVE_COMMIT));
        CHECK(log_append(log, &record, now_us()) == OK);
        CHECK(log_sync(log, now_us()) == OK);
    }
    log_close(log);
}

static void make_database(void)
{
    struct storage_sim *sim;
    struct commit_service *service;
    struct feed *feed;
    struct log *log;
    struct log_problem problem;
    const struct log_config log_config = {
        .segment_bytes = LOG_SEGMENT_BYTES_MIN, .by_hand = true, .new_log_id = 77};
    const struct commit_config commit_config = {.conflict_bytes_max = CONFLICT_SET_BYTES_MIN,
                                                .conflict_window_sec = 10,
                                                .request_id_window_sec = 10,
                                                .request_id_count_max = REQUEST_IDS_COUNT_MIN,
                                                .now_us = now_us,
                                                .start_id = 5};
    thread_role_set(ROLE_NETWORK);
    CHECK(storage_sim_open(1, &sim) == OK);
    fill_log(&log_config, storage_sim_storage(sim));
    storage_sim_restart(sim, STORAGE_SIM_PROCESS_ENDS);
    CHECK(commit_open(&commit_config, &service) == OK);
    CHECK(log_open(&log_config, storage_sim_storage(sim), commit_log_visitor(service), &log,
                   &problem) == OK);
    commit_start(service, log);
    router = http_router_open();
    the_metrics = metrics_open();
    CHECK(router != NULL);
    CHECK(feed_open(&(struct feed_config){.commits = service,
                                          .log = log,
                                          .progress_interval_ms = 1 << 30,
                                          .subscribers_max = 2,
                                          .shared_bytes = 1 << 20},
                    NULL, &feed) == OK);
    CHECK(commit_routes_add(NULL, &(struct commit_routes_config){
                                      .service = service,
                                      .metrics = {.service = service, .log = log, .directory = "/"},
                                      .limits = {64, 64, 4, 4, 4},
                                      .body_bytes_max = 1000,
                                      .ring_buffer_size = 16,
                                      .threads = 1,
                                      .log_failed = log_failed,
                                      .feed = feed}) == OK);
    CHECK(retention_routes_add(NULL, &(struct retention_routes_config){.service = service,
                                                                       .log = log,
                                                                       .policies_max = 4,
                                                                       .log_failed = log_failed}) ==
          OK);
    CHECK(subscribe_add(NULL, feed) == OK);
}

/* ---- one request ---- */

struct result {
    bool is_request; /* the parser takes it */
    unsigned status; /* 0: the router knows no such path */
    struct asked asked;
    size_t size;
    char bytes[STREAM_BYTES]; /* body, or stream */
};

static void run_stages(struct exchange *exchange)
{
    for (unsigned i = 0; i < pipeline_count; i++) {
        if (strcmp(pipelines[i].name, exchange->route->pipeline) != 0) {
            continue;
        }
        for (unsigned stage = 0; stage < pipelines[i].stage_count; stage++) {
            struct pipeline_batch batch = {exchange};
            pipelines[i].stages[stage].run(pipelines[i].stages[stage].context, 0, &batch);
        }
        return;
    }
    UNREACHABLE();
}

/* Up to where it would wait. */
static void read_stream(struct exchange *exchange, struct result *out)
{
    enum stream_step step = STREAM_MORE;
    for (unsigned i = 0; step == STREAM_MORE; i++) {
        size_t size = 0;
        uint32_t wait_ms = 0;
        CHECK(i < PULLS_MAX && sizeof out->bytes - out->size >= STREAM_ROOM_BYTES_MIN);
        step = exchange->stream->pull(exchange->stream, out->bytes + out->size,
                                      STREAM_ROOM_BYTES_MIN, &size, &wait_ms, false);
        CHECK(size <= STREAM_ROOM_BYTES_MIN);
        out->size += size;
    }
    CHECK(step == STREAM_WAIT);
    exchange->stream->close(exchange->stream);
}

static void take_answer(struct exchange *exchange, struct result *out)
{
    struct bytes body = exchange->response.body;
    CHECK(exchange->response.status >= 200 && exchange->response.status < 600);
    CHECK(body.size <= sizeof out->bytes);
    out->status = exchange->response.status;
    out->size = body.size;
    if (body.size > 0) {
        memcpy(out->bytes, body.data, body.size);
    }
    if (exchange->stream != NULL) {
        read_stream(exchange, out);
    }
}

static bool sink(void *context, struct bytes piece, struct http_problem *problem)
{
    struct exchange *exchange = context;
    (void)problem;
    exchange->request.body = piece; /* it comes whole */
    return true;
}

static void handle(struct exchange *exchange, struct result *out)
{
    const struct http_route *match;
    struct bytes allow;
    if (http_router_find(router, &exchange->request, exchange->arena, &match, &allow) !=
        ROUTER_FOUND) {
        return;
    }
    exchange->route = engine_route_of(match);
    if (exchange->route->handle(exchange, exchange->route->context) == HANDLER_DISPATCH) {
        run_stages(exchange);
    }
    take_answer(exchange, out);
}

static void ask(struct bytes text, struct result *out)
{
    struct memory_budget budget;
    struct chunk_pool pool;
    struct arena arena;
    struct exchange exchange = {.arena = &arena};
    struct http_parser parser;
    const struct http_parser_limits limits = {16384};
    size_t consumed;
    memory_budget_init(&budget, MEMORY_BYTES);
    chunk_pool_init(&pool, &budget, 0);
    arena_init(&arena, &pool);
    asked = (struct asked){.min_version = 0};
    out->status = 0;
    out->size = 0;
    http_parser_begin(&parser, &limits, &exchange.request, &arena,
                      (struct http_body_sink){.take = sink, .context = &exchange});
    enum http_parser_event event = http_parser_feed(&parser, text.data, text.size, &consumed);
    if (event == PARSER_HEAD) {
        text = bytes_drop(text, consumed);
        event = http_parser_feed(&parser, text.data, text.size, &consumed);
    }
    out->is_request = event == PARSER_DONE && consumed == text.size;
    if (out->is_request) {
        handle(&exchange, out);
    }
    out->asked = asked;
    arena_reset(&arena);
    CHECK(budget.used_bytes == 0);
}

/* ---- targets ---- */

struct text {
    char data[16384];
    size_t size;
};

static void put(struct text *text, struct bytes piece)
{
    CHECK(piece.size <= sizeof text->data - text->size);
    if (piece.size > 0) {
        memcpy(text->data + text->size, piece.data, piece.size);
    }
    text->size += piece.size;
}

static int digit(char c)
{
    static const char digits[] = "0123456789abcdef";
    const char *at = c == '\0' ? NULL : strchr(digits, ascii_lower(c));
    return at == NULL ? -1 : (int)(at - digits);
}

/* Each byte that `piece` stands for, escaped; false: it has a bad escape. */
static bool put_escaped(struct text *text, struct bytes piece, bool plus_is_space)
{
    static const char digits[] = "0123456789ABCDEF";
    for (size_t i = 0; i < piece.size; i++) {
        int byte = (unsigned char)piece.data[i];
        if (byte == '%') {
            if (piece.size - i < 3 || digit(piece.data[i + 1]) < 0 ||
                digit(piece.data[i + 2]) < 0) {
                return false;
            }
            byte = digit(piece.data[i + 1]) * 16 + digit(piece.data[i + 2]);
            i += 2;
            if (byte == 0) {
                return false;
            }
        } else if (byte == '+' && plus_is_space) {
            byte = ' ';
        }
        const char escaped[3] = {'%', digits[byte >> 4], digits[byte & 15]};
        put(text, bytes_of(escaped, sizeof escaped));
    }
    return true;
}

static bool put_target_escaped(struct text *text, struct bytes target)
{
    struct bytes query = target;
    struct bytes path = bytes_split(&query, '?');
    path = bytes_drop(path, 1);
    do {
        put(text, BYTES("/"));
        if (!put_escaped(text, bytes_split(&path, '/'), false)) {
            return false;
        }
    } while (path.data != NULL);
    put(text, BYTES("?"));
    while (query.size > 0) {
        struct bytes value = bytes_split(&query, '&');
        if (value.size == 0) {
            continue;
        }
        put(text, bytes_split(&value, '='));
        put(text, BYTES("="));
        if (!put_escaped(text, value, true)) {
            return false;
        }
        put(text, BYTES("&"));
    }
    return true;
}

static void check_refusal(const struct result *result)
{
    static const char name[] = "\"detail\":\"";
    if (result->status < 400) {
        return;
    }
    const char *at = memmem(result->bytes, result->size, name, sizeof name - 1);
    CHECK(at != NULL && at[sizeof name - 1] != '"');
}

static void check_same(const struct result *a, const struct result *b)
{
    CHECK(a->is_request && b->is_request);
    CHECK(a->status == b->status);
    CHECK(a->asked.is_question == b->asked.is_question);
    CHECK(a->asked.min_version == b->asked.min_version);
    CHECK(bytes_equal(bytes_of(a->asked.id, a->asked.id_bytes),
                      bytes_of(b->asked.id, b->asked.id_bytes)));
    CHECK(bytes_equal(bytes_of(a->bytes, a->size), bytes_of(b->bytes, b->size)));
}

/* Asks with a target as it is. */
static void ask_plain(struct bytes method, struct bytes target, struct bytes end,
                      struct result *out)
{
    static struct text text;
    text.size = 0;
    put(&text, method);
    put(&text, BYTES(" "));
    put(&text, target);
    put(&text, end);
    ask(bytes_of(text.data, text.size), out);
}

/* False: nobody can tell what the target stands for. */
static bool ask_escaped(struct bytes method, struct bytes target, struct bytes end,
                        struct result *out)
{
    static struct text text;
    text.size = 0;
    if (!put_target_escaped(&text, target)) {
        return false;
    }
    ask_plain(method, bytes_of(text.data, text.size), end, out);
    return true;
}

#define BEHIND " HTTP/1.1\r\nHost: a\r\n"
#define PUT_BEHIND                                                                                 \
    BEHIND "Content-Type: application/json\r\nContent-Length: 13\r\n\r\n{\"version\":7}"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct {
        struct bytes method;
        struct bytes start;
    } starts[] = {
        {BYTES_INIT("GET"), BYTES_INIT("/v1/status?")},
        {BYTES_INIT("GET"), BYTES_INIT("/v1/subscribe?")},
        {BYTES_INIT("GET"), BYTES_INIT("/v1/retention/")},
        {BYTES_INIT("PUT"), BYTES_INIT("/v1/retention/")},
        {BYTES_INIT("DELETE"), BYTES_INIT("/v1/retention/")},
        {BYTES_INIT("GET"), BYTES_INIT("/v1/retention?")},
        {BYTES_INIT("GET"), BYTES_INIT("/v1/version?")},
        {BYTES_INIT("GET"), BYTES_INIT("/v1/status?request_id=a&min_version=")},
        {BYTES_INIT("GET"), BYTES_INIT("/v1/subscribe?after=0&begin=")},
        {BYTES_INIT("GET"), BYTES_INIT("/")},
    };
    static const struct bytes ends[] = {
        BYTES_INIT(BEHIND "\r\n"),
        BYTES_INIT(BEHIND "Accept: application/x-ndjson\r\n\r\n"),
        BYTES_INIT(BEHIND "Accept: application/protobuf\r\n\r\n"),
        BYTES_INIT(BEHIND "Last-Event-ID: 3\r\n\r\n"),
        BYTES_INIT(BEHIND "Last-Event-ID: x\r\n\r\n"),
        BYTES_INIT(BEHIND "Accept: application/x-ndjson;q=0.5, application/protobuf;q=0.7\r\n"
                          "Last-Event-ID: 11\r\n\r\n"),
    };
    static struct result plain;
    static struct result escaped;
    static struct text target;
    if (size < CHOICE_BYTES || size > CHOICE_BYTES + TARGET_BYTES_MAX) {
        return 0;
    }
    if (router == NULL) {
        make_database();
    }
    size_t choice = data[0] % (sizeof starts / sizeof starts[0]);
    struct bytes method = starts[choice].method;
    struct bytes end = bytes_equal(method, BYTES("PUT"))
                           ? BYTES(PUT_BEHIND)
                           : ends[data[1] % (sizeof ends / sizeof ends[0])];
    target.size = 0;
    put(&target, starts[choice].start);
    put(&target, bytes_of((const char *)data + CHOICE_BYTES, size - CHOICE_BYTES));
    struct bytes whole = bytes_of(target.data, target.size);

    ask_plain(method, whole, end, &plain);
    check_refusal(&plain);
    if (!plain.is_request || plain.status == 0) {
        return 0;
    }
    if (plain.status == 204) {
        /* What was deleted must be there again for the second request. */
        ask_plain(BYTES("PUT"), whole, BYTES(PUT_BEHIND), &escaped);
        CHECK(escaped.status == 200);
    }
    if (ask_escaped(method, whole, end, &escaped)) {
        check_same(&plain, &escaped);
    } else {
        CHECK(plain.status == 400);
    }
    return 0;
}
