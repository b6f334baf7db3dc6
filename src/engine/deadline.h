/* SPDX-License-Identifier: Apache-2.0 */
/*
 * deadline: when a network thread must look at a connection again although nothing arrived.
 *
 * A hashed timing wheel (Varghese and Lauck, 1987, scheme 6) of DEADLINE_SLOTS ticks of
 * DEADLINE_TICK_MS. Moving a deadline later, which each request of a kept-alive connection does, is
 * one store: the entry stays filed where it is and is filed anew when that tick comes.
 *
 * Runs on: one thread, the one that owns the wheel. Never blocks, never allocates.
 */
#ifndef ENGINE_DEADLINE_H
#define ENGINE_DEADLINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    DEADLINE_TICK_MS = 32, /* how late a deadline may fire */
    DEADLINE_SLOTS = 2048, /* 65 s ahead; what is farther is filed again when it comes near */
};

#define DEADLINE_NONE UINT64_MAX

/* Embedded in what has the deadline; zeroed before first use. */
struct deadline {
    struct deadline *next;
    struct deadline *previous;
    uint64_t at_ms;      /* the real one, DEADLINE_NONE: none */
    uint64_t filed_tick; /* where it is filed; 0: not filed */
};

struct deadline_wheel {
    uint64_t tick;                          /* everything filed up to here has been looked at */
    uint64_t occupied[DEADLINE_SLOTS / 64]; /* a bit for each slot that is not empty */
    struct deadline slots[DEADLINE_SLOTS];  /* heads of circular lists */
};

void deadline_wheel_init(struct deadline_wheel *wheel, uint64_t now_ms);

void deadline_init(struct deadline *deadline);

/* Files `deadline`, or moves it earlier. */
void deadline_file(struct deadline_wheel *wheel, struct deadline *deadline);

/* From now on `deadline` is at `at_ms` (DEADLINE_NONE: it does not fire). */
static inline void deadline_set(struct deadline_wheel *wheel, struct deadline *deadline,
                                uint64_t at_ms)
{
    deadline->at_ms = at_ms;
    if (at_ms != DEADLINE_NONE &&
        (deadline->filed_tick == 0 || at_ms / DEADLINE_TICK_MS + 1 < deadline->filed_tick)) {
        deadline_file(wheel, deadline);
    }
}

/* Takes it out of the wheel; must be done before its memory goes. */
void deadline_remove(struct deadline_wheel *wheel, struct deadline *deadline);

/* The next deadline that is due at `now_ms`, taken out of the wheel; NULL when no more is due. */
struct deadline *deadline_next_due(struct deadline_wheel *wheel, uint64_t now_ms);

/* Milliseconds until something may be due; -1: nothing is filed. May be early, never late by more
 * than a tick. */
int deadline_wait_ms(const struct deadline_wheel *wheel, uint64_t now_ms);

#endif
