/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The tree's questions. Each goes down one path, or two for a range, and stops at the first child
 * whose region has nothing newer than the version asked for: what was not written lately is
 * answered from the upper levels, which stay in the cache. Children wholly in a range are answered
 * for by their newest version, so its width does not matter.
 */
#include "base/check.h"
#include "commit/conflict_tree.h"

static const struct conflict_node *node_at(const struct conflict_tree *tree, uint32_t page)
{
    return conflict_node_at(&tree->pages, page);
}

static const struct conflict_node *child_at(const struct conflict_tree *tree,
                                            const struct conflict_node *node, unsigned index)
{
    const struct conflict_node *child = node_at(tree, conflict_node_child(node, index));
    conflict_node_prefetch(child, offsetof(struct conflict_node, slots));
    return child;
}

bool conflict_tree_point_is_newer(const struct conflict_tree *tree, struct bytes key,
                                  uint64_t version)
{
    const struct conflict_node *node = node_at(tree, tree->root);
    for (;;) {
        struct conflict_place place = conflict_node_search(&tree->pages, node, key);
        if (node->level == 0) {
            uint64_t written = place.index < 0 ? node->gap_version
                               : place.found   ? node->slots[place.index].version
                                               : node->slots[place.index].link;
            return written > version;
        }
        unsigned index = (unsigned)place.index;
        if (node->slots[index].version <= version) {
            return false;
        }
        node = child_at(tree, node, index);
    }
}

/* Is any of the entries from `begin` to before `end` newer? */
static bool any_newer(const struct conflict_node *node, int begin, int end, uint64_t version)
{
    uint64_t newest = 0;
    for (int i = begin; i < end; i++) {
        newest = node->slots[i].version > newest ? node->slots[i].version : newest;
    }
    return newest > version;
}

/* The index of the last entry before `key`. */
static int before(const struct conflict_tree *tree, const struct conflict_node *node,
                  struct bytes key)
{
    struct conflict_place place = conflict_node_search(&tree->pages, node, key);
    return place.found ? place.index - 1 : place.index;
}

/* From `begin` to before the leaf's entry at `end_index`. */
static bool leaf_is_newer(const struct conflict_tree *tree, const struct conflict_node *leaf,
                          struct bytes begin, int end_index, uint64_t version)
{
    struct conflict_place place = conflict_node_search(&tree->pages, leaf, begin);
    int index = place.index;
    if (!place.found) {
        uint64_t gap = index < 0 ? leaf->gap_version : leaf->slots[index].link;
        if (gap > version) {
            return true;
        }
        index++;
    }
    return any_newer(leaf, index, end_index, version);
}

/* From `begin` to the end of the node's region. */
static bool from_is_newer(const struct conflict_tree *tree, const struct conflict_node *node,
                          struct bytes begin, uint64_t version)
{
    while (node->level > 0) {
        int index = conflict_node_search(&tree->pages, node, begin).index;
        if (any_newer(node, index + 1, node->count, version)) {
            return true;
        }
        if (node->slots[index].version <= version) {
            return false;
        }
        node = child_at(tree, node, (unsigned)index);
    }
    return leaf_is_newer(tree, node, begin, node->count, version);
}

/* From where the node's region begins, which is before `end`, to before `end`. */
static bool to_is_newer(const struct conflict_tree *tree, const struct conflict_node *node,
                        struct bytes end, uint64_t version)
{
    while (node->level > 0) {
        int index = before(tree, node, end);
        if (any_newer(node, 0, index, version)) {
            return true;
        }
        if (node->slots[index].version <= version) {
            return false;
        }
        node = child_at(tree, node, (unsigned)index);
    }
    return node->gap_version > version || any_newer(node, 0, before(tree, node, end) + 1, version);
}

bool conflict_tree_range_is_newer(const struct conflict_tree *tree, struct bytes begin,
                                  struct bytes end, uint64_t version)
{
    const struct conflict_node *node = node_at(tree, tree->root);
    while (node->level > 0) {
        int left = conflict_node_search(&tree->pages, node, begin).index;
        int right = before(tree, node, end);
        bool left_is_newer = node->slots[left].version > version;
        if (left != right) {
            bool right_is_newer = node->slots[right].version > version;
            return any_newer(node, left + 1, right, version) ||
                   (left_is_newer &&
                    from_is_newer(tree, child_at(tree, node, (unsigned)left), begin, version)) ||
                   (right_is_newer &&
                    to_is_newer(tree, child_at(tree, node, (unsigned)right), end, version));
        }
        if (!left_is_newer) {
            return false;
        }
        node = child_at(tree, node, (unsigned)left);
    }
    return leaf_is_newer(tree, node, begin, before(tree, node, end) + 1, version);
}

/* What a walk over all nodes, in order, has seen. */
struct walk {
    const struct conflict_tree *tree;
    uint64_t floor;
    uint64_t entries;
    uint64_t ages_total;
    uint32_t pages;
    uint32_t leaves;
    uint32_t previous_leaf;
    uint64_t previous_link;
    char key_memory[CONFLICT_TREE_KEY_BYTES_MAX];
};

static void check_pages(struct walk *walk, const struct conflict_node *node)
{
    walk->pages++;
    for (unsigned i = 0; i < node->count; i++) {
        walk->pages += conflict_node_chain_pages(conflict_node_key_size(node, i));
    }
}

static uint64_t or_floor(const struct walk *walk, uint64_t version)
{
    return version > walk->floor ? version : walk->floor;
}

static void check_leaf(struct walk *walk, uint32_t page, const struct conflict_node *leaf,
                       struct bytes begin)
{
    CHECK(leaf->count > 0 || page == walk->tree->root);
    CHECK(leaf->previous == walk->previous_leaf);
    if (walk->previous_leaf == CONFLICT_PAGE_NONE) {
        CHECK(leaf->gap_version <= walk->floor);
    } else {
        CHECK(node_at(walk->tree, walk->previous_leaf)->next == page);
        int order = conflict_node_compare(&walk->tree->pages, leaf, 0, begin);
        CHECK(order >= 0);
        CHECK(order == 0 ||
              or_floor(walk, leaf->gap_version) == or_floor(walk, walk->previous_link));
        CHECK(order != 0 || leaf->gap_version <= or_floor(walk, leaf->slots[0].version));
    }
    for (unsigned i = 0; i < leaf->count; i++) {
        CHECK(leaf->slots[i].version >= leaf->slots[i].link);
        CHECK(leaf->slots[i].version <= walk->tree->ages.newest);
        walk->previous_link = leaf->slots[i].link;
    }
    walk->previous_leaf = page;
    walk->leaves++;
    walk->entries += leaf->count;
}

/* The region of the node at `page` begins with the key in the walk's memory of `begin_size`. */
static void check_node(struct walk *walk, uint32_t page, unsigned level, size_t begin_size)
{
    const struct conflict_pages *pages = &walk->tree->pages;
    const struct conflict_node *node = node_at(walk->tree, page);
    CHECK(node->level == level);
    conflict_node_check(pages, node);
    check_pages(walk, node);
    if (level == 0) {
        check_leaf(walk, page, node, bytes_of(walk->key_memory, begin_size));
        return;
    }
    CHECK(node->count > 0);
    CHECK(node->count == 1 ||
          conflict_node_compare(pages, node, 1, bytes_of(walk->key_memory, begin_size)) > 0);
    for (unsigned i = 0; i < node->count; i++) {
        uint32_t child = conflict_node_child(node, i);
        CHECK(or_floor(walk, node->slots[i].version) ==
              or_floor(walk, conflict_node_newest(node_at(walk->tree, child))));
        if (i > 0) {
            begin_size = conflict_node_key(pages, node, i, walk->key_memory).size;
        }
        check_node(walk, child, level - 1, begin_size);
    }
}

static void check_condemned(struct walk *walk, uint32_t page)
{
    const struct conflict_node *node = node_at(walk->tree, page);
    check_pages(walk, node);
    if (node->level == 0) {
        walk->leaves++;
        walk->entries += node->count;
        return;
    }
    for (unsigned i = 0; i < node->count; i++) {
        check_condemned(walk, conflict_node_child(node, i));
    }
}

void conflict_tree_check(const struct conflict_tree *tree, uint64_t floor)
{
    static struct walk walk; /* large; tests only, on the one thread */
    walk = (struct walk){.tree = tree, .floor = floor};
    check_node(&walk, tree->root, node_at(tree, tree->root)->level, 0);
    CHECK(node_at(tree, walk.previous_leaf)->next == CONFLICT_PAGE_NONE);
    for (uint32_t page = tree->condemned; page != CONFLICT_PAGE_NONE;
         page = node_at(tree, page)->next) {
        check_condemned(&walk, page);
    }
    CHECK(walk.entries == tree->entries);
    CHECK(walk.leaves == tree->leaves);
    CHECK(walk.pages == tree->pages.taken);
    uint64_t sum = 0;
    for (unsigned i = 0; i < tree->ages.count; i++) {
        sum += tree->ages.weight[i];
    }
    CHECK(sum == tree->ages.total);
}
