/* SPDX-License-Identifier: Apache-2.0 */
/* The files of api/, which scripts/embed has made part of the program. */
#include "weaseldb/api_files.h"

#include "weaseldb/embedded.h"
#include "weaseldb/query.h"

EMBEDDED_FILE_DECLARE(openapi_yaml);
EMBEDDED_FILE_DECLARE(weaseldb_proto);

static const struct embedded_file openapi = {EMBEDDED_FILE(openapi_yaml),
                                             BYTES_INIT("application/yaml")};
static const struct embedded_file proto = {EMBEDDED_FILE(weaseldb_proto),
                                           BYTES_INIT("text/plain; charset=utf-8")};

static enum handler_verdict api_file(struct exchange *exchange, void *context)
{
    if (query_read(exchange, NULL, 0)) {
        embedded_file_answer(exchange, context);
    }
    return HANDLER_ANSWERED;
}

static struct engine_route routes[] = {
    {.match = {.pattern = "/openapi.yaml", .method = HTTP_GET},
     .handle = api_file,
     .context = (void *)(uintptr_t)&openapi},
    {.match = {.pattern = "/weaseldb.proto", .method = HTTP_GET},
     .handle = api_file,
     .context = (void *)(uintptr_t)&proto},
};

enum err api_files_add(struct server *server)
{
    enum err err = OK;
    for (size_t i = 0; err == OK && i < sizeof routes / sizeof routes[0]; i++) {
        err = server_add_route(server, &routes[i]);
    }
    return err;
}
