/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/check.h"
#include "commitlog/log_internal.h"
#include "support/log_world.h"

enum { VALUE_BYTES_MAX = 200 << 10 };

void world_init(struct world *world, uint64_t seed)
{
    memset(world, 0, sizeof *world);
    assert_int_equal(storage_sim_open(seed, &world->sim), OK);
    world->config = (struct log_config){
        .segment_bytes = LOG_SEGMENT_BYTES_MIN, .by_hand = true, .new_log_id = 77};
    world->now_us = 1000000;
}

void world_deinit(struct world *world)
{
    world_close(world);
    storage_sim_close(world->sim);
    world->sim = NULL;
}

static bool found_batch(void *context, const struct log_batch_header *header)
{
    struct world *world = context;
    world->batch_count++;
    world->batch_last_us = header->timestamp_us;
    return true;
}

static void found_record(void *context, const struct log_record *record, uint64_t timestamp_us)
{
    struct world *world = context;
    assert_true(world->found_count < WORLD_RECORDS_MAX);
    assert_int_equal(timestamp_us, world->batch_last_us);
    world->found[world->found_count++] = (struct world_found){
        .type = record->type, .version = record->version, .hash = world_record_hash(record)};
}

enum err world_open(struct world *world)
{
    const struct log_visitor visitor = {
        .context = world, .batch = found_batch, .record = found_record};
    world->found_count = 0;
    world->batch_count = 0;
    world->problem.text[0] = '\0';
    enum err err = log_open(&world->config, storage_sim_storage(world->sim), &visitor, &world->log,
                            &world->problem);
    if (err != OK) {
        world->log = NULL;
        assert_true(world->problem.text[0] != '\0');
    }
    return err;
}

void world_close(struct world *world)
{
    if (world->log != NULL) {
        log_close(world->log);
        world->log = NULL;
    }
}

struct log_record world_record(uint64_t number, uint64_t version, size_t value_bytes)
{
    static char id[32];
    static char key[32];
    static char value[VALUE_BYTES_MAX];
    static struct txn_operation operation;
    CHECK(value_bytes <= sizeof value);
    int id_size = snprintf(id, sizeof id, "id-%llu", (unsigned long long)number);
    if (version == 0) {
        return (struct log_record){.type = LOG_RECORD_FENCE,
                                   .request_id = bytes_of(id, (size_t)id_size)};
    }
    int key_size = snprintf(key, sizeof key, "key-%llu", (unsigned long long)number);
    for (size_t i = 0; i < value_bytes; i++) {
        value[i] = (char)(1 + (number * 31 + i * 7 + i / 251) % 255); /* never zero */
    }
    operation = (struct txn_operation){.type = TXN_WRITE,
                                       .key = bytes_of(key, (size_t)key_size),
                                       .value = bytes_of(value, value_bytes)};
    return (struct log_record){.type = LOG_RECORD_COMMIT,
                               .version = version,
                               .request_id = bytes_of(id, (size_t)id_size),
                               .payload_hash = number * 1000003,
                               .operations = &operation,
                               .operation_count = 1};
}

uint64_t world_record_hash(const struct log_record *record)
{
    size_t size = log_record_size(record);
    char *bytes = malloc(size);
    CHECK(bytes != NULL);
    log_record_encode(record, bytes);
    uint64_t hash = log_payload_hash(bytes_of(bytes, size));
    free(bytes);
    return hash;
}

enum err world_append(struct world *world, const struct log_record *record)
{
    enum log_reserve kind =
        record->type == LOG_RECORD_FENCE ? LOG_RESERVE_FENCE : LOG_RESERVE_COMMIT;
    if (!log_try_reserve(world->log, log_record_bytes(record), kind)) {
        return ERR_FULL;
    }
    return log_append(world->log, record, ++world->now_us);
}

enum err world_sync(struct world *world)
{
    return log_sync(world->log, ++world->now_us);
}

struct names {
    char (*out)[STORAGE_NAME_BYTES];
    unsigned count;
};

static void take_name(void *context, const char *name)
{
    struct names *names = context;
    uint64_t first_version;
    uint32_t ordinal;
    if (log_segment_name_parse(name, &first_version, &ordinal)) {
        assert_true(names->count < WORLD_SEGMENTS_MAX);
        (void)snprintf(names->out[names->count++], STORAGE_NAME_BYTES, "%s", name);
    }
}

static int compare_names(const void *left, const void *right)
{
    uint64_t versions[2];
    uint32_t ordinals[2];
    (void)log_segment_name_parse(left, &versions[0], &ordinals[0]);
    (void)log_segment_name_parse(right, &versions[1], &ordinals[1]);
    return versions[0] != versions[1] ? (versions[0] > versions[1]) - (versions[0] < versions[1])
                                      : (ordinals[0] > ordinals[1]) - (ordinals[0] < ordinals[1]);
}

unsigned world_segments(const struct world *world, char (*out)[STORAGE_NAME_BYTES])
{
    struct names names = {.out = out};
    struct storage *storage = storage_sim_storage(world->sim);
    assert_int_equal(storage->operations->list(storage, take_name, &names), OK);
    qsort(out, names.count, sizeof *out, compare_names);
    return names.count;
}

struct reading {
    uint64_t number; /* of the segment to come */
    uint64_t next_batch;
    uint64_t last_version;
    unsigned records;
};

static unsigned count_records(struct bytes payload, uint64_t first_version)
{
    unsigned count = 0;
    while (payload.size > 0) {
        struct log_record record;
        struct bytes operations;
        assert_true(log_record_decode(&payload, &record, &operations));
        if (record.type == LOG_RECORD_COMMIT) {
            assert_int_equal(record.version, first_version++);
        }
        count++;
    }
    return count;
}

/* Returns the offset behind the last batch. */
static size_t read_segment(struct reading *reading, const char *bytes, size_t size)
{
    struct log_segment_header header;
    assert_true(size >= LOG_SEGMENT_HEADER_BYTES);
    assert_int_equal(log_segment_header_decode(bytes, &header), LOG_HEADER_GOOD);
    assert_int_equal(header.number, reading->number++);
    assert_int_equal(header.first_version, reading->last_version + 1);
    assert_int_equal(header.first_batch, reading->next_batch);
    size_t at = LOG_SEGMENT_HEADER_BYTES;
    while (at + LOG_BATCH_HEADER_BYTES <= size) {
        const struct log_position position = {header.log_id, header.number, at};
        struct log_batch_header batch;
        if (!log_batch_header_decode(bytes + at, &position, &batch)) {
            break;
        }
        assert_true(batch.payload_bytes <= size - at - LOG_BATCH_HEADER_BYTES);
        struct bytes payload =
            bytes_of(bytes + at + LOG_BATCH_HEADER_BYTES, (size_t)batch.payload_bytes);
        assert_int_equal(log_payload_hash(payload), batch.payload_hash);
        assert_int_equal(batch.number, reading->next_batch++);
        assert_int_equal(batch.first_version, reading->last_version + 1);
        assert_int_equal(count_records(payload, batch.first_version), batch.count);
        reading->records += batch.count;
        reading->last_version = batch.last_version;
        at = (size_t)log_align(at + LOG_BATCH_HEADER_BYTES + batch.payload_bytes);
    }
    return at;
}

unsigned world_check_files(const struct world *world)
{
    static char names[WORLD_SEGMENTS_MAX][STORAGE_NAME_BYTES];
    struct reading reading = {0};
    unsigned count = world_segments(world, names);
    for (unsigned i = 0; i < count; i++) {
        size_t size;
        char *bytes = storage_sim_copy(world->sim, names[i], &size);
        assert_non_null(bytes);
        size_t end = read_segment(&reading, bytes, size);
        for (; i + 1 == count && end < size; end++) {
            if (bytes[end] != 0) {
                fail_msg("%s: a byte behind the last batch, at %zu, is not zero", names[i], end);
            }
        }
        free(bytes);
    }
    return reading.records;
}
