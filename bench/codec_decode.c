/* SPDX-License-Identifier: Apache-2.0 */
/*
 * codec_decode: what it costs to decode a commit into a checked transaction, beside the library's
 * own bare parse of the same bytes.
 *
 *   codec_decode [--smoke]     --smoke: few rounds, to see that it runs
 *
 * "commit" is one precondition and one write of 100 bytes with a request id; "batch" is 100
 * transactions of one such write each, and its figures are for one transaction.
 *
 * The bare parses are as cheap as each library allows: yyjson in place and protobuf-c with the
 * arena as allocator, msgpack-c into one zone that is kept. Both sides copy the body before each
 * run, because parsing in place changes it, and reset the arena behind it. They take turns; each
 * ratio is the median over rounds of ours / bare of the same round.
 */
#include "base/check.h"
#include "http/request.h"
#include "txn_bodies.h"

#include <msgpack.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <weaseldb.pb-c.h>
#include <yyjson.h>

enum { ROUNDS_MAX = 25, TRANSACTIONS = 100, KEY_BYTES = 16, VALUE_BYTES = 100 };

static const struct txn_limits limits = {1 << 10, 1 << 16, 1000, 1000, 1000};

struct run {
    enum body_format format;
    bool is_batch;
    struct body body;
    char *copy;
    struct memory_budget budget;
    struct chunk_pool pool;
    struct arena arena;
    msgpack_zone zone;
};

static double now_ns(void)
{
    struct timespec time;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

/* ---- bare parses ---- */

static void *arena_malloc(void *context, size_t size)
{
    return arena_try_alloc(context, size);
}

static void *arena_realloc(void *context, void *old, size_t old_size, size_t size)
{
    void *moved = arena_try_alloc(context, size);
    if (moved != NULL) {
        memcpy(moved, old, old_size);
    }
    return moved;
}

static void arena_free(void *context, void *pointer)
{
    (void)context;
    (void)pointer;
}

static void parse_bare(struct run *run)
{
    size_t size = run->body.size;
    bool is_parsed;
    if (run->format == BODY_JSON) {
        const yyjson_alc allocator = {arena_malloc, arena_realloc, arena_free, &run->arena};
        memset(run->copy + size, 0, YYJSON_PADDING_SIZE);
        is_parsed = yyjson_read_opts(run->copy, size, YYJSON_READ_INSITU, &allocator, NULL) != NULL;
    } else if (run->format == BODY_MSGPACK) {
        msgpack_object object;
        size_t offset = 0;
        is_parsed =
            msgpack_unpack(run->copy, size, &offset, &run->zone, &object) == MSGPACK_UNPACK_SUCCESS;
        msgpack_zone_clear(&run->zone);
    } else {
        ProtobufCAllocator allocator = {arena_malloc, arena_free, &run->arena};
        is_parsed =
            protobuf_c_message_unpack(run->is_batch ? &weaseldb__v1__commit_batch__descriptor
                                                    : &weaseldb__v1__commit_request__descriptor,
                                      &allocator, size, (const uint8_t *)run->copy) != NULL;
    }
    CHECK(is_parsed);
}

/* ---- ours ---- */

static uint64_t decode(struct run *run, const struct txn_codec *codec)
{
    struct bytes body = bytes_of(run->copy, run->body.size);
    struct http_problem problem;
    if (run->is_batch) {
        struct txn_batch batch;
        enum err err = codec->decode_batch(body, &limits, &run->arena, &batch, &problem);
        CHECK(err == OK && batch.count == TRANSACTIONS);
        return batch.transactions[TRANSACTIONS - 1].payload_hash;
    }
    struct txn txn;
    enum err err = codec->decode_commit(body, &limits, &run->arena, &txn, &problem);
    CHECK(err == OK);
    return txn.payload_hash;
}

/* Nanoseconds for each of `count` runs. */
static double measure(struct run *run, bool is_ours, unsigned count)
{
    const struct txn_codec *codec = body_codec(run->format);
    uint64_t hash = 0;
    double start = now_ns();
    for (unsigned i = 0; i < count; i++) {
        memcpy(run->copy, run->body.data, run->body.size);
        if (is_ours) {
            uint64_t this_hash = decode(run, codec);
            CHECK(i == 0 || this_hash == hash);
            hash = this_hash;
        } else {
            parse_bare(run);
        }
        arena_reset(&run->arena);
    }
    return (now_ns() - start) / count;
}

/* ---- what is decoded ---- */

static void write_body(struct run *run)
{
    static char key[KEY_BYTES + 1] = "users/0000000042";
    static char value[VALUE_BYTES];
    for (size_t i = 0; i < VALUE_BYTES; i++) {
        value[i] = (char)(i * 37);
    }
    const struct txn_precondition precondition = {.begin = bytes_of(key, KEY_BYTES),
                                                  .version = 1234567};
    const struct txn_operation operation = {bytes_of(key, KEY_BYTES), bytes_of(value, VALUE_BYTES),
                                            TXN_WRITE};
    struct txn txn = {.request_id = BYTES("6f2c1a90-7be4-4a0e-9d55-0c1f3e5a7b21"),
                      .operations = &operation,
                      .operation_count = 1};
    if (run->is_batch) {
        struct txn transactions[TRANSACTIONS];
        for (unsigned i = 0; i < TRANSACTIONS; i++) {
            transactions[i] = txn;
        }
        body_write_batch(&run->body, run->format, &(struct txn_batch){transactions, TRANSACTIONS});
    } else {
        txn.preconditions = &precondition;
        txn.precondition_count = 1;
        body_write_commit(&run->body, run->format, &txn);
    }
    body_end(&run->body);
    run->copy = malloc(run->body.size + REQUEST_BODY_SLACK);
    CHECK(run->copy != NULL);
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a;
    double y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values, unsigned count)
{
    qsort(values, count, sizeof *values, compare);
    return values[count / 2];
}

static void compare_sides(enum body_format format, bool is_batch, bool is_smoke)
{
    struct run run = {.format = format, .is_batch = is_batch};
    unsigned rounds = is_smoke ? 3 : ROUNDS_MAX;
    unsigned count = (is_smoke ? 200U : 20000U) / (is_batch ? 50U : 1U);
    double ours[ROUNDS_MAX];
    double bare[ROUNDS_MAX];
    double ratio[ROUNDS_MAX];
    memory_budget_init(&run.budget, 1 << 26);
    chunk_pool_init(&run.pool, &run.budget, 1 << 25);
    arena_init(&run.arena, &run.pool);
    bool has_zone = msgpack_zone_init(&run.zone, 1 << 16);
    CHECK(has_zone);
    write_body(&run);
    double of_each = is_batch ? TRANSACTIONS : 1;
    for (unsigned round = 0; round < rounds; round++) {
        for (unsigned side = 0; side < 2; side++) {
            bool is_ours = (side + round) % 2 == 0;
            *(is_ours ? &ours[round] : &bare[round]) = measure(&run, is_ours, count) / of_each;
        }
        ratio[round] = ours[round] / bare[round];
    }
    printf("%-9s %-7s %6zu %9.1f %9.1f %7.2f\n", body_codec(format)->name,
           is_batch ? "batch" : "commit", run.body.size, median(ours, rounds), median(bare, rounds),
           median(ratio, rounds));
    msgpack_zone_destroy(&run.zone);
    arena_reset(&run.arena);
    chunk_pool_deinit(&run.pool);
    body_free(&run.body);
    free(run.copy);
}

int main(int argc, char **argv)
{
    bool is_smoke = argc > 1 && strcmp(argv[1], "--smoke") == 0;
    if (argc > 2 || (argc == 2 && !is_smoke)) {
        fprintf(stderr, "usage: codec_decode [--smoke]\n");
        return 2;
    }
    printf("%-9s %-7s %6s %9s %9s %7s\n", "format", "what", "bytes", "ours ns", "bare ns", "ratio");
    for (enum body_format format = BODY_JSON; format < BODY_FORMATS; format++) {
        compare_sides(format, false, is_smoke);
        compare_sides(format, true, is_smoke);
    }
    return 0;
}
