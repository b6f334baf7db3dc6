/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A record in the heap is the key's size (4 bytes), the first page of its chain if it has one (4
 * bytes), and its first bytes, at most CONFLICT_NODE_LOCAL_BYTES. A page of a chain is the index of
 * the next (4 bytes) and bytes. Records are whole keys, prefix included: a new key that shares less
 * changes the heads and moves no record.
 */
#include "commit/conflict_node.h"

#include "base/check.h"

enum {
    CHAIN_BYTES = CONFLICT_PAGE_BYTES - 4,
    PREFIX_BYTES_MAX = CONFLICT_NODE_LOCAL_BYTES - 8, /* so that heads are local */
    HEAD_BYTES = 7,
    HEAD_MORE = 8,
    MERGED_ENTRIES = CONFLICT_NODE_ENTRIES * 7 / 8,
    MERGED_BYTES = CONFLICT_NODE_HEAP_BYTES * 7 / 8,
};
static_assert(CONFLICT_NODE_HEAP_BYTES >= 4 * (8 + CONFLICT_NODE_LOCAL_BYTES),
              "both halves of a full node have room for any key");

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

static bool has_chain(size_t key_size)
{
    return key_size > CONFLICT_NODE_LOCAL_BYTES;
}

static size_t record_bytes(size_t key_size)
{
    return has_chain(key_size) ? 8 + CONFLICT_NODE_LOCAL_BYTES : 4 + key_size;
}

static uint32_t load_u32(const char *at)
{
    uint32_t value;
    memcpy(&value, at, sizeof value);
    return value;
}

/* The record's key: the bytes of it that are in the node, and of a long one the chain. */
struct local_key {
    const char *data;
    size_t size; /* of the whole key */
    uint32_t chain;
};

static struct local_key local_key(const struct conflict_node *node, unsigned index)
{
    const char *record = node->heap + node->offsets[index];
    size_t size = load_u32(record);
    if (has_chain(size)) {
        return (struct local_key){record + 8, size, load_u32(record + 4)};
    }
    return (struct local_key){record + 4, size, CONFLICT_PAGE_NONE};
}

static struct bytes local_bytes(const struct conflict_node *node, unsigned index)
{
    struct local_key key = local_key(node, index);
    return bytes_of(key.data, smaller(key.size, CONFLICT_NODE_LOCAL_BYTES));
}

size_t conflict_node_key_size(const struct conflict_node *node, unsigned index)
{
    return load_u32(node->heap + node->offsets[index]);
}

uint32_t conflict_node_chain_pages(size_t key_size)
{
    if (!has_chain(key_size)) {
        return 0;
    }
    return (uint32_t)((key_size - CONFLICT_NODE_LOCAL_BYTES + CHAIN_BYTES - 1) / CHAIN_BYTES);
}

static uint32_t chain_make(struct conflict_pages *pages, struct bytes rest)
{
    uint32_t first = CONFLICT_PAGE_NONE;
    /* From the end, so that each page knows the next one when it is written. */
    while (rest.size > 0) {
        size_t size = (rest.size - 1) % CHAIN_BYTES + 1;
        uint32_t page = conflict_pages_take(pages);
        char *at = conflict_page(pages, page);
        memcpy(at, &first, sizeof first);
        memcpy(at + 4, rest.data + rest.size - size, size);
        rest.size -= size;
        first = page;
    }
    return first;
}

static void chain_free(struct conflict_pages *pages, uint32_t page)
{
    while (page != CONFLICT_PAGE_NONE) {
        uint32_t next = load_u32(conflict_page(pages, page));
        conflict_pages_give(pages, &page);
        page = next;
    }
}

static int compare_sizes(size_t a, size_t b)
{
    return (a > b) - (a < b);
}

static int compare_rest(const struct conflict_pages *pages, uint32_t page, size_t size,
                        struct bytes rest)
{
    while (size > 0 && rest.size > 0) {
        const char *at = conflict_page(pages, page);
        size_t both = smaller(smaller(size, CHAIN_BYTES), rest.size);
        int order = memcmp(at + 4, rest.data, both);
        if (order != 0) {
            return order;
        }
        page = load_u32(at);
        size -= both;
        rest = bytes_drop(rest, both);
    }
    return compare_sizes(size, rest.size);
}

/* Knowing that their first `same` bytes are the same, as far as both have them. */
static int compare_from(const struct conflict_pages *pages, const struct conflict_node *node,
                        unsigned index, struct bytes key, size_t same)
{
    struct local_key own = local_key(node, index);
    size_t local = smaller(smaller(own.size, key.size), CONFLICT_NODE_LOCAL_BYTES);
    if (local > same) {
        int order = memcmp(own.data + same, key.data + same, local - same);
        if (order != 0) {
            return order;
        }
    }
    if (own.chain == CONFLICT_PAGE_NONE || key.size <= CONFLICT_NODE_LOCAL_BYTES) {
        return compare_sizes(own.size, key.size);
    }
    return compare_rest(pages, own.chain, own.size - CONFLICT_NODE_LOCAL_BYTES,
                        bytes_drop(key, CONFLICT_NODE_LOCAL_BYTES));
}

int conflict_node_compare(const struct conflict_pages *pages, const struct conflict_node *node,
                          unsigned index, struct bytes key)
{
    return compare_from(pages, node, index, key, 0);
}

static uint64_t load_big_endian(const char *at)
{
    uint64_t value;
    memcpy(&value, at, sizeof value);
    return __builtin_bswap64(value);
}

/* The head of `key` in a node whose keys share `skip` bytes with it. */
static uint64_t head_of(struct bytes key, size_t skip)
{
    size_t rest = key.size > skip ? key.size - skip : 0;
    if (rest > HEAD_BYTES) {
        return (load_big_endian(key.data + skip) & ~UINT64_C(0xff)) | HEAD_MORE;
    }
    if (rest == 0) {
        return 0;
    }
    uint64_t head = 0;
    if (key.size >= sizeof head) {
        head = load_big_endian(key.data + key.size - sizeof head) << (8 * (sizeof head - rest));
    } else {
        memcpy(&head, key.data + skip, rest);
        head = __builtin_bswap64(head);
    }
    return head | rest;
}

static size_t shared_size(struct bytes a, struct bytes b)
{
    size_t limit = smaller(a.size, b.size);
    size_t size = 0;
    while (size < limit && a.data[size] == b.data[size]) {
        size++;
    }
    return size;
}

/* Has the key the prefix of the node? May say no though it has. */
static inline bool has_prefix(const struct conflict_node *node, struct bytes key)
{
    size_t size = node->prefix_size;
    if (size > key.size || size > CONFLICT_NODE_PREFIX_BYTES) {
        return false;
    }
    if (size < sizeof(uint64_t)) {
        return size == 0 || memcmp(key.data, node->prefix, size) == 0;
    }
    uint64_t difference =
        load_big_endian(key.data + size - 8) ^ load_big_endian(node->prefix + size - 8);
    for (size_t at = 0; at + 8 < size; at += 8) {
        difference |= load_big_endian(key.data + at) ^ load_big_endian(node->prefix + at);
    }
    return difference == 0;
}

static void set_prefix(struct conflict_node *node, size_t size)
{
    unsigned first = conflict_node_first(node);
    node->prefix_size = (uint16_t)size;
    memcpy(node->prefix, local_key(node, first).data, smaller(size, CONFLICT_NODE_PREFIX_BYTES));
    for (unsigned i = first; i < node->count; i++) {
        node->heads[i] = head_of(local_bytes(node, i), size);
    }
}

/* The longest prefix, which the first and the last key tell because they are sorted. */
static void find_prefix(struct conflict_node *node)
{
    unsigned first = conflict_node_first(node);
    if (node->count <= first) {
        node->prefix_size = 0;
        return;
    }
    size_t size = shared_size(local_bytes(node, first), local_bytes(node, node->count - 1U));
    set_prefix(node, smaller(size, PREFIX_BYTES_MAX));
}

void conflict_node_init(struct conflict_node *node, uint8_t level)
{
    node->count = 0;
    node->level = level;
    node->chain_count = 0;
    node->heap_begin = CONFLICT_NODE_HEAP_BYTES;
    node->heap_bytes = 0;
    node->prefix_size = 0;
    node->unused = 0;
    node->next = CONFLICT_PAGE_NONE;
    node->previous = CONFLICT_PAGE_NONE;
    node->unused_too = 0;
    node->gap_version = 0;
}

/* The key against the prefix of the node: 0 when it has it. */
static int compare_prefix(const struct conflict_node *node, struct bytes key)
{
    size_t size = node->prefix_size;
    size_t both = smaller(size, key.size);
    size_t head = smaller(both, CONFLICT_NODE_PREFIX_BYTES);
    int order = head == 0 ? 0 : memcmp(key.data, node->prefix, head);
    if (order == 0 && both > head) {
        const char *whole = local_key(node, conflict_node_first(node)).data;
        order = memcmp(key.data + head, whole + head, both - head);
    }
    return order != 0 ? order : key.size < size ? -1 : 0;
}

/* How many of heads[0..count) are less than `head`. Without branches: they would be guessed wrong
 * half of the time. */
static inline unsigned count_less(const uint64_t *heads, unsigned count, uint64_t head)
{
    const uint64_t *at = heads;
    while (count > 1) {
        unsigned half = count / 2;
        at += half & (0U - (at[half - 1] < head));
        count -= half;
    }
    return (unsigned)(at - heads) + (count == 1 && *at < head);
}

/* Among the heads from `begin` on that are like the key's, which both go on behind them. */
static struct conflict_place search_ties(const struct conflict_pages *pages,
                                         const struct conflict_node *node, unsigned begin,
                                         struct bytes key)
{
    size_t same = node->prefix_size + (size_t)HEAD_BYTES;
    unsigned end = begin + 1;
    while (end < node->count && node->heads[end] == node->heads[begin]) {
        end++;
    }
    while (begin < end) { /* before begin: less; from end on: greater */
        unsigned middle = begin + (end - begin) / 2;
        int order = compare_from(pages, node, middle, key, same);
        if (order == 0) {
            return (struct conflict_place){(int)middle, true};
        }
        if (order < 0) {
            begin = middle + 1;
        } else {
            end = middle;
        }
    }
    return (struct conflict_place){(int)begin - 1, false};
}

struct conflict_place conflict_node_search(const struct conflict_pages *pages,
                                           const struct conflict_node *node, struct bytes key)
{
    unsigned first = conflict_node_first(node);
    if (node->count <= first) {
        return (struct conflict_place){(int)first - 1, false};
    }
    if (!has_prefix(node, key)) {
        int order = compare_prefix(node, key);
        if (order != 0) {
            return (struct conflict_place){order < 0 ? (int)first - 1 : node->count - 1, false};
        }
    }
    uint64_t head = head_of(key, node->prefix_size);
    unsigned index = first + count_less(node->heads + first, node->count - first, head);
    if (index == node->count || node->heads[index] != head) {
        return (struct conflict_place){(int)index - 1, false};
    }
    if ((head & 0xff) != HEAD_MORE) {
        return (struct conflict_place){(int)index, true};
    }
    return search_ties(pages, node, index, key);
}

bool conflict_node_has_room(const struct conflict_node *node, size_t key_size)
{
    return node->count < CONFLICT_NODE_ENTRIES &&
           node->heap_bytes + record_bytes(key_size) <= CONFLICT_NODE_HEAP_BYTES;
}

/* Closes the holes of the heap. */
static void compact(struct conflict_node *node)
{
    char old[CONFLICT_NODE_HEAP_BYTES];
    memcpy(old, node->heap, sizeof old);
    size_t begin = CONFLICT_NODE_HEAP_BYTES;
    for (unsigned i = 0; i < node->count; i++) {
        const char *record = old + node->offsets[i];
        size_t size = record_bytes(load_u32(record));
        begin -= size;
        memcpy(node->heap + begin, record, size);
        node->offsets[i] = (uint16_t)begin;
    }
    CHECK(CONFLICT_NODE_HEAP_BYTES - begin == node->heap_bytes);
    node->heap_begin = (uint16_t)begin;
}

static char *take_record(struct conflict_node *node, unsigned index, size_t size)
{
    CHECK(size <= node->heap_begin);
    node->heap_begin = (uint16_t)(node->heap_begin - size);
    node->heap_bytes = (uint16_t)(node->heap_bytes + size);
    node->offsets[index] = node->heap_begin;
    return node->heap + node->heap_begin;
}

static void put_key(struct conflict_pages *pages, struct conflict_node *node, unsigned index,
                    struct bytes key)
{
    char *record = take_record(node, index, record_bytes(key.size));
    uint32_t size = (uint32_t)key.size;
    memcpy(record, &size, sizeof size);
    if (has_chain(key.size)) {
        uint32_t chain = chain_make(pages, bytes_drop(key, CONFLICT_NODE_LOCAL_BYTES));
        memcpy(record + 4, &chain, sizeof chain);
        memcpy(record + 8, key.data, CONFLICT_NODE_LOCAL_BYTES);
        node->chain_count++;
    } else if (key.size > 0) {
        memcpy(record + 4, key.data, key.size);
    }
}

/* Makes `count` entries' room in the arrays before the one at `index`. */
static void shift(struct conflict_node *node, unsigned from, unsigned to)
{
    size_t count = node->count - from;
    memmove(node->heads + to, node->heads + from, count * sizeof node->heads[0]);
    memmove(node->slots + to, node->slots + from, count * sizeof node->slots[0]);
    memmove(node->offsets + to, node->offsets + from, count * sizeof node->offsets[0]);
    node->count = (uint16_t)(to + count);
}

void conflict_node_insert(struct conflict_pages *pages, struct conflict_node *node, unsigned index,
                          struct conflict_entry entry)
{
    unsigned first = conflict_node_first(node);
    bool has_key = index >= first;
    struct bytes key = has_key ? entry.key : bytes_of(NULL, 0);
    CHECK(index <= node->count);
    CHECK(conflict_node_has_room(node, key.size));
    bool was_empty = node->count <= first;
    size_t shared = node->prefix_size;
    if (has_key && !was_empty && !has_prefix(node, key)) {
        shared = shared_size(bytes_of(local_key(node, first).data, node->prefix_size), key);
    }
    if (node->heap_begin < record_bytes(key.size)) {
        compact(node);
    }
    shift(node, index, index + 1);
    put_key(pages, node, index, key);
    node->slots[index].version = entry.version;
    node->slots[index].link = entry.link;
    node->heads[index] = head_of(key, shared);
    if (has_key && was_empty) {
        find_prefix(node);
    } else if (has_key && shared < node->prefix_size) {
        set_prefix(node, shared);
    }
}

static void drop_record(struct conflict_pages *pages, struct conflict_node *node, unsigned index)
{
    struct local_key key = local_key(node, index);
    if (key.chain != CONFLICT_PAGE_NONE) {
        chain_free(pages, key.chain);
        node->chain_count--;
    }
    node->heap_bytes = (uint16_t)(node->heap_bytes - record_bytes(key.size));
}

/* Takes its key from what has become an inner node's first entry. */
static void drop_first_key(struct conflict_pages *pages, struct conflict_node *node)
{
    const uint32_t none = 0;
    if (node->count > 0) {
        drop_record(pages, node, 0);
        memcpy(node->heap + node->offsets[0], &none, sizeof none);
        node->heap_bytes = (uint16_t)(node->heap_bytes + record_bytes(0));
    }
}

void conflict_node_remove(struct conflict_pages *pages, struct conflict_node *node, unsigned begin,
                          unsigned end)
{
    CHECK(begin <= end && end <= node->count);
    if (begin == end) {
        return;
    }
    for (unsigned i = begin; i < end; i++) {
        drop_record(pages, node, i);
    }
    shift(node, end, begin);
    if (begin < conflict_node_first(node)) {
        drop_first_key(pages, node);
    }
    if (node->count == 0) {
        node->heap_begin = CONFLICT_NODE_HEAP_BYTES;
    }
}

void conflict_node_keep(struct conflict_pages *pages, struct conflict_node *node, uint64_t kept)
{
    unsigned to = 0;
    for (unsigned i = 0; i < node->count; i++) {
        if ((kept >> i & 1) == 0) {
            drop_record(pages, node, i);
            continue;
        }
        node->heads[to] = node->heads[i];
        node->slots[to].version = node->slots[i].version;
        node->slots[to].link = node->slots[i].link;
        node->offsets[to] = node->offsets[i];
        to++;
    }
    node->count = (uint16_t)to;
    if (to == 0) {
        node->heap_begin = CONFLICT_NODE_HEAP_BYTES;
    }
}

/* Appends the entry at `index` of `from`, which still has it, but owns its chain no more. */
static void move_entry(struct conflict_node *node, struct conflict_node *from, unsigned index)
{
    const char *record = from->heap + from->offsets[index];
    uint32_t key_size = load_u32(record);
    size_t size = record_bytes(key_size);
    unsigned to = node->count++;
    memcpy(take_record(node, to, size), record, size);
    node->slots[to].version = from->slots[index].version;
    node->slots[to].link = from->slots[index].link;
    from->heap_bytes = (uint16_t)(from->heap_bytes - size);
    if (has_chain(key_size)) {
        node->chain_count++;
        from->chain_count--;
    }
}

void conflict_node_split(struct conflict_pages *pages, struct conflict_node *node, unsigned index,
                         struct conflict_node *right)
{
    CHECK(index > 0 && index <= node->count);
    CHECK(right->count == 0 && right->level == node->level);
    for (unsigned i = index; i < node->count; i++) {
        move_entry(right, node, i);
    }
    node->count = (uint16_t)index;
    if (conflict_node_first(right) > 0) {
        drop_first_key(pages, right);
    }
    find_prefix(node);
    find_prefix(right);
}

unsigned conflict_node_middle(const struct conflict_node *node)
{
    CHECK(node->count >= 2);
    if (2 * node->heap_bytes <= CONFLICT_NODE_HEAP_BYTES) {
        return node->count / 2U; /* whatever half a new key goes to, there is room */
    }
    size_t sum = 0;
    unsigned index = 0;
    while (index < node->count - 1U && 2 * sum < node->heap_bytes) {
        sum += record_bytes(conflict_node_key_size(node, index));
        index++;
    }
    return index;
}

bool conflict_node_is_small(const struct conflict_node *node)
{
    return node->count <= MERGED_ENTRIES / 2 && node->heap_bytes <= MERGED_BYTES / 2;
}

bool conflict_node_can_merge(const struct conflict_node *node, const struct conflict_node *right,
                             size_t separator_size)
{
    size_t bytes = (size_t)node->heap_bytes + right->heap_bytes;
    if (node->level > 0) {
        bytes += record_bytes(separator_size);
    }
    return node->count + right->count <= MERGED_ENTRIES && bytes <= MERGED_BYTES;
}

void conflict_node_merge(struct conflict_pages *pages, struct conflict_node *node,
                         struct conflict_node *right, struct bytes separator)
{
    CHECK(node->level == right->level && node->count > 0);
    compact(node);
    unsigned i = 0;
    if (node->level > 0 && right->count > 0) {
        put_key(pages, node, node->count, separator);
        node->slots[node->count].version = right->slots[0].version;
        node->slots[node->count].link = right->slots[0].link;
        node->count++;
        i = 1;
    }
    for (; i < right->count; i++) {
        move_entry(node, right, i);
    }
    right->count = 0;
    find_prefix(node);
}

void conflict_node_free_chains(struct conflict_pages *pages, struct conflict_node *node)
{
    for (unsigned i = 0; i < node->count && node->chain_count > 0; i++) {
        struct local_key key = local_key(node, i);
        if (key.chain != CONFLICT_PAGE_NONE) {
            chain_free(pages, key.chain);
            node->chain_count--;
        }
    }
}

struct bytes conflict_node_key(const struct conflict_pages *pages, const struct conflict_node *node,
                               unsigned index, char *out)
{
    struct local_key key = local_key(node, index);
    size_t done = smaller(key.size, CONFLICT_NODE_LOCAL_BYTES);
    memcpy(out, key.data, done);
    for (uint32_t page = key.chain; page != CONFLICT_PAGE_NONE;) {
        const char *at = conflict_page(pages, page);
        size_t size = smaller(key.size - done, CHAIN_BYTES);
        memcpy(out + done, at + 4, size);
        done += size;
        page = load_u32(at);
    }
    CHECK(done == key.size);
    return bytes_of(out, done);
}

uint64_t conflict_node_newest(const struct conflict_node *node)
{
    uint64_t newest = node->level == 0 ? node->gap_version : 0;
    for (unsigned i = 0; i < node->count; i++) {
        newest = node->slots[i].version > newest ? node->slots[i].version : newest;
    }
    return newest;
}

void conflict_node_check(const struct conflict_pages *pages, const struct conflict_node *node)
{
    static char key_memory[CONFLICT_PAGE_BYTES * 17]; /* tests only, on the one thread */
    unsigned first = conflict_node_first(node);
    size_t bytes = 0;
    unsigned chains = 0;
    CHECK(node->count <= CONFLICT_NODE_ENTRIES);
    for (unsigned i = 0; i < node->count; i++) {
        size_t size = conflict_node_key_size(node, i);
        CHECK(node->offsets[i] >= node->heap_begin);
        CHECK(node->offsets[i] + record_bytes(size) <= CONFLICT_NODE_HEAP_BYTES);
        bytes += record_bytes(size);
        chains += has_chain(size);
        if (i < first) {
            CHECK(size == 0);
            continue;
        }
        struct bytes local = local_bytes(node, i);
        CHECK(local.size >= node->prefix_size);
        CHECK(memcmp(local.data, local_key(node, first).data, node->prefix_size) == 0);
        CHECK(memcmp(local.data, node->prefix,
                     smaller(node->prefix_size, CONFLICT_NODE_PREFIX_BYTES)) == 0);
        CHECK(node->heads[i] == head_of(local, node->prefix_size));
        if (i > first) {
            struct bytes before = conflict_node_key(pages, node, i - 1, key_memory);
            CHECK(conflict_node_compare(pages, node, i, before) > 0);
        }
    }
    CHECK(bytes == node->heap_bytes);
    CHECK(chains == node->chain_count);
}
