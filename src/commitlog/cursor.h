/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cursor: reads the durable part of a log that is being written to.
 *
 *   log_cursor_reader_open(log, &reader)                       one for each thread
 *   log_cursor_open(reader, after, &cursor)             near the first version behind `after`
 *   while (log_cursor_peek(reader, &cursor, durable, &header) == LOG_CURSOR_BATCH)
 *       if (wanted) log_cursor_verify(...) until done; log_cursor_view(...) as needed
 *       log_cursor_skip(&cursor, &header)
 *
 * A cursor is a place, a value that may be copied and kept; what costs memory is the reader: a
 * window of LOG_WINDOW_BYTES and a few open files, shared by all cursors of a thread. A batch of
 * any size is read through the window, so nothing grows with it.
 *
 * What a reader has open of a segment is closed when retention removes it, by the thread that does:
 * a cursor in the middle of it finds the rest gone, one behind its last batch goes on in the next.
 *
 * The caller says how far the log is durable, and nothing behind that is ever looked at. Nothing
 * that was read is trusted before its checksums are right.
 *
 * Runs on:  a reader and the cursors used with it: one thread at a time.
 * Blocks:   while a file is opened or read: nearly always from the page cache.
 * Owns:     window and files. Borrows: the log, until close.
 */
#ifndef COMMITLOG_CURSOR_H
#define COMMITLOG_CURSOR_H

#include "commitlog/index.h"
#include "commitlog/log.h"

enum {
    LOG_WINDOW_BYTES = 256 << 10,
    LOG_VIEW_BYTES_MAX = 192 << 10, /* that may be asked for at once */
};

/* Before a batch. */
struct log_cursor {
    struct log_place place;
};

enum log_cursor_result {
    LOG_CURSOR_BATCH,
    LOG_CURSOR_END,     /* all that is durable lies before the cursor */
    LOG_CURSOR_GONE,    /* what stood here has been removed; not always what has a later version */
    LOG_CURSOR_DAMAGED, /* what stands here is not what was written */
    LOG_CURSOR_FAILED,  /* a file could not be opened or read; errno says why */
};

struct log_cursor_reader; /* commitlog/cursor.c */

enum err log_cursor_reader_open(struct log *log, struct log_cursor_reader **out) WARN_UNUSED;
void log_cursor_reader_close(struct log_cursor_reader *reader); /* NULL is allowed */

/* How many bytes it has ever loaded: a measure of work done. */
uint64_t log_cursor_reader_loaded_bytes(const struct log_cursor_reader *reader);

/* Sets the cursor before the batch with the version behind `after`, or some way before that: skip
 * what ends at or before `after`. False: the log begins later. */
bool log_cursor_open(struct log_cursor_reader *reader, uint64_t after, struct log_cursor *out);

/* The header of the next batch, which is durable as a whole; the cursor may move into the next
 * segment for it, and over removed ones that held no version behind it. `durable` must not go back
 * from call to call of a reader. Anything but LOG_CURSOR_BATCH leaves *out as it is. */
enum log_cursor_result log_cursor_peek(struct log_cursor_reader *reader, struct log_cursor *cursor,
                                       uint64_t durable, struct log_batch_header *out);

/* Moves behind that batch. */
void log_cursor_skip(struct log_cursor *cursor, const struct log_batch_header *header);

/* Goes on with checking the payload of that batch, by about `bytes`. *at is how far it is: 0 at
 * first; *hash must be from the same batch, or NULL at *at 0. LOG_CURSOR_BATCH: right so far; all
 * of it when *at is header->payload_bytes. The hash is the caller's, to be freed with
 * log_payload_hasher_close(). */
enum log_cursor_result log_cursor_verify(struct log_cursor_reader *reader,
                                         const struct log_cursor *cursor,
                                         const struct log_batch_header *header, uint64_t bytes,
                                         struct log_payload_hasher **hash, uint64_t *at);

/* At least `need` bytes (at most LOG_VIEW_BYTES_MAX, and not beyond the end) of the payload of that
 * batch, from `at` on. Lives until the next call with this reader. */
enum log_cursor_result log_cursor_view(struct log_cursor_reader *reader,
                                       const struct log_cursor *cursor,
                                       const struct log_batch_header *header, uint64_t at,
                                       size_t need, struct bytes *out);

#endif
