/* SPDX-License-Identifier: Apache-2.0 */
/*
 * log_world: a commit log on a simulated disk, with records that a number makes, and what recovery
 * has found. Include after cmocka.h.
 */
#ifndef SUPPORT_LOG_WORLD_H
#define SUPPORT_LOG_WORLD_H

#include "commitlog/log.h"
#include "commitlog/storage_sim.h"

enum { WORLD_RECORDS_MAX = 20000, WORLD_SEGMENTS_MAX = 256 };

struct world_found {
    enum log_record_type type;
    uint64_t version;
    uint64_t hash; /* of the whole record */
};

struct world {
    struct storage_sim *sim;
    struct log *log;
    struct log_config config;
    struct log_problem problem;
    uint64_t now_us;
    /* What the last world_open() was told by recovery. */
    struct world_found found[WORLD_RECORDS_MAX];
    unsigned found_count;
    uint64_t batch_count;
    uint64_t batch_last_us;
};

void world_init(struct world *world, uint64_t seed);
void world_deinit(struct world *world);

enum err world_open(struct world *world);
void world_close(struct world *world);

/* Record `number`, a commit (version > 0) with a value of `value_bytes`, or a fence (version 0).
 * Views are static; valid until the next call. */
struct log_record world_record(uint64_t number, uint64_t version, size_t value_bytes);
uint64_t world_record_hash(const struct log_record *record);

/* Reserves and appends. */
enum err world_append(struct world *world, const struct log_record *record);
enum err world_sync(struct world *world);

/* Reads all segments from their bytes alone, asserts that they are one log whose last segment is
 * zero behind its last batch, and returns how many records they hold. */
unsigned world_check_files(const struct world *world);

/* The segments' names in order; returns how many. */
unsigned world_segments(const struct world *world,
                        char (*out)[STORAGE_NAME_BYTES] /* WORLD_SEGMENTS_MAX */);

#endif
