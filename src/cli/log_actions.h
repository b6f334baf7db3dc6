/* SPDX-License-Identifier: Apache-2.0 */
/*
 * log_actions: the actions of `weasel log`, each in a file of its own, and what they share.
 *
 * Runs on: the main thread.
 */
#ifndef CLI_LOG_ACTIONS_H
#define CLI_LOG_ACTIONS_H

#include "cli/command.h"
#include "commitlog/reader.h"

/* argv[0] is the action. */
enum command_status log_dump_run(int argc, char **argv);   /* log_dump.c */
enum command_status log_verify_run(int argc, char **argv); /* log_verify.c */
enum command_status log_repair_run(int argc, char **argv); /* log_repair.c */

/* A log to be read: a directory, or one segment of it. */
struct log_source {
    const char *path;
    struct storage *storage; /* read-only */
    char *single;            /* NULL: all of the log */
    struct log_reader reader;
};

/* log_source.c; opens the reader too. Anything but COMMAND_OK: it is said, and nothing is open. */
enum command_status log_source_open(struct log_source *source, const char *name, const char *path,
                                    uint64_t from);
void log_source_close(struct log_source *source);

/* Says why reading has failed. */
enum command_status log_source_failed(const struct log_source *source, const char *name);

/* Decimal, to *out. False: `text` is no version. */
bool log_version_parse(const char *text, uint64_t *out);

/* The one word that the options leave. NULL: there is none, or there are more; it is said. */
const char *log_path_argument(const char *name, int argc, char **argv, int index);

/* What is wrong with the option that getopt_long() has refused. */
enum command_status log_option_misused(const char *name, int argc, char **argv, int refused);

#endif
