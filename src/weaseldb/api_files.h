/* SPDX-License-Identifier: Apache-2.0 */
/*
 * api_files: GET /openapi.yaml and GET /weaseldb.proto, the files of api/ as they were at the
 * build.
 *
 * Runs on: api_files_add() the main thread before the start; the handler on network threads.
 */
#ifndef WEASELDB_API_FILES_H
#define WEASELDB_API_FILES_H

#include "engine/server.h"

/* Once a process. ERR_MEMORY, ERR_INVALID. */
enum err api_files_add(struct server *server) WARN_UNUSED;

#endif
