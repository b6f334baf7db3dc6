/* SPDX-License-Identifier: Apache-2.0 */
#include "base/check.h"
#include "conflict_peers.h"

#include <stdlib.h>

struct entry {
    char *key;
    size_t key_size;
    uint64_t version;
    uint64_t gap; /* version of the gap behind the key */
};

struct sorted_array {
    struct entry *entries;
    size_t count;
    size_t capacity;
};

struct sorted_array *sorted_array_open(void)
{
    struct sorted_array *array = calloc(1, sizeof *array);
    CHECK(array != NULL);
    return array;
}

void sorted_array_close(struct sorted_array *array)
{
    for (size_t i = 0; i < array->count; i++) {
        free(array->entries[i].key);
    }
    free(array->entries);
    free(array);
}

static int compare(const struct entry *entry, struct bytes key)
{
    size_t both = entry->key_size < key.size ? entry->key_size : key.size;
    int order = both == 0 ? 0 : memcmp(entry->key, key.data, both);
    return order != 0 ? order : (entry->key_size > key.size) - (entry->key_size < key.size);
}

/* How many are before `key`. */
static size_t find(const struct sorted_array *array, struct bytes key, bool *found)
{
    size_t low = 0;
    size_t high = array->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (compare(&array->entries[middle], key) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    *found = low < array->count && compare(&array->entries[low], key) == 0;
    return low;
}

static uint64_t gap_before(const struct sorted_array *array, size_t index)
{
    return index == 0 ? 0 : array->entries[index - 1].gap;
}

static void insert(struct sorted_array *array, size_t index, struct bytes key, uint64_t version,
                   uint64_t gap)
{
    if (array->count == array->capacity) {
        array->capacity = array->capacity == 0 ? 1024 : 2 * array->capacity;
        array->entries = realloc(array->entries, array->capacity * sizeof array->entries[0]);
        CHECK(array->entries != NULL);
    }
    struct entry entry = {malloc(key.size + 1), key.size, version, gap};
    CHECK(entry.key != NULL);
    memcpy(entry.key, key.data, key.size);
    memmove(&array->entries[index + 1], &array->entries[index],
            (array->count - index) * sizeof entry);
    array->entries[index] = entry;
    array->count++;
}

bool sorted_array_point_is_newer(struct sorted_array *array, struct bytes key, uint64_t version)
{
    bool found;
    size_t at = find(array, key, &found);
    return (found ? array->entries[at].version : gap_before(array, at)) > version;
}

bool sorted_array_range_is_newer(struct sorted_array *array, struct bytes begin, struct bytes end,
                                 uint64_t version)
{
    bool found;
    size_t at = find(array, begin, &found);
    size_t last = find(array, end, &(bool){false});
    bool newer = !found && gap_before(array, at) > version;
    for (; at < last && !newer; at++) {
        newer = array->entries[at].version > version;
    }
    return newer;
}

void sorted_array_append(struct sorted_array *array, struct bytes key, uint64_t version)
{
    insert(array, array->count, key, version, gap_before(array, array->count));
}

void sorted_array_write_point(struct sorted_array *array, struct bytes key, uint64_t version)
{
    bool found;
    size_t at = find(array, key, &found);
    if (found) {
        array->entries[at].version = version;
    } else {
        insert(array, at, key, version, gap_before(array, at));
    }
}

void sorted_array_write_range(struct sorted_array *array, struct bytes begin, struct bytes end,
                              uint64_t version)
{
    bool found;
    if (bytes_equal(begin, end)) {
        return;
    }
    size_t last = find(array, end, &found);
    if (!found) {
        insert(array, last, end, gap_before(array, last), gap_before(array, last));
    }
    sorted_array_write_point(array, begin, version);
    size_t first = find(array, begin, &found);
    last = find(array, end, &found);
    array->entries[first].gap = version;
    for (size_t i = first + 1; i < last; i++) {
        free(array->entries[i].key);
    }
    memmove(&array->entries[first + 1], &array->entries[last],
            (array->count - last) * sizeof array->entries[0]);
    array->count -= last - first - 1;
}
