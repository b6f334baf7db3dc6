/* SPDX-License-Identifier: Apache-2.0 */
/*
 * weasel: the command line of WeaselDB. Finds the command that its first word names.
 */
#include "cli/command.h"
#include "cli/commands.h"

#include <stdio.h>
#include <string.h>

static const struct command *const COMMANDS[] = {
    &commit_command, &status_command, &version_command, &subscribe_command,
    &follow_command, &bench_command,  &log_command,
};

enum { COMMAND_COUNT = sizeof COMMANDS / sizeof COMMANDS[0] };

static enum command_status help(FILE *out)
{
    (void)fputs("usage: weasel COMMAND [OPTION...]\n"
                "       weasel COMMAND --help\n"
                "\n"
                "Talks to a WeaselDB server, and reads its log.\n"
                "\n",
                out);
    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        (void)fprintf(out, "  %-11s %s\n", COMMANDS[i]->name, COMMANDS[i]->summary);
    }
    (void)fputs(
        "\n"
        "  --version   write the version, and end\n"
        "  --help      write this, and end\n"
        "\n"
        "Exit status: 0 when it went well, 1 when something failed, 2 for a mistake on the "
        "command line,\n"
        "3 when a transaction was not committed or a repair wants --yes, 4 when it is not known "
        "whether a\n"
        "transaction was committed.\n",
        out);
    return COMMAND_OK;
}

int main(int argc, char **argv)
{
    const char *word = argc > 1 ? argv[1] : NULL;
    if (word == NULL) {
        (void)help(stderr);
        return COMMAND_USAGE;
    }
    if (strcmp(word, "--help") == 0 || strcmp(word, "help") == 0) {
        return (int)command_end("help", help(stdout));
    }
    if (strcmp(word, "--version") == 0) {
        (void)puts("weasel " WEASELDB_VERSION);
        return (int)command_end("--version", COMMAND_OK);
    }
    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        if (strcmp(word, COMMANDS[i]->name) == 0) {
            return (int)command_end(word, COMMANDS[i]->run(argc - 1, argv + 1));
        }
    }
    (void)fprintf(stderr, "weasel: there is no command '%s'; see weasel --help\n", word);
    return COMMAND_USAGE;
}
