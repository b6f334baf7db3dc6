/* SPDX-License-Identifier: Apache-2.0 */
/*
 * index: where in the log a version is to be found, roughly: every segment, and a batch about every
 * LOG_INDEX_SPACING_BYTES between.
 *
 * In memory only: recovery and the writer note what they pass. Its size is bounded: beyond
 * LOG_INDEX_POINTS_MAX batches every second one is forgotten, and the spacing doubles.
 *
 * Runs on:  log_index_add_segment() and log_index_note_batch(): one thread, the writer's. The rest:
 *           any.
 * Blocks:   for the time of a binary search. log_index_note_batch() never: what it cannot note at
 *           once it notes with a later batch.
 */
#ifndef COMMITLOG_INDEX_H
#define COMMITLOG_INDEX_H

#include "base/err.h"

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { LOG_INDEX_SPACING_BYTES = 64 << 10, LOG_INDEX_POINTS_MAX = 32768 };

/* Where a batch stands, or will. */
struct log_place {
    uint64_t segment; /* its number */
    uint64_t segment_first_version;
    uint32_t segment_ordinal;
    uint64_t offset;
    uint64_t batch;   /* its number */
    uint64_t version; /* of its first commit; without any: of the next one to come */
};

struct log_index_point {
    uint64_t segment;
    uint64_t offset;
    uint64_t batch;
    uint64_t version;
};

struct log_index {
    /* The writer's. */
    uint64_t passed_bytes; /* since the last point */

    /* Under `lock`. */
    pthread_mutex_t lock;
    struct log_place *segments; /* the first batch of each, in order of their numbers, no gaps */
    size_t segment_count;
    size_t segment_capacity;
    struct log_index_point *points; /* in order */
    size_t point_count;
    size_t point_capacity;

    /* Written under `lock`, read by the writer without it, which alone writes it. */
    uint64_t spacing_bytes;
};

void log_index_init(struct log_index *index);
void log_index_deinit(struct log_index *index);

/* Any thread: makes sure that one more segment can be added. ERR_MEMORY. */
enum err log_index_make_room(struct log_index *index) WARN_UNUSED;

/* `first` is the place of the segment's first batch. Segments before number `oldest` are forgotten.
 * ERR_MEMORY. */
enum err log_index_add_segment(struct log_index *index, const struct log_place *first,
                               uint64_t oldest) WARN_UNUSED;

/* Any thread: forgets the segments before number `oldest`, but not the last one there is. */
void log_index_forget(struct log_index *index, uint64_t oldest);

/* A batch of `bytes` stands at `place`. */
void log_index_note_batch(struct log_index *index, const struct log_place *place, uint64_t bytes);

/* The last place that is known not to be behind the batch with `version`. False: that version is
 * before the first segment. */
bool log_index_find(struct log_index *index, uint64_t version, struct log_place *out);

/* The first batch of that segment. False: there is no such segment, or it is gone. */
bool log_index_find_segment(struct log_index *index, uint64_t segment, struct log_place *out);

/* The number of the oldest segment; of an empty log: 0. */
uint64_t log_index_oldest_segment(struct log_index *index);

#endif
