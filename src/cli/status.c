/* SPDX-License-Identifier: Apache-2.0 */
/* weasel status: what became of a transaction, for good. */
#include "base/clock.h"
#include "cli/attempts.h"
#include "cli/commands.h"
#include "cli/options.h"
#include "cli/report.h"
#include "cli/request_id.h"

#include <stdio.h>

static const char HELP[] =
    "usage: weasel status [OPTION...] REQUEST-ID\n"
    "\n"
    "Asks what became of the transaction with this request id. The answer is final: an id that "
    "the\n"
    "server does not know is not committed, and from then on never will be.\n"
    "\n"
    "  --json             write the server's answer\n"
    "  --min-version V    the transaction was sent when the server was at V or later: an answer "
    "of\n"
    "                     'expired' then only when ids of that time are forgotten\n"
    "  --server URL       http://HOST:PORT or unix:PATH; default: WEASEL_SERVER of the\n"
    "                     environment, or else " ENDPOINT_DEFAULT "\n"
    "  --timeout SEC      give up after so long (10)\n"
    "  --help             write this, and end\n"
    "\n"
    "Exit status: 0 when it was committed, 3 when it was not, 4 when the server no longer knows,\n"
    "1 when there is no answer, 2 for a mistake on the command line.\n";

enum { OPTION_JSON = OPTIONS_OWN, OPTION_MIN_VERSION, OPTION_SERVER, OPTION_TIMEOUT };

static const struct option KNOWN[] = {
    {"help", no_argument, NULL, OPTIONS_HELP},
    {"json", no_argument, NULL, OPTION_JSON},
    {"min-version", required_argument, NULL, OPTION_MIN_VERSION},
    {"server", required_argument, NULL, OPTION_SERVER},
    {"timeout", required_argument, NULL, OPTION_TIMEOUT},
    {NULL, 0, NULL, 0},
};

struct question {
    struct options words;
    const char *server;
    const char *request_id;
    struct endpoint endpoint;
    uint64_t min_version;
    uint64_t timeout_ms;
    bool as_json;
};

static enum command_status ask(const char *name, const struct question *question)
{
    struct http_reply reply;
    enum command_status status;
    struct attempts attempts = {
        .client = http_client_open(&question->endpoint),
        .name = name,
        .request_id = bytes_from_string(question->request_id),
        .deadline_ns = clock_monotonic_ns() + question->timeout_ms * 1000000,
    };
    enum attempts_end end = attempts_ask(&attempts, question->min_version, &reply);
    if (end == ATTEMPTS_UNREACHED) {
        status = report_unreached(name, &question->endpoint, &reply);
    } else if (end != ATTEMPTS_ASKED) {
        status = command_failed(name, "no answer: %s", attempts_why(&reply));
    } else if (reply.status != 200) {
        status = report_refusal(name, &reply);
    } else {
        status = report_result(name, buffer_bytes(&reply.body), question->as_json);
    }
    http_reply_deinit(&reply);
    http_client_close(attempts.client);
    return status;
}

/* Reads one option; false: it was wrong. */
static bool take_option(void *context, int option)
{
    struct question *question = context;
    const struct options *options = &question->words;
    switch (option) {
    case OPTION_JSON:
        question->as_json = true;
        return true;
    case OPTION_MIN_VERSION:
        return options_number(options, "--min-version", optarg, 0, OPTIONS_VERSION_MAX,
                              &question->min_version);
    case OPTION_SERVER:
        question->server = optarg;
        return true;
    case OPTION_TIMEOUT:
        return options_seconds(options, "--timeout", optarg, 1, 86400000, &question->timeout_ms);
    default:
        return false;
    }
}

static enum command_status run(int argc, char **argv)
{
    struct question question = {.timeout_ms = 10000};
    enum command_status status;
    options_init(&question.words, argc, argv, KNOWN);
    do {
        if (!options_read(&question.words, HELP, take_option, &question, &status)) {
            return status;
        }
        /* Options may also stand behind the id. */
    } while (question.request_id == NULL &&
             (question.request_id = options_word(&question.words)) != NULL);
    if (question.request_id == NULL) {
        return command_misused(argv[0], "a request id is missing");
    }
    if (!options_finished(&question.words) ||
        !options_server(&question.words, question.server, &question.endpoint)) {
        return COMMAND_USAGE;
    }
    if (!request_id_is_valid(bytes_from_string(question.request_id))) {
        return command_misused(argv[0],
                               "a request id is 1 to 128 printable ASCII characters, no blanks");
    }
    return ask(argv[0], &question);
}

const struct command status_command = {"status", "what became of a transaction", run};
