/* SPDX-License-Identifier: Apache-2.0 */
/*
 * JSON, read by yyjson in place: the tree is arena memory, its strings are the body's own bytes,
 * and base64 is decoded over itself. Answers are written straight out: first how many bytes they
 * can need, then one allocation, then copies.
 *
 * yyjson itself refuses what is not JSON (comments, trailing commas, NaN, a byte order mark, bytes
 * that are not UTF-8, anything behind the value) and does not recurse. Left to this file: that
 * a version is written as a plain whole number (1.0, 1e3 and -0 have other types in the tree); to
 * the walk: unknown and repeated names.
 */
#include "base/check.h"
#include "http/request.h"
#include "txn/base64.h"
#include "txn/builder.h"
#include "txn/codec.h"

#include <assert.h>
#include <yyjson.h>

static_assert(YYJSON_PADDING_SIZE <= REQUEST_BODY_SLACK, "yyjson writes behind the body");

/* ---- the arena as yyjson's allocator ---- */

static void *json_malloc(void *context, size_t size)
{
    return arena_try_alloc(context, size);
}

static size_t aligned(size_t size)
{
    return (size + ARENA_ALIGNMENT - 1) & ~(size_t)(ARENA_ALIGNMENT - 1);
}

static void *json_realloc(void *context, void *old, size_t old_size, size_t size)
{
    struct arena *arena = context;
    if (size <= old_size) {
        return old;
    }
    /* Nearly always `old` is the arena's newest piece: then what is missing follows it. */
    struct arena_mark mark = arena_mark(arena);
    char *behind = (char *)old + aligned(old_size);
    if (aligned(size) == aligned(old_size) ||
        arena_try_alloc(arena, aligned(size) - aligned(old_size)) == behind) {
        return old;
    }
    arena_rewind(arena, mark);
    void *moved = arena_try_alloc(arena, size);
    if (moved != NULL) {
        memcpy(moved, old, old_size);
    }
    return moved;
}

static void json_free(void *context, void *pointer)
{
    (void)context; /* it goes with the arena */
    (void)pointer;
}

/* The root of the tree, which lives as long as the arena. */
static enum err parse(struct txn_builder *builder, struct bytes body, yyjson_val **out_root)
{
    const yyjson_alc allocator = {json_malloc, json_realloc, json_free, builder->arena};
    yyjson_read_err error;
    char *text = (char *)(uintptr_t)body.data; /* ours to change, by the codec's contract */
    char behind[YYJSON_PADDING_SIZE];
    if (body.size == 0) {
        return txn_build_refuse_body(builder, "JSON", "it is empty", 0);
    }
    memcpy(behind, text + body.size, sizeof behind);
    memset(text + body.size, 0, sizeof behind);
    yyjson_doc *tree = yyjson_read_opts(text, body.size, YYJSON_READ_INSITU, &allocator, &error);
    memcpy(text + body.size, behind, sizeof behind);
    if (tree == NULL) {
        return error.code == YYJSON_READ_ERROR_MEMORY_ALLOCATION
                   ? ERR_MEMORY
                   : txn_build_refuse_body(builder, "JSON", error.msg, error.pos);
    }
    *out_root = yyjson_doc_get_root(tree);
    return OK;
}

/* ---- the tree ---- */

#define tree_node yyjson_val

static inline bool tree_is_map(yyjson_val *node)
{
    return unsafe_yyjson_is_obj(node);
}

static inline bool tree_is_array(yyjson_val *node)
{
    return unsafe_yyjson_is_arr(node);
}

static inline size_t tree_count(yyjson_val *node)
{
    return unsafe_yyjson_get_len(node);
}

static inline yyjson_val *tree_first(yyjson_val *node)
{
    return unsafe_yyjson_get_first(node);
}

static inline yyjson_val *tree_next(yyjson_val *node)
{
    return unsafe_yyjson_get_next(node);
}

static inline bool tree_name(yyjson_val *name, struct bytes *out)
{
    *out = bytes_of(unsafe_yyjson_get_str(name), unsafe_yyjson_get_len(name));
    return true;
}

static inline enum err tree_text(struct txn_builder *builder, enum txn_field field,
                                 yyjson_val *node, struct bytes *out)
{
    if (!unsafe_yyjson_is_str(node)) {
        return txn_build_refuse(builder, field, "must be a string");
    }
    *out = bytes_of(unsafe_yyjson_get_str(node), unsafe_yyjson_get_len(node));
    return OK;
}

static inline enum err tree_bytes(struct txn_builder *builder, enum txn_field field,
                                  yyjson_val *node, struct bytes *out)
{
    if (!unsafe_yyjson_is_str(node)) {
        return txn_build_refuse(builder, field, "must be a string of base64");
    }
    struct bytes text = bytes_of(unsafe_yyjson_get_str(node), unsafe_yyjson_get_len(node));
    char *decoded = (char *)(uintptr_t)text.data;
    size_t size;
    if (base64_decode(text, decoded, &size) != OK) {
        return txn_build_refuse(builder, field,
                                "must be canonical base64 of the standard alphabet, padded");
    }
    *out = bytes_of(decoded, size);
    return OK;
}

static inline enum err tree_version(struct txn_builder *builder, enum txn_field field,
                                    yyjson_val *node, uint64_t *out)
{
    if (!unsafe_yyjson_is_uint(node)) {
        return txn_build_refuse(builder, field, "must be a whole number from 0 to 2^53 - 1");
    }
    *out = unsafe_yyjson_get_uint(node);
    return OK;
}

#include "txn/walk.h"

static enum err json_decode_commit(struct bytes body, const struct txn_limits *limits,
                                   struct arena *arena, struct txn *out,
                                   struct http_problem *out_problem)
{
    struct txn_builder builder;
    yyjson_val *root;
    txn_builder_init(&builder, limits, arena, out_problem);
    enum err err = parse(&builder, body, &root);
    return err != OK ? err : walk_transaction(&builder, -1, root, out);
}

static enum err json_decode_batch(struct bytes body, const struct txn_limits *limits,
                                  struct arena *arena, struct txn_batch *out,
                                  struct http_problem *out_problem)
{
    struct txn_builder builder;
    yyjson_val *root;
    txn_builder_init(&builder, limits, arena, out_problem);
    enum err err = parse(&builder, body, &root);
    return err != OK ? err : walk_batch(&builder, root, out);
}

/* ---- answers ---- */

enum {
    INDEX_BYTES_MAX = 11,   /* a uint32_t and its comma */
    RESULT_BYTES_MAX = 224, /* all names, marks and numbers of a result, without texts, conflicts */
    VERSION_BYTES_MAX = 320,
};

static bool is_plain(unsigned char c)
{
    return c >= 0x20 && c < 0x7f && c != '"' && c != '\\';
}

/* Room for `text` inside of a string. Ids hardly ever hold what must be escaped, so that they take
 * their size and no more. Looks at all of it, without a way out: then many bytes go at once. */
static size_t text_room(struct bytes text)
{
    unsigned odd = 0;
    for (size_t i = 0; i < text.size; i++) {
        unsigned char c = (unsigned char)text.data[i];
        odd |= (unsigned)(c < 0x20) | (c >= 0x7f) | (c == '"') | (c == '\\');
    }
    return odd == 0 ? text.size : 6 * text.size; /* \u0000 */
}

static struct bytes text_of(const char *text)
{
    return text == NULL ? bytes_of(NULL, 0) : bytes_from_string(text);
}

static char *put(char *at, struct bytes piece)
{
    memcpy(at, piece.data, piece.size);
    return at + piece.size;
}

static char *put_number(char *at, uint64_t number)
{
    return at + bytes_format_u64(at, number);
}

static char *put_escaped(char *at, struct bytes text)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < text.size; i++) {
        unsigned char c = (unsigned char)text.data[i];
        if (is_plain(c) || c >= 0x80) {
            *at++ = (char)c;
        } else if (c == '"' || c == '\\') {
            *at++ = '\\';
            *at++ = (char)c;
        } else {
            at = put(at, BYTES("\\u00"));
            *at++ = digits[c >> 4];
            *at++ = digits[c & 15];
        }
    }
    return at;
}

/* `,"name":"text"`, or nothing when the text is empty; `name` comes with its marks. */
static char *put_text(char *at, struct bytes name, struct bytes text, size_t room)
{
    if (text.size == 0) {
        return at;
    }
    at = put(at, name);
    at = room == text.size ? put(at, text) : put_escaped(at, text);
    *at++ = '"';
    return at;
}

/* The texts of a result, and how much room each needs. */
struct result_texts {
    struct bytes text[5];
    size_t room[5];
};

enum { TEXT_REQUEST_ID, TEXT_STATUS, TEXT_LEADER, TEXT_REASON, TEXT_DETAIL };

static size_t result_room(const struct txn_result *result, struct result_texts *out)
{
    *out = (struct result_texts){{result->request_id, text_of(result->status), result->leader,
                                  text_of(result->reason), text_of(result->detail)},
                                 {0}};
    size_t room = RESULT_BYTES_MAX + (size_t)result->conflict_count * INDEX_BYTES_MAX;
    for (unsigned i = 0; i < 5; i++) {
        out->room[i] = text_room(out->text[i]);
        room += out->room[i];
    }
    return room;
}

static char *put_result(char *at, const struct txn_result *result, const struct result_texts *texts,
                        bool has_http_status)
{
    char *start = at;
    if (has_http_status) {
        at = put(at, BYTES(",\"http_status\":"));
        at = put_number(at, result->http_status);
    }
    at = put_text(at, BYTES(",\"request_id\":\""), texts->text[TEXT_REQUEST_ID],
                  texts->room[TEXT_REQUEST_ID]);
    at = put_text(at, BYTES(",\"status\":\""), texts->text[TEXT_STATUS], texts->room[TEXT_STATUS]);
    if (result->has_version) {
        at = put(at, BYTES(",\"version\":"));
        at = put_number(at, result->version);
    }
    at = put_text(at, BYTES(",\"leader\":\""), texts->text[TEXT_LEADER], texts->room[TEXT_LEADER]);
    at = put_text(at, BYTES(",\"reason\":\""), texts->text[TEXT_REASON], texts->room[TEXT_REASON]);
    if (result->conflict_count != 0) {
        at = put(at, BYTES(",\"conflicts\":["));
        for (uint32_t i = 0; i < result->conflict_count; i++) {
            at = put_number(at, result->conflicts[i]);
            *at++ = ',';
        }
        at[-1] = ']';
    }
    at = put_text(at, BYTES(",\"detail\":\""), texts->text[TEXT_DETAIL], texts->room[TEXT_DETAIL]);
    if (at == start) {
        *at++ = '{';
    }
    *start = '{'; /* in place of the first comma */
    *at++ = '}';
    return at;
}

static enum err json_encode_result(const struct txn_result *result, struct arena *arena,
                                   struct bytes *out)
{
    struct result_texts texts;
    size_t room = result_room(result, &texts);
    char *start = arena_try_alloc(arena, room);
    if (start == NULL) {
        return ERR_MEMORY;
    }
    char *end = put_result(start, result, &texts, false);
    *end++ = '\n';
    CHECK((size_t)(end - start) <= room);
    *out = bytes_of(start, (size_t)(end - start));
    return OK;
}

static enum err json_encode_results(const struct txn_result *results, uint32_t count,
                                    struct arena *arena, struct bytes *out)
{
    struct result_texts texts;
    size_t room = sizeof "{\"results\":[]}\n";
    for (uint32_t i = 0; i < count; i++) {
        room += result_room(&results[i], &texts) + 1;
    }
    char *start = arena_try_alloc(arena, room);
    if (start == NULL) {
        return ERR_MEMORY;
    }
    char *at = put(start, BYTES("{\"results\":["));
    for (uint32_t i = 0; i < count; i++) {
        if (i > 0) {
            *at++ = ',';
        }
        result_room(&results[i], &texts);
        at = put_result(at, &results[i], &texts, true);
    }
    at = put(at, BYTES("]}\n"));
    CHECK((size_t)(at - start) <= room);
    *out = bytes_of(start, (size_t)(at - start));
    return OK;
}

static enum err json_encode_version(const struct txn_version_info *info, struct arena *arena,
                                    struct bytes *out)
{
    size_t leader_room = text_room(info->leader);
    size_t room = VERSION_BYTES_MAX + leader_room;
    char *start = arena_try_alloc(arena, room);
    if (start == NULL) {
        return ERR_MEMORY;
    }
    char *at = put_number(put(start, BYTES("{\"version\":")), info->version);
    at = put(at, BYTES(",\"leader\":\""));
    at = put_escaped(at, info->leader);
    at = put_number(put(at, BYTES("\",\"oldest_read_version\":")), info->oldest_read_version);
    at = put_number(put(at, BYTES(",\"log_start_version\":")), info->log_start_version);
    at = put_number(put(at, BYTES(",\"request_id_window\":{\"min_version\":")),
                    info->request_id_min_version);
    at = put_number(put(at, BYTES(",\"seconds\":")), info->request_id_window_sec);
    at = put_number(put(at, BYTES(",\"count\":")), info->request_id_count_max);
    at = put(at, BYTES("}}\n"));
    CHECK((size_t)(at - start) <= room);
    *out = bytes_of(start, (size_t)(at - start));
    return OK;
}

static const char *const media_types[] = {"application/json", NULL};

const struct txn_codec txn_codec_json = {
    .name = "json",
    .media_types = media_types,
    .decode_commit = json_decode_commit,
    .decode_batch = json_decode_batch,
    .encode_result = json_encode_result,
    .encode_results = json_encode_results,
    .encode_version = json_encode_version,
};
