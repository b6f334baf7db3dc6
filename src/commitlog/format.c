/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The bytes, all little-endian:
 *
 *   segment header   0 "WEASELOG"  8 format u32  12 header bytes u32  16 log id  24 number
 *                   32 first version  40 first batch  48 segment bytes  56 XXH3 of the 56 bytes
 * before batch header     0 "BTCH"  4 count u32  8 payload bytes  16 number  24 first version 32
 * last version  40 timestamp  48 XXH3 of the payload 56 XXH3 of the 56 bytes before, seeded with
 * the XXH3 of its position record           0 bytes u32  4 type u8  5 id bytes u8  6 zero u16  8
 * version  16 payload hash then the id, then the operations operation        0 type u8  1 key bytes
 * u32  5 value bytes u32, then key and value
 */
#include "commitlog/format.h"

#include "base/check.h"

#include <assert.h>
#include <stdlib.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "numbers are copied as they are");

static const char SEGMENT_MAGIC[8] = {'W', 'E', 'A', 'S', 'E', 'L', 'O', 'G'};
static const char BATCH_MAGIC[4] = {'B', 'T', 'C', 'H'};

enum { CHECKSUM_OFFSET = 56 };

static void put_u32(char *out, uint32_t value)
{
    memcpy(out, &value, sizeof value);
}

static void put_u64(char *out, uint64_t value)
{
    memcpy(out, &value, sizeof value);
}

static uint32_t get_u32(const char *in)
{
    uint32_t value;
    memcpy(&value, in, sizeof value);
    return value;
}

static uint64_t get_u64(const char *in)
{
    uint64_t value;
    memcpy(&value, in, sizeof value);
    return value;
}

void log_segment_header_encode(const struct log_segment_header *header,
                               char out[LOG_SEGMENT_HEADER_BYTES])
{
    memset(out, 0, LOG_SEGMENT_HEADER_BYTES);
    memcpy(out, SEGMENT_MAGIC, sizeof SEGMENT_MAGIC);
    put_u32(out + 8, LOG_FORMAT_VERSION);
    put_u32(out + 12, LOG_SEGMENT_HEADER_BYTES);
    put_u64(out + 16, header->log_id);
    put_u64(out + 24, header->number);
    put_u64(out + 32, header->first_version);
    put_u64(out + 40, header->first_batch);
    put_u64(out + 48, header->segment_bytes);
    put_u64(out + CHECKSUM_OFFSET, XXH3_64bits(out, CHECKSUM_OFFSET));
}

enum log_header_result log_segment_header_decode(const char in[LOG_SEGMENT_HEADER_BYTES],
                                                 struct log_segment_header *out)
{
    if (memcmp(in, SEGMENT_MAGIC, sizeof SEGMENT_MAGIC) != 0) {
        return LOG_HEADER_BAD;
    }
    /* A later format keeps magic and format where they are, and nothing else. */
    if (get_u32(in + 8) > LOG_FORMAT_VERSION) {
        return LOG_HEADER_FUTURE;
    }
    if (get_u32(in + 8) != LOG_FORMAT_VERSION || get_u32(in + 12) != LOG_SEGMENT_HEADER_BYTES ||
        get_u64(in + CHECKSUM_OFFSET) != XXH3_64bits(in, CHECKSUM_OFFSET)) {
        return LOG_HEADER_BAD;
    }
    *out = (struct log_segment_header){
        .log_id = get_u64(in + 16),
        .number = get_u64(in + 24),
        .first_version = get_u64(in + 32),
        .first_batch = get_u64(in + 40),
        .segment_bytes = get_u64(in + 48),
    };
    return LOG_HEADER_GOOD;
}

static uint64_t batch_checksum(const char *header, const struct log_position *position)
{
    char where[24];
    put_u64(where, position->log_id);
    put_u64(where + 8, position->segment_number);
    put_u64(where + 16, position->offset);
    return XXH3_64bits_withSeed(header, CHECKSUM_OFFSET, XXH3_64bits(where, sizeof where));
}

void log_batch_header_encode(const struct log_batch_header *header,
                             const struct log_position *position, char out[LOG_BATCH_HEADER_BYTES])
{
    memcpy(out, BATCH_MAGIC, sizeof BATCH_MAGIC);
    put_u32(out + 4, header->count);
    put_u64(out + 8, header->payload_bytes);
    put_u64(out + 16, header->number);
    put_u64(out + 24, header->first_version);
    put_u64(out + 32, header->last_version);
    put_u64(out + 40, header->timestamp_us);
    put_u64(out + 48, header->payload_hash);
    put_u64(out + CHECKSUM_OFFSET, batch_checksum(out, position));
}

bool log_batch_header_decode(const char in[LOG_BATCH_HEADER_BYTES],
                             const struct log_position *position, struct log_batch_header *out)
{
    if (memcmp(in, BATCH_MAGIC, sizeof BATCH_MAGIC) != 0 ||
        get_u64(in + CHECKSUM_OFFSET) != batch_checksum(in, position)) {
        return false;
    }
    *out = (struct log_batch_header){
        .count = get_u32(in + 4),
        .payload_bytes = get_u64(in + 8),
        .number = get_u64(in + 16),
        .first_version = get_u64(in + 24),
        .last_version = get_u64(in + 32),
        .timestamp_us = get_u64(in + 40),
        .payload_hash = get_u64(in + 48),
    };
    return true;
}

uint64_t log_payload_hash(struct bytes payload)
{
    return XXH3_64bits(payload.data, payload.size);
}

struct log_payload_hasher {
    XXH3_state_t state;
};

struct log_payload_hasher *log_payload_hasher_open(void)
{
    static_assert(sizeof(struct log_payload_hasher) % 64 == 0, "as aligned_alloc() wants it");
    return aligned_alloc(64, sizeof(struct log_payload_hasher));
}

void log_payload_hasher_close(struct log_payload_hasher *hasher)
{
    free(hasher);
}

void log_payload_hasher_begin(struct log_payload_hasher *hasher)
{
    CHECK(XXH3_64bits_reset(&hasher->state) == XXH_OK);
}

void log_payload_hasher_add(struct log_payload_hasher *hasher, struct bytes piece)
{
    CHECK(XXH3_64bits_update(&hasher->state, piece.data, piece.size) == XXH_OK);
}

uint64_t log_payload_hasher_end(const struct log_payload_hasher *hasher)
{
    return XXH3_64bits_digest(&hasher->state);
}

size_t log_record_size(const struct log_record *record)
{
    size_t size = LOG_RECORD_HEADER_BYTES + record->request_id.size;
    for (uint32_t i = 0; i < record->operation_count; i++) {
        const struct txn_operation *operation = &record->operations[i];
        size += LOG_OPERATION_HEADER_BYTES + operation->key.size + operation->value.size;
    }
    return size;
}

static char *put_bytes(char *out, struct bytes bytes)
{
    if (bytes.size > 0) {
        memcpy(out, bytes.data, bytes.size);
    }
    return out + bytes.size;
}

void log_record_encode(const struct log_record *record, char *out)
{
    size_t size = log_record_size(record);
    CHECK(size <= UINT32_MAX);
    CHECK(record->request_id.size >= 1 && record->request_id.size <= TXN_REQUEST_ID_BYTES_MAX);
    put_u32(out, (uint32_t)size);
    out[4] = (char)record->type;
    out[5] = (char)record->request_id.size;
    out[6] = out[7] = 0;
    put_u64(out + 8, record->version);
    put_u64(out + 16, record->payload_hash);
    char *at = put_bytes(out + LOG_RECORD_HEADER_BYTES, record->request_id);
    for (uint32_t i = 0; i < record->operation_count; i++) {
        const struct txn_operation *operation = &record->operations[i];
        at[0] = (char)operation->type;
        put_u32(at + 1, (uint32_t)operation->key.size);
        put_u32(at + 5, (uint32_t)operation->value.size);
        at = put_bytes(at + LOG_OPERATION_HEADER_BYTES, operation->key);
        at = put_bytes(at, operation->value);
    }
    CHECK(at == out + size);
}

bool log_operation_head_decode(const char in[LOG_OPERATION_HEADER_BYTES], uint64_t left,
                               struct log_operation_head *out)
{
    if (left < LOG_OPERATION_HEADER_BYTES) {
        return false;
    }
    uint64_t key_bytes = get_u32(in + 1);
    uint64_t value_bytes = get_u32(in + 5);
    bool has_value = in[0] == TXN_WRITE || in[0] == TXN_RANGE_DELETE;
    if (in[0] < TXN_WRITE || in[0] > TXN_RANGE_DELETE || (!has_value && value_bytes > 0) ||
        key_bytes + value_bytes > left - LOG_OPERATION_HEADER_BYTES) {
        return false;
    }
    *out = (struct log_operation_head){.type = (enum txn_operation_type)in[0],
                                       .key_bytes = (uint32_t)key_bytes,
                                       .value_bytes = (uint32_t)value_bytes};
    return true;
}

bool log_operation_decode(struct bytes *operations, struct txn_operation *out)
{
    struct log_operation_head head;
    if (!log_operation_head_decode(operations->data, operations->size, &head)) {
        return false;
    }
    const char *key = operations->data + LOG_OPERATION_HEADER_BYTES;
    *out = (struct txn_operation){
        .type = head.type,
        .key = bytes_of(key, head.key_bytes),
        .value = head.type == TXN_DELETE ? bytes_of(NULL, 0)
                                         : bytes_of(key + head.key_bytes, head.value_bytes),
    };
    *operations = bytes_drop(*operations, LOG_OPERATION_HEADER_BYTES + (size_t)head.key_bytes +
                                              head.value_bytes);
    return true;
}

bool log_record_head_decode(struct bytes in, uint64_t left, struct log_record *out,
                            uint32_t *out_bytes, uint32_t *out_operations_bytes)
{
    if (left < LOG_RECORD_HEADER_BYTES || in.size < LOG_RECORD_HEADER_BYTES) {
        return false;
    }
    uint32_t size = get_u32(in.data);
    size_t id_bytes = (unsigned char)in.data[5];
    char type = in.data[4];
    if (size > left || id_bytes < 1 || id_bytes > TXN_REQUEST_ID_BYTES_MAX ||
        size < LOG_RECORD_HEADER_BYTES + id_bytes || in.size < LOG_RECORD_HEADER_BYTES + id_bytes ||
        in.data[6] != 0 || in.data[7] != 0 ||
        (type != LOG_RECORD_COMMIT && type != LOG_RECORD_FENCE)) {
        return false;
    }
    *out = (struct log_record){
        .type = (enum log_record_type)type,
        .request_id = bytes_of(in.data + LOG_RECORD_HEADER_BYTES, id_bytes),
        .version = get_u64(in.data + 8),
        .payload_hash = get_u64(in.data + 16),
    };
    *out_bytes = size;
    *out_operations_bytes = size - (uint32_t)(LOG_RECORD_HEADER_BYTES + id_bytes);
    return true;
}

bool log_record_decode(struct bytes *payload, struct log_record *out, struct bytes *out_operations)
{
    struct log_record record;
    uint32_t size;
    uint32_t operations_bytes;
    if (!log_record_head_decode(*payload, payload->size, &record, &size, &operations_bytes)) {
        return false;
    }
    struct bytes operations = bytes_of(payload->data + size - operations_bytes, operations_bytes);
    *out_operations = operations;
    struct txn_operation operation;
    while (operations.size > 0) {
        if (!log_operation_decode(&operations, &operation)) {
            return false;
        }
        record.operation_count++;
    }
    if ((record.type == LOG_RECORD_COMMIT) != (record.operation_count > 0)) {
        return false;
    }
    *out = record;
    *payload = bytes_drop(*payload, size);
    return true;
}
