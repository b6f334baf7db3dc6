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

bool log_operation_decode(struct bytes *operations, struct txn_operation *out)
{
    if (operations->size < LOG_OPERATION_HEADER_BYTES) {
        return false;
    }
    const char *in = operations->data;
    uint64_t key_bytes = get_u32(in + 1);
    uint64_t value_bytes = get_u32(in + 5);
    bool has_value = in[0] == TXN_WRITE || in[0] == TXN_RANGE_DELETE;
    if (in[0] < TXN_WRITE || in[0] > TXN_RANGE_DELETE || (!has_value && value_bytes > 0) ||
        key_bytes + value_bytes > operations->size - LOG_OPERATION_HEADER_BYTES) {
        return false;
    }
    const char *key = in + LOG_OPERATION_HEADER_BYTES;
    *out = (struct txn_operation){
        .type = (enum txn_operation_type)in[0],
        .key = bytes_of(key, key_bytes),
        .value = has_value ? bytes_of(key + key_bytes, value_bytes) : bytes_of(NULL, 0),
    };
    *operations =
        bytes_drop(*operations, LOG_OPERATION_HEADER_BYTES + (size_t)(key_bytes + value_bytes));
    return true;
}

bool log_record_decode(struct bytes *payload, struct log_record *out, struct bytes *out_operations)
{
    if (payload->size < LOG_RECORD_HEADER_BYTES) {
        return false;
    }
    const char *in = payload->data;
    uint32_t size = get_u32(in);
    size_t id_bytes = (unsigned char)in[5];
    if (size > payload->size || id_bytes < 1 || id_bytes > TXN_REQUEST_ID_BYTES_MAX ||
        size < LOG_RECORD_HEADER_BYTES + id_bytes || in[6] != 0 || in[7] != 0 ||
        (in[4] != LOG_RECORD_COMMIT && in[4] != LOG_RECORD_FENCE)) {
        return false;
    }
    struct log_record record = {
        .type = (enum log_record_type)in[4],
        .request_id = bytes_of(in + LOG_RECORD_HEADER_BYTES, id_bytes),
        .version = get_u64(in + 8),
        .payload_hash = get_u64(in + 16),
    };
    struct bytes operations = bytes_of(in + LOG_RECORD_HEADER_BYTES + id_bytes,
                                       size - LOG_RECORD_HEADER_BYTES - id_bytes);
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
