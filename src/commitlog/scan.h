/* SPDX-License-Identifier: Apache-2.0 */
/*
 * scan: reads one segment from its beginning, batch by batch, with a bounded buffer.
 *
 * Runs on: one thread. Blocks: while it reads. Owns: the open file and its buffer.
 */
#ifndef COMMITLOG_SCAN_H
#define COMMITLOG_SCAN_H

#include "commitlog/format.h"
#include "commitlog/storage.h"

struct scan {
    struct storage *storage;
    struct storage_file *file;
    uint64_t file_bytes;
    struct log_segment_header header;
    uint64_t offset; /* where the next batch should stand */
    /* What is loaded: the bytes of the file from loaded_offset on. */
    char *buffer;
    size_t buffer_capacity;
    uint64_t loaded_offset;
    size_t loaded_bytes;
};

enum scan_result {
    SCAN_BATCH,
    SCAN_END, /* no valid batch stands here */
    SCAN_ERROR,
};

/* Opens the segment `name` and reads its header. *out_header says what stands there; the scan is
 * open in any case but on errors (ERR_SYSTEM, ERR_MEMORY, ERR_CLOSED: no such file). */
enum err scan_open(struct scan *scan, struct storage *storage, const char *name,
                   enum log_header_result *out_header) WARN_UNUSED;
void scan_close(struct scan *scan);

/* The batch at scan->offset, which then moves behind it. The payload lives until the next call. */
enum scan_result scan_next(struct scan *scan, struct log_batch_header *out_header,
                           struct bytes *out_payload);

/* Whether a valid batch stands anywhere behind `offset`; then *out_offset says where. */
enum err scan_find(struct scan *scan, uint64_t offset, bool *out_found,
                   uint64_t *out_offset) WARN_UNUSED;

/* The end of what is not zero. */
enum err scan_find_end_of_data(struct scan *scan, uint64_t offset, uint64_t *out_end) WARN_UNUSED;

#endif
