/* SPDX-License-Identifier: Apache-2.0 */
/*
 * weasel log repair: cuts a damaged log off behind a version, once somebody has said so.
 *
 * Without --yes nothing is written, not even the lock. The steps, and why a crash between any two
 * of them is safe, are in commitlog/repair.h.
 */
#include "base/clock.h"
#include "cli/log_actions.h"
#include "cli/progress.h"
#include "commitlog/repair.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static const char NAME[] = "log repair";

static const char HELP[] =
    "usage: weasel log repair --truncate-at V [--yes] DIRECTORY\n"
    "\n"
    "Makes a log that the server refuses to start with usable again, by giving up every\n"
    "transaction behind version V. V is at most the last version before the first damage; a start\n"
    "of the server and `weasel log verify` name it. Without --yes it says what it would do.\n"
    "\n"
    "  --truncate-at V   the last version to be kept\n"
    "  --yes             do it; the server must not be running\n"
    "  --help            write this, and end\n"
    "\n"
    "What is cut off is kept in a new directory removed-TIME in DIRECTORY: the segments behind V,\n"
    "and a copy of the one with the cut. It needs space for two segments, and can be repeated "
    "when\n"
    "it was cut off itself. A `state` file that is missing or damaged is made anew.\n"
    "\n"
    "Transactions behind V were acknowledged and are lost; their versions are given to others. So\n"
    "whoever has read beyond V from this log must be set up again.\n"
    "\n"
    "Exit status: 0 when the log is repaired, or sound and ends at V already; 1 when it cannot be\n"
    "repaired like this; 2 for a mistake on the command line; 3 when nothing was done because "
    "--yes\n"
    "is missing.\n";

enum { REMOVED_NAME_BYTES = 40, REMOVED_TRIES = 100 };

struct repair_options {
    const char *path;
    uint64_t version;
    bool yes;
};

/* ---- what it would do ---- */

static void print_loss(const struct log_repair *repair)
{
    if (repair->lost_commits > 0) {
        (void)printf("  gives up %" PRIu64 " transactions that can still be read, up to version "
                     "%" PRIu64 "\n",
                     repair->lost_commits, repair->lost_last_version);
    }
    if (repair->lost_fences > 0) {
        (void)printf("  forgets %" PRIu64
                     " request ids that were told not to have been committed\n",
                     repair->lost_fences);
    }
}

static void print_plan(const struct log_repair *repair, const char *verb)
{
    (void)printf("%s\n", verb);
    if (repair->is_segment_changed) {
        (void)printf("  cuts %s at offset %" PRIu64 ", behind version %" PRIu64 " (%" PRIu64
                     " bytes of data go)\n",
                     repair->kept, repair->offset, repair->version, repair->cut_bytes);
    }
    if (repair->kept_records > 0) {
        (void)printf("  writes batch %" PRIu64 " there anew, with the first %" PRIu32
                     " of its records\n",
                     repair->batch.number, repair->kept_records);
    }
    for (size_t i = repair->first_removed; i < repair->segments.count; i++) {
        char name[STORAGE_NAME_BYTES];
        log_segment_name(repair->segments.names[i].first_version, repair->segments.names[i].ordinal,
                         name);
        (void)printf("  removes %s\n", name);
    }
    if (repair->state_result == LOG_READER_STATE_GOOD) {
        (void)printf("  tells `state` that segment number %" PRIu64 " is the newest\n",
                     repair->state.newest_segment);
    } else {
        (void)printf("  makes the file `state` anew, for log %016" PRIx64
                     " and with a start count of %" PRIu64 "\n",
                     repair->state.log_id, repair->state.epoch);
    }
    print_loss(repair);
}

static enum command_status plan_failed(const char *path, const struct log_problem *problem)
{
    return command_failed(NAME, "%s: %s", path, problem->text);
}

static void show_progress(void *context, uint64_t bytes_done, uint64_t bytes_all)
{
    progress_show(context, bytes_done, bytes_all);
}

static enum err make_plan(const struct repair_options *options, struct storage *storage,
                          uint64_t now_sec, struct log_repair *out, struct log_problem *out_problem)
{
    struct progress progress;
    progress_init(&progress, true);
    const struct log_repair_progress shown = {.context = &progress, .show = show_progress};
    enum err err = log_repair_plan(storage, options->version, now_sec, &shown, out, out_problem);
    progress_clear(&progress);
    return err;
}

static enum command_status say_sound(const struct repair_options *options)
{
    (void)printf("%s is sound and ends at version %" PRIu64 ": there is nothing to repair\n",
                 options->path, options->version);
    return COMMAND_OK;
}

static enum command_status explain(const struct repair_options *options, struct storage *storage,
                                   uint64_t now_sec)
{
    struct log_repair repair;
    struct log_problem problem;
    if (make_plan(options, storage, now_sec, &repair, &problem) != OK) {
        return plan_failed(options->path, &problem);
    }
    enum command_status status = COMMAND_REFUSED;
    if (!repair.is_needed) {
        status = say_sound(options);
    } else {
        if (repair.damage.text[0] != '\0') {
            (void)printf("Found: %s\n", repair.damage.text);
        }
        print_plan(&repair, "With --yes it");
        if (log_repair_removes(&repair)) {
            (void)puts("  keeps what is removed, and copies of what is changed, in removed-TIME");
        }
        (void)command_failed(NAME, "nothing was changed, because --yes was not given");
    }
    log_repair_deinit(&repair);
    return status;
}

/* ---- doing it ---- */

/* A new directory in that of the log. */
struct removed {
    struct storage *storage;
    char name[REMOVED_NAME_BYTES]; /* in the log's */
    char *path;                    /* NULL: there is none */
};

static enum err make_removed(const char *path, uint64_t now_sec, struct removed *out)
{
    struct removed removed = {0};
    char time[20];
    time_t seconds = (time_t)now_sec;
    struct tm parts;
    size_t path_bytes = strlen(path) + 1 + sizeof removed.name;
    (void)strftime(time, sizeof time, "%Y%m%dT%H%M%SZ", gmtime_r(&seconds, &parts));
    removed.path = malloc(path_bytes);
    if (removed.path == NULL) {
        errno = ENOMEM;
        return ERR_MEMORY;
    }
    struct stat status;
    enum err err = ERR_SYSTEM;
    for (unsigned i = 1; i <= REMOVED_TRIES; i++) {
        (void)(i == 1 ? snprintf(removed.name, sizeof removed.name, "removed-%s", time)
                      : snprintf(removed.name, sizeof removed.name, "removed-%s-%u", time, i));
        (void)snprintf(removed.path, path_bytes, "%s/%s", path, removed.name);
        /* The directory is locked: nobody else makes one in between. */
        if (lstat(removed.path, &status) != 0) {
            err = errno == ENOENT ? storage_posix_open(removed.path, &removed.storage) : ERR_SYSTEM;
            break;
        }
        errno = EEXIST;
    }
    if (err != OK) {
        free(removed.path);
        return err;
    }
    *out = removed;
    return OK;
}

static enum command_status apply(const struct repair_options *options, struct storage *storage,
                                 const struct log_repair *repair, uint64_t now_sec)
{
    struct removed removed = {0};
    if (log_repair_removes(repair) && make_removed(options->path, now_sec, &removed) != OK) {
        return command_failed(NAME, "%s: making a directory for what is removed: %s", options->path,
                              strerror(errno));
    }
    bool has_begun;
    enum err err = log_repair_apply(storage, removed.storage, removed.name, repair, &has_begun);
    int saved_errno = errno;
    storage_posix_close(removed.storage);
    enum command_status status = COMMAND_OK;
    if (err != OK) {
        if (!has_begun && removed.path != NULL) {
            (void)rmdir(removed.path);
        }
        status = command_failed(NAME, "%s: %s. %s", options->path, strerror(saved_errno),
                                has_begun ? "The repair is not complete: repeat it"
                                          : "The log is as it was");
    } else {
        print_plan(repair, "Done. It");
        if (removed.path != NULL) {
            (void)printf("What was removed, and copies of what was changed, are in %s\n",
                         removed.path);
        }
        (void)printf("%s ends at version %" PRIu64 "\n", options->path, repair->version);
    }
    free(removed.path);
    return status;
}

static enum command_status repair_now(const struct repair_options *options, struct storage *storage,
                                      uint64_t now_sec)
{
    struct log_repair repair;
    struct log_problem problem;
    uint64_t holder = 0;
    enum err err = storage->operations->lock(storage, &holder);
    if (err == ERR_FULL) {
        return command_failed(NAME,
                              "%s is in use by the process with pid %" PRIu64 "; stop it first",
                              options->path, holder);
    }
    if (err != OK) {
        return command_failed(NAME, "%s: lock: %s", options->path, strerror(errno));
    }
    if (make_plan(options, storage, now_sec, &repair, &problem) != OK) {
        return plan_failed(options->path, &problem);
    }
    enum command_status status =
        repair.is_needed ? apply(options, storage, &repair, now_sec) : say_sound(options);
    log_repair_deinit(&repair);
    return status;
}

static enum command_status repair_log(const struct repair_options *options)
{
    struct stat is_directory;
    if (stat(options->path, &is_directory) == 0 && !S_ISDIR(is_directory.st_mode)) {
        return command_failed(NAME, "%s is a file: a log is repaired as a whole, by its directory",
                              options->path);
    }
    /* Opened for reading first: a directory that is missing must not be made, nor anything else
     * locked. */
    struct log_source source;
    enum command_status status = log_source_open(&source, NAME, options->path, 0);
    if (status != COMMAND_OK) {
        return status;
    }
    uint64_t now_sec = clock_realtime_ns() / UINT64_C(1000000000);
    if (!options->yes) {
        status = explain(options, source.storage, now_sec);
    } else {
        struct storage *storage;
        if (storage_posix_open(options->path, &storage) == OK) {
            status = repair_now(options, storage, now_sec);
            storage_posix_close(storage);
        } else {
            status = command_failed(NAME, "%s: %s", options->path, strerror(errno));
        }
    }
    log_source_close(&source);
    return status;
}

enum command_status log_repair_run(int argc, char **argv)
{
    static const struct option OPTIONS[] = {{"truncate-at", required_argument, NULL, 't'},
                                            {"yes", no_argument, NULL, 'y'},
                                            {"help", no_argument, NULL, 'h'},
                                            {NULL, 0, NULL, 0}};
    struct repair_options options = {0};
    bool has_version = false;
    int option;
    optind = 1;
    opterr = 0;
    while ((option = getopt_long(argc, argv, ":", OPTIONS, NULL)) != -1) {
        switch (option) {
        case 'h':
            (void)fputs(HELP, stdout);
            return COMMAND_OK;
        case 'y':
            options.yes = true;
            break;
        case 't':
            if (!log_version_parse(optarg, &options.version)) {
                return command_misused(
                    NAME, "--truncate-at %s: is no version: a decimal number is needed", optarg);
            }
            has_version = true;
            break;
        default:
            return log_option_misused(NAME, argc, argv, option);
        }
    }
    options.path = log_path_argument(NAME, argc, argv, optind);
    if (options.path == NULL) {
        return COMMAND_USAGE;
    }
    if (!has_version) {
        return command_misused(
            NAME, "--truncate-at V is missing: the last version to be kept; `weasel log verify` "
                  "tells where the damage begins");
    }
    return repair_log(&options);
}
