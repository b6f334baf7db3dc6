/* SPDX-License-Identifier: Apache-2.0 */
/* weasel log: reads the files of a commit log, without a server. */
#include "cli/commands.h"
#include "cli/log_actions.h"

#include <stdio.h>
#include <string.h>

static const char HELP[] =
    "usage: weasel log dump [--from V] [--to V] [--format text|json] [--keys-only] DIRECTORY\n"
    "       weasel log verify DIRECTORY\n"
    "       weasel log repair --truncate-at V [--yes] DIRECTORY\n"
    "       weasel log ACTION --help\n"
    "\n"
    "Reads the files of a commit log (log.directory of the server's settings) by themselves.\n"
    "\n"
    "  dump     write the transactions of a log, for people or for programs\n"
    "  verify   check every byte of a log that means something\n"
    "  repair   cut a damaged log off behind a version\n"
    "\n"
    "dump and verify change nothing and lock nothing; a server may be running. Both take the path\n"
    "of one segment (commit-*.log) too.\n";

static enum command_status run(int argc, char **argv)
{
    static const struct {
        const char *name;
        enum command_status (*run)(int argc, char **argv);
    } ACTIONS[] = {{"dump", log_dump_run}, {"verify", log_verify_run}, {"repair", log_repair_run}};
    const char *word = argc > 1 ? argv[1] : NULL;
    if (word == NULL) {
        return command_misused(argv[0], "an action is missing: dump, verify or repair");
    }
    if (strcmp(word, "--help") == 0 || strcmp(word, "help") == 0) {
        (void)fputs(HELP, stdout);
        return COMMAND_OK;
    }
    for (size_t i = 0; i < sizeof ACTIONS / sizeof ACTIONS[0]; i++) {
        if (strcmp(word, ACTIONS[i].name) == 0) {
            return ACTIONS[i].run(argc - 1, argv + 1);
        }
    }
    return command_misused(argv[0], "there is no action '%s', but dump, verify and repair", word);
}

const struct command log_command = {"log", "dump, verify or repair the files of a log", run};
