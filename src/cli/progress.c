/* SPDX-License-Identifier: Apache-2.0 */
/* Bytes done, the rate since the start, and the time left at that rate. */
#include "cli/progress.h"

#include "base/clock.h"

#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#define EVERY_NS UINT64_C(200000000)
#define NS_PER_SEC UINT64_C(1000000000)

void progress_init(struct progress *progress, bool wanted)
{
    *progress = (struct progress){.is_shown = wanted && isatty(STDERR_FILENO) == 1,
                                  .started_ns = clock_monotonic_ns()};
}

void progress_show(struct progress *progress, uint64_t bytes_done, uint64_t bytes_all)
{
    if (!progress->is_shown) {
        return;
    }
    uint64_t now_ns = clock_monotonic_ns();
    if (progress->shown_ns != 0 && now_ns - progress->shown_ns < EVERY_NS) {
        return;
    }
    progress->shown_ns = now_ns;
    double mebibytes = (double)bytes_done / (1 << 20);
    double seconds = (double)(now_ns - progress->started_ns) / (double)NS_PER_SEC;
    double rate = seconds > 0 ? mebibytes / seconds : 0;
    (void)fprintf(stderr, "\r\033[K%3.0f %%  %.0f of %.0f MiB",
                  bytes_all == 0 ? 100.0 : 100.0 * (double)bytes_done / (double)bytes_all,
                  mebibytes, (double)bytes_all / (1 << 20));
    if (rate > 0 && bytes_all >= bytes_done) {
        double left = (double)(bytes_all - bytes_done) / (1 << 20) / rate;
        (void)fprintf(stderr, "  %.0f MiB/s  %.0f s left", rate, left);
    }
    (void)fflush(stderr);
}

void progress_clear(struct progress *progress)
{
    if (progress->shown_ns != 0) {
        (void)fputs("\r\033[K", stderr);
        (void)fflush(stderr);
        progress->shown_ns = 0;
    }
}
