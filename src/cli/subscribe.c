/* SPDX-License-Identifier: Apache-2.0 */
/* weasel subscribe: transactions as they are committed, for people or for programs. */
#include "cli/commands.h"
#include "cli/feed.h"
#include "cli/options.h"
#include "cli/text.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

static const char HELP[] =
    "usage: weasel subscribe [OPTION...]\n"
    "\n"
    "Writes each transaction to standard output once it is durable, in order, whole, and each one\n"
    "once: it connects again by itself and goes on where it was. A transaction that is missing "
    "ends\n"
    "it with an error.\n"
    "\n"
    "  --after VERSION     begin after this version; 0: with the first one (default: now)\n"
    "  --range BEGIN END   only keys from BEGIN to before END, repeatable; text with the escapes\n"
    "                      \\\\ \\n \\r \\t \\xNN\n"
    "  --hex, --base64     the ranges are written so instead\n"
    "  --json              a JSON object a line for each transaction, keys and values in base64\n"
    "  --raw               server-sent events, with progress\n"
    "  --limit N           end after N transactions\n"
    "  --until-end         end at the version that the server had at the start\n"
    "  --silence SEC       connect again when nothing came for so long (60)\n"
    "  --server URL        http://HOST:PORT or unix:PATH; default: WEASEL_SERVER of the\n"
    "                      environment, or else " ENDPOINT_DEFAULT "\n"
    "  --help              write this, and end\n"
    "\n"
    "Exit status: 0, 1 when there is no server or something is missing, 2 for a mistake on the\n"
    "command line.\n";

enum {
    OPTION_AFTER = OPTIONS_OWN,
    OPTION_RANGE,
    OPTION_HEX,
    OPTION_BASE64,
    OPTION_JSON,
    OPTION_RAW,
    OPTION_LIMIT,
    OPTION_UNTIL_END,
    OPTION_SILENCE,
    OPTION_SERVER,
};

static const struct option KNOWN[] = {
    {"help", no_argument, NULL, OPTIONS_HELP},
    {"after", required_argument, NULL, OPTION_AFTER},
    {"range", required_argument, NULL, OPTION_RANGE},
    {"hex", no_argument, NULL, OPTION_HEX},
    {"base64", no_argument, NULL, OPTION_BASE64},
    {"json", no_argument, NULL, OPTION_JSON},
    {"raw", no_argument, NULL, OPTION_RAW},
    {"limit", required_argument, NULL, OPTION_LIMIT},
    {"until-end", no_argument, NULL, OPTION_UNTIL_END},
    {"silence", required_argument, NULL, OPTION_SILENCE},
    {"server", required_argument, NULL, OPTION_SERVER},
    {NULL, 0, NULL, 0},
};

enum look { LOOK_HUMAN, LOOK_JSON, LOOK_RAW };

enum { RANGES_MAX = 64 };

struct subscription {
    struct options words;
    struct feed feed;
    struct endpoint endpoint;
    enum look look;
    enum text_form form;
    const char *ranges[RANGES_MAX][2];
    size_t range_count;
    struct buffer filters;
    const char *server;
    uint64_t limit; /* 0: none */
    uint64_t written;
    struct buffer line;  /* being written */
    const char *mistake; /* what cannot be written; NULL: nothing */
};

/* ---- events ---- */

static bool write_operation(void *context, const struct feed_operation *operation)
{
    static const char *const heads[] = {"  write ", "  delete ", "  delete-range "};
    static const char *const middles[] = {" = ", "", " to "};
    struct subscription *subscription = context;
    struct buffer *line = &subscription->line;
    buffer_add(line, bytes_from_string(heads[operation->type]));
    text_write_escaped(buffer_bytes(&operation->key), line);
    buffer_add(line, bytes_from_string(middles[operation->type]));
    text_write_escaped(buffer_bytes(&operation->value), line);
    buffer_add_byte(line, '\n');
    return true;
}

static bool write_human(struct subscription *subscription,
                        const struct feed_transaction *transaction)
{
    struct buffer *line = &subscription->line;
    buffer_add_format(line, "version %" PRIu64 "  %.*s  request id ", transaction->version,
                      (int)transaction->timestamp.size, transaction->timestamp.data);
    text_write_escaped(transaction->request_id, line);
    buffer_add_byte(line, '\n');
    return feed_operations(transaction, write_operation, subscription) == OK;
}

static void write_raw(struct buffer *line, const char *event, uint64_t id, struct bytes data)
{
    buffer_add_format(line, "event: %s\nid: %" PRIu64 "\ndata: ", event, id);
    buffer_add(line, data);
    buffer_add(line, BYTES("\n\n"));
}

static bool put_line(struct subscription *subscription)
{
    bool good = fwrite(subscription->line.data, 1, subscription->line.size, stdout) ==
                subscription->line.size;
    subscription->mistake = good ? NULL : strerror(errno);
    return good;
}

static bool take_transaction(void *context, const struct feed_transaction *transaction)
{
    struct subscription *subscription = context;
    struct buffer *line = &subscription->line;
    buffer_clear(line);
    switch (subscription->look) {
    case LOOK_HUMAN:
        if (!write_human(subscription, transaction)) {
            subscription->mistake = "a transaction's operations cannot be read";
            return false;
        }
        break;
    case LOOK_JSON:
        buffer_add(line, transaction->json);
        buffer_add_byte(line, '\n');
        break;
    case LOOK_RAW:
        write_raw(line, "transaction", transaction->version, transaction->json);
        break;
    }
    subscription->written++;
    return put_line(subscription) &&
           (subscription->limit == 0 || subscription->written < subscription->limit);
}

static bool take_progress(void *context, uint64_t version)
{
    struct subscription *subscription = context;
    if (subscription->look == LOOK_RAW) {
        struct buffer data = {0};
        buffer_add_format(&data, "{\"version\":%" PRIu64 "}", version);
        buffer_clear(&subscription->line);
        write_raw(&subscription->line, "progress", version, buffer_bytes(&data));
        buffer_deinit(&data);
        if (!put_line(subscription)) {
            return false;
        }
    }
    return true;
}

/* What has come is shown at once, but not each for itself. */
static bool take_idle(void *context)
{
    struct subscription *subscription = context;
    if (fflush(stdout) != 0) {
        subscription->mistake = strerror(errno);
    }
    return subscription->mistake == NULL;
}

/* ---- options ---- */

static bool take_range(struct subscription *subscription)
{
    const char *begin = optarg;
    const char *end = options_word(&subscription->words);
    if (end == NULL) {
        (void)command_misused(subscription->words.name, "--range needs two values, BEGIN and END");
        return false;
    }
    if (subscription->range_count == RANGES_MAX) {
        (void)command_misused(subscription->words.name, "--range: at most %d ranges", RANGES_MAX);
        return false;
    }
    subscription->ranges[subscription->range_count][0] = begin;
    subscription->ranges[subscription->range_count++][1] = end;
    return true;
}

static bool take_option(void *context, int option)
{
    struct subscription *subscription = context;
    const struct options *words = &subscription->words;
    switch (option) {
    case OPTION_AFTER:
        subscription->feed.has_position = true;
        return options_number(words, "--after", optarg, 0, OPTIONS_VERSION_MAX,
                              &subscription->feed.position);
    case OPTION_RANGE:
        return take_range(subscription);
    case OPTION_HEX:
    case OPTION_BASE64:
        subscription->form = option == OPTION_HEX ? TEXT_HEX : TEXT_BASE64;
        return true;
    case OPTION_JSON:
    case OPTION_RAW:
        subscription->look = option == OPTION_JSON ? LOOK_JSON : LOOK_RAW;
        return true;
    case OPTION_LIMIT:
        return options_number(words, "--limit", optarg, 1, UINT64_MAX, &subscription->limit);
    case OPTION_UNTIL_END:
        subscription->feed.until_end = true;
        return true;
    case OPTION_SILENCE:
        return options_seconds(words, "--silence", optarg, 100, 86400000,
                               &subscription->feed.silence_ms);
    case OPTION_SERVER:
        subscription->server = optarg;
        return true;
    default:
        return false;
    }
}

/* "&begin=" or "&end=" with the key in base64url, as a query takes it. */
static bool add_bound(struct subscription *subscription, const char *name, const char *text)
{
    const char *mistake;
    struct buffer key = {0};
    struct buffer base64 = {0};
    if (text_read(bytes_from_string(text), subscription->form, &key, &mistake) != OK) {
        (void)command_misused(subscription->words.name, "--range %s: %s", text, mistake);
        buffer_deinit(&key);
        return false;
    }
    text_write_base64(buffer_bytes(&key), &base64);
    buffer_add_format(&subscription->filters, "&%s=", name);
    for (size_t i = 0; i < base64.size && base64.data[i] != '='; i++) {
        char c = base64.data[i];
        buffer_add_byte(&subscription->filters, (char)(c == '+' ? '-' : c == '/' ? '_' : c));
    }
    buffer_deinit(&key);
    buffer_deinit(&base64);
    return true;
}

/* false: *out_status is what to end with. */
static bool read_options(struct subscription *subscription, int argc, char **argv,
                         enum command_status *out_status)
{
    options_init(&subscription->words, argc, argv, KNOWN);
    if (!options_read(&subscription->words, HELP, take_option, subscription, out_status)) {
        return false;
    }
    for (size_t i = 0; i < subscription->range_count; i++) {
        if (!add_bound(subscription, "begin", subscription->ranges[i][0]) ||
            !add_bound(subscription, "end", subscription->ranges[i][1])) {
            return false;
        }
    }
    subscription->feed.filters = buffer_string(&subscription->filters);
    return options_finished(&subscription->words) &&
           options_server(&subscription->words, subscription->server, &subscription->endpoint);
}

static enum command_status run(int argc, char **argv)
{
    enum command_status status;
    struct subscription subscription = {
        .feed = {.name = argv[0],
                 .endpoint = &subscription.endpoint,
                 .handler = {.context = &subscription,
                             .take_transaction = take_transaction,
                             .take_progress = take_progress,
                             .take_idle = take_idle},
                 .silence_ms = 60000},
    };
    if (read_options(&subscription, argc, argv, &status)) {
        status = feed_run(&subscription.feed);
        if (subscription.mistake != NULL) {
            status = command_failed(argv[0], "%s", subscription.mistake);
        }
    }
    buffer_deinit(&subscription.filters);
    buffer_deinit(&subscription.line);
    return status;
}

const struct command subscribe_command = {"subscribe", "write transactions as they are committed",
                                          run};
