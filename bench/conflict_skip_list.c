/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A node holds the version of its key and that of the gap behind it; link[l].newest is the newest
 * version at a key from the node to before the next one of level l. A gap is never newer than the
 * key before it. Versions never decrease.
 */
#include "base/check.h"
#include "conflict_peers.h"

#include <stdlib.h>

enum { LEVELS = 16 };

struct node {
    uint64_t gap;
    uint32_t key_size;
    uint32_t height;
    struct {
        struct node *next;
        uint64_t newest; /* of level 0: the version of the key */
    } link[];            /* `height` of them, and then the key */
};

struct skip_list {
    struct node *head; /* before every key, never written */
    uint64_t random;
};

static char *node_key(struct node *node)
{
    return (char *)&node->link[node->height];
}

static struct node *node_make(struct bytes key, uint32_t height)
{
    struct node *node = malloc(sizeof(struct node) + height * sizeof node->link[0] + key.size);
    CHECK(node != NULL);
    node->gap = 0;
    node->key_size = (uint32_t)key.size;
    node->height = height;
    for (uint32_t i = 0; i < height; i++) {
        node->link[i].next = NULL;
        node->link[i].newest = 0;
    }
    if (key.size > 0) {
        memcpy(node_key(node), key.data, key.size);
    }
    return node;
}

static int compare(struct node *node, struct bytes key)
{
    size_t both = node->key_size < key.size ? node->key_size : key.size;
    int order = both == 0 ? 0 : memcmp(node_key(node), key.data, both);
    return order != 0 ? order : (node->key_size > key.size) - (node->key_size < key.size);
}

struct skip_list *skip_list_open(void)
{
    struct skip_list *list = malloc(sizeof *list);
    CHECK(list != NULL);
    *list = (struct skip_list){.head = node_make(bytes_of(NULL, 0), LEVELS),
                               .random = 88172645463325252};
    return list;
}

void skip_list_close(struct skip_list *list)
{
    for (struct node *node = list->head; node != NULL;) {
        struct node *next = node->link[0].next;
        free(node);
        node = next;
    }
    free(list);
}

/* The last node at or before the key, and on each level where `path` is not NULL; the head: none.
 */
static struct node *find(struct skip_list *list, struct bytes key, struct node **path, bool *found)
{
    struct node *node = list->head;
    struct node *beyond = NULL;
    *found = false;
    for (unsigned level = LEVELS; level-- > 0;) {
        while (!*found) {
            struct node *next = node->link[level].next;
            if (next == beyond) {
                break; /* compared on the level above */
            }
            int order = compare(next, key);
            if (order > 0) {
                beyond = next;
                break;
            }
            node = next;
            *found = order == 0;
        }
        if (path != NULL) {
            path[level] = node;
        } else if (*found) {
            break;
        }
    }
    return node;
}

bool skip_list_point_is_newer(struct skip_list *list, struct bytes key, uint64_t version)
{
    bool found;
    struct node *node = find(list, key, NULL, &found);
    return (found ? node->link[0].newest : node->gap) > version;
}

bool skip_list_range_is_newer(struct skip_list *list, struct bytes begin, struct bytes end,
                              uint64_t version)
{
    bool found;
    struct node *node = find(list, begin, NULL, &found);
    if (!found) {
        if (node->gap > version) {
            return true;
        }
        node = node->link[0].next;
    }
    if (node == NULL || compare(node, end) >= 0) {
        return false;
    }
    /* Up while the spans end before `end`, then down. */
    unsigned level = 0;
    bool is_rising = true;
    for (;;) {
        struct node *next = node->link[level].next;
        if (next != NULL && compare(next, end) <= 0) {
            if (node->link[level].newest > version) {
                return true;
            }
            node = next;
            if (is_rising) {
                level = node->height - 1;
            }
        } else if (level > 0) {
            is_rising = false;
            level--;
        } else {
            return compare(node, end) < 0 && node->link[0].newest > version;
        }
    }
}

static void measure(struct node *node, unsigned level)
{
    uint64_t newest = 0;
    for (struct node *at = node; at != node->link[level].next; at = at->link[level - 1].next) {
        uint64_t version = at->link[level - 1].newest;
        newest = version > newest ? version : newest;
    }
    node->link[level].newest = newest;
}

static uint32_t random_height(struct skip_list *list)
{
    list->random ^= list->random << 13;
    list->random ^= list->random >> 7;
    list->random ^= list->random << 17;
    uint32_t height = 1;
    for (uint64_t bits = list->random; height < LEVELS && (bits & 3) == 0; bits >>= 2) {
        height++;
    }
    return height;
}

static struct node *insert(struct skip_list *list, struct node **path, struct bytes key,
                           uint64_t version, uint64_t gap)
{
    struct node *node = node_make(key, random_height(list));
    node->gap = gap;
    node->link[0].newest = version;
    for (unsigned level = 0; level < node->height; level++) {
        node->link[level].next = path[level]->link[level].next;
        path[level]->link[level].next = node;
        if (level > 0) {
            measure(node, level);
            measure(path[level], level);
        }
    }
    return node;
}

static void raise_path(struct node **path, unsigned from, uint64_t version)
{
    for (unsigned level = from; level < LEVELS; level++) {
        path[level]->link[level].newest = version;
    }
}

void skip_list_write_point(struct skip_list *list, struct bytes key, uint64_t version)
{
    struct node *path[LEVELS];
    bool found;
    struct node *node = find(list, key, path, &found);
    unsigned height = 0; /* above it, spans of others hold the key */
    if (!found) {
        height = insert(list, path, key, version, node->gap)->height;
    }
    raise_path(path, height, version);
}

void skip_list_write_range(struct skip_list *list, struct bytes begin, struct bytes end,
                           uint64_t version)
{
    struct node *path[LEVELS];
    struct node *end_path[LEVELS];
    bool found;
    if (bytes_equal(begin, end)) {
        return;
    }
    struct node *node = find(list, end, end_path, &found);
    if (!found) {
        (void)insert(list, end_path, end, node->gap, node->gap);
    }
    skip_list_write_point(list, begin, version);
    struct node *first = find(list, begin, path, &found);
    first->gap = version;
    struct node *last = find(list, end, end_path, &found);
    for (struct node *at = first->link[0].next; at != last;) {
        struct node *next = at->link[0].next;
        for (unsigned level = 0; level < at->height; level++) {
            path[level]->link[level].next = at->link[level].next;
        }
        free(at);
        at = next;
    }
    raise_path(path, 0, version);
}
