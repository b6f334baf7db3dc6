/* SPDX-License-Identifier: Apache-2.0 */
/*
 * retention: what of the log is kept, and how the rest is removed.
 *
 * Whole segments go, the oldest first, never the one being written:
 *
 *   - a segment that no policy needs, when there is a policy, once it is older than the windows of
 *     the service on top, so that a restart finds in the log what these windows promise;
 *   - a segment that a cap on age or bytes forbids, whether a policy needs it or not.
 *
 * Without a policy and without a cap everything is kept.
 *
 * A removal is two steps: the `state` file says which segment is the oldest that must be there, and
 * then files are unlinked. A crash in between leaves files below that bound, which the next start
 * removes; a file that is missing at or above it is damage.
 *
 * Runs on:  log_policy_put() and log_policy_remove(): any thread that may block. log_policies(),
 *           log_policy_find() and log_retention_stats(): any thread. Removal is a helper thread's.
 * Blocks:   log_policy_put() and log_policy_remove() only, for some syncs.
 */
#ifndef COMMITLOG_RETENTION_H
#define COMMITLOG_RETENTION_H

#include "base/bytes.h"
#include "base/err.h"

enum { LOG_POLICIES_MAX = 64, LOG_POLICY_ID_BYTES_MAX = 64 };

struct log; /* commitlog/log_internal.h */

/* Keeps everything after `version`. */
struct log_policy {
    char id[LOG_POLICY_ID_BYTES_MAX + 1]; /* NUL-terminated */
    uint64_t version;
};

enum log_retention_event_type {
    LOG_RETENTION_REMOVED,   /* segments with `first_version` to `last_version` are gone */
    LOG_RETENTION_OVERRULED, /* of these, `policy` wanted what came after its version */
    LOG_RETENTION_WINDOWS,   /* of these, some were younger than `windows_us` */
    LOG_RETENTION_STUCK,     /* did not work (errno): a bound is tried again, a file at the start */
    LOG_RETENTION_FAILED,    /* what `state` holds on the disk is not known: the process must end */
};

struct log_retention_event {
    enum log_retention_event_type type;
    uint64_t first_version;
    uint64_t last_version;
    uint64_t segments;
    uint64_t bytes;
    /* Of LOG_RETENTION_OVERRULED: how many were, and which one is the farthest behind. */
    uint32_t policies;
    const struct log_policy *policy;
};

struct log_retention_config {
    uint64_t age_us_max;      /* of a segment's last batch; 0: no cap */
    uint64_t bytes_max;       /* of all files of the log, the prepared one included; 0: no cap */
    uint64_t windows_us;      /* policies alone remove nothing that is younger */
    uint32_t policies_max;    /* at most LOG_POLICIES_MAX; 0: as many */
    uint64_t (*now_us)(void); /* the time of day since 1970; NULL: the system's */
    /* On the helper thread, without locks; NULL: nobody wants to know. */
    void (*event)(void *context, const struct log_retention_event *event);
    void *context;
};

/* 1 to LOG_POLICY_ID_BYTES_MAX letters, digits, '.', '_' and '-' of ASCII, the first one a letter
 * or a digit. */
bool log_policy_id_is_valid(struct bytes id);

/* Makes or moves a policy; durable on OK. `id` is valid. ERR_FULL: there are policies_max others.
 * ERR_SYSTEM: nothing has changed, errno says why. ERR_CLOSED: the disk holds the old or the new
 * one, and the process must end. */
enum err log_policy_put(struct log *log, struct bytes id, uint64_t version) WARN_UNUSED;
/* Durable on OK; *out_found says whether there was one. Errors as above. */
enum err log_policy_remove(struct log *log, struct bytes id, bool *out_found) WARN_UNUSED;

/* Those that are durable, in the order of their ids; returns how many. */
size_t log_policies(struct log *log, struct log_policy out[LOG_POLICIES_MAX]);
bool log_policy_find(struct log *log, struct bytes id, struct log_policy *out);

struct log_retention_stats {
    uint64_t removed_segments; /* since the start, like all of them */
    uint64_t removed_bytes;
    uint64_t overruled_segments; /* removed by a cap although a policy wanted them */
};
struct log_retention_stats log_retention_stats(const struct log *log);

#endif
