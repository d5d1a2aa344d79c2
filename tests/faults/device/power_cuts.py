"""Power fails at every write of a save: what is loaded afterwards is the old or the new network.

micropython power_cuts.py littlefs|FAT SCENARIO...    a line for each: name, tab, cuts survived

The history of one network is made first, a lesson and a checkpoint at a time. Every cut starts
from a copy of the disk at some point of it, and must end at that point or the next, bit for bit.
"""

import os
import sys
import time
from errno import EACCES, ENOENT

from ram_disk import ENOSPC, EROFS, SECTOR, Fat, Littlefs, Mounted, RamDisk, fill

import tinyinc
from tinyinc import store

FOLDER = "/ram"
PATH = FOLDER + "/net.tinc"
SECTORS = {"littlefs": 96, "FAT": 400}
FULL = (ENOSPC, EACCES)  # FAT says EACCES where a directory needs room
LESSONS = 20  # enough for littlefs to compact a directory's log, and more than once
TORN_LESSONS = (1, 2, 7)  # one slot is still empty; both are in use; a log is compacted
STRIDE = {"littlefs": 5, "FAT": 1}  # of the bytes at which a write is torn
FIRST_STRIDE = 16
CLOCK = 2  # seconds, of FAT: so that a directory entry changes with the file


def contents(net):
    return [bytes(section) for section in net.sections]


def learn(net, i):
    net.learn([(7 * i + 5 * j) % 4 - 1 for j in range(net.inputs)], "abc"[i % 3])


class History:
    """A disk and what must be loaded from it, after 0, 1, 2... checkpoints."""

    def __init__(self, filesystem):
        self.filesystem = filesystem
        self.disks = []
        self.states = []
        disk = RamDisk(bytes(SECTOR * SECTORS[filesystem.name]))
        filesystem.format(disk)
        with Mounted(filesystem, disk, FOLDER):
            if filesystem is Fat:  # the network's clusters get numbers of more than one byte
                with open(FOLDER + "/other", "wb") as file:
                    file.write(bytes(260 * SECTOR))
            net = tinyinc.create(
                inputs=12, hidden=(16,), classes=3, memory=8, label_bytes=4, range=(-1, 2)
            )
            for i in range(3):
                learn(net, i)
            net.save(PATH)
            for i in range(LESSONS + 2):
                self.disks.append(bytes(disk.data))
                self.states.append(contents(net))
                learn(net, i)
                net.save()

    def mounted(self, disk, readonly=False):
        return Mounted(self.filesystem, disk, FOLDER, readonly)

    def disk(self, point, **failure):
        return RamDisk(self.disks[point], **failure)

    def load(self):
        """The network and its point in the history."""
        net = tinyinc.load(PATH)
        return net, self.states.index(contents(net))

    def step(self, disk, points, errors=None):
        """Load, learn, save to a disk that may fail: where it started, and whether it failed."""
        with self.mounted(disk):
            net, point = self.load()
            assert point in points, (point, points)
            learn(net, point)
            return point, refused(net, errors)


def refused(net, errors=None, path=None):
    """Whether a save fails, with one of these errors; the network in RAM then is as before."""
    before = contents(net)
    try:
        net.save(path)
    except OSError as found:
        assert errors is None or found.errno in errors, found
        assert contents(net) == before
        return True
    return False


def recover(history, data, points):
    """What a cut left holds one of these points; the next save works, and so does the one after."""
    disk = RamDisk(data)
    point, failed = history.step(disk, points)
    assert not failed
    _, failed = history.step(disk, [point + 1])
    assert not failed


def cuts(history, data, points, **failure):
    """Cut the next save at its first write, at its second, and so on until it has no more.

    Yields where it started from and the disk, whose `left` is what the cut left.
    """
    number = 1
    while True:
        disk = RamDisk(data, cut=number, **failure)
        point, failed = history.step(disk, points)
        assert failed == (disk.left is not None)
        if not failed:
            break
        yield point, disk
        number += 1


def tears(history, point, stride):
    """Tear every write of the save after a point, every `stride` bytes. Yields what is left."""
    for _, disk in cuts(history, history.disks[point], [point]):
        for arrived in range(1 + disk.cut % stride, disk.bytes_of_cut, stride):
            torn = history.disk(point, cut=disk.cut, torn=arrived)
            _, failed = history.step(torn, [point])
            assert failed
            yield torn.left


def clean(history):
    """Every write of every save, the first one included, which makes the slots."""
    survived = 0
    for point in range(LESSONS):
        for _, disk in cuts(history, history.disks[point], [point]):
            recover(history, disk.left, (point, point + 1))
            survived += 1
    return survived


def torn(history):
    """Only the first bytes of a write arrive. On FAT the slots have to be there already."""
    survived = 0
    time.sleep(CLOCK)
    for point in TORN_LESSONS if history.filesystem is Fat else (0,) + TORN_LESSONS:
        for left in tears(history, point, STRIDE[history.filesystem.name]):
            recover(history, left, (point, point + 1))
            survived += 1
    return survived


def torn_first(history):
    """The save that makes the slots is torn. FAT does not promise that the next save works."""
    survived = 0
    for left in tears(history, 0, FIRST_STRIDE):
        with history.mounted(RamDisk(left)):
            _, point = history.load()
        assert point in (0, 1)
        survived += 1
    return survived


def spoiled(history):
    """The write that is cut leaves noise."""
    survived = 0
    for point in TORN_LESSONS:
        for _, disk in cuts(history, history.disks[point], [point], spoiled=True):
            recover(history, disk.left, (point, point + 1))
            survived += 1
    return survived


def reordered(history):
    """A cache has written any of the save's sectors before the cut, in no order. FAT only."""
    survived = 0
    time.sleep(CLOCK)
    for point in TORN_LESSONS:
        disk = history.disk(point)
        history.step(disk, [point])
        old, new = history.disks[point], disk.data
        sectors = [at for at in range(0, len(old), SECTOR) if differ(old, new, at)]
        for arrived in range(1 << len(sectors)):
            left = bytearray(old)
            for i, at in enumerate(sectors):
                if arrived >> i & 1:
                    left[at : at + SECTOR] = new[at : at + SECTOR]
            recover(history, left, (point, point + 1))
            survived += 1
    return survived


def differ(old, new, at):
    return old[at : at + SECTOR] != new[at : at + SECTOR]


def twice(history):
    """Power fails in a save, and again in the next one, at every pair of writes."""
    survived = 0
    for point in TORN_LESSONS:
        for _, first in cuts(history, history.disks[point], [point], torn=100):
            for start, second in cuts(history, first.left, (point, point + 1), torn=200):
                recover(history, second.left, (start, start + 1))
                survived += 1
    return survived


def replaced(history):
    """save(path) over the deployed file: one lineage or the other, each whole."""
    lineage, store.new_lineage = store.new_lineage, lambda: b"another lineage!"
    survived, number = 0, 0
    failed = True
    while failed:
        number += 1
        disk = history.disk(2, cut=number)
        with history.mounted(disk):
            net, _ = history.load()
            failed = refused(net, path=PATH)
            new = contents(net)
        disk = RamDisk(disk.left if failed else disk.data)
        with history.mounted(disk):
            net = tinyinc.load(PATH)
            found = contents(net)
            if not failed:
                assert found == new
            elif found != history.states[2]:
                assert found[0][24:40] == b"another lineage!" and found[1:] == new[1:]
            net.save()
            assert contents(tinyinc.load(PATH)) == contents(net)
        survived += failed
    store.new_lineage = lineage
    return survived


def full(history):
    """A device with every amount of free space: the save works, or nothing has changed."""
    refusals = 0
    for point in (0, 1, 2):
        failed, leave = True, 0
        while failed:
            disk = history.disk(point)
            with history.mounted(disk):
                fill(FOLDER + "/filler", leave)
            _, failed = history.step(disk, [point], FULL)
            assert not (failed and point > 0 and history.filesystem is Fat)  # slots have their size
            with history.mounted(disk):
                check_slots(history.states[0][0])
                os.remove(FOLDER + "/filler")
            recover(history, disk.data, [point if failed else point + 1])
            refusals += failed
            leave += SECTOR
    return refusals


def check_slots(structure):
    """A slot has its full size or is not there: a failed save leaves nothing half made."""
    size = tinyinc.image.get(structure, tinyinc.image.HEADER["file_bytes"])
    for slot in (0, 1):
        try:
            assert os.stat("%s.%d/checkpoint" % (PATH, slot))[6] == size
        except OSError as error:
            assert error.errno == ENOENT


def read_only(history):
    """A file system mounted read-only, and a device that is write-protected."""
    refusals = 0
    for point in (0, 1, 2):
        for readonly in (True, False):
            disk = history.disk(point, refused=not readonly)
            with history.mounted(disk, readonly):
                net, _ = history.load()
                learn(net, point)
                assert refused(net, [EROFS])
                assert refused(net, [EROFS], FOLDER + "/new.tinc")
            if history.filesystem is Fat or not readonly:  # MicroPython's littlefs still erases
                assert bytes(disk.data) == history.disks[point]
            recover(history, disk.data, [point])
            refusals += 2
    return refusals


SCENARIOS = (clean, torn, torn_first, spoiled, reordered, twice, replaced, full, read_only)

if __name__ == "__main__":
    history = History({"littlefs": Littlefs, "FAT": Fat}[sys.argv[1]])
    for scenario in SCENARIOS:
        if scenario.__name__ in sys.argv[2:]:
            print("%s\t%d" % (scenario.__name__, scenario(history)))
