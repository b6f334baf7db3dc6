/* SPDX-License-Identifier: Apache-2.0 */
/* weasel bench: what a server can do, and how long it takes. */
#include "base/clock.h"
#include "cli/answer.h"
#include "cli/bench_report.h"
#include "cli/bench_run.h"
#include "cli/commands.h"
#include "cli/options.h"
#include "cli/report.h"
#include "cli/stop.h"
#include "cli/transaction.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static const char HELP[] =
    "usage: weasel bench [OPTION...]\n"
    "\n"
    "Puts load on a server and measures: transactions a second, and percentiles of the time from\n"
    "when a request was meant to be sent until its answer. It writes keys that begin with bench-.\n"
    "\n"
    "Load:\n"
    "  --clients N         connections (64)\n"
    "  --duration SEC      how long (10); Ctrl-C ends it earlier, with a result\n"
    "  --rate N            open loop: so many transactions a second, evenly, whatever the server\n"
    "                      does; without: closed loop, each connection as fast as it is answered\n"
    "\n"
    "Transactions:\n"
    "  --batch N           transactions in a request (1)\n"
    "  --operations N      writes in a transaction (1)\n"
    "  --reads N           point reads in a transaction, of the keys that it writes (1)\n"
    "  --check-share P     percent of the transactions that only read (0)\n"
    "  --conflict-share P  percent that are made to be in conflict (0)\n"
    "  --keys N            different keys (1000000)\n"
    "  --distribution D    uniform, sequential, or zipf: some keys are wanted much more (uniform)\n"
    "  --zipf-exponent S   how much more (0.99)\n"
    "  --value-bytes N     of each value (100)\n"
    "  --format F          protobuf or json (protobuf)\n"
    "  --seed N            the same keys in each run (random)\n"
    "\n"
    "  --json              write the result as JSON\n"
    "  --server URL        http://HOST:PORT or unix:PATH; default: WEASEL_SERVER of the\n"
    "                      environment, or else " ENDPOINT_DEFAULT "\n"
    "  --help              write this, and end\n"
    "\n"
    "Exit status: 0, 1 when a request was not answered or answered with an error, 2 for a mistake\n"
    "on the command line.\n";

enum {
    OPTION_CLIENTS = OPTIONS_OWN,
    OPTION_DURATION,
    OPTION_RATE,
    OPTION_BATCH,
    OPTION_OPERATIONS,
    OPTION_READS,
    OPTION_CHECK_SHARE,
    OPTION_CONFLICT_SHARE,
    OPTION_KEYS,
    OPTION_DISTRIBUTION,
    OPTION_ZIPF_EXPONENT,
    OPTION_VALUE_BYTES,
    OPTION_FORMAT,
    OPTION_SEED,
    OPTION_JSON,
    OPTION_SERVER,
};

static const struct option KNOWN[] = {
    {"help", no_argument, NULL, OPTIONS_HELP},
    {"clients", required_argument, NULL, OPTION_CLIENTS},
    {"duration", required_argument, NULL, OPTION_DURATION},
    {"rate", required_argument, NULL, OPTION_RATE},
    {"batch", required_argument, NULL, OPTION_BATCH},
    {"operations", required_argument, NULL, OPTION_OPERATIONS},
    {"reads", required_argument, NULL, OPTION_READS},
    {"check-share", required_argument, NULL, OPTION_CHECK_SHARE},
    {"conflict-share", required_argument, NULL, OPTION_CONFLICT_SHARE},
    {"keys", required_argument, NULL, OPTION_KEYS},
    {"distribution", required_argument, NULL, OPTION_DISTRIBUTION},
    {"zipf-exponent", required_argument, NULL, OPTION_ZIPF_EXPONENT},
    {"value-bytes", required_argument, NULL, OPTION_VALUE_BYTES},
    {"format", required_argument, NULL, OPTION_FORMAT},
    {"seed", required_argument, NULL, OPTION_SEED},
    {"json", no_argument, NULL, OPTION_JSON},
    {"server", required_argument, NULL, OPTION_SERVER},
    {NULL, 0, NULL, 0},
};

struct bench_options {
    struct options words;
    struct bench_shape shape;
    struct bench_plan plan;
    struct endpoint endpoint;
    struct bench_keys keys;
    const char *server;
    enum bench_distribution distribution;
    uint64_t key_count;
    double exponent;
    uint64_t seed;
    bool as_json;
};

static bool take_count(struct bench_options *options, const char *option, uint64_t min,
                       uint64_t max, uint32_t *out)
{
    uint64_t number;
    if (!options_number(&options->words, option, optarg, min, max, &number)) {
        return false;
    }
    *out = (uint32_t)number;
    return true;
}

/* A decimal number, in units of a thousandth. */
static bool take_decimal(struct bench_options *options, const char *option, uint64_t min_thousandth,
                         uint64_t max_thousandth, double *out)
{
    uint64_t thousandths;
    if (!options_decimal(&options->words, option, optarg, min_thousandth, max_thousandth,
                         &thousandths)) {
        return false;
    }
    *out = (double)thousandths / 1000;
    return true;
}

static bool take_share(struct bench_options *options, const char *option, double *out)
{
    if (!take_decimal(options, option, 0, 100000, out)) {
        return false;
    }
    *out /= 100;
    return true;
}

/* One of `names`, which end with NULL. */
static bool take_name(struct bench_options *options, const char *option, const char *const *names,
                      unsigned *out)
{
    struct buffer all = {0};
    for (unsigned i = 0; names[i] != NULL; i++) {
        if (strcmp(optarg, names[i]) == 0) {
            buffer_deinit(&all);
            *out = i;
            return true;
        }
        buffer_add_format(&all, "%s%s", i == 0 ? "" : ", ", names[i]);
    }
    (void)command_misused(options->words.name, "%s %s: must be one of %s", option, optarg,
                          buffer_string(&all));
    buffer_deinit(&all);
    return false;
}

static bool take_shape(struct bench_options *options, int option)
{
    static const char *const formats[] = {"protobuf", "json", NULL};
    struct bench_shape *shape = &options->shape;
    unsigned chosen = 0;
    switch (option) {
    case OPTION_BATCH:
        return take_count(options, "--batch", 1, BENCH_BATCH_MAX, &shape->batch);
    case OPTION_OPERATIONS:
        return take_count(options, "--operations", 0, BENCH_ENTRIES_MAX, &shape->operations);
    case OPTION_READS:
        return take_count(options, "--reads", 0, BENCH_ENTRIES_MAX, &shape->reads);
    case OPTION_VALUE_BYTES:
        return take_count(options, "--value-bytes", 0, BENCH_VALUE_BYTES_MAX, &shape->value_bytes);
    case OPTION_CHECK_SHARE:
        return take_share(options, "--check-share", &shape->check_share);
    case OPTION_CONFLICT_SHARE:
        return take_share(options, "--conflict-share", &shape->conflict_share);
    case OPTION_FORMAT:
        if (!take_name(options, "--format", formats, &chosen)) {
            return false;
        }
        shape->format = (enum bench_format)chosen;
        return true;
    default:
        return false;
    }
}

static bool take_option(void *context, int option)
{
    struct bench_options *options = context;
    static const char *const distributions[] = {"uniform", "zipf", "sequential", NULL};
    const struct options *words = &options->words;
    unsigned chosen = 0;
    switch (option) {
    case OPTION_CLIENTS:
        return take_count(options, "--clients", 1, BENCH_CLIENTS_MAX, &options->plan.clients);
    case OPTION_DURATION:
        return options_seconds(words, "--duration", optarg, 1, 86400000,
                               &options->plan.duration_ms);
    case OPTION_RATE:
        return take_decimal(options, "--rate", 1, UINT64_C(100000000000), &options->plan.rate);
    case OPTION_KEYS:
        return options_number(words, "--keys", optarg, 1, BENCH_KEYS_MAX, &options->key_count);
    case OPTION_DISTRIBUTION:
        if (!take_name(options, "--distribution", distributions, &chosen)) {
            return false;
        }
        options->distribution = (enum bench_distribution)chosen;
        return true;
    case OPTION_ZIPF_EXPONENT:
        return take_decimal(options, "--zipf-exponent", 1, 10000, &options->exponent);
    case OPTION_SEED:
        return options_number(words, "--seed", optarg, 0, UINT64_MAX, &options->seed);
    case OPTION_JSON:
        options->as_json = true;
        return true;
    case OPTION_SERVER:
        options->server = optarg;
        return true;
    default:
        return take_shape(options, option);
    }
}

/* false: *out_status is what to end with. */
static bool read_options(struct bench_options *options, int argc, char **argv,
                         enum command_status *out_status)
{
    options_init(&options->words, argc, argv, KNOWN);
    if (!options_read(&options->words, HELP, take_option, options, out_status)) {
        return false;
    }
    if (!options_finished(&options->words) ||
        !options_server(&options->words, options->server, &options->endpoint)) {
        return false;
    }
    if (bench_requests_bytes_max(&options->shape) > BENCH_REQUEST_BYTES_MAX) {
        (void)command_misused(argv[0],
                              "one request would have more than %d bytes: less of "
                              "--batch, --operations, --reads or --value-bytes",
                              BENCH_REQUEST_BYTES_MAX);
        return false;
    }
    if (options->shape.operations == 0 && options->shape.reads == 0) {
        (void)command_misused(argv[0], "--operations 0 and --reads 0: nothing is left to do");
        return false;
    }
    bench_keys_init(&options->keys, options->distribution, options->key_count, options->exponent,
                    options->seed);
    return true;
}

/* Learns the version to read at by a commit, of the key that transactions with a conflict read. */
static enum command_status prepare(const char *name, struct bench_options *options)
{
    struct buffer body = {0};
    struct http_reply reply;
    struct answer answer;
    enum command_status status = COMMAND_OK;
    struct transaction *transaction = transaction_open();
    struct http_client *client = http_client_open(&options->endpoint);
    transaction_add_write(transaction, bytes_from_string(bench_conflict_key), BYTES("1"));
    transaction_write(transaction, &body);
    http_client_call(client,
                     &(struct http_call){.target = "/v1/commit",
                                         .is_post = true,
                                         .body = buffer_bytes(&body),
                                         .timeout_ms = 10000},
                     &reply);
    if (reply.reach != HTTP_ANSWERED) {
        status = report_unreached(name, &options->endpoint, &reply);
    } else if (reply.status != 200) {
        status = report_refusal(name, &reply);
    } else if (answer_read(buffer_bytes(&reply.body), &answer) != OK) {
        status = command_failed(name, "the answer is not a WeaselDB's");
    } else {
        options->plan.version = answer.version;
        options->shape.stale_version = answer.version > 0 ? answer.version - 1 : 0;
        answer_deinit(&answer);
    }
    http_reply_deinit(&reply);
    http_client_close(client);
    transaction_close(transaction);
    buffer_deinit(&body);
    return status;
}

static enum command_status measure(const char *name, struct bench_options *options)
{
    struct bench_outcome *outcome = calloc(1, sizeof *outcome);
    enum command_status status = COMMAND_OK;
    if (outcome == NULL) {
        return command_failed(name, "out of memory");
    }
    options->plan.shape = &options->shape;
    options->plan.endpoint = &options->endpoint;
    options->plan.keys = &options->keys;
    options->plan.progress = isatty(STDERR_FILENO) != 0 ? bench_report_second : NULL;
    enum err err = bench_run(&options->plan, outcome);
    if (options->plan.progress != NULL) {
        bench_report_clear();
    }
    if (outcome->counts.requests > 0) {
        (options->as_json ? bench_report_json : bench_report_text)(&options->plan, outcome);
    }
    if (err != OK) {
        status = command_failed(name, "%s: a connection cannot be made: %s", options->endpoint.name,
                                buffer_string(&outcome->failure));
    } else if (outcome->counts.errors > 0) {
        status = command_failed(name, "there were errors; the first: %s",
                                buffer_string(&outcome->failure));
    }
    buffer_deinit(&outcome->failure);
    free(outcome);
    return status;
}

static enum command_status run(int argc, char **argv)
{
    enum command_status status;
    struct bench_options options = {
        .shape = {.batch = 1, .operations = 1, .reads = 1, .value_bytes = 100},
        .plan = {.clients = 64, .duration_ms = 10000},
        .key_count = 1000000,
        .exponent = 0.99,
        .seed = http_client_random(),
    };
    if (!read_options(&options, argc, argv, &status)) {
        return status;
    }
    status = prepare(argv[0], &options);
    if (status != COMMAND_OK) {
        return status;
    }
    stop_init();
    return measure(argv[0], &options);
}

const struct command bench_command = {"bench", "put load on a server and measure", run};
