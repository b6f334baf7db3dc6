/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bad_disk: a library to be preloaded into a server, whose disk then fails on demand.
 *
 * While the file that the environment variable BAD_DISK names exists, it says which call fails with
 * EIO: "sync" fdatasync(), "directory" fsync(), "write" pwrite(), "short" makes pwrite() write half
 * of the bytes at most, "hang" lets fdatasync() wait until the file says something else, "hang
 * read" pread().
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

static bool fails(const char *call)
{
    const char *path = getenv("BAD_DISK");
    char what[16] = "";
    int fd = path == NULL ? -1 : open(path, O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        ssize_t size = read(fd, what, sizeof what - 1);
        (void)size;
        (void)close(fd);
    }
    return strcmp(what, call) == 0;
}

/* The C library's own. */
static void *real(const char *name)
{
    return dlsym(RTLD_NEXT, name);
}

int fdatasync(int fd)
{
    int (*call)(int fd);
    *(void **)&call = real("fdatasync");
    while (fails("hang")) {
        (void)usleep(10000);
    }
    if (fails("sync")) {
        errno = EIO;
        return -1;
    }
    return call(fd);
}

int fsync(int fd)
{
    int (*call)(int fd);
    *(void **)&call = real("fsync");
    if (fails("directory")) {
        errno = EIO;
        return -1;
    }
    return call(fd);
}

ssize_t pread(int fd, void *out, size_t size, off_t offset)
{
    ssize_t (*call)(int fd, void *out, size_t size, off_t offset);
    *(void **)&call = real("pread64");
    while (fails("hang read")) {
        (void)usleep(10000);
    }
    return call(fd, out, size, offset);
}

/* With 64-bit offsets, which Meson asks for, its name is pwrite64 for the linker, here as in the
 * server. */
ssize_t pwrite(int fd, const void *data, size_t size, off_t offset)
{
    ssize_t (*call)(int fd, const void *data, size_t size, off_t offset);
    *(void **)&call = real("pwrite64");
    if (fails("write")) {
        errno = EIO;
        return -1;
    }
    return call(fd, data, fails("short") && size > 1 ? size / 2 : size, offset);
}
