/* SPDX-License-Identifier: Apache-2.0 */
/*
 * log_internal: what opening, writing and preparing share, and which thread touches which part.
 */
#ifndef COMMITLOG_LOG_INTERNAL_H
#define COMMITLOG_LOG_INTERNAL_H

#include "base/thread.h"
#include "commitlog/index.h"
#include "commitlog/log.h"

#include <pthread.h>
#include <stdatomic.h>

#define LOG_PREPARED_NAME "prepared.tmp"
#define LOG_STATE_NAME "state"
#define LOG_STATE_TEMPORARY_NAME "state.tmp"

/* A number that no segment has: `state` names it while a repair is under way. */
#define LOG_SEGMENT_UNDER_REPAIR UINT64_MAX

/* The `state` file. */
struct log_state {
    uint64_t log_id;
    uint64_t epoch;
    uint64_t newest_segment; /* one that certainly exists, unless none does */
    uint64_t oldest_segment; /* the oldest that must exist; files below it are to be removed */
    bool has_segments;
    uint32_t policy_count;
    struct log_policy policies[LOG_POLICIES_MAX]; /* by id; zeros behind the last */
};

struct log {
    /* Fixed after open. */
    struct log_config config;
    struct storage *storage;
    uint64_t id;
    uint64_t epoch;
    struct log_observer observer; /* until the first batch; written NULL: nobody wants to know */

    /* The persist stage's, from open on. */
    struct storage_file *segment; /* being written */
    uint64_t segment_number;
    uint64_t segment_bytes;
    uint64_t segment_first_version;
    uint32_t segment_ordinal; /* among segments with the same first version */
    uint64_t offset;          /* where the next batch goes */
    uint64_t next_batch;
    uint64_t last_version; /* appended */
    uint64_t last_us;
    char *batch; /* header and records of the open batch */
    size_t batch_bytes;
    size_t batch_capacity; /* of the largest batch, and of the zeros behind it */
    size_t batch_reserved; /* what its records had reserved */
    uint32_t batch_count;
    uint64_t batch_first_version;
    bool has_failed; /* nothing is written any more */

    /* Shared. */
    _Alignas(64) _Atomic uint64_t reserved; /* promised, and not yet written */
    _Atomic uint64_t left;                  /* of the segment being written */
    _Atomic uint64_t prepared_bytes;        /* of the segment prepared; 0: none is */
    _Atomic uint64_t first_version;
    _Atomic uint64_t segments;
    _Atomic uint64_t bytes;
    _Atomic uint64_t written_bytes;
    _Atomic uint64_t batches;
    _Atomic uint64_t syncs;
    _Atomic uint64_t removed_segments; /* the retaining thread's, like the next two */
    _Atomic uint64_t removed_bytes;
    _Atomic uint64_t overruled_segments;

    /* What is there. Changed under `state_lock` and `view`, so that either is enough to read it.
     * `state_lock` comes first, and is held while `state` is written to the disk; `view` is never
     * held for longer than a copy. */
    pthread_mutex_t state_lock;
    pthread_mutex_t view;
    struct log_state state;
    struct log_segment *list; /* oldest first, the one being written last */
    size_t list_count;
    size_t list_capacity;

    /* Under `state_lock` alone. */
    struct storage_file *state_spare; /* state.tmp, in its full size; NULL: none is set aside */
    bool state_unknown; /* a replacement failed half way: nobody may replace it again */

    /* The thread of retention; under `view`. */
    struct thread retainer;
    bool retainer_runs;
    pthread_cond_t retain;
    bool retain_wanted;
    bool retain_stopping;

    struct log_index index; /* has a lock of its own */

    /* All that are open. Each has a lock of its own, which comes after this one. */
    pthread_mutex_t readers_lock;
    struct log_cursor_reader *readers;

    /* The hand-over of the prepared segment; under `lock`. */
    struct thread preparer;
    bool preparer_runs;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool wanted; /* a segment shall be prepared */
    bool stopping;
    _Atomic int prepare_error; /* of the last try; read without the lock too */
    bool is_taken; /* what was prepared is being named: its old name and `state` are in use */
    struct storage_file *prepared; /* zeroed and synced; NULL: none */
};

/* state.c */
/* ERR_CLOSED: there is none. ERR_INVALID: it is damaged, or of another format. */
enum err log_state_load(struct storage *storage, struct log_state *out);
/* Durable on OK. ERR_SYSTEM: the old one stands. ERR_CLOSED: one of the two does. `spare` is
 * closed: what log_state_open_spare() has made, or NULL. */
enum err log_state_store(struct storage *storage, const struct log_state *state,
                         struct storage_file *spare);
/* Makes what the next log_state_store() writes to: with it, that needs neither space of the disk
 * nor a descriptor nor memory. */
enum err log_state_open_spare(struct storage *storage, struct storage_file **out);

/* segment_list.c */
void log_lock(pthread_mutex_t *lock);
void log_unlock(pthread_mutex_t *lock);
/* Under `state_lock`: `next` becomes durable, then visible. Errors as log_state_store(). */
enum err log_state_replace(struct log *log, const struct log_state *next);
enum err log_state_set_aside(struct log *log);
/* Makes sure that one more can be added. ERR_MEMORY. */
enum err log_segments_make_room(struct log *log);
/* ERR_MEMORY. */
enum err log_segments_add(struct log *log, const struct log_segment *segment);
/* The persist stage's: the file is durable under its name and gets its place in `state` and list.
 * Any error is final. */
enum err log_segments_begin(struct log *log, const struct log_segment *segment);
/* The oldest `count`, below the bound that `state` has; under `state_lock`. */
void log_segments_drop(struct log *log, size_t count);
/* The number of the oldest; there is one. */
uint64_t log_segments_oldest(struct log *log);

/* retention.c */
/* Removes what is to be removed; how many microseconds until there may be more, UINT64_MAX: only
 * when something else changes. The retaining thread's. */
uint64_t log_retain(struct log *log);
enum err log_retainer_start(struct log *log);
void log_retainer_stop(struct log *log);
void log_retainer_wake(struct log *log);

/* cursor.c */
/* Closes what readers have open of segments that were removed: the disk has their space back when
 * the last one is closed. Any thread. */
void log_readers_close_removed(struct log *log);

/* writer.c */
/* Once the first segment to be written to is known. ERR_MEMORY. */
enum err log_make_batch(struct log *log);
enum err log_begin_segment(struct log *log);

/* prepare.c */
enum err log_prepare_now(struct log *log, struct storage_file **out);
enum err log_preparer_start(struct log *log);
void log_preparer_stop(struct log *log);
void log_preparer_ask(struct log *log);
/* Waits while one is being prepared. False: that changes nothing: one was ready before, or there is
 * no space. */
bool log_preparer_wait(struct log *log);
/* Likewise, and takes it; NULL: there is no space. Nothing is prepared until log_preparer_go_on().
 */
struct storage_file *log_preparer_take(struct log *log);
void log_preparer_go_on(struct log *log);

bool log_segment_name_parse(const char *name, uint64_t *out_first_version, uint32_t *out_ordinal);

#endif
