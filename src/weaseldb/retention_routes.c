/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Policies over HTTP.
 *
 * A policy may name a version before the log's start, when a cap has removed what it keeps, or when
 * it is made too late: it is taken all the same, and `missing_versions` of every answer says how
 * many versions after it are gone.
 */
#include "weaseldb/retention_routes.h"

#include "base/check.h"
#include "weaseldb/query.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <yyjson.h>

#define JSON BYTES("application/json")

enum {
    BODY_BYTES_MAX = 4096,
    RING_SLOTS = 64,
    POLICY_JSON_BYTES = 224, /* with the comma between two */
    DETAIL_BYTES = 256,
    FIELD_BYTES_MAX = 40, /* of an unknown field's name, quoted in an error */
};

/* A change on its way; in the request's arena. */
struct change {
    struct bytes id;
    uint64_t version; /* of PUT */
    bool is_put;
};

/* One for a process. */
static struct {
    struct retention_routes_config config;
    bool failure_told; /* the stage's */
} retention;

/* ---- answers ---- */

static enum handler_verdict answer_no_memory(struct exchange *exchange)
{
    exchange_answer_no_memory(exchange);
    return HANDLER_ANSWERED;
}

static enum handler_verdict answer_problem(struct exchange *exchange, unsigned status,
                                           const char *type, const char *detail)
{
    exchange_answer_problem(
        exchange, &(struct http_problem){.status = status, .type = type, .detail = detail});
    return HANDLER_ANSWERED;
}

static uint64_t difference(uint64_t larger, uint64_t smaller)
{
    return larger > smaller ? larger - smaller : 0;
}

static uint64_t latest_version(void)
{
    return commit_version_info(retention.config.service).version;
}

/* `out` has POLICY_JSON_BYTES. */
static size_t write_policy(const struct log_policy *policy, char *out)
{
    uint64_t removed_version = log_first_version(retention.config.log) - 1;
    int size = snprintf(out, POLICY_JSON_BYTES,
                        "{\"id\":\"%s\",\"version\":%" PRIu64 ",\"lag_versions\":%" PRIu64
                        ",\"missing_versions\":%" PRIu64 "}",
                        policy->id, policy->version, difference(latest_version(), policy->version),
                        difference(removed_version, policy->version));
    CHECK(size > 0);
    CHECK(size < POLICY_JSON_BYTES);
    return (size_t)size;
}

static enum handler_verdict answer_policy(struct exchange *exchange,
                                          const struct log_policy *policy)
{
    char *body = arena_try_alloc(exchange->arena, POLICY_JSON_BYTES);
    if (body == NULL) {
        return answer_no_memory(exchange);
    }
    exchange_answer(exchange, 200, JSON, bytes_of(body, write_policy(policy, body)));
    return HANDLER_ANSWERED;
}

static enum handler_verdict answer_unknown(struct exchange *exchange)
{
    return answer_problem(exchange, 404, "unknown-policy",
                          "There is no retention policy with this id; GET /v1/retention lists "
                          "them.");
}

/* ---- on network threads ---- */

/* False: the answer (400) is set. */
static bool take_id(struct exchange *exchange, struct bytes *out)
{
    *out = exchange->request.params[0];
    if (log_policy_id_is_valid(*out)) {
        return true;
    }
    (void)answer_problem(exchange, 400, "policy-id",
                         "The id of a retention policy must be 1 to 64 letters, digits, '.', '_' "
                         "and '-' of ASCII, and begin with a letter or a digit.");
    return false;
}

static enum handler_verdict list_policies(struct exchange *exchange, void *context)
{
    (void)context;
    struct log_policy policies[LOG_POLICIES_MAX];
    if (!query_read(exchange, NULL, 0)) {
        return HANDLER_ANSWERED;
    }
    size_t count = log_policies(retention.config.log, policies);
    char *body = arena_try_alloc(exchange->arena, (count + 1) * POLICY_JSON_BYTES);
    if (body == NULL) {
        return answer_no_memory(exchange);
    }
    size_t size = (size_t)snprintf(body, POLICY_JSON_BYTES, "{\"policies\":[");
    for (size_t i = 0; i < count; i++) {
        if (i > 0) {
            body[size++] = ',';
        }
        size += write_policy(&policies[i], body + size);
    }
    body[size++] = ']';
    body[size++] = '}';
    exchange_answer(exchange, 200, JSON, bytes_of(body, size));
    return HANDLER_ANSWERED;
}

static enum handler_verdict get_policy(struct exchange *exchange, void *context)
{
    (void)context;
    struct bytes id;
    struct log_policy policy;
    if (!query_read(exchange, NULL, 0) || !take_id(exchange, &id)) {
        return HANDLER_ANSWERED;
    }
    if (!log_policy_find(retention.config.log, id, &policy)) {
        return answer_unknown(exchange);
    }
    return answer_policy(exchange, &policy);
}

static bool refuse_body(struct exchange *exchange, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static bool refuse_body(struct exchange *exchange, const char *format, ...)
{
    char *detail = arena_try_alloc(exchange->arena, DETAIL_BYTES);
    if (detail != NULL) {
        va_list arguments;
        va_start(arguments, format);
        (void)vsnprintf(detail, DETAIL_BYTES, format, arguments);
        va_end(arguments);
    }
    (void)answer_problem(exchange, 400, "malformed", detail);
    return false;
}

/* {"version": V} and nothing else. */
static bool read_version(struct exchange *exchange, yyjson_val *root, uint64_t *out)
{
    yyjson_val *version = NULL;
    yyjson_val *name;
    yyjson_obj_iter fields;
    if (!yyjson_is_obj(root) || !yyjson_obj_iter_init(root, &fields)) {
        return refuse_body(exchange, "The body must be a JSON object with the field version.");
    }
    while ((name = yyjson_obj_iter_next(&fields)) != NULL) {
        size_t size = yyjson_get_len(name);
        if (!bytes_equal(bytes_of(yyjson_get_str(name), size), BYTES("version"))) {
            return refuse_body(
                exchange, "The field %.*s is not known; a policy has the field version alone.",
                (int)(size < FIELD_BYTES_MAX ? size : FIELD_BYTES_MAX), yyjson_get_str(name));
        }
        if (version != NULL) {
            return refuse_body(exchange, "The field version stands more than once.");
        }
        version = yyjson_obj_iter_get_val(name);
    }
    if (version == NULL) {
        return refuse_body(exchange, "The field version is missing.");
    }
    if (!yyjson_is_uint(version) || yyjson_get_uint(version) > TXN_VERSION_MAX) {
        return refuse_body(exchange,
                           "The field version must be an integer from 0 to 9007199254740991.");
    }
    *out = yyjson_get_uint(version);
    return true;
}

/* False: the answer is set. */
static bool read_body(struct exchange *exchange, uint64_t *out)
{
    struct bytes body = exchange->request.body;
    yyjson_read_err error;
    yyjson_alc allocator;
    /* A body is small, so its tree is too. */
    size_t room = yyjson_read_max_memory_usage(body.size, YYJSON_READ_NOFLAG);
    void *memory = arena_try_alloc(exchange->arena, room);
    if (body.size == 0) {
        return refuse_body(exchange, "The body is empty; it must be JSON: {\"version\": V}.");
    }
    if (memory == NULL || !yyjson_alc_pool_init(&allocator, memory, room)) {
        (void)answer_no_memory(exchange);
        return false;
    }
    yyjson_doc *tree = yyjson_read_opts((char *)(uintptr_t)body.data, body.size, YYJSON_READ_NOFLAG,
                                        &allocator, &error);
    if (tree == NULL) {
        /* There is room for whatever is JSON. */
        const char *why = error.code == YYJSON_READ_ERROR_MEMORY_ALLOCATION
                              ? "brackets that are never closed"
                              : error.msg;
        return refuse_body(exchange, "The body is not JSON: %.120s, at byte %zu.", why, error.pos);
    }
    return read_version(exchange, yyjson_doc_get_root(tree), out);
}

static enum handler_verdict dispatch(struct exchange *exchange, const struct change *change)
{
    struct change *copy = arena_try_alloc(exchange->arena, sizeof *copy);
    if (copy == NULL) {
        return answer_no_memory(exchange);
    }
    *copy = *change;
    exchange->state = copy;
    return HANDLER_DISPATCH;
}

static enum handler_verdict put_policy(struct exchange *exchange, void *context)
{
    (void)context;
    struct change change = {.is_put = true};
    if (!query_read(exchange, NULL, 0) || !take_id(exchange, &change.id) ||
        !read_body(exchange, &change.version)) {
        return HANDLER_ANSWERED;
    }
    if (change.version > latest_version()) {
        return answer_problem(exchange, 400, "future-version",
                              "The policy names a version that this server has not reached; GET "
                              "/v1/version tells the latest.");
    }
    return dispatch(exchange, &change);
}

static enum handler_verdict delete_policy(struct exchange *exchange, void *context)
{
    (void)context;
    struct change change = {.is_put = false};
    if (!query_read(exchange, NULL, 0) || !take_id(exchange, &change.id)) {
        return HANDLER_ANSWERED;
    }
    return dispatch(exchange, &change);
}

/* ---- on the pipeline's thread ---- */

static void answer_unchanged(struct exchange *exchange, enum err err)
{
    if (err == ERR_FULL) {
        exchange_answer_problem(
            exchange, &(struct http_problem){.status = 409,
                                             .type = "too-many-policies",
                                             .detail = "There are as many retention policies as "
                                                       "may be; delete one first.",
                                             .limit_key = "retention.max_policies",
                                             .limit = retention.config.policies_max,
                                             .actual = retention.config.policies_max + 1});
    } else if (err == ERR_CLOSED) {
        exchange_answer_problem(
            exchange, &(struct http_problem){.status = 500,
                                             .type = "log-failed",
                                             .detail = "The disk failed with this change under "
                                                       "way; read the policy after the restart.",
                                             .outcome = "unknown"});
        if (!retention.failure_told) {
            retention.failure_told = true;
            retention.config.log_failed();
        }
    } else {
        (void)answer_problem(exchange, 503, "not-writable",
                             "The policy could not be written to the disk, and has not changed; "
                             "try again when there is space.");
    }
}

static void put_one(struct exchange *exchange, const struct change *change)
{
    struct log_policy policy = {.version = change->version};
    enum err err = log_policy_put(retention.config.log, change->id, change->version);
    if (err != OK) {
        answer_unchanged(exchange, err);
        return;
    }
    memcpy(policy.id, change->id.data, change->id.size);
    (void)answer_policy(exchange, &policy);
}

static void delete_one(struct exchange *exchange, const struct change *change)
{
    bool found;
    enum err err = log_policy_remove(retention.config.log, change->id, &found);
    if (err != OK) {
        answer_unchanged(exchange, err);
    } else if (!found) {
        (void)answer_unknown(exchange);
    } else {
        exchange_answer(exchange, 204, bytes_of(NULL, 0), bytes_of(NULL, 0));
    }
}

static void stage_retention(void *context, unsigned worker, struct pipeline_batch *batch)
{
    (void)context;
    (void)worker;
    for (size_t i = 0; i < pipeline_batch_count(batch); i++) {
        struct exchange *exchange = pipeline_batch_at(batch, i);
        const struct change *change = exchange->state;
        if (change->is_put) {
            put_one(exchange, change);
        } else {
            delete_one(exchange, change);
        }
    }
}

/* ---- metrics ---- */

static void list_lags(void *context, struct metrics_list *list)
{
    (void)context;
    struct log_policy policies[LOG_POLICIES_MAX];
    uint64_t latest = latest_version();
    size_t count = log_policies(retention.config.log, policies);
    for (size_t i = 0; i < count; i++) {
        metrics_list_add(list, policies[i].id, (int64_t)difference(latest, policies[i].version));
    }
}

static void list_missing(void *context, struct metrics_list *list)
{
    (void)context;
    struct log_policy policies[LOG_POLICIES_MAX];
    uint64_t removed_version = log_first_version(retention.config.log) - 1;
    size_t count = log_policies(retention.config.log, policies);
    for (size_t i = 0; i < count; i++) {
        metrics_list_add(list, policies[i].id,
                         (int64_t)difference(removed_version, policies[i].version));
    }
}

static int64_t read_removed_segments(void *context)
{
    (void)context;
    return (int64_t)log_retention_stats(retention.config.log).removed_segments;
}

static int64_t read_removed_bytes(void *context)
{
    (void)context;
    return (int64_t)log_retention_stats(retention.config.log).removed_bytes;
}

static int64_t read_overruled(void *context)
{
    (void)context;
    return (int64_t)log_retention_stats(retention.config.log).overruled_segments;
}

static int64_t read_start_version(void *context)
{
    (void)context;
    return (int64_t)log_first_version(retention.config.log);
}

static int64_t read_segments(void *context)
{
    (void)context;
    return (int64_t)log_stats(retention.config.log).segments;
}

static int64_t read_bytes(void *context)
{
    (void)context;
    return (int64_t)log_stats(retention.config.log).bytes;
}

static void add_metrics(struct metrics *metrics)
{
    static const struct metrics_callback families[] = {
        {METRICS_GAUGE, METRICS_PLAIN, "weaseldb_log_start_version",
         "The first version still in the log.", read_start_version},
        {METRICS_GAUGE, METRICS_PLAIN, "weaseldb_log_segments", "Segments of the log.",
         read_segments},
        {METRICS_GAUGE, METRICS_BYTES, "weaseldb_log_bytes",
         "Size of the log's segments; one more is prepared ahead.", read_bytes},
        {METRICS_COUNTER, METRICS_PLAIN, "weaseldb_retention_removed_segments_total",
         "Segments removed by retention.", read_removed_segments},
        {METRICS_COUNTER, METRICS_BYTES, "weaseldb_retention_removed_bytes_total",
         "Size of the segments removed by retention.", read_removed_bytes},
        {METRICS_COUNTER, METRICS_PLAIN, "weaseldb_retention_overruled_segments_total",
         "Segments removed by a cap although a policy wanted them.", read_overruled},
    };
    static const struct {
        const char *name;
        const char *help;
        void (*list)(void *context, struct metrics_list *list);
    } lists[] = {
        {"weaseldb_retention_policy_lag_versions",
         "How far each policy is behind the latest version.", list_lags},
        {"weaseldb_retention_policy_missing_versions",
         "Versions after each policy's that are no longer in the log.", list_missing},
    };
    metrics_callbacks_register(metrics, families, sizeof families / sizeof families[0], NULL);
    for (size_t i = 0; i < sizeof lists / sizeof lists[0]; i++) {
        metrics_list_register(metrics_family_register(metrics, METRICS_GAUGE, METRICS_PLAIN,
                                                      lists[i].name, lists[i].help),
                              "policy", lists[i].list, NULL);
    }
}

/* ---- start ---- */

static const struct pipeline_stage_config STAGE = {
    .name = "retention", .run = stage_retention, .workers = 1};

static const char *const MEDIA_TYPES[] = {"application/json", NULL};

static struct engine_route routes[] = {
    {.match = {.pattern = "/v1/retention", .method = HTTP_GET}, .handle = list_policies},
    {.match = {.pattern = "/v1/retention/{id}", .method = HTTP_GET}, .handle = get_policy},
    {.match = {.pattern = "/v1/retention/{id}",
               .method = HTTP_PUT,
               .body_bytes_max = BODY_BYTES_MAX,
               .media_types = MEDIA_TYPES},
     .handle = put_policy,
     .pipeline = "retention"},
    {.match = {.pattern = "/v1/retention/{id}", .method = HTTP_DELETE},
     .handle = delete_policy,
     .pipeline = "retention"},
};

enum err retention_routes_add(struct server *server, const struct retention_routes_config *config)
{
    retention.config = *config;
    add_metrics(server_metrics(server));
    enum err err =
        server_add_pipeline(server, &(struct pipeline_config){.name = "retention",
                                                              .stages = &STAGE,
                                                              .stage_count = 1,
                                                              .ring_buffer_size = RING_SLOTS,
                                                              .threads = 1});
    for (size_t i = 0; err == OK && i < sizeof routes / sizeof routes[0]; i++) {
        err = server_add_route(server, &routes[i]);
    }
    return err;
}
