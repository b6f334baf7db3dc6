/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What must come next is made as a whole from the model's account: which operations a filter lets
 * through is decided by the numbers of keys. Only the words between keys and values are the
 * product's (feed_format.h), whose bytes have a test of their own.
 */
#include "simulation/subscribers.h"

#include "base/check.h"
#include "commitlog/log_internal.h"
#include "weaseldb/feed_blocks.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { READERS = 2, RANGES_MAX = 3, OUT_BYTES = 64 << 10, NEAR_VERSIONS = 40 };

struct subscriber {
    /* What it asks for, for all time. */
    enum feed_format format;
    struct feed_range ranges[RANGES_MAX];
    struct feed_filter filter;
    bool wants[MODEL_KEYS_MAX]; /* the keys; without a filter all */
    unsigned laziness;          /* it takes something when its turn comes once in so many */

    /* The client's account. */
    bool knows;       /* it has been connected before */
    bool was_in_life; /* in this life of the server */
    uint64_t told;    /* id of its last whole event */
    uint64_t seen;    /* all up to it was told, or is not wanted */
    char *expected;   /* the event that it is in the middle of */
    size_t expected_size;
    size_t expected_at; /* equal: in the middle of none */
    size_t expected_room;
    uint64_t expected_version;

    /* The server's part. */
    bool is_open;
    struct feed_encoder encoder;
    struct feed_block *block; /* being sent; NULL: none */
    uint32_t block_sent;
    bool is_live; /* its last bytes were shared */
};

struct subscribers {
    struct random *random;
    struct model *model;
    struct storage_sim *sim;
    struct log *log; /* NULL: the server does not run */
    const struct commit_service *service;
    struct log_cursor_reader *readers[READERS];
    struct feed_blocks *blocks;
    struct subscriber *clients;
    uint32_t count;
    uint64_t events;
    char out[OUT_BYTES];
};

/* ---- what must come next ---- */

static void put(struct subscriber *client, const char *bytes, size_t size)
{
    if (client->expected_size + size > client->expected_room) {
        client->expected_room = 2 * (client->expected_size + size);
        client->expected = realloc(client->expected, client->expected_room);
        CHECK(client->expected != NULL);
    }
    if (size > 0) {
        memcpy(client->expected + client->expected_size, bytes, size);
        client->expected_size += size;
    }
}

static void put_bytes(struct subscriber *client, struct bytes bytes)
{
    size_t room = 2 * bytes.size + 16;
    size_t taken = 0;
    char *out = malloc(room);
    CHECK(out != NULL);
    if (bytes.size > 0) {
        put(client, out, feed_put_bytes(client->format, bytes, true, room, out, &taken));
    }
    CHECK(taken == bytes.size);
    free(out);
}

/* The next piece of the operation that is wanted, from key *at on; *at then is behind it. */
static bool next_piece(const struct subscribers *all, const struct subscriber *client,
                       const struct model_txn *txn, uint32_t index, uint32_t *at,
                       struct txn_operation *out)
{
    const struct bytes *keys = all->model->keys;
    const uint32_t end = txn->written[index][1];
    *out = txn->operations[index];
    if (out->type != TXN_RANGE_DELETE) {
        bool wanted = *at < end && client->wants[*at];
        *at = end;
        return wanted;
    }
    while (*at < end && !client->wants[*at]) {
        ++*at;
    }
    if (*at == end) {
        return false;
    }
    out->key = keys[*at];
    while (*at < end && client->wants[*at]) {
        ++*at;
    }
    out->value = keys[*at];
    if (!bytes_equal(out->key, txn->operations[index].key) ||
        !bytes_equal(out->value, txn->operations[index].value)) {
        MARK(feed_clips_a_range);
    }
    return true;
}

static struct feed_operation head_of(const struct txn_operation *operation)
{
    return (struct feed_operation){.type = operation->type,
                                   .key_bytes = operation->key.size,
                                   .value_bytes = operation->value.size};
}

static void put_operation(struct subscriber *client, const struct txn_operation *operation,
                          bool first)
{
    char part[FEED_PART_BYTES_MAX];
    const struct feed_operation head = head_of(operation);
    put(client, part, feed_put_operation(client->format, &head, first, part));
    put_bytes(client, operation->key);
    if (operation->type != TXN_DELETE) {
        put(client, part, feed_put_middle(client->format, &head, part));
        put_bytes(client, operation->value);
    }
    put(client, part, feed_put_operation_tail(client->format, part));
}

/* The event of `version`, after the last one. False: nothing of it is wanted. */
static bool expect(const struct subscribers *all, struct subscriber *client, uint64_t version)
{
    const struct ledger_record *record = model_record_of(all->model, version);
    struct feed_transaction transaction = {.version = version,
                                           .prev_version = client->told,
                                           .timestamp_us = record->timestamp_us,
                                           .request_id = bytes_from_string(record->id->text)};
    struct txn_operation piece;
    char part[FEED_PART_BYTES_MAX];
    uint32_t pieces = 0;
    const uint32_t count = record->txn->txn.operation_count;
    for (uint32_t i = 0; i < count; i++) {
        for (uint32_t at = record->txn->written[i][0];
             next_piece(all, client, record->txn, i, &at, &piece); pieces++) {
            const struct feed_operation head = head_of(&piece);
            transaction.operations_bytes += feed_operation_bytes(client->format, &head);
        }
    }
    client->expected_size = client->expected_at = 0;
    if (pieces == 0) {
        MARK(feed_leaves_out);
        return false;
    }
    put(client, part, feed_put_transaction(client->format, &transaction, part));
    pieces = 0;
    for (uint32_t i = 0; i < count; i++) {
        for (uint32_t at = record->txn->written[i][0];
             next_piece(all, client, record->txn, i, &at, &piece); pieces++) {
            put_operation(client, &piece, pieces == 0);
        }
    }
    put(client, part, feed_put_transaction_tail(client->format, part));
    client->expected_version = version;
    return true;
}

/* The next event that is wanted, of what is durable up to `durable`. */
static bool expect_next(const struct subscribers *all, struct subscriber *client, uint64_t durable)
{
    while (client->seen < durable) {
        if (expect(all, client, client->seen + 1)) {
            return true;
        }
        client->seen++;
    }
    return false;
}

static void note_told(struct subscribers *all, struct subscriber *client)
{
    client->told = client->seen = client->expected_version;
    all->events++;
    MARK(feed_tells);
    mark_counts[MARK_feed_tells_what_was_removed] += client->told < log_first_version(all->log);
}

/* What came over the wire. */
static void receive(struct subscribers *all, struct subscriber *client, const char *bytes,
                    size_t size)
{
    struct model *model = all->model;
    while (size > 0 && model->problem[0] == '\0') {
        if (client->expected_at == client->expected_size &&
            !expect_next(all, client, model->synced_version)) {
            model_complain(model, "feed: told more than is durable, after version %" PRIu64,
                           client->told);
            return;
        }
        size_t left = client->expected_size - client->expected_at;
        size_t part = left < size ? left : size;
        if (memcmp(client->expected + client->expected_at, bytes, part) != 0) {
            model_complain(
                model, "feed: not what comes after version %" PRIu64 ", which is version %" PRIu64,
                client->told, client->expected_version);
            return;
        }
        client->expected_at += part;
        bytes += part;
        size -= part;
        if (client->expected_at == client->expected_size) {
            note_told(all, client);
        }
    }
}

/* ---- connecting ---- */

static void cut_off(struct subscriber *client)
{
    if (client->expected_at < client->expected_size) {
        MARK(feed_is_cut_within_an_event);
    }
    client->expected_at = client->expected_size = 0;
    feed_block_give(&client->block);
    feed_encoder_deinit(&client->encoder);
    client->is_open = false;
}

/* Where it goes on, or begins. */
static uint64_t draw_after(struct subscribers *all, const struct subscriber *client,
                           uint64_t durable)
{
    if (client->knows && !random_once_in(all->random, 8)) {
        return client->told;
    }
    if (random_once_in(all->random, 2)) {
        return durable;
    }
    uint64_t before = log_first_version(all->log) - 1; /* perhaps not released yet */
    return random_once_in(all->random, 2) && before <= durable
               ? before
               : random_less(all->random, durable + 1);
}

/* What comes after that version was removed, as far as the model knows. */
static void check_gone(struct subscribers *all, uint64_t after, bool is_gone, const char *what)
{
    const struct model *model = all->model;
    bool may_be = after + 1 < model->first_version[1];
    bool must_be = after + 1 < model->first_version[0];
    if (is_gone ? !may_be : must_be) {
        model_complain(all->model,
                       "feed: %s %s after version %" PRIu64 ", and the log begins with %" PRIu64,
                       what, is_gone ? "is gone" : "is there", after, model->first_version[1]);
    }
}

static void connect(struct subscribers *all, struct subscriber *client)
{
    uint64_t durable = commit_version_info(all->service).version;
    uint64_t after = draw_after(all, client, durable);
    struct log_cursor_reader *reader = all->readers[(client - all->clients) % READERS];
    bool resumes = client->knows && after == client->told;
    if (after > durable) {
        model_complain(all->model,
                       "feed: version %" PRIu64 " was told, and the log ends with %" PRIu64, after,
                       durable);
        return;
    }
    client->encoder = (struct feed_encoder){.format = client->format, .filter = client->filter};
    bool is_gone = after + 1 < log_first_version(all->log) ||
                   !feed_position_open(reader, after, &client->encoder.position);
    check_gone(all, after, is_gone, "what comes");
    if (is_gone) {
        MARK(feed_is_refused_as_gone);
        client->knows = false; /* it reads the state anew */
        return;
    }
    mark_counts[MARK_feed_resumes] += resumes;
    mark_counts[MARK_feed_resumes_after_a_restart] += resumes && !client->was_in_life;
    client->told = client->seen = after;
    client->is_open = client->knows = client->was_in_life = true;
    client->is_live = false;
}

/* ---- being connected ---- */

static struct log_cursor_reader *reader_of(const struct subscribers *all,
                                           const struct subscriber *client)
{
    return all->readers[(client - all->clients) % READERS];
}

/* As in subscribe.c. */
static bool wants_block(const struct subscriber *client, uint64_t durable)
{
    const struct feed_position *position = &client->encoder.position;
    uint64_t version = position->cursor.place.version;
    return client->filter.count == 0 && !position->is_partial && position->phase != FEED_IN_CHECK &&
           (position->phase != FEED_AT_BATCH || version == position->version + 1) &&
           version + NEAR_VERSIONS > durable;
}

static enum feed_step send_block(struct subscribers *all, struct subscriber *client, size_t room,
                                 size_t *size)
{
    struct feed_block *block = client->block;
    size_t left = block->size - client->block_sent;
    *size = left < room ? left : room;
    memcpy(all->out, block->data + client->block_sent, *size);
    client->block_sent += (uint32_t)*size;
    if (*size < left) {
        return FEED_MORE;
    }
    client->encoder.position = block->end;
    feed_block_give(&client->block);
    return client->encoder.position.phase == FEED_AT_BATCH ? FEED_BATCH : FEED_MORE;
}

static enum feed_step fill(struct subscribers *all, struct subscriber *client, uint64_t durable,
                           size_t room, size_t *size)
{
    struct feed_encoder *encoder = &client->encoder;
    *size = 0;
    if (client->block == NULL && wants_block(client, durable)) {
        enum feed_step step = feed_blocks_take(all->blocks, reader_of(all, client), encoder->format,
                                               &encoder->position, durable, &client->block);
        client->block_sent = 0;
        if (client->block == NULL && step != FEED_MORE) {
            return step;
        }
    }
    bool shares = client->block != NULL;
    enum feed_step step =
        shares ? send_block(all, client, room, size)
               : feed_encoder_run(encoder, reader_of(all, client), durable, all->out, room, size);
    if (*size > 0 && shares != client->is_live) {
        mark_counts[MARK_feed_goes_live] += shares;
        mark_counts[MARK_feed_falls_behind] += !shares;
        client->is_live = shares;
    }
    return step;
}

/* All that is durable was told, by whole batches. */
static void check_end(struct subscribers *all, struct subscriber *client, uint64_t durable)
{
    const struct model *model = all->model;
    bool is_within = client->expected_at < client->expected_size;
    if (is_within || (expect_next(all, client, durable) &&
                      model_batch_end(model, client->expected_version) <= durable)) {
        model_complain(all->model,
                       "feed: nothing comes after version %" PRIu64 ", and version %" PRIu64
                       " is durable",
                       client->told, client->expected_version);
    }
    client->expected_at = client->expected_size = 0;
    mark_counts[MARK_feed_waits_for_a_sync] += model->given_version > durable;
}

/* The server ends the stream. */
static void end(struct subscribers *all, struct subscriber *client, enum feed_step step)
{
    const struct feed_position *position = &client->encoder.position;
    switch (step) {
    case FEED_GONE:
        MARK(feed_ends_as_gone);
        check_gone(all, position->version, true, "what comes");
        break;
    case FEED_FAILED:
        MARK(feed_fails);
        if (!storage_sim_has_crashed(all->sim) && !storage_sim_has_failed(all->sim)) {
            model_complain(all->model, "feed: the log cannot be read, and nothing has failed");
        }
        break;
    case FEED_DAMAGED:
    case FEED_MORE:
    case FEED_BATCH:
    case FEED_END:
        model_complain(all->model,
                       "feed: the log is damaged after version %" PRIu64 ", in segment %" PRIu64
                       " at %" PRIu64,
                       position->version, position->cursor.place.segment,
                       position->cursor.place.offset);
        break;
    }
    cut_off(client);
}

/* Says that all up to there was told, or is not wanted. */
static void put_progress(struct subscribers *all, struct subscriber *client)
{
    struct feed_position *position = &client->encoder.position;
    if (position->version > all->model->synced_version ||
        client->expected_at < client->expected_size ||
        expect_next(all, client, position->version)) {
        model_complain(all->model, "feed: progress to version %" PRIu64 " after version %" PRIu64,
                       position->version, client->told);
    }
    position->told = position->version;
    client->told = client->seen = position->version;
    MARK(feed_tells_progress);
}

static void pull(struct subscribers *all, struct subscriber *client)
{
    size_t room = FEED_PART_BYTES_MAX;
    if (random_once_in(all->random, 2)) {
        room += (size_t)random_less(all->random, OUT_BYTES - room + 1);
    }
    for (uint64_t turns = 1 + random_less(all->random, 12); turns > 0; turns--) {
        uint64_t durable = commit_version_info(all->service).version;
        uint64_t segment = client->encoder.position.cursor.place.segment;
        bool is_between =
            client->block == NULL && feed_position_is_between_events(&client->encoder.position);
        if (is_between && random_once_in(all->random, 30)) {
            put_progress(all, client);
        }
        size_t size;
        enum feed_step step = fill(all, client, durable, room, &size);
        receive(all, client, all->out, size);
        mark_counts[MARK_feed_crosses_segments] +=
            client->encoder.position.cursor.place.segment > segment;
        if (step == FEED_END) {
            check_end(all, client, durable);
            return;
        }
        if (step != FEED_MORE && step != FEED_BATCH) {
            end(all, client, step);
            return;
        }
    }
}

void subscribers_step(struct subscribers *all)
{
    if (all->count == 0 || all->log == NULL) {
        return;
    }
    struct subscriber *client = &all->clients[random_less(all->random, all->count)];
    if (!client->is_open) {
        connect(all, client);
    } else if (random_once_in(all->random, client->laziness)) {
        if (random_once_in(all->random, 25)) {
            cut_off(client);
            return;
        }
        pull(all, client);
    }
}

/* ---- life ---- */

/* Bounds are keys of the table, so that the model can go by their numbers. */
static void draw_filter(struct subscribers *all, struct subscriber *client)
{
    const struct model *model = all->model;
    uint32_t count =
        random_once_in(all->random, 2) ? 0 : 1 + (uint32_t)random_less(all->random, RANGES_MAX);
    for (uint32_t i = 0; i < MODEL_KEYS_MAX; i++) {
        client->wants[i] = count == 0;
    }
    for (uint32_t i = 0; i < count; i++) {
        uint32_t begin = (uint32_t)random_less(all->random, model->key_count - 1);
        uint32_t end = begin + 1 + (uint32_t)random_less(all->random, model->key_count - 1 - begin);
        bool from_first = random_once_in(all->random, 6);
        bool to_last = random_once_in(all->random, 6);
        client->ranges[i] =
            (struct feed_range){.begin = from_first ? bytes_of(NULL, 0) : model->keys[begin],
                                .end = to_last ? bytes_of(NULL, 0) : model->keys[end]};
        for (uint32_t key = from_first ? 0 : begin; key < (to_last ? MODEL_KEYS_MAX : end); key++) {
            client->wants[key] = true;
        }
    }
    client->filter = feed_filter_make(client->ranges, count);
}

struct subscribers *subscribers_open(struct random *random, struct model *model,
                                     struct storage_sim *sim, uint32_t count)
{
    struct subscribers *all = calloc(1, sizeof *all);
    CHECK(all != NULL);
    *all = (struct subscribers){.random = random, .model = model, .sim = sim, .count = count};
    all->clients = calloc(count + 1, sizeof *all->clients);
    CHECK(all->clients != NULL);
    for (uint32_t i = 0; i < count; i++) {
        all->clients[i].format = (enum feed_format)random_less(random, FEED_FORMATS);
        all->clients[i].laziness = random_once_in(random, 3) ? 60 : 1;
        draw_filter(all, &all->clients[i]);
    }
    return all;
}

void subscribers_close(struct subscribers *all)
{
    CHECK(all->log == NULL);
    for (uint32_t i = 0; i < all->count; i++) {
        free(all->clients[i].expected);
    }
    free(all->clients);
    free(all);
}

void subscribers_start(struct subscribers *all, struct log *log,
                       const struct commit_service *service)
{
    CHECK(all->log == NULL);
    if (all->count == 0) {
        return;
    }
    all->log = log;
    all->service = service;
    uint64_t bytes = UINT64_C(1) << random_less(all->random, 21);
    CHECK(feed_blocks_open(bytes, &all->blocks) == OK);
    for (unsigned i = 0; i < READERS; i++) {
        CHECK(log_cursor_reader_open(log, &all->readers[i]) == OK);
    }
    for (uint32_t i = 0; i < all->count; i++) {
        all->clients[i].was_in_life = false;
    }
}

void subscribers_stop(struct subscribers *all)
{
    if (all->log == NULL) {
        return;
    }
    for (uint32_t i = 0; i < all->count; i++) {
        if (all->clients[i].is_open) {
            cut_off(&all->clients[i]);
        }
    }
    feed_blocks_close(all->blocks);
    for (unsigned i = 0; i < READERS; i++) {
        log_cursor_reader_close(all->readers[i]);
    }
    all->log = NULL;
}

unsigned subscribers_in_removed_segments(const struct subscribers *all)
{
    unsigned count = 0;
    for (uint32_t i = 0; i < all->count && all->log != NULL; i++) {
        const struct log_place *place = &all->clients[i].encoder.position.cursor.place;
        count += all->clients[i].is_open && place->segment < all->log->list[0].number;
    }
    return count;
}

void subscribers_forget(struct subscribers *all, uint64_t version)
{
    for (uint32_t i = 0; i < all->count; i++) {
        struct subscriber *client = &all->clients[i];
        client->knows = client->knows && client->told <= version;
    }
}

uint64_t subscribers_events(const struct subscribers *all)
{
    return all->events;
}
