/* SPDX-License-Identifier: Apache-2.0 */
/* Reading a segment in large pieces; a batch larger than one is loaded whole. */
#include "commitlog/scan.h"

#include "base/bug.h"
#include "base/check.h"

#include <stdlib.h>

enum { PIECE_BYTES = 1 << 19 };

/* Makes [offset, offset + size) stand in the buffer; *out is its beginning, NULL when the file ends
 * before. */
static enum err load(struct scan *scan, uint64_t offset, size_t size, const char **out)
{
    *out = NULL;
    if (offset > scan->file_bytes || size > scan->file_bytes - offset) {
        return OK;
    }
    if (offset >= scan->loaded_offset &&
        offset + size <= scan->loaded_offset + scan->loaded_bytes) {
        *out = scan->buffer + (offset - scan->loaded_offset);
        return OK;
    }
    size_t piece = scan->file_bytes < PIECE_BYTES ? (size_t)scan->file_bytes : PIECE_BYTES;
    size_t capacity = size > piece ? size : piece;
    if (capacity > scan->buffer_capacity) {
        char *larger = realloc(scan->buffer, capacity);
        if (larger == NULL) {
            return ERR_MEMORY;
        }
        scan->buffer = larger;
        scan->buffer_capacity = capacity;
    }
    scan->loaded_bytes = 0;
    size_t got;
    enum err err = scan->storage->operations->read(scan->storage, scan->file, offset, scan->buffer,
                                                   scan->buffer_capacity, &got);
    if (err != OK) {
        return err;
    }
    scan->loaded_offset = offset;
    scan->loaded_bytes = got;
    *out = got >= size ? scan->buffer : NULL;
    return OK;
}

enum err scan_open(struct scan *scan, struct storage *storage, const char *name,
                   enum log_header_result *out_header)
{
    *scan = (struct scan){.storage = storage};
    enum err err = storage->operations->open(storage, name, false, &scan->file);
    if (err != OK) {
        return err;
    }
    const char *bytes = NULL;
    err = storage->operations->size(storage, scan->file, &scan->file_bytes);
    if (err == OK) {
        err = load(scan, 0, LOG_SEGMENT_HEADER_BYTES, &bytes);
    }
    if (err != OK) {
        scan_close(scan);
        return err;
    }
    *out_header = bytes == NULL ? LOG_HEADER_BAD : log_segment_header_decode(bytes, &scan->header);
    scan->offset = LOG_SEGMENT_HEADER_BYTES;
    return OK;
}

void scan_close(struct scan *scan)
{
    if (scan->file != NULL) {
        scan->storage->operations->close(scan->storage, scan->file);
    }
    free(scan->buffer);
    *scan = (struct scan){0};
}

/* The valid batch at `offset`; *out_valid says whether there is one. */
static enum err batch_at(struct scan *scan, uint64_t offset, bool *out_valid,
                         struct log_batch_header *out_header, struct bytes *out_payload)
{
    const struct log_position position = {
        .log_id = scan->header.log_id, .segment_number = scan->header.number, .offset = offset};
    struct log_batch_header header;
    const char *bytes;
    *out_valid = false;
    enum err err = load(scan, offset, LOG_BATCH_HEADER_BYTES, &bytes);
    if (err != OK || bytes == NULL || !log_batch_header_decode(bytes, &position, &header)) {
        return err;
    }
    if (header.payload_bytes > scan->file_bytes ||
        log_align(offset + LOG_BATCH_HEADER_BYTES + header.payload_bytes) > scan->file_bytes) {
        return OK;
    }
    err = load(scan, offset, LOG_BATCH_HEADER_BYTES + (size_t)header.payload_bytes, &bytes);
    if (err != OK || bytes == NULL) {
        return err;
    }
    struct bytes payload = bytes_of(bytes + LOG_BATCH_HEADER_BYTES, (size_t)header.payload_bytes);
    if (log_payload_hash(payload) != header.payload_hash && !WEASEL_BUG(checksum_not_verified)) {
        return OK;
    }
    *out_valid = true;
    *out_header = header;
    *out_payload = payload;
    return OK;
}

enum scan_result scan_next(struct scan *scan, struct log_batch_header *out_header,
                           struct bytes *out_payload)
{
    bool valid;
    if (batch_at(scan, scan->offset, &valid, out_header, out_payload) != OK) {
        return SCAN_ERROR;
    }
    if (!valid) {
        return SCAN_END;
    }
    scan->offset = log_align(scan->offset + LOG_BATCH_HEADER_BYTES + out_header->payload_bytes);
    return SCAN_BATCH;
}

enum err scan_find(struct scan *scan, uint64_t offset, bool *out_found, uint64_t *out_offset)
{
    struct log_batch_header header;
    struct bytes payload;
    *out_found = false;
    for (uint64_t at = log_align(offset + 1); at + LOG_BATCH_HEADER_BYTES <= scan->file_bytes;
         at += LOG_ALIGNMENT) {
        bool valid;
        enum err err = batch_at(scan, at, &valid, &header, &payload);
        if (err != OK) {
            return err;
        }
        if (valid) {
            *out_found = true;
            *out_offset = at;
            return OK;
        }
    }
    return OK;
}

enum err scan_find_end_of_data(struct scan *scan, uint64_t offset, uint64_t *out_end)
{
    uint64_t end = offset;
    for (uint64_t at = offset; at < scan->file_bytes;) {
        uint64_t rest = scan->file_bytes - at;
        size_t size = rest < PIECE_BYTES ? (size_t)rest : PIECE_BYTES;
        const char *bytes;
        enum err err = load(scan, at, size, &bytes);
        if (err != OK || bytes == NULL) {
            return err == OK ? ERR_SYSTEM : err;
        }
        for (size_t i = size; i > 0; i--) {
            if (bytes[i - 1] != 0) {
                end = at + i;
                break;
            }
        }
        at += size;
    }
    *out_end = end;
    return OK;
}
