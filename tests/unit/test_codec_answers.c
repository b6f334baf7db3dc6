/* SPDX-License-Identifier: Apache-2.0 */
/* Answers in every format, as the libraries read them. */
#include "txn_bodies.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include <msgpack.h>
#include <weaseldb.pb-c.h>
#include <yyjson.h>

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

static struct memory_budget budget;
static struct chunk_pool pool;
static struct arena arena;

static const uint32_t conflicts[] = {0, 7, 128, 65536, UINT32_MAX};
static char every_character[0x7e - 0x21 + 1];

static const struct txn_result results[] = {
    {.http_status = 200,
     .status = "committed",
     .request_id = BYTES_INIT("6f2c1a90-7be4-4a0e-9d55-0c1f3e5a7b21"),
     .leader = BYTES_INIT("0123456789abcdef"),
     .has_version = true,
     .version = 42},
    {.http_status = 409,
     .status = "not_committed",
     .reason = "conflict",
     .request_id = {every_character, sizeof every_character},
     .leader = BYTES_INIT("l\"\\"),
     .has_version = true,
     .version = TXN_VERSION_MAX,
     .conflicts = conflicts,
     .conflict_count = COUNT(conflicts)},
    {.http_status = 409,
     .status = "not_committed",
     .reason = "too_old",
     .conflicts = conflicts,
     .conflict_count = 1,
     .has_version = true,
     .version = 1},
    {.http_status = 422,
     .status = "not_committed",
     .detail = "A \"detail\" with \\, \n, \x01 and \xc3\xa4 in it.",
     .request_id = BYTES_INIT("x")},
    {.http_status = 503, .status = "not_committed", .detail = "Later."},
    {.http_status = 500, .status = "unknown", .reason = ""},
    {.http_status = 200, .status = "expired", .leader = BYTES_INIT("l")},
    {.http_status = 400},
    {.http_status = 409, .status = "not_committed", .reason = "fenced", .has_version = true},
};

static int set_up(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof every_character; i++) {
        every_character[i] = (char)(0x21 + i);
    }
    memory_budget_init(&budget, 1 << 24);
    chunk_pool_init(&pool, &budget, 0);
    arena_init(&arena, &pool);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    arena_reset(&arena);
    chunk_pool_deinit(&pool);
    return 0;
}

static struct bytes text_of(const char *text)
{
    return text == NULL ? bytes_of(NULL, 0) : bytes_from_string(text);
}

/* What a reader found of a result. */
struct seen {
    uint64_t http_status;
    bool has_http_status;
    struct bytes texts[5]; /* request_id, status, leader, reason, detail */
    uint64_t version;
    uint64_t conflicts[8];
    size_t conflict_count;
    size_t fields; /* there are none beside these */
};

static const char *const text_names[5] = {"request_id", "status", "leader", "reason", "detail"};

static void expect_seen(const struct seen *seen, const struct txn_result *result,
                        bool has_http_status)
{
    const struct bytes texts[5] = {result->request_id, text_of(result->status), result->leader,
                                   text_of(result->reason), text_of(result->detail)};
    size_t fields = 0;
    for (size_t i = 0; i < 5; i++) {
        assert_true(bytes_equal(seen->texts[i], texts[i]));
        fields += texts[i].size > 0;
    }
    assert_int_equal(seen->has_http_status, has_http_status);
    assert_int_equal(seen->http_status, has_http_status ? result->http_status : 0);
    assert_int_equal(seen->version, result->version);
    assert_int_equal(seen->conflict_count, result->conflict_count);
    for (size_t i = 0; i < seen->conflict_count; i++) {
        assert_int_equal(seen->conflicts[i], result->conflicts[i]);
    }
    fields += (size_t)has_http_status + result->has_version + (result->conflict_count != 0);
    assert_int_equal(seen->fields, fields);
}

/* ---- readers ---- */

static struct seen json_seen(yyjson_val *object)
{
    struct seen seen = {.fields = yyjson_obj_size(object)};
    for (size_t i = 0; i < 5; i++) {
        yyjson_val *text = yyjson_obj_get(object, text_names[i]);
        seen.texts[i] = bytes_of(yyjson_get_str(text), yyjson_get_len(text));
    }
    seen.has_http_status = yyjson_obj_get(object, "http_status") != NULL;
    seen.http_status = yyjson_get_uint(yyjson_obj_get(object, "http_status"));
    seen.version = yyjson_get_uint(yyjson_obj_get(object, "version"));
    yyjson_val *array = yyjson_obj_get(object, "conflicts");
    seen.conflict_count = yyjson_arr_size(array);
    for (size_t i = 0; i < seen.conflict_count; i++) {
        seen.conflicts[i] = yyjson_get_uint(yyjson_arr_get(array, i));
    }
    return seen;
}

static const msgpack_object *msgpack_get(const msgpack_object *map, const char *name)
{
    assert_int_equal(map->type, MSGPACK_OBJECT_MAP);
    for (uint32_t i = 0; i < map->via.map.size; i++) {
        const msgpack_object *key = &map->via.map.ptr[i].key;
        assert_int_equal(key->type, MSGPACK_OBJECT_STR);
        if (bytes_equal(bytes_of(key->via.str.ptr, key->via.str.size), bytes_from_string(name))) {
            return &map->via.map.ptr[i].val;
        }
    }
    return NULL;
}

static uint64_t msgpack_number(const msgpack_object *map, const char *name)
{
    const msgpack_object *number = msgpack_get(map, name);
    assert_true(number == NULL || number->type == MSGPACK_OBJECT_POSITIVE_INTEGER);
    return number == NULL ? 0 : number->via.u64;
}

static struct bytes msgpack_text(const msgpack_object *map, const char *name)
{
    const msgpack_object *text = msgpack_get(map, name);
    assert_true(text == NULL || text->type == MSGPACK_OBJECT_STR);
    return text == NULL ? bytes_of(NULL, 0) : bytes_of(text->via.str.ptr, text->via.str.size);
}

static struct seen msgpack_seen(const msgpack_object *map)
{
    struct seen seen = {.fields = map->via.map.size};
    for (size_t i = 0; i < 5; i++) {
        seen.texts[i] = msgpack_text(map, text_names[i]);
    }
    seen.has_http_status = msgpack_get(map, "http_status") != NULL;
    seen.http_status = msgpack_number(map, "http_status");
    seen.version = msgpack_number(map, "version");
    const msgpack_object *array = msgpack_get(map, "conflicts");
    seen.conflict_count = array == NULL ? 0 : array->via.array.size;
    for (size_t i = 0; i < seen.conflict_count; i++) {
        seen.conflicts[i] = array->via.array.ptr[i].via.u64;
    }
    return seen;
}

static struct seen protobuf_seen(const Weaseldb__V1__CommitResult *result)
{
    struct seen seen = {.has_http_status = result->has_http_status,
                        .http_status = result->http_status,
                        .version = result->version,
                        .conflict_count = result->n_conflicts};
    const char *texts[5] = {result->request_id, result->status, result->leader, result->reason,
                            result->detail};
    for (size_t i = 0; i < 5; i++) {
        seen.texts[i] = text_of(texts[i]);
        seen.fields += texts[i] != NULL;
    }
    for (size_t i = 0; i < seen.conflict_count; i++) {
        seen.conflicts[i] = result->conflicts[i];
    }
    seen.fields += (size_t)(result->has_http_status != 0) + (result->has_version != 0) +
                   (result->n_conflicts != 0);
    assert_int_equal(result->base.n_unknown_fields, 0);
    return seen;
}

static yyjson_doc *json_parse(struct bytes answer)
{
    assert_int_equal(answer.data[answer.size - 1], '\n');
    yyjson_doc *tree = yyjson_read(answer.data, answer.size, 0);
    assert_non_null(tree);
    return tree;
}

static void msgpack_parse(msgpack_unpacked *unpacked, struct bytes answer)
{
    size_t offset = 0;
    msgpack_unpacked_init(unpacked);
    assert_int_equal(msgpack_unpack_next(unpacked, answer.data, answer.size, &offset),
                     MSGPACK_UNPACK_SUCCESS);
    assert_int_equal(offset, answer.size);
}

/* ---- tests ---- */

static void test_results(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(results); i++) {
        struct bytes answer;
        assert_int_equal(body_codec(BODY_JSON)->encode_result(&results[i], &arena, &answer), OK);
        yyjson_doc *tree = json_parse(answer);
        struct seen seen = json_seen(yyjson_doc_get_root(tree));
        expect_seen(&seen, &results[i], false);
        yyjson_doc_free(tree);

        assert_int_equal(body_codec(BODY_MSGPACK)->encode_result(&results[i], &arena, &answer), OK);
        msgpack_unpacked unpacked;
        msgpack_parse(&unpacked, answer);
        seen = msgpack_seen(&unpacked.data);
        expect_seen(&seen, &results[i], false);
        msgpack_unpacked_destroy(&unpacked);

        assert_int_equal(body_codec(BODY_PROTOBUF)->encode_result(&results[i], &arena, &answer),
                         OK);
        Weaseldb__V1__CommitResult *message =
            weaseldb__v1__commit_result__unpack(NULL, answer.size, (const uint8_t *)answer.data);
        assert_non_null(message);
        seen = protobuf_seen(message);
        expect_seen(&seen, &results[i], false);
        weaseldb__v1__commit_result__free_unpacked(message, NULL);
    }
}

static void test_batches(void **state)
{
    (void)state;
    for (uint32_t count = 0; count <= COUNT(results); count++) {
        struct bytes answer;
        assert_int_equal(body_codec(BODY_JSON)->encode_results(results, count, &arena, &answer),
                         OK);
        yyjson_doc *tree = json_parse(answer);
        yyjson_val *array = yyjson_obj_get(yyjson_doc_get_root(tree), "results");
        assert_int_equal(yyjson_arr_size(array), count);
        for (uint32_t i = 0; i < count; i++) {
            struct seen seen = json_seen(yyjson_arr_get(array, i));
            expect_seen(&seen, &results[i], true);
        }
        yyjson_doc_free(tree);

        assert_int_equal(body_codec(BODY_MSGPACK)->encode_results(results, count, &arena, &answer),
                         OK);
        msgpack_unpacked unpacked;
        msgpack_parse(&unpacked, answer);
        const msgpack_object *list = msgpack_get(&unpacked.data, "results");
        assert_int_equal(unpacked.data.via.map.size, 1);
        assert_int_equal(list->via.array.size, count);
        for (uint32_t i = 0; i < count; i++) {
            struct seen seen = msgpack_seen(&list->via.array.ptr[i]);
            expect_seen(&seen, &results[i], true);
        }
        msgpack_unpacked_destroy(&unpacked);

        assert_int_equal(body_codec(BODY_PROTOBUF)->encode_results(results, count, &arena, &answer),
                         OK);
        Weaseldb__V1__CommitResults *message =
            weaseldb__v1__commit_results__unpack(NULL, answer.size, (const uint8_t *)answer.data);
        assert_non_null(message);
        assert_int_equal(message->n_results, count);
        for (uint32_t i = 0; i < count; i++) {
            struct seen seen = protobuf_seen(message->results[i]);
            expect_seen(&seen, &results[i], true);
        }
        weaseldb__v1__commit_results__free_unpacked(message, NULL);
    }
}

/* The bytes themselves, where a person may read them. */
static void test_json_text(void **state)
{
    (void)state;
    const struct txn_codec *json = body_codec(BODY_JSON);
    struct bytes answer;
    assert_int_equal(json->encode_result(&results[0], &arena, &answer), OK);
    assert_true(
        bytes_equal(answer, BYTES("{\"request_id\":\"6f2c1a90-7be4-4a0e-9d55-0c1f3e5a7b21\","
                                  "\"status\":\"committed\",\"version\":42,"
                                  "\"leader\":\"0123456789abcdef\"}\n")));
    assert_int_equal(json->encode_result(&results[2], &arena, &answer), OK);
    assert_true(bytes_equal(answer, BYTES("{\"status\":\"not_committed\",\"version\":1,"
                                          "\"reason\":\"too_old\",\"conflicts\":[0]}\n")));
    assert_int_equal(json->encode_results(results + 4, 2, &arena, &answer), OK);
    assert_true(bytes_equal(answer, BYTES("{\"results\":[{\"http_status\":503,\"status\":"
                                          "\"not_committed\",\"detail\":\"Later.\"},"
                                          "{\"http_status\":500,\"status\":\"unknown\"}]}\n")));
    assert_int_equal(json->encode_result(&results[7], &arena, &answer), OK);
    assert_true(bytes_equal(answer, BYTES("{}\n")));
    assert_int_equal(json->encode_result(&results[8], &arena, &answer), OK);
    assert_true(bytes_equal(answer, BYTES("{\"status\":\"not_committed\",\"version\":0,"
                                          "\"reason\":\"fenced\"}\n")));
}

static void expect_version(const struct txn_version_info *info)
{
    struct bytes answer;
    assert_int_equal(body_codec(BODY_JSON)->encode_version(info, &arena, &answer), OK);
    yyjson_doc *tree = json_parse(answer);
    yyjson_val *root = yyjson_doc_get_root(tree);
    yyjson_val *window = yyjson_obj_get(root, "request_id_window");
    yyjson_val *leader = yyjson_obj_get(root, "leader");
    assert_int_equal(yyjson_obj_size(root), 5);
    assert_int_equal(yyjson_obj_size(window), 3);
    assert_int_equal(yyjson_get_uint(yyjson_obj_get(root, "version")), info->version);
    assert_true(
        bytes_equal(bytes_of(yyjson_get_str(leader), yyjson_get_len(leader)), info->leader));
    assert_int_equal(yyjson_get_uint(yyjson_obj_get(root, "oldest_read_version")),
                     info->oldest_read_version);
    assert_int_equal(yyjson_get_uint(yyjson_obj_get(root, "log_start_version")),
                     info->log_start_version);
    assert_int_equal(yyjson_get_uint(yyjson_obj_get(window, "min_version")),
                     info->request_id_min_version);
    assert_int_equal(yyjson_get_uint(yyjson_obj_get(window, "seconds")),
                     info->request_id_window_sec);
    assert_int_equal(yyjson_get_uint(yyjson_obj_get(window, "count")), info->request_id_count_max);
    yyjson_doc_free(tree);

    assert_int_equal(body_codec(BODY_MSGPACK)->encode_version(info, &arena, &answer), OK);
    msgpack_unpacked unpacked;
    msgpack_parse(&unpacked, answer);
    const msgpack_object *map = msgpack_get(&unpacked.data, "request_id_window");
    assert_int_equal(unpacked.data.via.map.size, 5);
    assert_int_equal(map->via.map.size, 3);
    assert_int_equal(msgpack_number(&unpacked.data, "version"), info->version);
    assert_true(bytes_equal(msgpack_text(&unpacked.data, "leader"), info->leader));
    assert_int_equal(msgpack_number(&unpacked.data, "oldest_read_version"),
                     info->oldest_read_version);
    assert_int_equal(msgpack_number(&unpacked.data, "log_start_version"), info->log_start_version);
    assert_int_equal(msgpack_number(map, "min_version"), info->request_id_min_version);
    assert_int_equal(msgpack_number(map, "seconds"), info->request_id_window_sec);
    assert_int_equal(msgpack_number(map, "count"), info->request_id_count_max);
    msgpack_unpacked_destroy(&unpacked);

    assert_int_equal(body_codec(BODY_PROTOBUF)->encode_version(info, &arena, &answer), OK);
    Weaseldb__V1__VersionInfo *message =
        weaseldb__v1__version_info__unpack(NULL, answer.size, (const uint8_t *)answer.data);
    assert_non_null(message);
    assert_true(message->has_version && message->has_oldest_read_version &&
                message->has_log_start_version);
    assert_int_equal(message->version, info->version);
    assert_true(bytes_equal(text_of(message->leader), info->leader));
    assert_int_equal(message->oldest_read_version, info->oldest_read_version);
    assert_int_equal(message->log_start_version, info->log_start_version);
    assert_true(message->request_id_window->has_min_version &&
                message->request_id_window->has_seconds && message->request_id_window->has_count);
    assert_int_equal(message->request_id_window->min_version, info->request_id_min_version);
    assert_int_equal(message->request_id_window->seconds, info->request_id_window_sec);
    assert_int_equal(message->request_id_window->count, info->request_id_count_max);
    weaseldb__v1__version_info__free_unpacked(message, NULL);
}

static void test_version(void **state)
{
    (void)state;
    expect_version(&(struct txn_version_info){.version = 0});
    expect_version(
        &(struct txn_version_info){42, BYTES("0123456789abcdef"), 7, 1, 3, 86400, 1000000});
    expect_version(&(struct txn_version_info){UINT64_MAX, BYTES("\"\\"), UINT64_MAX, UINT64_MAX,
                                              UINT64_MAX, UINT64_MAX, UINT64_MAX});
}

static void test_memory_refused(void **state)
{
    (void)state;
    struct memory_budget none;
    struct chunk_pool empty;
    struct arena refused;
    memory_budget_init(&none, 0);
    chunk_pool_init(&empty, &none, 0);
    arena_init(&refused, &empty);
    struct bytes out = {"kept", 4};
    for (enum body_format format = BODY_JSON; format < BODY_FORMATS; format++) {
        const struct txn_codec *codec = body_codec(format);
        assert_int_equal(codec->encode_result(&results[1], &refused, &out), ERR_MEMORY);
        assert_int_equal(codec->encode_results(results, 2, &refused, &out), ERR_MEMORY);
        assert_int_equal(codec->encode_version(&(struct txn_version_info){0}, &refused, &out),
                         ERR_MEMORY);
    }
    assert_true(bytes_equal(out, BYTES("kept")));
    chunk_pool_deinit(&empty);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_results),        cmocka_unit_test(test_batches),
        cmocka_unit_test(test_json_text),      cmocka_unit_test(test_version),
        cmocka_unit_test(test_memory_refused),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
