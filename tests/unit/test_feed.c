/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The feed below HTTP: cursors over a real log, the encoder piece by piece against an encoding made
 * whole, filters against a plain model, shared blocks.
 */
#include "commitlog/cursor.h"
#include "commitlog/log_internal.h"
#include "weaseldb/feed_blocks.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

enum { OUT_BYTES = 8 << 20, PATIENCE_MS = 20000 };

struct fixture {
    char directory[64];
    struct storage *storage;
    struct log *log;
    struct log_cursor_reader *reader;
    uint64_t version; /* the last */
    uint64_t now_us;
    char *out;
};

static bool visit_batch(void *context, const struct log_batch_header *header)
{
    (void)context;
    (void)header;
    return false;
}

static void open_log(struct fixture *fixture)
{
    const struct log_config config = {.segment_bytes = 4 * LOG_SEGMENT_BYTES_MIN,
                                      .durability = LOG_DURABILITY_NONE};
    const struct log_visitor visitor = {.batch = visit_batch};
    struct log_problem problem;
    assert_int_equal(storage_posix_open(fixture->directory, &fixture->storage), OK);
    assert_int_equal(log_open(&config, fixture->storage, &visitor, &fixture->log, &problem), OK);
    assert_int_equal(log_cursor_reader_open(fixture->log, &fixture->reader), OK);
    fixture->version = log_last_version(fixture->log);
}

static void close_log(struct fixture *fixture)
{
    log_cursor_reader_close(fixture->reader);
    log_close(fixture->log);
    storage_posix_close(fixture->storage);
}

static int set_up(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    (void)snprintf(fixture->directory, sizeof fixture->directory, "/tmp/weasel-feed-XXXXXX");
    assert_non_null(mkdtemp(fixture->directory));
    fixture->out = malloc(OUT_BYTES);
    fixture->now_us = 1700000000000000;
    open_log(fixture);
    *state = fixture;
    return 0;
}

static void remove_name(void *context, const char *name)
{
    struct storage *storage = context;
    if (name[0] != '.') {
        (void)storage->operations->unlink(storage, name);
    }
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    close_log(fixture);
    struct storage *storage;
    assert_int_equal(storage_posix_open(fixture->directory, &storage), OK);
    (void)storage->operations->list(storage, remove_name, storage);
    storage_posix_close(storage);
    (void)rmdir(fixture->directory);
    free(fixture->out);
    free(fixture);
    return 0;
}

static void append(struct fixture *fixture, const struct log_record *record)
{
    assert_true(log_try_reserve(fixture->log, log_record_bytes(record), LOG_RESERVE_COMMIT));
    assert_int_equal(log_append(fixture->log, record, fixture->now_us), OK);
}

static void append_commit(struct fixture *fixture, const struct txn_operation *operations,
                          uint32_t count)
{
    char id[32];
    fixture->version++;
    int size = snprintf(id, sizeof id, "id-%llu", (unsigned long long)fixture->version);
    append(fixture, &(struct log_record){.type = LOG_RECORD_COMMIT,
                                         .request_id = bytes_of(id, (size_t)size),
                                         .version = fixture->version,
                                         .operations = operations,
                                         .operation_count = count});
}

static void append_write(struct fixture *fixture, struct bytes key, struct bytes value)
{
    append_commit(fixture, &(struct txn_operation){.type = TXN_WRITE, .key = key, .value = value},
                  1);
}

static void append_fence(struct fixture *fixture)
{
    append(fixture, &(struct log_record){.type = LOG_RECORD_FENCE, .request_id = BYTES("fence")});
}

static void sync_log(struct fixture *fixture)
{
    fixture->now_us += 1000;
    assert_int_equal(log_sync(fixture->log, fixture->now_us), OK);
}

/* All events behind `after`, in pieces of `room`. */
static struct bytes encode(struct fixture *fixture, enum feed_format format, uint64_t after,
                           struct feed_filter filter, size_t room)
{
    struct feed_encoder encoder = {.format = format, .filter = filter};
    size_t total = 0;
    assert_true(feed_position_open(fixture->reader, after, &encoder.position));
    for (;;) {
        size_t size;
        enum feed_step step = feed_encoder_run(&encoder, fixture->reader, fixture->version,
                                               fixture->out + total, room, &size);
        assert_true(size <= room);
        total += size;
        if (step == FEED_END) {
            break;
        }
        assert_true(step == FEED_MORE || step == FEED_BATCH);
        assert_true(total + room <= OUT_BYTES);
    }
    assert_int_equal(encoder.position.version, fixture->version);
    feed_encoder_deinit(&encoder);
    return bytes_of(fixture->out, total);
}

/* ---- cursors ---- */

static void test_cursor_stops_where_it_is_durable(void **state)
{
    struct fixture *fixture = *state;
    struct log_cursor cursor;
    struct log_batch_header header;
    assert_true(log_cursor_open(fixture->reader, 0, &cursor));
    assert_int_equal(log_cursor_peek(fixture->reader, &cursor, 0, &header), LOG_CURSOR_END);
    append_write(fixture, BYTES("a"), BYTES("1"));
    append_write(fixture, BYTES("b"), BYTES("2"));
    sync_log(fixture);
    /* Half of a batch is not a batch, even if it is there. */
    assert_int_equal(log_cursor_peek(fixture->reader, &cursor, 0, &header), LOG_CURSOR_END);
    assert_int_equal(log_cursor_peek(fixture->reader, &cursor, 1, &header), LOG_CURSOR_END);
    assert_int_equal(log_cursor_peek(fixture->reader, &cursor, 2, &header), LOG_CURSOR_BATCH);
    assert_int_equal(header.first_version, 1);
    assert_int_equal(header.last_version, 2);
    log_cursor_skip(&cursor, &header);
    /* The window holds zeros of the next place; they must not be taken for what comes there. */
    append_write(fixture, BYTES("c"), BYTES("3"));
    sync_log(fixture);
    assert_int_equal(log_cursor_peek(fixture->reader, &cursor, 2, &header), LOG_CURSOR_END);
    assert_int_equal(log_cursor_peek(fixture->reader, &cursor, 3, &header), LOG_CURSOR_BATCH);
    assert_int_equal(header.first_version, 3);
}

static void walk_from(struct fixture *fixture, uint64_t after)
{
    struct log_cursor cursor;
    struct log_batch_header header;
    uint64_t next = 0;
    assert_true(log_cursor_open(fixture->reader, after, &cursor));
    assert_true(cursor.place.version <= after + 1);
    for (;;) {
        enum log_cursor_result result =
            log_cursor_peek(fixture->reader, &cursor, fixture->version, &header);
        if (result == LOG_CURSOR_END) {
            break;
        }
        assert_int_equal(result, LOG_CURSOR_BATCH);
        assert_true(next == 0 || header.first_version == next);
        next = header.last_version + 1;
        struct log_payload_hasher *hasher = NULL;
        uint64_t at = 0;
        while (at < header.payload_bytes) {
            assert_int_equal(
                log_cursor_verify(fixture->reader, &cursor, &header, 10000, &hasher, &at),
                LOG_CURSOR_BATCH);
        }
        log_payload_hasher_close(hasher);
        log_cursor_skip(&cursor, &header);
    }
    assert_int_equal(cursor.place.version, fixture->version + 1);
}

static void test_cursor_crosses_segments(void **state)
{
    struct fixture *fixture = *state;
    static char value[60000];
    for (unsigned i = 0; i < 240; i++) {
        memset(value, 'a' + (int)i % 26, sizeof value);
        append_write(fixture, BYTES("k"), bytes_of(value, (i * 7919) % sizeof value));
        if (i % 3 == 0) {
            append_fence(fixture);
        }
        sync_log(fixture);
        append_fence(fixture);
        sync_log(fixture);
    }
    assert_true(log_stats(fixture->log).segments > 5);
    for (uint64_t after = 0; after <= fixture->version; after++) {
        walk_from(fixture, after);
    }
    /* The same when the index comes from recovery. */
    close_log(fixture);
    open_log(fixture);
    for (uint64_t after = 0; after <= fixture->version; after++) {
        walk_from(fixture, after);
    }
}

static void test_cursor_finds_what_is_gone_and_what_is_damaged(void **state)
{
    struct fixture *fixture = *state;
    static char value[50000];
    struct log_cursor cursor;
    struct log_batch_header header;
    char name[STORAGE_NAME_BYTES];
    while (log_stats(fixture->log).segments < 4) {
        append_write(fixture, BYTES("k"), bytes_of(value, sizeof value));
        sync_log(fixture);
    }
    assert_true(log_cursor_open(fixture->reader, 0, &cursor));
    const struct log_cursor first = cursor;
    while (cursor.place.segment == 0) {
        assert_int_equal(log_cursor_peek(fixture->reader, &cursor, fixture->version, &header),
                         LOG_CURSOR_BATCH);
        log_cursor_skip(&cursor, &header);
    }
    /* A file that is open is read on; another one is gone. */
    log_segment_name(1, 0, name);
    assert_int_equal(fixture->storage->operations->unlink(fixture->storage, name), OK);
    struct log_cursor again = first;
    assert_int_equal(log_cursor_peek(fixture->reader, &again, fixture->version, &header),
                     LOG_CURSOR_BATCH);
    struct log_cursor_reader *other;
    assert_int_equal(log_cursor_reader_open(fixture->log, &other), OK);
    assert_int_equal(log_cursor_peek(other, &again, fixture->version, &header), LOG_CURSOR_GONE);
    log_cursor_reader_close(other);
    /* A bit of a header, then of a payload. */
    struct storage_file *file;
    struct log_payload_hasher *hasher = NULL;
    uint64_t at = 0;
    char byte = 1;
    log_segment_name(cursor.place.segment_first_version, 0, name);
    assert_int_equal(fixture->storage->operations->open(fixture->storage, name, false, &file), OK);
    const uint64_t offset = LOG_SEGMENT_HEADER_BYTES;
    struct log_cursor damaged = {.place = cursor.place};
    damaged.place.offset = offset;
    assert_true(log_index_find_segment(&fixture->log->index, cursor.place.segment, &damaged.place));
    assert_int_equal(
        fixture->storage->operations->write(fixture->storage, file, offset + 900, &byte, 1), OK);
    assert_int_equal(log_cursor_reader_open(fixture->log, &other), OK);
    assert_int_equal(log_cursor_peek(other, &damaged, fixture->version, &header), LOG_CURSOR_BATCH);
    assert_int_equal(log_cursor_verify(other, &damaged, &header, 1 << 20, &hasher, &at),
                     LOG_CURSOR_DAMAGED);
    log_payload_hasher_close(hasher);
    assert_int_equal(
        fixture->storage->operations->write(fixture->storage, file, offset + 20, &byte, 1), OK);
    log_cursor_reader_close(other);
    assert_int_equal(log_cursor_reader_open(fixture->log, &other), OK);
    assert_int_equal(log_cursor_peek(other, &damaged, fixture->version, &header),
                     LOG_CURSOR_DAMAGED);
    log_cursor_reader_close(other);
    fixture->storage->operations->close(fixture->storage, file);
}

/* All that is durable; nothing of it is gone. */
static void tell_all(struct fixture *fixture, struct feed_encoder *encoder)
{
    size_t size;
    enum feed_step step;
    do {
        step = feed_encoder_run(encoder, fixture->reader, fixture->version, fixture->out, OUT_BYTES,
                                &size);
    } while (step == FEED_MORE || step == FEED_BATCH);
    assert_int_equal(step, FEED_END);
    assert_int_equal(encoder->position.version, fixture->version);
}

/* Removes what is before the newest segment. No reader has a file open afterwards. */
static void remove_old_segments(struct fixture *fixture)
{
    char name[STORAGE_NAME_BYTES];
    struct storage_file *file;
    log_cursor_reader_close(fixture->reader);
    assert_int_equal(log_cursor_reader_open(fixture->log, &fixture->reader), OK);
    assert_int_equal(log_policy_put(fixture->log, BYTES("p"), fixture->version), OK);
    while (log_stats(fixture->log).segments > 1) {
        (void)usleep(1000); /* the helper thread removes them */
    }
    log_segment_name(1, 0, name);
    while (fixture->storage->operations->open(fixture->storage, name, false, &file) == OK) {
        fixture->storage->operations->close(fixture->storage, file);
        (void)usleep(1000);
    }
}

/* Slow clients: when they go on, their segment has been removed, and what they want has not. One
 * stands at its end, one before a fence at its end, one on the way to what it asked for. */
static void test_a_feed_goes_on_when_only_what_it_has_told_was_removed(void **state)
{
    struct fixture *fixture = *state;
    static char value[50000];
    enum { AT_END, BEFORE_FENCE, ON_THE_WAY, CLIENTS };
    struct feed_encoder clients[CLIENTS] = {0};
    struct feed_position beginning;
    size_t size;
    assert_true(feed_position_open(fixture->reader, 0, &beginning));
    do {
        for (unsigned i = 0; i < CLIENTS; i++) {
            clients[i].position = beginning;
        }
        tell_all(fixture, &clients[AT_END]);
        while (clients[BEFORE_FENCE].position.version < fixture->version) {
            (void)feed_encoder_run(&clients[BEFORE_FENCE], fixture->reader, fixture->version,
                                   fixture->out, FEED_PART_BYTES_MAX, &size);
        }
        clients[ON_THE_WAY].position.version = fixture->version;
        append_write(fixture, BYTES("k"), bytes_of(value, sizeof value));
        append_fence(fixture);
        sync_log(fixture);
    } while (log_stats(fixture->log).segments == 1);
    assert_int_equal(clients[AT_END].position.phase, FEED_AT_BATCH);
    assert_int_equal(clients[BEFORE_FENCE].position.phase, FEED_AT_RECORD);
    remove_old_segments(fixture);
    for (unsigned i = 0; i < CLIENTS; i++) {
        assert_int_equal(clients[i].position.cursor.place.segment, 0);
        tell_all(fixture, &clients[i]);
        feed_encoder_deinit(&clients[i]);
    }
}

/* Fills so many segments with nothing but fences, and goes on in the next one. */
static void fill_with_fences(struct fixture *fixture, uint64_t segments)
{
    static char id[TXN_REQUEST_ID_BYTES_MAX];
    memset(id, 'f', sizeof id);
    const struct log_record record = {.type = LOG_RECORD_FENCE,
                                      .request_id = bytes_of(id, sizeof id)};
    uint64_t until = log_stats(fixture->log).segments + segments;
    while (log_stats(fixture->log).segments < until) {
        for (unsigned i = 0; i < 1000; i++) {
            append(fixture, &record);
        }
        sync_log(fixture);
    }
}

static void test_cursor_waits_over_segments_of_fences(void **state)
{
    struct fixture *fixture = *state;
    struct log_cursor cursor;
    struct log_batch_header header;
    /* All begin with the version that comes first; none is removed, so nothing may be gone for
     * whoever waits for that. */
    assert_true(log_cursor_open(fixture->reader, 0, &cursor));
    assert_int_equal(log_cursor_peek(fixture->reader, &cursor, 0, &header), LOG_CURSOR_END);
    fill_with_fences(fixture, 3);
    append_write(fixture, BYTES("k"), BYTES("1"));
    sync_log(fixture);
    do {
        assert_int_equal(log_cursor_peek(fixture->reader, &cursor, 1, &header), LOG_CURSOR_BATCH);
        log_cursor_skip(&cursor, &header);
    } while (header.last_version < 1);
    assert_int_equal(log_index_oldest_segment(&fixture->log->index), 0);
    walk_from(fixture, 0);
}

static void test_cursor_skips_removed_segments_of_fences(void **state)
{
    struct fixture *fixture = *state;
    struct log_cursor first;
    struct log_batch_header header;
    append_write(fixture, BYTES("k"), BYTES("1"));
    sync_log(fixture);
    assert_true(log_cursor_open(fixture->reader, 0, &first));
    struct log_cursor cursor = first;
    assert_int_equal(log_cursor_peek(fixture->reader, &cursor, 1, &header), LOG_CURSOR_BATCH);
    log_cursor_skip(&cursor, &header);
    fill_with_fences(fixture, 3);
    append_write(fixture, BYTES("k"), BYTES("2"));
    sync_log(fixture);
    /* The next segment holds fences alone; version 2 is in the fourth, which stays. */
    struct log *log = fixture->log;
    log_lock(&log->state_lock);
    struct log_state next = log->state;
    next.oldest_segment = 3;
    assert_int_equal(log_state_replace(log, &next), OK);
    log_segments_drop(log, 3);
    log_unlock(&log->state_lock);
    for (uint32_t ordinal = 0; ordinal < 3; ordinal++) {
        char name[STORAGE_NAME_BYTES];
        log_segment_name(ordinal == 0 ? 1 : 2, ordinal == 0 ? 0 : ordinal - 1, name);
        assert_int_equal(fixture->storage->operations->unlink(fixture->storage, name), OK);
    }
    struct log_cursor_reader *reader;
    assert_int_equal(log_cursor_reader_open(log, &reader), OK);
    assert_int_equal(log_cursor_peek(reader, &cursor, 2, &header), LOG_CURSOR_BATCH);
    while (header.last_version < 2) {
        log_cursor_skip(&cursor, &header);
        assert_int_equal(log_cursor_peek(reader, &cursor, 2, &header), LOG_CURSOR_BATCH);
    }
    assert_int_equal(header.first_version, 2);
    /* Version 1 is gone indeed. */
    assert_int_equal(log_cursor_peek(reader, &first, 2, &header), LOG_CURSOR_GONE);
    log_cursor_reader_close(reader);
}

static unsigned deleted_but_open(void)
{
    unsigned count = 0;
    DIR *directory = opendir("/proc/self/fd");
    assert_non_null(directory);
    for (const struct dirent *entry; (entry = readdir(directory)) != NULL;) {
        char target[256];
        ssize_t size = readlinkat(dirfd(directory), entry->d_name, target, sizeof target - 1);
        target[size > 0 ? size : 0] = '\0';
        count += strstr(target, "/tmp/weasel-feed-") != NULL && strstr(target, "(deleted)") != NULL;
    }
    (void)closedir(directory);
    return count;
}

/* What retention removes is closed although its reader does nothing, so that the disk has the space
 * back. A cursor behind the last batch of a removed segment has missed nothing. */
static void test_a_removed_segment_is_closed_for_an_idle_reader(void **state)
{
    struct fixture *fixture = *state;
    static char value[50000];
    struct log_cursor cursor;
    struct log_cursor inside;
    struct log_batch_header header;
    while (log_stats(fixture->log).segments < 3) {
        append_write(fixture, BYTES("k"), bytes_of(value, sizeof value));
        sync_log(fixture);
    }
    assert_true(log_cursor_open(fixture->reader, 0, &cursor));
    inside = cursor;
    struct log_place second;
    assert_true(log_index_find_segment(&fixture->log->index, 1, &second));
    while (cursor.place.batch < second.batch) {
        assert_int_equal(log_cursor_peek(fixture->reader, &cursor, fixture->version, &header),
                         LOG_CURSOR_BATCH);
        log_cursor_skip(&cursor, &header);
    }
    assert_int_equal(cursor.place.segment, 0);
    assert_int_equal(log_policy_put(fixture->log, BYTES("p"), second.version - 1),
                     OK); /* wakes the thread */
    unsigned waited_ms = 0;
    while (log_retention_stats(fixture->log).removed_segments == 0 || deleted_but_open() > 0) {
        assert_true(waited_ms++ < PATIENCE_MS);
        (void)usleep(1000);
    }
    assert_int_equal(log_cursor_peek(fixture->reader, &cursor, fixture->version, &header),
                     LOG_CURSOR_BATCH);
    assert_int_equal(header.first_version, second.version);
    assert_int_equal(cursor.place.segment, 1);
    log_cursor_skip(&inside, &(struct log_batch_header){.number = inside.place.batch,
                                                        .last_version = inside.place.version});
    assert_int_equal(log_cursor_peek(fixture->reader, &inside, fixture->version, &header),
                     LOG_CURSOR_GONE);
}

static void test_index_stays_bounded(void **state)
{
    (void)state;
    struct log_index index;
    log_index_init(&index);
    struct log_place place = {.segment = 7, .segment_first_version = 1, .offset = 64, .version = 1};
    struct log_place found;
    assert_false(log_index_find(&index, 5, &found));
    assert_int_equal(log_index_add_segment(&index, &place, 0), OK);
    for (unsigned i = 0; i < 4 * LOG_INDEX_POINTS_MAX; i++) {
        log_index_note_batch(&index, &place, LOG_INDEX_SPACING_BYTES);
        place.offset += LOG_INDEX_SPACING_BYTES;
        place.batch++;
        place.version += 10;
    }
    assert_true(index.point_count <= LOG_INDEX_POINTS_MAX);
    assert_true(index.point_count > LOG_INDEX_POINTS_MAX / 4);
    for (uint64_t version = 1; version < place.version; version += 12345) {
        assert_true(log_index_find(&index, version, &found));
        assert_true(found.version <= version);
        assert_true(version - found.version < (uint64_t)10 * 8);
        assert_int_equal(found.version, 1 + 10 * found.batch);
        assert_int_equal(found.offset, 64 + found.batch * LOG_INDEX_SPACING_BYTES);
    }
    /* What is before a segment that retention has made the first is forgotten. */
    place.segment = 8;
    place.segment_first_version = place.version;
    assert_int_equal(log_index_add_segment(&index, &place, place.segment), OK);
    assert_int_equal(index.point_count, 0);
    assert_int_equal(log_index_oldest_segment(&index), 8);
    assert_false(log_index_find(&index, place.version - 1, &found));
    assert_true(log_index_find(&index, place.version, &found));
    log_index_deinit(&index);
}

/* ---- the encoder ---- */

static void append_mixture(struct fixture *fixture)
{
    static char long_value[300000];
    for (size_t i = 0; i < sizeof long_value; i++) {
        long_value[i] = (char)(i * i >> 7);
    }
    for (unsigned i = 0; i < 40; i++) {
        char key[16];
        struct bytes name = bytes_of(key, (size_t)snprintf(key, sizeof key, "key-%u", i));
        const struct txn_operation operations[] = {
            {.type = TXN_WRITE, .key = name, .value = bytes_of(long_value, i * i)},
            {.type = TXN_DELETE, .key = BYTES_INIT("")},
            {.type = TXN_RANGE_DELETE, .key = BYTES_INIT("a"), .value = name},
        };
        append_commit(fixture, operations, 1 + i % 3);
        if (i % 4 == 0) {
            append_fence(fixture);
        }
        if (i % 5 == 4) {
            sync_log(fixture);
        }
    }
    append_write(fixture, BYTES("large"), bytes_of(long_value, 200000));
    sync_log(fixture);
    append_write(fixture, BYTES("k"), BYTES("v"));
    sync_log(fixture);
}

static void test_pieces_of_every_size_make_the_same_whole(void **state)
{
    struct fixture *fixture = *state;
    append_mixture(fixture);
    struct feed_range ranges[] = {{BYTES_INIT("b"), BYTES_INIT("key-2")},
                                  {BYTES_INIT("key-30"), BYTES_INIT("")}};
    const struct feed_filter filters[] = {{0}, feed_filter_make(ranges, 2)};
    for (unsigned format = 0; format < FEED_FORMATS; format++) {
        for (unsigned i = 0; i < 2; i++) {
            struct bytes whole = encode(fixture, (enum feed_format)format, 3, filters[i], 4 << 20);
            char *copy = malloc(whole.size);
            memcpy(copy, whole.data, whole.size);
            for (size_t room = FEED_PART_BYTES_MAX; room < 20000; room = room * 5 / 4 + 1) {
                struct bytes again = encode(fixture, (enum feed_format)format, 3, filters[i], room);
                assert_int_equal(again.size, whole.size);
                assert_memory_equal(again.data, copy, whole.size);
            }
            free(copy);
        }
    }
}

static void test_events_byte_for_byte(void **state)
{
    struct fixture *fixture = *state;
    const struct txn_operation operations[] = {
        {.type = TXN_WRITE, .key = BYTES_INIT("a"), .value = BYTES_INIT("")},
        {.type = TXN_DELETE, .key = BYTES_INIT("bc")},
        {.type = TXN_RANGE_DELETE, .key = BYTES_INIT(""), .value = BYTES_INIT("z")},
    };
    append_commit(fixture, operations, 3);
    sync_log(fixture);
#define JSON                                                                                       \
    "{\"version\":1,\"prev_version\":0,\"request_id\":\"id-1\","                                   \
    "\"timestamp\":\"2023-11-14T22:13:20.001000Z\",\"operations\":["                               \
    "{\"type\":\"write\",\"key\":\"YQ==\",\"value\":\"\"},"                                        \
    "{\"type\":\"delete\",\"key\":\"YmM=\"},"                                                      \
    "{\"type\":\"range_delete\",\"begin\":\"\",\"end\":\"eg==\"}]}"
    static const struct bytes expected[FEED_FORMATS] = {
        [FEED_SSE] = BYTES_INIT("event: transaction\nid: 1\ndata: " JSON "\n\n"),
        [FEED_NDJSON] = BYTES_INIT(JSON "\n"),
        [FEED_PROTOBUF] = BYTES_INIT(
            "\x2f\x0a\x2d\x08\x01\x10\x00\x1a\x04id-1\x20\xe8\x87\xf9\xc0\xc1\xc4\x82\x03"
            "\x2a\x07\x0a\x05\x0a\x01\x61\x12\x00"
            "\x2a\x06\x12\x04\x0a\x02\x62\x63"
            "\x2a\x07\x1a\x05\x0a\x00\x12\x01z"),
    };
    for (unsigned i = 0; i < FEED_FORMATS; i++) {
        struct bytes all =
            encode(fixture, (enum feed_format)i, 0, (struct feed_filter){0}, 1 << 20);
        assert_int_equal(all.size, expected[i].size);
        assert_memory_equal(all.data, expected[i].data, all.size);
    }
}

/* ---- filters ---- */

/* Keys of up to two letters of four, so that everything there is can be tried. */
enum { KEYS = 1 + 4 + 16 };

static struct bytes small_key(unsigned number)
{
    static char keys[KEYS][2];
    static const char letters[4] = {'\0', 'a', '\x7f', '\xff'};
    size_t size = number == 0 ? 0 : number <= 4 ? 1 : 2;
    if (size == 1) {
        keys[number][0] = letters[number - 1];
    } else if (size == 2) {
        keys[number][0] = letters[(number - 5) / 4];
        keys[number][1] = letters[(number - 5) % 4];
    }
    return bytes_of(keys[number], size);
}

static bool is_in(struct bytes key, const struct feed_range *range)
{
    return feed_key_compare(range->begin, key) <= 0 &&
           (range->end.size == 0 || feed_key_compare(key, range->end) < 0);
}

static unsigned random_below(unsigned limit)
{
    return (unsigned)random() % limit;
}

static struct feed_range random_range(void)
{
    struct feed_range range;
    do {
        range = (struct feed_range){small_key(random_below(KEYS)), small_key(random_below(KEYS))};
    } while (!feed_range_is_valid(&range));
    return range;
}

static void test_filters_against_a_model(void **state)
{
    (void)state;
    srandom(11);
    for (unsigned round = 0; round < 20000; round++) {
        struct feed_range given[5];
        struct feed_range made[5];
        uint32_t count = 1 + random_below(5);
        for (uint32_t i = 0; i < count; i++) {
            given[i] = made[i] = random_range();
        }
        struct feed_filter filter = feed_filter_make(made, count);
        struct feed_range whole = random_range();
        if (whole.end.size == 0) {
            whole.end = BYTES("\xff\xff\xff");
        }
        unsigned pieces_with[KEYS] = {0};
        uint32_t index = 0;
        struct feed_range piece;
        struct bytes last = bytes_of(NULL, 0);
        while (feed_filter_clip(&filter, whole, &index, &piece)) {
            assert_true(feed_range_is_valid(&piece));
            assert_true(last.size == 0 || feed_key_compare(last, piece.begin) <= 0);
            last = piece.end;
            for (unsigned i = 0; i < KEYS; i++) {
                pieces_with[i] += is_in(small_key(i), &piece);
            }
        }
        for (unsigned i = 0; i < KEYS; i++) {
            bool wanted = false;
            for (uint32_t j = 0; j < count; j++) {
                wanted = wanted || is_in(small_key(i), &given[j]);
            }
            assert_int_equal(feed_filter_has(&filter, small_key(i)), wanted);
            assert_int_equal(pieces_with[i], wanted && is_in(small_key(i), &whole));
        }
    }
}

/* ---- blocks ---- */

/* All events behind `after`, through the store. */
static size_t encode_by_blocks(struct fixture *fixture, struct feed_blocks *blocks,
                               enum feed_format format, uint64_t after, char *out)
{
    struct feed_position position;
    size_t total = 0;
    assert_true(feed_position_open(fixture->reader, after, &position));
    for (;;) {
        struct feed_block *block = NULL;
        enum feed_step step =
            feed_blocks_take(blocks, fixture->reader, format, &position, fixture->version, &block);
        if (step == FEED_END) {
            return total;
        }
        assert_int_equal(step, FEED_MORE);
        if (block != NULL) {
            assert_true(feed_block_is_at(block, format, &position));
            memcpy(out + total, block->data, block->size);
            total += block->size;
            position = block->end;
            feed_block_give(&block);
        }
    }
}

static void test_blocks_are_made_once_and_make_the_same_whole(void **state)
{
    struct fixture *fixture = *state;
    struct feed_blocks *blocks;
    append_mixture(fixture);
    for (unsigned format = 0; format < FEED_FORMATS; format++) {
        struct bytes whole =
            encode(fixture, (enum feed_format)format, 0, (struct feed_filter){0}, 4 << 20);
        char *copy = malloc(OUT_BYTES);
        assert_int_equal(feed_blocks_open(16 << 20, &blocks), OK);
        uint64_t made = 0;
        for (unsigned i = 0; i < 3; i++) {
            size_t size = encode_by_blocks(fixture, blocks, (enum feed_format)format, 0, copy);
            assert_int_equal(size, whole.size);
            assert_memory_equal(copy, whole.data, size);
            assert_true(made == 0 || feed_blocks_stats(blocks).made == made);
            made = feed_blocks_stats(blocks).made;
        }
        feed_blocks_close(blocks);
        /* With room for one block only, everything is made again, and is the same. */
        assert_int_equal(feed_blocks_open(1, &blocks), OK);
        for (unsigned i = 0; i < 2; i++) {
            assert_int_equal(encode_by_blocks(fixture, blocks, (enum feed_format)format, 0, copy),
                             whole.size);
            assert_memory_equal(copy, whole.data, whole.size);
            assert_int_equal(feed_blocks_stats(blocks).bytes, 0);
        }
        assert_int_equal(feed_blocks_stats(blocks).made, 2 * made);
        feed_blocks_close(blocks);
        free(copy);
    }
}

static void test_a_large_batch_is_checked_by_whoever_wants_it(void **state)
{
    struct fixture *fixture = *state;
    static char value[700000];
    struct feed_encoder encoder = {.format = FEED_SSE};
    struct feed_blocks *blocks;
    struct feed_block *block = NULL;
    size_t size;
    append_write(fixture, BYTES("k"), bytes_of(value, sizeof value));
    sync_log(fixture);
    assert_true(feed_position_open(fixture->reader, 0, &encoder.position));
    assert_int_equal(feed_blocks_open(1 << 20, &blocks), OK);
    /* The store does not go on where it was: others want other batches in between. */
    for (int i = 0; i < 3; i++) {
        assert_int_equal(feed_blocks_take(blocks, fixture->reader, FEED_SSE, &encoder.position,
                                          fixture->version, &block),
                         FEED_MORE);
        assert_null(block);
    }
    while (encoder.position.phase <= FEED_IN_CHECK) {
        assert_int_equal(feed_encoder_run(&encoder, fixture->reader, fixture->version, fixture->out,
                                          FEED_PART_BYTES_MAX, &size),
                         FEED_MORE);
    }
    assert_int_equal(feed_blocks_take(blocks, fixture->reader, FEED_SSE, &encoder.position,
                                      fixture->version, &block),
                     FEED_MORE);
    assert_non_null(block);
    assert_true(block->size > FEED_BLOCK_BYTES - FEED_PART_BYTES_MAX);
    feed_block_give(&block);
    feed_blocks_close(blocks);
    feed_encoder_deinit(&encoder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_cursor_stops_where_it_is_durable, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_cursor_crosses_segments, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_cursor_finds_what_is_gone_and_what_is_damaged, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_a_feed_goes_on_when_only_what_it_has_told_was_removed,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_cursor_waits_over_segments_of_fences, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_cursor_skips_removed_segments_of_fences, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_a_removed_segment_is_closed_for_an_idle_reader, set_up,
                                        tear_down),
        cmocka_unit_test(test_index_stays_bounded),
        cmocka_unit_test_setup_teardown(test_pieces_of_every_size_make_the_same_whole, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_events_byte_for_byte, set_up, tear_down),
        cmocka_unit_test(test_filters_against_a_model),
        cmocka_unit_test_setup_teardown(test_blocks_are_made_once_and_make_the_same_whole, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_a_large_batch_is_checked_by_whoever_wants_it, set_up,
                                        tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
