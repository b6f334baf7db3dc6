/* SPDX-License-Identifier: Apache-2.0 */
/* Names, help texts and sources; docs/metrics.md is made from what they show. */
#include "weaseldb/commit_metrics.h"

#include <sys/statvfs.h>

enum { TIME_BOUNDS = 18, RECORD_BOUNDS = 14, BYTE_BOUNDS = 9 };

/* One for a process. */
static struct {
    struct commit_metrics_config config;
    struct metrics *metrics;
    struct metrics_histogram persist_time;
    struct metrics_histogram sync_time;
    struct metrics_histogram batch_records;
    struct metrics_histogram batch_bytes;

    /* The persist stage's. */
    struct metrics_cells *cells;
    bool has_written; /* since commit_metrics_persisted() */
} state;

/* ---- on the persist stage's thread ---- */

static void note_written(void *context, const struct log_written *written)
{
    (void)context;
    if (state.cells == NULL) {
        state.cells = metrics_cells_try_open(state.metrics);
    }
    if (state.cells == NULL) {
        return; /* no memory: this batch is not counted */
    }
    state.has_written = true;
    metrics_observe(state.cells, state.batch_records, written->records);
    metrics_observe(state.cells, state.batch_bytes, written->bytes);
    if (written->sync_ns > 0) {
        metrics_observe(state.cells, state.sync_time, written->sync_ns);
    }
}

void commit_metrics_persisted(uint64_t ns)
{
    if (state.has_written) {
        metrics_observe(state.cells, state.persist_time, ns);
        state.has_written = false;
    }
}

/* ---- at a scrape ---- */

static int64_t read_outcome(void *context)
{
    struct commit_stats stats = commit_stats(state.config.service);
    return (int64_t)stats.outcomes[(uintptr_t)context];
}

static int64_t read_repeats(void *context)
{
    (void)context;
    return (int64_t)commit_stats(state.config.service).repeats;
}

static int64_t read_version(void *context)
{
    (void)context;
    return (int64_t)commit_version_info(state.config.service).version;
}

static int64_t read_oldest_read(void *context)
{
    (void)context;
    return (int64_t)commit_version_info(state.config.service).oldest_read_version;
}

static int64_t read_conflict_entries(void *context)
{
    (void)context;
    return (int64_t)commit_stats(state.config.service).conflict_entries;
}

static int64_t read_conflict_bytes(void *context)
{
    (void)context;
    return (int64_t)commit_stats(state.config.service).conflict_bytes;
}

static int64_t read_conflict_limit(void *context)
{
    (void)context;
    return (int64_t)state.config.conflict_window_bytes_max;
}

static int64_t read_floor_raises(void *context)
{
    (void)context;
    return (int64_t)commit_stats(state.config.service).conflict_floor_raises;
}

static int64_t read_request_ids(void *context)
{
    (void)context;
    return (int64_t)commit_stats(state.config.service).request_ids;
}

static int64_t read_request_id_limit(void *context)
{
    (void)context;
    return (int64_t)state.config.request_ids_max;
}

static int64_t read_request_id_floor(void *context)
{
    (void)context;
    return (int64_t)commit_version_info(state.config.service).request_id_min_version;
}

static int64_t read_writable(void *context)
{
    (void)context;
    return commit_why_not_writable(state.config.service) == NULL ? 1 : 0;
}

static int64_t read_durable(void *context)
{
    (void)context;
    return state.config.relaxed ? 0 : 1;
}

static int64_t read_recovery(void *context)
{
    (void)context;
    return (int64_t)state.config.recovery_ns;
}

static int64_t read_log_prepared(void *context)
{
    (void)context;
    return log_stats(state.config.log).next_is_prepared ? 1 : 0;
}

/* Local file systems answer from memory. */
static int64_t read_free_bytes(void *context)
{
    struct statvfs space;
    (void)context;
    return statvfs(state.config.directory, &space) == 0
               ? (int64_t)space.f_bavail * (int64_t)space.f_frsize
               : 0;
}

static int64_t read_size_bytes(void *context)
{
    struct statvfs space;
    (void)context;
    return statvfs(state.config.directory, &space) == 0
               ? (int64_t)space.f_blocks * (int64_t)space.f_frsize
               : 0;
}

/* ---- registering ---- */

static void add_outcomes(struct metrics *metrics)
{
    static const struct {
        enum commit_outcome outcome;
        const char *name;
    } names[] = {
        {OUTCOME_COMMITTED, "committed"},
        {OUTCOME_NOT_COMMITTED, "not_committed"},
        {OUTCOME_EXPIRED, "expired"},
        {OUTCOME_CONFLICT, "conflict"},
        {OUTCOME_TOO_OLD, "too_old"},
        {OUTCOME_WRONG_LEADER, "wrong_leader"},
        {OUTCOME_FENCED, "fenced"},
        {OUTCOME_FUTURE_VERSION, "future_version"},
        {OUTCOME_OTHER_PAYLOAD, "other_payload"},
        {OUTCOME_NO_SPACE, "no_space"},
        {OUTCOME_IDS_FULL, "ids_full"},
        {OUTCOME_STOPPED, "stopped"},
        {OUTCOME_FAILED, "failed"},
    };
    struct metrics_family *family = metrics_family_register(
        metrics, METRICS_COUNTER, METRICS_PLAIN, "weaseldb_outcomes_total",
        "Transactions and status questions answered, by what became of them.");
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        metrics_callback_register(family,
                                  (const struct metrics_label[]){{"outcome", names[i].name}}, 1,
                                  read_outcome, (void *)(uintptr_t)names[i].outcome);
    }
}

static void add_windows(struct metrics *metrics)
{
    static const struct metrics_callback singles[] = {
        {METRICS_COUNTER, METRICS_PLAIN, "weaseldb_repeats_total",
         "Transactions whose request id was known.", read_repeats},
        {METRICS_GAUGE, METRICS_PLAIN, "weaseldb_version", "The latest durable version.",
         read_version},
        {METRICS_GAUGE, METRICS_PLAIN, "weaseldb_oldest_read_version",
         "The floor of the conflict window.", read_oldest_read},
        {METRICS_GAUGE, METRICS_PLAIN, "weaseldb_conflict_entries",
         "Keys and range ends in the conflict window.", read_conflict_entries},
        {METRICS_GAUGE, METRICS_BYTES, "weaseldb_conflict_window_bytes",
         "Memory of the conflict window.", read_conflict_bytes},
        {METRICS_GAUGE, METRICS_BYTES, "weaseldb_conflict_window_limit_bytes",
         "What weaseldb_conflict_window_bytes may reach.", read_conflict_limit},
        {METRICS_COUNTER, METRICS_PLAIN, "weaseldb_conflict_floor_raises_total",
         "Times that the conflict window forgot writes before their time, for want of memory.",
         read_floor_raises},
        {METRICS_GAUGE, METRICS_PLAIN, "weaseldb_request_ids", "Request ids that are known.",
         read_request_ids},
        {METRICS_GAUGE, METRICS_PLAIN, "weaseldb_request_ids_limit",
         "What weaseldb_request_ids may reach; the oldest make room.", read_request_id_limit},
        {METRICS_GAUGE, METRICS_PLAIN, "weaseldb_request_id_min_version",
         "Request ids of commits after this version are all known.", read_request_id_floor},
    };
    metrics_callbacks_register(metrics, singles, sizeof singles / sizeof singles[0], NULL);
}

static void add_log(struct metrics *metrics)
{
    static const struct metrics_callback singles[] = {
        {METRICS_GAUGE, METRICS_PLAIN, "weaseldb_log_writable",
         "1 while the commit log has space and has not failed.", read_writable},
        {METRICS_GAUGE, METRICS_PLAIN, "weaseldb_log_durable",
         "1 when commits are synced before they are answered, 0 with log.durability none.",
         read_durable},
        {METRICS_GAUGE, METRICS_PLAIN, "weaseldb_log_next_segment_prepared",
         "1 while the segment to follow stands ready.", read_log_prepared},
        {METRICS_GAUGE, METRICS_BYTES, "weaseldb_log_filesystem_free_bytes",
         "Free space where the log is.", read_free_bytes},
        {METRICS_GAUGE, METRICS_BYTES, "weaseldb_log_filesystem_size_bytes",
         "Size of the file system where the log is.", read_size_bytes},
        {METRICS_GAUGE, METRICS_NANOSECONDS, "weaseldb_recovery_seconds",
         "How long recovery took at the start.", read_recovery},
    };
    metrics_callbacks_register(metrics, singles, sizeof singles / sizeof singles[0], NULL);
}

static void add_batches(struct metrics *metrics)
{
    static const uint64_t times_ns[TIME_BOUNDS] = {
        20000,     50000,     100000,     200000,     500000,     1000000,
        2000000,   5000000,   10000000,   20000000,   50000000,   100000000,
        200000000, 500000000, 1000000000, 2000000000, 5000000000, 10000000000};
    uint64_t records[RECORD_BOUNDS];
    uint64_t bytes[BYTE_BOUNDS];
    for (unsigned i = 0; i < RECORD_BOUNDS; i++) {
        records[i] = UINT64_C(1) << i; /* to 8192 */
    }
    for (unsigned i = 0; i < BYTE_BOUNDS; i++) {
        bytes[i] = UINT64_C(256) << (2 * i); /* to 16 MiB */
    }
    state.persist_time = metrics_histogram_register(
        metrics_histogram_family_register(
            metrics, METRICS_NANOSECONDS, "weaseldb_persist_seconds",
            "Time of the persist stage to encode, write and sync what it was given at once.",
            times_ns, TIME_BOUNDS),
        NULL, 0);
    state.sync_time = metrics_histogram_register(
        metrics_histogram_family_register(metrics, METRICS_NANOSECONDS, "weaseldb_log_sync_seconds",
                                          "Time of the device to make a batch of the log durable.",
                                          times_ns, TIME_BOUNDS),
        NULL, 0);
    state.batch_records = metrics_histogram_register(
        metrics_histogram_family_register(metrics, METRICS_PLAIN, "weaseldb_log_batch_records",
                                          "Commits and fences in a batch of the log.", records,
                                          RECORD_BOUNDS),
        NULL, 0);
    state.batch_bytes = metrics_histogram_register(
        metrics_histogram_family_register(metrics, METRICS_BYTES, "weaseldb_log_batch_bytes",
                                          "Size of a batch of the log, padding included.", bytes,
                                          BYTE_BOUNDS),
        NULL, 0);
}

void commit_metrics_add(struct metrics *metrics, const struct commit_metrics_config *config)
{
    state.config = *config;
    state.metrics = metrics;
    add_outcomes(metrics);
    add_windows(metrics);
    add_log(metrics);
    add_batches(metrics);
    log_observe(config->log, &(struct log_observer){.written = note_written});
}
