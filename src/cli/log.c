/* SPDX-License-Identifier: Apache-2.0 */
/* weasel log: reads the files of a commit log, without a server. */
#include "cli/commands.h"

#include <stdio.h>
#include <string.h>

static const char HELP[] = "usage: weasel log ACTION DIRECTORY\n";

static enum command_status run(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "--help") == 0) {
        (void)fputs(HELP, stdout);
        return COMMAND_OK;
    }
    return command_misused(argv[0], "an action is missing");
}

const struct command log_command = {"log", "dump, verify or repair the files of a log", run};
