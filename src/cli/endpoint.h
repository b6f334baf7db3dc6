/* SPDX-License-Identifier: Apache-2.0 */
/*
 * endpoint: where a server is: http://HOST[:PORT] or unix:PATH.
 *
 * Runs on: any thread. Blocks: never.
 */
#ifndef CLI_ENDPOINT_H
#define CLI_ENDPOINT_H

#include "base/err.h"

#include <stdbool.h>

#define ENDPOINT_DEFAULT "http://127.0.0.1:8080"

enum { ENDPOINT_HOST_MAX = 253, ENDPOINT_PATH_MAX = 107 };

struct endpoint {
    bool is_unix;
    char host[ENDPOINT_HOST_MAX + 1];      /* IPv6 without brackets */
    char port[6];                          /* decimal */
    char path[ENDPOINT_PATH_MAX + 1];      /* of a Unix socket */
    char authority[ENDPOINT_HOST_MAX + 9]; /* what the Host header says */
    const char *name;                      /* the text that it was read from */
};

/* `text`: kept as the name; NULL: the environment's WEASEL_SERVER, or else the default.
 * ERR_INVALID: *out_mistake says, statically, what is wrong; out->name is set all the same. */
enum err endpoint_read(const char *text, struct endpoint *out,
                       const char **out_mistake) WARN_UNUSED;

#endif
