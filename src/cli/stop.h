/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stop: SIGINT and SIGTERM as a question that a loop asks, for commands that have something to
 * finish. A second signal ends the process at once.
 *
 * Runs on: the main thread.
 */
#ifndef CLI_STOP_H
#define CLI_STOP_H

#include <stdbool.h>

void stop_init(void);
bool stop_is_wanted(void);

#endif
