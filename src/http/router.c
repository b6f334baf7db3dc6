/* SPDX-License-Identifier: Apache-2.0 */
/*
 * router: one entry for each shape of path, holding its routes by method and its Allow value.
 *
 * Paths without parameters are found by hashing the whole path as it was sent: one probe, no
 * decoding, since no pattern holds a '%'. What is not found so goes the slow way: the path is cut
 * into segments, each decoded, and compared with every entry. Entries are kept in the order of
 * precedence (at the first segment where two differ in kind, the literal comes first), so the first
 * that matches is the right one.
 *
 * A server has tens of routes: the slow way is linear on purpose.
 */
#include "http/router.h"

#include "base/check.h"

#include <assert.h>
#include <stdlib.h>

enum {
    SEGMENTS_MAX = 16, /* of a pattern; longer paths match nothing */
    ALLOW_BYTES_MAX = 64,
};

struct path_entry {
    uint64_t hash;
    struct bytes pattern;
    unsigned segment_count;
    unsigned param_count;
    struct bytes segments[SEGMENTS_MAX]; /* a parameter has data NULL */
    const struct http_route *routes[HTTP_METHODS];
    size_t allow_size;
    char allow[ALLOW_BYTES_MAX];
};

struct http_router {
    struct path_entry **entries; /* in the order of precedence */
    size_t entry_count;
    struct path_entry **table; /* those without parameters, open addressing; never full */
    size_t table_mask;
    struct path_entry all; /* the entry of "*": only its Allow value counts */
};

/* Every method once, with separators, fits. */
static_assert(sizeof("GET, HEAD, POST, PUT, DELETE, PATCH, OPTIONS, TRACE") <= ALLOW_BYTES_MAX,
              "an Allow value fits");

/* Patterns are the only keys, so nobody can choose colliding ones. */
static uint64_t path_hash(struct bytes path)
{
    const uint64_t prime = 0x9e3779b97f4a7c15U;
    uint64_t hash = path.size * prime;
    size_t at = 0;
    uint64_t word;
    for (; path.size - at >= sizeof(word); at += sizeof(word)) {
        memcpy(&word, path.data + at, sizeof(word));
        hash = (hash ^ word) * prime;
        hash ^= hash >> 32;
    }
    word = 0;
    for (; at < path.size; at++) {
        word = word << 8 | (unsigned char)path.data[at];
    }
    hash = (hash ^ word) * prime;
    return hash ^ hash >> 32;
}

struct http_router *http_router_open(void)
{
    struct http_router *router = calloc(1, sizeof(*router));
    if (router != NULL) {
        static const char options[] = "OPTIONS";
        memcpy(router->all.allow, options, sizeof(options) - 1);
        router->all.allow_size = sizeof(options) - 1;
    }
    return router;
}

void http_router_close(struct http_router *router)
{
    if (router == NULL) {
        return;
    }
    for (size_t i = 0; i < router->entry_count; i++) {
        free(router->entries[i]);
    }
    free((void *)router->entries);
    free((void *)router->table);
    free(router);
}

/* An unreserved or sub-delim character, ':' or '@' (RFC 3986 pchar without escapes). */
static bool is_pattern_char(char c)
{
    return c > ' ' && c < 0x7f && strchr("\"#%/<>?[\\]^`{|}", c) == NULL;
}

static bool is_literal(struct bytes segment)
{
    for (size_t i = 0; i < segment.size; i++) {
        if (!is_pattern_char(segment.data[i])) {
            return false;
        }
    }
    return true;
}

static bool is_dot_segment(struct bytes segment)
{
    return bytes_equal(segment, BYTES(".")) || bytes_equal(segment, BYTES(".."));
}

/* Cuts `pattern` into the segments of `entry`; false: it is not well formed. */
static bool parse_pattern(struct path_entry *entry, struct bytes pattern)
{
    entry->pattern = pattern;
    entry->hash = path_hash(pattern);
    if (pattern.size == 0 || pattern.data[0] != '/') {
        return false;
    }
    struct bytes rest = bytes_drop(pattern, 1);
    do {
        struct bytes segment = bytes_split(&rest, '/');
        bool last = rest.data == NULL;
        if (entry->segment_count == SEGMENTS_MAX || (segment.size == 0 && !last)) {
            return false;
        }
        if (segment.size > 0 && segment.data[0] == '{') {
            struct bytes name = bytes_of(segment.data + 1, segment.size - 2);
            if (segment.size < 3 || segment.data[segment.size - 1] != '}' || !is_literal(name) ||
                entry->param_count == REQUEST_PARAMS_MAX) {
                return false;
            }
            entry->param_count++;
            segment = bytes_of(NULL, 0);
        } else if (!is_literal(segment) || is_dot_segment(segment)) {
            return false;
        }
        entry->segments[entry->segment_count++] = segment;
    } while (rest.data != NULL);
    return true;
}

static bool is_param(const struct path_entry *entry, unsigned segment)
{
    return entry->segments[segment].data == NULL;
}

static bool same_shape(const struct path_entry *a, const struct path_entry *b)
{
    if (a->segment_count != b->segment_count) {
        return false;
    }
    for (unsigned i = 0; i < a->segment_count; i++) {
        if (is_param(a, i) != is_param(b, i) || !bytes_equal(a->segments[i], b->segments[i])) {
            return false;
        }
    }
    return true;
}

/* Whether `a` must be tried before `b`: it has a literal where `b` first has a parameter. */
static bool precedes(const struct path_entry *a, const struct path_entry *b)
{
    for (unsigned i = 0; i < a->segment_count && i < b->segment_count; i++) {
        if (is_param(a, i) != is_param(b, i)) {
            return is_param(b, i);
        }
    }
    return false;
}

static void table_put(struct path_entry **table, size_t mask, struct path_entry *entry)
{
    size_t at = entry->hash & mask;
    while (table[at] != NULL) {
        at = (at + 1) & mask;
    }
    table[at] = entry;
}

/* Makes room for one more entry and puts it into its place: both arrays anew, since a router is
 * built once. The table is kept at most half full. */
static enum err insert_entry(struct http_router *router, struct path_entry *entry)
{
    size_t count = router->entry_count + 1;
    size_t slots = 16;
    while (slots < 2 * count) {
        slots *= 2;
    }
    struct path_entry **entries = calloc(count, sizeof(*entries));
    struct path_entry **table = calloc(slots, sizeof(*table));
    if (entries == NULL || table == NULL) {
        free((void *)entries);
        free((void *)table);
        return ERR_MEMORY;
    }
    size_t place = 0;
    while (place < router->entry_count && !precedes(entry, router->entries[place])) {
        place++;
    }
    for (size_t i = 0; i < count; i++) {
        entries[i] = i == place ? entry : router->entries[i < place ? i : i - 1];
        if (entries[i]->param_count == 0) {
            table_put(table, slots - 1, entries[i]);
        }
    }
    free((void *)router->entries);
    free((void *)router->table);
    router->entries = entries;
    router->table = table;
    router->table_mask = slots - 1;
    router->entry_count = count;
    return OK;
}

/* HEAD goes with GET, OPTIONS with everything. */
static void render_allow(struct path_entry *entry)
{
    entry->allow_size = 0;
    for (unsigned i = 0; i < HTTP_METHODS; i++) {
        enum http_method method = (enum http_method)i;
        bool implied =
            method == HTTP_OPTIONS || (method == HTTP_HEAD && entry->routes[HTTP_GET] != NULL);
        if (entry->routes[method] == NULL && !implied) {
            continue;
        }
        struct bytes name = http_method_name(method);
        if (entry->allow_size > 0) {
            memcpy(entry->allow + entry->allow_size, ", ", 2);
            entry->allow_size += 2;
        }
        memcpy(entry->allow + entry->allow_size, name.data, name.size);
        entry->allow_size += name.size;
    }
}

enum err http_router_add(struct http_router *router, const struct http_route *route)
{
    struct path_entry *entry = calloc(1, sizeof(*entry));
    if (entry == NULL) {
        return ERR_MEMORY;
    }
    enum err err = ERR_INVALID;
    CHECK((unsigned)route->method < HTTP_METHODS);
    if (!parse_pattern(entry, bytes_from_string(route->pattern))) {
        goto done;
    }
    struct path_entry *known = NULL;
    for (size_t i = 0; i < router->entry_count && known == NULL; i++) {
        known = same_shape(router->entries[i], entry) ? router->entries[i] : NULL;
    }
    if (known == NULL) {
        err = insert_entry(router, entry);
        if (err != OK) {
            goto done;
        }
        known = entry;
        entry = NULL;
    } else if (known->routes[route->method] != NULL) {
        goto done;
    }
    known->routes[route->method] = route;
    router->all.routes[route->method] = route;
    render_allow(known);
    render_allow(&router->all);
    err = OK;
done:
    free(entry);
    return err;
}

static const struct path_entry *find_exact(const struct http_router *router, struct bytes path)
{
    if (router->table == NULL) {
        return NULL;
    }
    uint64_t hash = path_hash(path);
    for (size_t at = hash & router->table_mask;; at = (at + 1) & router->table_mask) {
        const struct path_entry *entry = router->table[at];
        if (entry == NULL || (entry->hash == hash && bytes_equal(entry->pattern, path))) {
            return entry;
        }
    }
}

static bool entry_matches(const struct path_entry *entry, const struct bytes *segments,
                          unsigned count)
{
    if (entry->segment_count != count) {
        return false;
    }
    for (unsigned i = 0; i < count; i++) {
        bool matches = is_param(entry, i) ? segments[i].size > 0 && !is_dot_segment(segments[i])
                                          : bytes_equal(entry->segments[i], segments[i]);
        if (!matches) {
            return false;
        }
    }
    return true;
}

/* The slow way; ROUTER_FOUND means that *out_entry matches. */
static enum http_router_result find_by_segments(const struct http_router *router,
                                                struct http_request *request, struct arena *arena,
                                                const struct path_entry **out_entry)
{
    struct bytes segments[SEGMENTS_MAX];
    unsigned count = 0;
    struct bytes rest = request->path;
    if (rest.size == 0 || rest.data[0] != '/') {
        return ROUTER_NO_PATH;
    }
    rest = bytes_drop(rest, 1);
    do {
        if (count == SEGMENTS_MAX) {
            return ROUTER_NO_PATH;
        }
        enum err err = http_percent_decode(arena, bytes_split(&rest, '/'), false, &segments[count]);
        if (err != OK) {
            return err == ERR_MEMORY ? ROUTER_NO_MEMORY : ROUTER_BAD_PATH;
        }
        count++;
    } while (rest.data != NULL);

    for (size_t i = 0; i < router->entry_count; i++) {
        const struct path_entry *entry = router->entries[i];
        if (entry_matches(entry, segments, count)) {
            request->param_count = 0;
            for (unsigned s = 0; s < count; s++) {
                if (is_param(entry, s)) {
                    request->params[request->param_count++] = segments[s];
                }
            }
            CHECK(request->param_count == entry->param_count);
            *out_entry = entry;
            return ROUTER_FOUND;
        }
    }
    return ROUTER_NO_PATH;
}

enum http_router_result http_router_find(const struct http_router *router,
                                         struct http_request *request, struct arena *arena,
                                         const struct http_route **out_route,
                                         struct bytes *out_allow)
{
    const struct path_entry *entry = find_exact(router, request->path);
    if (entry == NULL && bytes_equal(request->path, BYTES("*"))) {
        entry = &router->all;
        *out_allow = bytes_of(entry->allow, entry->allow_size);
        return ROUTER_NO_METHOD;
    }
    if (entry == NULL) {
        enum http_router_result result = find_by_segments(router, request, arena, &entry);
        if (result != ROUTER_FOUND) {
            return result;
        }
    }
    const struct http_route *route = entry->routes[request->method];
    if (route == NULL && request->method == HTTP_HEAD) {
        route = entry->routes[HTTP_GET];
    }
    if (route == NULL) {
        *out_allow = bytes_of(entry->allow, entry->allow_size);
        return ROUTER_NO_METHOD;
    }
    *out_route = route;
    return ROUTER_FOUND;
}
