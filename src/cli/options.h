/* SPDX-License-Identifier: Apache-2.0 */
/*
 * options: reading a command's words, the same for all commands.
 *
 *   struct options options;
 *   options_init(&options, argc, argv, KNOWN);
 *   if (!options_read(&options, HELP, take_option, &mine, &status) || !options_finished(&options))
 * { return status;
 *   }
 *
 * Every mistake is told to standard error when it is found. Runs on: the main thread (getopt).
 */
#ifndef CLI_OPTIONS_H
#define CLI_OPTIONS_H

#include "cli/command.h"
#include "cli/endpoint.h"

#include <getopt.h>
#include <stdint.h>

enum {
    OPTIONS_END = -1,
    OPTIONS_MISUSED = '?',
    OPTIONS_HELP = 256, /* --help, of every command */
    OPTIONS_OWN,        /* the first number that a command may give its options */
};

#define OPTIONS_VERSION_MAX ((UINT64_C(1) << 53) - 1)

struct options {
    const char *name; /* of the command */
    int argc;
    char **argv;
    const struct option *known;
};

void options_init(struct options *options, int argc, char **argv, const struct option *known);

/* The `val` of the next option, whose value is in optarg; OPTIONS_END at the end, or in front of a
 * word that is no option. */
int options_next(struct options *options);

/* Gives each option to `take`, with its value in optarg, up to the end or the first word that is
 * none. False: `take` has refused one and told why, or it was --help, which is answered here;
 * *out_status, which is COMMAND_USAGE otherwise too, is what to end with. */
bool options_read(struct options *options, const char *help,
                  bool (*take)(void *context, int option), void *context,
                  enum command_status *out_status);

/* The word behind what was read last, NULL when there is none. */
const char *options_word(struct options *options);

/* The same without taking it. */
const char *options_peek(const struct options *options);

/* Whether all words have been read; else tells of the first one left. */
bool options_finished(const struct options *options);

/* Each reads the value of option `option` from `text`; false: it has told what is wrong. */
bool options_number(const struct options *options, const char *option, const char *text,
                    uint64_t min, uint64_t max, uint64_t *out);
/* A decimal number with up to three decimals, in thousandths. */
bool options_decimal(const struct options *options, const char *option, const char *text,
                     uint64_t min, uint64_t max, uint64_t *out);
/* Seconds, likewise. */
bool options_seconds(const struct options *options, const char *option, const char *text,
                     uint64_t min_ms, uint64_t max_ms, uint64_t *out_ms);
bool options_server(const struct options *options, const char *text, struct endpoint *out);

#endif
