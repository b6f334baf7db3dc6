/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The floor and the bound on memory, around the tree.
 *
 * Memory follows the floor by a sweep: a cursor goes over the leaves in key order, round and round,
 * and each round that begins after the floor rose drops all that it does not need. conflict_set_
 * trim() moves it, and so does each page that a write takes, by SWEEP_PACE leaves: so a round ends
 * before a thirty-second part of the memory has been taken anew.
 *
 * That is why the floor rises by itself while an eighth of the memory is still free: by twice what
 * must go, as conflict_ages tells, and a little more. If memory runs out all the same (a round has
 * freed few whole pages), everything goes at once: the floor becomes the version of the write at
 * hand.
 */
#include "commit/conflict_set.h"

#include "base/check.h"
#include "commit/conflict_tree.h"

#include <stdlib.h>

static_assert((int)CONFLICT_KEY_BYTES_MAX == (int)CONFLICT_TREE_KEY_BYTES_MAX, "one limit");

enum {
    SWEEP_PACE = 32,        /* leaves for each page taken */
    RAISE_THOUSANDTHS = 30, /* that a raise lets go beyond what is over the mark */
    CONDEMNED_PACE = 8      /* nodes taken apart in a write when memory is short */
};

struct conflict_set {
    uint64_t floor;
    uint64_t version;     /* of the last write */
    uint64_t sweeps_left; /* leaves until the floor's memory is free */
    uint64_t floor_raises;
    struct conflict_tree tree;
};

enum err conflict_set_open(const struct conflict_set_config *config, struct conflict_set **out_set)
{
    CHECK(config->bytes_max >= CONFLICT_SET_BYTES_MIN);
    struct conflict_set *set = calloc(1, sizeof *set);
    if (set == NULL) {
        return ERR_MEMORY;
    }
    uint64_t pages = (config->bytes_max - sizeof *set) / CONFLICT_PAGE_BYTES;
    if (pages > UINT32_MAX) {
        pages = UINT32_MAX;
    }
    enum err err = conflict_tree_init(&set->tree, (uint32_t)pages);
    if (err != OK) {
        free(set);
        return err;
    }
    set->floor = config->first_version;
    set->version = config->first_version;
    *out_set = set;
    return OK;
}

void conflict_set_close(struct conflict_set **set)
{
    if (*set != NULL) {
        conflict_tree_deinit(&(*set)->tree);
        free(*set);
        *set = NULL;
    }
}

uint64_t conflict_set_floor(const struct conflict_set *set)
{
    return set->floor;
}

static int compare(struct bytes a, struct bytes b)
{
    size_t both = a.size < b.size ? a.size : b.size;
    int order = both == 0 ? 0 : memcmp(a.data, b.data, both);
    return order != 0 ? order : (a.size > b.size) - (a.size < b.size);
}

/* `end` is the next key behind `begin`: the range is one key. */
static bool is_next(struct bytes begin, struct bytes end)
{
    return end.size == begin.size + 1 && end.data[begin.size] == 0 && bytes_starts_with(end, begin);
}

bool conflict_set_point_is_newer(const struct conflict_set *set, struct bytes key, uint64_t version)
{
    return version < set->floor || conflict_tree_point_is_newer(&set->tree, key, version);
}

bool conflict_set_range_is_newer(const struct conflict_set *set, struct bytes begin,
                                 struct bytes end, uint64_t version)
{
    if (version < set->floor) {
        return true;
    }
    if (compare(begin, end) >= 0) {
        return false;
    }
    if (is_next(begin, end)) {
        return conflict_tree_point_is_newer(&set->tree, begin, version);
    }
    return conflict_tree_range_is_newer(&set->tree, begin, end, version);
}

static void raise_floor(struct conflict_set *set, uint64_t floor)
{
    if (floor > set->floor) {
        set->floor = floor;
        set->sweeps_left = set->tree.leaves;
    }
}

static void sweep(struct conflict_set *set, uint64_t leaves)
{
    for (; leaves > 0 && set->sweeps_left > 0; leaves--) {
        (void)conflict_tree_sweep(&set->tree, set->floor);
        set->sweeps_left--;
    }
}

static void forget_all(struct conflict_set *set)
{
    set->floor = set->version;
    set->floor_raises++;
    set->sweeps_left = 0;
    conflict_tree_reset(&set->tree);
}

/* Makes sure that `needed` pages are left; may raise the floor. */
static void make_room(struct conflict_set *set, uint32_t needed)
{
    struct conflict_tree *tree = &set->tree;
    uint32_t all = tree->pages.count - 1;
    uint32_t usable = needed < all ? all - needed : 0;
    uint32_t mark = usable - usable / 8;
    if (tree->pages.taken <= mark) {
        return;
    }
    bool more = true;
    for (unsigned i = 0; more && i < CONDEMNED_PACE; i++) {
        more = conflict_tree_free_condemned(tree);
    }
    if (tree->pages.taken <= usable) {
        if (!more && set->sweeps_left == 0 && tree->pages.taken > mark) {
            uint64_t excess = tree->pages.taken - mark;
            uint64_t thousandths = RAISE_THOUSANDTHS + 2000 * excess / tree->pages.taken;
            set->floor_raises++;
            raise_floor(set, conflict_ages_floor(&tree->ages, set->floor, thousandths));
            set->sweeps_left = tree->leaves;
        }
        return;
    }
    while (conflict_tree_free_condemned(tree)) {
    }
    if (tree->pages.taken > usable) {
        forget_all(set);
    }
}

/* Opens a write; false: there is nothing to remember. */
static bool begin_write(struct conflict_set *set, size_t key_size, uint64_t version)
{
    CHECK(key_size <= CONFLICT_KEY_BYTES_MAX);
    CHECK(version >= set->version);
    set->version = version;
    if (version > set->floor) {
        make_room(set, conflict_tree_pages_needed(&set->tree, key_size));
    }
    return version > set->floor;
}

/* What a write took is paid by a part of the sweep. */
static void end_write(struct conflict_set *set, uint32_t pages_before, uint32_t leaves_before)
{
    const struct conflict_tree *tree = &set->tree;
    if (set->sweeps_left > 0 && tree->pages.taken > pages_before) {
        set->sweeps_left += tree->leaves > leaves_before ? tree->leaves - leaves_before : 0;
        sweep(set, (uint64_t)SWEEP_PACE * (tree->pages.taken - pages_before));
    }
}

void conflict_set_write_point(struct conflict_set *set, struct bytes key, uint64_t version)
{
    if (begin_write(set, key.size, version)) {
        uint32_t pages = set->tree.pages.taken;
        uint32_t leaves = set->tree.leaves;
        conflict_tree_write_point(&set->tree, key, version);
        end_write(set, pages, leaves);
    }
}

void conflict_set_write_range(struct conflict_set *set, struct bytes begin, struct bytes end,
                              uint64_t version)
{
    if (is_next(begin, end)) {
        conflict_set_write_point(set, begin, version);
        return;
    }
    size_t size = begin.size > end.size ? begin.size : end.size;
    if (begin_write(set, size, version) && compare(begin, end) < 0) {
        uint32_t pages = set->tree.pages.taken;
        uint32_t leaves = set->tree.leaves;
        conflict_tree_write_range(&set->tree, begin, end, version);
        end_write(set, pages, leaves);
    }
}

bool conflict_set_trim(struct conflict_set *set, uint64_t new_floor, uint32_t steps)
{
    raise_floor(set, new_floor);
    while (steps > 0 && set->tree.condemned != CONFLICT_PAGE_NONE) {
        (void)conflict_tree_free_condemned(&set->tree);
        steps--;
    }
    sweep(set, steps);
    return set->sweeps_left > 0 || set->tree.condemned != CONFLICT_PAGE_NONE;
}

struct conflict_set_stats conflict_set_stats(const struct conflict_set *set)
{
    return (struct conflict_set_stats){
        .entries = set->tree.entries,
        .bytes = sizeof *set + (uint64_t)set->tree.pages.taken * CONFLICT_PAGE_BYTES,
        .floor = set->floor,
        .floor_raises = set->floor_raises,
    };
}

void conflict_set_check_invariants(const struct conflict_set *set)
{
    CHECK(set->tree.ages.newest <= set->version);
    CHECK(sizeof *set + (uint64_t)set->tree.pages.count * CONFLICT_PAGE_BYTES >=
          conflict_set_stats(set).bytes);
    conflict_tree_check(&set->tree, set->floor);
}
