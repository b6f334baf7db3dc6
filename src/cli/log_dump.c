/* SPDX-License-Identifier: Apache-2.0 */
/*
 * weasel log dump: writes the transactions of a log as text for people, or as JSON lines.
 *
 * Which records belong to [from, to]: a commit by its version; a fence by the version before it,
 * except that without --from all fences are there.
 */
#include "base/clock.h"
#include "cli/log_actions.h"
#include "cli/log_write.h"
#include "cli/progress.h"

#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char NAME[] = "log dump";

static const char HELP[] =
    "usage: weasel log dump [--from V] [--to V] [--format text|json] [--keys-only] DIRECTORY\n"
    "\n"
    "Writes the transactions of a commit log to standard output, in the order of their versions.\n"
    "It changes nothing, and a server may be running. DIRECTORY may be one segment (commit-*.log)\n"
    "too.\n"
    "\n"
    "  --from V           begin with version V\n"
    "  --to V             end with version V\n"
    "  --format text      for people: one line for each segment, batch, record and operation; "
    "bytes\n"
    "                     other than printable ASCII as \\xNN, long values cut (the default)\n"
    "  --format json      for programs: one object a line for each transaction, with keys and\n"
    "                     values in base64 and whole, and for each fence (a request id that will\n"
    "                     never commit)\n"
    "  --keys-only        only how long values are\n"
    "  --help             write this, and end\n"
    "\n"
    "Where the log ends is told on standard error. At damage it ends there and says so; what lies\n"
    "behind can be read with --from a later segment's first version (it is in the file's name).\n"
    "\n"
    "Exit status: 0 when all was written, 1 when the log is damaged or cannot be read, 2 for a\n"
    "mistake on the command line.\n";

struct dump {
    uint64_t from;
    uint64_t to;
    bool as_json;
    bool keys_only;
    uint64_t records;
};

static void print_segment(const struct log_reader *reader)
{
    (void)printf("segment %s: number %" PRIu64 " of log %016" PRIx64 ", from version %" PRIu64
                 " and batch %" PRIu64 " on\n",
                 reader->name, reader->header.number, reader->log_id, reader->header.first_version,
                 reader->header.first_batch);
}

static void print_batch(const struct log_reader *reader)
{
    const struct log_batch_header *batch = &reader->batch;
    char time[CLOCK_RFC3339_BYTES];
    clock_rfc3339(batch->timestamp_us * 1000, time);
    (void)printf(
        "batch %" PRIu64 ": %.*s, %" PRIu32 " record%s, %" PRIu64 " bytes at offset %" PRIu64 "\n",
        batch->number, CLOCK_RFC3339_BYTES, time, batch->count, batch->count == 1 ? "" : "s",
        reader->offset - reader->batch_offset, reader->batch_offset);
}

static bool is_wanted(const struct dump *dump, const struct log_record *record, uint64_t before)
{
    if (record->type == LOG_RECORD_COMMIT) {
        return record->version >= dump->from && record->version <= dump->to;
    }
    return (before >= dump->from || dump->from == 0) && before <= dump->to;
}

static void dump_batch(struct dump *dump, const struct log_reader *reader)
{
    const struct log_batch_header *batch = &reader->batch;
    if (batch->last_version < dump->from || batch->first_version - 1 > dump->to) {
        return;
    }
    bool is_batch_told = dump->as_json;
    uint64_t before = batch->first_version - 1;
    struct bytes rest = reader->payload;
    struct log_record record;
    struct bytes operations;
    while (rest.size > 0 && log_record_decode(&rest, &record, &operations)) {
        if (is_wanted(dump, &record, before)) {
            if (!is_batch_told) {
                print_batch(reader);
                is_batch_told = true;
            }
            const struct log_write what = {.record = &record,
                                           .operations = operations,
                                           .batch = batch,
                                           .before = before,
                                           .keys_only = dump->keys_only};
            if (dump->as_json) {
                log_write_json(&what);
            } else {
                log_write_text(&what);
            }
            dump->records++;
        }
        before += record.type == LOG_RECORD_COMMIT;
    }
}

static enum command_status finish(const struct dump *dump, const struct log_source *source)
{
    const struct log_reader *reader = &source->reader;
    if (reader->removed_segments > 0) {
        return command_failed(NAME,
                              "%s: a server has removed %" PRIu64
                              " segments while this was reading: versions are left out",
                              source->path, reader->removed_segments);
    }
    if (dump->from > reader->last_version) {
        return command_failed(NAME,
                              "%s ends at version %" PRIu64 ": there is none from %" PRIu64 " on",
                              source->path, reader->last_version, dump->from);
    }
    if (dump->to > reader->last_version) {
        (void)fprintf(stderr, "%s ends at version %" PRIu64 "\n", source->path,
                      reader->last_version);
    }
    return COMMAND_OK;
}

static enum command_status dump_log(struct dump *dump, struct log_source *source)
{
    struct log_reader *reader = &source->reader;
    struct progress progress;
    progress_init(&progress, isatty(STDOUT_FILENO) != 1);
    for (;;) {
        progress_show(&progress, reader->bytes_done, reader->bytes_all);
        enum log_reader_event event = log_reader_next(reader);
        if (event != LOG_READER_BATCH && event != LOG_READER_SEGMENT) {
            progress_clear(&progress);
        }
        switch (event) {
        case LOG_READER_SEGMENT:
            if (!dump->as_json && reader->header.first_version <= dump->to) {
                print_segment(reader);
            }
            break;
        case LOG_READER_BATCH:
            if (reader->batch.first_version - 1 > dump->to) {
                progress_clear(&progress);
                return finish(dump, source);
            }
            dump_batch(dump, reader);
            break;
        case LOG_READER_PROBLEM:
            (void)fflush(stdout);
            return command_failed(NAME, "%s: %s. What is behind is left out; see weasel log verify",
                                  source->path, reader->problem.text);
        case LOG_READER_ERROR:
            return log_source_failed(source, NAME);
        case LOG_READER_END:
            return finish(dump, source);
        }
        if (ferror(stdout) != 0) {
            progress_clear(&progress);
            return COMMAND_FAILED; /* command_end() says why */
        }
    }
}

/* COMMAND_OK: go on. */
static enum command_status take_option(struct dump *dump, int option)
{
    bool is_good = true;
    switch (option) {
    case 'f':
        is_good = log_version_parse(optarg, &dump->from);
        break;
    case 't':
        is_good = log_version_parse(optarg, &dump->to);
        break;
    case 'k':
        dump->keys_only = true;
        break;
    default:
        dump->as_json = strcmp(optarg, "json") == 0;
        if (!dump->as_json && strcmp(optarg, "text") != 0) {
            return command_misused(NAME, "--format %s: must be text or json", optarg);
        }
        break;
    }
    return is_good
               ? COMMAND_OK
               : command_misused(NAME, "'%s' is no version: a decimal number is needed", optarg);
}

enum command_status log_dump_run(int argc, char **argv)
{
    static const struct option OPTIONS[] = {
        {"from", required_argument, NULL, 'f'},   {"to", required_argument, NULL, 't'},
        {"format", required_argument, NULL, 'o'}, {"keys-only", no_argument, NULL, 'k'},
        {"help", no_argument, NULL, 'h'},         {NULL, 0, NULL, 0}};
    struct dump dump = {.to = UINT64_MAX};
    enum command_status status = COMMAND_OK;
    int option;
    optind = 1;
    opterr = 0;
    while ((option = getopt_long(argc, argv, ":", OPTIONS, NULL)) != -1) {
        if (option == 'h') {
            (void)fputs(HELP, stdout);
            return COMMAND_OK;
        }
        if (option == '?' || option == ':') {
            return log_option_misused(NAME, argc, argv, option);
        }
        status = take_option(&dump, option);
        if (status != COMMAND_OK) {
            return status;
        }
    }
    if (dump.from > dump.to) {
        return command_misused(NAME, "--from %" PRIu64 " is behind --to %" PRIu64, dump.from,
                               dump.to);
    }
    struct log_source source;
    const char *path = log_path_argument(NAME, argc, argv, optind);
    if (path == NULL) {
        return COMMAND_USAGE;
    }
    status = log_source_open(&source, NAME, path, dump.from);
    if (status == COMMAND_OK) {
        status = dump_log(&dump, &source);
        log_source_close(&source);
    }
    return status;
}
