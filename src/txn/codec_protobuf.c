/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Protobuf: the messages of api/weaseldb.proto, unpacked by protobuf-c with the arena as allocator.
 *
 * What protobuf-c does not tell, txn/protobuf_scan.c finds and names, but that costs half as much
 * as unpacking. So it is left out when it would find nothing, which the sizes tell: what was
 * unpacked is measured as a writer would write it, each tag, length and number in its fewest bytes.
 *
 *  1. A field on the wire that is in a message afterwards takes at least as many bytes as measured:
 *     more when its tag, length or number is longer than need be, or a string holds a NUL, at which
 *     it was measured to end.
 *  2. A field that is in no message afterwards, being unknown, or overwritten by another of its
 *     name or oneof, takes two bytes or more and is measured with none.
 *  3. A message that came in two parts was merged. It is measured with one tag instead of two, and
 *     the length of both together takes no more bytes than the two lengths.
 *
 * By induction from the innermost out, a message is measured as at most what it takes on the wire,
 * and as just that only if none of these is in it. The one mistake that adds no byte is a number
 * of ten bytes with bits beyond 2^64, which protobuf-c drops: what remains is above 2^53 if it
 * still needs ten bytes, and that is refused. Tests compare with a scan of every body.
 *
 * A message ends where the body does, so a body cut between two fields is another, shorter message.
 */
#include "base/check.h"
#include "txn/builder.h"
#include "txn/codec.h"
#include "txn/protobuf_scan.h"

#include <weaseldb.pb-c.h>

/* ---- the arena as protobuf-c's allocator ---- */

static void *protobuf_alloc(void *context, size_t size)
{
    return arena_try_alloc(context, size);
}

static void protobuf_free(void *context, void *pointer)
{
    (void)context; /* it goes with the arena */
    (void)pointer;
}

/* ---- transactions ---- */

/* How many bytes a writer needs for what was read. All field numbers fit a tag of one byte. */
static size_t number_bytes(uint64_t number)
{
    return 1 + (70 - (size_t)__builtin_clzll(number | 1)) / 7;
}

static size_t content_bytes(size_t size)
{
    return number_bytes(size) + size;
}

/* Returns how many bytes the field takes. */
static size_t add_bytes(struct txn_item *item, enum txn_field field, protobuf_c_boolean is_set,
                        const ProtobufCBinaryData *data)
{
    if (!is_set) {
        return 0;
    }
    item->bytes[field] = bytes_of((const char *)data->data, data->len);
    item->fields |= 1U << field;
    return content_bytes(data->len);
}

/* These add the bytes of what they read to *size. */
static enum err read_precondition(struct txn_builder *builder,
                                  const Weaseldb__V1__Precondition *precondition, size_t *size)
{
    struct txn_item item = {.fields = 0};
    size_t inside = 0;
    size_t whole = 0;
    if (precondition->read_case == WEASELDB__V1__PRECONDITION__READ_POINT_READ) {
        const Weaseldb__V1__PointRead *read = precondition->point_read;
        item.type = TXN_ITEM_POINT_READ;
        inside = add_bytes(&item, TXN_FIELD_KEY, read->has_key, &read->key);
    } else if (precondition->read_case == WEASELDB__V1__PRECONDITION__READ_RANGE_READ) {
        const Weaseldb__V1__RangeRead *read = precondition->range_read;
        item.type = TXN_ITEM_RANGE_READ;
        inside = add_bytes(&item, TXN_FIELD_BEGIN, read->has_begin, &read->begin) +
                 add_bytes(&item, TXN_FIELD_END, read->has_end, &read->end);
    }
    if (precondition->has_version) {
        item.version = precondition->version;
        item.fields |= 1U << TXN_FIELD_VERSION;
        whole = number_bytes(item.version);
    }
    whole += item.type == TXN_ITEM_NONE ? 0 : content_bytes(inside);
    *size += content_bytes(whole);
    return txn_build_item(builder, &item);
}

static enum err read_operation(struct txn_builder *builder,
                               const Weaseldb__V1__Operation *operation, size_t *size)
{
    struct txn_item item = {.fields = 0};
    size_t inside = 0;
    if (operation->change_case == WEASELDB__V1__OPERATION__CHANGE_WRITE) {
        const Weaseldb__V1__Write *write = operation->write;
        item.type = TXN_ITEM_WRITE;
        inside = add_bytes(&item, TXN_FIELD_KEY, write->has_key, &write->key) +
                 add_bytes(&item, TXN_FIELD_VALUE, write->has_value, &write->value);
    } else if (operation->change_case == WEASELDB__V1__OPERATION__CHANGE_DELETE) {
        const Weaseldb__V1__Delete *deletion = operation->delete_;
        item.type = TXN_ITEM_DELETE;
        inside = add_bytes(&item, TXN_FIELD_KEY, deletion->has_key, &deletion->key);
    } else if (operation->change_case == WEASELDB__V1__OPERATION__CHANGE_RANGE_DELETE) {
        const Weaseldb__V1__RangeDelete *range = operation->range_delete;
        item.type = TXN_ITEM_RANGE_DELETE;
        inside = add_bytes(&item, TXN_FIELD_BEGIN, range->has_begin, &range->begin) +
                 add_bytes(&item, TXN_FIELD_END, range->has_end, &range->end);
    }
    *size += content_bytes(item.type == TXN_ITEM_NONE ? 0 : content_bytes(inside));
    return txn_build_item(builder, &item);
}

static enum err read_single_fields(struct txn_builder *builder,
                                   const Weaseldb__V1__CommitRequest *request, size_t *size)
{
    enum err err = OK;
    if (request->request_id != NULL) {
        struct bytes id = bytes_from_string(request->request_id);
        *size += content_bytes(id.size);
        err = txn_build_request_id(builder, id);
    }
    if (err == OK && request->leader != NULL) {
        struct bytes leader = bytes_from_string(request->leader);
        *size += content_bytes(leader.size);
        err = txn_build_leader(builder, leader);
    }
    if (err == OK && request->has_read_version) {
        *size += number_bytes(request->read_version);
        err = txn_build_read_version(builder, request->read_version);
    }
    return err;
}

static enum err read_transaction(struct txn_builder *builder, int64_t index,
                                 const Weaseldb__V1__CommitRequest *request, struct txn *out,
                                 size_t *size)
{
    txn_build_begin(builder, index);
    enum err err = read_single_fields(builder, request, size);
    if (err == OK && request->n_preconditions > 0) {
        err = txn_build_list(builder, TXN_FIELD_PRECONDITIONS, request->n_preconditions);
    }
    for (uint32_t i = 0; err == OK && i < request->n_preconditions; i++) {
        txn_build_at(builder, i);
        err = read_precondition(builder, request->preconditions[i], size);
    }
    if (err == OK && request->n_operations > 0) {
        err = txn_build_list(builder, TXN_FIELD_OPERATIONS, request->n_operations);
    }
    for (uint32_t i = 0; err == OK && i < request->n_operations; i++) {
        txn_build_at(builder, i);
        err = read_operation(builder, request->operations[i], size);
    }
    if (err == OK) {
        txn_build_end(builder, out);
    }
    return err;
}

static enum err read_batch(struct txn_builder *builder, const Weaseldb__V1__CommitBatch *batch,
                           struct txn_batch *out, size_t *size)
{
    struct txn *transactions;
    enum err err = txn_build_batch(builder, batch->n_transactions, &transactions);
    for (uint32_t i = 0; err == OK && i < batch->n_transactions; i++) {
        size_t inside = 0;
        err = read_transaction(builder, i, batch->transactions[i], &transactions[i], &inside);
        *size += content_bytes(inside);
    }
    if (err == OK) {
        *out = (struct txn_batch){transactions, (uint32_t)batch->n_transactions};
    }
    return err;
}

/* ---- decoding ---- */

/* *out lives as long as the arena. */
static enum err unpack(struct txn_builder *builder, bool is_batch, struct bytes body,
                       ProtobufCMessage **out)
{
    const ProtobufCMessageDescriptor *type = is_batch ? &weaseldb__v1__commit_batch__descriptor
                                                      : &weaseldb__v1__commit_request__descriptor;
    ProtobufCAllocator allocator = {protobuf_alloc, protobuf_free, builder->arena};
    *out = protobuf_c_message_unpack(type, &allocator, body.size, (const uint8_t *)body.data);
    if (*out != NULL) {
        return OK;
    }
    /* What the scan finds nothing wrong with fails for want of memory only. */
    enum err err = protobuf_scan(builder, is_batch, body);
    return err != OK ? err : ERR_MEMORY;
}

/* The verdict on a body of which `size` bytes were understood, with what the rules said of those.
 */
static enum err judge(struct txn_builder *builder, bool is_batch, struct bytes body, size_t size,
                      enum err err)
{
    if (err == ERR_MEMORY || (err == OK && size == body.size)) {
        return err;
    }
    /* What else is in the body explains more than what is missing without it. */
    enum err scanned = protobuf_scan(builder, is_batch, body);
    return scanned != OK ? scanned : err;
}

static enum err protobuf_decode_commit(struct bytes body, const struct txn_limits *limits,
                                       struct arena *arena, struct txn *out,
                                       struct http_problem *out_problem)
{
    struct txn_builder builder;
    ProtobufCMessage *message;
    struct txn txn;
    size_t size = 0;
    txn_builder_init(&builder, limits, arena, out_problem);
    enum err err = unpack(&builder, false, body, &message);
    if (err != OK) {
        return err;
    }
    err = read_transaction(&builder, -1, (Weaseldb__V1__CommitRequest *)message, &txn, &size);
    err = judge(&builder, false, body, size, err);
    if (err == OK) {
        *out = txn;
    }
    return err;
}

static enum err protobuf_decode_batch(struct bytes body, const struct txn_limits *limits,
                                      struct arena *arena, struct txn_batch *out,
                                      struct http_problem *out_problem)
{
    struct txn_builder builder;
    ProtobufCMessage *message;
    struct txn_batch batch;
    size_t size = 0;
    txn_builder_init(&builder, limits, arena, out_problem);
    enum err err = unpack(&builder, true, body, &message);
    if (err != OK) {
        return err;
    }
    err = read_batch(&builder, (Weaseldb__V1__CommitBatch *)message, &batch, &size);
    err = judge(&builder, true, body, size, err);
    if (err == OK) {
        *out = batch;
    }
    return err;
}

/* ---- answers ---- */

/* protobuf-c wants strings that end with NUL and can be changed, although it changes none. */
static char *string_of(const char *text)
{
    return text == NULL || text[0] == '\0' ? NULL : (char *)(uintptr_t)text;
}

/* Copies `text` to *at and moves that behind it; NULL when it is empty. */
static char *string_copy(char **at, struct bytes text)
{
    if (text.size == 0) {
        return NULL;
    }
    char *copy = *at;
    memcpy(copy, text.data, text.size);
    copy[text.size] = '\0';
    *at += text.size + 1;
    return copy;
}

static size_t strings_room(const struct txn_result *result)
{
    return result->request_id.size + result->leader.size + 2;
}

static void fill_result(const struct txn_result *result, char **strings,
                        Weaseldb__V1__CommitResult *out)
{
    weaseldb__v1__commit_result__init(out);
    out->request_id = string_copy(strings, result->request_id);
    out->leader = string_copy(strings, result->leader);
    out->status = string_of(result->status);
    out->reason = string_of(result->reason);
    out->detail = string_of(result->detail);
    out->has_version = result->has_version;
    out->version = result->version;
    out->n_conflicts = result->conflict_count;
    out->conflicts = (uint32_t *)(uintptr_t)result->conflicts;
}

static enum err pack(const ProtobufCMessage *message, struct arena *arena, struct bytes *out)
{
    size_t size = protobuf_c_message_get_packed_size(message);
    char *packed = arena_try_alloc(arena, size);
    if (packed == NULL) {
        return ERR_MEMORY;
    }
    *out = bytes_of(packed, protobuf_c_message_pack(message, (uint8_t *)packed));
    CHECK(out->size == size);
    return OK;
}

static enum err protobuf_encode_result(const struct txn_result *result, struct arena *arena,
                                       struct bytes *out)
{
    Weaseldb__V1__CommitResult message;
    char *strings = arena_try_alloc(arena, strings_room(result));
    if (strings == NULL) {
        return ERR_MEMORY;
    }
    fill_result(result, &strings, &message);
    return pack(&message.base, arena, out);
}

static enum err protobuf_encode_results(const struct txn_result *results, uint32_t count,
                                        struct arena *arena, struct bytes *out)
{
    size_t room = 0;
    for (uint32_t i = 0; i < count; i++) {
        room += strings_room(&results[i]);
    }
    Weaseldb__V1__CommitResults message = WEASELDB__V1__COMMIT_RESULTS__INIT;
    Weaseldb__V1__CommitResult *elements = arena_try_alloc(arena, count * sizeof *elements);
    Weaseldb__V1__CommitResult **pointers = arena_try_alloc(arena, count * sizeof *pointers);
    char *strings = arena_try_alloc(arena, room);
    if (elements == NULL || pointers == NULL || strings == NULL) {
        return ERR_MEMORY;
    }
    for (uint32_t i = 0; i < count; i++) {
        fill_result(&results[i], &strings, &elements[i]);
        elements[i].has_http_status = true;
        elements[i].http_status = results[i].http_status;
        pointers[i] = &elements[i];
    }
    message.n_results = count;
    message.results = pointers;
    return pack(&message.base, arena, out);
}

static enum err protobuf_encode_version(const struct txn_version_info *info, struct arena *arena,
                                        struct bytes *out)
{
    Weaseldb__V1__RequestIdWindow window = WEASELDB__V1__REQUEST_ID_WINDOW__INIT;
    Weaseldb__V1__VersionInfo message = WEASELDB__V1__VERSION_INFO__INIT;
    char *strings = arena_try_alloc(arena, info->leader.size + 1);
    if (strings == NULL) {
        return ERR_MEMORY;
    }
    window.has_min_version = window.has_seconds = window.has_count = true;
    window.min_version = info->request_id_min_version;
    window.seconds = info->request_id_window_sec;
    window.count = info->request_id_count_max;
    message.has_version = true;
    message.version = info->version;
    message.leader = string_copy(&strings, info->leader);
    message.has_oldest_read_version = message.has_log_start_version = true;
    message.oldest_read_version = info->oldest_read_version;
    message.log_start_version = info->log_start_version;
    message.request_id_window = &window;
    return pack(&message.base, arena, out);
}

static const char *const media_types[] = {"application/protobuf", "application/x-protobuf", NULL};

const struct txn_codec txn_codec_protobuf = {
    .name = "protobuf",
    .media_types = media_types,
    .decode_commit = protobuf_decode_commit,
    .decode_batch = protobuf_decode_batch,
    .encode_result = protobuf_encode_result,
    .encode_results = protobuf_encode_results,
    .encode_version = protobuf_encode_version,
};
