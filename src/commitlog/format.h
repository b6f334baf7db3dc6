/* SPDX-License-Identifier: Apache-2.0 */
/*
 * format: the bytes of the commit log, encoded and decoded; docs/log-format.md is the reference.
 *
 * Pure: no files. Runs on: any thread. Never blocks. Nothing read from a disk is trusted: decoding
 * answers false, and never reads outside what it was given.
 */
#ifndef COMMITLOG_FORMAT_H
#define COMMITLOG_FORMAT_H

#include "base/bytes.h"
#include "base/err.h"
#include "txn/txn.h"

enum {
    LOG_FORMAT_VERSION = 1,
    LOG_SEGMENT_HEADER_BYTES = 64,
    LOG_BATCH_HEADER_BYTES = 64,
    LOG_ALIGNMENT = 8, /* of batches */
    LOG_RECORD_HEADER_BYTES = 24,
    LOG_OPERATION_HEADER_BYTES = 9,
    LOG_RECORD_HEAD_BYTES_MAX = LOG_RECORD_HEADER_BYTES + TXN_REQUEST_ID_BYTES_MAX,
};

struct log_segment_header {
    uint64_t log_id;
    uint64_t number; /* of the segment: 0, 1, ... */
    uint64_t first_version;
    uint64_t first_batch;
    uint64_t segment_bytes; /* of the file, so that one that was cut short is noticed */
};

struct log_batch_header {
    uint64_t number;        /* of the batch: 0, 1, ... over all segments */
    uint64_t first_version; /* of its commits; without any: the next one to come */
    uint64_t last_version;  /* of its commits; without any: first_version - 1 */
    uint64_t timestamp_us;  /* time of day when it was written, since 1970; never goes back */
    uint64_t payload_bytes; /* without padding */
    uint64_t payload_hash;
    uint32_t count; /* of records */
};

/* Where a batch stands; its checksum covers this too, so that stale bytes never validate. */
struct log_position {
    uint64_t log_id;
    uint64_t segment_number;
    uint64_t offset;
};

enum log_record_type {
    LOG_RECORD_COMMIT = 1,
    LOG_RECORD_FENCE = 2, /* the request id will never commit */
};

/* Views live as long as what they were made from. */
struct log_record {
    enum log_record_type type;
    struct bytes request_id;                /* 1 to TXN_REQUEST_ID_BYTES_MAX */
    uint64_t version;                       /* of a commit */
    uint64_t payload_hash;                  /* of a commit */
    const struct txn_operation *operations; /* of a commit */
    uint32_t operation_count;
};

enum log_header_result {
    LOG_HEADER_GOOD,
    LOG_HEADER_BAD,    /* no such header stands here */
    LOG_HEADER_FUTURE, /* of a later format */
};

void log_segment_header_encode(const struct log_segment_header *header,
                               char out[LOG_SEGMENT_HEADER_BYTES]);
enum log_header_result log_segment_header_decode(const char in[LOG_SEGMENT_HEADER_BYTES],
                                                 struct log_segment_header *out);

void log_batch_header_encode(const struct log_batch_header *header,
                             const struct log_position *position, char out[LOG_BATCH_HEADER_BYTES]);
/* True: a batch header that was written for this very place. The payload is not looked at. */
bool log_batch_header_decode(const char in[LOG_BATCH_HEADER_BYTES],
                             const struct log_position *position, struct log_batch_header *out);

uint64_t log_payload_hash(struct bytes payload);

/* The same of a payload that comes in pieces. */
struct log_payload_hasher;
struct log_payload_hasher *log_payload_hasher_open(void);         /* NULL: no memory */
void log_payload_hasher_close(struct log_payload_hasher *hasher); /* NULL is allowed */
void log_payload_hasher_begin(struct log_payload_hasher *hasher);
void log_payload_hasher_add(struct log_payload_hasher *hasher, struct bytes piece);
uint64_t log_payload_hasher_end(const struct log_payload_hasher *hasher);

/* Exactly how many bytes log_record_encode() writes. */
size_t log_record_size(const struct log_record *record);
void log_record_encode(const struct log_record *record, char *out);

/* The fixed part of a record and its request id; `left` is how much of the payload is left from it
 * on, of which `in` holds the first LOG_RECORD_HEAD_BYTES_MAX bytes, or all when it is less. *out
 * is without operations; they are the last *out_operations_bytes of the record's *out_bytes. False:
 * malformed. */
bool log_record_head_decode(struct bytes in, uint64_t left, struct log_record *out,
                            uint32_t *out_bytes, uint32_t *out_operations_bytes);

/* The fixed part of an operation, of which `left` bytes are left in its record. */
struct log_operation_head {
    enum txn_operation_type type;
    uint32_t key_bytes;
    uint32_t value_bytes; /* of a range delete: of its end */
};
bool log_operation_head_decode(const char in[LOG_OPERATION_HEADER_BYTES], uint64_t left,
                               struct log_operation_head *out);

/* Takes the first record off *payload. Its operations are left encoded in *out_operations, for
 * log_operation_decode(). False: malformed; *payload is unchanged. */
bool log_record_decode(struct bytes *payload, struct log_record *out, struct bytes *out_operations);
bool log_operation_decode(struct bytes *operations, struct txn_operation *out);

/* Up to the next multiple of LOG_ALIGNMENT. */
static inline uint64_t log_align(uint64_t offset)
{
    return (offset + LOG_ALIGNMENT - 1) & ~(uint64_t)(LOG_ALIGNMENT - 1);
}

#endif
