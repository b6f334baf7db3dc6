/* SPDX-License-Identifier: Apache-2.0 */
/*
 * log_internal: what opening, writing and preparing share, and which thread touches which part.
 */
#ifndef COMMITLOG_LOG_INTERNAL_H
#define COMMITLOG_LOG_INTERNAL_H

#include "base/thread.h"
#include "commitlog/log.h"

#include <pthread.h>
#include <stdatomic.h>

#define LOG_PREPARED_NAME "prepared.tmp"
#define LOG_STATE_NAME "state"
#define LOG_STATE_TEMPORARY_NAME "state.tmp"

/* The `state` file. */
struct log_state {
    uint64_t log_id;
    uint64_t epoch;
    uint64_t newest_segment; /* one that certainly exists, unless none does */
    bool has_segments;
};

struct log {
    /* Fixed after open. */
    struct log_config config;
    struct storage *storage;

    /* The persist stage's, from open on. */
    struct log_state state;
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
    size_t batch_capacity;
    size_t batch_reserved; /* what its records had reserved */
    uint32_t batch_count;
    uint64_t batch_first_version;

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

    /* The hand-over of the prepared segment; under `lock`. */
    struct thread preparer;
    bool preparer_runs;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool wanted; /* a segment shall be prepared */
    bool stopping;
    bool failed_once;              /* the last try has failed */
    struct storage_file *prepared; /* zeroed and synced; NULL: none */
};

/* state.c */
enum err log_state_load(struct storage *storage, struct log_state *out);
enum err log_state_store(struct storage *storage, const struct log_state *state);

/* writer.c */
enum err log_begin_segment(struct log *log);

/* prepare.c */
enum err log_prepare_now(struct log *log, struct storage_file **out);
enum err log_preparer_start(struct log *log);
void log_preparer_stop(struct log *log);
void log_preparer_ask(struct log *log);
/* Waits while one is being prepared. False: that changes nothing: one was ready before, or there is
 * no space. */
bool log_preparer_wait(struct log *log);
/* Likewise, and takes it; NULL: there is no space. */
struct storage_file *log_preparer_take(struct log *log);

/* "commit-<20 digits>.log", or "commit-<20 digits>-<ordinal>.log" */
void log_segment_name(uint64_t first_version, uint32_t ordinal, char out[STORAGE_NAME_BYTES]);
bool log_segment_name_parse(const char *name, uint64_t *out_first_version, uint32_t *out_ordinal);

#endif
