/* SPDX-License-Identifier: Apache-2.0 */
/* Stages on threads. Each item carries how many stages it has passed, as a plain field: every stage
 * checks and raises it, so a stage that runs early, twice or never is a CHECK, and a missing
 * memory-order edge is a data race that ThreadSanitizer sees. CHECKs, because cmocka's assertions
 * are for the test's own thread only. A hang ends by a watchdog. */
#include "ring/stage.h"

#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdalign.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

enum {
    WATCHDOG_SEC = 60,
    PRODUCERS_MAX = 4,
    STAGES_MAX = 4,
    THREADS_MAX = 16,
};

struct item {
    unsigned producer;
    unsigned passed;
    uint64_t number;
};

struct stage_probe {
    unsigned index;
    unsigned workers;
    size_t batch_max;
    size_t batch_largest;
    uint64_t next_number[PRODUCERS_MAX];
    _Atomic uint64_t handled;
};

/* Always static: a sanitizer's stack does not align a cache line. */
struct rig {
    struct ring ring;
    struct stage_chain *chain;
    struct stage_probe probes[STAGES_MAX];
    pthread_t threads[THREADS_MAX];
    unsigned stage_count;
};

static void on_alarm(int number)
{
    (void)number;
    static const char text[] = "watchdog: a thread hangs (a lost wake-up?)\n";
    ssize_t ignored = write(STDERR_FILENO, text, sizeof text - 1);
    (void)ignored;
    _exit(1);
}

static int watchdog_start(void **state)
{
    (void)state;
    signal(SIGALRM, on_alarm);
    alarm(WATCHDOG_SEC);
    return 0;
}

static int watchdog_stop(void **state)
{
    (void)state;
    alarm(0);
    return 0;
}

static void probe_run(void *context, struct ring_batch *batch)
{
    struct stage_probe *probe = context;
    CHECK(batch->worker < probe->workers);
    CHECK(batch->count > 0 && (probe->batch_max == 0 || batch->count <= probe->batch_max));
    for (size_t i = 0; i < batch->count; i++) {
        struct item *item = ring_batch_at(batch, i);
        CHECK(ring_batch_sequence_at(batch, i) % probe->workers == batch->worker);
        CHECK(item->passed == probe->index);
        item->passed = probe->index + 1;
        if (probe->workers == 1) {
            CHECK(item->number == probe->next_number[item->producer]);
            probe->next_number[item->producer]++;
        }
    }
    if (probe->workers == 1 && batch->count > probe->batch_largest) {
        probe->batch_largest = batch->count;
    }
    atomic_fetch_add(&probe->handled, batch->count);
}

static void *thread_main(void *argument)
{
    stage_thread_run(argument);
    return NULL;
}

static void rig_open(struct rig *rig, uint64_t slots, const unsigned *workers, unsigned stage_count,
                     unsigned thread_count, unsigned batch_max, unsigned spin_iterations)
{
    memset(rig, 0, sizeof *rig);
    rig->stage_count = stage_count;
    struct stage_config configs[STAGES_MAX];
    for (unsigned i = 0; i < stage_count; i++) {
        rig->probes[i] =
            (struct stage_probe){.index = i, .workers = workers[i], .batch_max = batch_max};
        configs[i] = (struct stage_config){.run = probe_run,
                                           .context = &rig->probes[i],
                                           .workers = workers[i],
                                           .batch_max = batch_max};
    }
    assert_int_equal(ring_init(&rig->ring, slots), OK);
    assert_int_equal(stage_chain_open(&rig->ring, configs, stage_count, thread_count,
                                      spin_iterations, &rig->chain),
                     OK);
}

static void rig_start(struct rig *rig)
{
    unsigned count = stage_chain_thread_count(rig->chain);
    assert_true(count <= THREADS_MAX);
    for (unsigned i = 0; i < count; i++) {
        assert_int_equal(
            pthread_create(&rig->threads[i], NULL, thread_main, stage_chain_thread(rig->chain, i)),
            0);
    }
}

static void rig_join(struct rig *rig)
{
    for (unsigned i = 0; i < stage_chain_thread_count(rig->chain); i++) {
        assert_int_equal(pthread_join(rig->threads[i], NULL), 0);
    }
}

/* After the threads have ended: every stage has handled exactly `count` items. */
static void rig_close(struct rig *rig, uint64_t count)
{
    for (unsigned i = 0; i < rig->stage_count; i++) {
        assert_int_equal(atomic_load(&rig->probes[i].handled), count);
        assert_int_equal(stage_chain_progress(rig->chain, i), count);
    }
    assert_int_equal(ring_claimed(&rig->ring), count);
    assert_int_equal(ring_occupancy(&rig->ring), 0);
    stage_chain_close(&rig->chain);
    assert_null(rig->chain);
    ring_deinit(&rig->ring);
}

static void wait_until_all_sleep(struct rig *rig)
{
    for (unsigned i = 0; i < stage_chain_thread_count(rig->chain); i++) {
        while (!stage_thread_is_sleeping(stage_chain_thread(rig->chain, i))) {
            sched_yield();
        }
    }
}

/* Until the last stage's function has counted `end` items. Looks hard at first, so that the caller
 * goes on while the last thread is about to sleep. */
static void wait_until_handled(struct rig *rig, uint64_t end)
{
    unsigned looks = 0;
    while (atomic_load(&rig->probes[rig->stage_count - 1].handled) < end) {
        if (++looks > 2000) {
            sched_yield();
        }
    }
}

/* A few nanoseconds for each step, to try all meetings of two threads. */
static void linger(unsigned steps)
{
    for (unsigned i = 0; i < steps; i++) {
        atomic_signal_fence(memory_order_seq_cst); /* keeps the loop */
    }
}

struct producer {
    struct rig *rig;
    struct item *items;
    uint64_t count;     /* items there are */
    uint64_t published; /* items the ring took */
    uint64_t claim_max;
    unsigned index;
    bool waits_for_each; /* for its last item to pass all stages before going on */
    pthread_t thread;
};

/* Publishes its items in claims of 1, 2, ... claim_max, each claim backwards, until none is left or
 * the ring is closed. */
static void *producer_main(void *argument)
{
    struct producer *p = argument;
    uint64_t size = 1;
    while (p->published < p->count) {
        uint64_t left = p->count - p->published;
        uint64_t count = size < left ? size : left;
        uint64_t first;
        if (!ring_try_claim(&p->rig->ring, count, &first)) {
            uint64_t end;
            if (ring_is_closed(&p->rig->ring, &end)) {
                break;
            }
            sched_yield();
            continue;
        }
        for (uint64_t i = count; i-- > 0;) {
            struct item *item = &p->items[p->published + i];
            *item = (struct item){.producer = p->index, .number = p->published + i};
            ring_publish(&p->rig->ring, first + i, item);
        }
        ring_wake(&p->rig->ring);
        p->published += count;
        size = size % p->claim_max + 1;
        if (p->waits_for_each) {
            wait_until_handled(p->rig, first + count);
            linger((unsigned)(first * 7 % 128));
        }
    }
    return NULL;
}

static void producers_start(struct producer *producers, unsigned producer_count, struct rig *rig,
                            uint64_t item_count, uint64_t claim_max, bool waits_for_each)
{
    assert_true(producer_count <= PRODUCERS_MAX);
    for (unsigned i = 0; i < producer_count; i++) {
        producers[i] = (struct producer){.rig = rig,
                                         .items = calloc(item_count, sizeof(struct item)),
                                         .count = item_count,
                                         .claim_max = claim_max,
                                         .index = i,
                                         .waits_for_each = waits_for_each};
        assert_non_null(producers[i].items);
        assert_int_equal(pthread_create(&producers[i].thread, NULL, producer_main, &producers[i]),
                         0);
    }
}

/* Returns how many items all of them published. */
static uint64_t producers_join(struct producer *producers, unsigned producer_count)
{
    uint64_t published = 0;
    for (unsigned i = 0; i < producer_count; i++) {
        assert_int_equal(pthread_join(producers[i].thread, NULL), 0);
        published += producers[i].published;
    }
    return published;
}

static void producers_free(struct producer *producers, unsigned producer_count)
{
    for (unsigned i = 0; i < producer_count; i++) {
        free(producers[i].items);
    }
}

/* Runs everything from start to drained end. */
static void flow(uint64_t slots, const unsigned *workers, unsigned stage_count,
                 unsigned thread_count, unsigned batch_max, unsigned spin_iterations,
                 unsigned producer_count, uint64_t item_count, uint64_t claim_max,
                 bool waits_for_each)
{
    static struct rig rig;
    struct producer producers[PRODUCERS_MAX];
    rig_open(&rig, slots, workers, stage_count, thread_count, batch_max, spin_iterations);
    rig_start(&rig);
    producers_start(producers, producer_count, &rig, item_count, claim_max, waits_for_each);
    assert_int_equal(producers_join(producers, producer_count), producer_count * item_count);
    ring_close(&rig.ring);
    rig_join(&rig);
    rig_close(&rig, producer_count * item_count);
    producers_free(producers, producer_count);
}

static const unsigned serial[STAGES_MAX] = {1, 1, 1, 1};

static void the_plan_gives_neighbours_to_each_thread(void **state)
{
    (void)state;
    unsigned thread_of_lane[64];
    for (unsigned lanes = 1; lanes <= 64; lanes++) {
        for (unsigned threads = 1; threads <= 70; threads++) {
            unsigned used = stage_plan(lanes, threads, thread_of_lane);
            assert_int_equal(used, threads < lanes ? threads : lanes);
            unsigned lanes_of[64] = {0};
            unsigned previous = 0;
            for (unsigned lane = 0; lane < lanes; lane++) {
                assert_true(thread_of_lane[lane] == previous ||
                            thread_of_lane[lane] == previous + 1);
                previous = thread_of_lane[lane];
                assert_true(previous < used);
                lanes_of[previous]++;
            }
            for (unsigned i = 0; i < used; i++) {
                assert_in_range(lanes_of[i], lanes / used, (lanes + used - 1) / used);
            }
        }
    }
    static const unsigned four_over_three[] = {0, 0, 1, 2};
    assert_int_equal(stage_plan(4, 3, thread_of_lane), 3);
    assert_memory_equal(thread_of_lane, four_over_three, sizeof four_over_three);
}

static void threads_know_their_first_stage(void **state)
{
    (void)state;
    static struct rig rig;
    static const unsigned workers[] = {3, 1, 1};
    rig_open(&rig, 8, workers, 3, 3, 0, 0);
    static const unsigned first_stages[] = {0, 0, 2};
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(stage_thread_first_stage(stage_chain_thread(rig.chain, i)),
                         first_stages[i]);
    }
    rig_close(&rig, 0);
}

static void one_producer_one_stage(void **state)
{
    (void)state;
    flow(64, serial, 1, 1, 0, 0, 1, 50000, 1, false);
}

/* Without locked instructions in claims. */
static void a_declared_single_producer(void **state)
{
    (void)state;
    for (unsigned waits = 0; waits < 2; waits++) {
        static struct rig rig;
        struct producer producer;
        rig_open(&rig, 8, serial, 2, 2, 0, 0);
        ring_set_single_producer(&rig.ring);
        rig_start(&rig);
        producers_start(&producer, 1, &rig, 20000, 3, waits == 1);
        assert_int_equal(producers_join(&producer, 1), 20000);
        ring_close(&rig.ring);
        rig_join(&rig);
        rig_close(&rig, 20000);
        producers_free(&producer, 1);
    }
}

static void many_producers_wrap_a_small_ring(void **state)
{
    (void)state;
    flow(4, serial, 1, 1, 0, 0, 4, 5000, 3, false);
}

static void every_stage_handles_every_item_in_order(void **state)
{
    (void)state;
    flow(32, serial, 4, 4, 0, 0, 4, 8000, 7, false);
}

static void a_ring_of_one_slot_passes_all_stages(void **state)
{
    (void)state;
    flow(1, serial, 3, 3, 0, 0, 2, 1000, 1, false);
}

static void fewer_threads_than_stages_share(void **state)
{
    (void)state;
    for (unsigned threads = 1; threads <= 5; threads++) {
        flow(16, serial, 4, threads, 0, 0, 2, 4000, 5, false);
    }
}

static void parallel_stages_divide_the_items(void **state)
{
    (void)state;
    static const unsigned first[] = {3, 1};
    static const unsigned middle[] = {1, 4, 1};
    static const unsigned last[] = {1, 2};
    static const unsigned all[] = {2, 3, 4};
    for (unsigned threads = 1; threads <= 9; threads += 2) {
        flow(16, first, 2, threads, 0, 0, 2, 2000, 5, false);
        flow(16, middle, 3, threads, 0, 0, 2, 2000, 5, false);
        flow(2, last, 2, threads, 0, 0, 2, 1000, 2, false);
        flow(16, all, 3, threads, 3, 0, 2, 2000, 5, false);
    }
}

static void spinning_changes_nothing(void **state)
{
    (void)state;
    flow(16, serial, 3, 3, 0, 100, 2, 5000, 3, false);
}

/* Two threads that begin each round together: one falls asleep, the other makes work and wakes. */
struct meeting {
    struct wait wait;
    alignas(CACHE_LINE_BYTES) _Atomic uint64_t work;
    alignas(CACHE_LINE_BYTES) _Atomic uint64_t round_sleeper;
    alignas(CACHE_LINE_BYTES) _Atomic uint64_t round_waker;
};

enum { MEETINGS = 300000 };

static void meet(_Atomic uint64_t *mine, const _Atomic uint64_t *other, uint64_t round)
{
    unsigned looks = 0;
    atomic_store(mine, round);
    while (atomic_load(other) < round) {
        if (++looks > 2000) {
            sched_yield();
        }
    }
}

static void *sleeper_main(void *argument)
{
    struct meeting *m = argument;
    for (uint64_t round = 1; round <= MEETINGS; round++) {
        meet(&m->round_sleeper, &m->round_waker, round);
        linger((unsigned)(round % 61));
        while (atomic_load_explicit(&m->work, memory_order_acquire) < round) {
            wait_prepare(&m->wait);
            if (atomic_load_explicit(&m->work, memory_order_acquire) < round) {
                wait_sleep(&m->wait);
            } else {
                wait_cancel(&m->wait);
            }
        }
    }
    return NULL;
}

static void a_waker_meets_a_thread_falling_asleep(void **state)
{
    (void)state;
    static struct meeting m;
    pthread_t sleeper;
    wait_init(&m.wait);
    assert_int_equal(pthread_create(&sleeper, NULL, sleeper_main, &m), 0);
    for (uint64_t round = 1; round <= MEETINGS; round++) {
        meet(&m.round_waker, &m.round_sleeper, round);
        linger((unsigned)(round % 67));
        atomic_store_explicit(&m.work, round, memory_order_release);
        wait_wake(&m.wait);
    }
    assert_int_equal(pthread_join(sleeper, NULL), 0);
    assert_false(wait_is_sleeping(&m.wait));
}

/* Every item finds the threads asleep or just about to be. */
static void no_wake_up_is_lost(void **state)
{
    (void)state;
    static const unsigned middle[] = {1, 2, 1};
    flow(16, serial, 1, 1, 0, 0, 1, 20000, 1, true);
    flow(16, serial, 3, 3, 0, 0, 1, 5000, 2, true);
    flow(16, serial, 2, 2, 0, 0, 4, 3000, 3, true);
    flow(16, middle, 3, 4, 0, 0, 2, 3000, 2, true);
}

/* All is published before the first thread starts, so the batches have one right size. */
static void batches_are_as_large_as_allowed(void **state)
{
    (void)state;
    for (unsigned batch_max = 0; batch_max <= 5; batch_max += 5) {
        static struct rig rig;
        struct item items[16];
        rig_open(&rig, 16, serial, 2, 1, batch_max, 0);
        uint64_t first = 0;
        assert_true(ring_try_claim(&rig.ring, 16, &first));
        for (uint64_t i = 0; i < 16; i++) {
            items[i] = (struct item){.number = i};
            ring_publish(&rig.ring, first + i, &items[i]);
        }
        ring_close(&rig.ring);
        rig_start(&rig);
        rig_join(&rig);
        assert_int_equal(rig.probes[0].batch_largest, batch_max == 0 ? 16 : batch_max);
        assert_int_equal(rig.probes[1].batch_largest, batch_max == 0 ? 16 : batch_max);
        rig_close(&rig, 16);
    }
}

static void batch_maxima_hold_under_load(void **state)
{
    (void)state;
    flow(64, serial, 3, 2, 3, 0, 3, 5000, 8, false);
}

static void closing_wakes_the_sleeping(void **state)
{
    (void)state;
    static const unsigned workers[] = {2, 1, 3};
    for (unsigned threads = 1; threads <= 6; threads++) {
        for (unsigned round = 0; round < 50; round++) {
            static struct rig rig;
            rig_open(&rig, 8, workers, 3, threads, 0, 0);
            rig_start(&rig);
            if (round % 2 == 0) {
                wait_until_all_sleep(&rig);
            }
            ring_close(&rig.ring);
            rig_join(&rig);
            rig_close(&rig, 0);
        }
    }
}

/* Closes while the last thread has done its last item, has seen no end yet and is about to sleep;
 * the spin between the two makes the moment long enough to be met. */
static void closing_meets_threads_about_to_sleep(void **state)
{
    (void)state;
    for (unsigned round = 0; round < 200; round++) {
        static struct rig rig;
        struct item item = {.number = 0};
        unsigned stage_count = round % 2 + 1;
        rig_open(&rig, 8, serial, stage_count, stage_count, 0, 2000);
        rig_start(&rig);
        uint64_t sequence = 0;
        assert_true(ring_try_claim(&rig.ring, 1, &sequence));
        ring_publish(&rig.ring, sequence, &item);
        ring_wake(&rig.ring);
        wait_until_handled(&rig, 1);
        linger(round * 7 % 128);
        ring_close(&rig.ring);
        rig_join(&rig);
        rig_close(&rig, 1);
    }
}

static void closing_drains_what_producers_have_claimed(void **state)
{
    (void)state;
    for (unsigned round = 0; round < 20; round++) {
        static struct rig rig;
        struct producer producers[3];
        rig_open(&rig, 16, serial, 3, 2, 0, 0);
        rig_start(&rig);
        producers_start(producers, 3, &rig, 50000, 5, false);
        wait_until_handled(&rig, 50 * round);
        ring_close(&rig.ring);
        uint64_t published = producers_join(producers, 3);
        rig_join(&rig);
        rig_close(&rig, published);
        producers_free(producers, 3);
    }
}

/* A claim that is open when the ring closes keeps the threads waiting for it. */
static void a_late_publication_is_handled(void **state)
{
    (void)state;
    static struct rig rig;
    struct item items[2] = {{.number = 0}, {.number = 1}};
    rig_open(&rig, 8, serial, 2, 2, 0, 0);
    rig_start(&rig);
    uint64_t first = 0;
    assert_true(ring_try_claim(&rig.ring, 2, &first));
    ring_close(&rig.ring);
    ring_publish(&rig.ring, first + 1, &items[1]);
    ring_wake(&rig.ring);
    wait_until_all_sleep(&rig); /* a thread that had ended would never sleep again */
    ring_publish(&rig.ring, first, &items[0]);
    ring_wake(&rig.ring);
    rig_join(&rig);
    assert_int_equal(items[0].passed, 2);
    assert_int_equal(items[1].passed, 2);
    rig_close(&rig, 2);
}

/* A stage that holds its first batch until it may go on. */
struct held_stage {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    bool entered;
    bool may_go;
    uint64_t handled;
};

static void held_run(void *context, struct ring_batch *batch)
{
    struct held_stage *held = context;
    pthread_mutex_lock(&held->mutex);
    held->entered = true;
    pthread_cond_broadcast(&held->changed);
    while (!held->may_go) {
        pthread_cond_wait(&held->changed, &held->mutex);
    }
    held->handled += batch->count;
    pthread_mutex_unlock(&held->mutex);
}

static void held_wait_until_entered(struct held_stage *held)
{
    pthread_mutex_lock(&held->mutex);
    while (!held->entered) {
        pthread_cond_wait(&held->changed, &held->mutex);
    }
    pthread_mutex_unlock(&held->mutex);
}

static void held_let_go(struct held_stage *held)
{
    pthread_mutex_lock(&held->mutex);
    held->may_go = true;
    pthread_cond_broadcast(&held->changed);
    pthread_mutex_unlock(&held->mutex);
}

static void a_held_last_stage_fills_the_ring_and_closing_drains_it(void **state)
{
    (void)state;
    struct stage_probe probe = {.workers = 1};
    struct held_stage held = {.mutex = PTHREAD_MUTEX_INITIALIZER,
                              .changed = PTHREAD_COND_INITIALIZER};
    const struct stage_config configs[] = {
        {.run = probe_run, .context = &probe, .workers = 1},
        {.run = held_run, .context = &held, .workers = 1},
    };
    static struct rig rig;
    struct item items[8];
    assert_int_equal(ring_init(&rig.ring, 8), OK);
    assert_int_equal(stage_chain_open(&rig.ring, configs, 2, 2, 0, &rig.chain), OK);
    rig_start(&rig);
    uint64_t sequence = 0;
    for (uint64_t i = 0; i < 8; i++) {
        items[i] = (struct item){.number = i};
        assert_true(ring_try_claim(&rig.ring, 1, &sequence));
        ring_publish(&rig.ring, sequence, &items[i]);
        ring_wake(&rig.ring);
    }
    held_wait_until_entered(&held);
    while (stage_chain_progress(rig.chain, 0) < 8) {
        sched_yield();
    }
    /* The first stage is done with all, the last with none: nothing may be overwritten. */
    assert_int_equal(stage_chain_progress(rig.chain, 1), 0);
    assert_int_equal(ring_occupancy(&rig.ring), 8);
    assert_false(ring_try_claim(&rig.ring, 1, &sequence));
    ring_close(&rig.ring);
    held_let_go(&held);
    rig_join(&rig);
    assert_int_equal(held.handled, 8);
    rig_close(&rig, 8);
}

static uint64_t thread_cpu_ns(pthread_t thread)
{
    clockid_t clock;
    struct timespec time;
    assert_int_equal(pthread_getcpuclockid(thread, &clock), 0);
    assert_int_equal(clock_gettime(clock, &time), 0);
    return (uint64_t)time.tv_sec * 1000000000U + (uint64_t)time.tv_nsec;
}

/* While one rig passes items for a while, the threads of another use no CPU. */
static void an_idle_chain_uses_no_cpu(void **state)
{
    (void)state;
    static struct rig idle;
    static struct rig busy;
    struct item item;
    rig_open(&idle, 8, serial, 2, 2, 0, 0);
    rig_open(&busy, 8, serial, 1, 1, 0, 0);
    rig_start(&idle);
    rig_start(&busy);
    wait_until_all_sleep(&idle);
    uint64_t before[2] = {thread_cpu_ns(idle.threads[0]), thread_cpu_ns(idle.threads[1])};
    uint64_t sequence = 0;
    while (thread_cpu_ns(busy.threads[0]) < 50000000U) {
        item = (struct item){.number = sequence};
        assert_true(ring_try_claim(&busy.ring, 1, &sequence));
        item.number = sequence;
        ring_publish(&busy.ring, sequence, &item);
        ring_wake(&busy.ring);
        wait_until_handled(&busy, sequence + 1);
    }
    for (unsigned i = 0; i < 2; i++) {
        assert_in_range(thread_cpu_ns(idle.threads[i]) - before[i], 0, 1000000);
    }
    ring_close(&idle.ring);
    ring_close(&busy.ring);
    rig_join(&idle);
    rig_join(&busy);
    rig_close(&idle, 0);
    rig_close(&busy, sequence + 1);
}

#define WATCHED(test) cmocka_unit_test_setup_teardown(test, watchdog_start, watchdog_stop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WATCHED(the_plan_gives_neighbours_to_each_thread),
        WATCHED(threads_know_their_first_stage),
        WATCHED(one_producer_one_stage),
        WATCHED(a_declared_single_producer),
        WATCHED(many_producers_wrap_a_small_ring),
        WATCHED(every_stage_handles_every_item_in_order),
        WATCHED(a_ring_of_one_slot_passes_all_stages),
        WATCHED(fewer_threads_than_stages_share),
        WATCHED(parallel_stages_divide_the_items),
        WATCHED(spinning_changes_nothing),
        WATCHED(a_waker_meets_a_thread_falling_asleep),
        WATCHED(no_wake_up_is_lost),
        WATCHED(batches_are_as_large_as_allowed),
        WATCHED(batch_maxima_hold_under_load),
        WATCHED(closing_wakes_the_sleeping),
        WATCHED(closing_meets_threads_about_to_sleep),
        WATCHED(closing_drains_what_producers_have_claimed),
        WATCHED(a_late_publication_is_handled),
        WATCHED(a_held_last_stage_fills_the_ring_and_closing_drains_it),
        WATCHED(an_idle_chain_uses_no_cpu),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
