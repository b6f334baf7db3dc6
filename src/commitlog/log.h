/* SPDX-License-Identifier: Apache-2.0 */
/*
 * log: the commit log of one directory, from recovery to the last sync.
 *
 *   log_open(&config, storage, &visitor, &log, &problem)     locks, recovers, tells what is there
 *   if (log_try_reserve(log, log_record_bytes(&record), kind))   before anything is promised
 *   log_append(log, &record, now_us) ... log_sync(log, now_us)           one batch, one sync
 *   log_close(log)
 *
 * Whatever log_sync() has returned OK for survives power loss. The first error of log_append() or
 * log_sync() is final: what is on the disk is not known, and only recovery may decide.
 *
 * Memory:   all that appending takes is there from open on, or made with the next segment: without
 *           memory there is none, and no promise of space.
 *
 * Runs on:  open and close: one thread, while nothing else uses the log. log_try_reserve(): the
 *           sequence stage's thread. log_append(), log_sync(): the persist stage's. The rest: any.
 *           One helper thread prepares the next segment, another removes old ones (retention.h).
 * Owns:     the files of the directory. Borrows: `storage`, until close.
 * Blocks:   open, close and log_sync(); log_append() only when a batch outgrows
 * LOG_BATCH_BYTES_MAX.
 */
#ifndef COMMITLOG_LOG_H
#define COMMITLOG_LOG_H

#include "commitlog/format.h"
#include "commitlog/retention.h"
#include "commitlog/storage.h"

enum {
    LOG_BATCH_BYTES_MAX = 8 << 20, /* a larger one is written and synced in pieces */
    LOG_PROBLEM_BYTES = 1024,
    LOG_RESERVE_BYTES = 64 << 10, /* kept for fences when space runs out */
};

/* The least config.segment_bytes. */
#define LOG_SEGMENT_BYTES_MIN (UINT64_C(256) << 10)

enum log_durability { LOG_DURABILITY_SYNC, LOG_DURABILITY_NONE };

struct log_config {
    uint64_t segment_bytes; /* of segments to come */
    enum log_durability durability;
    uint64_t record_bytes_max; /* of the records to come; 0: what fits a segment */
    struct log_retention_config retention;
    /* Called on the thread that prepares segments when that begins to fail (errno), fails for
     * another reason, or is good again (0). NULL: nobody wants to know. */
    void (*prepare_error)(void *context, int error);
    void *context;
    bool by_hand;        /* no helper threads: log_prepare_step() prepares, nothing retains */
    uint64_t new_log_id; /* of a log that is made; 0: drawn at random */
};

/* What recovery finds, oldest first. */
struct log_visitor {
    void *context;
    /* True: its records are wanted too. */
    bool (*batch)(void *context, const struct log_batch_header *header);
    /* Views live during the call. */
    void (*record)(void *context, const struct log_record *record, uint64_t timestamp_us);
    void (*progress)(void *context, uint64_t bytes_done, uint64_t bytes_all);
};

/* Why a log could not be opened, in words: what, where, and what to do. */
struct log_problem {
    char text[LOG_PROBLEM_BYTES];
};

struct log; /* commitlog/log_internal.h */

/* ERR_FULL: another process has the directory. ERR_INVALID: the log is damaged, or not for this
 * program; nothing was changed. ERR_SYSTEM, ERR_MEMORY. *out_problem is written on every error. */
enum err log_open(const struct log_config *config, struct storage *storage,
                  const struct log_visitor *visitor, struct log **out,
                  struct log_problem *out_problem) WARN_UNUSED;
void log_close(struct log *log);

uint64_t log_id(const struct log *log);
uint64_t log_epoch(const struct log *log);         /* how often it has been opened */
uint64_t log_first_version(const struct log *log); /* that is still there; of an empty log: 1 */
uint64_t log_last_version(const struct log *log);  /* after log_open(): 0 when it is empty */

/* How much of the log's space a record may need, framing included. */
size_t log_record_bytes(const struct log_record *record);

enum log_reserve { LOG_RESERVE_COMMIT, LOG_RESERVE_FENCE };

/* Promises space. False: it is not certain to be there, since the next segment is not prepared and
 * what is left of this one is promised already; fences may use up the last
 * LOG_RESERVE_BYTES. Waits while the next segment is being prepared, so that a fast writer is held
 * back and not refused. */
bool log_try_reserve(struct log *log, size_t bytes, enum log_reserve kind);
/* Any thread: gives a promise back that will not be used. */
void log_release(struct log *log, size_t bytes);

/* Adds a record (of record_bytes_max at most), with the space reserved for it, to the open batch;
 * copies it. Versions of commits have no gaps. `now_us` is for batches that outgrow a limit; it
 * never goes back. ERR_SYSTEM: final. */
enum err log_append(struct log *log, const struct log_record *record, uint64_t now_us) WARN_UNUSED;
/* Writes the open batch and makes it durable. `now_us` never goes back. ERR_SYSTEM: final. */
enum err log_sync(struct log *log, uint64_t now_us) WARN_UNUSED;

/* A batch that was written and is as durable as config.durability wants. */
struct log_written {
    uint64_t bytes;   /* on the disk, padding included */
    uint64_t sync_ns; /* that the sync took; 0: there was none */
    uint32_t records;
};

/* Who is told of each batch, on the persist stage's thread. */
struct log_observer {
    void *context;
    void (*written)(void *context, const struct log_written *written);
};

/* Once, before the first log_append(); `observer` is copied. */
void log_observe(struct log *log, const struct log_observer *observer);

/* ---- which segments there are, for readers; any thread ---- */

struct log_segment {
    uint64_t number;        /* 0, 1, ... */
    uint64_t first_version; /* of the first commit in it, or to come */
    uint32_t ordinal;       /* among segments with the same first version; part of its name */
    uint64_t bytes;         /* of the file */
    uint64_t last_us;       /* timestamp of its last batch; of the newest segment 0 or old */
};

enum log_segment_result {
    LOG_SEGMENT_FOUND,
    LOG_SEGMENT_GONE,    /* removed by retention */
    LOG_SEGMENT_NOT_YET, /* not begun */
};

/* The segment that holds `version`, or that a version to come will be in or behind. False: it is
 * before log_first_version(), so it has been removed. A file that is found here may be removed
 * before it is opened: then ask again. One that is open can be read to its end. */
bool log_segment_of(struct log *log, uint64_t version, struct log_segment *out);
/* The one that follows number `number`. */
enum log_segment_result log_segment_after(struct log *log, uint64_t number,
                                          struct log_segment *out);
/* Its file: "commit-<20 digits>.log", or "commit-<20 digits>-<ordinal>.log". */
void log_segment_name(uint64_t first_version, uint32_t ordinal, char out[STORAGE_NAME_BYTES]);
/* With config.by_hand: what the helper thread would do next, if anything. Whoever would wait for
 * the helper does that by himself. */
void log_prepare_step(struct log *log);

/* Whether commits of any size find space, as far as is known now. */
bool log_is_writable(const struct log *log);

/* Why the next segment could not be made at the last try, as errno; 0: nothing has failed. */
int log_prepare_error(const struct log *log);

struct log_stats {
    uint64_t segments;      /* files of the log */
    uint64_t bytes;         /* of them, whole */
    uint64_t written_bytes; /* since the start */
    uint64_t batches;       /* since the start */
    uint64_t syncs;         /* since the start */
    bool next_is_prepared;
};
struct log_stats log_stats(const struct log *log);

#endif
