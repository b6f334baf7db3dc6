/* SPDX-License-Identifier: Apache-2.0 */
/*
 * options: the command line of weaseldb.
 *
 * Runs on: the main thread. Blocks: while it reads the configuration file.
 */
#ifndef WEASELDB_OPTIONS_H
#define WEASELDB_OPTIONS_H

#include "weaseldb/config.h"

enum { EXIT_OK = 0, EXIT_RUNTIME = 1, EXIT_USAGE = 2 };

struct options {
    const char *config_path; /* NULL: none */
    const char **sets;       /* KEY=VALUE, in the order given; owned by options_deinit() */
    size_t set_count;
    int exit_code; /* when options_parse() returned false */
};

/* Reads the command line; answers --help, --version, --print-config and --check-config by itself.
 * True: go on with *out_config; false: end with options->exit_code. Mistakes are written to
 * standard error. */
bool options_parse(struct options *options, int argc, char **argv, struct config *out_config);
void options_deinit(struct options *options);

/* Works the configuration out anew, from the same file and command line. ERR_INVALID: something is
 * wrong, and every mistake was reported. ERR_MEMORY: so it was. */
enum err options_load_config(const struct options *options, struct config *out_config,
                             const struct config_report *report) WARN_UNUSED;

#endif
