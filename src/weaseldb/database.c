/* SPDX-License-Identifier: Apache-2.0 */
/* Recovery as the operator sees it. */
#include "weaseldb/database.h"

#include "base/clock.h"
#include "base/logger.h"
#include "weaseldb/systemd.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

enum {
    PROGRESS_EVERY_NS = 1000000000,
    PATIENCE_SEC = 60 /* between two lines of progress, at the slowest */
};

/* One for a process. */
static void (*tell_log_failed)(void);

static uint64_t now_us(void)
{
    return clock_realtime_ns() / 1000;
}

/* What recovery calls, with progress in between. */
struct recovery {
    const struct log_visitor *visitor;
    uint64_t started_ns;
    uint64_t shown_ns;
};

static bool visit_batch(void *context, const struct log_batch_header *header)
{
    struct recovery *recovery = context;
    return recovery->visitor->batch(recovery->visitor->context, header);
}

static void visit_record(void *context, const struct log_record *record, uint64_t timestamp_us)
{
    struct recovery *recovery = context;
    recovery->visitor->record(recovery->visitor->context, record, timestamp_us);
}

static void visit_progress(void *context, uint64_t bytes_done, uint64_t bytes_all)
{
    struct recovery *recovery = context;
    uint64_t now_ns = clock_monotonic_ns();
    if (now_ns - recovery->shown_ns >= PROGRESS_EVERY_NS) {
        recovery->shown_ns = now_ns;
        log_info("recovering", LOG_U64("bytes_done", bytes_done), LOG_U64("bytes_all", bytes_all));
        char status[64];
        (void)snprintf(status, sizeof status, "STATUS=recovering, %u %% done",
                       bytes_all == 0 ? 0 : (unsigned)(bytes_done * 100 / bytes_all));
        systemd_notify_patience(status, PATIENCE_SEC);
    }
}

struct txn_limits database_limits(const struct config *config)
{
    return (struct txn_limits){
        .key_bytes_max = (uint32_t)config->commit.max_key_bytes,
        .value_bytes_max = (uint32_t)config->commit.max_value_bytes,
        .operations_max = (uint32_t)config->commit.max_operations,
        .preconditions_max = (uint32_t)config->commit.max_preconditions,
        .batch_transactions_max = (uint32_t)config->commit.max_batch_transactions,
    };
}

static void log_removed(const struct log_retention_event *event)
{
    switch (event->type) {
    case LOG_RETENTION_REMOVED:
        log_info("old segments removed", LOG_U64("segments", event->segments),
                 LOG_U64("bytes", event->bytes), LOG_U64("first_version", event->first_version),
                 LOG_U64("last_version", event->last_version));
        return;
    case LOG_RETENTION_OVERRULED:
        /* Under load a segment goes each moment, and each time the same is to be said. */
        LOG_RATE_LIMITED(LOG_WARN, 1, "a cap of [retention] has removed what a policy keeps",
                         LOG_U64("policies", event->policies),
                         LOG_STRING("farthest_behind", event->policy->id),
                         LOG_U64("policy_version", event->policy->version),
                         LOG_U64("log_start_version", event->last_version + 1));
        return;
    case LOG_RETENTION_WINDOWS:
        LOG_RATE_LIMITED(LOG_WARN, 1,
                         "retention.max_bytes has removed segments that are younger than the "
                         "windows of [commit]; a restart would not know their request ids",
                         LOG_U64("last_version", event->last_version));
        return;
    case LOG_RETENTION_STUCK:
        LOG_RATE_LIMITED(LOG_WARN, 1, "old segments cannot be removed",
                         LOG_U64("first_version", event->first_version),
                         LOG_STRING("error", strerror(errno)));
        return;
    case LOG_RETENTION_FAILED:
        break;
    }
}

static void on_retention_event(void *context, const struct log_retention_event *event)
{
    (void)context;
    log_removed(event);
    if (event->type == LOG_RETENTION_FAILED) {
        tell_log_failed();
    }
}

static void on_prepare_error(void *context, int error)
{
    (void)context;
    if (error != 0) {
        log_warn(
            "the next segment of the commit log cannot be made; it is tried again each second, "
            "and what does not fit this one is answered 503",
            LOG_STRING("error", strerror(error)));
    } else {
        log_info("the next segment of the commit log could be made again");
    }
}

static struct log_retention_config retention_config(const struct config *config)
{
    uint64_t ids_sec = (uint64_t)config->commit.request_id_window_sec;
    uint64_t conflicts_sec = (uint64_t)config->commit.conflict_window_sec;
    return (struct log_retention_config){
        .age_us_max = (uint64_t)config->retention.max_age_hours * 3600 * 1000000,
        .bytes_max = (uint64_t)config->retention.max_bytes,
        .windows_us = (ids_sec > conflicts_sec ? ids_sec : conflicts_sec) * 1000000,
        .policies_max = (uint32_t)config->retention.max_policies,
        .event = on_retention_event,
    };
}

static enum err open_log(const struct config *config, struct database *database)
{
    struct log_problem problem;
    struct recovery recovery = {.visitor = commit_log_visitor(database->commits),
                                .started_ns = clock_monotonic_ns()};
    recovery.shown_ns = recovery.started_ns;
    const struct log_visitor visitor = {.context = &recovery,
                                        .batch = visit_batch,
                                        .record = visit_record,
                                        .progress = visit_progress};
    const struct log_config log_config = {
        .segment_bytes = (uint64_t)config->log.segment_bytes,
        .durability = config->log.durability == CONFIG_DURABILITY_NONE ? LOG_DURABILITY_NONE
                                                                       : LOG_DURABILITY_SYNC,
        .record_bytes_max = config_record_bytes_max(config),
        .retention = retention_config(config),
        .prepare_error = on_prepare_error,
    };
    enum err err = log_open(&log_config, database->storage, &visitor, &database->log, &problem);
    if (err != OK) {
        log_error("cannot open the commit log", LOG_STRING("directory", config->log.directory),
                  LOG_STRING("problem", problem.text));
        return err;
    }
    commit_start(database->commits, database->log);
    database->recovery_ns = clock_monotonic_ns() - recovery.started_ns;
    log_info("recovered", LOG_STRING("directory", config->log.directory),
             LOG_U64("version", log_last_version(database->log)),
             LOG_U64("first_version", log_first_version(database->log)),
             LOG_U64("milliseconds", database->recovery_ns / 1000000));
    if (config->log.durability == CONFIG_DURABILITY_NONE) {
        log_warn("log.durability is none: power loss may take acknowledged commits back");
    }
    return OK;
}

enum err database_open(const struct config *config, void (*log_failed)(void), struct database *out)
{
    tell_log_failed = log_failed;
    struct database database = {0};
    const struct commit_config commit_config = {
        .conflict_bytes_max = (uint64_t)config->commit.conflict_window_bytes,
        .conflict_window_sec = (uint32_t)config->commit.conflict_window_sec,
        .request_id_window_sec = (uint32_t)config->commit.request_id_window_sec,
        .request_id_count_max = (uint32_t)config->commit.request_id_window_count,
        .now_us = now_us,
    };
    enum err err = commit_open(&commit_config, &database.commits);
    if (err != OK) {
        log_error("cannot open the commit service", LOG_STRING("error", err_name(err)));
        return err;
    }
    err = storage_posix_open(config->log.directory, &database.storage);
    if (err != OK) {
        log_error("cannot open the log's directory", LOG_STRING("directory", config->log.directory),
                  LOG_STRING("error", strerror(errno)));
    } else {
        err = open_log(config, &database);
    }
    if (err != OK) {
        database_close(&database);
        return err;
    }
    *out = database;
    return OK;
}

void database_close(struct database *database)
{
    if (database->log != NULL) {
        log_close(database->log);
    }
    if (database->storage != NULL) {
        storage_posix_close(database->storage);
    }
    commit_close(database->commits);
    *database = (struct database){0};
}
