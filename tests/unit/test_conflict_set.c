/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The conflict set against a naive model: a sorted array of segments of the key space, each with
 * the version of the last write. Every answer of every round is compared.
 *
 *   test_conflict_set [SEED [FACTOR]]     FACTOR: so many times as many rounds
 */
#include "commit/conflict_set.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { SHORT_MAX = 8, SEGMENTS_MAX = 400000, ROUNDS = 30000 };

static uint64_t seed = 1;
static uint64_t factor = 1;
static uint64_t random_state;

static uint64_t random_u64(void)
{
    random_state += UINT64_C(0x9e3779b97f4a7c15);
    uint64_t z = random_state;
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static uint64_t random_below(uint64_t limit)
{
    return random_u64() % limit;
}

/* The model's keys are short; the set gets each as `prefix` bytes, and then each of its bytes `run`
 * times, which keeps the order. */
struct shape {
    const char *name;
    const char *alphabet;
    unsigned letters;
    unsigned length_max;
    size_t prefix;
    unsigned run;
    unsigned range_percent; /* of the writes */
    unsigned trim_every;
    unsigned round_divisor;
};

struct short_key {
    uint8_t size;
    char data[SHORT_MAX];
};

struct segment {
    struct short_key begin; /* to the next segment's */
    uint64_t version;
};

struct model {
    unsigned count;
    uint64_t floor;
    uint64_t version;
    struct segment segments[SEGMENTS_MAX];
};

static struct model model;

static int key_compare(const struct short_key *a, const struct short_key *b)
{
    int order = memcmp(a->data, b->data, a->size < b->size ? a->size : b->size);
    return order != 0 ? order : (a->size > b->size) - (a->size < b->size);
}

/* The segment that `key` stands in. */
static unsigned model_find(const struct short_key *key)
{
    unsigned low = 0;
    unsigned high = model.count;
    while (high - low > 1) {
        unsigned middle = (low + high) / 2;
        if (key_compare(&model.segments[middle].begin, key) <= 0) {
            low = middle;
        } else {
            high = middle;
        }
    }
    return low;
}

/* Makes a segment begin at `key`; returns its index. */
static unsigned model_cut(const struct short_key *key)
{
    unsigned at = model_find(key);
    if (key_compare(&model.segments[at].begin, key) == 0) {
        return at;
    }
    assert_true(model.count < SEGMENTS_MAX);
    memmove(&model.segments[at + 2], &model.segments[at + 1],
            (model.count - at - 1) * sizeof model.segments[0]);
    model.count++;
    model.segments[at + 1] = (struct segment){*key, model.segments[at].version};
    return at + 1;
}

static void model_write(const struct short_key *begin, const struct short_key *end,
                        uint64_t version)
{
    unsigned from = model_cut(begin);
    unsigned to = model_cut(end);
    memmove(&model.segments[from + 1], &model.segments[to],
            (model.count - to) * sizeof model.segments[0]);
    model.count -= to - from - 1;
    model.segments[from].version = version;
}

static uint64_t model_newest(const struct short_key *begin, const struct short_key *end)
{
    uint64_t newest = 0;
    for (unsigned i = model_find(begin);
         i < model.count && key_compare(&model.segments[i].begin, end) < 0; i++) {
        uint64_t version = model.segments[i].version;
        newest = version > newest ? version : newest;
    }
    return newest;
}

static struct short_key short_random(const struct shape *shape)
{
    struct short_key key = {.size = 0};
    unsigned length = (unsigned)random_below(shape->length_max + 1);
    for (; key.size < length; key.size++) {
        key.data[key.size] = shape->alphabet[random_below(shape->letters)];
    }
    return key;
}

static struct short_key short_next(struct short_key key)
{
    key.data[key.size++] = 0;
    return key;
}

static struct bytes key_stretch(const struct shape *shape, const struct short_key *key, char *out)
{
    memset(out, 'p', shape->prefix);
    size_t size = shape->prefix;
    for (unsigned i = 0; i < key->size; i++) {
        memset(out + size, key->data[i], shape->run);
        size += shape->run;
    }
    return bytes_of(out, size);
}

static uint64_t random_version(void)
{
    /* Mostly close to the newest, where answers differ. */
    uint64_t span = model.version - model.floor;
    uint64_t back = random_below(span + 1);
    return model.version - (random_below(2) == 0 ? back : random_below(back + 1) / 16);
}

static void round_of(struct conflict_set *set, const struct shape *shape)
{
    static char memory[2][CONFLICT_KEY_BYTES_MAX];
    struct short_key a = short_random(shape);
    struct short_key b = random_below(8) == 0 ? short_next(a) : short_random(shape);
    struct bytes begin = key_stretch(shape, &a, memory[0]);
    struct bytes end = key_stretch(shape, &b, memory[1]);
    bool has_keys = key_compare(&a, &b) < 0;
    struct short_key next = short_next(a);
    uint64_t version = random_version();
    bool newer = model_newest(&a, &next) > version;
    assert_int_equal(conflict_set_point_is_newer(set, begin, version), newer);
    newer = has_keys && model_newest(&a, &b) > version;
    assert_int_equal(conflict_set_range_is_newer(set, begin, end, version), newer);
    if (random_below(4) == 0) {
        model.version += 1 + random_below(3); /* else: more writes of the same version */
    }
    a = short_random(shape);
    begin = key_stretch(shape, &a, memory[0]);
    if (random_below(100) >= shape->range_percent) {
        next = short_next(a);
        conflict_set_write_point(set, begin, model.version);
        model_write(&a, &next, model.version);
        return;
    }
    b = random_below(8) == 0 ? short_next(a) : short_random(shape);
    end = key_stretch(shape, &b, memory[1]);
    conflict_set_write_range(set, begin, end, model.version);
    if (key_compare(&a, &b) < 0) {
        model_write(&a, &b, model.version);
    }
}

/* Neighbours that the floor has made the same become one. */
static void model_forget(void)
{
    unsigned count = 1;
    for (unsigned i = 1; i < model.count; i++) {
        if (model.segments[i].version > model.floor ||
            model.segments[count - 1].version > model.floor) {
            model.segments[count++] = model.segments[i];
        }
    }
    model.count = count;
}

static void trim_some(struct conflict_set *set)
{
    uint64_t span = model.version - model.floor;
    if (random_below(3) == 0) {
        model.floor += random_below(span + 1) / (1 + random_below(4));
        model_forget();
    }
    unsigned steps = (unsigned)random_below(random_below(2) == 0 ? 4 : 400);
    conflict_set_trim(set, model.floor, steps);
    assert_int_equal(conflict_set_floor(set), model.floor);
}

static void run_shape(const struct shape *shape)
{
    struct conflict_set *set = NULL;
    struct conflict_set_config config = {.bytes_max = UINT64_C(1) << 30, .first_version = 100};
    assert_int_equal(conflict_set_open(&config, &set), OK);
    model = (struct model){.count = 1, .floor = 100, .version = 100};
    uint64_t rounds = ROUNDS * factor / shape->round_divisor;
    for (uint64_t round = 0; round < rounds; round++) {
        round_of(set, shape);
        if (random_below(shape->trim_every) == 0) {
            trim_some(set);
        }
        if (random_below(2000) == 0) {
            conflict_set_check_invariants(set);
        }
    }
    conflict_set_check_invariants(set);
    /* After a whole sweep at the newest version nothing is left. */
    while (conflict_set_trim(set, model.version, 64)) {
    }
    conflict_set_check_invariants(set);
    struct conflict_set_stats stats = conflict_set_stats(set);
    assert_int_equal(stats.entries, 0);
    assert_int_equal(stats.floor_raises, 0);
    conflict_set_close(&set);
    assert_null(set);
}

static const char EDGE_LETTERS[] = {0, 1, 'a', (char)0xFF};
static const char MANY_LETTERS[] = "0123456789abcdef";

static void every_answer_is_the_models(void **state)
{
    (void)state;
    static const struct shape shapes[] = {
        {"few keys", EDGE_LETTERS, 2, 3, 0, 1, 30, 50, 1},
        {"few keys, hardly ranges", EDGE_LETTERS, 4, 3, 0, 1, 3, 1000, 1},
        {"ties", EDGE_LETTERS, 2, 7, 0, 1, 10, 200, 1},
        {"more keys", EDGE_LETTERS, 4, 6, 0, 1, 2, 500, 1},
        {"many keys", MANY_LETTERS, 16, 5, 0, 1, 0, 20000, 1},
        {"many keys and ranges", MANY_LETTERS, 16, 5, 0, 1, 1, 1000, 1},
        {"short prefix", MANY_LETTERS, 16, 5, 5, 1, 1, 1000, 1},
        {"prefix beyond the head", MANY_LETTERS, 16, 5, 50, 1, 1, 3000, 1},
        {"wide letters", EDGE_LETTERS, 4, 6, 0, 9, 2, 1000, 1},
        {"hundreds of bytes", MANY_LETTERS, 16, 4, 300, 60, 1, 1000, 2},
        {"differences behind the chain's begin", EDGE_LETTERS, 4, 5, 600, 3, 3, 1000, 4},
        {"around the chain's begin", EDGE_LETTERS, 4, 6, 500, 4, 2, 1000, 2},
        {"pages of a chain", EDGE_LETTERS, 4, 4, 4000, 350, 5, 300, 8},
        {"the longest keys", EDGE_LETTERS, 4, 3, 65530, 1, 10, 100, 20},
        {"longest runs", EDGE_LETTERS, 4, 3, 0, 16000, 10, 100, 20},
    };
    for (unsigned i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        random_state = seed + i * 1000003;
        if (getenv("VERBOSE") != NULL) {
            print_message("%s\n", shapes[i].name);
        }
        run_shape(&shapes[i]);
    }
}

static struct conflict_set *open_set(uint64_t bytes_max)
{
    struct conflict_set *set = NULL;
    struct conflict_set_config config = {.bytes_max = bytes_max, .first_version = 0};
    assert_int_equal(conflict_set_open(&config, &set), OK);
    return set;
}

static void edges_of_a_range(void **state)
{
    (void)state;
    struct conflict_set *set = open_set(CONFLICT_SET_BYTES_MIN);
    conflict_set_write_range(set, BYTES("b"), BYTES("d"), 5);
    assert_false(conflict_set_point_is_newer(set, BYTES("a\xff\xff"), 4));
    assert_true(conflict_set_point_is_newer(set, BYTES("b"), 4));
    assert_true(conflict_set_point_is_newer(set, BYTES("b\0"), 4));
    assert_true(conflict_set_point_is_newer(set, BYTES("c\xff\xff"), 4));
    assert_false(conflict_set_point_is_newer(set, BYTES("d"), 4));
    assert_false(conflict_set_point_is_newer(set, BYTES("b"), 5));
    assert_false(conflict_set_range_is_newer(set, BYTES(""), BYTES("b"), 4));
    assert_true(conflict_set_range_is_newer(set, BYTES(""), BYTES("b\0"), 4));
    assert_false(conflict_set_range_is_newer(set, BYTES("d"), BYTES("e"), 4));
    assert_true(conflict_set_range_is_newer(set, BYTES("c\xff"), BYTES("e"), 4));
    /* Ranges without keys. */
    conflict_set_write_range(set, BYTES("x"), BYTES("x"), 6);
    conflict_set_write_range(set, BYTES("z"), BYTES("y"), 6);
    conflict_set_write_range(set, BYTES(""), bytes_of(NULL, 0), 6);
    assert_false(conflict_set_range_is_newer(set, BYTES(""), BYTES("\xff\xff"), 5));
    assert_false(conflict_set_range_is_newer(set, BYTES("c"), BYTES("c"), 0));
    assert_false(conflict_set_range_is_newer(set, BYTES("d"), BYTES("b"), 0));
    conflict_set_check_invariants(set);
    /* The empty key is a key. */
    conflict_set_write_point(set, bytes_of(NULL, 0), 7);
    assert_true(conflict_set_point_is_newer(set, BYTES(""), 6));
    assert_false(conflict_set_point_is_newer(set, BYTES("\0"), 6));
    assert_true(conflict_set_range_is_newer(set, bytes_of(NULL, 0), BYTES("\0"), 6));
    assert_false(conflict_set_range_is_newer(set, BYTES("\0"), BYTES("\xff"), 6));
    conflict_set_close(&set);
}

static void below_the_floor_all_is_newer(void **state)
{
    (void)state;
    struct conflict_set *set = open_set(CONFLICT_SET_BYTES_MIN);
    conflict_set_write_point(set, BYTES("k"), 5);
    conflict_set_write_point(set, BYTES("l"), 6);
    conflict_set_trim(set, 5, 0);
    conflict_set_trim(set, 3, 0);
    assert_int_equal(conflict_set_floor(set), 5);
    assert_true(conflict_set_point_is_newer(set, BYTES("never"), 4));
    assert_true(conflict_set_range_is_newer(set, BYTES("z"), BYTES("y"), 4));
    assert_false(conflict_set_point_is_newer(set, BYTES("k"), 5));
    assert_true(conflict_set_point_is_newer(set, BYTES("l"), 5));
    assert_int_equal(conflict_set_stats(set).entries, 2);
    assert_false(conflict_set_trim(set, 5, 1));
    assert_int_equal(conflict_set_stats(set).entries, 1);
    /* A floor above all writes: later ones up to it need no memory. */
    conflict_set_trim(set, 10, 1);
    conflict_set_write_point(set, BYTES("m"), 10);
    assert_int_equal(conflict_set_stats(set).entries, 0);
    conflict_set_write_point(set, BYTES("m"), 11);
    assert_true(conflict_set_point_is_newer(set, BYTES("m"), 10));
    conflict_set_close(&set);
}

/* What a writer may do that wants the set to grow. */
struct pattern {
    const char *name;
    size_t (*write)(struct conflict_set *set, char *key, uint64_t version); /* the key's size */
    unsigned kept_min; /* that many of the latest writes are still known after long */
};

/* `prefix` and 16 hexadecimal digits. */
static size_t number_key(char *key, const char *prefix, uint64_t number)
{
    return (size_t)snprintf(key, 64, "%s%016llx", prefix, (unsigned long long)number);
}

static size_t write_sequential(struct conflict_set *set, char *key, uint64_t version)
{
    size_t size = number_key(key, "table/", version);
    conflict_set_write_point(set, bytes_of(key, size), version);
    return size;
}

static size_t write_random(struct conflict_set *set, char *key, uint64_t version)
{
    size_t size = number_key(key, "table/", random_u64());
    conflict_set_write_point(set, bytes_of(key, size), version);
    return size;
}

static size_t write_sizes(struct conflict_set *set, char *key, uint64_t version)
{
    size_t size = number_key(key, "", random_u64());
    size_t whole = (size_t)1 << random_below(17);
    whole = whole < size ? size : whole + random_below(2);
    memset(key + size, 'x', whole - size);
    conflict_set_write_point(set, bytes_of(key, whole), version);
    return whole;
}

/* Long keys that differ at their ends only: separators are as long. */
static size_t write_long(struct conflict_set *set, char *key, uint64_t version)
{
    memset(key, 'x', 65000);
    size_t size = 65000 + number_key(key + 65000, "", random_u64());
    conflict_set_write_point(set, bytes_of(key, size), version);
    return size;
}

static size_t write_ranges(struct conflict_set *set, char *key, uint64_t version)
{
    char end[64];
    uint64_t number = random_u64() >> random_below(40);
    size_t size = number_key(key, "", number);
    size_t end_size = number_key(end, "", number + 3);
    conflict_set_write_range(set, bytes_of(key, size), bytes_of(end, end_size), version);
    return size;
}

/* Few old writes here and there: none of the pages of others may stay for them. */
static size_t write_waves(struct conflict_set *set, char *key, uint64_t version)
{
    size_t (*const waves[])(struct conflict_set *, char *,
                            uint64_t) = {write_random, write_sequential, write_sizes, write_ranges};
    return waves[version / 5000 % 4](set, key, version);
}

static void memory_stays_within_its_bound(void **state)
{
    (void)state;
    static const struct pattern patterns[] = {
        {"sequential", write_sequential, 30000},
        {"random", write_random, 20000},
        {"sizes", write_sizes, 100},
        {"long", write_long, 20},
        {"ranges", write_ranges, 10000},
        {"waves", write_waves, 50},
    };
    enum { LATEST = 1 << 16 };
    static char key[CONFLICT_KEY_BYTES_MAX];
    for (unsigned i = 0; i < sizeof patterns / sizeof patterns[0]; i++) {
        const struct pattern *pattern = &patterns[i];
        struct conflict_set *set = open_set(CONFLICT_SET_BYTES_MIN);
        random_state = seed + i;
        uint64_t last = pattern->kept_min * 3 > 30000 ? pattern->kept_min * 3 : 30000;
        last = pattern->write == write_long ? 3000 : last;
        uint64_t kept_least = UINT64_MAX;
        for (uint64_t version = 1; version <= last; version++) {
            size_t size = pattern->write(set, key, version);
            struct conflict_set_stats stats = conflict_set_stats(set);
            assert_true(stats.bytes <= CONFLICT_SET_BYTES_MIN);
            assert_true(stats.floor <= version);
            assert_int_equal(conflict_set_point_is_newer(set, bytes_of(key, size), version - 1),
                             true);
            if (version > pattern->kept_min && version - stats.floor < kept_least) {
                kept_least = version - stats.floor;
            }
            if (version % (last / 8) == 0) {
                conflict_set_check_invariants(set);
            }
        }
        struct conflict_set_stats stats = conflict_set_stats(set);
        if (getenv("VERBOSE") != NULL) {
            print_message("%s: at least %llu versions kept, now %llu; %llu raises, %llu entries\n",
                          pattern->name, (unsigned long long)kept_least,
                          (unsigned long long)(last - stats.floor),
                          (unsigned long long)stats.floor_raises,
                          (unsigned long long)stats.entries);
        }
        assert_true(kept_least >= pattern->kept_min);
        conflict_set_close(&set);
    }
}

/* One key written over and over, or a range over all, needs no more memory. */
static void old_writes_below_new_ones_take_no_memory(void **state)
{
    (void)state;
    struct conflict_set *set = open_set(CONFLICT_SET_BYTES_MIN);
    char key[64];
    uint64_t version = 0;
    for (unsigned i = 0; i < 200000; i++) {
        size_t size = number_key(key, "", random_below(1000));
        conflict_set_write_point(set, bytes_of(key, size), ++version);
    }
    assert_int_equal(conflict_set_stats(set).entries, 1000);
    for (unsigned i = 0; i < 200; i++) {
        for (unsigned j = 0; j < 1000; j++) {
            size_t size = number_key(key, "", random_u64());
            conflict_set_write_point(set, bytes_of(key, size), ++version);
        }
        conflict_set_write_range(set, BYTES(""), BYTES("\xff"), ++version);
    }
    assert_int_equal(conflict_set_floor(set), 0);
    conflict_set_trim(set, 0, 100000);
    assert_int_equal(conflict_set_stats(set).entries, 2);
    conflict_set_check_invariants(set);
    assert_true(conflict_set_point_is_newer(set, BYTES("5"), version - 1));
    conflict_set_close(&set);
}

int main(int argc, char **argv)
{
    seed = argc > 1 ? strtoull(argv[1], NULL, 10) : 1;
    factor = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(edges_of_a_range),
        cmocka_unit_test(below_the_floor_all_is_newer),
        cmocka_unit_test(every_answer_is_the_models),
        cmocka_unit_test(memory_stays_within_its_bound),
        cmocka_unit_test(old_writes_below_new_ones_take_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
