/* SPDX-License-Identifier: Apache-2.0 */
/*
 * storage: the files of one directory, as the commit log needs them, so that a simulated disk can
 * stand in for a real one.
 *
 * All functions are called through `struct storage`, by name inside the directory. On ERR_SYSTEM,
 * errno says why, and the state of what was being written is unknown.
 *
 * Runs on: any thread, but each file one at a time. Blocks: all of them.
 */
#ifndef COMMITLOG_STORAGE_H
#define COMMITLOG_STORAGE_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { STORAGE_NAME_BYTES = 64 };

struct storage_file; /* one open file */
struct storage;

struct storage_operations {
    /* ERR_CLOSED: it does not exist and `create` is false. A created file is empty; a file that was
     * there before is emptied when `create` is true. */
    enum err (*open)(struct storage *storage, const char *name, bool create,
                     struct storage_file **out);
    void (*close)(struct storage *storage, struct storage_file *file);
    enum err (*size)(struct storage *storage, struct storage_file *file, uint64_t *out);
    /* *out_size is less than `size` only at the end of the file. */
    enum err (*read)(struct storage *storage, struct storage_file *file, uint64_t offset, char *out,
                     size_t size, size_t *out_size);
    /* All of it, or an error. */
    enum err (*write)(struct storage *storage, struct storage_file *file, uint64_t offset,
                      const char *data, size_t size);
    /* Like write(), of zeros, past the page cache where the file system can: what stands there is
     * not kept in memory, and syncing it costs the device no more than the bytes. */
    enum err (*write_zeros)(struct storage *storage, struct storage_file *file, uint64_t offset,
                            size_t size);
    /* Data, and as much of the metadata as reading it back takes. */
    enum err (*sync)(struct storage *storage, struct storage_file *file);
    /* Replaces `to`. Durable after sync_directory(). */
    enum err (*rename)(struct storage *storage, const char *from, const char *to);
    enum err (*unlink)(struct storage *storage, const char *name);
    enum err (*sync_directory)(struct storage *storage);
    /* Calls back for each name, in no order. */
    enum err (*list)(struct storage *storage, void (*name)(void *context, const char *name),
                     void *context);
    /* Takes the directory for this process until it ends. ERR_FULL: another one has it, and
     * *out_holder is its pid (0: not known). */
    enum err (*lock)(struct storage *storage, uint64_t *out_holder);
};

struct storage {
    const struct storage_operations *operations;
    const char *name; /* for messages: the directory; NULL: it has none */
};

/* A directory of the file system; made, with its name synced, when it is missing. ERR_SYSTEM,
 * ERR_MEMORY. */
enum err storage_posix_open(const char *directory, struct storage **out) WARN_UNUSED;

/* One that must be there, and of which nothing is changed: what would, fails with EROFS. Nothing
 * is locked. ERR_SYSTEM, ERR_MEMORY. */
enum err storage_posix_open_read_only(const char *directory, struct storage **out) WARN_UNUSED;

/* Gives the lock back too. NULL is allowed. */
void storage_posix_close(struct storage *storage);

#endif
