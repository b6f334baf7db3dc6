/* SPDX-License-Identifier: Apache-2.0 */
/*
 * conflict_tree: the B+-tree of the conflict set: the version of the last write at every key.
 * docs/conflict-check.md explains it; conflict_set adds the floor and the bound on memory.
 *
 * Runs on: the conflict set's thread. Blocks: never.
 */
#ifndef COMMIT_CONFLICT_TREE_H
#define COMMIT_CONFLICT_TREE_H

#include "commit/conflict_ages.h"
#include "commit/conflict_node.h"

enum {
    CONFLICT_TREE_LEVELS = 32, /* more than 2^32 pages can make */
    CONFLICT_TREE_KEY_BYTES_MAX = 65537,
};

struct conflict_tree {
    struct conflict_pages pages;
    uint32_t root;
    uint32_t condemned; /* list of nodes that are dropped and not yet taken apart */
    uint32_t cursor;    /* the leaf to sweep next; CONFLICT_PAGE_NONE: the first one */
    uint32_t leaves;
    uint64_t entries;
    uint32_t chain_pages_max; /* of the keys so far */
    struct conflict_ages ages;
    char key_memory[2][CONFLICT_TREE_KEY_BYTES_MAX];
};

/* ERR_MEMORY: nothing is held. */
WARN_UNUSED enum err conflict_tree_init(struct conflict_tree *tree, uint32_t page_count);
void conflict_tree_deinit(struct conflict_tree *tree);

/* Forgets everything, in one step. */
void conflict_tree_reset(struct conflict_tree *tree);

/* Was anything at `key`, or from `begin` to before `end`, written after `version`? The range is not
 * empty and more than one key. */
bool conflict_tree_point_is_newer(const struct conflict_tree *tree, struct bytes key,
                                  uint64_t version);
bool conflict_tree_range_is_newer(const struct conflict_tree *tree, struct bytes begin,
                                  struct bytes end, uint64_t version);

/* How many pages must be left for a write of keys of at most this size. */
uint32_t conflict_tree_pages_needed(const struct conflict_tree *tree, size_t key_size);

void conflict_tree_write_point(struct conflict_tree *tree, struct bytes key, uint64_t version);
void conflict_tree_write_range(struct conflict_tree *tree, struct bytes begin, struct bytes end,
                               uint64_t version);

/* Drops from the next leaf what versions up to `floor` do not need, and joins it with a neighbour
 * if it has become small. False: that was the last leaf, the next one is the first. */
bool conflict_tree_sweep(struct conflict_tree *tree, uint64_t floor);

/* Takes one condemned node apart, if there is any; false: there are no more. */
bool conflict_tree_free_condemned(struct conflict_tree *tree);

/* For tests. Versions up to `floor` count as one. */
void conflict_tree_check(const struct conflict_tree *tree, uint64_t floor);

#endif
