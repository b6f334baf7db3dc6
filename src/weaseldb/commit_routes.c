/* SPDX-License-Identifier: Apache-2.0 */
/* Transactions over HTTP: from body to entries, through the stages, and back to an answer. */
#include "weaseldb/commit_routes.h"

#include "base/check.h"
#include "base/clock.h"
#include "txn/codec.h"
#include "weaseldb/query.h"

#include <stdlib.h>

#define NOT_COMMITTED "not_committed"

enum { STAGES = 4 };

/* What a request is between handler and last stage; in the request's arena. */
struct passage {
    struct commit_request request;
    const struct txn_codec *codec; /* of the answer */
    bool is_batch;
    struct txn question; /* of a question: what its entry points to */
};

/* One for a process. */
static struct {
    struct commit_routes_config config;
    struct commit_request **requests[STAGES]; /* scratch of each stage: ring_buffer_size of them */
    bool failure_told;
} commits;

/* ---- on network threads ---- */

/* Of a commit its route says that it has not happened; of one that is asked for nothing is known.
 */
static enum handler_verdict answer_no_memory(struct exchange *exchange)
{
    exchange_answer_no_memory(exchange);
    return HANDLER_ANSWERED;
}

static enum handler_verdict answer_bad_request(struct exchange *exchange, const char *type,
                                               const char *detail)
{
    exchange_answer_problem(
        exchange, &(struct http_problem){
                      .status = 400, .type = type, .detail = detail, .outcome = NOT_COMMITTED});
    return HANDLER_ANSWERED;
}

/* Room for `count` transactions on their way; NULL: the memory budget refused. */
static struct passage *make_passage(struct exchange *exchange, uint32_t count)
{
    struct passage *passage = arena_try_alloc(exchange->arena, sizeof *passage);
    if (passage == NULL) {
        return NULL;
    }
    *passage = (struct passage){.request = {.arena = exchange->arena, .entry_count = count}};
    passage->request.entries =
        arena_try_alloc(exchange->arena, count * sizeof *passage->request.entries);
    return passage->request.entries == NULL ? NULL : passage;
}

/* The header Idempotency-Key is another way to send a request_id. The draft standard puts it in
 * double quotes, which do not belong to it. */
static struct bytes unquoted(struct bytes key)
{
    return key.size >= 2 && key.data[0] == '"' && key.data[key.size - 1] == '"'
               ? bytes_of(key.data + 1, key.size - 2)
               : key;
}

static bool is_idempotency_key(const struct http_header *header)
{
    return bytes_equal_fold(header->name, BYTES("Idempotency-Key"));
}

static bool is_request_id(struct bytes id)
{
    for (size_t i = 0; i < id.size; i++) {
        if (id.data[i] < 0x21 || id.data[i] > 0x7e) {
            return false;
        }
    }
    return id.size >= 1 && id.size <= TXN_REQUEST_ID_BYTES_MAX;
}

/* NULL, or what is wrong with the names. Each of several headers must agree with the rest. */
static const char *take_idempotency_key(const struct exchange *exchange, struct txn *txn)
{
    for (unsigned i = 0; i < exchange->request.header_count; i++) {
        const struct http_header *header = &exchange->request.headers[i];
        if (!is_idempotency_key(header)) {
            continue;
        }
        struct bytes key = unquoted(header->value);
        if (!is_request_id(key)) {
            return "The header Idempotency-Key must be 1 to 128 printable ASCII characters.";
        }
        if (txn->request_id.size > 0 && !bytes_equal(txn->request_id, key)) {
            return "The header Idempotency-Key and the field request_id differ, or there are "
                   "several such headers; send one of them.";
        }
        txn->request_id = key;
    }
    return NULL;
}

static bool has_idempotency_key(const struct exchange *exchange)
{
    bool has = false;
    for (unsigned i = 0; i < exchange->request.header_count; i++) {
        has = has || is_idempotency_key(&exchange->request.headers[i]);
    }
    return has;
}

/* What decoding said, when that was not OK. */
static enum handler_verdict answer_undecoded(struct exchange *exchange, enum err err,
                                             struct http_problem *problem)
{
    if (err == ERR_MEMORY) {
        return answer_no_memory(exchange);
    }
    problem->outcome = NOT_COMMITTED;
    exchange_answer_problem(exchange, problem);
    return HANDLER_ANSWERED;
}

static enum handler_verdict dispatch(struct exchange *exchange, struct passage *passage,
                                     const struct txn *transactions, bool is_question,
                                     const struct txn_codec *preferred)
{
    passage->codec = txn_codec_for_answer(exchange->request.accept, preferred);
    for (uint32_t i = 0; i < passage->request.entry_count; i++) {
        commit_entry_init(&passage->request.entries[i], &transactions[i], is_question);
    }
    exchange->state = passage;
    return HANDLER_DISPATCH;
}

static enum handler_verdict commit_one(struct exchange *exchange, void *context)
{
    (void)context;
    if (!query_read(exchange, NULL, 0)) {
        return HANDLER_ANSWERED;
    }
    /* The route has made sure that there is a codec. */
    const struct txn_codec *codec = txn_codec_of(exchange->request.content_type);
    CHECK(codec != NULL);
    struct http_problem problem;
    struct txn *txn = arena_try_alloc(exchange->arena, sizeof *txn);
    struct passage *passage = make_passage(exchange, 1);
    if (txn == NULL || passage == NULL) {
        return answer_no_memory(exchange);
    }
    enum err err = codec->decode_commit(exchange->request.body, &commits.config.limits,
                                        exchange->arena, txn, &problem);
    if (err != OK) {
        return answer_undecoded(exchange, err, &problem);
    }
    const char *mistake = take_idempotency_key(exchange, txn);
    if (mistake != NULL) {
        return answer_bad_request(exchange, "request-id", mistake);
    }
    return dispatch(exchange, passage, txn, false, codec);
}

static enum handler_verdict commit_batch(struct exchange *exchange, void *context)
{
    (void)context;
    if (!query_read(exchange, NULL, 0)) {
        return HANDLER_ANSWERED;
    }
    if (has_idempotency_key(exchange)) {
        return answer_bad_request(exchange, "request-id",
                                  "The header Idempotency-Key names one transaction; those of a "
                                  "batch carry a request_id each.");
    }
    const struct txn_codec *codec = txn_codec_of(exchange->request.content_type);
    CHECK(codec != NULL);
    struct http_problem problem;
    struct txn_batch batch;
    enum err err = codec->decode_batch(exchange->request.body, &commits.config.limits,
                                       exchange->arena, &batch, &problem);
    if (err != OK) {
        return answer_undecoded(exchange, err, &problem);
    }
    struct passage *passage = make_passage(exchange, batch.count);
    if (passage == NULL) {
        return answer_no_memory(exchange);
    }
    passage->is_batch = true;
    return dispatch(exchange, passage, batch.transactions, false, codec);
}

static enum handler_verdict status(struct exchange *exchange, void *context)
{
    (void)context;
    struct query_parameter parameters[] = {{.name = "request_id"}, {.name = "min_version"}};
    uint64_t min_version = 0;
    if (!query_read(exchange, parameters, 2) ||
        (parameters[1].given && !query_number(exchange, &parameters[1], &min_version))) {
        return HANDLER_ANSWERED;
    }
    if (!is_request_id(parameters[0].value)) {
        exchange_answer_problem(
            exchange,
            &(struct http_problem){.status = 400,
                                   .type = "request-id",
                                   .detail = "The query parameter request_id must be given: 1 to "
                                             "128 printable ASCII characters."});
        return HANDLER_ANSWERED;
    }
    struct passage *passage = make_passage(exchange, 1);
    if (passage == NULL) {
        return answer_no_memory(exchange);
    }
    passage->request.min_version = min_version;
    passage->question = (struct txn){.request_id = parameters[0].value};
    return dispatch(exchange, passage, &passage->question, true, NULL);
}

static void say_durability(struct exchange *exchange)
{
    if (commits.config.relaxed) {
        (void)exchange_add_header(exchange, BYTES("WeaselDB-Durability"), BYTES("none"));
    }
}

static struct bytes media_type(const struct txn_codec *codec)
{
    return bytes_from_string(codec->media_types[0]);
}

static enum handler_verdict version(struct exchange *exchange, void *context)
{
    (void)context;
    if (!query_read(exchange, NULL, 0)) {
        return HANDLER_ANSWERED;
    }
    const struct txn_codec *codec = txn_codec_for_answer(exchange->request.accept, NULL);
    struct txn_version_info info = commit_version_info(commits.config.service);
    struct bytes body;
    if (codec->encode_version(&info, exchange->arena, &body) != OK) {
        return answer_no_memory(exchange);
    }
    exchange_answer(exchange, 200, media_type(codec), body);
    say_durability(exchange);
    return HANDLER_ANSWERED;
}

/* ---- on the pipeline's threads ---- */

/* What a batch holds, as the commit service wants it. */
static struct commit_request *const *requests_of(unsigned stage, const struct pipeline_batch *batch)
{
    struct commit_request **requests = commits.requests[stage];
    size_t count = pipeline_batch_count(batch);
    CHECK(count <= commits.config.ring_buffer_size);
    for (size_t i = 0; i < count; i++) {
        struct passage *passage = pipeline_batch_at(batch, i)->state;
        requests[i] = &passage->request;
    }
    return requests;
}

static void stage_sequence(void *context, unsigned worker, struct pipeline_batch *batch)
{
    (void)context;
    (void)worker;
    commit_sequence(commits.config.service, requests_of(0, batch), pipeline_batch_count(batch));
}

static void stage_resolve(void *context, unsigned worker, struct pipeline_batch *batch)
{
    (void)context;
    (void)worker;
    commit_resolve(commits.config.service, requests_of(1, batch), pipeline_batch_count(batch));
}

static void stage_persist(void *context, unsigned worker, struct pipeline_batch *batch)
{
    (void)context;
    (void)worker;
    uint64_t start_ns = clock_monotonic_ns();
    enum err err =
        commit_persist(commits.config.service, requests_of(2, batch), pipeline_batch_count(batch));
    commit_metrics_persisted(clock_monotonic_ns() - start_ns);
    if (err != OK && !commits.failure_told) {
        commits.failure_told = true;
        commits.config.log_failed();
    }
}

/* An answer that is not a result: the reason why there is none. That a question was refused says
 * nothing of the commit that it asks for. */
static void answer_refused(struct exchange *exchange, const struct txn_result *result,
                           bool is_question)
{
    const char *type = result->http_status == 400   ? "future-version"
                       : result->http_status == 422 ? "request-id-reused"
                       : result->http_status == 503 ? "not-writable"
                                                    : "log-failed";
    exchange_answer_problem(exchange,
                            &(struct http_problem){.status = result->http_status,
                                                   .type = type,
                                                   .detail = result->detail,
                                                   .outcome = is_question ? NULL : result->status});
}

/* It is decided, and there is no memory left to say how. Not 503, which means that nothing
 * happened. */
static void answer_untold(struct exchange *exchange)
{
    exchange_answer_problem(
        exchange, &(struct http_problem){.status = 500,
                                         .type = "memory",
                                         .detail = "The server had no memory left to tell the "
                                                   "outcome; ask /v1/status.",
                                         .outcome = "unknown"});
}

static void answer_one(struct exchange *exchange, const struct passage *passage)
{
    struct txn_result result =
        commit_entry_result(commits.config.service, &passage->request.entries[0]);
    struct bytes body;
    if (result.http_status != 200 && result.http_status != 409) {
        answer_refused(exchange, &result, passage->request.entries[0].is_question);
        return;
    }
    if (passage->codec->encode_result(&result, exchange->arena, &body) != OK) {
        answer_untold(exchange);
        return;
    }
    exchange_answer(exchange, result.http_status, media_type(passage->codec), body);
}

static void answer_batch(struct exchange *exchange, const struct passage *passage)
{
    uint32_t count = passage->request.entry_count;
    struct bytes body;
    struct txn_result *results = arena_try_alloc(exchange->arena, count * sizeof *results);
    if (results != NULL) {
        for (uint32_t i = 0; i < count; i++) {
            results[i] = commit_entry_result(commits.config.service, &passage->request.entries[i]);
        }
    }
    if (results == NULL ||
        passage->codec->encode_results(results, count, exchange->arena, &body) != OK) {
        answer_untold(exchange);
        return;
    }
    exchange_answer(exchange, 200, media_type(passage->codec), body);
}

static void stage_release(void *context, unsigned worker, struct pipeline_batch *batch)
{
    (void)context;
    (void)worker;
    uint64_t before = commit_version_info(commits.config.service).version;
    commit_release(commits.config.service, requests_of(3, batch), pipeline_batch_count(batch));
    for (size_t i = 0; i < pipeline_batch_count(batch); i++) {
        struct exchange *exchange = pipeline_batch_at(batch, i);
        const struct passage *passage = exchange->state;
        if (passage->is_batch) {
            answer_batch(exchange, passage);
        } else {
            answer_one(exchange, passage);
        }
        say_durability(exchange);
    }
    if (commit_version_info(commits.config.service).version > before) {
        feed_durable_moved(commits.config.feed);
    }
}

/* ---- start ---- */

static const struct pipeline_stage_config STAGE_CONFIGS[STAGES] = {
    {.name = "sequence", .run = stage_sequence, .workers = 1},
    {.name = "resolve", .run = stage_resolve, .workers = 1},
    {.name = "persist", .run = stage_persist, .workers = 1},
    {.name = "release", .run = stage_release, .workers = 1},
};

static struct engine_route routes[] = {
    {.match = {.pattern = "/v1/commit",
               .method = HTTP_POST,
               .media_types = txn_codec_media_types,
               .body_limit_key = "http.max_body_bytes"},
     .handle = commit_one,
     .pipeline = "commit_status",
     .refusal_outcome = NOT_COMMITTED},
    {.match = {.pattern = "/v1/commits",
               .method = HTTP_POST,
               .media_types = txn_codec_media_types,
               .body_limit_key = "http.max_body_bytes"},
     .handle = commit_batch,
     .pipeline = "commit_status",
     .refusal_outcome = NOT_COMMITTED},
    {.match = {.pattern = "/v1/status", .method = HTTP_GET},
     .handle = status,
     .pipeline = "commit_status"},
    {.match = {.pattern = "/v1/version", .method = HTTP_GET}, .handle = version},
};

enum err commit_routes_add(struct server *server, const struct commit_routes_config *config)
{
    commits.config = *config;
    for (unsigned i = 0; i < STAGES; i++) {
        commits.requests[i] = calloc(config->ring_buffer_size, sizeof *commits.requests[i]);
        if (commits.requests[i] == NULL) {
            return ERR_MEMORY;
        }
    }
    commit_metrics_add(server_metrics(server), &config->metrics);
    enum err err = server_add_pipeline(
        server, &(struct pipeline_config){.name = "commit_status",
                                          .stages = STAGE_CONFIGS,
                                          .stage_count = STAGES,
                                          .ring_buffer_size = config->ring_buffer_size,
                                          .threads = config->threads});
    for (size_t i = 0; err == OK && i < sizeof routes / sizeof routes[0]; i++) {
        if (routes[i].match.method == HTTP_POST) {
            routes[i].match.body_bytes_max = config->body_bytes_max;
        }
        err = server_add_route(server, &routes[i]);
    }
    return err;
}
