/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The wheel. A deadline at time t is filed under tick t / DEADLINE_TICK_MS + 1, the first tick at
 * which it has surely passed, in slot tick % DEADLINE_SLOTS.
 *
 * Invariants
 *  1. An entry's filed_tick is greater than wheel->tick and at most wheel->tick + DEADLINE_SLOTS -
 * 1, so the entries of one slot all belong to the same tick.
 *  2. filed_tick is not later than the tick of at_ms, unless that lies beyond the horizon: so
 * nothing fires late. It may be earlier, when the deadline was moved; then the entry is filed
 * again.
 *  3. A slot's bit is set exactly when its list is not empty.
 */
#include "engine/deadline.h"

#include "base/check.h"

#include <assert.h>
#include <limits.h>
#include <string.h>

static_assert((DEADLINE_SLOTS & (DEADLINE_SLOTS - 1)) == 0, "slots are found by masking");

static uint64_t tick_of(uint64_t at_ms)
{
    return at_ms / DEADLINE_TICK_MS + 1;
}

void deadline_wheel_init(struct deadline_wheel *wheel, uint64_t now_ms)
{
    memset(wheel, 0, sizeof *wheel);
    wheel->tick = now_ms / DEADLINE_TICK_MS;
    for (size_t i = 0; i < DEADLINE_SLOTS; i++) {
        wheel->slots[i].next = &wheel->slots[i];
        wheel->slots[i].previous = &wheel->slots[i];
    }
}

void deadline_init(struct deadline *deadline)
{
    *deadline = (struct deadline){NULL, NULL, DEADLINE_NONE, 0};
}

void deadline_remove(struct deadline_wheel *wheel, struct deadline *deadline)
{
    if (deadline->filed_tick == 0) {
        return;
    }
    CHECK(deadline->next != NULL);
    CHECK(deadline->previous != NULL);
    deadline->next->previous = deadline->previous;
    deadline->previous->next = deadline->next;
    size_t slot = deadline->filed_tick % DEADLINE_SLOTS;
    if (wheel->slots[slot].next == &wheel->slots[slot]) {
        wheel->occupied[slot / 64] &= ~(UINT64_C(1) << (slot % 64));
    }
    deadline->next = NULL;
    deadline->previous = NULL;
    deadline->filed_tick = 0;
}

void deadline_file(struct deadline_wheel *wheel, struct deadline *deadline)
{
    CHECK(deadline->at_ms != DEADLINE_NONE);
    deadline_remove(wheel, deadline);
    uint64_t tick = tick_of(deadline->at_ms);
    if (tick <= wheel->tick) {
        tick = wheel->tick + 1;
    } else if (tick > wheel->tick + DEADLINE_SLOTS - 1) {
        tick = wheel->tick + DEADLINE_SLOTS - 1;
    }
    size_t slot = tick % DEADLINE_SLOTS;
    struct deadline *head = &wheel->slots[slot];
    deadline->next = head;
    deadline->previous = head->previous;
    head->previous->next = deadline;
    head->previous = deadline;
    deadline->filed_tick = tick;
    wheel->occupied[slot / 64] |= UINT64_C(1) << (slot % 64);
}

/* The first tick after wheel->tick whose slot is not empty; 0: none. */
static uint64_t next_occupied_tick(const struct deadline_wheel *wheel)
{
    uint64_t first = wheel->tick + 1;
    for (uint64_t ahead = 0; ahead < DEADLINE_SLOTS;) {
        size_t slot = (first + ahead) % DEADLINE_SLOTS;
        uint64_t word = wheel->occupied[slot / 64] >> (slot % 64);
        if (word != 0) {
            return first + ahead + (uint64_t)__builtin_ctzll(word);
        }
        ahead += 64 - slot % 64;
    }
    return 0;
}

struct deadline *deadline_next_due(struct deadline_wheel *wheel, uint64_t now_ms)
{
    uint64_t now_tick = now_ms / DEADLINE_TICK_MS;
    while (wheel->tick < now_tick) {
        uint64_t tick = next_occupied_tick(wheel);
        if (tick == 0 || tick > now_tick) {
            wheel->tick = now_tick;
            return NULL;
        }
        /* Stands just before the tick while its list is emptied: what is filed again goes behind
         * now_tick or to the horizon, never back into this list (invariant 1). */
        wheel->tick = tick - 1;
        struct deadline *due = wheel->slots[tick % DEADLINE_SLOTS].next;
        deadline_remove(wheel, due);
        if (due->at_ms == DEADLINE_NONE) {
            continue;
        }
        if (tick_of(due->at_ms) <= now_tick) {
            return due;
        }
        deadline_file(wheel, due);
    }
    return NULL;
}

int deadline_wait_ms(const struct deadline_wheel *wheel, uint64_t now_ms)
{
    uint64_t tick = next_occupied_tick(wheel);
    if (tick == 0) {
        return -1;
    }
    uint64_t at_ms = tick * DEADLINE_TICK_MS;
    if (at_ms <= now_ms) {
        return 0;
    }
    return at_ms - now_ms > INT_MAX ? INT_MAX : (int)(at_ms - now_ms);
}
