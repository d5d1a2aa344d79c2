"""A block device in RAM whose power fails in the middle of a write, and file systems on it."""

import os
from errno import EIO

import vfs

EROFS, ENOSPC = 30, 28  # MicroPython's errno does not name them
SYNC, COUNT, SIZE, ERASE = 3, 4, 5, 6  # what MicroPython asks of a block device's ioctl()
SECTOR = 512


class RamDisk:
    """Writes are counted, an erase as one, several sectors at once as several.

    At write number `cut` the power fails: the write raises OSError, and `left` is the disk as it
    was then, with the first `torn` bytes of the write, or with `spoiled` its place full of noise.
    What a program that has lost its power does later, such as closing files, no longer matters.
    refused: the device is write-protected.
    """

    def __init__(self, data, block=SECTOR, cut=0, torn=0, spoiled=False, refused=False):
        self.data = bytearray(data)
        self.block = block
        self.cut, self.torn, self.spoiled, self.refused = cut, torn, spoiled, refused
        self.writes = self.written = self.erased = 0
        self.left = None
        self.bytes_of_cut = 0

    def readblocks(self, block, buffer, offset=0):
        start = block * self.block + offset
        buffer[:] = memoryview(self.data)[start : start + len(buffer)]

    def writeblocks(self, block, buffer, offset=0):
        start = block * self.block + offset
        buffer = memoryview(buffer)
        for at in range(0, len(buffer), SECTOR):
            self._write(start + at, buffer[at : at + SECTOR])
        self.written += len(buffer)

    def ioctl(self, request, block):
        if request == COUNT:
            return len(self.data) // self.block
        if request == SIZE:
            return self.block
        if request == ERASE:
            self._write(block * self.block, b"\xff" * self.block)
            self.erased += self.block
        return 0

    def _write(self, start, data):
        if self.refused:
            raise OSError(EROFS)
        self.writes += 1
        if self.writes == self.cut:
            self._fail(start, data)
            raise OSError(EIO)
        self.data[start : start + len(data)] = data

    def _fail(self, start, data):
        self.bytes_of_cut = len(data)
        self.left = bytearray(self.data)
        if self.spoiled:
            for i in range(len(data)):
                self.left[start + i] = (i * 89 + 165) & 0xFF
        else:
            arrived = min(self.torn, len(data))
            self.left[start : start + arrived] = data[:arrived]


class Littlefs:
    """littlefs 2 as boards with flash have it; its blocks made small to make the tests small."""

    name = "littlefs"
    options = {"readsize": 32, "progsize": 32, "lookahead": 32}

    @classmethod
    def format(cls, disk):
        vfs.VfsLfs2.mkfs(disk, **cls.options)

    @classmethod
    def open(cls, disk):
        return vfs.VfsLfs2(disk, **cls.options)


class Fat:
    """FAT as cards and CircuitPython have it."""

    name = "FAT"

    @staticmethod
    def format(disk):
        vfs.VfsFat.mkfs(disk)

    @staticmethod
    def open(disk):
        return vfs.VfsFat(disk)


class Mounted:
    """with Mounted(filesystem, disk, folder): the disk's files are below the folder."""

    def __init__(self, filesystem, disk, folder, readonly=False):
        self.filesystem, self.disk, self.folder = filesystem, disk, folder
        self.readonly = readonly

    def __enter__(self):
        vfs.mount(self.filesystem.open(self.disk), self.folder, readonly=self.readonly)
        return self.disk

    def __exit__(self, *error):
        vfs.umount(self.folder)


def fill(path, leave=0):
    """Write a file until the device is full, then give back about `leave` bytes. Its size."""
    size = 0
    chunk = b"\xa5" * 64
    try:
        with open(path, "wb") as file:
            while True:
                size += file.write(chunk)
                file.flush()
    except OSError:
        pass
    if leave:
        os.remove(path)
        size = max(0, size - leave)
        with open(path, "wb") as file:
            for _ in range(size // len(chunk)):
                file.write(chunk)
    return size
