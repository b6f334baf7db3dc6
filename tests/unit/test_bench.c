/* SPDX-License-Identifier: Apache-2.0 */
/* weasel bench: its requests are what the server's codecs take, and it reads what they answer. */
#include "cli/bench_answer.h"
#include "cli/bench_keys.h"
#include "cli/bench_requests.h"
#include "support/txn_bodies.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { DRAWS = 400000, KEYS = 1000 };

/* ---- keys ---- */

static int descending(const void *a, const void *b)
{
    uint64_t left = *(const uint64_t *)a;
    uint64_t right = *(const uint64_t *)b;
    return left < right ? 1 : left > right ? -1 : 0;
}

/* How often each key came, the most frequent first. */
static void draw(enum bench_distribution distribution, double exponent, uint64_t counts[KEYS])
{
    struct bench_keys keys;
    memset(counts, 0, KEYS * sizeof *counts);
    bench_keys_init(&keys, distribution, KEYS, exponent, 42);
    for (unsigned i = 0; i < DRAWS; i++) {
        uint64_t key = bench_keys_next(&keys);
        assert_true(key < KEYS);
        counts[key]++;
    }
    qsort(counts, KEYS, sizeof *counts, descending);
}

/* The shares of the first ranks are those of the law, to a twentieth. */
static void test_zipf(void **state)
{
    static const double exponents[] = {0.5, 0.99, 1, 1.5};
    static uint64_t counts[KEYS];
    (void)state;
    for (size_t i = 0; i < sizeof exponents / sizeof exponents[0]; i++) {
        double sum = 0;
        for (unsigned rank = 1; rank <= KEYS; rank++) {
            sum += pow(rank, -exponents[i]);
        }
        draw(BENCH_ZIPF, exponents[i], counts);
        for (unsigned rank = 1; rank <= 4; rank++) {
            double expected = DRAWS * pow(rank, -exponents[i]) / sum;
            assert_true(fabs((double)counts[rank - 1] - expected) < expected / 20);
        }
    }
}

static void test_uniform_and_sequential(void **state)
{
    static uint64_t counts[KEYS];
    (void)state;
    draw(BENCH_UNIFORM, 1, counts);
    assert_in_range(counts[0], DRAWS / KEYS, DRAWS / KEYS * 3 / 2);
    assert_in_range(counts[KEYS - 1], DRAWS / KEYS * 2 / 3, DRAWS / KEYS);
    draw(BENCH_SEQUENTIAL, 1, counts);
    assert_int_equal(counts[0], DRAWS / KEYS);
    assert_int_equal(counts[KEYS - 1], DRAWS / KEYS);
}

static void test_one_key_and_one_seed(void **state)
{
    struct bench_keys first;
    struct bench_keys second;
    (void)state;
    bench_keys_init(&first, BENCH_ZIPF, 1, 0.99, 1);
    for (unsigned i = 0; i < 100; i++) {
        assert_int_equal(bench_keys_next(&first), 0);
    }
    bench_keys_init(&first, BENCH_ZIPF, KEYS, 0.99, 7);
    bench_keys_init(&second, BENCH_ZIPF, KEYS, 0.99, 7);
    for (unsigned i = 0; i < 100; i++) {
        assert_int_equal(bench_keys_next(&first), bench_keys_next(&second));
    }
}

/* ---- requests ---- */

static void expect_transaction(const struct bench_shape *shape, const struct txn *txn,
                               uint64_t version, bool conflicts)
{
    assert_int_equal(txn->request_id.size, 33);
    assert_int_equal(txn->precondition_count, shape->reads + (conflicts ? 1 : 0));
    assert_int_equal(txn->operation_count, shape->operations);
    for (uint32_t i = 0; i < shape->reads; i++) {
        assert_int_equal(txn->preconditions[i].version, version);
        if (i < shape->operations) {
            assert_true(bytes_equal(txn->preconditions[i].begin, txn->operations[i].key));
        }
    }
    for (uint32_t i = 0; i < shape->operations; i++) {
        assert_int_equal(txn->operations[i].type, TXN_WRITE);
        assert_int_equal(txn->operations[i].value.size, shape->value_bytes);
        assert_true(bytes_starts_with(txn->operations[i].key, BYTES("bench-")));
    }
    if (conflicts) {
        const struct txn_precondition *last = &txn->preconditions[shape->reads];
        assert_int_equal(last->version, shape->stale_version);
        assert_true(bytes_equal(last->begin, bytes_from_string(bench_conflict_key)));
    }
}

/* Splits off the head, whose Content-Length must be the body's size. */
static struct bytes body_of(struct bytes whole, const char *path)
{
    static const char blank[] = "\r\n\r\n";
    char line[64];
    int size = snprintf(line, sizeof line, "POST %s HTTP/1.1\r\nHost: h:1\r\n", path);
    assert_true(bytes_starts_with(whole, bytes_of(line, (size_t)size)));
    const char *end = memmem(whole.data, whole.size, blank, 4);
    assert_non_null(end);
    struct bytes body = bytes_drop(whole, (size_t)(end + 4 - whole.data));
    uint64_t length;
    const char *name = memmem(whole.data, whole.size, "Content-Length:", 15);
    assert_non_null(name);
    assert_true(
        bytes_parse_u64(bytes_trim(bytes_of(name + 15, (size_t)(end - name - 15))), &length));
    assert_int_equal(length, body.size);
    return body;
}

static void expect_requests(const struct bench_shape *shape)
{
    struct bench_keys keys;
    uint64_t conflicts = 0;
    uint64_t seen = 0;
    bench_keys_init(&keys, BENCH_UNIFORM, BENCH_KEYS_MAX, 1, 3);
    struct bench_requests *requests = bench_requests_open(shape, "h:1", &keys);
    for (uint64_t version = 0; version < UINT64_C(1) << 50; version = version * 128 + 100) {
        struct decoded decoded;
        struct bytes whole = bench_requests_make(requests, version, &conflicts);
        assert_true(whole.size <= bench_requests_bytes_max(shape));
        struct bytes body = body_of(whole, shape->batch > 1 ? "/v1/commits" : "/v1/commit");
        const struct txn_codec *codec =
            body_codec(shape->format == BENCH_JSON ? BODY_JSON : BODY_PROTOBUF);
        decode_run(&decoded, codec, body, shape->batch > 1, &body_limits, UINT64_C(1) << 28);
        assert_int_equal(decoded.err, OK);
        seen += shape->batch;
        const struct txn *all = shape->batch > 1 ? decoded.batch.transactions : &decoded.txn;
        for (uint32_t i = 0; i < shape->batch; i++) {
            expect_transaction(shape, &all[i], version, shape->conflict_share > 0);
        }
        decode_free(&decoded);
    }
    assert_int_equal(conflicts, shape->conflict_share > 0 ? seen : 0);
    bench_requests_close(requests);
}

static void test_requests(void **state)
{
    static const struct bench_shape shapes[] = {
        {.batch = 1, .operations = 1, .reads = 1, .value_bytes = 100},
        {.batch = 1, .operations = 0, .reads = 1},
        {.batch = 1, .operations = 3, .reads = 0, .value_bytes = 20000},
        {.batch = 1, .operations = 2, .reads = 5, .value_bytes = 1, .conflict_share = 1},
        {.batch = 2,
         .operations = 2,
         .reads = 2,
         .value_bytes = 2,
         .conflict_share = 1,
         .stale_version = TXN_VERSION_MAX},
        {.batch = 100, .operations = 0, .reads = 0, .conflict_share = 1, .stale_version = 128},
        {.batch = 300, .operations = 1, .reads = 1, .value_bytes = 127},
    };
    (void)state;
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        struct bench_shape shape = shapes[i];
        expect_requests(&shape);
        shape.format = BENCH_JSON;
        expect_requests(&shape);
    }
}

/* ---- answers ---- */

/* An HTTP answer with this body; to be freed. */
static struct bytes http_answer(unsigned status, struct bytes body)
{
    char *whole = malloc(body.size + 128);
    assert_non_null(whole);
    int head = snprintf(whole, 128, "HTTP/1.1 %u X\r\nDate: x\r\ncontent-LENGTH: %zu\r\n\r\n",
                        status, body.size);
    memcpy(whole + head, body.size == 0 ? "" : body.data, body.size);
    return bytes_of(whole, (size_t)head + body.size);
}

static void free_answer(struct bytes answer)
{
    free((void *)(uintptr_t)answer.data);
}

static void test_answers_of_the_codec(void **state)
{
    static const struct txn_result results[] = {
        {.http_status = 200, .status = "committed", .has_version = true, .version = 300},
        {.http_status = 409,
         .status = "not_committed",
         .reason = "conflict",
         .has_version = true,
         .version = 299},
        {.http_status = 503, .status = "not_committed", .detail = "full"},
        {.http_status = 422, .status = "not_committed", .detail = "used before"},
    };
    const struct txn_codec *codec = body_codec(BODY_PROTOBUF);
    struct memory_budget budget;
    struct chunk_pool pool;
    struct arena arena;
    struct bench_answer answer;
    struct bytes body;
    (void)state;
    memory_budget_init(&budget, 1 << 20);
    chunk_pool_init(&pool, &budget, 0);
    arena_init(&arena, &pool);
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(codec->encode_result(&results[i], &arena, &body), OK);
        struct bytes whole = http_answer(results[i].http_status, body);
        assert_true(bench_answer_read(whole, false, &answer));
        assert_int_equal(answer.committed, i == 0 ? 1 : 0);
        assert_int_equal(answer.refused, i);
        assert_int_equal(answer.version, results[i].version);
        free_answer(whole);
    }
    assert_int_equal(codec->encode_results(results, 4, &arena, &body), OK);
    struct bytes whole = http_answer(200, body);
    assert_true(bench_answer_read(whole, true, &answer));
    assert_int_equal(answer.committed, 1);
    assert_int_equal(answer.refused, 1);
    assert_int_equal(answer.shed, 1);
    assert_int_equal(answer.others, 1);
    assert_int_equal(answer.version, 300);
    assert_true(bytes_equal(answer.detail, BYTES("used before")));
    /* Cut anywhere, it is measured as the whole, and read without going beyond its end. */
    for (size_t size = 0; size < whole.size; size++) {
        size_t measured;
        char *cut = malloc(size + 1);
        assert_non_null(cut);
        memcpy(cut, whole.data, size);
        assert_true(bench_answer_measure(bytes_of(cut, size), &measured));
        assert_true(measured == 0 || measured == whole.size);
        (void)bench_answer_read(bytes_of(cut, size), true, &answer);
        free(cut);
    }
    free_answer(whole);
    arena_reset(&arena);
    chunk_pool_deinit(&pool);
}

static void test_answers_that_are_none(void **state)
{
    static const char *const texts[] = {
        "SSH-2.0-OpenSSH\r\n",
        "HTTP/1.1 200 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX-Content-Length: 1\r\n\r\n",
    };
    size_t size;
    struct bench_answer answer;
    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        assert_false(bench_answer_measure(bytes_from_string(texts[i]), &size));
    }
    assert_false(bench_answer_read(BYTES("HTTP/1.1 abc\r\n\r\n"), false, &answer));
    assert_false(bench_answer_read(BYTES("HTTP/1.1 200\r\n\r\n\xff"), false, &answer));
    assert_false(bench_answer_read(BYTES("HTTP/1.1 200\r\n\r\n\x0a\x7f"), true, &answer));
    assert_true(bench_answer_read(BYTES("HTTP/1.1 500\r\n\r\n\xff"), false, &answer));
    assert_int_equal(answer.status, 500);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_zipf),
        cmocka_unit_test(test_uniform_and_sequential),
        cmocka_unit_test(test_one_key_and_one_seed),
        cmocka_unit_test(test_requests),
        cmocka_unit_test(test_answers_of_the_codec),
        cmocka_unit_test(test_answers_that_are_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
