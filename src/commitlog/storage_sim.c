/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The simulated disk's calls: each may be the last one of the process, or fail, before what it does
 * is done to sim_disk not at all, in part or wholly.
 */
#include "commitlog/storage_sim.h"

#include "base/check.h"
#include "commitlog/sim_disk.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

struct storage_file {
    struct sim_inode *inode;
};

struct storage_sim {
    struct storage storage; /* first: sim_of() */
    struct sim_disk disk;
    void (*meanwhile)(void *context);
    void *meanwhile_context;
    bool is_meanwhile;
    bool is_locked;
    bool has_crashed;
    bool has_failed;
    uint64_t crash_in; /* calls; 0: never */
    uint64_t fail_in;
    enum storage_sim_call fail_call;
    int fail_error;
    uint64_t space;
    uint64_t no_space_count;
    uint64_t counts[STORAGE_SIM_CALLS + 1];
    uint64_t trace;
};

static struct storage_sim *sim_of(struct storage *storage)
{
    return (struct storage_sim *)(void *)storage;
}

static void trace_add(struct storage_sim *sim, const void *data, size_t size)
{
    sim->trace = XXH3_64bits_withSeed(data, size, sim->trace);
}

void storage_sim_restart(struct storage_sim *sim, enum storage_sim_end end)
{
    for (unsigned i = 0; i < sim->disk.inode_count; i++) {
        CHECK(sim->disk.inodes[i]->handles == 0);
    }
    if (end == STORAGE_SIM_POWER_LOSS) {
        sim_disk_lose_power(&sim->disk);
    } else {
        sim_disk_evict(&sim->disk);
    }
    sim_disk_free_nameless(&sim->disk);
    sim->is_locked = false;
    sim->has_crashed = false;
}

/* ---- the calls ---- */

/* How much of a call is made. */
enum fate { FATE_GOOD, FATE_ERROR, FATE_NOTHING, FATE_PART, FATE_ALL };

/* Opens each call: whether it fails, and how. On all but FATE_GOOD errno is set. */
static enum fate begin_call(struct storage_sim *sim, enum storage_sim_call call, const char *text,
                            uint64_t offset, uint64_t size)
{
    const uint64_t numbers[3] = {(uint64_t)call, offset, size};
    if (sim->meanwhile != NULL && !sim->is_meanwhile) {
        sim->is_meanwhile = true;
        sim->meanwhile(sim->meanwhile_context);
        sim->is_meanwhile = false;
    }
    sim->counts[call]++;
    sim->counts[STORAGE_SIM_CALLS]++;
    trace_add(sim, numbers, sizeof numbers);
    trace_add(sim, text, strlen(text));
    if (sim->has_crashed) {
        errno = EIO;
        return FATE_NOTHING;
    }
    sim_disk_write_back(&sim->disk);
    if (sim->crash_in > 0 && --sim->crash_in == 0) {
        sim->has_crashed = true;
        errno = EIO;
        return (enum fate)(FATE_NOTHING + random_less(&sim->disk.random, 3));
    }
    bool counts = sim->fail_call == STORAGE_SIM_CALLS || sim->fail_call == call;
    if (counts && sim->fail_in > 0 && --sim->fail_in == 0) {
        sim->has_failed = true;
        errno = sim->fail_error;
        return FATE_ERROR;
    }
    return FATE_GOOD;
}

static enum err result_of(enum fate fate)
{
    return fate == FATE_GOOD ? OK : ERR_SYSTEM;
}

static bool is_made(enum fate fate)
{
    return fate == FATE_GOOD || fate == FATE_ALL;
}

static enum err sim_file_open(struct storage *storage, const char *name, bool create,
                              struct storage_file **out)
{
    struct storage_sim *sim = sim_of(storage);
    enum fate fate = begin_call(sim, STORAGE_SIM_OPEN, name, create, 0);
    struct sim_inode *inode = sim_disk_find(&sim->disk, name);
    if (!is_made(fate)) {
        return ERR_SYSTEM;
    }
    if (inode == NULL && !create) {
        errno = ENOENT;
        return fate == FATE_GOOD ? ERR_CLOSED : ERR_SYSTEM;
    }
    if (inode == NULL) {
        inode = sim_inode_make(&sim->disk);
        sim_disk_change(&sim->disk, name, "", inode);
    } else if (create) {
        sim_inode_empty(inode);
    }
    if (fate != FATE_GOOD) {
        return ERR_SYSTEM;
    }
    struct storage_file *file = malloc(sizeof *file);
    CHECK(file != NULL);
    file->inode = inode;
    inode->handles++;
    *out = file;
    return OK;
}

static void sim_file_close(struct storage *storage, struct storage_file *file)
{
    (void)storage;
    CHECK(file->inode->handles > 0);
    file->inode->handles--;
    free(file);
}

static enum err sim_size(struct storage *storage, struct storage_file *file, uint64_t *out)
{
    enum fate fate = begin_call(sim_of(storage), STORAGE_SIM_SIZE, "", 0, 0);
    if (fate == FATE_GOOD) {
        *out = file->inode->cache_size;
    }
    return result_of(fate);
}

static enum err sim_read(struct storage *storage, struct storage_file *file, uint64_t offset,
                         char *out, size_t size, size_t *out_size)
{
    const struct sim_inode *inode = file->inode;
    enum fate fate = begin_call(sim_of(storage), STORAGE_SIM_READ, "", offset, size);
    if (fate != FATE_GOOD) {
        return ERR_SYSTEM;
    }
    size_t there = offset < inode->cache_size ? inode->cache_size - (size_t)offset : 0;
    *out_size = there < size ? there : size;
    if (*out_size > 0) {
        memcpy(out, inode->cache + offset, *out_size);
    }
    return OK;
}

uint64_t storage_sim_used_bytes(const struct storage_sim *sim)
{
    return sim_disk_used_bytes(&sim->disk);
}

/* How much of a write finds space. */
static size_t space_for(struct storage_sim *sim, const struct sim_inode *inode, uint64_t offset,
                        size_t size)
{
    if (sim->space == UINT64_MAX || offset + size <= inode->cache_size) {
        return size;
    }
    uint64_t used = storage_sim_used_bytes(sim);
    uint64_t end_max = inode->cache_size + (used < sim->space ? sim->space - used : 0);
    return offset + size <= end_max ? size : offset < end_max ? (size_t)(end_max - offset) : 0;
}

static enum err sim_write(struct storage *storage, struct storage_file *file, uint64_t offset,
                          const char *data, size_t size)
{
    struct storage_sim *sim = sim_of(storage);
    enum fate fate = begin_call(sim, STORAGE_SIM_WRITE, "", offset, size);
    trace_add(sim, data, size);
    size_t done = is_made(fate)          ? size
                  : fate == FATE_NOTHING ? 0
                                         : (size_t)random_less(&sim->disk.random, size + 1);
    size_t fits = space_for(sim, file->inode, offset, done);
    sim_inode_write(file->inode, offset, data, fits);
    if (fits < done) {
        sim->no_space_count++;
        errno = ENOSPC;
        return ERR_SYSTEM;
    }
    return result_of(fate);
}

static enum err sim_write_zeros(struct storage *storage, struct storage_file *file, uint64_t offset,
                                size_t size)
{
    static const char zeros[64 << 10];
    enum err err = OK;
    for (size_t done = 0; err == OK && done < size; done += sizeof zeros) {
        size_t piece = size - done < sizeof zeros ? size - done : sizeof zeros;
        err = sim_write(storage, file, offset + done, zeros, piece);
    }
    return err;
}

static enum err sim_sync(struct storage *storage, struct storage_file *file)
{
    struct storage_sim *sim = sim_of(storage);
    enum fate fate = begin_call(sim, STORAGE_SIM_SYNC, "", 0, 0);
    if (is_made(fate)) {
        sim_inode_to_disk(file->inode);
    } else if (fate == FATE_ERROR) {
        sim_inode_sync_fails(&sim->disk, file->inode);
    } else if (fate == FATE_PART) {
        for (size_t i = 0; i < sim_inode_sectors(file->inode); i++) {
            if (file->inode->marked[i] && random_once_in(&sim->disk.random, 2)) {
                sim_inode_sector_to_disk(file->inode, i);
            }
        }
    }
    return result_of(fate);
}

static enum err sim_rename(struct storage *storage, const char *from, const char *to)
{
    struct storage_sim *sim = sim_of(storage);
    enum fate fate = begin_call(sim, STORAGE_SIM_RENAME, from, 0, 0);
    trace_add(sim, to, strlen(to));
    struct sim_inode *inode = sim_disk_find(&sim->disk, from);
    if (inode == NULL) {
        errno = ENOENT;
        return ERR_SYSTEM;
    }
    if (is_made(fate)) {
        sim_disk_change(&sim->disk, to, from, inode);
    }
    return result_of(fate);
}

static enum err sim_unlink(struct storage *storage, const char *name)
{
    struct storage_sim *sim = sim_of(storage);
    enum fate fate = begin_call(sim, STORAGE_SIM_UNLINK, name, 0, 0);
    if (sim_disk_find(&sim->disk, name) == NULL) {
        errno = ENOENT;
        return ERR_SYSTEM;
    }
    if (is_made(fate)) {
        sim_disk_change(&sim->disk, name, "", NULL);
    }
    return result_of(fate);
}

static enum err sim_sync_directory(struct storage *storage)
{
    struct storage_sim *sim = sim_of(storage);
    enum fate fate = begin_call(sim, STORAGE_SIM_SYNC_DIRECTORY, "", 0, 0);
    while (sim->disk.change_count > 0 &&
           (is_made(fate) || (fate != FATE_NOTHING && random_once_in(&sim->disk.random, 2)))) {
        sim_disk_change_to_disk(&sim->disk);
    }
    return result_of(fate);
}

static enum err sim_list(struct storage *storage, void (*name)(void *context, const char *name),
                         void *context)
{
    struct storage_sim *sim = sim_of(storage);
    enum fate fate = begin_call(sim, STORAGE_SIM_LIST, "", 0, 0);
    if (fate != FATE_GOOD) {
        return ERR_SYSTEM;
    }
    uint64_t first =
        sim->disk.visible.count == 0 ? 0 : random_less(&sim->disk.random, sim->disk.visible.count);
    for (unsigned i = 0; i < sim->disk.visible.count; i++) {
        name(context, sim->disk.visible.names[(first + i) % sim->disk.visible.count].text);
    }
    return OK;
}

static enum err sim_lock(struct storage *storage, uint64_t *out_holder)
{
    struct storage_sim *sim = sim_of(storage);
    enum fate fate = begin_call(sim, STORAGE_SIM_LOCK, "", 0, 0);
    if (fate != FATE_GOOD) {
        return ERR_SYSTEM;
    }
    if (sim->is_locked) {
        *out_holder = 1;
        return ERR_FULL;
    }
    sim->is_locked = true;
    return OK;
}

static const struct storage_operations OPERATIONS = {
    .open = sim_file_open,
    .close = sim_file_close,
    .size = sim_size,
    .read = sim_read,
    .write = sim_write,
    .write_zeros = sim_write_zeros,
    .sync = sim_sync,
    .rename = sim_rename,
    .unlink = sim_unlink,
    .sync_directory = sim_sync_directory,
    .list = sim_list,
    .lock = sim_lock,
};

/* ---- the test's side ---- */

enum err storage_sim_open(uint64_t seed, struct storage_sim **out)
{
    struct storage_sim *sim = calloc(1, sizeof *sim);
    if (sim == NULL) {
        return ERR_MEMORY;
    }
    sim->storage.operations = &OPERATIONS;
    sim->disk.random.state = seed;
    sim->space = UINT64_MAX;
    *out = sim;
    return OK;
}

void storage_sim_close(struct storage_sim *sim)
{
    if (sim == NULL) {
        return;
    }
    sim_disk_deinit(&sim->disk);
    free(sim);
}

struct storage *storage_sim_storage(struct storage_sim *sim)
{
    return &sim->storage;
}

void storage_sim_crash_at(struct storage_sim *sim, uint64_t nth)
{
    sim->crash_in = nth;
    sim->has_crashed = sim->has_crashed || nth == 0;
}

bool storage_sim_has_crashed(const struct storage_sim *sim)
{
    return sim->has_crashed;
}

void storage_sim_fail_at(struct storage_sim *sim, enum storage_sim_call call, uint64_t nth,
                         int error)
{
    sim->fail_call = call;
    sim->fail_in = nth;
    sim->fail_error = error;
    sim->has_failed = false;
}

bool storage_sim_has_failed(const struct storage_sim *sim)
{
    return sim->has_failed;
}

void storage_sim_set_meanwhile(struct storage_sim *sim, void (*meanwhile)(void *context),
                               void *context)
{
    sim->meanwhile = meanwhile;
    sim->meanwhile_context = context;
}

void storage_sim_set_space(struct storage_sim *sim, uint64_t bytes)
{
    sim->space = bytes;
}

uint64_t storage_sim_no_space_count(const struct storage_sim *sim)
{
    return sim->no_space_count;
}

uint64_t storage_sim_count(const struct storage_sim *sim, enum storage_sim_call call)
{
    return sim->counts[call];
}

uint64_t storage_sim_trace(const struct storage_sim *sim)
{
    return sim->trace;
}

void storage_sim_corrupt(struct storage_sim *sim, const char *name, uint64_t offset, uint8_t mask)
{
    struct sim_inode *inode = sim_disk_find(&sim->disk, name);
    CHECK(inode != NULL && offset < inode->cache_size);
    inode->cache[offset] = (char)(inode->cache[offset] ^ mask);
    inode->disk[offset] = (char)(inode->disk[offset] ^ mask);
}

char *storage_sim_copy(const struct storage_sim *sim, const char *name, size_t *out_size)
{
    const struct sim_inode *inode = sim_disk_find(&sim->disk, name);
    if (inode == NULL) {
        return NULL;
    }
    char *copy = malloc(inode->cache_size + 1);
    CHECK(copy != NULL);
    if (inode->cache_size > 0) {
        memcpy(copy, inode->cache, inode->cache_size);
    }
    *out_size = inode->cache_size;
    return copy;
}

bool storage_sim_is_dirty(const struct storage_sim *sim, const char *name)
{
    const struct sim_inode *inode = sim_disk_find(&sim->disk, name);
    for (size_t i = 0; inode != NULL && i < sim_inode_sectors(inode); i++) {
        if (inode->marked[i]) {
            return true;
        }
    }
    return inode != NULL && (inode->is_emptied || inode->disk_size != inode->cache_size);
}
