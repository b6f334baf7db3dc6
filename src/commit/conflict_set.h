/* SPDX-License-Identifier: Apache-2.0 */
/*
 * conflict_set: an exact map from every key (byte strings in unsigned order) to the version of the
 * last write there, forgetting the oldest. docs/conflict-check.md says what is stored and how.
 *
 *   if (read_version < conflict_set_floor(set))            too old to tell
 *   conflict_set_point_is_newer(set, key, read_version)    written after read_version?
 *   conflict_set_write_point(set, key, version)            remember this write
 *   conflict_set_trim(set, floor, steps)                   forget what nobody may ask for
 *
 * Floor:    what was written at or before it is forgotten. It rises by conflict_set_trim(), and by
 *           itself in any write when memory runs short, at worst to that write's version; so
 * compare it anew before each transaction. Runs on:  one thread, whose all functions are. Owns:
 * copies of the keys, in one mapping of `bytes_max` bytes that is touched as it fills. Blocks:
 * never. A write costs O(log n), and amortized O(1) for each entry that it drops. Errors:
 * conflict_set_open() only.
 */
#ifndef COMMIT_CONFLICT_SET_H
#define COMMIT_CONFLICT_SET_H

#include "base/bytes.h"
#include "base/err.h"

enum {
    /* A key of 64 KiB, and the zero byte behind it that makes the end of a range just around it. */
    CONFLICT_KEY_BYTES_MAX = 65537,
};

/* The least `bytes_max`. */
#define CONFLICT_SET_BYTES_MIN (UINT64_C(4) << 20)

struct conflict_set; /* commit/conflict_set.c */

struct conflict_set_config {
    uint64_t bytes_max;     /* of all memory together, at least CONFLICT_SET_BYTES_MIN */
    uint64_t first_version; /* the first floor; writes come after it */
};

struct conflict_set_stats {
    uint64_t entries; /* that take memory: written keys and edges of ranges, forgotten ones too
                         until their memory has followed the floor */
    uint64_t bytes;   /* of memory, everything counted */
    uint64_t floor;
    uint64_t floor_raises; /* how often memory ran short and raised the floor */
};

/* ERR_MEMORY: no address space, nothing is left behind. */
WARN_UNUSED enum err conflict_set_open(const struct conflict_set_config *config,
                                       struct conflict_set **out_set);

/* Frees everything and nulls *set; NULL is fine. */
void conflict_set_close(struct conflict_set **set);

/* Questions about versions below it have no answer. */
uint64_t conflict_set_floor(const struct conflict_set *set);

/* Was `key` written after `version`? Below the floor: always true, for nobody knows. */
bool conflict_set_point_is_newer(const struct conflict_set *set, struct bytes key,
                                 uint64_t version);

/* Was any key in begin <= key < end written after `version`? A range without keys (end <= begin):
 * never, above the floor. Below the floor: always true. */
bool conflict_set_range_is_newer(const struct conflict_set *set, struct bytes begin,
                                 struct bytes end, uint64_t version);

/* Remembers that `key` was written at `version`, which is never less than that of an earlier write.
 * The key (at most CONFLICT_KEY_BYTES_MAX bytes) is copied. */
void conflict_set_write_point(struct conflict_set *set, struct bytes key, uint64_t version);

/* The same of every key in begin <= key < end, also of those that never existed; a range without
 * keys changes nothing. */
void conflict_set_write_range(struct conflict_set *set, struct bytes begin, struct bytes end,
                              uint64_t version);

/* Raises the floor to `new_floor` at once (a lower one changes nothing), and frees memory of what
 * is forgotten in at most `steps` steps, each about a microsecond. True: there is more to free,
 * call again. Writes free some too, so that memory does not grow if nobody does. */
bool conflict_set_trim(struct conflict_set *set, uint64_t new_floor, uint32_t steps);

struct conflict_set_stats conflict_set_stats(const struct conflict_set *set);

/* For tests: looks at every byte and CHECKs that all is as docs/conflict-check.md says. O(n). */
void conflict_set_check_invariants(const struct conflict_set *set);

#endif
