/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Storage on a real file system.
 *
 * The lock is an flock() on the file `lock`, which holds the pid in decimal: it ends with the
 * process, however that ends. Syncing data is fdatasync(), which leaves out what a reader does not
 * need, such as times.
 */
#include "base/bytes.h"
#include "base/check.h"
#include "commitlog/storage.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

struct storage_file {
    int fd;
};

struct posix {
    struct storage storage; /* first: posix_of() */
    int directory_fd;
    int lock_fd;
    bool read_only;
    char name[]; /* storage.name */
};

static struct posix *posix_of(struct storage *storage)
{
    return (struct posix *)(void *)storage;
}

static enum err posix_open(struct storage *storage, const char *name, bool create,
                           struct storage_file **out)
{
    const struct posix *posix = posix_of(storage);
    if (create && posix->read_only) {
        errno = EROFS;
        return ERR_SYSTEM;
    }
    int flags =
        (posix->read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC | (create ? O_CREAT | O_TRUNC : 0);
    int fd = openat(posix->directory_fd, name, flags, 0640);
    if (fd < 0) {
        return errno == ENOENT && !create ? ERR_CLOSED : ERR_SYSTEM;
    }
    struct storage_file *file = malloc(sizeof *file);
    if (file == NULL) {
        (void)close(fd);
        errno = ENOMEM;
        return ERR_SYSTEM;
    }
    file->fd = fd;
    *out = file;
    return OK;
}

static void posix_close(struct storage *storage, struct storage_file *file)
{
    (void)storage;
    (void)close(file->fd);
    free(file);
}

static enum err posix_size(struct storage *storage, struct storage_file *file, uint64_t *out)
{
    (void)storage;
    struct stat status;
    if (fstat(file->fd, &status) != 0) {
        return ERR_SYSTEM;
    }
    *out = (uint64_t)status.st_size;
    return OK;
}

static enum err posix_read(struct storage *storage, struct storage_file *file, uint64_t offset,
                           char *out, size_t size, size_t *out_size)
{
    (void)storage;
    size_t done = 0;
    while (done < size) {
        ssize_t got = pread(file->fd, out + done, size - done, (off_t)(offset + done));
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            return ERR_SYSTEM;
        }
        if (got == 0) {
            break;
        }
        done += (size_t)got;
    }
    *out_size = done;
    return OK;
}

static enum err posix_write(struct storage *storage, struct storage_file *file, uint64_t offset,
                            const char *data, size_t size)
{
    (void)storage;
    size_t done = 0;
    while (done < size) {
        ssize_t put = pwrite(file->fd, data + done, size - done, (off_t)(offset + done));
        if (put < 0 && errno == EINTR) {
            continue;
        }
        if (put <= 0) {
            errno = put == 0 ? ENOSPC : errno;
            return ERR_SYSTEM;
        }
        done += (size_t)put;
    }
    return OK;
}

/* Never written: pages of zeros that take no memory, aligned as O_DIRECT wants them. */
static _Alignas(4096) char zeros[1 << 20];

static enum err write_zero_pieces(struct storage *storage, struct storage_file *file,
                                  uint64_t offset, size_t size)
{
    enum err err = OK;
    while (err == OK && size > 0) {
        size_t piece = size < sizeof zeros ? size : sizeof zeros;
        err = posix_write(storage, file, offset, zeros, piece);
        offset += piece;
        size -= piece;
    }
    return err;
}

static enum err posix_write_zeros(struct storage *storage, struct storage_file *file,
                                  uint64_t offset, size_t size)
{
    int flags = fcntl(file->fd, F_GETFL);
    if (flags >= 0 && fcntl(file->fd, F_SETFL, flags | O_DIRECT) == 0) {
        enum err err = write_zero_pieces(storage, file, offset, size);
        int saved_errno = errno;
        CHECK(fcntl(file->fd, F_SETFL, flags) == 0);
        errno = saved_errno;
        if (err == OK || errno != EINVAL) {
            return err;
        }
        /* The range is not aligned as the file system wants it. */
    }
    return write_zero_pieces(storage, file, offset, size);
}

static enum err posix_sync(struct storage *storage, struct storage_file *file)
{
    (void)storage;
    return fdatasync(file->fd) == 0 ? OK : ERR_SYSTEM;
}

static enum err posix_rename(struct storage *storage, const char *from, const char *to)
{
    const struct posix *posix = posix_of(storage);
    if (posix->read_only) {
        errno = EROFS;
        return ERR_SYSTEM;
    }
    int directory_fd = posix->directory_fd;
    return renameat(directory_fd, from, directory_fd, to) == 0 ? OK : ERR_SYSTEM;
}

static enum err posix_unlink(struct storage *storage, const char *name)
{
    const struct posix *posix = posix_of(storage);
    if (posix->read_only) {
        errno = EROFS;
        return ERR_SYSTEM;
    }
    return unlinkat(posix->directory_fd, name, 0) == 0 ? OK : ERR_SYSTEM;
}

static enum err posix_sync_directory(struct storage *storage)
{
    return fsync(posix_of(storage)->directory_fd) == 0 ? OK : ERR_SYSTEM;
}

static enum err posix_list(struct storage *storage, void (*name)(void *context, const char *name),
                           void *context)
{
    int fd = openat(posix_of(storage)->directory_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *directory = fd < 0 ? NULL : fdopendir(fd);
    if (directory == NULL) {
        if (fd >= 0) {
            (void)close(fd);
        }
        return ERR_SYSTEM;
    }
    struct dirent *entry;
    errno = 0;
    while ((entry = readdir(directory)) != NULL) {
        name(context, entry->d_name);
        errno = 0;
    }
    enum err err = errno == 0 ? OK : ERR_SYSTEM;
    (void)closedir(directory);
    return err;
}

static enum err posix_lock(struct storage *storage, uint64_t *out_holder)
{
    struct posix *posix = posix_of(storage);
    char text[24] = "";
    if (posix->read_only) {
        errno = EROFS;
        return ERR_SYSTEM;
    }
    int fd = openat(posix->directory_fd, "lock", O_RDWR | O_CREAT | O_CLOEXEC, 0640);
    if (fd < 0) {
        return ERR_SYSTEM;
    }
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        enum err err = errno == EWOULDBLOCK ? ERR_FULL : ERR_SYSTEM;
        ssize_t size = read(fd, text, sizeof text - 1);
        *out_holder = size > 0 ? strtoull(text, NULL, 10) : 0;
        (void)close(fd);
        return err;
    }
    int size = snprintf(text, sizeof text, "%ld\n", (long)getpid());
    struct storage_file file = {fd};
    if (ftruncate(fd, 0) != 0 || posix_write(storage, &file, 0, text, (size_t)size) != OK) {
        (void)close(fd);
        return ERR_SYSTEM;
    }
    posix->lock_fd = fd;
    return OK;
}

static const struct storage_operations OPERATIONS = {
    .open = posix_open,
    .close = posix_close,
    .size = posix_size,
    .read = posix_read,
    .write = posix_write,
    .write_zeros = posix_write_zeros,
    .sync = posix_sync,
    .rename = posix_rename,
    .unlink = posix_unlink,
    .sync_directory = posix_sync_directory,
    .list = posix_list,
    .lock = posix_lock,
};

/* Makes a new directory's own name durable. */
static bool sync_parent(int directory_fd)
{
    int parent = openat(directory_fd, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (parent < 0) {
        return false;
    }
    bool good = fsync(parent) == 0;
    (void)close(parent);
    return good;
}

static enum err open_directory(const char *directory, bool made, bool read_only,
                               struct storage **out)
{
    size_t name_bytes = strlen(directory) + 1;
    struct posix *posix = calloc(1, sizeof *posix + name_bytes);
    if (posix == NULL) {
        return ERR_MEMORY;
    }
    memcpy(posix->name, directory, name_bytes);
    posix->storage.operations = &OPERATIONS;
    posix->storage.name = posix->name;
    posix->read_only = read_only;
    posix->lock_fd = -1;
    posix->directory_fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (posix->directory_fd < 0 || (made && !sync_parent(posix->directory_fd))) {
        storage_posix_close(&posix->storage);
        return ERR_SYSTEM;
    }
    *out = &posix->storage;
    return OK;
}

enum err storage_posix_open(const char *directory, struct storage **out)
{
    bool made = mkdir(directory, 0750) == 0;
    if (!made && errno != EEXIST) {
        return ERR_SYSTEM;
    }
    return open_directory(directory, made, false, out);
}

enum err storage_posix_open_read_only(const char *directory, struct storage **out)
{
    return open_directory(directory, false, true, out);
}

void storage_posix_close(struct storage *storage)
{
    if (storage == NULL) {
        return;
    }
    int saved_errno = errno;
    struct posix *posix = posix_of(storage);
    if (posix->lock_fd >= 0) {
        (void)close(posix->lock_fd);
    }
    if (posix->directory_fd >= 0) {
        (void)close(posix->directory_fd);
    }
    free(posix);
    errno = saved_errno;
}
