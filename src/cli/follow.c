/* SPDX-License-Identifier: Apache-2.0 */
/*
 * weasel follow: keeps a table of an SQLite database at what the log says. A read side to use and
 * to learn from.
 *
 * Transactions of the log are gathered into one of SQLite's until the feed has nothing more at
 * hand, or enough are there, or time is up.
 */
#include "base/clock.h"
#include "cli/commands.h"
#include "cli/feed_event.h"
#include "cli/follow_store.h"
#include "cli/options.h"
#include "cli/stop.h"

#include <inttypes.h>
#include <stdio.h>

static const char HELP[] =
    "usage: weasel follow --sqlite FILE [OPTION...]\n"
    "\n"
    "Applies the feed to a table of an SQLite database: key BLOB PRIMARY KEY, value BLOB. The\n"
    "version that the table is at is in the same database and moves in the same transactions, so\n"
    "however this program ends, it goes on exactly there. It refuses the feed of another log.\n"
    "\n"
    "  --sqlite FILE      the database; made when there is none\n"
    "  --table NAME       the table (kv)\n"
    "  --batch-ms MS      the longest that a change waits for others to be written with (100)\n"
    "  --until-end        end at the version that the server had at the start\n"
    "  --silence SEC      connect again when nothing came for so long (60)\n"
    "  --server URL       http://HOST:PORT or unix:PATH; default: WEASEL_SERVER of the\n"
    "                     environment, or else " ENDPOINT_DEFAULT "\n"
    "  --help             write this, and end\n"
    "\n"
    "Ends with SIGTERM or SIGINT, after what it has received is written.\n"
    "Exit status: 0, 1 when there is no server or something is wrong with the feed or the\n"
    "database, 2 for a mistake on the command line.\n";

enum {
    OPTION_SQLITE = OPTIONS_OWN,
    OPTION_TABLE,
    OPTION_BATCH_MS,
    OPTION_UNTIL_END,
    OPTION_SILENCE,
    OPTION_SERVER,
};

enum { BATCH_OPERATIONS_MAX = 50000 };

static const struct option KNOWN[] = {
    {"help", no_argument, NULL, OPTIONS_HELP},
    {"sqlite", required_argument, NULL, OPTION_SQLITE},
    {"table", required_argument, NULL, OPTION_TABLE},
    {"batch-ms", required_argument, NULL, OPTION_BATCH_MS},
    {"until-end", no_argument, NULL, OPTION_UNTIL_END},
    {"silence", required_argument, NULL, OPTION_SILENCE},
    {"server", required_argument, NULL, OPTION_SERVER},
    {NULL, 0, NULL, 0},
};

struct follower {
    struct options words;
    struct feed feed;
    struct endpoint endpoint;
    const char *path;
    const char *table;
    const char *server;
    uint64_t batch_ms;
    struct follow_store *store;
    struct follow_place place;   /* that the next commit leads to */
    struct follow_place written; /* in the database */
    uint64_t operations;         /* not written yet */
    uint64_t begun_ns;           /* when the first of them came */
    bool has_failed;             /* and has told it */
};

/* ---- applying ---- */

static bool fail(struct follower *follower, const char *what)
{
    (void)command_failed(follower->words.name, "%s: %s", follower->path, what);
    follower->has_failed = true;
    return false;
}

/* Writes what there is, with its place. */
static bool commit(struct follower *follower)
{
    if (follower->place.version == follower->written.version) {
        return true;
    }
    switch (follow_store_commit(follower->store, &follower->place)) {
    case OK:
        follower->written = follower->place;
        follower->operations = 0;
        return true;
    case ERR_INVALID:
        return fail(follower, "another process follows into the same table");
    case ERR_MEMORY:
    case ERR_FULL:
    case ERR_LIMIT:
    case ERR_SYSTEM:
    case ERR_CLOSED:
        break;
    }
    return fail(follower, follow_store_mistake(follower->store));
}

static bool is_due(const struct follower *follower)
{
    return follower->operations >= BATCH_OPERATIONS_MAX ||
           (follower->place.version != follower->written.version &&
            clock_monotonic_ns() - follower->begun_ns >= follower->batch_ms * 1000000);
}

static bool apply(void *context, const struct feed_operation *operation)
{
    struct follower *follower = context;
    follower->operations++;
    if (follow_store_apply(follower->store, operation) != OK) {
        return fail(follower, follow_store_mistake(follower->store));
    }
    return true;
}

static bool take_transaction(void *context, const struct feed_transaction *transaction)
{
    struct follower *follower = context;
    if (follower->place.version == follower->written.version) {
        follower->begun_ns = clock_monotonic_ns();
    }
    if (feed_operations(transaction, apply, follower) != OK) {
        return follower->has_failed ? false
                                    : fail(follower, "a transaction's operations cannot be read");
    }
    follower->place.version = transaction->version;
    follower->place.last = feed_event_mark(transaction);
    return !is_due(follower) || commit(follower);
}

static bool take_progress(void *context, uint64_t version)
{
    struct follower *follower = context;
    follower->place.version = version;
    return commit(follower);
}

static bool take_idle(void *context)
{
    struct follower *follower = context;
    return !is_due(follower) || commit(follower);
}

/* ---- options ---- */

static bool take_option(void *context, int option)
{
    struct follower *follower = context;
    const struct options *words = &follower->words;
    switch (option) {
    case OPTION_SQLITE:
        follower->path = optarg;
        return true;
    case OPTION_TABLE:
        follower->table = optarg;
        return true;
    case OPTION_BATCH_MS:
        return options_number(words, "--batch-ms", optarg, 0, 60000, &follower->batch_ms);
    case OPTION_UNTIL_END:
        follower->feed.until_end = true;
        return true;
    case OPTION_SILENCE:
        return options_seconds(words, "--silence", optarg, 100, 86400000,
                               &follower->feed.silence_ms);
    case OPTION_SERVER:
        follower->server = optarg;
        return true;
    default:
        return false;
    }
}

/* false: *out_status is what to end with. */
static bool read_options(struct follower *follower, int argc, char **argv,
                         enum command_status *out_status)
{
    options_init(&follower->words, argc, argv, KNOWN);
    if (!options_read(&follower->words, HELP, take_option, follower, out_status)) {
        return false;
    }
    if (!options_finished(&follower->words) ||
        !options_server(&follower->words, follower->server, &follower->endpoint)) {
        return false;
    }
    if (follower->path == NULL || follower->table[0] == '\0') {
        (void)command_misused(argv[0], follower->path == NULL ? "--sqlite FILE is missing"
                                                              : "--table: the name is empty");
        return false;
    }
    return true;
}

static enum command_status follow(struct follower *follower)
{
    struct buffer mistake = {0};
    const char *name = follower->words.name;
    enum err err = follow_store_open(follower->path, follower->table, &follower->store,
                                     &follower->place, &mistake);
    if (err != OK) {
        (void)command_failed(name, "%s: %s", follower->path, buffer_string(&mistake));
        buffer_deinit(&mistake);
        return COMMAND_FAILED;
    }
    struct feed *feed = &follower->feed;
    follower->written = follower->place;
    feed->has_position = true;
    feed->position = follower->place.version;
    feed->last = follower->place.last;
    stop_init();
    enum command_status status = feed_run(feed);
    /* What is whole is kept, also when the feed has ended badly. */
    if (follower->has_failed || !commit(follower)) {
        status = COMMAND_FAILED;
    } else {
        (void)printf("%s: \"%s\" is at version %" PRIu64 "\n", follower->path, follower->table,
                     follower->written.version);
    }
    follow_store_close(follower->store);
    return status;
}

static enum command_status run(int argc, char **argv)
{
    enum command_status status;
    struct follower follower = {
        .feed = {.name = argv[0],
                 .endpoint = &follower.endpoint,
                 .handler = {.context = &follower,
                             .take_transaction = take_transaction,
                             .take_progress = take_progress,
                             .take_idle = take_idle},
                 .filters = "",
                 .silence_ms = 60000},
        .table = "kv",
        .batch_ms = 100,
    };
    return read_options(&follower, argc, argv, &status) ? follow(&follower) : status;
}

const struct command follow_command = {"follow", "keep an SQLite table at what the log says", run};
