/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The next segment, prepared ahead: zeros are really written and synced, so that later syncs of
 * batches write no metadata and find their space certain.
 *
 * The persist stage asks soon after it has begun a segment. The helper writes in pieces,
 * each synced, so that it never holds a commit's sync up by more than one piece. All that beginning
 * the segment takes is made now, so that it fails where nothing has been promised yet. Without
 * space (or descriptors, or memory) it removes what it has and tries again after a pause; so
 * commits go on by themselves when there is some again.
 *
 * What is prepared has a name of its own until it becomes a segment. While it is being renamed, the
 * helper keeps its hands off that name, or it would empty the segment that is being begun.
 *
 * Waiting: `wanted`, `prepared`, `is_taken` and `stopping` change under `lock` with a signal of
 * `changed`, and whoever sleeps has looked at them under the same lock; so no wake-up is lost.
 */
#include "commitlog/log_internal.h"

#include "base/bug.h"
#include "base/check.h"

#include <errno.h>
#include <time.h>

enum { PIECE_BYTES = 1 << 20, PAUSE_SEC = 1 };

static bool is_stopping(struct log *log)
{
    CHECK(pthread_mutex_lock(&log->lock) == 0);
    bool stopping = log->stopping;
    CHECK(pthread_mutex_unlock(&log->lock) == 0);
    return stopping;
}

static enum err fill(struct log *log, struct storage_file *file)
{
    const struct storage_operations *operations = log->storage->operations;
    enum err err = OK;
    for (uint64_t at = 0; err == OK && at < log->config.segment_bytes; at += PIECE_BYTES) {
        uint64_t rest = log->config.segment_bytes - at;
        size_t size = rest < PIECE_BYTES ? (size_t)rest : PIECE_BYTES;
        err = operations->write_zeros(log->storage, file, at, size);
        if (err == OK && log->config.durability == LOG_DURABILITY_SYNC) {
            err = operations->sync(log->storage, file);
        }
        if (is_stopping(log)) {
            err = ERR_CLOSED;
        }
    }
    return err;
}

enum err log_prepare_now(struct log *log, struct storage_file **out)
{
    const struct storage_operations *operations = log->storage->operations;
    struct storage_file *file;
    /* Beginning the segment replaces `state`, and must find space for that too. */
    enum err err = WEASEL_BUG(room_for_state_not_made) ? OK : log_state_set_aside(log);
    if (err == OK) {
        err = log_segments_make_room(log);
    }
    if (err == OK) {
        err = log_index_make_room(&log->index);
    }
    if (err == OK) {
        err = operations->open(log->storage, LOG_PREPARED_NAME, true, &file);
    }
    if (err != OK) {
        return err;
    }
    err = fill(log, file);
    if (err != OK) {
        int saved_errno = errno;
        operations->close(log->storage, file);
        (void)operations->unlink(log->storage, LOG_PREPARED_NAME);
        errno = saved_errno;
        return err;
    }
    *out = file;
    return OK;
}

/* Sleeps until there is work; false: the end. */
static bool wait_for_work(struct log *log)
{
    CHECK(pthread_mutex_lock(&log->lock) == 0);
    while (!log->stopping && (!log->wanted || log->prepared != NULL || log->is_taken)) {
        CHECK(pthread_cond_wait(&log->changed, &log->lock) == 0);
    }
    bool go_on = !log->stopping;
    CHECK(pthread_mutex_unlock(&log->lock) == 0);
    return go_on;
}

static void pause_until_next_try(struct log *log)
{
    struct timespec until;
    (void)clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += PAUSE_SEC;
    CHECK(pthread_mutex_lock(&log->lock) == 0);
    while (!log->stopping &&
           pthread_cond_timedwait(&log->changed, &log->lock, &until) != ETIMEDOUT) {
    }
    CHECK(pthread_mutex_unlock(&log->lock) == 0);
}

/* One try. False: there is no space, or it is the end. */
static bool prepare_once(struct log *log)
{
    struct storage_file *file;
    enum err err = log_prepare_now(log, &file);
    bool good = err == OK;
    int error = good ? 0 : err == ERR_SYSTEM ? errno : err == ERR_MEMORY ? ENOMEM : ECANCELED;
    CHECK(pthread_mutex_lock(&log->lock) == 0);
    /* relaxed: a number by itself; writers are under the lock, and it pairs with
     * log_prepare_error() */
    int before = atomic_exchange_explicit(&log->prepare_error, error, memory_order_relaxed);
    if (good) {
        log->prepared = file;
        log->wanted = false;
        /* release: pairs with log_try_reserve(); only a number, but it must not be seen early */
        atomic_store_explicit(&log->prepared_bytes, log->config.segment_bytes,
                              memory_order_release);
    }
    CHECK(pthread_cond_broadcast(&log->changed) == 0);
    CHECK(pthread_mutex_unlock(&log->lock) == 0);
    if (error != before && err != ERR_CLOSED && log->config.prepare_error != NULL) {
        log->config.prepare_error(log->config.context, error);
    }
    return good;
}

int log_prepare_error(const struct log *log)
{
    /* relaxed: a number of about now; pairs with nothing */
    return atomic_load_explicit(&log->prepare_error, memory_order_relaxed);
}

static void preparer_run(void *argument)
{
    struct log *log = argument;
    while (wait_for_work(log)) {
        if (!prepare_once(log)) {
            pause_until_next_try(log);
        }
    }
}

void log_prepare_step(struct log *log)
{
    CHECK(log->config.by_hand);
    CHECK(pthread_mutex_lock(&log->lock) == 0);
    bool due = log->wanted && log->prepared == NULL && !log->is_taken;
    CHECK(pthread_mutex_unlock(&log->lock) == 0);
    if (due) {
        (void)prepare_once(log);
    }
}

/* Under `lock`: until there is one, or a try has failed. */
static void wait_for_prepared(struct log *log)
{
    while (log->prepared == NULL && log_prepare_error(log) == 0 && !log->stopping) {
        if (log->config.by_hand && log->is_taken) {
            return; /* nobody is there to go on */
        }
        if (log->config.by_hand) {
            CHECK(pthread_mutex_unlock(&log->lock) == 0);
            (void)prepare_once(log);
            CHECK(pthread_mutex_lock(&log->lock) == 0);
        } else {
            CHECK(pthread_cond_wait(&log->changed, &log->lock) == 0);
        }
    }
}

enum err log_preparer_start(struct log *log)
{
    if (log->config.by_hand) {
        return OK;
    }
    enum err err = thread_start(&log->preparer, "log-prepare", ROLE_HELPER, preparer_run, log);
    log->preparer_runs = err == OK;
    return err;
}

void log_preparer_stop(struct log *log)
{
    if (log->preparer_runs) {
        CHECK(pthread_mutex_lock(&log->lock) == 0);
        log->stopping = true;
        CHECK(pthread_cond_broadcast(&log->changed) == 0);
        CHECK(pthread_mutex_unlock(&log->lock) == 0);
        thread_join(&log->preparer);
        log->preparer_runs = false;
    }
    if (log->prepared != NULL) {
        log->storage->operations->close(log->storage, log->prepared);
        (void)log->storage->operations->unlink(log->storage, LOG_PREPARED_NAME);
        log->prepared = NULL;
    }
}

void log_preparer_ask(struct log *log)
{
    CHECK(pthread_mutex_lock(&log->lock) == 0);
    if (log->prepared == NULL && !log->wanted) {
        log->wanted = true;
        CHECK(pthread_cond_broadcast(&log->changed) == 0);
    }
    CHECK(pthread_mutex_unlock(&log->lock) == 0);
}

bool log_preparer_wait(struct log *log)
{
    CHECK(pthread_mutex_lock(&log->lock) == 0);
    bool was_ready = log->prepared != NULL;
    if (!was_ready && !log->wanted) {
        log->wanted = true;
        CHECK(pthread_cond_broadcast(&log->changed) == 0);
    }
    wait_for_prepared(log);
    bool is_ready = log->prepared != NULL;
    CHECK(pthread_mutex_unlock(&log->lock) == 0);
    return is_ready && !was_ready;
}

struct storage_file *log_preparer_take(struct log *log)
{
    CHECK(pthread_mutex_lock(&log->lock) == 0);
    if (log->prepared == NULL) {
        log->wanted = true;
        CHECK(pthread_cond_broadcast(&log->changed) == 0);
    }
    wait_for_prepared(log);
    struct storage_file *file = log->prepared;
    log->prepared = NULL;
    log->is_taken = file != NULL && !WEASEL_BUG(segment_prepared_over);
    /* relaxed: a smaller number later seen does no harm, since a promise also fits the segment that
     * this one becomes */
    atomic_store_explicit(&log->prepared_bytes, 0, memory_order_relaxed);
    CHECK(pthread_mutex_unlock(&log->lock) == 0);
    return file;
}

void log_preparer_go_on(struct log *log)
{
    CHECK(pthread_mutex_lock(&log->lock) == 0);
    log->is_taken = false;
    CHECK(pthread_cond_broadcast(&log->changed) == 0);
    CHECK(pthread_mutex_unlock(&log->lock) == 0);
}
