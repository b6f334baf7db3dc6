/* SPDX-License-Identifier: Apache-2.0 */
/* What the server says of itself. Every endpoint refuses query parameters that it does not know. */
#include "weaseldb/endpoints.h"

#include "base/clock.h"
#include "weaseldb/api_files.h"
#include "weaseldb/page.h"
#include "weaseldb/query.h"

#include <dirent.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define JSON BYTES("application/json")

enum { READYZ_BYTES = 384 };

static struct server *the_server;
static const struct commit_service *the_commits;

static enum handler_verdict root(struct exchange *exchange, void *context)
{
    (void)context;
    static const char body[] =
        "{\n"
        "  \"name\": \"weaseldb\",\n"
        "  \"version\": \"" WEASELDB_VERSION "\",\n"
        "  \"endpoints\": [\n"
        "    {\"method\": \"GET\", \"path\": \"/\", \"answers\": \"what this server is; to "
        "a browser, a page\"},\n"
        "    {\"method\": \"POST\", \"path\": \"/v1/commit\", \"answers\": \"one transaction: "
        "committed at a version, or why not\"},\n"
        "    {\"method\": \"POST\", \"path\": \"/v1/commits\", \"answers\": \"several "
        "transactions, "
        "in order\"},\n"
        "    {\"method\": \"GET\", \"path\": \"/v1/status\", \"answers\": \"?request_id=ID: what "
        "became "
        "of a commit\"},\n"
        "    {\"method\": \"GET\", \"path\": \"/v1/version\", \"answers\": \"the latest durable "
        "version\"},\n"
        "    {\"method\": \"PUT\", \"path\": \"/v1/retention/{id}\", \"answers\": \"a policy that "
        "keeps everything after its version; GET and DELETE too\"},\n"
        "    {\"method\": \"GET\", \"path\": \"/v1/retention\", \"answers\": \"all policies and "
        "their lag\"},\n"
        "    {\"method\": \"GET\", \"path\": \"/v1/subscribe\", \"answers\": \"the feed: every "
        "transaction after ?after=VERSION, live\"},\n"
        "    {\"method\": \"GET\", \"path\": \"/livez\", \"answers\": \"200 while every pipeline "
        "stage "
        "makes progress\"},\n"
        "    {\"method\": \"GET\", \"path\": \"/readyz\", \"answers\": \"200 when ready for "
        "requests; "
        "?verbose lists the checks\"},\n"
        "    {\"method\": \"GET\", \"path\": \"/metrics\", \"answers\": \"metrics in Prometheus' "
        "text "
        "format\"},\n"
        "    {\"method\": \"GET\", \"path\": \"/openapi.yaml\", \"answers\": \"all of this in "
        "full, as OpenAPI 3.1\"},\n"
        "    {\"method\": \"GET\", \"path\": \"/weaseldb.proto\", \"answers\": \"the messages of "
        "Protobuf bodies\"}\n"
        "  ]\n"
        "}\n";
    if (!query_read(exchange, NULL, 0)) {
        return HANDLER_ANSWERED;
    }
    if (page_is_wanted(exchange)) {
        page_answer(exchange);
    } else {
        exchange_answer(exchange, 200, JSON, BYTES(body));
    }
    (void)exchange_add_header(exchange, BYTES("Vary"), BYTES("Accept"));
    return HANDLER_ANSWERED;
}

static enum handler_verdict livez(struct exchange *exchange, void *context)
{
    (void)context;
    if (!query_read(exchange, NULL, 0)) {
        return HANDLER_ANSWERED;
    }
    const char *stuck = server_stuck_stage(the_server, ENDPOINTS_STUCK_MS);
    if (stuck == NULL) {
        exchange_answer(exchange, 200, JSON, BYTES("{\"status\":\"ok\"}\n"));
        return HANDLER_ANSWERED;
    }
    char *detail = arena_try_alloc(exchange->arena, 160);
    if (detail != NULL) {
        (void)snprintf(detail, 160, "The pipeline stage %.60s has work and makes no progress.",
                       stuck);
    }
    exchange_answer_problem(
        exchange, &(struct http_problem){.status = 503, .type = "not-alive", .detail = detail});
    return HANDLER_ANSWERED;
}

static enum handler_verdict readyz(struct exchange *exchange, void *context)
{
    (void)context;
    struct query_parameter verbose_parameter = {.name = "verbose"};
    if (!query_read(exchange, &verbose_parameter, 1)) {
        return HANDLER_ANSWERED;
    }
    bool verbose = verbose_parameter.given;
    bool draining = server_is_draining(the_server);
    /* Plain words, which need no escapes in JSON. */
    const char *error = commit_why_not_writable(the_commits);
    bool ready = error == NULL && !draining;
    char *body = arena_try_alloc(exchange->arena, READYZ_BYTES);
    if (verbose) {
        if (body != NULL) {
            int size = snprintf(
                body, READYZ_BYTES,
                "{\"status\":\"%s\",\"checks\":["
                "{\"name\":\"recovered\",\"ok\":true},"
                "{\"name\":\"writable\",\"ok\":%s%.100s%s},"
                "{\"name\":\"draining\",\"ok\":%s}]}\n",
                ready ? "ready" : "not ready", error == NULL ? "true" : "false,\"error\":\"",
                error == NULL ? "" : error, error == NULL ? "" : "\"", draining ? "false" : "true");
            exchange_answer(exchange, ready ? 200 : 503, JSON, bytes_of(body, (size_t)size));
            if (!ready) {
                (void)exchange_add_header(exchange, BYTES("Retry-After"), BYTES("1"));
            }
            return HANDLER_ANSWERED;
        }
    }
    if (ready) {
        exchange_answer(exchange, 200, JSON, BYTES("{\"status\":\"ready\"}\n"));
        return HANDLER_ANSWERED;
    }
    const char *detail = "The server is shutting down.";
    if (!draining) {
        if (body != NULL) {
            (void)snprintf(body, READYZ_BYTES, "The commit log cannot be written: %.100s.", error);
        }
        detail = body;
    }
    exchange_answer_problem(
        exchange, &(struct http_problem){.status = 503, .type = "not-ready", .detail = detail});
    return HANDLER_ANSWERED;
}

static enum handler_verdict metrics(struct exchange *exchange, void *context)
{
    return query_read(exchange, NULL, 0) ? server_metrics_handler(exchange, context)
                                         : HANDLER_ANSWERED;
}

/* ---- the process's own metrics, by the names that Prometheus' clients use ---- */

static int64_t started_ns;

static int64_t read_one(void *context)
{
    (void)context;
    return 1;
}

static int64_t read_started(void *context)
{
    (void)context;
    return started_ns;
}

static int64_t read_cpu_ns(void *context)
{
    (void)context;
    struct rusage usage;
    if (getrusage(RUSAGE_SELF, &usage) != 0) {
        return 0;
    }
    return (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * INT64_C(1000000000) +
           (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * INT64_C(1000);
}

static int64_t read_resident_bytes(void *context)
{
    (void)context;
    long pages = 0;
    long resident = 0;
    FILE *file = fopen("/proc/self/statm", "re");
    if (file != NULL) {
        char line[128] = "";
        char *end = line;
        if (fgets(line, sizeof line, file) != NULL) {
            pages = strtol(line, &end, 10);
            resident = strtol(end, &end, 10);
        }
        (void)fclose(file);
    }
    return pages == 0 ? 0 : (int64_t)resident * sysconf(_SC_PAGESIZE);
}

static int64_t list_descriptors(void)
{
    int64_t count = 0;
    DIR *directory = opendir("/proc/self/fd");
    if (directory == NULL) {
        return 0;
    }
    while (readdir(directory) != NULL) {
        count++;
    }
    (void)closedir(directory);
    return count - 3; /* ".", ".." and the listing's own */
}

/* Linux tells since 6.2 by the size of the directory. Before, a listing takes some milliseconds for
 * thousands of connections, so there is one a second at most: clients must not be able to hold a
 * network thread up by asking for metrics. */
static int64_t read_open_descriptors(void *context)
{
    static _Atomic int64_t listed;
    static _Atomic uint64_t listed_ms;
    (void)context;
    struct stat status;
    if (stat("/proc/self/fd", &status) == 0 && status.st_size > 0) {
        return (int64_t)status.st_size;
    }
    uint64_t now_ms = clock_monotonic_coarse_ms();
    /* relaxed, all: two numbers of about now; pairs with nothing */
    if (now_ms >= atomic_load_explicit(&listed_ms, memory_order_relaxed) + 1000) {
        atomic_store_explicit(&listed_ms, now_ms, memory_order_relaxed);
        atomic_store_explicit(&listed, list_descriptors(), memory_order_relaxed);
    }
    return atomic_load_explicit(&listed, memory_order_relaxed);
}

static int64_t read_descriptor_limit(void *context)
{
    (void)context;
    struct rlimit limit;
    return getrlimit(RLIMIT_NOFILE, &limit) == 0 ? (int64_t)limit.rlim_cur : 0;
}

static void add_metrics(struct metrics *all)
{
    static const struct metrics_callback families[] = {
        {METRICS_COUNTER, METRICS_NANOSECONDS, "process_cpu_seconds_total",
         "CPU time used, user and system.", read_cpu_ns},
        {METRICS_GAUGE, METRICS_BYTES, "process_resident_memory_bytes", "Resident memory.",
         read_resident_bytes},
        {METRICS_GAUGE, METRICS_PLAIN, "process_open_fds", "Open descriptors.",
         read_open_descriptors},
        {METRICS_GAUGE, METRICS_PLAIN, "process_max_fds", "Descriptors that may be open.",
         read_descriptor_limit},
        {METRICS_GAUGE, METRICS_NANOSECONDS, "process_start_time_seconds",
         "When the process started, since 1970.", read_started},
    };
    started_ns = (int64_t)clock_realtime_ns();
    metrics_callbacks_register(all, families, sizeof families / sizeof families[0], NULL);
    metrics_callback_register(
        metrics_family_register(all, METRICS_GAUGE, METRICS_PLAIN, "weaseldb_build_info",
                                "1; the labels say what runs."),
        (const struct metrics_label[]){{"version", WEASELDB_VERSION}}, 1, read_one, NULL);
}

static struct engine_route routes[] = {
    {.match = {.pattern = "/", .method = HTTP_GET}, .handle = root},
    {.match = {.pattern = "/livez", .method = HTTP_GET}, .handle = livez},
    {.match = {.pattern = "/readyz", .method = HTTP_GET}, .handle = readyz},
    {.match = {.pattern = "/metrics", .method = HTTP_GET}, .handle = metrics},
};

enum err endpoints_add(struct server *server, const struct commit_service *commits)
{
    the_server = server;
    the_commits = commits;
    add_metrics(server_metrics(server));
    for (size_t i = 0; i < sizeof routes / sizeof routes[0]; i++) {
        routes[i].context = server;
        enum err err = server_add_route(server, &routes[i]);
        if (err != OK) {
            return err;
        }
    }
    return api_files_add(server);
}
