/* SPDX-License-Identifier: Apache-2.0 */
/*
 * progress: one line on standard error that tells how far something long has come. Nothing at all
 * unless that is a terminal.
 *
 * Runs on: the main thread.
 */
#ifndef CLI_PROGRESS_H
#define CLI_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

struct progress {
    bool is_shown;
    uint64_t started_ns;
    uint64_t shown_ns; /* 0: never */
};

/* `wanted` false: nothing is shown, on terminals neither. */
void progress_init(struct progress *progress, bool wanted);
/* Shows it when the last time is long enough ago. */
void progress_show(struct progress *progress, uint64_t bytes_done, uint64_t bytes_all);
/* Removes the line, so that other text may be written. */
void progress_clear(struct progress *progress);

#endif
