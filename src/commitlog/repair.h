/* SPDX-License-Identifier: Apache-2.0 */
/*
 * repair: cuts a log off behind a version, so that recovery takes what is left.
 *
 *   log_repair_plan(storage, version, now_sec, &progress, &repair, &problem)   changes nothing
 *   log_repair_apply(storage, removed, "removed-...", &repair, &begun)         does it
 *
 * Kept is all up to the commit of `version`, and the fences behind it, up to the next commit or the
 * first damage. A batch that holds commits on both sides of the cut is written anew with those that
 * are kept: the same number, time and place, fewer records. What is cut off goes to the directory
 * `removed`: segments behind the cut by renaming, and a copy of the one that is cut.
 *
 * A crash in the middle, numbered as in log_repair_apply():
 *
 *  1. The copy and the new segment are made beside the log (in `removed`, and as `repair.tmp`) and
 *     synced. A crash, or a full disk, leaves the old log, as damaged as it was.
 *  2. `state` is replaced: it names LOG_SEGMENT_UNDER_REPAIR as the newest segment. From here until
 * 5 every start refuses, whatever else there is, and a repair can be repeated: all up to `version`
 * is still in its place.
 *  3. The segments behind the cut are renamed into `removed`; both directories are synced.
 *  4. `repair.tmp` is renamed over the segment that is cut: it is whole, old or new, at any moment.
 *  5. `state` is replaced: it names that segment as the newest. Now a start takes the log.
 *
 * Policies of retention that name versions behind the cut name `version` then.
 *
 * When no segment changes (only the newest one is missing, or `state` is damaged), 5 alone is done.
 *
 * Runs on: one thread, which has the directory locked for apply. Blocks: while it reads and writes.
 */
#ifndef COMMITLOG_REPAIR_H
#define COMMITLOG_REPAIR_H

#include "commitlog/reader.h"

#define LOG_REPAIR_TEMPORARY_NAME "repair.tmp"

struct log_repair {
    bool is_needed; /* false: the log is sound and ends at `version` */
    uint64_t version;
    uint64_t first_version;
    uint64_t first_segment;
    struct log_problem damage; /* the first that was found; empty: none */

    /* The segment with the cut. */
    char kept[STORAGE_NAME_BYTES];
    struct log_segment_header header;
    uint64_t offset;         /* what follows is cut */
    uint64_t cut_bytes;      /* up to the last one that is not zero */
    bool is_segment_changed; /* by the cut, or since its file is too short */
    uint32_t kept_records;   /* of a batch at `offset` that is written anew; 0: there is none */
    uint64_t kept_bytes;     /* of its payload */
    struct log_batch_header batch;

    /* The ones behind. */
    struct log_names segments;
    size_t first_removed; /* index of */

    enum log_reader_state state_result;
    struct log_state state; /* to be */

    /* What can still be read of what goes. */
    uint64_t lost_commits;
    uint64_t lost_fences;
    uint64_t lost_last_version;
};

/* Told while the plan is made; both may be NULL. */
struct log_repair_progress {
    void *context;
    void (*show)(void *context, uint64_t bytes_done, uint64_t bytes_all);
};

/* `now_sec`: where `state` must be made anew, the count of starts goes on from there, so that no
 * earlier one is repeated. ERR_CLOSED: this is not a log. ERR_LIMIT: the log cannot be cut there.
 * ERR_INVALID: nothing can be kept. ERR_SYSTEM, ERR_MEMORY. *out_problem says why. On OK
 * log_repair_deinit() has to follow. */
enum err log_repair_plan(struct storage *storage, uint64_t version, uint64_t now_sec,
                         const struct log_repair_progress *progress, struct log_repair *out,
                         struct log_problem *out_problem) WARN_UNUSED;
void log_repair_deinit(struct log_repair *repair);

/* Whether apply needs a directory for what it removes. */
bool log_repair_removes(const struct log_repair *repair);

/* `removed`: a new directory, `removed_name` in `storage`; NULL when none is needed.
 * ERR_SYSTEM: errno says why; *out_begun: step 2 is done, so the repair has to be repeated. */
enum err log_repair_apply(struct storage *storage, struct storage *removed,
                          const char *removed_name, const struct log_repair *repair,
                          bool *out_begun) WARN_UNUSED;

#endif
