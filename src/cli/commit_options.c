/* SPDX-License-Identifier: Apache-2.0 */
/* Operations and preconditions keep the order in which they are given. How keys and values are
 * written (--hex, --base64) holds for all of them, so the words are read twice. */
#include "cli/commit_options.h"

#include "cli/options.h"
#include "cli/request_id.h"
#include "cli/text.h"
#include "txn/txn.h"

#include <stdio.h>

static const char HELP[] =
    "usage: weasel commit [OPTION...] OPERATION... [PRECONDITION...]\n"
    "       weasel commit [OPTION...] --file FILE\n"
    "\n"
    "Sends a transaction, and stays until it is known what became of it: what the server did not\n"
    "answer, or refused for lack of room, is sent again under the same request id, so that it is\n"
    "committed at most once. A file may have many: they are sent one after the other, each when\n"
    "the one before it is committed, and the first that is not is the last that was sent.\n"
    "\n"
    "Operations, applied in this order:\n"
    "  --write KEY=VALUE           write a key; '=' in a key is \\x3d\n"
    "  --delete KEY                delete a key\n"
    "  --delete-range BEGIN END    delete all keys from BEGIN to before END\n"
    "\n"
    "Preconditions: commit only if nothing was written to these since they were read\n"
    "  --read KEY[@VERSION]        a key; without VERSION, read at --read-version\n"
    "  --read-range BEGIN END [@VERSION]\n"
    "                              all keys from BEGIN to before END\n"
    "  --read-version VERSION      at which was read what has no version of its own\n"
    "\n"
    "Keys and values are text with the escapes \\\\ \\n \\r \\t \\xNN.\n"
    "  --hex, --base64             they are all written so instead\n"
    "\n"
    "  --file FILE           transactions as JSON objects of the API, one behind the other; - is\n"
    "                        standard input; each may have 1 GiB\n"
    "  --request-id ID       default: a random one; it is written with the outcome. Of a file, it\n"
    "                        is that of the first transaction, and the N-th has ID-N: the same "
    "file\n"
    "                        sent again commits nothing twice\n"
    "  --leader LEADER       commit only by this leader (see weasel version)\n"
    "  --retry-conflicts N   when reads were stale, try again up to N times at the version of the\n"
    "                        conflict, with the same operations: right only for operations that "
    "do\n"
    "                        not depend on what was read (0)\n"
    "  --timeout SEC         how long each transaction may take (30)\n"
    "  --json                write each outcome as JSON, one a line\n"
    "  --server URL          http://HOST:PORT or unix:PATH; default: WEASEL_SERVER of the\n"
    "                        environment, or else " ENDPOINT_DEFAULT "\n"
    "  --help                write this, and end\n"
    "\n"
    "Exit status: 0 when all are committed; else that of the first that is not: 3 when it never\n"
    "will be, 4 when nobody could say (weasel status will), 1 when the server cannot be reached, "
    "2\n"
    "for a mistake in what was given.\n";

enum {
    OPTION_WRITE = OPTIONS_OWN,
    OPTION_DELETE,
    OPTION_DELETE_RANGE,
    OPTION_READ,
    OPTION_READ_RANGE,
    OPTION_READ_VERSION,
    OPTION_HEX,
    OPTION_BASE64,
    OPTION_FILE,
    OPTION_REQUEST_ID,
    OPTION_LEADER,
    OPTION_RETRY_CONFLICTS,
    OPTION_TIMEOUT,
    OPTION_JSON,
    OPTION_SERVER,
};

enum { CONFLICT_RETRIES_MAX = 1000000 };

static const struct option KNOWN[] = {
    {"help", no_argument, NULL, OPTIONS_HELP},
    {"write", required_argument, NULL, OPTION_WRITE},
    {"delete", required_argument, NULL, OPTION_DELETE},
    {"delete-range", required_argument, NULL, OPTION_DELETE_RANGE},
    {"read", required_argument, NULL, OPTION_READ},
    {"read-range", required_argument, NULL, OPTION_READ_RANGE},
    {"read-version", required_argument, NULL, OPTION_READ_VERSION},
    {"hex", no_argument, NULL, OPTION_HEX},
    {"base64", no_argument, NULL, OPTION_BASE64},
    {"file", required_argument, NULL, OPTION_FILE},
    {"request-id", required_argument, NULL, OPTION_REQUEST_ID},
    {"leader", required_argument, NULL, OPTION_LEADER},
    {"retry-conflicts", required_argument, NULL, OPTION_RETRY_CONFLICTS},
    {"timeout", required_argument, NULL, OPTION_TIMEOUT},
    {"json", no_argument, NULL, OPTION_JSON},
    {"server", required_argument, NULL, OPTION_SERVER},
    {NULL, 0, NULL, 0},
};

/* What is read while the words are, besides what is asked for. */
struct reading {
    struct options words;
    struct commit_options *options;
    enum text_form form;
    const char *server;
};

static bool take_bytes(const struct reading *reading, const char *option, struct bytes text,
                       struct buffer *out)
{
    const char *mistake;
    if (text_read(text, reading->form, out, &mistake) == OK) {
        return true;
    }
    (void)command_misused(reading->words.name, "%s %.*s: %s", option, (int)text.size, text.data,
                          mistake);
    return false;
}

static bool take_write(struct reading *reading)
{
    struct bytes key;
    struct bytes value;
    struct buffer key_bytes = {0};
    struct buffer value_bytes = {0};
    if (!text_split_pair(bytes_from_string(optarg), reading->form, &key, &value)) {
        (void)command_misused(reading->words.name, "--write %s: must be KEY=VALUE", optarg);
        return false;
    }
    bool good = take_bytes(reading, "--write", key, &key_bytes) &&
                take_bytes(reading, "--write", value, &value_bytes);
    if (good) {
        transaction_add_write(reading->options->transaction, buffer_bytes(&key_bytes),
                              buffer_bytes(&value_bytes));
    }
    buffer_deinit(&key_bytes);
    buffer_deinit(&value_bytes);
    return good;
}

static bool take_key(struct reading *reading, bool is_read)
{
    struct bytes key = bytes_from_string(optarg);
    struct buffer bytes = {0};
    uint64_t version;
    bool has_version = false;
    if (is_read) {
        text_split_version(key, &key, &has_version, &version);
    }
    bool good = take_bytes(reading, is_read ? "--read" : "--delete", key, &bytes);
    if (good && is_read) {
        transaction_add_point_read(reading->options->transaction, buffer_bytes(&bytes),
                                   has_version ? &version : NULL);
    } else if (good) {
        transaction_add_delete(reading->options->transaction, buffer_bytes(&bytes));
    }
    buffer_deinit(&bytes);
    return good;
}

/* The version behind a range, "@41", if there is one. */
static bool take_range_version(struct reading *reading, bool *out_has_version,
                               uint64_t *out_version)
{
    const char *next = options_peek(&reading->words);
    *out_has_version = next != NULL && next[0] == '@';
    if (!*out_has_version) {
        return true;
    }
    (void)options_word(&reading->words);
    return options_number(&reading->words, "--read-range BEGIN END @", next + 1, 0,
                          OPTIONS_VERSION_MAX, out_version);
}

static bool take_range(struct reading *reading, bool is_read)
{
    const char *option = is_read ? "--read-range" : "--delete-range";
    struct bytes begin_text = bytes_from_string(optarg);
    const char *end_text = options_word(&reading->words);
    struct buffer begin = {0};
    struct buffer end = {0};
    uint64_t version;
    bool has_version = false;
    if (end_text == NULL) {
        (void)command_misused(reading->words.name, "%s needs two values, BEGIN and END", option);
        return false;
    }
    bool good = (!is_read || take_range_version(reading, &has_version, &version)) &&
                take_bytes(reading, option, begin_text, &begin) &&
                take_bytes(reading, option, bytes_from_string(end_text), &end);
    if (good && is_read) {
        transaction_add_range_read(reading->options->transaction, buffer_bytes(&begin),
                                   buffer_bytes(&end), has_version ? &version : NULL);
    } else if (good) {
        transaction_add_range_delete(reading->options->transaction, buffer_bytes(&begin),
                                     buffer_bytes(&end));
    }
    buffer_deinit(&begin);
    buffer_deinit(&end);
    return good;
}

/* What is not of the transaction's lists. */
static bool take_setting(struct reading *reading, int option)
{
    struct commit_options *options = reading->options;
    switch (option) {
    case OPTION_FILE:
        options->file = optarg;
        return true;
    case OPTION_SERVER:
        reading->server = optarg;
        return true;
    case OPTION_LEADER:
        options->leader = optarg;
        return true;
    case OPTION_REQUEST_ID:
        options->request_id = optarg;
        return true;
    case OPTION_JSON:
        options->as_json = true;
        return true;
    case OPTION_READ_VERSION:
        options->has_read_version = true;
        return options_number(&reading->words, "--read-version", optarg, 0, OPTIONS_VERSION_MAX,
                              &options->read_version);
    case OPTION_RETRY_CONFLICTS:
        return options_number(&reading->words, "--retry-conflicts", optarg, 0, CONFLICT_RETRIES_MAX,
                              &options->conflict_retries);
    case OPTION_TIMEOUT:
        return options_seconds(&reading->words, "--timeout", optarg, 1, 86400000,
                               &options->timeout_ms);
    default:
        return option == OPTION_HEX || option == OPTION_BASE64;
    }
}

static bool take_option(void *context, int option)
{
    struct reading *reading = context;
    switch (option) {
    case OPTION_WRITE:
        return take_write(reading);
    case OPTION_DELETE:
    case OPTION_READ:
        return take_key(reading, option == OPTION_READ);
    case OPTION_DELETE_RANGE:
    case OPTION_READ_RANGE:
        return take_range(reading, option == OPTION_READ_RANGE);
    default:
        return take_setting(reading, option);
    }
}

/* The first time: how keys are written. What is wrong is told the second time. */
static void look_ahead(struct reading *reading, int argc, char **argv)
{
    static const struct option *const known = KNOWN;
    struct options words;
    int option;
    options_init(&words, argc, argv, known);
    while ((option = getopt_long(argc, argv, "+:", known, NULL)) != -1) {
        if (option == OPTION_HEX || option == OPTION_BASE64) {
            reading->form = option == OPTION_HEX ? TEXT_HEX : TEXT_BASE64;
        }
        if (option == OPTION_DELETE_RANGE || option == OPTION_READ_RANGE) {
            (void)options_word(&words);
            const char *next = options_peek(&words);
            if (option == OPTION_READ_RANGE && next != NULL && next[0] == '@') {
                (void)options_word(&words);
            }
        }
    }
}

size_t commit_options_id_bytes_max(const struct commit_options *options, size_t suffix_bytes)
{
    return TXN_REQUEST_ID_BYTES_MAX - suffix_bytes -
           (options->conflict_retries > 0 ? COMMIT_RETRY_SUFFIX_BYTES : 0);
}

/* What holds between options. */
static enum command_status finish(struct reading *reading)
{
    struct commit_options *options = reading->options;
    const char *name = reading->words.name;
    size_t suffix_bytes = options->file != NULL ? COMMIT_FILE_SUFFIX_BYTES : 0;
    if (!options_finished(&reading->words) ||
        !options_server(&reading->words, reading->server, &options->endpoint)) {
        return COMMAND_USAGE;
    }
    if (options->file != NULL && !transaction_is_empty(options->transaction)) {
        return command_misused(name, "--file goes without operations and preconditions");
    }
    if (options->file == NULL && transaction_is_empty(options->transaction)) {
        return command_misused(name, "there is nothing to commit: neither an operation nor a "
                                     "precondition is given");
    }
    if (options->request_id != NULL) {
        struct bytes id = bytes_from_string(options->request_id);
        size_t bytes_max = commit_options_id_bytes_max(options, suffix_bytes);
        if (!request_id_is_valid(id) || id.size > bytes_max) {
            return command_misused(
                name,
                "--request-id: a request id is 1 to %zu printable ASCII characters, no blanks%s",
                bytes_max,
                bytes_max < TXN_REQUEST_ID_BYTES_MAX ? ", when a number goes behind it" : "");
        }
    }
    return COMMAND_OK;
}

bool commit_options_init(struct commit_options *options, int argc, char **argv,
                         enum command_status *out_status)
{
    struct reading reading = {.options = options};
    *options = (struct commit_options){.transaction = transaction_open(), .timeout_ms = 30000};
    look_ahead(&reading, argc, argv);
    options_init(&reading.words, argc, argv, KNOWN);
    if (!options_read(&reading.words, HELP, take_option, &reading, out_status)) {
        return false;
    }
    *out_status = finish(&reading);
    return *out_status == COMMAND_OK;
}

void commit_options_deinit(struct commit_options *options)
{
    transaction_close(options->transaction);
    *options = (struct commit_options){0};
}
