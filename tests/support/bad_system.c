/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bad_system: a library to be preloaded into a server, in which calls of the system and of the
 * allocator fail when a test says so, and are counted.
 *
 * The environment variable BAD_SYSTEM names a file, which library and test both map: one `slot` for
 * each call, in the order of `enum call`, which tests/blackbox/bad_system.py has too. While `fail`
 * is above 0, a call takes one from `skip`, and behind the last of those one from `fail`, and then
 * fails with `error`.
 *
 * The allocator is the C library's own under its other names: looking it up would allocate. The
 * server receives and sends through syscall() (src/engine/socket.h), so that is looked through too.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum call {
    CALL_MALLOC,
    CALL_CALLOC,
    CALL_REALLOC,
    CALL_ALIGNED_ALLOC,
    CALL_MMAP,
    CALL_OPENAT,
    CALL_SOCKET,
    CALL_LISTEN,
    CALL_EPOLL_CREATE1,
    CALL_EVENTFD,
    CALL_PTHREAD_CREATE,
    CALL_ACCEPT4,
    CALL_EPOLL_CTL,
    CALL_RECV,
    CALL_SEND,
    CALL_WRITEV,
    CALLS,
};

struct slot {
    _Atomic int32_t error;
    _Atomic int32_t skip;
    _Atomic int32_t fail;
    _Atomic int32_t calls;
    _Atomic int32_t failed;
};

extern void *libc_malloc(size_t size) __asm__("__libc_malloc");
extern void *libc_calloc(size_t count, size_t size) __asm__("__libc_calloc");
extern void *libc_realloc(void *old, size_t size) __asm__("__libc_realloc");
extern void *libc_memalign(size_t alignment, size_t size) __asm__("__libc_memalign");

static struct slot *slots; /* NULL: nothing fails */
static long (*system_call)(long number, ...);

__attribute__((constructor)) static void begin(void)
{
    *(void **)&system_call = dlsym(RTLD_NEXT, "syscall");
    const char *path = getenv("BAD_SYSTEM");
    int fd = path == NULL ? -1 : open(path, O_RDWR | O_CLOEXEC);
    if (fd >= 0) {
        void *mapping = (void *)system_call(SYS_mmap, NULL, CALLS * sizeof *slots,
                                            PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        slots = mapping == MAP_FAILED ? NULL : mapping;
        (void)close(fd);
    }
}

/* Takes one from what is above 0. */
static bool take(_Atomic int32_t *count)
{
    int32_t left = atomic_load(count);
    while (left > 0) {
        if (atomic_compare_exchange_weak(count, &left, left - 1)) {
            return true;
        }
    }
    return false;
}

/* Sets errno when the call shall fail. */
static bool fails(enum call call)
{
    if (slots == NULL) {
        return false;
    }
    struct slot *slot = &slots[call];
    (void)atomic_fetch_add(&slot->calls, 1);
    if (atomic_load(&slot->fail) <= 0 || take(&slot->skip) || !take(&slot->fail)) {
        return false;
    }
    (void)atomic_fetch_add(&slot->failed, 1);
    errno = atomic_load(&slot->error);
    return true;
}

void *malloc(size_t size)
{
    return fails(CALL_MALLOC) ? NULL : libc_malloc(size);
}

void *calloc(size_t count, size_t size)
{
    return fails(CALL_CALLOC) ? NULL : libc_calloc(count, size);
}

void *realloc(void *old, size_t size)
{
    return fails(CALL_REALLOC) ? NULL : libc_realloc(old, size);
}

void *aligned_alloc(size_t alignment, size_t size)
{
    return fails(CALL_ALIGNED_ALLOC) ? NULL : libc_memalign(alignment, size);
}

/* With 64-bit offsets, which Meson asks for, it is mmap64 for the linker, and openat openat64. */
void *mmap(void *address, size_t size, int protection, int flags, int fd, off_t offset)
{
    if (fails(CALL_MMAP)) {
        return MAP_FAILED;
    }
    return (void *)system_call(SYS_mmap, address, size, protection, flags, fd, offset);
}

int openat(int directory_fd, const char *path, int flags, ...)
{
    va_list list;
    va_start(list, flags);
    mode_t mode = (flags & O_CREAT) != 0 ? va_arg(list, mode_t) : 0;
    va_end(list);
    return fails(CALL_OPENAT) ? -1 : (int)system_call(SYS_openat, directory_fd, path, flags, mode);
}

int socket(int domain, int type, int protocol)
{
    return fails(CALL_SOCKET) ? -1 : (int)system_call(SYS_socket, domain, type, protocol);
}

int listen(int fd, int backlog)
{
    return fails(CALL_LISTEN) ? -1 : (int)system_call(SYS_listen, fd, backlog);
}

int epoll_create1(int flags)
{
    return fails(CALL_EPOLL_CREATE1) ? -1 : (int)system_call(SYS_epoll_create1, flags);
}

int eventfd(unsigned count, int flags)
{
    return fails(CALL_EVENTFD) ? -1 : (int)system_call(SYS_eventfd2, count, flags);
}

int pthread_create(pthread_t *out, const pthread_attr_t *attributes, void *(*run)(void *argument),
                   void *argument)
{
    int (*call)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
    *(void **)&call = dlsym(RTLD_NEXT, "pthread_create");
    return fails(CALL_PTHREAD_CREATE) ? errno : call(out, attributes, run, argument);
}

int accept4(int fd, struct sockaddr *address, socklen_t *size, int flags)
{
    int (*call)(int, struct sockaddr *, socklen_t *, int);
    *(void **)&call = dlsym(RTLD_NEXT, "accept4");
    int accepted = call(fd, address, size, flags);
    /* It fails when a connection comes, not while nobody is there. */
    if (accepted >= 0 && fails(CALL_ACCEPT4)) {
        int error = errno;
        (void)close(accepted);
        errno = error;
        return -1;
    }
    return accepted;
}

int epoll_ctl(int epoll_fd, int operation, int fd, struct epoll_event *event)
{
    if (fails(CALL_EPOLL_CTL)) {
        return -1;
    }
    return (int)system_call(SYS_epoll_ctl, epoll_fd, operation, fd, event);
}

/* Whoever calls before begin() has had its turn gets no further: nobody does. */
long syscall(long number, ...)
{
    long arguments[6];
    va_list list;
    va_start(list, number);
    for (unsigned i = 0; i < 6; i++) {
        arguments[i] = va_arg(list, long);
    }
    va_end(list);
    if ((number == SYS_recvfrom && fails(CALL_RECV)) ||
        (number == SYS_sendto && fails(CALL_SEND))) {
        return -1;
    }
    return system_call(number, arguments[0], arguments[1], arguments[2], arguments[3], arguments[4],
                       arguments[5]);
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
    return fails(CALL_WRITEV) ? -1 : (ssize_t)system_call(SYS_sendmsg, fd, message, flags);
}

ssize_t writev(int fd, const struct iovec *parts, int count)
{
    return fails(CALL_WRITEV) ? -1 : (ssize_t)system_call(SYS_writev, fd, parts, count);
}
