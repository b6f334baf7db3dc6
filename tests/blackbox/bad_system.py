"""A system whose calls fail on demand, and are counted (see tests/support/bad_system.c)."""

import ctypes
import errno
import mmap
import os

import wire

# In the order of the library's `enum call`, with an error that the call can have.
CALLS = {
    "malloc": errno.ENOMEM,
    "calloc": errno.ENOMEM,
    "realloc": errno.ENOMEM,
    "aligned_alloc": errno.ENOMEM,
    "mmap": errno.ENOMEM,
    "openat": errno.EMFILE,
    "socket": errno.EMFILE,
    "listen": errno.EADDRINUSE,
    "epoll_create1": errno.EMFILE,
    "eventfd": errno.EMFILE,
    "pthread_create": errno.EAGAIN,
    "accept4": errno.EMFILE,
    "epoll_ctl": errno.ENOSPC,
    "recv": errno.ECONNRESET,
    "send": errno.ECONNRESET,
    "writev": errno.ECONNRESET,
}


class Slot(ctypes.Structure):
    _fields_ = [(name, ctypes.c_int32) for name in ("error", "skip", "fail", "calls", "failed")]


class BadSystem:
    def __init__(self, directory):
        self.path = directory / "bad-system"
        self.path.write_bytes(bytes(ctypes.sizeof(Slot) * len(CALLS)))
        with open(self.path, "r+b") as file:
            self.mapping = mmap.mmap(file.fileno(), 0)
        self.slots = dict(zip(CALLS, (Slot * len(CALLS)).from_buffer(self.mapping)))
        self.env = {"LD_PRELOAD": str(wire.BUILD / "tests/libbad_system.so"), "BAD_SYSTEM": str(self.path)}

    def __getitem__(self, call):
        return self.slots[call]

    def let_fail(self, call, skip, error=None, count=1):
        """Of the calls from now on, `skip` succeed, and the next `count` do not."""
        slot = self.slots[call]
        slot.fail = slot.failed = 0
        slot.error, slot.skip = error or CALLS[call], skip
        slot.fail = count  # last: it counts from here on

    def mend(self, call):
        """Whether it failed at all."""
        self.slots[call].fail = 0
        return self.slots[call].failed > 0


def describe(call, skip, error=None):
    return f"{call}() number {skip + 1} fails with {os.strerror(error or CALLS[call])}"
