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

enum { OPTION_HELP = OPTIONS_OWN, OPTION_JSON, OPTION_SERVER, OPTION_TIMEOUT };

static const struct option KNOWN[] = {
    {"help", no_argument, NULL, OPTION_HELP},
    {"json", no_argument, NULL, OPTION_JSON},
    {"server", required_argument, NULL, OPTION_SERVER},
    {"timeout", required_argument, NULL, OPTION_TIMEOUT},
    {NULL, 0, NULL, 0},
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
                               uint64_t timeout_ms, bool as_json)
{
    struct http_reply reply;
    enum command_status status = COMMAND_OK;
    struct http_client *client = http_client_open(endpoint);
    http_client_call(client, &(struct http_call){.target = "/v1/version", .timeout_ms = timeout_ms},
                     &reply);
    if (reply.reach != HTTP_ANSWERED) {
        status = report_unreached(name, endpoint, &reply);
    } else if (reply.status != 200) {
        status = report_refusal(name, &reply);
    } else if (as_json) {
        report_json(buffer_bytes(&reply.body));
    } else {
        status = tell(name, buffer_bytes(&reply.body));
    }
    http_reply_deinit(&reply);
    http_client_close(client);
    return status;
}

static enum command_status run(int argc, char **argv)
{
    struct options options;
    struct endpoint endpoint;
    const char *server = NULL;
    uint64_t timeout_ms = 10000;
    bool as_json = false;
    int option;
    options_init(&options, argc, argv, KNOWN);
    while ((option = options_next(&options)) != OPTIONS_END) {
        switch (option) {
        case OPTION_HELP:
            (void)fputs(HELP, stdout);
            return COMMAND_OK;
        case OPTION_JSON:
            as_json = true;
            break;
        case OPTION_SERVER:
            server = optarg;
            break;
        case OPTION_TIMEOUT:
            if (!options_seconds(&options, "--timeout", optarg, 1, 86400000, &timeout_ms)) {
                return COMMAND_USAGE;
            }
            break;
        default:
            return COMMAND_USAGE;
        }
    }
    if (!options_finished(&options) || !options_server(&options, server, &endpoint)) {
        return COMMAND_USAGE;
    }
    return ask(argv[0], &endpoint, timeout_ms, as_json);
}

const struct command version_command = {"version", "the server's latest durable version", run};
