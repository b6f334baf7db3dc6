"""A disk whose power can be cut: what was synced stays, of the rest a part (see tests/support/power_cut.c)."""

import os
import shutil

import wire
from logs import NAME

SECTOR = 512  # what a device writes whole or not at all


class Disk:
    def __init__(self, directory):
        self.log, self.disk, self.lies = directory / NAME, directory / "disk", directory / "lies"
        self.log.mkdir()
        self.env = {
            "LD_PRELOAD": str(wire.BUILD / "tests/libpower_cut.so"),
            "POWER_CUT_LOG": str(self.log),
            "POWER_CUT_DISK": str(self.disk),
            "POWER_CUT_LIES": str(self.lies),
        }
        self.lost_sectors = 0  # of all cuts so far: written, not synced, and not kept

    def server(self, *settings):
        self.disk.mkdir(exist_ok=True)
        return wire.weaseldb(*settings, cwd=self.log.parent, env=self.env)

    def cut(self, chance, keep=None):
        """After the server was killed: leaves in the log's directory what a power cut may leave. Without this, what
        the server wrote is still there, as after a mere kill, and what it did not sync can still be lost later."""
        keep = chance.choice((0, 0, 0.1, 0.5, 0.9, 1)) if keep is None else keep  # of what changed
        written = {entry.name: entry.inode() for entry in os.scandir(self.log) if entry.name != "lock"}
        copies = {int(entry.name): entry.stat().st_ino for entry in os.scandir(self.disk / "files")}
        inodes = {copy: inode for inode, copy in copies.items()}
        synced = {}
        for entry in os.scandir(self.disk / "names"):
            if not entry.name.startswith("."):
                # A file whose inode another has got since is known by its copy alone.
                synced[entry.name] = inodes.get(entry.stat().st_ino, -entry.stat().st_ino)
        names = self.choose_names(chance, keep, synced, written)
        by_inode = {inode: name for name, inode in written.items()}
        by_copy = {inode: name for name, inode in synced.items()}
        contents = {}
        for name, inode in names.items():
            before = b""
            if inode in copies:
                before = (self.disk / "files" / str(inode)).read_bytes()
            elif inode in by_copy:
                before = (self.disk / "names" / by_copy[inode]).read_bytes()
            after = (self.log / by_inode[inode]).read_bytes() if inode in by_inode else before
            contents[name] = self.mix(chance, keep, before, after)
        shutil.rmtree(self.log)
        shutil.rmtree(self.disk)
        self.log.mkdir()
        for name, data in contents.items():
            (self.log / name).write_bytes(data)

    @staticmethod
    def choose_names(chance, keep, synced, written):
        """Each change of a name by itself; but what was renamed has one name at least."""
        names = {}
        for name in sorted({*synced, *written}):
            inode = (written if chance.random() < keep else synced).get(name)
            if inode is not None:
                names[name] = inode
        for name, inode in synced.items():
            if inode in written.values() and inode not in names.values():
                later = next(other for other in written if written[other] == inode)
                names[later if later not in names else name] = inode
        return names

    def mix(self, chance, keep, before, after):
        """Each sector by itself, written or not; likewise the size."""
        if before == after:
            return after
        size = len(after) if chance.random() < keep else len(before)
        mixed = bytearray(before.ljust(len(after), b"\0"))
        padded = after.ljust(len(mixed), b"\0")
        for at in range(0, len(mixed), SECTOR):
            if mixed[at : at + SECTOR] != padded[at : at + SECTOR]:
                if chance.random() < keep:
                    mixed[at : at + SECTOR] = padded[at : at + SECTOR]
                else:
                    self.lost_sectors += 1
        return bytes(mixed[:size])
