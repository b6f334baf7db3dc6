/* SPDX-License-Identifier: Apache-2.0 */
/*
 * power_cut: a library to be preloaded into a server, which keeps beside the log's directory what a
 * power cut would leave of it.
 *
 * The server reads and writes its files as ever. What it syncs, and nothing else, the library
 * copies to a second directory, "the disk". Whoever kills the server then finds on the disk what
 * was certain, and in the log's directory what was only written: a real power cut leaves the first,
 * and of the difference whatever it likes (tests/blackbox/power.py chooses).
 *
 *   POWER_CUT_LOG   the log's directory, which exists
 *   POWER_CUT_DISK  the disk. When it is empty, all that is in the log is taken to be on it; else
 *                   the last server was killed, but not the system: what it had not synced is
 *                   still there to be read, and still not on the disk.
 *   POWER_CUT_LIES  while this file exists, it says which call does nothing and reports success:
 *                   "sync" fdatasync(), "directory" fsync() of the directory. A server on such a
 * disk loses what it acknowledged, and the tests must notice.
 *
 * On the disk, files/INODE holds the content of the file with this inode in the log, and names/NAME
 * is a hard link to one of them. A name is replaced by rename(2), so it is there before or after,
 * as in a journal; the copying of content may be cut anywhere, as a sync may be.
 *
 * Invariant: what differs between a file and its copy lies in its dirty range. A write is noted
 * when it is over, so a sync that does not see it has begun before it was.
 */
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FILES_MAX = 4096, COPY_BYTES = 1 << 16, DEVICE_US = 300 };

struct file {
    ino_t inode;
    bool truncated; /* since the last sync */
    off_t dirty_begin;
    off_t dirty_end; /* equal: nothing */
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct file files[FILES_MAX];
static unsigned file_count;
static struct stat log_status; /* st_ino == 0: the library does nothing */
static int log_fd = -1;
static int files_fd = -1;
static int names_fd = -1;

/* The C library's own. */
static void *real(const char *name)
{
    return dlsym(RTLD_NEXT, name);
}

static void need(bool condition, const char *what)
{
    if (!condition) {
        (void)fprintf(stderr, "power_cut: %s: %s\n", what, strerror(errno));
        abort();
    }
}

static bool lies(const char *call)
{
    const char *path = getenv("POWER_CUT_LIES");
    char what[16] = "";
    int fd = path == NULL ? -1 : open(path, O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        need(read(fd, what, sizeof what - 1) >= 0, "read");
        (void)close(fd);
    }
    return strcmp(what, call) == 0;
}

static bool is_log_directory(int fd)
{
    struct stat status;
    return log_status.st_ino != 0 && fstat(fd, &status) == 0 &&
           status.st_ino == log_status.st_ino && status.st_dev == log_status.st_dev;
}

/* NULL: it is no file of the log. Under the lock. */
static struct file *find(ino_t inode)
{
    for (unsigned i = 0; i < file_count; i++) {
        if (files[i].inode == inode) {
            return &files[i];
        }
    }
    return NULL;
}

/* Clean, as it is new or has just been synced. Under the lock. */
static struct file *reset(ino_t inode)
{
    struct file *file = find(inode);
    if (file == NULL) {
        need(file_count < FILES_MAX, "too many files");
        file = &files[file_count++];
    }
    *file = (struct file){.inode = inode};
    return file;
}

static void inode_name(ino_t inode, char out[24])
{
    (void)snprintf(out, 24, "%llu", (unsigned long long)inode);
}

/* Opens a file's copy on the disk. */
static int open_copy(ino_t inode, int flags)
{
    char name[24];
    int (*call)(int directory, const char *path, int how, ...);
    *(void **)&call = real("openat64");
    inode_name(inode, name);
    int fd = call(files_fd, name, flags | O_CLOEXEC, 0640);
    need(fd >= 0, name);
    return fd;
}

static void copy(int from, int to, off_t begin, off_t end)
{
    static _Thread_local char bytes[COPY_BYTES];
    ssize_t (*put)(int fd, const void *data, size_t size, off_t offset);
    *(void **)&put = real("pwrite64");
    while (begin < end) {
        size_t size = end - begin < COPY_BYTES ? (size_t)(end - begin) : COPY_BYTES;
        ssize_t got = pread(from, bytes, size, begin);
        need(got >= 0, "pread");
        if (got == 0) {
            break;
        }
        need(put(to, bytes, (size_t)got, begin) == got, "pwrite");
        begin += got;
    }
}

/* Gives the file a name on the disk. */
static void link_name(const char *name, ino_t inode)
{
    char from[24];
    char temporary[300];
    struct stat wanted;
    struct stat there;
    inode_name(inode, from);
    need(fstatat(files_fd, from, &wanted, 0) == 0, "a file that the library never saw");
    if (fstatat(names_fd, name, &there, 0) == 0 && there.st_ino == wanted.st_ino) {
        return;
    }
    (void)snprintf(temporary, sizeof temporary, ".%s", name);
    (void)unlinkat(names_fd, temporary, 0);
    need(linkat(files_fd, from, names_fd, temporary, 0) == 0, "linkat");
    need(renameat(names_fd, temporary, names_fd, name) == 0, "renameat");
}

static DIR *list(int directory_fd)
{
    int fd = openat(directory_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *directory = fd < 0 ? NULL : fdopendir(fd);
    need(directory != NULL, "opening a directory");
    return directory;
}

/* New names first: what was renamed is never without one. */
static void sync_names(void)
{
    struct dirent *entry;
    struct stat status;
    DIR *directory = list(log_fd);
    while ((entry = readdir(directory)) != NULL) {
        if (entry->d_name[0] != '.' && strcmp(entry->d_name, "lock") != 0) {
            if (fstatat(log_fd, entry->d_name, &status, 0) == 0) {
                link_name(entry->d_name, status.st_ino);
            }
        }
    }
    (void)closedir(directory);
    directory = list(names_fd);
    while ((entry = readdir(directory)) != NULL) {
        if (entry->d_name[0] != '.' && fstatat(log_fd, entry->d_name, &status, 0) != 0) {
            need(unlinkat(names_fd, entry->d_name, 0) == 0, "unlinkat");
        }
    }
    (void)closedir(directory);
}

/* What is in the log at the start: on the disk, or nobody knows what of it. */
static void take_all(bool on_disk)
{
    struct dirent *entry;
    DIR *directory = list(log_fd);
    while ((entry = readdir(directory)) != NULL) {
        struct stat status;
        if (entry->d_name[0] != '.' && strcmp(entry->d_name, "lock") != 0) {
            int from = openat(log_fd, entry->d_name, O_RDONLY | O_CLOEXEC);
            need(from >= 0 && fstat(from, &status) == 0, entry->d_name);
            int to = open_copy(status.st_ino, O_WRONLY | O_CREAT);
            struct file *file = reset(status.st_ino);
            if (on_disk) {
                copy(from, to, 0, status.st_size);
            } else {
                file->dirty_end = status.st_size;
            }
            (void)close(from);
            (void)close(to);
        }
    }
    (void)closedir(directory);
    if (on_disk) {
        sync_names();
    }
}

static int open_directory(int at, const char *path)
{
    int fd = openat(at, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    need(fd >= 0, path);
    return fd;
}

__attribute__((constructor)) static void begin(void)
{
    const char *log = getenv("POWER_CUT_LOG");
    const char *disk = getenv("POWER_CUT_DISK");
    if (log == NULL || disk == NULL) {
        return;
    }
    int disk_fd = open_directory(AT_FDCWD, disk);
    bool is_empty = mkdirat(disk_fd, "files", 0750) == 0;
    need(!is_empty || mkdirat(disk_fd, "names", 0750) == 0, disk);
    files_fd = open_directory(disk_fd, "files");
    names_fd = open_directory(disk_fd, "names");
    log_fd = open_directory(AT_FDCWD, log);
    take_all(is_empty);
    need(fstat(log_fd, &log_status) == 0, log);
}

/* ---- what the server calls ---- */

/* With 64-bit offsets, which Meson asks for, these are openat64 and pwrite64 for the linker, here
 * as in the server. */
int openat(int directory_fd, const char *path, int flags, ...)
{
    int (*call)(int directory, const char *path, int flags, ...);
    *(void **)&call = real("openat64");
    mode_t mode = 0;
    if ((flags & O_CREAT) != 0) {
        va_list list;
        va_start(list, flags);
        mode = va_arg(list, mode_t);
        va_end(list);
    }
    if ((flags & O_CREAT) == 0 || !is_log_directory(directory_fd)) {
        return call(directory_fd, path, flags, mode);
    }
    struct stat before;
    struct stat after;
    need(pthread_mutex_lock(&lock) == 0, "lock");
    bool existed = fstatat(directory_fd, path, &before, 0) == 0;
    int fd = call(directory_fd, path, flags, mode);
    int saved_errno = errno;
    if (fd >= 0 && !existed) {
        /* Its inode may be one of an earlier file, which keeps its content under its names. */
        char name[24];
        need(fstat(fd, &after) == 0, "fstat");
        inode_name(after.st_ino, name);
        (void)unlinkat(files_fd, name, 0);
        (void)close(open_copy(after.st_ino, O_WRONLY | O_CREAT | O_EXCL));
        (void)reset(after.st_ino);
    } else if (fd >= 0 && (flags & O_TRUNC) != 0) {
        reset(before.st_ino)->truncated = true;
    }
    need(pthread_mutex_unlock(&lock) == 0, "unlock");
    errno = saved_errno;
    return fd;
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t offset)
{
    ssize_t (*call)(int fd, const void *data, size_t size, off_t offset);
    *(void **)&call = real("pwrite64");
    ssize_t put = call(fd, data, size, offset);
    int saved_errno = errno;
    struct stat status;
    if (put > 0 && log_status.st_ino != 0 && fstat(fd, &status) == 0) {
        need(pthread_mutex_lock(&lock) == 0, "lock");
        struct file *file = status.st_dev == log_status.st_dev ? find(status.st_ino) : NULL;
        if (file != NULL) {
            bool clean = file->dirty_begin == file->dirty_end;
            off_t end = offset + put;
            file->dirty_begin = clean || offset < file->dirty_begin ? offset : file->dirty_begin;
            file->dirty_end = clean || end > file->dirty_end ? end : file->dirty_end;
        }
        need(pthread_mutex_unlock(&lock) == 0, "unlock");
    }
    errno = saved_errno;
    return put;
}

int fdatasync(int fd)
{
    struct stat status;
    struct file dirty = {0};
    if (lies("sync")) {
        return 0;
    }
    if (log_status.st_ino == 0 || fstat(fd, &status) != 0) {
        return 0;
    }
    need(pthread_mutex_lock(&lock) == 0, "lock");
    struct file *file = status.st_dev == log_status.st_dev ? find(status.st_ino) : NULL;
    if (file != NULL) {
        dirty = *file;
        (void)reset(status.st_ino);
    }
    need(pthread_mutex_unlock(&lock) == 0, "unlock");
    if (file != NULL) {
        (void)usleep(DEVICE_US); /* a device takes its time, and kills come meanwhile */
        int to = open_copy(status.st_ino, O_WRONLY);
        need(!dirty.truncated || ftruncate(to, 0) == 0, "ftruncate");
        copy(fd, to, dirty.truncated ? 0 : dirty.dirty_begin,
             dirty.truncated ? status.st_size : dirty.dirty_end);
        (void)close(to);
    }
    return 0;
}

int fsync(int fd)
{
    if (is_log_directory(fd)) {
        if (!lies("directory")) {
            (void)usleep(DEVICE_US);
            need(pthread_mutex_lock(&lock) == 0, "lock");
            sync_names();
            need(pthread_mutex_unlock(&lock) == 0, "unlock");
        }
        return 0;
    }
    return fdatasync(fd);
}
