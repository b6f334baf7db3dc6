/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/stop.h"

#include "base/check.h"

#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>

/* Lock-free, so that a signal handler may store to it. */
static atomic_bool wanted;

static void on_signal(int number)
{
    (void)number;
    /* relaxed: it is a flag alone, and the loop that reads it is on the same thread */
    atomic_store_explicit(&wanted, true, memory_order_relaxed);
}

void stop_init(void)
{
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND};
    (void)sigemptyset(&action.sa_mask);
    CHECK(sigaction(SIGINT, &action, NULL) == 0 && sigaction(SIGTERM, &action, NULL) == 0);
}

bool stop_is_wanted(void)
{
    /* relaxed: see on_signal() */
    return atomic_load_explicit(&wanted, memory_order_relaxed);
}
