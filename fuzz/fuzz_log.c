/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes as a segment of a log, read as a whole, alone, and with a plan to cut it in the middle.
 * Checksums would keep everything but copies of the corpus out, so they, and the size that the
 * segment says it has, are made right first, when the last byte, which is not of the segment, says
 * so: then the records are what is wrong. Mutations know batches and records as well as bytes.
 *
 * Covers: src/commitlog/format.c src/commitlog/reader.c src/commitlog/repair.c src/commitlog/scan.c
 * src/commitlog/segment_names.c
 */
#include "base/check.h"
#include "commitlog/reader.h"
#include "commitlog/repair.h"

#include <stdlib.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

enum { CHOICE_CHECKSUMS = 1, CHOICE_SIZE = 2 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t room);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t room, unsigned seed);

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

static void make_right(bool size_too)
{
    if (size_too) {
        put(48, segment_bytes);
    }
    put(56, XXH3_64bits(segment, 56));
    for (size_t at = LOG_SEGMENT_HEADER_BYTES;
         at + LOG_BATCH_HEADER_BYTES <= segment_bytes && memcmp(segment + at, "BTCH", 4) == 0;) {
        uint64_t payload_bytes = get(at + 8) % 4096;
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

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct storage storage = {.operations = &MEMORY};
    const struct log_repair_progress quiet = {0};
    struct log_repair repair;
    struct log_problem problem;
    if (size <= LOG_SEGMENT_HEADER_BYTES) {
        return 0;
    }
    segment_bytes = size - 1;
    segment = malloc(segment_bytes);
    CHECK(segment != NULL);
    memcpy(segment, data, segment_bytes);
    if ((data[segment_bytes] & CHOICE_CHECKSUMS) != 0) {
        make_right((data[segment_bytes] & CHOICE_SIZE) != 0);
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

/* ---- mutations of batches ---- */

enum { BATCHES_MAX = 32, RECORD_BYTES_MAX = 256 };

static uint64_t number_at(const uint8_t *at)
{
    uint64_t number;
    memcpy(&number, at, sizeof number);
    return number;
}

/* Where batches begin, and behind the last of them where one could. */
static unsigned find_batches(const uint8_t *data, size_t size, size_t out[BATCHES_MAX + 1])
{
    unsigned count = 0;
    size_t at = LOG_SEGMENT_HEADER_BYTES;
    while (count < BATCHES_MAX && at + LOG_BATCH_HEADER_BYTES <= size &&
           memcmp(data + at, "BTCH", 4) == 0) {
        out[count++] = at;
        at = log_align(at + LOG_BATCH_HEADER_BYTES + number_at(data + at + 8) % 4096);
    }
    out[count] = at;
    return count;
}

static size_t make_record(uint64_t version, unsigned seed, char out[RECORD_BYTES_MAX])
{
    static const char text[] = "0123456789abcdefghijklmnopqrstuvwxyz";
    struct txn_operation operations[3];
    uint32_t count = seed % 4;
    for (uint32_t i = 0; i < count; i++) {
        enum txn_operation_type type = (enum txn_operation_type)(TXN_WRITE + (seed / 4 + i) % 3);
        operations[i] = (struct txn_operation){
            .type = type,
            .key = bytes_of(text, seed / 16 % 8),
            .value = bytes_of(text + 9, type == TXN_DELETE ? 0 : seed / 128 % 24)};
    }
    const struct log_record record = {.type = count == 0 ? LOG_RECORD_FENCE : LOG_RECORD_COMMIT,
                                      .request_id = bytes_of(text, 1 + seed / 4096 % 32),
                                      .version = count == 0 ? 0 : version,
                                      .payload_hash = count == 0 ? 0 : seed,
                                      .operations = operations,
                                      .operation_count = count};
    size_t size = log_record_size(&record);
    CHECK(size <= RECORD_BYTES_MAX);
    log_record_encode(&record, out);
    return size;
}

/* Puts a batch of one record behind the last one, as the log would; 0: there is no room. */
static size_t append_batch(uint8_t *data, size_t size, size_t room, unsigned seed)
{
    size_t places[BATCHES_MAX + 1];
    char record[RECORD_BYTES_MAX];
    unsigned count = find_batches(data, size, places);
    size_t at = places[count];
    uint64_t version = number_at(data + 32);
    uint64_t batch = number_at(data + 40);
    if (count > 0) {
        version = number_at(data + places[count - 1] + 32) + 1;
        batch = number_at(data + places[count - 1] + 16) + 1;
    }
    size_t record_bytes = make_record(version, seed, record);
    bool is_commit = seed % 4 != 0;
    size_t end = log_align(at + LOG_BATCH_HEADER_BYTES + record_bytes);
    if (end + 1 > room || count == BATCHES_MAX) {
        return 0;
    }
    if (end + 1 > size) {
        memset(data + size - 1, 0, end + 1 - (size - 1));
        size = end + 1;
    }
    const struct log_batch_header header = {.number = batch,
                                            .first_version = version,
                                            .last_version = is_commit ? version : version - 1,
                                            .timestamp_us = 1000 + batch,
                                            .payload_bytes = record_bytes,
                                            .count = 1};
    const struct log_position nowhere = {0};
    log_batch_header_encode(&header, &nowhere, (char *)data + at);
    memcpy(data + at + LOG_BATCH_HEADER_BYTES, record, record_bytes);
    memset(data + at + LOG_BATCH_HEADER_BYTES + record_bytes, 0,
           end - at - LOG_BATCH_HEADER_BYTES - record_bytes);
    return size;
}

/* Changes a number of a header, or bytes of the records of a batch. */
static void mutate_batch(uint8_t *data, size_t size, unsigned seed)
{
    static const size_t numbers[] = {4, 8, 16, 24, 32, 40, 4, 8};
    size_t places[BATCHES_MAX + 1];
    unsigned count = find_batches(data, size, places);
    if (count == 0) {
        (void)LLVMFuzzerMutate(data, LOG_SEGMENT_HEADER_BYTES, LOG_SEGMENT_HEADER_BYTES);
        return;
    }
    size_t at = places[seed / 8 % count];
    size_t end = places[seed / 8 % count + 1] < size ? places[seed / 8 % count + 1] : size;
    size_t number = at + numbers[seed % 8];
    if (seed / 256 % 4 == 0) {
        data[number] = (uint8_t)(data[number] + (seed / 1024 % 2 == 0 ? 1 : 255));
    } else if (seed / 256 % 4 == 1) {
        (void)LLVMFuzzerMutate(data + number, 8, 8);
    } else {
        at += LOG_BATCH_HEADER_BYTES;
        (void)LLVMFuzzerMutate(data + at, end - at, end - at);
    }
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t room, unsigned seed)
{
    if (size <= LOG_SEGMENT_HEADER_BYTES || seed % 4 < 2) {
        return LLVMFuzzerMutate(data, size, room);
    }
    size_t mutated = size;
    if (seed % 4 == 2) {
        mutated = append_batch(data, size, room, seed / 16);
    } else {
        mutate_batch(data, size, seed / 16);
    }
    if (mutated == 0) {
        return LLVMFuzzerMutate(data, size, room);
    }
    if (seed / 4 % 4 != 0) {
        data[mutated - 1] = CHOICE_CHECKSUMS | CHOICE_SIZE;
    }
    return mutated;
}
