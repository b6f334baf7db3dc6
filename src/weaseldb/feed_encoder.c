/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The encoder is a state machine over the bytes of a batch:
 *
 *   AT_BATCH -> IN_CHECK -> AT_RECORD -> [IN_MEASURE] -> AT_TRANSACTION
 *      ^                     |    ^                           |
 *      +---------------------+    |    +-> AT_OPERATION -> IN_KEY -> IN_VALUE -+
 *                                 +----+------------------------------------- +
 *
 * A record is measured first where that must be known before its head is written: with a filter,
 * whether anything of it is wanted; in Protobuf, its size. Measuring goes from operation to
 * operation and reads no values.
 *
 * A small record all of which is wanted, and for which there is room, is written in one go instead,
 * by put_small_record(): the same bytes for less.
 *
 * Invariants
 *  1. Nothing of a batch is written before its checksum was found right. Its bytes may be read a
 *     second time for that; being decoded, they are still not trusted to stay within their record.
 *  2. One run loads at most STEP_BYTES and a window: so no batch holds a network thread up.
 */
#include "weaseldb/feed_encoder.h"

#include "base/check.h"

enum {
    STEP_BYTES = 512 << 10,
    SMALL_RECORD_BYTES = 4 << 10,
    OPERATION_PARTS_BYTES = 128, /* an operation's parts together, without its key and value */
};

/* What one run works with. */
struct run {
    struct feed_encoder *encoder;
    struct feed_position *position; /* the encoder's */
    struct log_cursor_reader *reader;
    uint64_t durable;
    char *out;
    size_t room;
    size_t size;
};

bool feed_position_open(struct log_cursor_reader *reader, uint64_t after, struct feed_position *out)
{
    *out = (struct feed_position){.version = after, .told = after};
    return log_cursor_open(reader, after, &out->cursor);
}

bool feed_position_is_between_events(const struct feed_position *position)
{
    return position->phase <= FEED_AT_TRANSACTION;
}

void feed_encoder_deinit(struct feed_encoder *encoder)
{
    log_payload_hasher_close(encoder->hasher);
    encoder->hasher = NULL;
}

static enum feed_step step_of(enum log_cursor_result result)
{
    switch (result) {
    case LOG_CURSOR_BATCH:
        return FEED_MORE;
    case LOG_CURSOR_END:
        return FEED_END;
    case LOG_CURSOR_GONE:
        return FEED_GONE;
    case LOG_CURSOR_DAMAGED:
        return FEED_DAMAGED;
    case LOG_CURSOR_FAILED:
        return FEED_FAILED;
    }
    UNREACHABLE();
}

static enum feed_step view(struct run *run, uint64_t at, size_t need, struct bytes *out)
{
    const struct feed_position *position = run->position;
    if (need > LOG_VIEW_BYTES_MAX) {
        return FEED_DAMAGED;
    }
    return step_of(
        log_cursor_view(run->reader, &position->cursor, &position->header, at, need, out));
}

/* ---- batches ---- */

/* The header of the next batch. When the place is gone, what is wanted may still be there: nothing
 * but fences stood between, or what has been given already. */
static enum feed_step find_batch(struct run *run, struct log_batch_header *out)
{
    struct feed_position *position = run->position;
    struct log_cursor again;
    for (;;) {
        enum feed_step step =
            step_of(log_cursor_peek(run->reader, &position->cursor, run->durable, out));
        if (step != FEED_GONE || !log_cursor_open(run->reader, position->version, &again) ||
            again.place.segment <= position->cursor.place.segment) {
            return step;
        }
        position->cursor = again;
    }
}

static enum feed_step at_batch(struct run *run)
{
    struct feed_position *position = run->position;
    struct log_batch_header header;
    enum feed_step step = find_batch(run, &header);
    if (step != FEED_MORE) {
        return step;
    }
    if (header.last_version <= position->version) {
        /* On the way from where the index points to; or nothing but fences. */
        log_cursor_skip(&position->cursor, &header);
        bool is_there = position->cursor.place.version == position->version + 1;
        return is_there ? FEED_BATCH : FEED_MORE;
    }
    position->header = header;
    position->at = 0;
    position->encoded = 0;
    position->is_partial = header.first_version <= position->version;
    position->phase = FEED_IN_CHECK;
    return FEED_MORE;
}

static enum feed_step in_check(struct run *run)
{
    struct feed_position *position = run->position;
    enum feed_step step =
        step_of(log_cursor_verify(run->reader, &position->cursor, &position->header, STEP_BYTES,
                                  &run->encoder->hasher, &position->at));
    if (step == FEED_MORE && position->at == position->header.payload_bytes) {
        feed_encoder_deinit(run->encoder);
        position->at = 0;
        position->phase = FEED_AT_RECORD;
    }
    return step;
}

/* ---- records ---- */

static void end_record(struct feed_position *position)
{
    position->version = position->record_version;
    position->at = position->record_end;
    position->phase = FEED_AT_RECORD;
}

static void rewind_operations(struct feed_position *position)
{
    position->operation_at = position->operations_at;
    position->clip = 0;
    position->operation_count = 0;
}

/* ---- small records ---- */

static struct feed_operation operation_of(const struct txn_operation *operation)
{
    return (struct feed_operation){.type = operation->type,
                                   .key_bytes = operation->key.size,
                                   .value_bytes = operation->value.size};
}

/* There is room for all of `from`. */
static void put_whole(struct run *run, struct bytes from)
{
    size_t taken;
    run->size += feed_put_bytes(run->encoder->format, from, true, run->room - run->size,
                                run->out + run->size, &taken);
    CHECK(taken == from.size);
}

static void put_whole_operation(struct run *run, const struct txn_operation *operation, bool first)
{
    enum feed_format format = run->encoder->format;
    const struct feed_operation head = operation_of(operation);
    run->size += feed_put_operation(format, &head, first, run->out + run->size);
    put_whole(run, operation->key);
    if (operation->type != TXN_DELETE) {
        run->size += feed_put_middle(format, &head, run->out + run->size);
        put_whole(run, operation->value);
    }
    run->size += feed_put_operation_tail(format, run->out + run->size);
}

/* The record that at_record() has found. *done stays false when it has to be written step by
 * step; then nothing has happened. */
static enum feed_step put_small_record(struct run *run, bool *done)
{
    struct feed_position *position = run->position;
    enum feed_format format = run->encoder->format;
    size_t record_bytes = (size_t)(position->record_end - position->at);
    size_t head_bytes = (size_t)(position->operations_at - position->at);
    struct txn_operation operation;
    struct bytes record;
    enum feed_step step = view(run, position->at, record_bytes, &record);
    if (step != FEED_MORE) {
        return step;
    }
    const struct bytes operations =
        bytes_of(record.data + head_bytes, (size_t)record_bytes - head_bytes);
    struct feed_transaction transaction = {
        .version = position->record_version,
        .prev_version = position->told,
        .timestamp_us = position->header.timestamp_us,
        .request_id =
            bytes_of(record.data + LOG_RECORD_HEADER_BYTES, head_bytes - LOG_RECORD_HEADER_BYTES),
    };
    size_t count = 0;
    for (struct bytes rest = operations; rest.size > 0; count++) {
        if (!log_operation_decode(&rest, &operation)) {
            return FEED_DAMAGED;
        }
        const struct feed_operation head = operation_of(&operation);
        transaction.operations_bytes += feed_operation_bytes(format, &head);
    }
    /* Base64 takes less than two bytes for one, but for the padding. */
    size_t need = FEED_PART_BYTES_MAX + 2 * record_bytes + OPERATION_PARTS_BYTES * (count + 1);
    if (count == 0 || need > run->room - run->size) {
        return FEED_MORE;
    }
    run->size += feed_put_transaction(format, &transaction, run->out + run->size);
    struct bytes rest = operations;
    for (size_t i = 0; i < count; i++) {
        CHECK(log_operation_decode(&rest, &operation));
        put_whole_operation(run, &operation, i == 0);
    }
    run->size += feed_put_transaction_tail(format, run->out + run->size);
    position->told = position->record_version;
    end_record(position);
    *done = true;
    return FEED_MORE;
}

static enum feed_step at_record(struct run *run)
{
    struct feed_position *position = run->position;
    uint64_t left = position->header.payload_bytes - position->at;
    struct bytes bytes;
    struct log_record record;
    uint32_t record_bytes;
    uint32_t operations_bytes;
    if (position->version == position->header.last_version) { /* fences may follow */
        log_cursor_skip(&position->cursor, &position->header);
        position->phase = FEED_AT_BATCH;
        position->is_partial = false;
        position->encoded = 0;
        return FEED_BATCH;
    }
    if (left == 0) {
        return FEED_DAMAGED;
    }
    size_t need = left < LOG_RECORD_HEAD_BYTES_MAX ? (size_t)left : LOG_RECORD_HEAD_BYTES_MAX;
    enum feed_step step = view(run, position->at, need, &bytes);
    if (step != FEED_MORE) {
        return step;
    }
    if (!log_record_head_decode(bytes, left, &record, &record_bytes, &operations_bytes)) {
        return FEED_DAMAGED;
    }
    if (record.type == LOG_RECORD_FENCE || record.version <= position->version) {
        position->at += record_bytes;
        return FEED_MORE;
    }
    if (record.version != position->version + 1) {
        return FEED_DAMAGED;
    }
    position->record_end = position->at + record_bytes;
    position->operations_at = position->record_end - operations_bytes;
    position->record_version = record.version;
    position->operations_bytes = 0;
    rewind_operations(position);
    bool filtered = run->encoder->filter.count > 0;
    if (!filtered && record_bytes <= SMALL_RECORD_BYTES) {
        bool done = false;
        step = put_small_record(run, &done);
        if (step != FEED_MORE || done) {
            return step;
        }
    }
    bool measured = filtered || run->encoder->format == FEED_PROTOBUF;
    position->phase = measured ? FEED_IN_MEASURE : FEED_AT_TRANSACTION;
    return FEED_MORE;
}

/* ---- operations ---- */

static struct feed_piece piece_in_payload(uint64_t at, uint64_t size)
{
    return (struct feed_piece){NULL, at, size};
}

/* The piece for `key`, which is a view of the payload from `at` on, or of the filter. */
static struct feed_piece piece_of(struct bytes key, struct bytes in_payload, uint64_t at)
{
    return key.data == in_payload.data ? piece_in_payload(at, key.size)
                                       : (struct feed_piece){key.data, 0, key.size};
}

/* The next piece of a range delete that is wanted; *wanted: there is one. */
static enum feed_step clip(struct run *run, const struct log_operation_head *head, bool *wanted)
{
    struct feed_position *position = run->position;
    uint64_t key_at = position->operation_at + LOG_OPERATION_HEADER_BYTES;
    uint64_t end_at = key_at + head->key_bytes;
    struct bytes bytes;
    enum feed_step step = view(run, key_at, (size_t)head->key_bytes + head->value_bytes, &bytes);
    if (step != FEED_MORE) {
        return step;
    }
    const struct feed_range whole = {.begin = bytes_of(bytes.data, head->key_bytes),
                                     .end =
                                         bytes_of(bytes.data + head->key_bytes, head->value_bytes)};
    struct feed_range range;
    *wanted = feed_filter_clip(&run->encoder->filter, whole, &position->clip, &range);
    if (*wanted) {
        position->key = piece_of(range.begin, whole.begin, key_at);
        position->value = piece_of(range.end, whole.end, end_at);
    }
    return FEED_MORE;
}

static enum feed_step look_for_key(struct run *run, const struct log_operation_head *head,
                                   bool *wanted)
{
    uint64_t at = run->position->operation_at + LOG_OPERATION_HEADER_BYTES;
    struct bytes bytes;
    enum feed_step step = view(run, at, head->key_bytes, &bytes);
    if (step == FEED_MORE) {
        *wanted = feed_filter_has(&run->encoder->filter, bytes_of(bytes.data, head->key_bytes));
    }
    return step;
}

static void pass_operation(struct feed_position *position, const struct log_operation_head *head)
{
    position->operation_at +=
        LOG_OPERATION_HEADER_BYTES + (uint64_t)head->key_bytes + head->value_bytes;
    position->clip = 0;
}

/* Looks at the next operation of the record; *found: it, or a piece of it, is wanted, and is the
 * operation in progress now. */
static enum feed_step next_operation(struct run *run, bool *found)
{
    struct feed_position *position = run->position;
    bool filtered = run->encoder->filter.count > 0;
    struct log_operation_head head;
    struct bytes bytes;
    uint64_t left = position->record_end - position->operation_at;
    *found = false;
    if (left < LOG_OPERATION_HEADER_BYTES) {
        return FEED_DAMAGED;
    }
    enum feed_step step = view(run, position->operation_at, LOG_OPERATION_HEADER_BYTES, &bytes);
    if (step != FEED_MORE) {
        return step;
    }
    if (!log_operation_head_decode(bytes.data, left, &head)) {
        return FEED_DAMAGED;
    }
    uint64_t at = position->operation_at + LOG_OPERATION_HEADER_BYTES;
    bool wanted = true;
    position->key = piece_in_payload(at, head.key_bytes);
    position->value = piece_in_payload(at + head.key_bytes, head.value_bytes);
    if (filtered && head.type == TXN_RANGE_DELETE) {
        step = clip(run, &head, &wanted);
    } else if (filtered) {
        step = look_for_key(run, &head, &wanted);
    }
    if (step != FEED_MORE) {
        return step;
    }
    if (!wanted || !filtered || head.type != TXN_RANGE_DELETE) {
        pass_operation(position, &head);
    }
    position->operation = (struct feed_operation){
        .type = head.type, .key_bytes = position->key.size, .value_bytes = position->value.size};
    *found = wanted;
    return FEED_MORE;
}

static enum feed_step in_measure(struct run *run)
{
    struct feed_position *position = run->position;
    if (position->operation_at == position->record_end) {
        if (position->operation_count == 0) {
            end_record(position);
            return FEED_MORE;
        }
        rewind_operations(position);
        position->phase = FEED_AT_TRANSACTION;
        return FEED_MORE;
    }
    bool found;
    enum feed_step step = next_operation(run, &found);
    if (step == FEED_MORE && found) {
        position->operation_count++;
        position->operations_bytes +=
            feed_operation_bytes(run->encoder->format, &position->operation);
    }
    return step;
}

/* ---- writing ---- */

static enum feed_step at_transaction(struct run *run)
{
    struct feed_position *position = run->position;
    struct bytes id;
    uint64_t id_bytes = position->operations_at - position->at - LOG_RECORD_HEADER_BYTES;
    enum feed_step step = view(run, position->at + LOG_RECORD_HEADER_BYTES, (size_t)id_bytes, &id);
    if (step != FEED_MORE) {
        return step;
    }
    const struct feed_transaction transaction = {
        .version = position->record_version,
        .prev_version = position->told,
        .timestamp_us = position->header.timestamp_us,
        .request_id = bytes_of(id.data, (size_t)id_bytes),
        .operations_bytes = position->operations_bytes,
    };
    run->size += feed_put_transaction(run->encoder->format, &transaction, run->out + run->size);
    position->phase = FEED_AT_OPERATION;
    return FEED_MORE;
}

static enum feed_step at_operation(struct run *run)
{
    struct feed_position *position = run->position;
    enum feed_format format = run->encoder->format;
    if (position->operation_at == position->record_end) {
        run->size += feed_put_transaction_tail(format, run->out + run->size);
        position->told = position->record_version;
        end_record(position);
        return FEED_MORE;
    }
    bool found;
    enum feed_step step = next_operation(run, &found);
    if (step == FEED_MORE && found) {
        run->size += feed_put_operation(format, &position->operation,
                                        position->operation_count == 0, run->out + run->size);
        position->operation_count++;
        position->phase = FEED_IN_KEY;
    }
    return step;
}

/* Writes what there is room for of `piece`, and takes it off. */
static enum feed_step put_piece(struct run *run, struct feed_piece *piece)
{
    if (piece->size == 0) {
        return FEED_MORE;
    }
    /* Base64 goes by three bytes, but for the last ones. */
    size_t need = piece->size < 3 ? (size_t)piece->size : 3;
    struct bytes from = bytes_of(piece->memory, (size_t)piece->size);
    if (piece->memory == NULL) {
        enum feed_step step = view(run, piece->at, need, &from);
        if (step != FEED_MORE) {
            return step;
        }
        if (from.size > piece->size) {
            from.size = (size_t)piece->size;
        }
    }
    size_t taken;
    run->size += feed_put_bytes(run->encoder->format, from, from.size == piece->size,
                                run->room - run->size, run->out + run->size, &taken);
    CHECK(taken > 0);
    if (piece->memory != NULL) {
        piece->memory += taken;
    }
    piece->at += taken;
    piece->size -= taken;
    return FEED_MORE;
}

static enum feed_step in_key(struct run *run)
{
    struct feed_position *position = run->position;
    enum feed_format format = run->encoder->format;
    if (position->key.size > 0) {
        return put_piece(run, &position->key);
    }
    if (position->operation.type == TXN_DELETE) {
        run->size += feed_put_operation_tail(format, run->out + run->size);
        position->phase = FEED_AT_OPERATION;
        return FEED_MORE;
    }
    run->size += feed_put_middle(format, &position->operation, run->out + run->size);
    position->phase = FEED_IN_VALUE;
    return FEED_MORE;
}

static enum feed_step in_value(struct run *run)
{
    struct feed_position *position = run->position;
    if (position->value.size > 0) {
        return put_piece(run, &position->value);
    }
    run->size += feed_put_operation_tail(run->encoder->format, run->out + run->size);
    position->phase = FEED_AT_OPERATION;
    return FEED_MORE;
}

static enum feed_step take_step(struct run *run)
{
    switch (run->position->phase) {
    case FEED_AT_BATCH:
        return at_batch(run);
    case FEED_IN_CHECK:
        return in_check(run);
    case FEED_AT_RECORD:
        return at_record(run);
    case FEED_IN_MEASURE:
        return in_measure(run);
    case FEED_AT_TRANSACTION:
        return at_transaction(run);
    case FEED_AT_OPERATION:
        return at_operation(run);
    case FEED_IN_KEY:
        return in_key(run);
    case FEED_IN_VALUE:
        return in_value(run);
    }
    UNREACHABLE();
}

enum feed_step feed_encoder_run(struct feed_encoder *encoder, struct log_cursor_reader *reader,
                                uint64_t durable, char *out, size_t room, size_t *size)
{
    struct run run = {.encoder = encoder,
                      .position = &encoder->position,
                      .reader = reader,
                      .durable = durable,
                      .out = out,
                      .room = room};
    uint64_t until_bytes = log_cursor_reader_loaded_bytes(reader) + STEP_BYTES;
    enum feed_step step = FEED_MORE;
    CHECK(room >= FEED_PART_BYTES_MAX);
    while (step == FEED_MORE && room - run.size >= FEED_PART_BYTES_MAX &&
           log_cursor_reader_loaded_bytes(reader) < until_bytes) {
        size_t before = run.size;
        step = take_step(&run);
        /* Behind the last byte of a batch it is at none. */
        encoder->position.encoded += step == FEED_BATCH ? 0 : run.size - before;
        CHECK(run.size <= room);
    }
    *size = run.size;
    return step;
}
