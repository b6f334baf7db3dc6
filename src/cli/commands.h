/* SPDX-License-Identifier: Apache-2.0 */
/* commands: all of them, each in a file of its own. */
#ifndef CLI_COMMANDS_H
#define CLI_COMMANDS_H

#include "cli/command.h"

extern const struct command bench_command;     /* cli/bench.c */
extern const struct command commit_command;    /* cli/commit.c */
extern const struct command follow_command;    /* cli/follow.c */
extern const struct command status_command;    /* cli/status.c */
extern const struct command subscribe_command; /* cli/subscribe.c */
extern const struct command version_command;   /* cli/version.c */
extern const struct command log_command;       /* cli/log.c: dump, verify, repair */

#endif
