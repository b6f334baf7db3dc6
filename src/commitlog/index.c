/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two sorted arrays: segments, and points between. A version is looked up in the segments first,
 * then among the points, and the later place of the two is the answer.
 *
 * The writer must not wait for a reader that was interrupted while it holds the lock. So it notes
 * points by trylock, and one that fails is made up for by the next batch. A new segment it does
 * wait for: that comes with three syncs of a disk.
 */
#include "commitlog/index.h"

#include "base/check.h"

#include <stdlib.h>
#include <string.h>

void log_index_init(struct log_index *index)
{
    *index = (struct log_index){.spacing_bytes = LOG_INDEX_SPACING_BYTES};
    CHECK(pthread_mutex_init(&index->lock, NULL) == 0);
}

void log_index_deinit(struct log_index *index)
{
    CHECK(pthread_mutex_destroy(&index->lock) == 0);
    free(index->segments);
    free(index->points);
}

static void lock(struct log_index *index)
{
    CHECK(pthread_mutex_lock(&index->lock) == 0);
}

static void unlock(struct log_index *index)
{
    CHECK(pthread_mutex_unlock(&index->lock) == 0);
}

/* Not by versions: segments of nothing but fences begin with the same one. */
static void forget(struct log_index *index, uint64_t oldest)
{
    size_t gone = 0;
    while (gone + 1 < index->segment_count && index->segments[gone].segment < oldest) {
        gone++;
    }
    if (gone == 0) {
        return;
    }
    index->segment_count -= gone;
    memmove(index->segments, index->segments + gone,
            index->segment_count * sizeof *index->segments);
    size_t points_gone = 0;
    while (points_gone < index->point_count &&
           index->points[points_gone].segment < index->segments[0].segment) {
        points_gone++;
    }
    index->point_count -= points_gone;
    if (index->point_count > 0) {
        memmove(index->points, index->points + points_gone,
                index->point_count * sizeof *index->points);
    }
}

/* Under `lock`: room for one more segment. */
static enum err make_segment_room(struct log_index *index)
{
    if (index->segment_count < index->segment_capacity) {
        return OK;
    }
    size_t capacity = index->segment_capacity == 0 ? 64 : index->segment_capacity * 2;
    struct log_place *larger = realloc(index->segments, capacity * sizeof *larger);
    if (larger == NULL) {
        return ERR_MEMORY;
    }
    index->segments = larger;
    index->segment_capacity = capacity;
    return OK;
}

enum err log_index_make_room(struct log_index *index)
{
    lock(index);
    enum err err = make_segment_room(index);
    unlock(index);
    return err;
}

enum err log_index_add_segment(struct log_index *index, const struct log_place *first,
                               uint64_t oldest)
{
    lock(index);
    enum err err = make_segment_room(index);
    if (err == OK) {
        CHECK(index->segment_count == 0 ||
              index->segments[index->segment_count - 1].segment + 1 == first->segment);
        index->segments[index->segment_count++] = *first;
        forget(index, oldest);
        index->passed_bytes = 0;
    }
    unlock(index);
    return err;
}

void log_index_forget(struct log_index *index, uint64_t oldest)
{
    lock(index);
    forget(index, oldest);
    unlock(index);
}

/* Room for one more point. False: there is no memory for it, which only makes searches longer. */
static bool make_point_room(struct log_index *index)
{
    if (index->point_count == LOG_INDEX_POINTS_MAX) {
        for (size_t i = 0; i < LOG_INDEX_POINTS_MAX / 2; i++) {
            index->points[i] = index->points[2 * i];
        }
        index->point_count = LOG_INDEX_POINTS_MAX / 2;
        index->spacing_bytes *= 2;
    }
    if (index->point_count < index->point_capacity) {
        return true;
    }
    size_t capacity = index->point_capacity == 0 ? 256 : index->point_capacity * 2;
    struct log_index_point *larger = realloc(index->points, capacity * sizeof *larger);
    if (larger == NULL) {
        return false;
    }
    index->points = larger;
    index->point_capacity = capacity;
    return true;
}

void log_index_note_batch(struct log_index *index, const struct log_place *place, uint64_t bytes)
{
    if (index->passed_bytes >= index->spacing_bytes && pthread_mutex_trylock(&index->lock) == 0) {
        if (make_point_room(index)) {
            index->points[index->point_count++] =
                (struct log_index_point){.segment = place->segment,
                                         .offset = place->offset,
                                         .batch = place->batch,
                                         .version = place->version};
            index->passed_bytes = 0;
        }
        unlock(index);
    }
    index->passed_bytes += bytes;
}

static const struct log_place *segment_of(const struct log_index *index, uint64_t segment)
{
    if (index->segment_count == 0 || segment < index->segments[0].segment ||
        segment - index->segments[0].segment >= index->segment_count) {
        return NULL;
    }
    return &index->segments[segment - index->segments[0].segment];
}

bool log_index_find(struct log_index *index, uint64_t version, struct log_place *out)
{
    lock(index);
    /* The last of each whose version is not behind the one that is looked for. */
    size_t low = 0;
    size_t high = index->segment_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (index->segments[middle].version <= version) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    bool found = low > 0;
    if (found) {
        *out = index->segments[low - 1];
    }
    low = 0;
    high = index->point_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (index->points[middle].version <= version) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    if (found && low > 0 && index->points[low - 1].batch > out->batch) {
        const struct log_index_point *point = &index->points[low - 1];
        const struct log_place *segment = segment_of(index, point->segment);
        CHECK(segment != NULL);
        *out = *segment;
        out->offset = point->offset;
        out->batch = point->batch;
        out->version = point->version;
    }
    unlock(index);
    return found;
}

bool log_index_find_segment(struct log_index *index, uint64_t segment, struct log_place *out)
{
    lock(index);
    const struct log_place *found = segment_of(index, segment);
    if (found != NULL) {
        *out = *found;
    }
    unlock(index);
    return found != NULL;
}

uint64_t log_index_oldest_segment(struct log_index *index)
{
    lock(index);
    uint64_t oldest = index->segment_count == 0 ? 0 : index->segments[0].segment;
    unlock(index);
    return oldest;
}
