/* SPDX-License-Identifier: Apache-2.0 */
/*
 * storage_sim: a disk in memory that fails as real ones do, and repeats it from a seed.
 *
 *   storage_sim_open(seed, &sim)
 *   log_open(&config, storage_sim_storage(sim), ...)       with config.by_hand
 *   storage_sim_crash_at(sim, 7)                           the 7th call from now is the last one
 *   ...                                                    calls fail from there on; close the log
 *   storage_sim_restart(sim, STORAGE_SIM_POWER_LOSS)       what was not synced is at chance's mercy
 *
 * What it models: docs/testing.md.
 *
 * Runs on: one thread. Owns: all files. Never blocks, makes no system call.
 */
#ifndef COMMITLOG_STORAGE_SIM_H
#define COMMITLOG_STORAGE_SIM_H

#include "commitlog/storage.h"

struct storage_sim;

enum storage_sim_call {
    STORAGE_SIM_OPEN,
    STORAGE_SIM_SIZE,
    STORAGE_SIM_READ,
    STORAGE_SIM_WRITE,
    STORAGE_SIM_SYNC,
    STORAGE_SIM_RENAME,
    STORAGE_SIM_UNLINK,
    STORAGE_SIM_SYNC_DIRECTORY,
    STORAGE_SIM_LIST,
    STORAGE_SIM_LOCK,
    STORAGE_SIM_CALLS, /* any of them */
};

enum storage_sim_end {
    STORAGE_SIM_PROCESS_ENDS, /* the system goes on: what was written can be read */
    STORAGE_SIM_POWER_LOSS,   /* what was not synced is lost, or not, or in part, or damaged */
};

/* ERR_MEMORY. */
enum err storage_sim_open(uint64_t seed, struct storage_sim **out) WARN_UNUSED;
void storage_sim_close(struct storage_sim *sim);
struct storage *storage_sim_storage(struct storage_sim *sim);

/* The `nth` call from now on (1: the next) is made not at all, or in part, or wholly, and it and
 * all that follow fail until the restart. 0: at once, before another call. */
void storage_sim_crash_at(struct storage_sim *sim, uint64_t nth);
bool storage_sim_has_crashed(const struct storage_sim *sim);

/* The `nth` call of this kind from now on (1: the next) fails with `error`; the next ones do not.
 * 0: none will. */
void storage_sim_fail_at(struct storage_sim *sim, enum storage_sim_call call, uint64_t nth,
                         int error);
/* Whether the call that should fail has been made. */
bool storage_sim_has_failed(const struct storage_sim *sim);

/* Every file must be closed. A crash or failure that is still to come will come. */
void storage_sim_restart(struct storage_sim *sim, enum storage_sim_end end);

/* Called before each call: what other threads might do meanwhile. It may call the storage too,
 * which does not call it then. NULL: nothing. */
void storage_sim_set_meanwhile(struct storage_sim *sim, void (*meanwhile)(void *context),
                               void *context);

/* How many bytes all files may hold; at first UINT64_MAX. */
void storage_sim_set_space(struct storage_sim *sim, uint64_t bytes);
uint64_t storage_sim_used_bytes(const struct storage_sim *sim);
/* How many writes found no space. */
uint64_t storage_sim_no_space_count(const struct storage_sim *sim);

/* How many calls of a kind were made since the beginning. */
uint64_t storage_sim_count(const struct storage_sim *sim, enum storage_sim_call call);

/* A hash of all calls with what they carried and how they ended. */
uint64_t storage_sim_trace(const struct storage_sim *sim);

/* For tests of damage: the bytes of a file where `offset` is, on the disk and as read; NULL: there
 * is none. `size` at most what the file has behind `offset`. */
void storage_sim_corrupt(struct storage_sim *sim, const char *name, uint64_t offset, uint8_t mask);
/* A copy of a file's bytes; to be freed. NULL: there is no such file. */
char *storage_sim_copy(const struct storage_sim *sim, const char *name, size_t *out_size);
/* Whether anything of a file would be at chance's mercy. False: no such file. */
bool storage_sim_is_dirty(const struct storage_sim *sim, const char *name);

#endif
