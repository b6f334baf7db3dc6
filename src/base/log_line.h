/* SPDX-License-Identifier: Apache-2.0 */
/*
 * log_line: one line of the log as text; a pure function of its arguments.
 *
 * Runs on:  any thread. Never blocks, never allocates.
 */
#ifndef BASE_LOG_LINE_H
#define BASE_LOG_LINE_H

#include "base/logger.h"

#include <stddef.h>
#include <stdint.h>

/* Writes the line, its newline included, and returns its size (at most LOG_LINE_BYTES_MAX). What
 * does not fit is cut as base/logger.h says. `fields` ends with LOG_KIND_END. */
size_t log_line_format(char out[static LOG_LINE_BYTES_MAX], enum log_format format,
                       uint64_t realtime_ns, enum log_level level, const char *message,
                       const struct log_field *fields);

#endif
