/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sync: what the device itself needs to make a write durable, in the way the commit log writes:
 * over zeros that were written and synced before, from the page cache, with fdatasync().
 *
 *   sync [--smoke]
 *
 * The file is made in the directory for temporary files (TMPDIR, else /tmp), where bench/run keeps
 * the data of all servers. Batches of 1, 64 and 256 commits are as long as those of bench/run.
 */
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { FILE_BYTES = 64 << 20, PAGE_BYTES = 4096, COMMIT_BYTES = 190, SYNCS_MAX = 2000 };

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

static uint64_t now_ns(void)
{
    struct timespec time;
    (void)clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000U + (uint64_t)time.tv_nsec;
}

static int compare(const void *left, const void *right)
{
    const uint64_t *a = left;
    const uint64_t *b = right;
    return (*a > *b) - (*a < *b);
}

static int prepared_file(void)
{
    static char zeros[1 << 20];
    char path[256];
    const char *directory = getenv("TMPDIR");
    (void)snprintf(path, sizeof path, "%s/weasel-sync-XXXXXX",
                   directory == NULL ? "/tmp" : directory);
    int fd = mkstemp(path);
    if (fd < 0) {
        fail(path);
    }
    (void)unlink(path);
    for (off_t at = 0; at < FILE_BYTES; at += (off_t)sizeof zeros) {
        if (pwrite(fd, zeros, sizeof zeros, at) != (ssize_t)sizeof zeros) {
            fail("write");
        }
    }
    if (fdatasync(fd) != 0) {
        fail("fdatasync");
    }
    return fd;
}

/* Writes on behind *at, whole pages at a time as the log does. */
static void measure(int fd, off_t *at, unsigned commits, unsigned syncs)
{
    static char page[256 * COMMIT_BYTES + 2 * PAGE_BYTES];
    static uint64_t took[SYNCS_MAX];
    size_t size = (commits * COMMIT_BYTES + PAGE_BYTES - 1) / PAGE_BYTES * PAGE_BYTES;
    uint64_t sum = 0;
    memset(page, 1, sizeof page);
    for (unsigned i = 0; i < syncs; i++) {
        *at = *at + (off_t)size > FILE_BYTES ? 0 : *at;
        uint64_t start = now_ns();
        if (pwrite(fd, page, size, *at) != (ssize_t)size || fdatasync(fd) != 0) {
            fail("write and sync");
        }
        took[i] = now_ns() - start;
        sum += took[i];
        *at += (off_t)size;
    }
    qsort(took, syncs, sizeof took[0], compare);
    (void)printf("%7u %7zu %9.0f %9.0f %9.0f\n", commits, size, (double)sum / syncs / 1000,
                 (double)took[syncs / 2] / 1000, (double)took[syncs * 99 / 100] / 1000);
}

int main(int argc, char **argv)
{
    bool smoke = argc == 2 && strcmp(argv[1], "--smoke") == 0;
    if (argc > 1 && !smoke) {
        (void)fputs("usage: sync [--smoke]\n", stderr);
        return 2;
    }
    int fd = prepared_file();
    off_t at = 0;
    (void)printf("commits   bytes   mean us    p50 us    p99 us\n");
    static const unsigned batches[] = {1, 64, 256};
    for (size_t i = 0; i < sizeof batches / sizeof batches[0]; i++) {
        measure(fd, &at, batches[i], smoke ? 10 : SYNCS_MAX);
    }
    (void)close(fd);
    return 0;
}
