/* SPDX-License-Identifier: Apache-2.0 */
/*
 * MessagePack: the maps of JSON, with bin for byte strings (a str is taken as its bytes).
 *
 * msgpack-c's own objects come from malloc, and an array makes room for as many elements as it
 * claims: five bytes could ask for gigabytes. So this file gives its unpacker (a template) nodes
 * and callbacks of its own. They take room from the arena for no more elements than there are
 * bytes, and strings stay where they are in the body. Nesting is bounded by the unpacker's stack.
 *
 * A truncated body leaves the unpacker unfinished; bytes behind the value are left over.
 */
#include "base/check.h"
#include "txn/builder.h"
#include "txn/codec.h"

/* {transactions: [{operations: [{key: ...}]}]} and what that holds, were it a container. */
#define MSGPACK_EMBED_STACK_SIZE 6

#include <msgpack.h>
#include <msgpack/unpack_define.h>

enum node_kind {
    NODE_OTHER, /* nil, booleans, negative and floating numbers, extensions: never wanted */
    NODE_NUMBER,
    NODE_STR,
    NODE_BIN,
    NODE_ARRAY,
    NODE_MAP,
};

struct node {
    union {
        uint64_t number;
        const char *data;
        struct node *nodes; /* of a map: name, value, name, value */
    } of;
    uint32_t count; /* bytes, elements or pairs; while a container is filled: those so far */
    enum node_kind kind;
};

/* What the callbacks share. */
struct unpack {
    struct arena *arena;
    size_t nodes_max; /* how many more the rest of the body can hold */
    bool is_out_of_memory;
};

/* ---- callbacks of the unpacker: 0, or what ends it ---- */

enum { UNPACK_REFUSED = -1000 }; /* apart from the library's own */

static int on_number(struct node *out, uint64_t number)
{
    *out = (struct node){.of.number = number, .kind = NODE_NUMBER};
    return 0;
}

static int on_signed(struct node *out, int64_t number)
{
    if (number >= 0) {
        return on_number(out, (uint64_t)number);
    }
    *out = (struct node){.kind = NODE_OTHER};
    return 0;
}

static int on_other(struct node *out)
{
    *out = (struct node){.kind = NODE_OTHER};
    return 0;
}

static int on_string(struct node *out, enum node_kind kind, const char *data, unsigned size)
{
    *out = (struct node){.of.data = data, .count = size, .kind = kind};
    return 0;
}

static int on_container(struct unpack *unpack, struct node *out, enum node_kind kind, size_t nodes)
{
    *out = (struct node){.kind = kind};
    if (nodes > unpack->nodes_max) {
        return UNPACK_REFUSED; /* each takes a byte at least: they cannot all come */
    }
    unpack->nodes_max -= nodes;
    if (nodes > 0) {
        out->of.nodes = arena_try_alloc(unpack->arena, nodes * sizeof(struct node));
        unpack->is_out_of_memory = out->of.nodes == NULL;
    }
    return unpack->is_out_of_memory ? UNPACK_REFUSED : 0;
}

/* The names that the template calls. */
static struct node unpack_cb_root(struct unpack *unpack)
{
    (void)unpack;
    return (struct node){.kind = NODE_OTHER};
}

static int unpack_cb_array_item(struct unpack *unpack, struct node *array, struct node item)
{
    (void)unpack;
    array->of.nodes[array->count++] = item;
    return 0;
}

static int unpack_cb_map_item(struct unpack *unpack, struct node *map, struct node name,
                              struct node value)
{
    (void)unpack;
    map->of.nodes[2 * (size_t)map->count] = name;
    map->of.nodes[2 * (size_t)map->count + 1] = value;
    map->count++;
    return 0;
}

#define unpack_cb_uint8(unpack, number, out) on_number(out, number)
#define unpack_cb_uint16(unpack, number, out) on_number(out, number)
#define unpack_cb_uint32(unpack, number, out) on_number(out, number)
#define unpack_cb_uint64(unpack, number, out) on_number(out, number)
#define unpack_cb_int8(unpack, number, out) on_signed(out, number)
#define unpack_cb_int16(unpack, number, out) on_signed(out, number)
#define unpack_cb_int32(unpack, number, out) on_signed(out, number)
#define unpack_cb_int64(unpack, number, out) on_signed(out, number)
#define unpack_cb_float(unpack, number, out) ((void)(number), on_other(out))
#define unpack_cb_double(unpack, number, out) ((void)(number), on_other(out))
#define unpack_cb_nil(unpack, out) on_other(out)
#define unpack_cb_true(unpack, out) on_other(out)
#define unpack_cb_false(unpack, out) on_other(out)
#define unpack_cb_ext(unpack, base, data, size, out) on_other(out)
#define unpack_cb_str(unpack, base, data, size, out) on_string(out, NODE_STR, data, size)
#define unpack_cb_bin(unpack, base, data, size, out) on_string(out, NODE_BIN, data, size)
#define unpack_cb_array(unpack, claimed, out) on_container(unpack, out, NODE_ARRAY, claimed)
#define unpack_cb_map(unpack, claimed, out)                                                        \
    on_container(unpack, out, NODE_MAP, 2 * (size_t)(claimed))

#define msgpack_unpack_struct(name) struct unpack##name
#define msgpack_unpack_func(type, name) static inline type unpack##name
#define msgpack_unpack_callback(name) unpack_cb##name
#define msgpack_unpack_object struct node
#define msgpack_unpack_user struct unpack

#include <msgpack/unpack_template.h>

static enum err parse(struct txn_builder *builder, struct bytes body, struct node *out_root)
{
    static const char format[] = "MessagePack";
    struct unpack_context context;
    size_t offset = 0;
    context.user = (struct unpack){.arena = builder->arena, .nodes_max = body.size};
    unpack_init(&context);
    int result = unpack_execute(&context, body.data, body.size, &offset);
    if (result < 0) {
        return context.user.is_out_of_memory ? ERR_MEMORY
               : result == MSGPACK_UNPACK_NOMEM_ERROR
                   ? txn_build_refuse_body(builder, format, "it is nested too deeply", offset)
               : result == UNPACK_REFUSED
                   ? txn_build_refuse_body(builder, format, "more is announced than comes", offset)
                   : txn_build_refuse_body(builder, format, "no value begins so", offset);
    }
    if (result == 0) {
        return txn_build_refuse_body(builder, format, "it ends too early", body.size);
    }
    if (offset != body.size) {
        return txn_build_refuse_body(builder, format, "something follows the value", offset);
    }
    *out_root = unpack_data(&context);
    return OK;
}

/* ---- the tree ---- */

#define tree_node struct node

static inline bool tree_is_map(const struct node *node)
{
    return node->kind == NODE_MAP;
}

static inline bool tree_is_array(const struct node *node)
{
    return node->kind == NODE_ARRAY;
}

static inline size_t tree_count(const struct node *node)
{
    return node->count;
}

static inline struct node *tree_first(const struct node *node)
{
    return node->of.nodes;
}

static inline struct node *tree_next(struct node *node)
{
    return node + 1;
}

static inline bool tree_name(const struct node *name, struct bytes *out)
{
    *out = bytes_of(name->of.data, name->count);
    return name->kind == NODE_STR;
}

static inline enum err tree_text(struct txn_builder *builder, enum txn_field field,
                                 const struct node *node, struct bytes *out)
{
    if (node->kind != NODE_STR) {
        return txn_build_refuse(builder, field, "must be a str");
    }
    *out = bytes_of(node->of.data, node->count);
    return OK;
}

static inline enum err tree_bytes(struct txn_builder *builder, enum txn_field field,
                                  const struct node *node, struct bytes *out)
{
    if (node->kind != NODE_BIN && node->kind != NODE_STR) {
        return txn_build_refuse(builder, field, "must be a bin");
    }
    *out = bytes_of(node->of.data, node->count);
    return OK;
}

static inline enum err tree_version(struct txn_builder *builder, enum txn_field field,
                                    const struct node *node, uint64_t *out)
{
    if (node->kind != NODE_NUMBER) {
        return txn_build_refuse(builder, field, "must be an integer from 0 to 2^53 - 1");
    }
    *out = node->of.number;
    return OK;
}

#include "txn/walk.h"

static enum err msgpack_decode_commit(struct bytes body, const struct txn_limits *limits,
                                      struct arena *arena, struct txn *out,
                                      struct http_problem *out_problem)
{
    struct txn_builder builder;
    struct node root;
    txn_builder_init(&builder, limits, arena, out_problem);
    enum err err = parse(&builder, body, &root);
    return err != OK ? err : walk_transaction(&builder, -1, &root, out);
}

static enum err msgpack_decode_batch(struct bytes body, const struct txn_limits *limits,
                                     struct arena *arena, struct txn_batch *out,
                                     struct http_problem *out_problem)
{
    struct txn_builder builder;
    struct node root;
    txn_builder_init(&builder, limits, arena, out_problem);
    enum err err = parse(&builder, body, &root);
    return err != OK ? err : walk_batch(&builder, &root, out);
}

/* ---- answers ---- */

enum {
    HEAD_BYTES_MAX = 9,     /* of any value */
    RESULT_BYTES_MAX = 192, /* all names, heads and numbers of a result, without texts, conflicts */
    RESULTS_BYTES_MAX = 16, /* around them */
    VERSION_BYTES_MAX = 224, /* without the leader */
};

/* Where the library's packer writes to. */
struct output {
    char *at;
    char *end;
};

static int output_append(void *context, const char *data, size_t size)
{
    struct output *output = context;
    CHECK((size_t)(output->end - output->at) >= size); /* room was made for all of it */
    memcpy(output->at, data, size);
    output->at += size;
    return 0;
}

static struct bytes text_of(const char *text)
{
    return text == NULL ? bytes_of("", 0) : bytes_from_string(text);
}

static void pack_str(msgpack_packer *packer, struct bytes text)
{
    msgpack_pack_str(packer, text.size);
    if (text.size > 0) {
        msgpack_pack_str_body(packer, text.data, text.size);
    }
}

static void pack_text(msgpack_packer *packer, struct bytes name, struct bytes text)
{
    if (text.size > 0) {
        pack_str(packer, name);
        pack_str(packer, text);
    }
}

static void pack_number(msgpack_packer *packer, struct bytes name, uint64_t number)
{
    pack_str(packer, name);
    msgpack_pack_uint64(packer, number);
}

static size_t result_room(const struct txn_result *result)
{
    return RESULT_BYTES_MAX + result->request_id.size + result->leader.size +
           text_of(result->status).size + text_of(result->reason).size +
           text_of(result->detail).size + (size_t)result->conflict_count * HEAD_BYTES_MAX;
}

static void pack_result(msgpack_packer *packer, const struct txn_result *result,
                        bool has_http_status)
{
    struct bytes status = text_of(result->status);
    struct bytes reason = text_of(result->reason);
    struct bytes detail = text_of(result->detail);
    size_t fields = (size_t)has_http_status + (result->request_id.size > 0) + (status.size > 0) +
                    (result->has_version ? 1U : 0U) + (result->leader.size > 0) +
                    (reason.size > 0) + (result->conflict_count > 0) + (detail.size > 0);
    msgpack_pack_map(packer, fields);
    if (has_http_status) {
        pack_number(packer, BYTES("http_status"), result->http_status);
    }
    pack_text(packer, BYTES("request_id"), result->request_id);
    pack_text(packer, BYTES("status"), status);
    if (result->has_version) {
        pack_number(packer, BYTES("version"), result->version);
    }
    pack_text(packer, BYTES("leader"), result->leader);
    pack_text(packer, BYTES("reason"), reason);
    if (result->conflict_count > 0) {
        pack_str(packer, BYTES("conflicts"));
        msgpack_pack_array(packer, result->conflict_count);
        for (uint32_t i = 0; i < result->conflict_count; i++) {
            msgpack_pack_uint32(packer, result->conflicts[i]);
        }
    }
    pack_text(packer, BYTES("detail"), detail);
}

/* Room for an answer, and a packer that writes there. */
static enum err output_init(struct output *output, msgpack_packer *packer, struct arena *arena,
                            size_t room)
{
    output->at = arena_try_alloc(arena, room);
    if (output->at == NULL) {
        return ERR_MEMORY;
    }
    output->end = output->at + room;
    msgpack_packer_init(packer, output, output_append);
    return OK;
}

static enum err msgpack_encode_result(const struct txn_result *result, struct arena *arena,
                                      struct bytes *out)
{
    struct output output;
    msgpack_packer packer;
    enum err err = output_init(&output, &packer, arena, result_room(result));
    if (err == OK) {
        const char *start = output.at;
        pack_result(&packer, result, false);
        *out = bytes_of(start, (size_t)(output.at - start));
    }
    return err;
}

static enum err msgpack_encode_results(const struct txn_result *results, uint32_t count,
                                       struct arena *arena, struct bytes *out)
{
    struct output output;
    msgpack_packer packer;
    size_t room = RESULTS_BYTES_MAX;
    for (uint32_t i = 0; i < count; i++) {
        room += result_room(&results[i]);
    }
    enum err err = output_init(&output, &packer, arena, room);
    if (err == OK) {
        const char *start = output.at;
        msgpack_pack_map(&packer, 1);
        pack_str(&packer, BYTES("results"));
        msgpack_pack_array(&packer, count);
        for (uint32_t i = 0; i < count; i++) {
            pack_result(&packer, &results[i], true);
        }
        *out = bytes_of(start, (size_t)(output.at - start));
    }
    return err;
}

static enum err msgpack_encode_version(const struct txn_version_info *info, struct arena *arena,
                                       struct bytes *out)
{
    struct output output;
    msgpack_packer packer;
    enum err err = output_init(&output, &packer, arena, VERSION_BYTES_MAX + info->leader.size);
    if (err == OK) {
        const char *start = output.at;
        msgpack_pack_map(&packer, 5);
        pack_number(&packer, BYTES("version"), info->version);
        pack_str(&packer, BYTES("leader"));
        pack_str(&packer, info->leader);
        pack_number(&packer, BYTES("oldest_read_version"), info->oldest_read_version);
        pack_number(&packer, BYTES("log_start_version"), info->log_start_version);
        pack_str(&packer, BYTES("request_id_window"));
        msgpack_pack_map(&packer, 3);
        pack_number(&packer, BYTES("min_version"), info->request_id_min_version);
        pack_number(&packer, BYTES("seconds"), info->request_id_window_sec);
        pack_number(&packer, BYTES("count"), info->request_id_count_max);
        *out = bytes_of(start, (size_t)(output.at - start));
    }
    return err;
}

static const char *const media_types[] = {"application/msgpack", "application/x-msgpack",
                                          "application/vnd.msgpack", NULL};

const struct txn_codec txn_codec_msgpack = {
    .name = "msgpack",
    .media_types = media_types,
    .decode_commit = msgpack_decode_commit,
    .decode_batch = msgpack_decode_batch,
    .encode_result = msgpack_encode_result,
    .encode_results = msgpack_encode_results,
    .encode_version = msgpack_encode_version,
};
