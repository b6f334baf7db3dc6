/* SPDX-License-Identifier: Apache-2.0 */
/*
 * request: what handlers ask of a parsed request: headers, lists, media types, escapes, queries.
 * Every function reads views and returns views; only percent-decoding may need memory.
 */
#include "http/request.h"

#include "base/check.h"

struct bytes http_method_name(enum http_method method)
{
    static const struct bytes names[HTTP_METHODS] = {
        [HTTP_GET] = BYTES_INIT("GET"),         [HTTP_HEAD] = BYTES_INIT("HEAD"),
        [HTTP_POST] = BYTES_INIT("POST"),       [HTTP_PUT] = BYTES_INIT("PUT"),
        [HTTP_DELETE] = BYTES_INIT("DELETE"),   [HTTP_PATCH] = BYTES_INIT("PATCH"),
        [HTTP_OPTIONS] = BYTES_INIT("OPTIONS"), [HTTP_TRACE] = BYTES_INIT("TRACE"),
    };
    CHECK((unsigned)method < HTTP_METHODS);
    return names[method];
}

struct bytes http_request_header(const struct http_request *request, struct bytes name)
{
    for (unsigned i = 0; i < request->header_count; i++) {
        if (bytes_equal_fold(request->headers[i].name, name)) {
            return request->headers[i].value;
        }
    }
    return bytes_of(NULL, 0);
}

bool http_list_has_token(struct bytes list, struct bytes token)
{
    while (list.size > 0) {
        if (bytes_equal_fold(bytes_trim(bytes_split(&list, ',')), token)) {
            return true;
        }
    }
    return false;
}

struct bytes http_media_type(struct bytes content_type)
{
    return bytes_trim(bytes_split(&content_type, ';'));
}

/* Like bytes_split(), but a separator inside a quoted string does not count. */
static struct bytes split_unquoted(struct bytes *rest, char separator)
{
    struct bytes head = *rest;
    bool quoted = false;
    for (size_t i = 0; i < rest->size; i++) {
        char c = rest->data[i];
        if (quoted && c == '\\') {
            i++;
        } else if (c == '"') {
            quoted = !quoted;
        } else if (c == separator && !quoted) {
            head.size = i;
            *rest = bytes_drop(*rest, i + 1);
            return head;
        }
    }
    *rest = bytes_of(NULL, 0);
    return head;
}

/* "0.5" in thousandths (RFC 9110 section 12.4.2). What is no weight weighs all: a client that sends
 * nonsense gets what it named. */
static unsigned weight_read(struct bytes text)
{
    if (text.size == 0 || text.data[0] != '0') {
        return HTTP_WEIGHT_MAX;
    }
    unsigned weight = 0;
    unsigned place = HTTP_WEIGHT_MAX / 10;
    for (size_t i = 1; i < text.size; i++) {
        if (i == 1 && text.data[i] == '.') {
            continue;
        }
        if (i == 1 || text.data[i] < '0' || text.data[i] > '9') {
            return HTTP_WEIGHT_MAX;
        }
        weight += place * (unsigned)(text.data[i] - '0');
        place /= 10;
    }
    return weight;
}

/* The weight among the parameters of a media range. */
static unsigned weight_of(struct bytes parameters)
{
    while (parameters.size > 0) {
        struct bytes value = split_unquoted(&parameters, ';');
        struct bytes name = bytes_trim(bytes_split(&value, '='));
        if (bytes_equal_fold(name, BYTES("q"))) {
            return weight_read(bytes_trim(value));
        }
    }
    return HTTP_WEIGHT_MAX;
}

/* How closely `range` names `media_type`: 0 not at all, 1 any type, 2 its type, 3 exactly it. */
static unsigned range_match(struct bytes range, struct bytes media_type)
{
    if (bytes_equal_fold(range, media_type)) {
        return 3;
    }
    if (bytes_equal(range, BYTES("*/*")) || bytes_equal(range, BYTES("*"))) {
        return 1;
    }
    struct bytes subtype = range;
    struct bytes type = bytes_split(&subtype, '/');
    bool any_subtype = bytes_equal(subtype, BYTES("*"));
    return any_subtype && bytes_equal_fold(type, bytes_split(&media_type, '/')) ? 2 : 0;
}

unsigned http_accept_weight(struct bytes accept, struct bytes media_type, unsigned *out_match)
{
    *out_match = 0;
    if (bytes_trim(accept).size == 0) {
        return HTTP_WEIGHT_MAX;
    }
    unsigned weight = 0;
    while (accept.size > 0) {
        struct bytes parameters = split_unquoted(&accept, ',');
        struct bytes range = bytes_trim(bytes_split(&parameters, ';'));
        unsigned match = range_match(range, media_type);
        if (match == 0 || match < *out_match) {
            continue;
        }
        unsigned here = weight_of(parameters);
        weight = match == *out_match && weight > here ? weight : here;
        *out_match = match;
    }
    return weight;
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    c = ascii_lower(c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

enum err http_percent_decode(struct arena *arena, struct bytes encoded, bool plus_is_space,
                             struct bytes *out)
{
    if (bytes_find(encoded, '%') == NULL && (!plus_is_space || bytes_find(encoded, '+') == NULL)) {
        *out = encoded;
        return OK;
    }
    char *decoded = arena_try_alloc(arena, encoded.size);
    if (decoded == NULL) {
        return ERR_MEMORY;
    }
    size_t size = 0;
    for (size_t i = 0; i < encoded.size; i++) {
        char c = encoded.data[i];
        if (c == '%') {
            int high = encoded.size - i > 2 ? hex_value(encoded.data[i + 1]) : -1;
            int low = encoded.size - i > 2 ? hex_value(encoded.data[i + 2]) : -1;
            if (high < 0 || low < 0 || high + low == 0) {
                return ERR_INVALID;
            }
            c = (char)(high * 16 + low);
            i += 2;
        } else if (c == '+' && plus_is_space) {
            c = ' ';
        }
        decoded[size++] = c;
    }
    *out = bytes_of(decoded, size);
    return OK;
}

bool http_query_next(struct bytes *rest, struct bytes *out_name, struct bytes *out_value)
{
    while (rest->size > 0) {
        struct bytes value = bytes_split(rest, '&');
        if (value.size > 0) {
            *out_name = bytes_split(&value, '=');
            *out_value = value;
            return true;
        }
    }
    return false;
}
