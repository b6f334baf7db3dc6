/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The segments that are there, in memory and in `state`: begun by the persist stage, removed by the
 * helper thread of retention, looked up by anyone.
 *
 * `state` and the list change together, under both locks (see log_internal.h), and `state` is
 * durable before the list shows it.
 */
#include "base/check.h"
#include "commitlog/log_internal.h"

#include <stdlib.h>

void log_lock(pthread_mutex_t *lock)
{
    CHECK(pthread_mutex_lock(lock) == 0);
}

void log_unlock(pthread_mutex_t *lock)
{
    CHECK(pthread_mutex_unlock(lock) == 0);
}

enum err log_state_replace(struct log *log, const struct log_state *next)
{
    if (log->state_unknown) {
        return ERR_CLOSED;
    }
    enum err err = log_state_store(log->storage, next, log->state_spare);
    log->state_spare = NULL;
    if (err != OK) {
        log->state_unknown = err == ERR_CLOSED;
        return err;
    }
    log_lock(&log->view);
    log->state = *next;
    log_unlock(&log->view);
    return OK;
}

enum err log_state_set_aside(struct log *log)
{
    enum err err = OK;
    log_lock(&log->state_lock);
    if (log->state_spare == NULL && !log->state_unknown) {
        err = log_state_open_spare(log->storage, &log->state_spare);
    }
    log_unlock(&log->state_lock);
    return err;
}

/* Under `view`. */
static enum err make_room(struct log *log)
{
    if (log->list_count < log->list_capacity) {
        return OK;
    }
    size_t capacity = log->list_capacity == 0 ? 64 : log->list_capacity * 2;
    struct log_segment *larger = realloc(log->list, capacity * sizeof *larger);
    if (larger == NULL) {
        return ERR_MEMORY;
    }
    log->list = larger;
    log->list_capacity = capacity;
    return OK;
}

enum err log_segments_make_room(struct log *log)
{
    log_lock(&log->view);
    enum err err = make_room(log);
    log_unlock(&log->view);
    return err;
}

enum err log_segments_add(struct log *log, const struct log_segment *segment)
{
    log_lock(&log->view);
    enum err err = make_room(log);
    if (err == OK) {
        CHECK(log->list_count == 0 || log->list[log->list_count - 1].number + 1 == segment->number);
        log->list[log->list_count++] = *segment;
        atomic_fetch_add(&log->segments, 1);
        atomic_fetch_add(&log->bytes, segment->bytes);
    }
    log_unlock(&log->view);
    return err;
}

enum err log_segments_begin(struct log *log, const struct log_segment *segment)
{
    log_lock(&log->state_lock);
    struct log_state next = log->state;
    next.newest_segment = segment->number;
    next.oldest_segment = next.has_segments ? next.oldest_segment : segment->number;
    next.has_segments = true;
    enum err err = log_state_replace(log, &next);
    if (err == OK && log->list_count > 0) {
        log_lock(&log->view);
        log->list[log->list_count - 1].last_us = log->last_us;
        log_unlock(&log->view);
    }
    if (err == OK) {
        err = log_segments_add(log, segment);
    }
    log_unlock(&log->state_lock);
    log_retainer_wake(log);
    return err;
}

void log_segments_drop(struct log *log, size_t count)
{
    uint64_t bytes = 0;
    log_lock(&log->view);
    CHECK(count < log->list_count);
    for (size_t i = 0; i < count; i++) {
        bytes += log->list[i].bytes;
    }
    log->list_count -= count;
    memmove(log->list, log->list + count, log->list_count * sizeof *log->list);
    CHECK(log->list[0].number == log->state.oldest_segment);
    atomic_store(&log->first_version, log->list[0].first_version);
    atomic_fetch_sub(&log->segments, count);
    atomic_fetch_sub(&log->bytes, bytes);
    log_unlock(&log->view);
    log_index_forget(&log->index, log->state.oldest_segment);
}

uint64_t log_segments_oldest(struct log *log)
{
    log_lock(&log->view);
    CHECK(log->list_count > 0);
    uint64_t oldest = log->list[0].number;
    log_unlock(&log->view);
    return oldest;
}

/* ---- looked up by anyone ---- */

bool log_segment_of(struct log *log, uint64_t version, struct log_segment *out)
{
    log_lock(&log->view);
    size_t low = 0; /* all before it begin at or before `version` */
    size_t high = log->list_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (log->list[middle].first_version <= version) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    if (low > 0) {
        *out = log->list[low - 1];
    }
    log_unlock(&log->view);
    return low > 0;
}

enum log_segment_result log_segment_after(struct log *log, uint64_t number, struct log_segment *out)
{
    enum log_segment_result result = LOG_SEGMENT_NOT_YET;
    log_lock(&log->view);
    if (log->list_count > 0 && number + 1 < log->list[0].number) {
        result = LOG_SEGMENT_GONE;
    } else if (log->list_count > 0 && number + 1 - log->list[0].number < log->list_count) {
        *out = log->list[number + 1 - log->list[0].number];
        result = LOG_SEGMENT_FOUND;
    }
    log_unlock(&log->view);
    return result;
}
