/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A file is two arrays of bytes: what is read (the page cache) and what is on the disk, with a mark
 * for each sector that has been written since it went there. The directory is two tables likewise,
 * with a list of the changes between them.
 *
 *   write         changes the cache and marks sectors; some go to the disk by themselves
 *   sync          brings the marked sectors to the disk
 *   failed sync   each goes to the disk, or keeps its mark, or loses it without having gone there:
 *                 as on Linux, it can be read until it is evicted, and no later sync writes it
 *   process ends  the cache stays; some of what is unmarked is read from the disk again
 *   power loss    each marked sector is lost, kept or has a bit flipped; each change of the
 *                 directory is lost or kept by itself; then all is read from the disk again
 *
 * What a sync has brought to the disk stays as it is, and a write damages only bytes that it
 * changes, also where others share their sector (SQLite calls this powersafe overwrite, and the log
 * of PostgreSQL needs it too). Two changes of the directory do not overtake each other.
 */
#include "commitlog/sim_disk.h"

#include "base/check.h"

#include <stdlib.h>
#include <string.h>

/* Once in so many calls a sector, or a change of the directory, goes to the disk by itself. */
enum { SECTOR = SIM_SECTOR_BYTES, WRITE_BACK_EVERY = 6 };

/* ---- the directory ---- */

static struct sim_name *table_find(struct sim_table *table, const char *text)
{
    for (unsigned i = 0; i < table->count; i++) {
        if (strcmp(table->names[i].text, text) == 0) {
            return &table->names[i];
        }
    }
    return NULL;
}

static void text_copy(char out[STORAGE_NAME_BYTES], const char *text)
{
    size_t size = strlen(text) + 1;
    CHECK(size <= STORAGE_NAME_BYTES);
    memcpy(out, text, size);
}

static void table_set(struct sim_table *table, const char *text, struct sim_inode *inode)
{
    struct sim_name *name = table_find(table, text);
    if (inode == NULL) {
        if (name != NULL) {
            *name = table->names[--table->count];
        }
        return;
    }
    if (name == NULL) {
        CHECK(table->count < SIM_NAMES_MAX);
        name = &table->names[table->count++];
        text_copy(name->text, text);
    }
    name->inode = inode;
}

static void table_change(struct sim_table *table, const struct sim_change *change)
{
    table_set(table, change->name, change->inode);
    if (change->from[0] != '\0') {
        table_set(table, change->from, NULL);
    }
}

void sim_disk_change(struct sim_disk *disk, const char *name, const char *from,
                     struct sim_inode *inode)
{
    CHECK(disk->change_count < SIM_CHANGES_MAX);
    struct sim_change *change = &disk->changes[disk->change_count++];
    text_copy(change->name, name);
    text_copy(change->from, from);
    change->inode = inode;
    table_change(&disk->visible, change);
}

/* The oldest change goes to the disk. */
void sim_disk_change_to_disk(struct sim_disk *disk)
{
    table_change(&disk->durable, &disk->changes[0]);
    disk->change_count--;
    memmove(&disk->changes[0], &disk->changes[1], disk->change_count * sizeof disk->changes[0]);
}

/* ---- files ---- */

struct sim_inode *sim_inode_make(struct sim_disk *disk)
{
    if (disk->inode_count == SIM_INODES_MAX) {
        sim_disk_free_nameless(disk);
    }
    CHECK(disk->inode_count < SIM_INODES_MAX);
    struct sim_inode *inode = calloc(1, sizeof *inode);
    if (inode != NULL) {
        disk->inodes[disk->inode_count++] = inode;
    }
    return inode;
}

static void inode_free(struct sim_inode *inode)
{
    free(inode->cache);
    free(inode->disk);
    free(inode->marked);
    free(inode);
}

static void grow(struct sim_inode *inode, size_t size)
{
    if (size <= inode->capacity) {
        return;
    }
    size_t capacity = inode->capacity == 0 ? SECTOR : inode->capacity;
    while (capacity < size) {
        capacity *= 2;
    }
    inode->cache = realloc(inode->cache, capacity);
    inode->disk = realloc(inode->disk, capacity);
    inode->marked = realloc(inode->marked, capacity / SECTOR);
    CHECK(inode->cache != NULL && inode->disk != NULL && inode->marked != NULL);
    memset(inode->cache + inode->capacity, 0, capacity - inode->capacity);
    memset(inode->disk + inode->capacity, 0, capacity - inode->capacity);
    memset(inode->marked + inode->capacity / SECTOR, 0, (capacity - inode->capacity) / SECTOR);
    inode->capacity = capacity;
}

size_t sim_inode_sectors(const struct sim_inode *inode)
{
    return (inode->cache_size + SECTOR - 1) / SECTOR;
}

static void empty_disk(struct sim_inode *inode)
{
    if (inode->is_emptied) {
        memset(inode->disk, 0, inode->capacity);
        inode->disk_size = 0;
        inode->is_emptied = false;
    }
}

void sim_inode_sector_to_disk(struct sim_inode *inode, size_t sector)
{
    empty_disk(inode);
    memcpy(inode->disk + sector * SECTOR, inode->cache + sector * SECTOR, SECTOR);
    inode->marked[sector] = 0;
    size_t end =
        (sector + 1) * SECTOR < inode->cache_size ? (sector + 1) * SECTOR : inode->cache_size;
    inode->disk_size = end > inode->disk_size ? end : inode->disk_size;
}

void sim_inode_to_disk(struct sim_inode *inode)
{
    empty_disk(inode);
    for (size_t i = 0; i < sim_inode_sectors(inode); i++) {
        if (inode->marked[i]) {
            sim_inode_sector_to_disk(inode, i);
        }
    }
    inode->disk_size = inode->cache_size;
}

void sim_inode_sync_fails(struct sim_disk *disk, struct sim_inode *inode)
{
    bool is_mixed = random_once_in(&disk->random, 2);
    uint64_t fate = random_less(&disk->random, 3);
    for (size_t i = 0; i < sim_inode_sectors(inode); i++) {
        if (!inode->marked[i]) {
            continue;
        }
        switch (is_mixed ? random_less(&disk->random, 3) : fate) {
        case 0:
            sim_inode_sector_to_disk(inode, i);
            break;
        case 1:
            inode->marked[i] = 0; /* and nobody will write it */
            break;
        default:
            break;
        }
    }
}

void sim_inode_empty(struct sim_inode *inode)
{
    if (inode->cache_size > 0) {
        memset(inode->cache, 0, inode->capacity);
        memset(inode->marked, 0, inode->capacity / SECTOR);
        inode->cache_size = 0;
        inode->is_emptied = true;
    }
}

void sim_inode_write(struct sim_inode *inode, uint64_t offset, const char *data, size_t size)
{
    if (size == 0) {
        return;
    }
    size_t end = (size_t)offset + size;
    grow(inode, end);
    memcpy(inode->cache + offset, data, size);
    for (size_t i = (size_t)offset / SECTOR; i * SECTOR < end; i++) {
        inode->marked[i] = 1;
    }
    inode->cache_size = end > inode->cache_size ? end : inode->cache_size;
}

/* Something goes to the disk by itself. */
void sim_disk_write_back(struct sim_disk *disk)
{
    if (disk->inode_count == 0 || !random_once_in(&disk->random, WRITE_BACK_EVERY)) {
        return;
    }
    if (disk->change_count > 0 && random_once_in(&disk->random, 4)) {
        sim_disk_change_to_disk(disk);
        return;
    }
    struct sim_inode *inode = disk->inodes[random_less(&disk->random, disk->inode_count)];
    size_t count = sim_inode_sectors(inode);
    size_t from = count == 0 ? 0 : (size_t)random_less(&disk->random, count);
    for (size_t i = from; i < count; i++) {
        if (inode->marked[i]) {
            sim_inode_sector_to_disk(inode, i);
            return;
        }
    }
}

/* ---- ends ---- */

/* How a power loss treats what is marked: extremes are as likely as mixtures. */
enum mood { MOOD_LOSES, MOOD_KEEPS, MOOD_MIXES, MOOD_DAMAGES, MOODS };

static bool mood_keeps(struct sim_disk *disk, enum mood mood)
{
    return mood == MOOD_KEEPS || (mood != MOOD_LOSES && random_once_in(&disk->random, 2));
}

/* A byte of the sector that would change on the disk; SECTOR: none would. */
static size_t some_change(struct sim_disk *disk, const struct sim_inode *inode, size_t sector)
{
    const char *before = inode->disk + sector * SECTOR;
    const char *after = inode->cache + sector * SECTOR;
    size_t from = (size_t)random_less(&disk->random, SECTOR);
    for (size_t i = 0; i < SECTOR; i++) {
        size_t at = (from + i) % SECTOR;
        if (before[at] != after[at]) {
            return at;
        }
    }
    return SECTOR;
}

static void inode_loses_power(struct sim_disk *disk, struct sim_inode *inode, enum mood mood)
{
    size_t size_before = inode->is_emptied ? 0 : inode->disk_size;
    bool size_is_kept = mood_keeps(disk, mood);
    if (inode->is_emptied && !size_is_kept) {
        inode->is_emptied = false; /* it never was */
        size_before = inode->disk_size;
    }
    for (size_t i = 0; i < sim_inode_sectors(inode); i++) {
        if (!inode->marked[i] || !mood_keeps(disk, mood)) {
            continue;
        }
        size_t damaged = SECTOR;
        if (mood == MOOD_DAMAGES && random_once_in(&disk->random, 2)) {
            damaged = some_change(disk, inode, i);
        }
        sim_inode_sector_to_disk(inode, i);
        if (damaged < SECTOR) {
            char *byte = &inode->disk[i * SECTOR + damaged];
            *byte = (char)(*byte ^ 1 << random_less(&disk->random, 8));
        }
    }
    empty_disk(inode);
    if (size_is_kept && inode->cache_size > inode->disk_size) {
        inode->disk_size = inode->cache_size;
    } else if (!size_is_kept && inode->disk_size > size_before) {
        memset(inode->disk + size_before, 0, inode->disk_size - size_before);
        inode->disk_size = size_before;
    }
    inode->cache_size = inode->disk_size;
    if (inode->capacity > 0) {
        memset(inode->marked, 0, inode->capacity / SECTOR);
        memset(inode->disk + inode->disk_size, 0, inode->capacity - inode->disk_size);
        memcpy(inode->cache, inode->disk, inode->capacity);
    }
}

void sim_disk_lose_power(struct sim_disk *disk)
{
    enum mood mood = (enum mood)random_less(&disk->random, MOODS);
    for (unsigned i = 0; i < disk->inode_count; i++) {
        inode_loses_power(disk, disk->inodes[i], mood);
    }
    mood = (enum mood)random_less(&disk->random, MOODS);
    for (unsigned i = 0; i < disk->change_count; i++) {
        if (mood_keeps(disk, mood)) {
            table_change(&disk->durable, &disk->changes[i]);
        }
    }
    disk->change_count = 0;
    disk->visible = disk->durable;
}

/* What is not marked may be read from the disk again. */
void sim_disk_evict(struct sim_disk *disk)
{
    uint64_t percent = 50 * random_less(&disk->random, 3);
    for (unsigned i = 0; i < disk->inode_count; i++) {
        struct sim_inode *inode = disk->inodes[i];
        for (size_t j = 0; !inode->is_emptied && j < sim_inode_sectors(inode); j++) {
            if (!inode->marked[j] && random_less(&disk->random, 100) < percent) {
                memcpy(inode->cache + j * SECTOR, inode->disk + j * SECTOR, SECTOR);
            }
        }
    }
}

static bool is_named(const struct sim_disk *disk, const struct sim_inode *inode)
{
    for (unsigned i = 0; i < disk->visible.count; i++) {
        if (disk->visible.names[i].inode == inode) {
            return true;
        }
    }
    for (unsigned i = 0; i < disk->durable.count; i++) {
        if (disk->durable.names[i].inode == inode) {
            return true;
        }
    }
    for (unsigned i = 0; i < disk->change_count; i++) {
        if (disk->changes[i].inode == inode) {
            return true;
        }
    }
    return false;
}

void sim_disk_free_nameless(struct sim_disk *disk)
{
    unsigned kept = 0;
    for (unsigned i = 0; i < disk->inode_count; i++) {
        if (disk->inodes[i]->handles > 0 || is_named(disk, disk->inodes[i])) {
            disk->inodes[kept++] = disk->inodes[i];
        } else {
            inode_free(disk->inodes[i]);
        }
    }
    disk->inode_count = kept;
}

uint64_t sim_disk_used_bytes(const struct sim_disk *disk)
{
    uint64_t used = 0;
    for (unsigned i = 0; i < disk->inode_count; i++) {
        if (disk->inodes[i]->handles > 0 || is_named(disk, disk->inodes[i])) {
            used += disk->inodes[i]->cache_size;
        }
    }
    return used;
}

struct sim_inode *sim_disk_find(const struct sim_disk *disk, const char *name)
{
    for (unsigned i = 0; i < disk->visible.count; i++) {
        if (strcmp(disk->visible.names[i].text, name) == 0) {
            return disk->visible.names[i].inode;
        }
    }
    return NULL;
}

void sim_disk_deinit(struct sim_disk *disk)
{
    for (unsigned i = 0; i < disk->inode_count; i++) {
        CHECK(disk->inodes[i]->handles == 0);
        inode_free(disk->inodes[i]);
    }
    disk->inode_count = 0;
}
