/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ring_hop: what it costs to pass an item from producers to one consumer, beside Concurrency Kit's
 * ck_ring (spsc for one producer, mpsc for four).
 *
 *   ring_hop [--smoke]     --smoke: few items and rounds, to see that it runs
 *
 * Both sides do the same work (the consumer adds the items up, and the sum is checked), use 1024
 * slots and wait in the same way: a producer yields when the ring is full; the consumer yields when
 * it is empty ("yield"), or sleeps on a struct wait that producers wake after each item or batch
 * ("sleep"). "single" passes and handles items one by one. "batch" claims 16 at a time, and the
 * consumer handles all that is ready; ck_ring has no such calls and passes the 16 one by one.
 *
 * A round lasts a fixed time, not a number of items: ck_ring's producers wait for one another's
 * publication by spinning, and with more producers than cores that can last for time slices.
 * Rounds are interleaved: each ratio is the median over rounds of ours / ck of the same round.
 */
#include "base/check.h"
#include "ring/barrier.h"
#include "ring/ring.h"
#include "ring/sequence.h"
#include "ring/wait.h"

#include <ck_ring.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    SLOTS = 1024,
    BATCH = 16,
    PRODUCERS_MAX = 4,
    ROUNDS_MAX = 9,
};

struct hop {
    const char *name;
    unsigned producers;
    unsigned batch;
    bool sleeps;
};

struct run {
    struct hop hop;
    bool is_ck;
    long duration_ns;
    pthread_barrier_t start;
    struct wait wait;
    _Atomic bool is_over;   /* producers end */
    _Atomic uint64_t total; /* the consumer ends after so many; UINT64_MAX: not known yet */
    uint64_t sum;           /* the consumer's */
    /* ours */
    struct ring ring;
    struct sequence gate;
    const struct sequence *gates[1];
    struct wait *waits[1];
    /* ck */
    ck_ring_t ck;
    ck_ring_buffer_t *ck_slots;
};

struct producer {
    struct run *run;
    uint64_t items; /* passed */
    pthread_t thread;
};

struct figure {
    double wall_ns; /* for each item */
    double cpu_ns;  /* of the whole process, for each item */
};

static bool is_over(struct run *run)
{
    /* Relaxed: when exactly does not matter. */
    return atomic_load_explicit(&run->is_over, memory_order_relaxed);
}

static uint64_t produce_ours(struct run *run)
{
    uint64_t batch = run->hop.batch;
    uint64_t done = 0;
    for (; !is_over(run); done += batch) {
        uint64_t first = 0;
        while (!ring_try_claim(&run->ring, batch, &first)) {
            sched_yield();
        }
        for (uint64_t i = 0; i < batch; i++) {
            ring_publish(&run->ring, first + i, (void *)(uintptr_t)(done + i + 1));
        }
        if (run->hop.sleeps) {
            ring_wake(&run->ring);
        }
    }
    return done;
}

static uint64_t produce_ck(struct run *run)
{
    bool is_single = run->hop.producers == 1;
    uint64_t batch = run->hop.batch;
    uint64_t done = 0;
    for (; !is_over(run); done += batch) {
        for (uint64_t i = 0; i < batch; i++) {
            void *item = (void *)(uintptr_t)(done + i + 1);
            while (!(is_single ? ck_ring_enqueue_spsc(&run->ck, run->ck_slots, item)
                               : ck_ring_enqueue_mpsc(&run->ck, run->ck_slots, item))) {
                if (run->hop.sleeps) {
                    wait_wake(&run->wait); /* the rest of this batch needs room */
                }
                sched_yield();
            }
        }
        if (run->hop.sleeps) {
            wait_wake(&run->wait);
        }
    }
    return done;
}

static void *producer_main(void *argument)
{
    struct producer *producer = argument;
    struct run *run = producer->run;
    pthread_barrier_wait(&run->start);
    producer->items = run->is_ck ? produce_ck(run) : produce_ours(run);
    return NULL;
}

static bool is_ready(struct run *run, uint64_t next)
{
    return run->is_ck ? ck_ring_size(&run->ck) > 0 : ring_is_published(&run->ring, next);
}

static void idle(struct run *run, uint64_t next)
{
    if (!run->hop.sleeps) {
        sched_yield();
        return;
    }
    wait_prepare(&run->wait);
    if (is_ready(run, next) || next == atomic_load(&run->total)) {
        wait_cancel(&run->wait);
    } else {
        wait_sleep(&run->wait);
    }
}

static uint64_t consume_ours(struct run *run)
{
    const struct barrier barrier = {.ring = &run->ring};
    uint64_t count_max = run->hop.batch == 1 ? 1 : SLOTS;
    uint64_t next = 0;
    uint64_t sum = 0;
    for (;;) {
        uint64_t count = barrier_ready_count(&barrier, next, 1, count_max);
        if (count == 0) {
            if (next == atomic_load(&run->total)) {
                return sum;
            }
            idle(run, next);
            continue;
        }
        for (uint64_t i = 0; i < count; i++) {
            sum += (uintptr_t)ring_slot_at(&run->ring, next + i)->item;
        }
        next += count;
        sequence_publish(&run->gate, next);
    }
}

static uint64_t consume_ck(struct run *run)
{
    bool is_single = run->hop.producers == 1;
    uint64_t taken = 0;
    uint64_t sum = 0;
    for (;;) {
        void *item;
        if (is_single ? ck_ring_dequeue_spsc(&run->ck, run->ck_slots, &item)
                      : ck_ring_dequeue_mpsc(&run->ck, run->ck_slots, &item)) {
            sum += (uintptr_t)item;
            taken++;
        } else if (taken == atomic_load(&run->total)) {
            return sum;
        } else {
            idle(run, taken);
        }
    }
}

static void *consumer_main(void *argument)
{
    struct run *run = argument;
    pthread_barrier_wait(&run->start);
    run->sum = run->is_ck ? consume_ck(run) : consume_ours(run);
    return NULL;
}

static double now_ns(clockid_t clock)
{
    struct timespec time;
    clock_gettime(clock, &time);
    return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

static void run_init(struct run *run, const struct hop *hop, bool is_ck, long duration_ns)
{
    run->hop = *hop;
    run->is_ck = is_ck;
    run->duration_ns = duration_ns;
    wait_init(&run->wait);
    sequence_init(&run->gate, 0);
    atomic_init(&run->is_over, false);
    atomic_init(&run->total, UINT64_MAX);
    run->gates[0] = &run->gate;
    run->waits[0] = &run->wait;
    enum err err = ring_init(&run->ring, SLOTS);
    CHECK(err == OK);
    ring_attach(&run->ring, run->gates, 1, run->waits, 1);
    if (hop->producers == 1) {
        ring_set_single_producer(&run->ring);
    }
    run->ck_slots = calloc(SLOTS, sizeof *run->ck_slots);
    CHECK(run->ck_slots != NULL);
    ck_ring_init(&run->ck, SLOTS);
    pthread_barrier_init(&run->start, NULL, hop->producers + 2);
}

static struct figure measure(struct run *run)
{
    struct producer producers[PRODUCERS_MAX];
    pthread_t consumer;
    int failed = pthread_create(&consumer, NULL, consumer_main, run);
    for (unsigned i = 0; i < run->hop.producers; i++) {
        producers[i] = (struct producer){.run = run};
        failed |= pthread_create(&producers[i].thread, NULL, producer_main, &producers[i]);
    }
    CHECK(failed == 0);
    pthread_barrier_wait(&run->start);
    double wall = now_ns(CLOCK_MONOTONIC);
    double cpu = now_ns(CLOCK_PROCESS_CPUTIME_ID);
    nanosleep(&(struct timespec){.tv_nsec = run->duration_ns}, NULL);
    atomic_store(&run->is_over, true);
    uint64_t total = 0;
    uint64_t sum = 0;
    for (unsigned i = 0; i < run->hop.producers; i++) {
        pthread_join(producers[i].thread, NULL);
        total += producers[i].items;
        sum += producers[i].items * (producers[i].items + 1) / 2;
    }
    atomic_store(&run->total, total);
    wait_wake(&run->wait);
    pthread_join(consumer, NULL);
    wall = now_ns(CLOCK_MONOTONIC) - wall;
    cpu = now_ns(CLOCK_PROCESS_CPUTIME_ID) - cpu;
    CHECK(run->sum == sum);
    CHECK(total > 0);
    pthread_barrier_destroy(&run->start);
    free(run->ck_slots);
    ring_deinit(&run->ring);
    return (struct figure){wall / (double)total, cpu / (double)total};
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

struct column {
    double ours[ROUNDS_MAX];
    double ck[ROUNDS_MAX];
    double ratio[ROUNDS_MAX];
};

static void column_set(struct column *column, unsigned round, double ours, double ck)
{
    column->ours[round] = ours;
    column->ck[round] = ck;
    column->ratio[round] = ours / ck;
}

int main(int argc, char **argv)
{
    bool is_smoke = argc > 1 && strcmp(argv[1], "--smoke") == 0;
    if (argc > 2 || (argc == 2 && !is_smoke)) {
        fprintf(stderr, "usage: ring_hop [--smoke]\n");
        return 2;
    }
    static const struct hop hops[] = {
        {"1 producer,  single, yield", 1, 1, false},
        {"1 producer,  batch,  yield", 1, BATCH, false},
        {"4 producers, single, yield", 4, 1, false},
        {"4 producers, batch,  yield", 4, BATCH, false},
        {"1 producer,  single, sleep", 1, 1, true},
        {"1 producer,  batch,  sleep", 1, BATCH, true},
        {"4 producers, single, sleep", 4, 1, true},
        {"4 producers, batch,  sleep", 4, BATCH, true},
    };
    enum { HOPS = sizeof hops / sizeof hops[0] };
    static struct column wall[HOPS];
    static struct column cpu[HOPS];
    static struct run run;
    unsigned rounds = is_smoke ? 3 : ROUNDS_MAX;
    long duration_ns = is_smoke ? 5000000 : 50000000;
    for (unsigned round = 0; round < rounds; round++) {
        for (unsigned i = 0; i < HOPS; i++) {
            struct figure figures[2];
            for (unsigned side = 0; side < 2; side++) {
                bool is_ck = (side + round) % 2 == 1; /* take turns at going first */
                run_init(&run, &hops[i], is_ck, duration_ns);
                figures[is_ck] = measure(&run);
            }
            column_set(&wall[i], round, figures[0].wall_ns, figures[1].wall_ns);
            column_set(&cpu[i], round, figures[0].cpu_ns, figures[1].cpu_ns);
        }
    }
    printf("%-28s %25s  %25s\n", "", "million items/s", "CPU ns/item");
    printf("%-28s %8s %8s %7s  %8s %8s %7s\n", "hop", "ours", "ck_ring", "ratio", "ours", "ck_ring",
           "ratio");
    for (unsigned i = 0; i < HOPS; i++) {
        printf("%-28s %8.2f %8.2f %7.2f  %8.1f %8.1f %7.2f\n", hops[i].name,
               1e3 / median(wall[i].ours, rounds), 1e3 / median(wall[i].ck, rounds),
               1 / median(wall[i].ratio, rounds), median(cpu[i].ours, rounds),
               median(cpu[i].ck, rounds), median(cpu[i].ratio, rounds));
    }
    return 0;
}
