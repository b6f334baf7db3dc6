/* SPDX-License-Identifier: Apache-2.0 */
/*
 * conflict_set: what a check and a write cost, beside a plain skip list and a sorted array
 * (conflict_peers.h), over the number of keys.
 *
 *   conflict_set [--smoke | --large]     --smoke: few keys and rounds, to see that it runs
 *                                        --large: 10 million keys too (2 minutes more)
 *
 * Keys are "account/" and 12 hexadecimal digits, the even numbers below 2n; they were written in
 * random order, each at a version of its own. All structures get the same operations, and the
 * answers are compared. Operations come in batches made before the clock starts.
 *
 *   point, any age      half of the keys exist; the read version is anywhere in the window, so
 *                       that about half of the answers are yes, and nothing is decided early
 *   point, recent       the read version is 1,000 writes ago: most answers are no
 *   range of N          N keys wide, the read version is 1,000 writes ago
 *   write               of a key that exists
 *   write, new          of a key that does not exist yet
 *   read, write         a recent point check and a write of the same key, half of them new
 *   range write         100 keys wide
 *
 * Rounds are interleaved; each figure is the median over rounds, and each ratio the median of the
 * ratios of the same round.
 */
#include "commit/conflict_set.h"
#include "base/check.h"
#include "conflict_peers.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum {
    KEY_BYTES = 20,
    OPERATIONS = 10000, /* in a batch */
    ROUNDS = 5,
    RECENT = 1000,
    ARRAY_WRITES_MAX = 100000, /* keys, beyond which a sorted array is not written */
};

struct operation {
    char begin[KEY_BYTES];
    char end[KEY_BYTES];
    uint64_t read_version;
};

enum action { POINT, RANGE, WRITE, READ_WRITE, RANGE_WRITE };

struct row {
    const char *name;
    enum action action;
    bool is_recent;
    bool is_new; /* the keys do not exist, all of them when writing and else half */
    uint64_t width;
};

enum { PEERS = 3 };

struct peers {
    struct conflict_set *set;
    struct skip_list *list;
    struct sorted_array *array;
    uint64_t keys;
    uint64_t version;
};

static uint64_t random_u64(void)
{
    static uint64_t state = 1;
    state += UINT64_C(0x9e3779b97f4a7c15);
    uint64_t z = state;
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static double now_ns(void)
{
    struct timespec time;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

static void key_write(char *out, uint64_t number)
{
    memcpy(out, "account/", 8);
    for (unsigned i = KEY_BYTES; i-- > 8; number >>= 4) {
        out[i] = "0123456789abcdef"[number & 15];
    }
}

static struct bytes key_of(const char *data)
{
    return bytes_of(data, KEY_BYTES);
}

static void fill(struct peers *peers, uint64_t keys)
{
    struct conflict_set_config config = {.bytes_max = UINT64_C(8) << 30};
    enum err err = conflict_set_open(&config, &peers->set);
    CHECK(err == OK);
    peers->list = skip_list_open();
    peers->array = sorted_array_open();
    peers->keys = keys;
    uint64_t *order = malloc(keys * sizeof *order);
    uint64_t *versions = malloc(keys * sizeof *versions);
    CHECK(order != NULL && versions != NULL);
    for (uint64_t i = 0; i < keys; i++) {
        order[i] = i;
    }
    for (uint64_t i = keys - 1; i > 0; i--) {
        uint64_t j = random_u64() % (i + 1);
        uint64_t other = order[i];
        order[i] = order[j];
        order[j] = other;
    }
    char key[KEY_BYTES];
    for (uint64_t i = 0; i < keys; i++) {
        key_write(key, 2 * order[i]);
        versions[order[i]] = i + 1;
        conflict_set_write_point(peers->set, key_of(key), i + 1);
        skip_list_write_point(peers->list, key_of(key), i + 1);
    }
    for (uint64_t i = 0; i < keys; i++) {
        key_write(key, 2 * i);
        sorted_array_append(peers->array, key_of(key), versions[i]);
    }
    peers->version = keys;
    free(versions);
    free(order);
}

static void drain(struct peers *peers)
{
    CHECK(conflict_set_floor(peers->set) == 0);
    conflict_set_close(&peers->set);
    skip_list_close(peers->list);
    sorted_array_close(peers->array);
}

static void prepare(const struct peers *peers, const struct row *row, struct operation *operations)
{
    for (unsigned i = 0; i < OPERATIONS; i++) {
        uint64_t number = 2 * (random_u64() % (peers->keys - row->width));
        bool is_odd = row->is_new && (row->action == WRITE || random_u64() % 2 == 0);
        key_write(operations[i].begin, number + is_odd);
        key_write(operations[i].end, number + 2 * row->width);
        uint64_t back = row->is_recent ? RECENT : random_u64() % peers->version;
        operations[i].read_version = peers->version - (back < peers->version ? back : 0);
    }
}

/* One function of its own for each structure, so that calls are direct for all. */
#define RUN(NAME, TYPE, PREFIX)                                                                    \
    static uint64_t run_##NAME(TYPE *in, const struct row *row,                                    \
                               const struct operation *operations, uint64_t version)               \
    {                                                                                              \
        uint64_t newer = 0;                                                                        \
        for (unsigned i = 0; i < OPERATIONS; i++) {                                                \
            const struct operation *op = &operations[i];                                           \
            struct bytes begin = key_of(op->begin);                                                \
            struct bytes end = key_of(op->end);                                                    \
            switch (row->action) {                                                                 \
            case POINT:                                                                            \
                newer += PREFIX##_point_is_newer(in, begin, op->read_version);                     \
                break;                                                                             \
            case RANGE:                                                                            \
                newer += PREFIX##_range_is_newer(in, begin, end, op->read_version);                \
                break;                                                                             \
            case READ_WRITE:                                                                       \
                newer += PREFIX##_point_is_newer(in, begin, op->read_version);                     \
                PREFIX##_write_point(in, begin, version + i);                                      \
                break;                                                                             \
            case WRITE:                                                                            \
                PREFIX##_write_point(in, begin, version + i);                                      \
                break;                                                                             \
            case RANGE_WRITE:                                                                      \
                PREFIX##_write_range(in, begin, end, version + i);                                 \
                break;                                                                             \
            }                                                                                      \
        }                                                                                          \
        return newer;                                                                              \
    }

RUN(set, struct conflict_set, conflict_set)
RUN(list, struct skip_list, skip_list)
RUN(array, struct sorted_array, sorted_array)

static bool is_write(const struct row *row)
{
    return row->action != POINT && row->action != RANGE;
}

static bool array_takes_part(const struct peers *peers, const struct row *row)
{
    return peers->array != NULL && (!is_write(row) || peers->keys <= ARRAY_WRITES_MAX);
}

/* Nanoseconds for each operation of each structure. */
static void measure(struct peers *peers, const struct row *row, unsigned round, double *out)
{
    static struct operation operations[OPERATIONS];
    uint64_t newer[PEERS] = {0};
    prepare(peers, row, operations);
    for (unsigned turn = 0; turn < PEERS; turn++) {
        unsigned peer = (turn + round) % PEERS; /* take turns at going first */
        double begin = now_ns();
        if (peer == 0) {
            newer[0] = run_set(peers->set, row, operations, peers->version + 1);
        } else if (peer == 1) {
            newer[1] = run_list(peers->list, row, operations, peers->version + 1);
        } else if (array_takes_part(peers, row)) {
            newer[2] = run_array(peers->array, row, operations, peers->version + 1);
        }
        out[peer] = (now_ns() - begin) / OPERATIONS;
    }
    peers->version += is_write(row) ? OPERATIONS : 0;
    CHECK(newer[0] == newer[1]);
    CHECK(!array_takes_part(peers, row) || newer[0] == newer[2]);
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

static void print_row(struct peers *peers, const struct row *row, unsigned rounds)
{
    double figures[PEERS][ROUNDS];
    double ratios[PEERS][ROUNDS];
    for (unsigned round = 0; round < rounds; round++) {
        double figure[PEERS];
        measure(peers, row, round, figure);
        for (unsigned i = 0; i < PEERS; i++) {
            figures[i][round] = figure[i];
            ratios[i][round] = figure[i] / figure[0];
        }
    }
    printf("%9llu  %-18s %9.0f %9.0f %7.2f", (unsigned long long)peers->keys, row->name,
           median(figures[0], rounds), median(figures[1], rounds), median(ratios[1], rounds));
    if (array_takes_part(peers, row)) {
        printf(" %10.0f %7.2f\n", median(figures[2], rounds), median(ratios[2], rounds));
    } else {
        printf(" %10s %7s\n", "-", "-");
    }
    fflush(stdout);
}

int main(int argc, char **argv)
{
    bool is_smoke = argc == 2 && strcmp(argv[1], "--smoke") == 0;
    bool is_large = argc == 2 && strcmp(argv[1], "--large") == 0;
    if (argc > 1 && !is_smoke && !is_large) {
        fprintf(stderr, "usage: conflict_set [--smoke | --large]\n");
        return 2;
    }
    static const struct row rows[] = {
        {"point, any age", POINT, false, true, 1},       {"point, recent", POINT, true, true, 1},
        {"range of 1", RANGE, true, false, 1},           {"range of 100", RANGE, true, false, 100},
        {"range of 10000", RANGE, true, false, 10000},   {"write", WRITE, false, false, 1},
        {"read, write", READ_WRITE, true, true, 1},      {"write, new", WRITE, false, true, 1},
        {"range write", RANGE_WRITE, false, false, 100},
    };
    static const uint64_t counts[] = {1000, 10000, 100000, 1000000, 10000000};
    unsigned count = is_smoke ? 2 : is_large ? 5 : 4;
    printf("%30s %29s %18s\n", "CPU ns an operation:", "ours skip list   ratio", "array   ratio");
    for (unsigned i = 0; i < count; i++) {
        struct peers peers;
        fill(&peers, counts[i]);
        struct conflict_set_stats stats = conflict_set_stats(peers.set);
        printf("%9llu  bytes a key %13.1f\n", (unsigned long long)counts[i],
               (double)stats.bytes / (double)counts[i]);
        for (unsigned j = 0; j < sizeof rows / sizeof rows[0]; j++) {
            if (rows[j].width < counts[i]) {
                print_row(&peers, &rows[j], is_smoke ? 1 : ROUNDS);
            }
        }
        drain(&peers);
    }
    return 0;
}
