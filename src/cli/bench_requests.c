/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The head is the same for all requests: its Content-Length has a fixed width, blanks in front. The
 * keys have a fixed width too, whose base64 needs no padding. The field numbers of Protobuf are
 * those of api/weaseldb.proto.
 */
#include "cli/bench_requests.h"

#include "base/check.h"
#include "cli/http_client.h"
#include "cli/text.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    HEAD_ROOM = 1024,
    LENGTH_DIGITS = 9,
    ID_BYTES = 33, /* two numbers in hex, a dash between them */
    KEY_BASE64_BYTES = BENCH_KEY_BYTES / 3 * 4,
    TRANSACTION_ROOM = 192, /* for all of one but reads and writes */
    READ_ROOM = 96,
    WRITE_ROOM = 96, /* and the value */
};

const char bench_conflict_key[BENCH_KEY_BYTES + 1] = "bench-written-last";

struct bench_requests {
    struct bench_shape shape;
    struct bench_keys *keys;
    uint64_t id_prefix;
    uint64_t id_count;
    char *value; /* as it stands in the body */
    size_t value_size;
    uint64_t *key_numbers; /* of the transaction being made */
    char *room;
    size_t head_size;
    char *end; /* of what was written in `room` */
};

uint64_t bench_requests_bytes_max(const struct bench_shape *shape)
{
    uint64_t value =
        shape->format == BENCH_JSON ? (uint64_t)shape->value_bytes * 4 / 3 + 4 : shape->value_bytes;
    uint64_t one = TRANSACTION_ROOM + (uint64_t)(shape->reads + 1) * READ_ROOM +
                   (uint64_t)shape->operations * (WRITE_ROOM + value);
    return HEAD_ROOM + shape->batch * one;
}

static void make_head(struct bench_requests *requests, const char *authority)
{
    const struct bench_shape *shape = &requests->shape;
    int size = snprintf(requests->room, HEAD_ROOM,
                        "POST %s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/%s\r\n"
                        "Accept: application/protobuf\r\nContent-Length: %*d\r\n\r\n",
                        shape->batch > 1 ? "/v1/commits" : "/v1/commit", authority,
                        shape->format == BENCH_JSON ? "json" : "protobuf", LENGTH_DIGITS, 0);
    CHECK(size > 0 && size < HEAD_ROOM);
    requests->head_size = (size_t)size;
}

static void make_value(struct bench_requests *requests)
{
    struct buffer plain = {0};
    struct buffer text = {0};
    for (uint32_t i = 0; i < requests->shape.value_bytes; i++) {
        buffer_add_byte(&plain, (char)('a' + bench_keys_random(requests->keys) % 26));
    }
    struct buffer *chosen = &plain;
    if (requests->shape.format == BENCH_JSON) {
        text_write_base64(buffer_bytes(&plain), &text);
        chosen = &text;
    }
    requests->value_size = chosen->size;
    requests->value = calloc(1, chosen->size + 1);
    CHECK(requests->value != NULL);
    memcpy(requests->value, buffer_bytes(chosen).data, chosen->size);
    buffer_deinit(&plain);
    buffer_deinit(&text);
}

struct bench_requests *bench_requests_open(const struct bench_shape *shape, const char *authority,
                                           struct bench_keys *keys)
{
    struct bench_requests *requests = calloc(1, sizeof *requests);
    CHECK(requests != NULL && bench_requests_bytes_max(shape) <= BENCH_REQUEST_BYTES_MAX);
    *requests =
        (struct bench_requests){.shape = *shape, .keys = keys, .id_prefix = http_client_random()};
    uint32_t keys_max = shape->operations > shape->reads ? shape->operations : shape->reads;
    requests->key_numbers = calloc((size_t)keys_max + 1, sizeof *requests->key_numbers);
    requests->room = malloc((size_t)bench_requests_bytes_max(shape));
    CHECK(requests->room != NULL && requests->key_numbers != NULL);
    make_value(requests);
    make_head(requests, authority);
    return requests;
}

void bench_requests_close(struct bench_requests *requests)
{
    if (requests != NULL) {
        free(requests->value);
        free(requests->key_numbers);
        free(requests->room);
        free(requests);
    }
}

/* ---- parts ---- */

static void put(struct bench_requests *requests, const char *data, size_t size)
{
    memcpy(requests->end, data, size);
    requests->end += size;
}

#define PUT_LITERAL(requests, literal) put(requests, literal, sizeof(literal) - 1)

static void put_hex(struct bench_requests *requests, uint64_t number)
{
    static const char digits[] = "0123456789abcdef";
    for (unsigned shift = 64; shift > 0; shift -= 4) {
        *requests->end++ = digits[number >> (shift - 4) & 15];
    }
}

/* A request id: ID_BYTES. */
static void put_id(struct bench_requests *requests)
{
    put_hex(requests, requests->id_prefix);
    *requests->end++ = '-';
    put_hex(requests, requests->id_count++);
}

static void put_decimal(struct bench_requests *requests, uint64_t number)
{
    requests->end += bytes_format_u64(requests->end, number);
}

static void format_key(uint64_t number, char out[BENCH_KEY_BYTES])
{
    static const char prefix[] = "bench-";
    memcpy(out, prefix, sizeof prefix - 1);
    for (size_t i = BENCH_KEY_BYTES; i-- > sizeof prefix - 1;) {
        out[i] = (char)('0' + number % 10);
        number /= 10;
    }
}

/* ---- Protobuf ---- */

static size_t varint_size(uint64_t number)
{
    return number == 0 ? 1 : (size_t)(63 - __builtin_clzll(number)) / 7 + 1;
}

static void put_varint(struct bench_requests *requests, uint64_t number)
{
    for (; number >= 0x80; number >>= 7) {
        *requests->end++ = (char)(number | 0x80);
    }
    *requests->end++ = (char)number;
}

/* The tag and size of a length-delimited field. */
static void put_field(struct bench_requests *requests, unsigned number, size_t size)
{
    put_varint(requests, number << 3 | 2);
    put_varint(requests, size);
}

static size_t field_size(size_t size)
{
    return 1 + varint_size(size) + size;
}

static size_t read_size(bool has_version, uint64_t version)
{
    return field_size(field_size(BENCH_KEY_BYTES)) + (has_version ? 1 + varint_size(version) : 0);
}

/* preconditions{point_read{key} [version]} */
static void put_read(struct bench_requests *requests, const char key[BENCH_KEY_BYTES],
                     bool has_version, uint64_t version)
{
    put_field(requests, 4, read_size(has_version, version));
    put_field(requests, 1, field_size(BENCH_KEY_BYTES));
    put_field(requests, 1, BENCH_KEY_BYTES);
    put(requests, key, BENCH_KEY_BYTES);
    if (has_version) {
        put_varint(requests, 3 << 3);
        put_varint(requests, version);
    }
}

static size_t write_size(const struct bench_requests *requests)
{
    return field_size(BENCH_KEY_BYTES) + field_size(requests->value_size);
}

/* operations{write{key, value}} */
static void put_write(struct bench_requests *requests, const char key[BENCH_KEY_BYTES])
{
    put_field(requests, 5, field_size(write_size(requests)));
    put_field(requests, 1, write_size(requests));
    put_field(requests, 1, BENCH_KEY_BYTES);
    put(requests, key, BENCH_KEY_BYTES);
    put_field(requests, 2, requests->value_size);
    put(requests, requests->value, requests->value_size);
}

/* What is decided of a transaction before it is written. */
struct plan {
    uint32_t reads;
    uint32_t operations;
    bool conflicts;
    uint64_t version;
};

static void put_protobuf(struct bench_requests *requests, const struct plan *plan)
{
    char key[BENCH_KEY_BYTES];
    uint64_t stale = requests->shape.stale_version;
    size_t size = field_size(ID_BYTES) + 1 + varint_size(plan->version) +
                  plan->reads * field_size(read_size(false, 0)) +
                  (plan->conflicts ? field_size(read_size(true, stale)) : 0) +
                  plan->operations * field_size(field_size(write_size(requests)));
    if (requests->shape.batch > 1) {
        put_field(requests, 1, size);
    }
    const char *begin = requests->end;
    put_field(requests, 1, ID_BYTES);
    put_id(requests);
    put_varint(requests, 3 << 3);
    put_varint(requests, plan->version);
    for (uint32_t i = 0; i < plan->reads; i++) {
        format_key(requests->key_numbers[i], key);
        put_read(requests, key, false, 0);
    }
    if (plan->conflicts) {
        put_read(requests, bench_conflict_key, true, stale);
    }
    for (uint32_t i = 0; i < plan->operations; i++) {
        format_key(requests->key_numbers[i], key);
        put_write(requests, key);
    }
    CHECK(requests->end == begin + size);
}

/* ---- JSON ---- */

static void put_base64_key(struct bench_requests *requests, const char key[BENCH_KEY_BYTES])
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < BENCH_KEY_BYTES; i += 3) {
        unsigned three = (unsigned)(unsigned char)key[i] << 16 |
                         (unsigned)(unsigned char)key[i + 1] << 8 | (unsigned char)key[i + 2];
        *requests->end++ = digits[three >> 18];
        *requests->end++ = digits[three >> 12 & 63];
        *requests->end++ = digits[three >> 6 & 63];
        *requests->end++ = digits[three & 63];
    }
}

static void put_json_read(struct bench_requests *requests, const char key[BENCH_KEY_BYTES])
{
    PUT_LITERAL(requests, "{\"type\":\"point_read\",\"key\":\"");
    put_base64_key(requests, key);
    *requests->end++ = '"';
}

static void put_json_reads(struct bench_requests *requests, const struct plan *plan)
{
    char key[BENCH_KEY_BYTES];
    PUT_LITERAL(requests, ",\"preconditions\":[");
    for (uint32_t i = 0; i < plan->reads; i++) {
        format_key(requests->key_numbers[i], key);
        put_json_read(requests, key);
        PUT_LITERAL(requests, "},");
    }
    if (plan->conflicts) {
        put_json_read(requests, bench_conflict_key);
        PUT_LITERAL(requests, ",\"version\":");
        put_decimal(requests, requests->shape.stale_version);
        PUT_LITERAL(requests, "},");
    }
    requests->end -= requests->end[-1] == ',' ? 1 : 0;
    *requests->end++ = ']';
}

static void put_json(struct bench_requests *requests, const struct plan *plan)
{
    char key[BENCH_KEY_BYTES];
    PUT_LITERAL(requests, "{\"request_id\":\"");
    put_id(requests);
    PUT_LITERAL(requests, "\",\"read_version\":");
    put_decimal(requests, plan->version);
    put_json_reads(requests, plan);
    PUT_LITERAL(requests, ",\"operations\":[");
    for (uint32_t i = 0; i < plan->operations; i++) {
        format_key(requests->key_numbers[i], key);
        PUT_LITERAL(requests, "{\"type\":\"write\",\"key\":\"");
        put_base64_key(requests, key);
        PUT_LITERAL(requests, "\",\"value\":\"");
        put(requests, requests->value, requests->value_size);
        PUT_LITERAL(requests, "\"},");
    }
    requests->end -= requests->end[-1] == ',' ? 1 : 0;
    PUT_LITERAL(requests, "]}");
}

/* ---- a request ---- */

static struct plan make_plan(struct bench_requests *requests, uint64_t version)
{
    const struct bench_shape *shape = &requests->shape;
    struct plan plan = {.reads = shape->reads, .operations = shape->operations, .version = version};
    if (shape->check_share > 0 && bench_keys_share(requests->keys) < shape->check_share) {
        plan.operations = 0;
    }
    plan.conflicts =
        shape->conflict_share > 0 && bench_keys_share(requests->keys) < shape->conflict_share;
    uint32_t keys = plan.reads > plan.operations ? plan.reads : plan.operations;
    for (uint32_t i = 0; i < keys; i++) {
        requests->key_numbers[i] = bench_keys_next(requests->keys);
    }
    return plan;
}

struct bytes bench_requests_make(struct bench_requests *requests, uint64_t version,
                                 uint64_t *io_conflicts)
{
    bool is_json = requests->shape.format == BENCH_JSON;
    char *body = requests->room + requests->head_size;
    requests->end = body;
    if (is_json && requests->shape.batch > 1) {
        PUT_LITERAL(requests, "{\"transactions\":[");
    }
    for (uint32_t i = 0; i < requests->shape.batch; i++) {
        struct plan plan = make_plan(requests, version);
        *io_conflicts += plan.conflicts ? 1 : 0;
        if (is_json && i > 0) {
            *requests->end++ = ',';
        }
        if (is_json) {
            put_json(requests, &plan);
        } else {
            put_protobuf(requests, &plan);
        }
    }
    if (is_json && requests->shape.batch > 1) {
        PUT_LITERAL(requests, "]}");
    }
    uint64_t size = (uint64_t)(requests->end - body);
    char *digit = body - 4; /* the last one stands before the blank line */
    for (unsigned i = 0; i < LENGTH_DIGITS; i++, size /= 10) {
        *--digit = (char)(size > 0 || i == 0 ? '0' + size % 10 : ' ');
    }
    return bytes_of(requests->room, (size_t)(requests->end - requests->room));
}
