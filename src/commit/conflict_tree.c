/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The tree's changes. A child's region is from its key in the parent (the first child: from where
 * the parent's region begins) to the next child's. Invariants, versions up to the floor being one:
 *
 *  1. In a leaf version >= link: whatever wrote a gap wrote the key before it too.
 *  2. gap_version is the link of the last entry before the leaf, if its region has keys before its
 *     first entry; else any version not above that entry's. So a leaf answers for its whole region.
 *  3. version of an inner node is the newest version in the child's region, gaps included.
 *  4. Leaves are in a list, in order. None is empty but the root.
 */
#include "commit/conflict_tree.h"

#include "base/check.h"

enum { CHAIN_PAGE_WEIGHT = CONFLICT_PAGE_BYTES / 64 };

struct path {
    uint8_t level; /* of the root */
    struct {
        uint32_t page;
        int index;
        bool found; /* in the leaf: it has the key; above: the child's region begins with it */
    } at[CONFLICT_TREE_LEVELS];
};

static struct conflict_node *node_at(const struct conflict_tree *tree, uint32_t page)
{
    return conflict_node_at(&tree->pages, page);
}

static struct conflict_node *path_node(const struct conflict_tree *tree, const struct path *path,
                                       unsigned level)
{
    return node_at(tree, path->at[level].page);
}

/* What an entry weighs in conflict_ages: about 64 bytes, and more if its key has a chain. Where no
 * key of the node has one, its own need not be looked at. */
static uint64_t weight_of(size_t key_size)
{
    return 1 + (uint64_t)conflict_node_chain_pages(key_size) * CHAIN_PAGE_WEIGHT;
}

static uint64_t entry_weight(const struct conflict_node *leaf, unsigned index)
{
    return leaf->chain_count == 0 ? 1 : weight_of(conflict_node_key_size(leaf, index));
}

static uint32_t take_node(struct conflict_tree *tree, uint8_t level)
{
    (void)conflict_tree_free_condemned(tree); /* so that they are used before fresh pages */
    uint32_t page = conflict_pages_take(&tree->pages);
    conflict_node_init(node_at(tree, page), level);
    tree->leaves += level == 0;
    return page;
}

static void give_node(struct conflict_tree *tree, uint32_t page)
{
    struct conflict_node *node = node_at(tree, page);
    tree->leaves -= node->level == 0;
    conflict_pages_give(&tree->pages, &page);
}

void conflict_tree_reset(struct conflict_tree *tree)
{
    conflict_pages_reset(&tree->pages);
    conflict_ages_init(&tree->ages);
    tree->condemned = CONFLICT_PAGE_NONE;
    tree->cursor = CONFLICT_PAGE_NONE;
    tree->leaves = 0;
    tree->entries = 0;
    tree->chain_pages_max = 0;
    tree->root = take_node(tree, 0);
}

enum err conflict_tree_init(struct conflict_tree *tree, uint32_t page_count)
{
    enum err err = conflict_pages_init(&tree->pages, page_count);
    if (err != OK) {
        return err;
    }
    conflict_tree_reset(tree);
    return OK;
}

void conflict_tree_deinit(struct conflict_tree *tree)
{
    conflict_pages_deinit(&tree->pages);
}

uint32_t conflict_tree_pages_needed(const struct conflict_tree *tree, size_t key_size)
{
    /* Each of two insertions may store the key, split a node on each level and grow a root; each
     * split stores a separator, which is no longer than the longest key. */
    uint32_t chain = conflict_node_chain_pages(key_size);
    if (chain < tree->chain_pages_max) {
        chain = tree->chain_pages_max;
    }
    uint32_t levels = node_at(tree, tree->root)->level + 3U;
    return 2 * levels * (1 + chain);
}

static void find_path(const struct conflict_tree *tree, struct bytes key, struct path *path)
{
    uint32_t page = tree->root;
    path->level = node_at(tree, page)->level;
    CHECK(path->level < CONFLICT_TREE_LEVELS);
    for (unsigned level = path->level;; level--) {
        const struct conflict_node *node = node_at(tree, page);
        struct conflict_place place = conflict_node_search(&tree->pages, node, key);
        CHECK_SLOW(node->level == level);
        path->at[level].page = page;
        path->at[level].index = place.index;
        path->at[level].found = place.found;
        if (level == 0) {
            return;
        }
        page = conflict_node_child(node, (unsigned)place.index);
        /* Of a leaf most is read or moved, of an inner node one slot. */
        conflict_node_prefetch(node_at(tree, page), level == 1
                                                        ? offsetof(struct conflict_node, heap)
                                                        : offsetof(struct conflict_node, slots));
    }
}

/* The version of the gap that a key which the leaf does not have stands in. */
static uint64_t gap_at(const struct conflict_node *leaf, int index)
{
    return index < 0 ? leaf->gap_version : leaf->slots[index].link;
}

static void raise_path(struct conflict_tree *tree, const struct path *path, uint64_t version)
{
    for (unsigned level = 1; level <= path->level; level++) {
        struct conflict_node *node = path_node(tree, path, level);
        unsigned index = (unsigned)path->at[level].index;
        if (node->slots[index].version != version) { /* else leave the line clean */
            node->slots[index].version = version;
        }
    }
}

/* The shortest key behind all of `node` and not behind the first one of `right`. */
static struct bytes leaf_separator(struct conflict_tree *tree, const struct conflict_node *node,
                                   const struct conflict_node *right)
{
    struct bytes before =
        conflict_node_key(&tree->pages, node, node->count - 1U, tree->key_memory[0]);
    struct bytes behind = conflict_node_key(&tree->pages, right, 0, tree->key_memory[1]);
    size_t size = 0;
    while (size < before.size && before.data[size] == behind.data[size]) {
        size++;
    }
    CHECK(size < behind.size);
    return bytes_of(behind.data, size + 1);
}

static void link_leaf(struct conflict_tree *tree, uint32_t page, uint32_t right_page)
{
    struct conflict_node *leaf = node_at(tree, page);
    struct conflict_node *right = node_at(tree, right_page);
    right->previous = page;
    right->next = leaf->next;
    leaf->next = right_page;
    if (right->next != CONFLICT_PAGE_NONE) {
        node_at(tree, right->next)->previous = right_page;
    }
}

static void grow_root(struct conflict_tree *tree, struct path *path)
{
    unsigned level = path->level + 1U;
    CHECK(level < CONFLICT_TREE_LEVELS);
    uint32_t page = take_node(tree, (uint8_t)level);
    struct conflict_node *old = node_at(tree, tree->root);
    conflict_node_insert(&tree->pages, node_at(tree, page), 0,
                         (struct conflict_entry){.key = bytes_of(NULL, 0),
                                                 .version = conflict_node_newest(old),
                                                 .link = tree->root});
    tree->root = page;
    path->level = (uint8_t)level;
    path->at[level].page = page;
    path->at[level].index = 0;
}

/* Splits the full node, puts `entry` where it belongs, and returns the entry of the new node, whose
 * key is in the tree's memory or that of `entry`. */
static struct conflict_entry split(struct conflict_tree *tree, uint32_t page, unsigned index,
                                   struct conflict_entry entry)
{
    struct conflict_node *node = node_at(tree, page);
    uint32_t right_page = take_node(tree, node->level);
    struct conflict_node *right = node_at(tree, right_page);
    /* Keys that come in order leave full nodes behind. */
    bool is_append = index == node->count;
    unsigned at = is_append ? index : conflict_node_middle(node);
    struct bytes separator = entry.key;
    if (node->level > 0 && !is_append) {
        bool is_free = entry.key.data != tree->key_memory[0]; /* else that key is still needed */
        separator = conflict_node_key(&tree->pages, node, at, tree->key_memory[is_free ? 0 : 1]);
    }
    conflict_node_split(&tree->pages, node, at, right);
    if (is_append || index > at) {
        conflict_node_insert(&tree->pages, right, index - at, entry);
    } else {
        conflict_node_insert(&tree->pages, node, index, entry);
    }
    if (node->level == 0) {
        link_leaf(tree, page, right_page);
        separator = leaf_separator(tree, node, right);
        bool has_gap = separator.size < conflict_node_key_size(right, 0);
        right->gap_version = has_gap ? node->slots[node->count - 1U].link : 0;
    }
    return (struct conflict_entry){separator, conflict_node_newest(right), right_page};
}

/* Inserts behind the places of `path`, which is good for nothing after. */
static void insert(struct conflict_tree *tree, struct path *path, struct conflict_entry entry)
{
    uint32_t chain = conflict_node_chain_pages(entry.key.size);
    tree->chain_pages_max = chain > tree->chain_pages_max ? chain : tree->chain_pages_max;
    tree->entries++;
    conflict_ages_add(&tree->ages, entry.version, weight_of(entry.key.size));
    for (unsigned level = 0;; level++) {
        struct conflict_node *node = path_node(tree, path, level);
        unsigned index = (unsigned)(path->at[level].index + 1);
        if (conflict_node_has_room(node, entry.key.size)) {
            conflict_node_insert(&tree->pages, node, index, entry);
            return;
        }
        entry = split(tree, path->at[level].page, index, entry);
        if (level == path->level) {
            grow_root(tree, path);
        }
        struct conflict_node *parent = path_node(tree, path, level + 1);
        parent->slots[path->at[level + 1].index].version = conflict_node_newest(node);
    }
}

static void set_version(struct conflict_tree *tree, struct conflict_node *leaf, int index,
                        uint64_t version)
{
    uint64_t weight = entry_weight(leaf, (unsigned)index);
    conflict_ages_subtract(&tree->ages, leaf->slots[index].version, weight);
    conflict_ages_add(&tree->ages, version, weight);
    leaf->slots[index].version = version;
}

void conflict_tree_write_point(struct conflict_tree *tree, struct bytes key, uint64_t version)
{
    struct path path;
    find_path(tree, key, &path);
    struct conflict_node *leaf = path_node(tree, &path, 0);
    int index = path.at[0].index;
    raise_path(tree, &path, version);
    if (path.at[0].found) {
        set_version(tree, leaf, index, version);
    } else {
        insert(tree, &path, (struct conflict_entry){key, version, gap_at(leaf, index)});
    }
}

static void remove_entries(struct conflict_tree *tree, struct conflict_node *leaf, unsigned begin,
                           unsigned end)
{
    for (unsigned i = begin; i < end; i++) {
        conflict_ages_subtract(&tree->ages, leaf->slots[i].version, entry_weight(leaf, i));
    }
    tree->entries -= end - begin;
    conflict_node_remove(&tree->pages, leaf, begin, end);
}

static void condemn(struct conflict_tree *tree, uint32_t page)
{
    node_at(tree, page)->next = tree->condemned;
    tree->condemned = page;
}

bool conflict_tree_free_condemned(struct conflict_tree *tree)
{
    uint32_t page = tree->condemned;
    if (page == CONFLICT_PAGE_NONE) {
        return false;
    }
    struct conflict_node *node = node_at(tree, page);
    tree->condemned = node->next;
    if (node->level == 0) {
        remove_entries(tree, node, 0, node->count);
    } else {
        conflict_node_free_chains(&tree->pages, node);
        for (unsigned i = 0; i < node->count; i++) {
            condemn(tree, conflict_node_child(node, i));
        }
    }
    give_node(tree, page);
    return tree->condemned != CONFLICT_PAGE_NONE;
}

/* Removes entries and, in inner nodes, condemns what they lead to. */
static void drop(struct conflict_tree *tree, struct conflict_node *node, unsigned begin,
                 unsigned end)
{
    if (node->level == 0) {
        remove_entries(tree, node, begin, end);
        return;
    }
    for (unsigned i = begin; i < end; i++) {
        condemn(tree, conflict_node_child(node, i));
    }
    conflict_node_remove(&tree->pages, node, begin, end);
}

/* Joins the child at `index` and the one behind it if they fit into one. */
static bool try_join(struct conflict_tree *tree, struct conflict_node *parent, unsigned index)
{
    uint32_t page = conflict_node_child(parent, index);
    uint32_t right_page = conflict_node_child(parent, index + 1);
    struct conflict_node *node = node_at(tree, page);
    struct conflict_node *right = node_at(tree, right_page);
    if (!conflict_node_can_merge(node, right, conflict_node_key_size(parent, index + 1))) {
        return false;
    }
    struct bytes separator = bytes_of(NULL, 0);
    if (node->level > 0) {
        separator = conflict_node_key(&tree->pages, parent, index + 1, tree->key_memory[0]);
    } else {
        node->next = right->next;
        if (node->next != CONFLICT_PAGE_NONE) {
            node_at(tree, node->next)->previous = page;
        }
        tree->cursor = tree->cursor == right_page ? page : tree->cursor;
    }
    conflict_node_merge(&tree->pages, node, right, separator);
    give_node(tree, right_page);
    if (parent->slots[index].version < parent->slots[index + 1].version) {
        parent->slots[index].version = parent->slots[index + 1].version;
    }
    conflict_node_remove(&tree->pages, parent, index + 1, index + 2);
    return true;
}

/* Joins small nodes on the way to `key` with their neighbours. */
static void mend(struct conflict_tree *tree, struct bytes key)
{
    struct conflict_node *node = node_at(tree, tree->root);
    while (node->level > 0) {
        unsigned index = (unsigned)conflict_node_search(&tree->pages, node, key).index;
        if (conflict_node_is_small(node_at(tree, conflict_node_child(node, index)))) {
            bool joined = index + 1 < node->count && try_join(tree, node, index);
            if (!joined && index > 0 && try_join(tree, node, index - 1)) {
                index--;
            }
        }
        uint32_t child = conflict_node_child(node, index);
        if (node->count == 1 && node == node_at(tree, tree->root)) {
            give_node(tree, tree->root);
            tree->root = child;
        }
        node = node_at(tree, child);
    }
}

/* The leaf to sweep next must not be among those between `left` and `right`. */
static void save_cursor(struct conflict_tree *tree, struct bytes begin, struct bytes end,
                        uint32_t right_page)
{
    if (tree->cursor != CONFLICT_PAGE_NONE) {
        const struct conflict_node *leaf = node_at(tree, tree->cursor);
        if (conflict_node_compare(&tree->pages, leaf, 0, begin) > 0 &&
            conflict_node_compare(&tree->pages, leaf, 0, end) < 0) {
            tree->cursor = right_page;
        }
    }
}

/* Drops what is between two entries, the gap behind the first of which is of `version`. From the
 * fork of their paths down, what is right of the one and left of the other goes, and the other's
 * nodes reach back to where their regions began. */
static void drop_between(struct conflict_tree *tree, struct bytes begin, struct bytes end,
                         uint64_t version)
{
    struct path left;
    struct path right;
    find_path(tree, begin, &left);
    find_path(tree, end, &right);
    CHECK(left.at[0].found && right.at[0].found);
    unsigned level = 0;
    while (left.at[level].page != right.at[level].page) {
        level++;
    }
    struct conflict_node *fork = path_node(tree, &left, level);
    if (level == 0) {
        drop(tree, fork, (unsigned)left.at[0].index + 1, (unsigned)right.at[0].index);
        return;
    }
    save_cursor(tree, begin, end, right.at[0].page);
    path_node(tree, &left, 0)->next = right.at[0].page;
    path_node(tree, &right, 0)->previous = left.at[0].page;
    if (!right.at[level].found) { /* else the regions begin with `end` */
        for (unsigned i = level; i > 0; i--) {
            path_node(tree, &right, i)->slots[right.at[i].index].version = version;
        }
        path_node(tree, &right, 0)->gap_version = version;
    }
    drop(tree, fork, (unsigned)left.at[level].index + 1, (unsigned)right.at[level].index);
    bool has_small = false;
    while (level-- > 0) {
        struct conflict_node *left_node = path_node(tree, &left, level);
        struct conflict_node *right_node = path_node(tree, &right, level);
        drop(tree, left_node, (unsigned)left.at[level].index + 1, left_node->count);
        drop(tree, right_node, 0, (unsigned)right.at[level].index);
        has_small |= conflict_node_is_small(left_node) || conflict_node_is_small(right_node);
    }
    if (has_small) {
        mend(tree, end);
        mend(tree, begin);
    }
}

void conflict_tree_write_range(struct conflict_tree *tree, struct bytes begin, struct bytes end,
                               uint64_t version)
{
    struct path path;
    find_path(tree, end, &path);
    if (!path.at[0].found) {
        uint64_t old = gap_at(path_node(tree, &path, 0), path.at[0].index);
        insert(tree, &path, (struct conflict_entry){end, old, old});
    }
    find_path(tree, begin, &path);
    raise_path(tree, &path, version);
    if (path.at[0].found) {
        struct conflict_node *leaf = path_node(tree, &path, 0);
        set_version(tree, leaf, path.at[0].index, version);
        leaf->slots[path.at[0].index].link = version;
    } else {
        insert(tree, &path, (struct conflict_entry){begin, version, version});
    }
    drop_between(tree, begin, end, version);
}

/* Takes an empty leaf, which `key` leads to, out of the tree. */
static void remove_leaf(struct conflict_tree *tree, struct bytes key)
{
    struct path path;
    find_path(tree, key, &path);
    const struct conflict_node *leaf = path_node(tree, &path, 0);
    CHECK(leaf->count == 0);
    if (leaf->next != CONFLICT_PAGE_NONE) {
        /* Its region may reach further back now. Its gap_version can stay: it is not newer than the
         * gap behind the leaf's last entry, and so not newer than the floor. */
        node_at(tree, leaf->next)->previous = leaf->previous;
    }
    if (leaf->previous != CONFLICT_PAGE_NONE) {
        node_at(tree, leaf->previous)->next = leaf->next;
    }
    CHECK(tree->cursor != path.at[0].page);
    for (unsigned level = 0; level < path.level; level++) {
        give_node(tree, path.at[level].page);
        struct conflict_node *parent = path_node(tree, &path, level + 1);
        unsigned index = (unsigned)path.at[level + 1].index;
        conflict_node_remove(&tree->pages, parent, index, index + 1);
        if (parent->count > 0) {
            return;
        }
    }
    conflict_node_init(node_at(tree, tree->root), 0);
    tree->leaves += path.level > 0; /* an inner node has become a leaf */
}

static uint32_t first_leaf(const struct conflict_tree *tree)
{
    uint32_t page = tree->root;
    while (node_at(tree, page)->level > 0) {
        page = conflict_node_child(node_at(tree, page), 0);
    }
    return page;
}

/* The entries that a floor cannot do without: bit i is set for entry i. */
static uint64_t needed(const struct conflict_tree *tree, const struct conflict_node *leaf,
                       uint64_t floor)
{
    uint64_t gap = leaf->gap_version;
    uint64_t kept = 0;
    if (leaf->previous != CONFLICT_PAGE_NONE) {
        /* It may be newer than gap_version where the leaf's region begins with its first key. */
        const struct conflict_node *previous = node_at(tree, leaf->previous);
        uint64_t link = previous->slots[previous->count - 1U].link;
        gap = link > gap ? link : gap;
    }
    for (unsigned i = 0; i < leaf->count; i++) {
        kept |= (uint64_t)(leaf->slots[i].version > floor || gap > floor) << i;
        gap = leaf->slots[i].link;
    }
    return kept;
}

bool conflict_tree_sweep(struct conflict_tree *tree, uint64_t floor)
{
    uint32_t page = tree->cursor == CONFLICT_PAGE_NONE ? first_leaf(tree) : tree->cursor;
    struct conflict_node *leaf = node_at(tree, page);
    tree->cursor = leaf->next;
    bool more = leaf->next != CONFLICT_PAGE_NONE;
    if (leaf->count == 0) {
        return more;
    }
    uint64_t kept = needed(tree, leaf, floor);
    uint64_t dropped = ~kept & (UINT64_MAX >> (CONFLICT_NODE_ENTRIES - leaf->count));
    if (dropped == 0 && !conflict_node_is_small(leaf)) {
        return more;
    }
    struct bytes key = conflict_node_key(&tree->pages, leaf, 0, tree->key_memory[1]);
    for (uint64_t rest = dropped; rest != 0; rest &= rest - 1) {
        unsigned i = (unsigned)__builtin_ctzll(rest);
        conflict_ages_subtract(&tree->ages, leaf->slots[i].version, entry_weight(leaf, i));
        tree->entries--;
    }
    if (dropped != 0) {
        conflict_node_keep(&tree->pages, leaf, kept);
    }
    if (leaf->count == 0) {
        remove_leaf(tree, key);
    } else if (conflict_node_is_small(leaf)) {
        mend(tree, key);
    }
    return more;
}
