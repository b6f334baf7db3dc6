/* SPDX-License-Identifier: Apache-2.0 */
/*
 * simulate [--seed SEED] [--count COUNT] [--steps STEPS] [--verbose]
 *
 * Runs COUNT seeds from SEED on (default: 2000 fresh ones of 1500 steps). The first run that goes
 * wrong ends it, with the command that repeats it. At the end it tells which rare states were never
 * reached; with COUNT of 1000 or more that is an error.
 */
#include "simulation/marks.h"
#include "simulation/simulation.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { COUNT_DEFAULT = 2000, STEPS_DEFAULT = 1500, COUNT_FOR_MARKS = 1000, SHOW_EVERY = 20 };

struct options {
    uint64_t seed;
    uint64_t count;
    unsigned steps;
    bool verbose;
};

static struct options options;

/* What is said when a CHECK of the program under test ends it; written before each run. */
static char last_words[200];
static size_t last_words_size;

static void prepare_last_words(uint64_t seed)
{
    int size = snprintf(last_words, sizeof last_words,
                        "seed %" PRIu64 ": the program died; to repeat it: "
                        "build/tests/simulation/simulate --seed %" PRIu64
                        " --count 1 --steps %u --verbose\n",
                        seed, seed, options.steps);
    last_words_size = (size_t)size;
}

static void on_abort(int number)
{
    (void)!write(STDERR_FILENO, last_words, last_words_size);
    _exit(128 + number);
}

static void print_problem(uint64_t seed, const struct simulation_result *result)
{
    (void)fprintf(stderr,
                  "\nseed %" PRIu64 ", %s\nto repeat it: build/tests/simulation/simulate --seed "
                  "%" PRIu64 " --count 1 --steps %u --verbose\n",
                  seed, result->problem, seed, options.steps);
}

static bool read_options(int argc, char **argv)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    options = (struct options){
        .seed = (uint64_t)now.tv_sec * 1000, .count = COUNT_DEFAULT, .steps = STEPS_DEFAULT};
    for (int i = 1; i < argc; i++) {
        char *end = NULL;
        if (strcmp(argv[i], "--verbose") == 0) {
            options.verbose = true;
            continue;
        }
        uint64_t number = i + 1 < argc ? strtoull(argv[i + 1], &end, 10) : 0;
        if (end == NULL || end == argv[i + 1] || *end != '\0') {
            return false;
        }
        if (strcmp(argv[i], "--seed") == 0) {
            options.seed = number;
        } else if (strcmp(argv[i], "--count") == 0) {
            options.count = number;
        } else if (strcmp(argv[i], "--steps") == 0) {
            options.steps = (unsigned)number;
        } else {
            return false;
        }
        i++;
    }
    return options.count > 0 && options.steps > 0;
}

/* Returns how many rare states were never reached. */
static unsigned print_marks(void)
{
    unsigned missing = 0;
    for (unsigned i = 0; i < MARK_COUNT; i++) {
        if (mark_counts[i] == 0) {
            missing++;
            (void)printf("never reached: %s\n", mark_names[i]);
        }
    }
    return missing;
}

int main(int argc, char **argv)
{
    if (!read_options(argc, argv)) {
        (void)fprintf(stderr, "usage: simulate [--seed SEED] [--count COUNT] [--steps STEPS] "
                              "[--verbose]\n");
        return 2;
    }
    (void)signal(SIGABRT, on_abort);
    uint64_t answers = 0;
    uint64_t events = 0;
    uint64_t restarts = 0;
    bool on_terminal = isatty(STDOUT_FILENO) != 0;
    for (uint64_t i = 0; i < options.count; i++) {
        struct simulation_result result;
        prepare_last_words(options.seed + i);
        simulation_run(options.seed + i, options.steps, options.verbose, &result);
        answers += result.answers;
        events += result.events;
        restarts += result.restarts;
        if (!result.good) {
            print_problem(options.seed + i, &result);
            return 1;
        }
        if (on_terminal && i % SHOW_EVERY == 0) {
            (void)printf("\r%" PRIu64 " of %" PRIu64 " seeds, %" PRIu64 " answers", i + 1,
                         options.count, answers);
            (void)fflush(stdout);
        }
    }
    (void)printf("%ssimulated %" PRIu64 " seeds from %" PRIu64 ": %" PRIu64 " answers, %" PRIu64
                 " commits, %" PRIu64 " events of feeds, %" PRIu64 " restarts, %" PRIu64
                 " repairs\n",
                 on_terminal ? "\r" : "", options.count, options.seed, answers,
                 mark_counts[MARK_committed], events, restarts, mark_counts[MARK_repaired]);
    unsigned missing = print_marks();
    return missing > 0 && options.count >= COUNT_FOR_MARKS ? 1 : 0;
}
