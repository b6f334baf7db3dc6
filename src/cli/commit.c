/* SPDX-License-Identifier: Apache-2.0 */
/* weasel commit: one transaction, to its end. */
#include "base/clock.h"
#include "cli/answer.h"
#include "cli/attempts.h"
#include "cli/commands.h"
#include "cli/commit_options.h"
#include "cli/report.h"
#include "cli/request_id.h"

#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

/* The id of try `number`: a refused one is spent. */
static void name_try(const struct commit_options *options, uint64_t number, struct buffer *out)
{
    buffer_clear(out);
    buffer_add(out, options->request_id);
    if (number > 0) {
        buffer_add_format(out, ".%" PRIu64, number);
    }
}

/* Whether the answer is a conflict that another try may get around, and then at which version. */
static bool may_try_again(const struct commit_options *options, const struct http_reply *reply,
                          uint64_t *out_version)
{
    struct answer answer;
    if (reply->status != 409 || answer_read(buffer_bytes(&reply->body), &answer) != OK) {
        return false;
    }
    bool is_stale = answer_is(answer.reason, "conflict") || answer_is(answer.reason, "too_old");
    bool may = is_stale && answer.has_version && clock_monotonic_ns() < options->deadline_ns;
    *out_version = answer.version;
    answer_deinit(&answer);
    return may;
}

static enum command_status say_unknown(const char *name, bool as_json, struct bytes request_id,
                                       struct http_reply *reply)
{
    if (as_json) {
        (void)printf("{\"request_id\":\"%.*s\",\"status\":\"unknown\"}\n", (int)request_id.size,
                     request_id.data);
    }
    (void)command_failed(name,
                         "it is not known whether the transaction was committed: %s\n"
                         "When the server is back, ask: weasel status %.*s",
                         attempts_why(reply), (int)request_id.size, request_id.data);
    return COMMAND_UNKNOWN;
}

static enum command_status say_not_committed(const char *name, bool as_json,
                                             struct bytes request_id, struct http_reply *reply)
{
    if (as_json) {
        (void)printf("{\"request_id\":\"%.*s\",\"status\":\"not_committed\"}\n",
                     (int)request_id.size, request_id.data);
    }
    (void)command_failed(name, "not committed: %s", attempts_why(reply));
    return COMMAND_REFUSED;
}

static enum command_status tell(const char *name, const struct commit_options *options,
                                enum attempts_end end, struct bytes request_id,
                                struct http_reply *reply)
{
    switch (end) {
    case ATTEMPTS_ANSWERED:
        /* A known id with another payload is a 422; "not committed" would be wrong for it. */
        return reply->status == 200 || reply->status == 409
                   ? report_result(name, buffer_bytes(&reply->body), options->as_json)
                   : report_refusal(name, reply);
    case ATTEMPTS_ASKED:
        return reply->status == 200
                   ? report_result(name, buffer_bytes(&reply->body), options->as_json)
                   : say_unknown(name, options->as_json, request_id, reply);
    case ATTEMPTS_NOT_COMMITTED:
        return say_not_committed(name, options->as_json, request_id, reply);
    case ATTEMPTS_UNREACHED:
        return report_unreached(name, &options->endpoint, reply);
    case ATTEMPTS_UNKNOWN:
        break;
    }
    return say_unknown(name, options->as_json, request_id, reply);
}

static enum command_status send(const char *name, struct commit_options *options)
{
    struct buffer request_id = {0};
    struct buffer body = {0};
    struct http_reply reply;
    struct http_client *client = http_client_open(&options->endpoint);
    enum attempts_end end;
    uint64_t version;
    for (uint64_t number = 0;; number++) {
        name_try(options, number, &request_id);
        transaction_set_request_id(options->transaction, buffer_bytes(&request_id));
        buffer_clear(&body);
        transaction_write(options->transaction, &body);
        const struct attempts attempts = {
            .client = client,
            .name = name,
            .request_id = buffer_bytes(&request_id),
            .deadline_ns = options->deadline_ns,
            .tells = isatty(STDERR_FILENO) != 0,
        };
        end = attempts_commit(&attempts, buffer_bytes(&body), &reply);
        if (end != ATTEMPTS_ANSWERED || number == options->conflict_retries ||
            !may_try_again(options, &reply, &version)) {
            break;
        }
        http_reply_deinit(&reply);
        transaction_set_read_version(options->transaction, version);
    }
    enum command_status status = tell(name, options, end, buffer_bytes(&request_id), &reply);
    http_reply_deinit(&reply);
    buffer_deinit(&body);
    buffer_deinit(&request_id);
    http_client_close(client);
    return status;
}

static enum command_status run(int argc, char **argv)
{
    struct commit_options options;
    enum command_status status;
    if (commit_options_init(&options, argc, argv, &status)) {
        status = send(argv[0], &options);
    }
    commit_options_deinit(&options);
    return status;
}

const struct command commit_command = {"commit", "make a transaction of writes and checks", run};
