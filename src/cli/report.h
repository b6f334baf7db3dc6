/* SPDX-License-Identifier: Apache-2.0 */
/*
 * report: what commands that get an answer write about it, and the status that they end with.
 *
 * Runs on: the main thread.
 */
#ifndef CLI_REPORT_H
#define CLI_REPORT_H

#include "cli/command.h"
#include "cli/http_client.h"

/* The answer's JSON as one line on standard output. */
void report_json(struct bytes body);

/* A transaction that is committed or whose conflict was answered (HTTP status 200 or 409). */
enum command_status report_result(const char *name, struct bytes body, bool as_json);

/* Any other HTTP status, told to standard error: a mistake in what was sent, or something that is
 * not a WeaselDB. */
enum command_status report_refusal(const char *name, struct http_reply *reply);

/* The server cannot be reached. */
enum command_status report_unreached(const char *name, const struct endpoint *endpoint,
                                     const struct http_reply *reply);

#endif
