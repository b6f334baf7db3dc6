/* SPDX-License-Identifier: Apache-2.0 */
/*
 * command: one word of the `weasel` command line, such as `log`, and what all of them share.
 *
 * Data goes to standard output, everything for people to standard error; progress only when that is
 * a terminal. Runs on: the main thread.
 */
#ifndef CLI_COMMAND_H
#define CLI_COMMAND_H

/* What the process ends with. */
enum command_status {
    COMMAND_OK = 0,
    COMMAND_FAILED = 1,  /* something is wrong outside: disk, network, server, log */
    COMMAND_USAGE = 2,   /* a mistake on the command line or in what was given to read */
    COMMAND_REFUSED = 3, /* not committed, says the server; or a repair was only planned */
    COMMAND_UNKNOWN = 4, /* it is not known whether the transaction was committed */
};

struct command {
    const char *name;
    const char *summary; /* one line of `weasel --help` */
    /* argv[0] is the name; reads its own options, answers --help itself. */
    enum command_status (*run)(int argc, char **argv);
};

/* Writes "weasel NAME: " and the text to standard error; see `weasel NAME --help` follows a usage
 * mistake. Both return the status to end with. */
__attribute__((format(printf, 2, 3))) enum command_status command_failed(const char *name,
                                                                         const char *format, ...);
__attribute__((format(printf, 2, 3))) enum command_status command_misused(const char *name,
                                                                          const char *format, ...);

/* Flushes standard output: what could not be written (a full disk, a closed pipe) is a failure. */
enum command_status command_end(const char *name, enum command_status status);

#endif
