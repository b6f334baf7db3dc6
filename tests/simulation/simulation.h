/* SPDX-License-Identifier: Apache-2.0 */
/*
 * simulation: the commit path on a simulated disk and clock, driven by a seed and judged by a
 * model.
 *
 * A run draws a profile (how much contention, how many repeats, crashes, failures, how little
 * space) and then takes steps: a request is sent, one of the four stages handles some of what waits
 * for it, the next segment is prepared, the clock moves, something breaks. The same seed makes the
 * same run to the byte.
 *
 * Runs on: one thread of a process.
 */
#ifndef SIMULATION_SIMULATION_H
#define SIMULATION_SIMULATION_H

#include <stdbool.h>
#include <stdint.h>

enum { SIMULATION_PROBLEM_BYTES = 600 };

struct simulation_result {
    bool good;
    char problem[SIMULATION_PROBLEM_BYTES]; /* what was wrong, and at which step */
    uint64_t trace;                         /* a hash of all calls of the disk and all answers */
    uint64_t answers;
    uint64_t events; /* told to subscribers */
    uint64_t restarts;
};

/* Prints to standard error what it does, when `verbose`. */
void simulation_run(uint64_t seed, unsigned steps, bool verbose, struct simulation_result *out);

#endif
