/* SPDX-License-Identifier: Apache-2.0 */
/*
 * conflict_node: one page of the conflict set's tree: sorted entries of a key and two words.
 *
 *                 version                              link
 *   leaf          of the last write at the key         version of the gap behind the key
 *   inner node    the newest in the child's region     the child's page
 *
 * The first entry of an inner node has no key: its child's region begins where the node's own does.
 * A head is a number that orders like the key: of what follows the prefix that all keys of the node
 * share, the first seven bytes (zeros for those it does not have) and then how many there are, 8
 * for more than seven. So a search compares numbers; it looks at keys only where heads tie that end
 * in 8, for others that tie are the same key.
 *
 * Runs on: the conflict set's thread. Blocks: never.
 */
#ifndef COMMIT_CONFLICT_NODE_H
#define COMMIT_CONFLICT_NODE_H

#include "base/bytes.h"
#include "commit/conflict_pages.h"

#include <assert.h>

enum {
    CONFLICT_NODE_ENTRIES = 64,
    CONFLICT_NODE_PREFIX_BYTES = 32, /* of the shared prefix, kept in the head of the node */
    CONFLICT_NODE_HEAP_BYTES = 2368,
    CONFLICT_NODE_LOCAL_BYTES = 512, /* of a key; what is behind them stands in a chain of pages */
};

struct conflict_node {
    uint16_t count;
    uint8_t level;        /* of a leaf: 0 */
    uint8_t chain_count;  /* how many keys have a chain */
    uint16_t heap_begin;  /* records fill the heap from its end down to here */
    uint16_t heap_bytes;  /* of the records; the rest behind heap_begin are holes */
    uint16_t prefix_size; /* that the keys share, at most CONFLICT_NODE_LOCAL_BYTES */
    uint16_t unused;
    uint32_t next;     /* leaf, CONFLICT_PAGE_NONE: none; also links condemned nodes */
    uint32_t previous; /* leaf */
    uint32_t unused_too;
    uint64_t gap_version; /* of a leaf's region before its first key */
    char prefix[CONFLICT_NODE_PREFIX_BYTES];
    uint64_t heads[CONFLICT_NODE_ENTRIES];
    struct {
        uint64_t version;
        uint64_t link;
    } slots[CONFLICT_NODE_ENTRIES];
    uint16_t offsets[CONFLICT_NODE_ENTRIES]; /* of the record in the heap */
    char heap[CONFLICT_NODE_HEAP_BYTES];
};
static_assert(sizeof(struct conflict_node) == CONFLICT_PAGE_BYTES, "a node is a page");

/* An entry apart from its node. */
struct conflict_entry {
    struct bytes key;
    uint64_t version;
    uint64_t link;
};

struct conflict_place {
    int index;  /* of the last entry at or before the key; -1: none (leaves only) */
    bool found; /* its key is the key (in inner nodes: and it is not the first entry) */
};

static inline struct conflict_node *conflict_node_at(const struct conflict_pages *pages,
                                                     uint32_t page)
{
    return conflict_page(pages, page);
}

/* The first entry that has a key. */
static inline unsigned conflict_node_first(const struct conflict_node *node)
{
    return node->level != 0;
}

static inline uint32_t conflict_node_child(const struct conflict_node *node, unsigned index)
{
    return (uint32_t)node->slots[index].link;
}

/* Fetches the node up to the field at offset `end`: lines which no hardware would guess, so that
 * the node costs one wait for memory and not one for each step of the search. */
static inline void conflict_node_prefetch(const struct conflict_node *node, size_t end)
{
    const char *at = (const char *)node;
    for (size_t offset = 0; offset < end; offset += 64) {
        __builtin_prefetch(at + offset);
    }
}

void conflict_node_init(struct conflict_node *node, uint8_t level);

struct conflict_place conflict_node_search(const struct conflict_pages *pages,
                                           const struct conflict_node *node, struct bytes key);

/* Is there room for an entry with this key? */
bool conflict_node_has_room(const struct conflict_node *node, size_t key_size);

/* How many pages the chain of a key of `key_size` bytes takes. */
uint32_t conflict_node_chain_pages(size_t key_size);

/* Puts `entry` before the one at `index`; there is room. The key is copied; that of an inner node's
 * first entry is ignored. */
void conflict_node_insert(struct conflict_pages *pages, struct conflict_node *node, unsigned index,
                          struct conflict_entry entry);

/* Removes the entries from `begin` to before `end`. If an inner node's first is among them, the one
 * that becomes the first loses its key. */
void conflict_node_remove(struct conflict_pages *pages, struct conflict_node *node, unsigned begin,
                          unsigned end);

/* Removes the entries of a leaf whose bit is not set in `kept`. */
void conflict_node_keep(struct conflict_pages *pages, struct conflict_node *node, uint64_t kept);

/* Moves the entries from `index` on (0 < index <= count) to `right`, an empty node of the same
 * level. The first of an inner node loses its key: copy it before. */
void conflict_node_split(struct conflict_pages *pages, struct conflict_node *node, unsigned index,
                         struct conflict_node *right);

/* Where to split so that both halves take about as many bytes: 0 < index < count. The node has at
 * least two entries. */
unsigned conflict_node_middle(const struct conflict_node *node);

/* Would the entries of both fit in one, and leave some room? */
bool conflict_node_can_merge(const struct conflict_node *node, const struct conflict_node *right,
                             size_t separator_size);

/* Less than half of what can_merge() allows: worth a look at its neighbours. */
bool conflict_node_is_small(const struct conflict_node *node);

/* Appends all entries of `right`, which is empty after; in inner nodes the first one comes with the
 * key `separator`. */
void conflict_node_merge(struct conflict_pages *pages, struct conflict_node *node,
                         struct conflict_node *right, struct bytes separator);

/* Frees what the keys hold outside the node. */
void conflict_node_free_chains(struct conflict_pages *pages, struct conflict_node *node);

size_t conflict_node_key_size(const struct conflict_node *node, unsigned index);

/* Copies the whole key to `out`, which has room for it. */
struct bytes conflict_node_key(const struct conflict_pages *pages, const struct conflict_node *node,
                               unsigned index, char *out);

/* <0, 0, >0 as the entry's key is before, at or behind `key`. */
int conflict_node_compare(const struct conflict_pages *pages, const struct conflict_node *node,
                          unsigned index, struct bytes key);

/* The newest of its region. */
uint64_t conflict_node_newest(const struct conflict_node *node);

void conflict_node_check(const struct conflict_pages *pages, const struct conflict_node *node);

#endif
