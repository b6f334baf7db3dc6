/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sim_disk: files and a directory in memory, with what is on the disk kept apart from what is read.
 * The part of storage_sim that knows nothing of calls.
 *
 * Runs on: one thread. Owns: all memory of the files. Never blocks; out of memory is a CHECK.
 */
#ifndef COMMITLOG_SIM_DISK_H
#define COMMITLOG_SIM_DISK_H

#include "base/random.h"
#include "commitlog/storage.h"

enum {
    SIM_SECTOR_BYTES = 512,
    SIM_NAMES_MAX = 512,
    SIM_CHANGES_MAX = 512,
    SIM_INODES_MAX = 1024,
};

struct sim_inode {
    char *cache;     /* what is read */
    char *disk;      /* what a power loss leaves */
    uint8_t *marked; /* for each sector: the two may differ, and the system knows */
    size_t capacity; /* bytes, of whole sectors */
    size_t cache_size;
    size_t disk_size;
    bool is_emptied; /* and the disk does not know yet */
    unsigned handles;
};

struct sim_name {
    char text[STORAGE_NAME_BYTES];
    struct sim_inode *inode;
};

struct sim_table {
    struct sim_name names[SIM_NAMES_MAX];
    unsigned count;
};

/* `name` becomes `inode` (NULL: goes away), and `from` goes away. */
struct sim_change {
    char name[STORAGE_NAME_BYTES];
    char from[STORAGE_NAME_BYTES];
    struct sim_inode *inode;
};

struct sim_disk {
    struct random random;
    struct sim_table visible;
    struct sim_table durable;
    struct sim_change changes[SIM_CHANGES_MAX]; /* between the two, oldest first */
    unsigned change_count;
    struct sim_inode *inodes[SIM_INODES_MAX];
    unsigned inode_count;
};

void sim_disk_deinit(struct sim_disk *disk);

/* The directory. NULL: there is no such name. */
struct sim_inode *sim_disk_find(const struct sim_disk *disk, const char *name);
void sim_disk_change(struct sim_disk *disk, const char *name, const char *from,
                     struct sim_inode *inode);
void sim_disk_change_to_disk(struct sim_disk *disk); /* the oldest change */
uint64_t sim_disk_used_bytes(const struct sim_disk *disk);

/* Files. */
struct sim_inode *sim_inode_make(struct sim_disk *disk);
size_t sim_inode_sectors(const struct sim_inode *inode);
void sim_inode_empty(struct sim_inode *inode);
void sim_inode_write(struct sim_inode *inode, uint64_t offset, const char *data, size_t size);
void sim_inode_sector_to_disk(struct sim_inode *inode, size_t sector);
void sim_inode_to_disk(struct sim_inode *inode);
void sim_inode_sync_fails(struct sim_disk *disk, struct sim_inode *inode);

/* Now and then something goes to the disk by itself. */
void sim_disk_write_back(struct sim_disk *disk);

/* Ends: no file is open, but for the last one. */
void sim_disk_lose_power(struct sim_disk *disk);
void sim_disk_evict(struct sim_disk *disk);
void sim_disk_free_nameless(struct sim_disk *disk);

#endif
