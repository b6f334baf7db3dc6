/* SPDX-License-Identifier: Apache-2.0 */
/* The count of connections, and the wait for the last of them. */
#include "engine/core.h"

#include "base/check.h"

#include <errno.h>
#include <time.h>

enum err core_init(struct engine_core *core)
{
    pthread_condattr_t attributes;
    if (pthread_mutex_init(&core->drained_lock, NULL) != 0) {
        return ERR_SYSTEM;
    }
    CHECK(pthread_condattr_init(&attributes) == 0);
    CHECK(pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC) == 0);
    CHECK(pthread_cond_init(&core->drained, &attributes) == 0);
    CHECK(pthread_condattr_destroy(&attributes) == 0);
    return OK;
}

void core_deinit(struct engine_core *core)
{
    CHECK(pthread_cond_destroy(&core->drained) == 0);
    CHECK(pthread_mutex_destroy(&core->drained_lock) == 0);
}

bool core_try_open_connection(struct engine_core *core)
{
    /* relaxed: a count by itself; a connection's memory is handed over by its owner word */
    uint32_t before = atomic_fetch_add_explicit(&core->connections, 1,
                                                memory_order_relaxed); /* pairs with nothing */
    if (before < core->config.max_connections) {
        return true;
    }
    core_connections_closed(core, 1);
    return false;
}

void core_connections_closed(struct engine_core *core, uint32_t count)
{
    /* seq_cst with the load of `draining`: either this thread sees that somebody may wait, or that
     * one sees the count of zero before it waits. */
    uint32_t before = atomic_fetch_sub(&core->connections, count);
    CHECK(before >= count);
    if (before == count && atomic_load(&core->draining)) {
        CHECK(pthread_mutex_lock(&core->drained_lock) == 0);
        CHECK(pthread_cond_broadcast(&core->drained) == 0);
        CHECK(pthread_mutex_unlock(&core->drained_lock) == 0);
    }
}

void core_start_draining(struct engine_core *core)
{
    atomic_store(&core->draining, true);
}

bool core_wait_for_no_connections(struct engine_core *core, uint64_t until_ms)
{
    struct timespec until = {.tv_sec = (time_t)(until_ms / 1000),
                             .tv_nsec = (long)(until_ms % 1000) * 1000000L};
    CHECK(atomic_load(&core->draining));
    CHECK(pthread_mutex_lock(&core->drained_lock) == 0);
    int result = 0;
    while (atomic_load(&core->connections) > 0 && result != ETIMEDOUT) {
        result = pthread_cond_timedwait(&core->drained, &core->drained_lock, &until);
    }
    bool none = atomic_load(&core->connections) == 0;
    CHECK(pthread_mutex_unlock(&core->drained_lock) == 0);
    return none;
}
