/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The files of api/, which scripts/embed has made part of the program. An ETag is a hash of the
 * file, so a client that keeps one asks with If-None-Match and is answered 304 until it changes.
 */
#include "weaseldb/api_files.h"

#include "weaseldb/query.h"

#include <string.h>

extern const unsigned char embedded_openapi_yaml[];
extern const size_t embedded_openapi_yaml_bytes;
extern const char embedded_openapi_yaml_etag[];
extern const unsigned char embedded_weaseldb_proto[];
extern const size_t embedded_weaseldb_proto_bytes;
extern const char embedded_weaseldb_proto_etag[];

static const struct api_file {
    const unsigned char *data;
    const size_t *size;
    const char *etag; /* with its quotes */
    struct bytes media_type;
} openapi = {embedded_openapi_yaml, &embedded_openapi_yaml_bytes, embedded_openapi_yaml_etag,
             BYTES_INIT("application/yaml")},
  proto = {embedded_weaseldb_proto, &embedded_weaseldb_proto_bytes, embedded_weaseldb_proto_etag,
           BYTES_INIT("text/plain; charset=utf-8")};

/* Whether an If-None-Match value names `etag` (RFC 9110 section 13.1.2). Its elements are "*" and
 * quoted texts without quotes inside, so that a weak one or one of several is found by looking for
 * the whole of it. */
static bool is_known(struct bytes value, struct bytes etag)
{
    return bytes_equal(value, BYTES("*")) ||
           (value.size >= etag.size &&
            memmem(value.data, value.size, etag.data, etag.size) != NULL);
}

static enum handler_verdict api_file(struct exchange *exchange, void *context)
{
    const struct api_file *file = context;
    if (!query_read(exchange, NULL, 0)) {
        return HANDLER_ANSWERED;
    }
    struct bytes etag = bytes_from_string(file->etag);
    if (is_known(http_request_header(&exchange->request, BYTES("If-None-Match")), etag)) {
        exchange_answer(exchange, 304, bytes_of(NULL, 0), bytes_of(NULL, 0));
    } else {
        exchange_answer(exchange, 200, file->media_type,
                        bytes_of((const char *)file->data, *file->size));
    }
    (void)exchange_add_header(exchange, BYTES("ETag"), etag);
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
