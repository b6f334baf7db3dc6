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

/* From the node's first entry to before `end`. What the node's region has before that entry is in
 * the gap of an entry before the node, which the left side has looked at. */
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
    return any_newer(node, 0, before(tree, node, end) + 1, version);
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

/* A walk over all nodes of a tree, each before its children, and what it has seen. */
struct walk {
    const struct conflict_tree *tree;
    uint64_t floor;
    uint64_t entries;
    uint32_t pages;
    uint32_t leaves;
    uint32_t previous_leaf;
    uint64_t previous_link;
    unsigned depth;
    struct {
        const struct conflict_node *node;
        unsigned next; /* child to visit */
    } stack[CONFLICT_TREE_LEVELS];
    char key_memory[CONFLICT_TREE_KEY_BYTES_MAX];
};

static const struct conflict_node *walk_enter(struct walk *walk, uint32_t page)
{
    const struct conflict_node *node = node_at(walk->tree, page);
    CHECK(walk->depth < CONFLICT_TREE_LEVELS);
    walk->stack[walk->depth].node = node;
    walk->stack[walk->depth++].next = 0;
    walk->pages++;
    for (unsigned i = 0; i < node->count; i++) {
        walk->pages += conflict_node_chain_pages(conflict_node_key_size(node, i));
    }
    if (node->level == 0) {
        walk->leaves++;
        walk->entries += node->count;
    }
    return node;
}

/* NULL: no more. */
static const struct conflict_node *walk_next(struct walk *walk, uint32_t *out_page)
{
    for (; walk->depth > 0; walk->depth--) {
        const struct conflict_node *node = walk->stack[walk->depth - 1].node;
        unsigned next = walk->stack[walk->depth - 1].next++;
        if (node->level > 0 && next < node->count) {
            *out_page = conflict_node_child(node, next);
            return walk_enter(walk, *out_page);
        }
    }
    return NULL;
}

/* Where the region of the node that the walk is at begins. */
static struct bytes walk_begin(struct walk *walk)
{
    for (unsigned i = walk->depth - 1; i-- > 0;) {
        unsigned index = walk->stack[i].next - 1;
        if (index > 0) {
            return conflict_node_key(&walk->tree->pages, walk->stack[i].node, index,
                                     walk->key_memory);
        }
    }
    return bytes_of(NULL, 0);
}

static uint64_t or_floor(const struct walk *walk, uint64_t version)
{
    return version > walk->floor ? version : walk->floor;
}

static void check_leaf(struct walk *walk, uint32_t page, const struct conflict_node *leaf)
{
    CHECK(leaf->count > 0 || page == walk->tree->root);
    CHECK(leaf->previous == walk->previous_leaf);
    if (walk->previous_leaf == CONFLICT_PAGE_NONE) {
        CHECK(leaf->gap_version <= walk->floor);
    } else {
        CHECK(node_at(walk->tree, walk->previous_leaf)->next == page);
        int order = conflict_node_compare(&walk->tree->pages, leaf, 0, walk_begin(walk));
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
}

static void check_inner(struct walk *walk, const struct conflict_node *node)
{
    CHECK(node->count > 0);
    CHECK(node->count == 1 ||
          conflict_node_compare(&walk->tree->pages, node, 1, walk_begin(walk)) > 0);
    for (unsigned i = 0; i < node->count; i++) {
        const struct conflict_node *child = node_at(walk->tree, conflict_node_child(node, i));
        CHECK(child->level == node->level - 1);
        CHECK(or_floor(walk, node->slots[i].version) ==
              or_floor(walk, conflict_node_newest(child)));
    }
}

static void check_nodes(struct walk *walk)
{
    uint32_t page = walk->tree->root;
    for (const struct conflict_node *node = walk_enter(walk, page); node != NULL;
         node = walk_next(walk, &page)) {
        conflict_node_check(&walk->tree->pages, node);
        if (node->level == 0) {
            check_leaf(walk, page, node);
        } else {
            check_inner(walk, node);
        }
    }
    CHECK(node_at(walk->tree, walk->previous_leaf)->next == CONFLICT_PAGE_NONE);
}

void conflict_tree_check(const struct conflict_tree *tree, uint64_t floor)
{
    static struct walk walk; /* large; tests only, on the one thread */
    walk = (struct walk){.tree = tree, .floor = floor};
    check_nodes(&walk);
    for (uint32_t page = tree->condemned; page != CONFLICT_PAGE_NONE;
         page = node_at(tree, page)->next) {
        (void)walk_enter(&walk, page);
        for (uint32_t at = page; walk_next(&walk, &at) != NULL;) {
        }
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
