/* SPDX-License-Identifier: Apache-2.0 */
#include "simulation/workload.h"

#include "base/check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FLOOD_COUNT = REQUEST_IDS_COUNT_MIN + 100, VALUE_BYTES_MAX = 30 << 10 };

/* ---- profiles ---- */

static unsigned either(struct random *random, unsigned a, unsigned b)
{
    return random_once_in(random, 2) ? a : b;
}

static unsigned between(struct random *random, unsigned least, unsigned most)
{
    return least + (unsigned)random_less(random, most - least + 1);
}

/* Extremes as often as what is between them: rare states come from unusual mixtures. */
struct profile profile_draw(struct random *random)
{
    bool long_keys = random_once_in(random, 8);
    struct profile profile = {
        .key_count = either(random, between(random, 2, 6), between(random, 7, MODEL_KEYS_MAX - 1)),
        .key_bytes_max = long_keys ? 8000 : 8,
        .value_bytes_max = either(random, 40, between(random, 100, VALUE_BYTES_MAX)),
        .repeat_percent = either(random, 5, 40),
        .question_percent = either(random, 5, 30),
        .question_max = 1,
        .unnamed_percent = either(random, 0, 20),
        .check_percent = either(random, 0, 10),
        .stale_percent = either(random, 2, 20),
        .batch_max = either(random, 1, 8),
        .flood_every = random_once_in(random, 6) ? 60 : 0,
        .depth_max = either(random, between(random, 1, 4), between(random, 5, 60)),
        .pace_us = either(random, 200, either(random, 20000, 400000)),
        .jump_every = either(random, 0, 200),
        .crash_every = random_once_in(random, 4) ? 0 : either(random, 40, 300),
        .failure_every = either(random, 0, 150),
        .restart_every = either(random, 0, 300),
        .damage_every = either(random, 0, 3),
        .shortage_every = random_once_in(random, 3) ? 80 : 0,
        .subscriber_count = either(random, 0, between(random, 1, 5)),
        .policy_every = either(random, 0, either(random, 15, 100)),
        .policies_max = between(random, 1, MODEL_POLICIES_MAX),
        .log_bytes_max = random_once_in(random, 3) ? 3 * LOG_SEGMENT_BYTES_MIN : 0,
        .request_id_window_sec = either(random, between(random, 1, 5), 60),
        .conflict_window_sec = either(random, between(random, 1, 5), 60),
        .conflict_bytes_max = UINT64_C(64) << 20,
    };
    if (random_once_in(random, 12)) {
        /* Segments of nothing but fences. */
        profile.question_percent = 99;
        profile.question_max = 300;
    }
    if (random_once_in(random, 3)) {
        profile.log_age_sec = profile.request_id_window_sec + profile.conflict_window_sec +
                              either(random, 0, between(random, 1, 60));
    }
    if (long_keys) {
        profile.key_count = MODEL_KEYS_MAX - 1;
        profile.value_bytes_max = 40;
        profile.conflict_bytes_max = UINT64_C(4) << 20;
    }
    return profile;
}

/* ---- keys and values ---- */

static int compare_keys(const void *left, const void *right)
{
    const struct bytes *a = left;
    const struct bytes *b = right;
    size_t size = a->size < b->size ? a->size : b->size;
    int order = memcmp(a->data, b->data, size);
    return order != 0 ? order : (a->size > b->size) - (a->size < b->size);
}

/* Few letters, and common beginnings: keys that are near each other. */
static void make_keys(struct workload *workload)
{
    struct random *random = workload->random;
    struct model *model = workload->model;
    size_t room = workload->profile.key_bytes_max + 8;
    uint32_t count = workload->profile.key_count + 1; /* and one to end ranges with */
    workload->key_bytes = calloc(count, room);
    CHECK(workload->key_bytes != NULL);
    for (uint32_t made = 0; made < count;) {
        char *key = workload->key_bytes + made * room;
        size_t least = workload->profile.key_bytes_max > 100 ? workload->profile.key_bytes_max : 1;
        size_t size =
            least + (size_t)random_less(random, workload->profile.key_bytes_max - least + 1);
        for (size_t i = 0; i < size; i++) {
            key[i] = "\0ab\xff"[random_less(random, 4)];
        }
        struct bytes view = bytes_of(key, size);
        bool is_new = true;
        for (uint32_t i = 0; i < made; i++) {
            is_new = is_new && !bytes_equal(model->keys[i], view);
        }
        if (is_new) {
            model->keys[made++] = view;
        }
    }
    qsort(model->keys, count, sizeof model->keys[0], compare_keys);
    model->key_count = count;
}

void workload_init(struct workload *workload, struct random *random, struct model *model,
                   const struct profile *profile)
{
    *workload = (struct workload){.random = random, .model = model, .profile = *profile};
    memory_budget_init(&workload->budget, UINT64_C(1) << 30);
    chunk_pool_init(&workload->pool, &workload->budget, 1 << 20);
    make_keys(workload);
    workload->value_bytes = malloc(VALUE_BYTES_MAX);
    CHECK(workload->value_bytes != NULL);
    for (size_t i = 0; i < VALUE_BYTES_MAX; i++) {
        workload->value_bytes[i] = (char)random_next(random);
    }
}

void workload_deinit(struct workload *workload)
{
    free(workload->key_bytes);
    free(workload->value_bytes);
    chunk_pool_deinit(&workload->pool);
}

/* ---- transactions ---- */

static bool percent(struct workload *workload, unsigned share)
{
    return random_less(workload->random, 100) < share;
}

static uint32_t some_key(struct workload *workload)
{
    return (uint32_t)random_less(workload->random, workload->model->key_count - 1);
}

static void draw_range(struct workload *workload, uint32_t out[2])
{
    out[0] = some_key(workload);
    out[1] = out[0] + 1 +
             (uint32_t)random_less(workload->random, workload->model->key_count - 1 - out[0]);
}

/* A version to have read at. */
static uint64_t draw_version(struct workload *workload, uint64_t durable_version)
{
    if (random_once_in(workload->random, 150)) {
        return durable_version + 1 + random_less(workload->random, 3);
    }
    uint64_t back = percent(workload, workload->profile.stale_percent)
                        ? random_less(workload->random, durable_version + 1)
                        : random_less(workload->random, 3);
    return back < durable_version ? durable_version - back : 0;
}

static void draw_precondition(struct workload *workload, struct model_txn *txn, uint32_t index,
                              uint64_t version)
{
    const struct bytes *keys = workload->model->keys;
    uint32_t *range = txn->read[index];
    bool is_range = random_once_in(workload->random, 3);
    draw_range(workload, range);
    range[1] = is_range ? range[1] : range[0] + 1;
    txn->preconditions[index] = (struct txn_precondition){
        .begin = keys[range[0]],
        .end = is_range ? keys[range[1]] : bytes_of(NULL, 0),
        .version = version,
        .is_range = is_range,
    };
    if (version > txn->txn.version_max) {
        txn->txn.version_max = version;
    }
}

static size_t draw_value_size(struct workload *workload)
{
    size_t most = workload->profile.value_bytes_max;
    return (size_t)random_less(workload->random, random_once_in(workload->random, 4) ? most : 40);
}

static void draw_operation(struct workload *workload, struct model_txn *txn, uint32_t index)
{
    const struct bytes *keys = workload->model->keys;
    uint32_t *range = txn->written[index];
    enum txn_operation_type type = TXN_WRITE;
    if (random_once_in(workload->random, 3)) {
        type = random_once_in(workload->random, 2) ? TXN_DELETE : TXN_RANGE_DELETE;
    }
    draw_range(workload, range);
    range[1] = type == TXN_RANGE_DELETE ? range[1] : range[0] + 1;
    struct bytes value = type == TXN_WRITE
                             ? bytes_of(workload->value_bytes, draw_value_size(workload))
                         : type == TXN_RANGE_DELETE ? keys[range[1]]
                                                    : bytes_of(NULL, 0);
    txn->operations[index] = (struct txn_operation){keys[range[0]], value, type};
}

static struct model_txn *draw_txn(struct workload *workload, uint64_t durable_version,
                                  struct bytes leader, uint32_t parts_max)
{
    struct random *random = workload->random;
    struct model_txn *txn = model_add_txn(workload->model);
    uint64_t version = draw_version(workload, durable_version);
    txn->txn.precondition_count = (uint32_t)random_less(random, parts_max + 1);
    txn->txn.operation_count = 1 + (uint32_t)random_less(random, parts_max);
    if (percent(workload, workload->profile.check_percent)) {
        txn->txn.operation_count = 0;
    }
    for (uint32_t i = 0; i < txn->txn.precondition_count; i++) {
        bool own = random_once_in(random, 5);
        draw_precondition(workload, txn, i,
                          own ? draw_version(workload, durable_version) : version);
    }
    for (uint32_t i = 0; i < txn->txn.operation_count; i++) {
        draw_operation(workload, txn, i);
    }
    txn->txn.preconditions = txn->preconditions;
    txn->txn.operations = txn->operations;
    txn->txn.payload_hash = random_next(random);
    if (random_once_in(random, 20)) {
        memcpy(txn->leader, leader.data, leader.size);
        txn->leader[0] = (char)(random_once_in(random, 4) ? 'x' : txn->leader[0]);
        txn->txn.leader = bytes_of(txn->leader, leader.size);
    }
    return txn;
}

/* ---- ids ---- */

static struct model_id *new_id(struct workload *workload, uint64_t durable_version)
{
    char text[COMMIT_ID_BYTES];
    int size = snprintf(text, sizeof text, "id-%llu", (unsigned long long)++workload->ids_made);
    struct model_id *id = model_add_id(workload->model, bytes_of(text, (size_t)size));
    id->known_version = durable_version;
    return id;
}

/* Most often a recent one. NULL: there is none. */
static struct model_id *some_id(struct workload *workload)
{
    uint32_t count = workload->model->id_count;
    if (count == 0) {
        return NULL;
    }
    uint64_t back = random_less(workload->random, random_once_in(workload->random, 4) ? count : 24);
    return &workload->model->ids[back < count ? count - 1 - back : 0];
}

static const struct model_txn *payload_of(struct workload *workload, struct model_id *id,
                                          unsigned index, uint64_t durable_version,
                                          struct bytes leader)
{
    if (id->payloads[index] == NULL) {
        id->payloads[index] = draw_txn(workload, durable_version, leader, MODEL_PART_MAX);
    }
    return id->payloads[index];
}

/* ---- requests ---- */

static struct ticket *ticket_make(struct workload *workload, uint32_t count)
{
    struct ticket *ticket = calloc(1, sizeof *ticket);
    CHECK(ticket != NULL);
    ticket->ids = calloc(count, sizeof *ticket->ids);
    ticket->txns = calloc(count, sizeof *ticket->txns);
    ticket->sent = calloc(count, sizeof *ticket->sent);
    ticket->request.entries = calloc(count, sizeof *ticket->request.entries);
    CHECK(ticket->ids != NULL && ticket->txns != NULL && ticket->sent != NULL &&
          ticket->request.entries != NULL);
    arena_init(&ticket->arena, &workload->pool);
    ticket->request.arena = &ticket->arena;
    ticket->request.entry_count = count;
    return ticket;
}

void ticket_free(struct ticket *ticket)
{
    arena_reset(&ticket->arena);
    free(ticket->ids);
    free((void *)ticket->txns);
    free(ticket->sent);
    free(ticket->request.entries);
    free(ticket);
}

static void set_entry(struct ticket *ticket, uint32_t index, struct model_id *id,
                      const struct model_txn *txn)
{
    ticket->ids[index] = id;
    ticket->txns[index] = txn;
    if (txn != NULL) {
        ticket->sent[index] = txn->txn;
    }
    if (id != NULL) {
        ticket->sent[index].request_id = bytes_from_string(id->text);
    }
    commit_entry_init(&ticket->request.entries[index], &ticket->sent[index], txn == NULL);
}

static struct ticket *make_question(struct workload *workload, uint64_t durable_version)
{
    struct model_id *id = some_id(workload);
    uint32_t count = 1 + (uint32_t)random_less(workload->random, workload->profile.question_max);
    struct ticket *ticket = ticket_make(workload, count);
    if (id == NULL || random_once_in(workload->random, 8)) {
        id = new_id(workload, durable_version); /* its original may come later */
    }
    if (random_once_in(workload->random, 2)) {
        ticket->request.min_version = id->known_version;
    }
    ticket->passage.min_version = ticket->request.min_version;
    set_entry(ticket, 0, id, NULL);
    for (uint32_t i = 1; i < count; i++) {
        set_entry(ticket, i, new_id(workload, durable_version), NULL);
    }
    return ticket;
}

struct ticket *workload_make(struct workload *workload, uint64_t durable_version,
                             struct bytes leader)
{
    const struct profile *profile = &workload->profile;
    if (percent(workload, profile->question_percent)) {
        return make_question(workload, durable_version);
    }
    bool flood = profile->flood_every > 0 && ++workload->tickets_made % profile->flood_every == 0 &&
                 workload->model->id_count + 4 * FLOOD_COUNT < MODEL_IDS_MAX;
    uint32_t count = 1 + (uint32_t)random_less(workload->random, profile->batch_max);
    count = flood ? FLOOD_COUNT : count;
    struct ticket *ticket = ticket_make(workload, count);
    for (uint32_t i = 0; i < count; i++) {
        struct model_id *id = NULL;
        if (!flood && percent(workload, profile->unnamed_percent)) {
            set_entry(ticket, i, NULL, draw_txn(workload, durable_version, leader, MODEL_PART_MAX));
            continue;
        }
        if (!flood && percent(workload, profile->repeat_percent)) {
            id = some_id(workload);
        }
        if (id == NULL) {
            id = new_id(workload, durable_version);
            if (flood) {
                id->payloads[0] = draw_txn(workload, durable_version, leader, 1);
            }
        }
        unsigned payload = random_once_in(workload->random, 10) ? 1 : 0;
        set_entry(ticket, i, id, payload_of(workload, id, payload, durable_version, leader));
    }
    return ticket;
}
