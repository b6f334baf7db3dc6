/* SPDX-License-Identifier: Apache-2.0 */
/* weasel version: where the server's log is. */
#include "cli/answer.h"
#include "cli/commands.h"
#include "cli/options.h"
#include "cli/report.h"

#include <inttypes.h>
#include <stdio.h>

static const char HELP[] =
    "usage: weasel version [OPTION...]\n"
    "\n"
    "Asks the server for its latest durable version. A transaction that reads at it and was not\n"
    "overtaken is committed.\n"
    "\n"
    "  --json          write the server's answer\n"
    "  --server URL    http://HOST:PORT or unix:PATH; default: WEASEL_SERVER of the environment,\n"
    "                  or else " ENDPOINT_DEFAULT "\n"
    "  --timeout SEC   give up after so long (10)\n"
    "  --help          write this, and end\n"
    "\n"
    "Exit status: 0, 1 when there is no answer, 2 for a mistake on the command line.\n"
    "The version of this program: weasel --version\n";

enum { OPTION_JSON = OPTIONS_OWN, OPTION_SERVER, OPTION_TIMEOUT };

static const struct option KNOWN[] = {
    {"help", no_argument, NULL, OPTIONS_HELP},
    {"json", no_argument, NULL, OPTION_JSON},
    {"server", required_argument, NULL, OPTION_SERVER},
    {"timeout", required_argument, NULL, OPTION_TIMEOUT},
    {NULL, 0, NULL, 0},
};

struct question {
    struct options words;
    const char *server;
    uint64_t timeout_ms;
    bool as_json;
};

static enum command_status tell(const char *name, struct bytes body)
{
    static const char *const fields[] = {"version", "oldest_read_version", "log_start_version"};
    struct answer answer;
    if (answer_read(body, &answer) != OK || !answer.has_version) {
        answer_deinit(&answer);
        return command_failed(name, "the answer is not a WeaselDB's");
    }
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
        uint64_t number;
        if (answer_number(&answer, fields[i], &number)) {
            (void)printf("%-20s %" PRIu64 "\n", fields[i], number);
        }
    }
    (void)printf("%-20s %.*s\n", "leader", (int)answer.leader.size, answer.leader.data);
    answer_deinit(&answer);
    return COMMAND_OK;
}

static enum command_status ask(const char *name, const struct endpoint *endpoint,
                               const struct question *question)
{
    struct http_reply reply;
    enum command_status status = COMMAND_OK;
    struct http_client *client = http_client_open(endpoint);
    http_client_call(
        client, &(struct http_call){.target = "/v1/version", .timeout_ms = question->timeout_ms},
        &reply);
    if (reply.reach != HTTP_ANSWERED) {
        status = report_unreached(name, endpoint, &reply);
    } else if (reply.status != 200) {
        status = report_refusal(name, &reply);
    } else if (question->as_json) {
        report_json(buffer_bytes(&reply.body));
    } else {
        status = tell(name, buffer_bytes(&reply.body));
    }
    http_reply_deinit(&reply);
    http_client_close(client);
    return status;
}

static bool take_option(void *context, int option)
{
    struct question *question = context;
    switch (option) {
    case OPTION_JSON:
        question->as_json = true;
        return true;
    case OPTION_SERVER:
        question->server = optarg;
        return true;
    case OPTION_TIMEOUT:
        return options_seconds(&question->words, "--timeout", optarg, 1, 86400000,
                               &question->timeout_ms);
    default:
        return false;
    }
}

static enum command_status run(int argc, char **argv)
{
    struct question question = {.timeout_ms = 10000};
    struct endpoint endpoint;
    enum command_status status;
    options_init(&question.words, argc, argv, KNOWN);
    if (!options_read(&question.words, HELP, take_option, &question, &status) ||
        !options_finished(&question.words) ||
        !options_server(&question.words, question.server, &endpoint)) {
        return status;
    }
    return ask(argv[0], &endpoint, &question);
}

const struct command version_command = {"version", "the server's latest durable version", run};
