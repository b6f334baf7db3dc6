/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/endpoint.h"

#include "base/bytes.h"

#include <stdio.h>
#include <stdlib.h>

static bool is_host(struct bytes host, bool is_bracketed)
{
    static const char names[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._";
    static const char addresses[] = "0123456789abcdefABCDEF:.";
    for (size_t i = 0; i < host.size; i++) {
        if (host.data[i] == '\0' ||
            strchr(is_bracketed ? addresses : names, host.data[i]) == NULL) {
            return false;
        }
    }
    return host.size > 0 && host.size <= ENDPOINT_HOST_MAX;
}

static enum err read_unix(struct bytes path, struct endpoint *out, const char **out_mistake)
{
    if (path.size == 0 || path.size > ENDPOINT_PATH_MAX) {
        *out_mistake = "the path of a Unix socket has 1 to 107 bytes";
        return ERR_INVALID;
    }
    out->is_unix = true;
    (void)snprintf(out->path, sizeof out->path, "%.*s", (int)path.size, path.data);
    (void)snprintf(out->authority, sizeof out->authority, "localhost");
    return OK;
}

static enum err read_authority(struct bytes rest, struct endpoint *out, const char **out_mistake)
{
    bool is_bracketed = bytes_starts_with(rest, BYTES("["));
    struct bytes host = bytes_split(&rest, is_bracketed ? ']' : ':');
    struct bytes port = rest;
    if (is_bracketed) {
        host = bytes_drop(host, 1);
        if (rest.data == NULL || (rest.size > 0 && rest.data[0] != ':')) {
            *out_mistake = "behind [ADDRESS] only a port may stand, as in http://[::1]:8080";
            return ERR_INVALID;
        }
        port = rest.size == 0 ? bytes_of(NULL, 0) : bytes_drop(rest, 1);
    }
    uint64_t number = 80;
    if (port.data != NULL && (!bytes_parse_u64(port, &number) || number == 0 || number > 65535)) {
        *out_mistake = "the port must be a number from 1 to 65535";
        return ERR_INVALID;
    }
    if (!is_host(host, is_bracketed)) {
        *out_mistake = "there is no host name or address behind http://";
        return ERR_INVALID;
    }
    (void)snprintf(out->host, sizeof out->host, "%.*s", (int)host.size, host.data);
    (void)snprintf(out->port, sizeof out->port, "%u", (unsigned)number);
    (void)snprintf(out->authority, sizeof out->authority, is_bracketed ? "[%s]:%s" : "%s:%s",
                   out->host, out->port);
    return OK;
}

enum err endpoint_read(const char *text, struct endpoint *out, const char **out_mistake)
{
    if (text == NULL) {
        text = getenv("WEASEL_SERVER");
    }
    if (text == NULL || text[0] == '\0') {
        text = ENDPOINT_DEFAULT;
    }
    *out = (struct endpoint){.name = text};
    struct bytes rest = bytes_from_string(text);
    if (bytes_starts_with(rest, BYTES("unix:"))) {
        return read_unix(bytes_drop(rest, 5), out, out_mistake);
    }
    if (!bytes_starts_with(rest, BYTES("http://"))) {
        struct bytes scheme = bytes_split(&rest, ':');
        *out_mistake =
            bytes_equal_fold(scheme, BYTES("https"))
                ? "neither weasel nor the server speaks TLS: it must be http://HOST:PORT or "
                  "unix:PATH. To reach one behind a TLS proxy, name a tunnel on this machine that "
                  "adds TLS (stunnel, ssh -L), such as http://127.0.0.1:PORT"
                : "it must be http://HOST:PORT or unix:PATH";
        return ERR_INVALID;
    }
    rest = bytes_drop(rest, 7);
    struct bytes authority = bytes_split(&rest, '/');
    if (rest.size > 0) {
        *out_mistake = "it must end behind the port: commands know their paths";
        return ERR_INVALID;
    }
    return read_authority(authority, out, out_mistake);
}
