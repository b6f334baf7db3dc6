/* SPDX-License-Identifier: Apache-2.0 */
/*
 * weasel log verify: reads all of a log, tells every damaged place, and what is there in all.
 */
#include "base/clock.h"
#include "cli/log_actions.h"
#include "cli/progress.h"

#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>

static const char NAME[] = "log verify";

static const char HELP[] =
    "usage: weasel log verify DIRECTORY\n"
    "\n"
    "Checks every checksum of a commit log, that its numbers, versions and batches follow each\n"
    "other without a gap, that every segment is there and belongs to this log, and the file\n"
    "`state`. Names every place where something is damaged or missing on standard error, and goes\n"
    "on behind it. Tells at the end what the log holds.\n"
    "\n"
    "It changes nothing, and a server may be running: then it ends where the server was when it\n"
    "read there. A torn write at the very end is no damage, since nothing of it was ever\n"
    "acknowledged: the next start of the server cuts it off. DIRECTORY may be one segment\n"
    "(commit-*.log) too.\n"
    "\n"
    "  --help   write this, and end\n"
    "\n"
    "Exit status: 0 when the log is sound, 1 when it is damaged or cannot be read, 2 for a "
    "mistake\n"
    "on the command line.\n";

struct totals {
    uint64_t segments;
    uint64_t first_segment;
    uint64_t last_segment;
    uint64_t batches;
    uint64_t batch_bytes;
    uint64_t commits;
    uint64_t fences;
    uint64_t first_version;
    uint64_t first_us;
    uint64_t last_us;
};

static void add_segment(struct totals *totals, const struct log_reader *reader)
{
    if (totals->segments++ == 0) {
        totals->first_segment = reader->header.number;
        totals->first_version = reader->header.first_version;
    }
    totals->last_segment = reader->header.number;
}

static void add_batch(struct totals *totals, const struct log_reader *reader)
{
    const struct log_batch_header *batch = &reader->batch;
    uint64_t commits = batch->last_version + 1 - batch->first_version;
    if (totals->batches++ == 0) {
        totals->first_us = batch->timestamp_us;
    }
    totals->last_us = batch->timestamp_us;
    totals->batch_bytes += reader->offset - reader->batch_offset;
    totals->commits += commits;
    totals->fences += batch->count - commits;
}

static void print_time(const char *name, uint64_t time_us)
{
    char text[CLOCK_RFC3339_BYTES];
    clock_rfc3339(time_us * 1000, text);
    (void)printf("%-14s%.*s\n", name, CLOCK_RFC3339_BYTES, text);
}

static void print_totals(const struct totals *totals, const struct log_source *source)
{
    const struct log_reader *reader = &source->reader;
    if (reader->problems == 0) {
        (void)printf("%s is sound and ends at version %" PRIu64 "\n", source->path,
                     reader->last_version);
    } else {
        (void)printf("%s is damaged in %" PRIu64 " place%s; what could be read:\n", source->path,
                     reader->problems, reader->problems == 1 ? "" : "s");
    }
    (void)printf("%-14s%016" PRIx64 "\n", "log", reader->log_id);
    if (reader->state_result == LOG_READER_STATE_GOOD) {
        (void)printf("%-14s%" PRIu64 "\n", "starts", reader->state.epoch);
    }
    (void)printf("%-14s%" PRIu64, "segments", totals->segments);
    if (totals->segments > 0) {
        (void)printf(" (number %" PRIu64 " to %" PRIu64 ")", totals->first_segment,
                     totals->last_segment);
    }
    (void)printf("\n%-14s%" PRIu64 ", %" PRIu64 " of them in batches\n", "bytes", reader->bytes_all,
                 totals->batch_bytes);
    (void)printf("%-14s%" PRIu64 "\n", "batches", totals->batches);
    (void)printf("%-14s%" PRIu64 "\n", "transactions", totals->commits);
    (void)printf("%-14s%" PRIu64 "\n", "fences", totals->fences);
    if (totals->commits > 0) {
        (void)printf("%-14s%" PRIu64 " to %" PRIu64 "\n", "versions", totals->first_version,
                     reader->last_version);
    }
    if (totals->batches > 0) {
        print_time("from", totals->first_us);
        print_time("to", totals->last_us);
    }
    if (reader->leftovers > 0) {
        (void)printf("%-14s%" PRIu64 " segments that were to be removed; the next start does it\n",
                     "leftovers", reader->leftovers);
    }
    if (reader->removed_segments > 0) {
        (void)printf("%-14s%" PRIu64 ", by a server, while this was reading\n", "removed",
                     reader->removed_segments);
    }
    if (reader->torn_bytes > 0) {
        (void)printf("%-14s%" PRIu64 " bytes behind offset %" PRIu64
                     " of %s, of a write that was never acknowledged\n",
                     "torn end", reader->torn_bytes, reader->offset, reader->name);
    }
}

static enum command_status verify(struct log_source *source)
{
    struct log_reader *reader = &source->reader;
    struct totals totals = {0};
    struct progress progress;
    progress_init(&progress, true);
    for (;;) {
        progress_show(&progress, reader->bytes_done, reader->bytes_all);
        switch (log_reader_next(reader)) {
        case LOG_READER_SEGMENT:
            add_segment(&totals, reader);
            break;
        case LOG_READER_BATCH:
            add_batch(&totals, reader);
            break;
        case LOG_READER_PROBLEM:
            progress_clear(&progress);
            (void)command_failed(NAME, "%s", reader->problem.text);
            break;
        case LOG_READER_ERROR:
            progress_clear(&progress);
            return log_source_failed(source, NAME);
        case LOG_READER_END:
            progress_clear(&progress);
            print_totals(&totals, source);
            return reader->problems == 0 ? COMMAND_OK : COMMAND_FAILED;
        }
    }
}

enum command_status log_verify_run(int argc, char **argv)
{
    static const struct option OPTIONS[] = {{"help", no_argument, NULL, 'h'}, {NULL, 0, NULL, 0}};
    int option;
    optind = 1;
    opterr = 0;
    while ((option = getopt_long(argc, argv, ":", OPTIONS, NULL)) != -1) {
        if (option == 'h') {
            (void)fputs(HELP, stdout);
            return COMMAND_OK;
        }
        return log_option_misused(NAME, argc, argv, option);
    }
    struct log_source source;
    const char *path = log_path_argument(NAME, argc, argv, optind);
    if (path == NULL) {
        return COMMAND_USAGE;
    }
    enum command_status status = log_source_open(&source, NAME, path, 0);
    if (status == COMMAND_OK) {
        status = verify(&source);
        log_source_close(&source);
    }
    return status;
}
