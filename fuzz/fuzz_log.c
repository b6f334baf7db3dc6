/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes as a segment of a log, read as a whole, alone, and with a plan to cut it in the middle.
 * Checksums would keep everything but copies of the corpus out, so they are made right first, when
 * the last byte is odd: then the records are what is wrong.
 */
#include "base/check.h"
#include "commitlog/reader.h"
#include "commitlog/repair.h"

#include <stdlib.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

/* ---- one file in memory ---- */

static char *segment;
static size_t segment_bytes;
static char segment_name[STORAGE_NAME_BYTES];
static char the_file; /* only its address counts */

static enum err memory_open(struct storage *storage, const char *name, bool create,
                            struct storage_file **out)
{
    (void)storage;
    CHECK(!create);
    if (strcmp(name, segment_name) != 0) {
        return ERR_CLOSED;
    }
    *out = (struct storage_file *)(void *)&the_file;
    return OK;
}

static void memory_close(struct storage *storage, struct storage_file *file)
{
    (void)storage;
    (void)file;
}

static enum err memory_size(struct storage *storage, struct storage_file *file, uint64_t *out)
{
    (void)storage;
    (void)file;
    *out = segment_bytes;
    return OK;
}

static enum err memory_read(struct storage *storage, struct storage_file *file, uint64_t offset,
                            char *out, size_t size, size_t *out_size)
{
    (void)storage;
    (void)file;
    size_t rest = offset < segment_bytes ? segment_bytes - (size_t)offset : 0;
    *out_size = rest < size ? rest : size;
    if (*out_size > 0) {
        memcpy(out, segment + offset, *out_size);
    }
    return OK;
}

static enum err memory_list(struct storage *storage, void (*name)(void *context, const char *name),
                            void *context)
{
    (void)storage;
    name(context, ".");
    name(context, segment_name);
    return OK;
}

static const struct storage_operations MEMORY = {.open = memory_open,
                                                 .close = memory_close,
                                                 .size = memory_size,
                                                 .read = memory_read,
                                                 .list = memory_list};

/* ---- checksums ---- */

static uint64_t get(size_t offset)
{
    uint64_t value;
    memcpy(&value, segment + offset, sizeof value);
    return value;
}

static void put(size_t offset, uint64_t value)
{
    memcpy(segment + offset, &value, sizeof value);
}

static void make_right(void)
{
    put(56, XXH3_64bits(segment, 56));
    for (size_t at = LOG_SEGMENT_HEADER_BYTES;
         at + LOG_BATCH_HEADER_BYTES <= segment_bytes && memcmp(segment + at, "BTCH", 4) == 0;) {
        uint64_t payload_bytes = get(at + 8) % 1024;
        if (payload_bytes > segment_bytes - at - LOG_BATCH_HEADER_BYTES) {
            break;
        }
        const uint64_t place[3] = {get(16), get(24), at};
        put(at + 8, payload_bytes);
        put(at + 48, XXH3_64bits(segment + at + LOG_BATCH_HEADER_BYTES, payload_bytes));
        put(at + 56, XXH3_64bits_withSeed(segment + at, 56, XXH3_64bits(place, sizeof place)));
        at = log_align(at + LOG_BATCH_HEADER_BYTES + payload_bytes);
    }
}

/* ---- reading ---- */

/* Checks what a caller counts on; the last version before any damage. */
static uint64_t read_all(struct storage *storage, const char *single)
{
    struct log_reader reader;
    uint64_t sound = 0;
    uint64_t end = 0;
    CHECK(log_reader_open(&reader, storage, single, 0) == OK);
    for (;;) {
        switch (log_reader_next(&reader)) {
        case LOG_READER_SEGMENT:
            end = reader.offset;
            break;
        case LOG_READER_BATCH:
            CHECK(reader.batch_offset >= end && reader.offset <= segment_bytes);
            CHECK(log_batch_is_well_formed(&reader.batch, reader.payload));
            end = reader.offset;
            break;
        case LOG_READER_PROBLEM:
            CHECK(reader.problem.text[0] != '\0');
            break;
        case LOG_READER_ERROR:
            UNREACHABLE();
        case LOG_READER_END:
            CHECK(reader.bytes_done == segment_bytes);
            log_reader_close(&reader);
            return sound;
        }
        if (reader.problems == 0) {
            sound = reader.last_version;
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct storage storage = {.operations = &MEMORY};
    const struct log_repair_progress quiet = {0};
    struct log_repair repair;
    struct log_problem problem;
    if (size < LOG_SEGMENT_HEADER_BYTES) {
        return 0;
    }
    segment = malloc(size);
    CHECK(segment != NULL);
    memcpy(segment, data, size);
    segment_bytes = size;
    if ((data[size - 1] & 1) != 0) {
        make_right();
    }
    log_segment_name(get(32), 0, segment_name);
    uint64_t version = read_all(&storage, segment_name);
    (void)read_all(&storage, NULL);
    for (uint64_t cut = version; version - cut < 3; cut--) {
        if (log_repair_plan(&storage, cut, 1, &quiet, &repair, &problem) == OK) {
            CHECK(repair.is_needed); /* there is no `state` */
            CHECK(repair.offset <= segment_bytes && repair.kept_bytes <= segment_bytes);
            log_repair_deinit(&repair);
        } else {
            CHECK(problem.text[0] != '\0');
        }
    }
    free(segment);
    return 0;
}
