/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The texts. Server-sent events carry the JSON object of a transaction in one data line; NDJSON is
 * the same object as a line. Of Protobuf each message stands behind its size, so sizes are worked
 * out before: of an operation from its key and value, of a transaction by adding its operations up.
 */
#include "weaseldb/feed_format.h"

#include "base/check.h"
#include "base/clock.h"
#include "http/sse.h"
#include "txn/base64.h"

#include <stdio.h>

struct bytes feed_media_type(enum feed_format format)
{
    static const struct bytes types[FEED_FORMATS] = {
        [FEED_SSE] = BYTES_INIT("text/event-stream"),
        [FEED_NDJSON] = BYTES_INIT("application/x-ndjson"),
        [FEED_PROTOBUF] = BYTES_INIT("application/protobuf"),
    };
    return types[format];
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

/* ---- Protobuf ---- */

/* Tags of api/weaseldb.proto: field number << 3, and 2 for what has a size, 0 for a number. */
enum {
    TAG_EVENT_TRANSACTION = 1 << 3 | 2,
    TAG_EVENT_PROGRESS = 2 << 3 | 2,
    TAG_EVENT_END = 3 << 3 | 2,
    TAG_VERSION = 1 << 3,
    TAG_PREV_VERSION = 2 << 3,
    TAG_REQUEST_ID = 3 << 3 | 2,
    TAG_TIMESTAMP_US = 4 << 3,
    TAG_OPERATIONS = 5 << 3 | 2,
    TAG_KEY = 1 << 3 | 2,
    TAG_VALUE = 2 << 3 | 2,
    TAG_END_REASON = 1 << 3 | 2,
    TAG_END_RETRY_MS = 2 << 3,
    TAG_END_LOG_START_VERSION = 3 << 3,
};

static uint64_t varint_bytes(uint64_t number)
{
    uint64_t size = 1;
    while (number >= 0x80) {
        number >>= 7;
        size++;
    }
    return size;
}

static char *put_varint(char *at, uint64_t number)
{
    while (number >= 0x80) {
        *at++ = (char)(unsigned char)(number | 0x80);
        number >>= 7;
    }
    *at++ = (char)number;
    return at;
}

static char *put_tagged(char *at, int tag, uint64_t number)
{
    *at++ = (char)tag;
    return put_varint(at, number);
}

static uint64_t sized_bytes(uint64_t size)
{
    return 1 + varint_bytes(size) + size;
}

/* Of Write, Delete or RangeDelete. */
static uint64_t change_bytes(const struct feed_operation *operation)
{
    return sized_bytes(operation->key_bytes) +
           (operation->type == TXN_DELETE ? 0 : sized_bytes(operation->value_bytes));
}

uint64_t feed_operation_bytes(enum feed_format format, const struct feed_operation *operation)
{
    return format == FEED_PROTOBUF ? sized_bytes(sized_bytes(change_bytes(operation))) : 0;
}

static size_t protobuf_transaction(const struct feed_transaction *transaction, char *out)
{
    uint64_t size = 1 + varint_bytes(transaction->version) + 1 +
                    varint_bytes(transaction->prev_version) +
                    sized_bytes(transaction->request_id.size) + 1 +
                    varint_bytes(transaction->timestamp_us) + transaction->operations_bytes;
    char *at = put_varint(out, sized_bytes(size));
    at = put_tagged(at, TAG_EVENT_TRANSACTION, size);
    at = put_tagged(at, TAG_VERSION, transaction->version);
    at = put_tagged(at, TAG_PREV_VERSION, transaction->prev_version);
    at = put_tagged(at, TAG_REQUEST_ID, transaction->request_id.size);
    at = put(at, transaction->request_id);
    at = put_tagged(at, TAG_TIMESTAMP_US, transaction->timestamp_us);
    return (size_t)(at - out);
}

static size_t protobuf_operation(const struct feed_operation *operation, char *out)
{
    uint64_t change = change_bytes(operation);
    char *at = put_tagged(out, TAG_OPERATIONS, sized_bytes(change));
    at = put_tagged(at, (int)operation->type << 3 | 2, change);
    at = put_tagged(at, TAG_KEY, operation->key_bytes);
    return (size_t)(at - out);
}

/* An event whose message stands in `body`. */
static size_t protobuf_event(int tag, struct bytes body, char *out)
{
    char *at = put_varint(out, sized_bytes(body.size));
    at = put(put_tagged(at, tag, body.size), body);
    return (size_t)(at - out);
}

static size_t protobuf_end(const struct feed_end *end, char *out)
{
    char body[128];
    struct bytes reason = bytes_from_string(end->reason);
    CHECK(reason.size < sizeof body / 2);
    char *at = put(put_tagged(body, TAG_END_REASON, reason.size), reason);
    if (end->retry_ms != 0) {
        at = put_tagged(at, TAG_END_RETRY_MS, end->retry_ms);
    }
    if (end->log_start_version != 0) {
        at = put_tagged(at, TAG_END_LOG_START_VERSION, end->log_start_version);
    }
    return protobuf_event(TAG_EVENT_END, bytes_of(body, (size_t)(at - body)), out);
}

/* ---- JSON ---- */

/* Request ids are printable; what else a log may hold is escaped all the same. */
static char *put_escaped(char *at, struct bytes text)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < text.size; i++) {
        unsigned char c = (unsigned char)text.data[i];
        if (c >= 0x20 && c < 0x7f && c != '"' && c != '\\') {
            *at++ = (char)c;
        } else {
            at = put(at, BYTES("\\u00"));
            *at++ = digits[c >> 4];
            *at++ = digits[c & 15];
        }
    }
    return at;
}

static size_t json_transaction(enum feed_format format, const struct feed_transaction *transaction,
                               char *out)
{
    char *at = out;
    if (format == FEED_SSE) {
        at = put_number(put(at, BYTES("event: transaction\nid: ")), transaction->version);
        at = put(at, BYTES("\ndata: "));
    }
    at = put_number(put(at, BYTES("{\"version\":")), transaction->version);
    at = put_number(put(at, BYTES(",\"prev_version\":")), transaction->prev_version);
    at = put_escaped(put(at, BYTES(",\"request_id\":\"")), transaction->request_id);
    at = put(at, BYTES("\",\"timestamp\":\""));
    clock_rfc3339(transaction->timestamp_us * 1000, at);
    at = put(at + CLOCK_RFC3339_BYTES, BYTES("\",\"operations\":["));
    return (size_t)(at - out);
}

static size_t json_operation(const struct feed_operation *operation, bool first, char *out)
{
    char *at = out;
    if (!first) {
        *at++ = ',';
    }
    switch (operation->type) {
    case TXN_WRITE:
        at = put(at, BYTES("{\"type\":\"write\",\"key\":\""));
        break;
    case TXN_DELETE:
        at = put(at, BYTES("{\"type\":\"delete\",\"key\":\""));
        break;
    case TXN_RANGE_DELETE:
        at = put(at, BYTES("{\"type\":\"range_delete\",\"begin\":\""));
        break;
    }
    return (size_t)(at - out);
}

/* `{"reason":"draining","retry_ms":1234}` */
static size_t json_end(const struct feed_end *end, char *out)
{
    char *at = put(put(out, BYTES("{\"reason\":\"")), bytes_from_string(end->reason));
    *at++ = '"';
    if (end->retry_ms != 0) {
        at = put_number(put(at, BYTES(",\"retry_ms\":")), end->retry_ms);
    }
    if (end->log_start_version != 0) {
        at = put_number(put(at, BYTES(",\"log_start_version\":")), end->log_start_version);
    }
    *at++ = '}';
    return (size_t)(at - out);
}

/* `{"name":body}` and a line end. */
static size_t ndjson_event(struct bytes name, struct bytes body, char *out)
{
    char *at = put(put(put(out, BYTES("{\"")), name), BYTES("\":"));
    at = put(put(at, body), BYTES("}\n"));
    return (size_t)(at - out);
}

/* ---- all ---- */

size_t feed_put_transaction(enum feed_format format, const struct feed_transaction *transaction,
                            char *out)
{
    return format == FEED_PROTOBUF ? protobuf_transaction(transaction, out)
                                   : json_transaction(format, transaction, out);
}

size_t feed_put_operation(enum feed_format format, const struct feed_operation *operation,
                          bool first, char *out)
{
    return format == FEED_PROTOBUF ? protobuf_operation(operation, out)
                                   : json_operation(operation, first, out);
}

size_t feed_put_middle(enum feed_format format, const struct feed_operation *operation, char *out)
{
    CHECK(operation->type != TXN_DELETE);
    if (format == FEED_PROTOBUF) {
        return (size_t)(put_tagged(out, TAG_VALUE, operation->value_bytes) - out);
    }
    struct bytes text =
        operation->type == TXN_WRITE ? BYTES("\",\"value\":\"") : BYTES("\",\"end\":\"");
    return (size_t)(put(out, text) - out);
}

size_t feed_put_operation_tail(enum feed_format format, char *out)
{
    return format == FEED_PROTOBUF ? 0 : (size_t)(put(out, BYTES("\"}")) - out);
}

size_t feed_put_transaction_tail(enum feed_format format, char *out)
{
    switch (format) {
    case FEED_SSE:
        return (size_t)(put(out, BYTES("]}\n\n")) - out);
    case FEED_NDJSON:
        return (size_t)(put(out, BYTES("]}\n")) - out);
    case FEED_PROTOBUF:
    case FEED_FORMATS:
        break;
    }
    return 0;
}

size_t feed_put_bytes(enum feed_format format, struct bytes from, bool is_last, size_t room,
                      char *out, size_t *out_taken)
{
    if (format == FEED_PROTOBUF) {
        size_t size = from.size < room ? from.size : room;
        if (size > 0) {
            memcpy(out, from.data, size);
        }
        *out_taken = size;
        return size;
    }
    if (!is_last || from.size > room / 4 * 3) {
        size_t fits = from.size < room / 4 * 3 ? from.size : room / 4 * 3;
        from.size = fits - fits % 3;
    }
    *out_taken = from.size;
    return base64_encode(from, out);
}

size_t feed_put_progress(enum feed_format format, uint64_t version, char *out)
{
    char body[48];
    char id[20];
    char *at = body;
    if (format == FEED_PROTOBUF) {
        at = put_tagged(at, TAG_VERSION, version);
        return protobuf_event(TAG_EVENT_PROGRESS, bytes_of(body, (size_t)(at - body)), out);
    }
    at = put_number(put(at, BYTES("{\"version\":")), version);
    *at++ = '}';
    struct bytes json = bytes_of(body, (size_t)(at - body));
    if (format == FEED_NDJSON) {
        return ndjson_event(BYTES("progress"), json, out);
    }
    const struct sse_event event = {.event = BYTES_INIT("progress"),
                                    .id = bytes_of(id, bytes_format_u64(id, version)),
                                    .data = json};
    return sse_event_write(&event, out);
}

size_t feed_put_end(enum feed_format format, const struct feed_end *end, char *out)
{
    char body[160];
    if (format == FEED_PROTOBUF) {
        return protobuf_end(end, out);
    }
    struct bytes json = bytes_of(body, json_end(end, body));
    if (format == FEED_NDJSON) {
        return ndjson_event(BYTES("end"), json, out);
    }
    const struct sse_event event = {.event = BYTES_INIT("end"),
                                    .data = json,
                                    .has_retry = end->retry_ms != 0,
                                    .retry_ms = end->retry_ms};
    return sse_event_write(&event, out);
}
