"""What a save writes, on a network like that of the digits: a line per number, name, tab, value."""

from ram_disk import SECTOR, Fat, Littlefs, Mounted, RamDisk

import tinyinc
from tinyinc import image, store

FOLDER = "/ram"
PATH = FOLDER + "/digits.tinc"
SAVES = 20
RANDOM = 7


def random():
    """0 to 32767, the same on every Python."""
    global RANDOM
    RANDOM = (RANDOM * 1103515245 + 12345) & 0x3FFFFFFF
    return RANDOM >> 15


class Lessons:
    """Noisy samples around ten fixed ones, as digits are."""

    def __init__(self):
        self.centres = [[random() % 17 for _ in range(64)] for _ in range(10)]

    def give(self, net, count):
        for _ in range(count):
            cls = random() % 10
            sample = [min(16, max(0, c + random() % 9 - 4)) for c in self.centres[cls]]
            net.learn(sample, str(cls))


def create(lessons):
    net = tinyinc.create(inputs=64, hidden=(32,), classes=10, memory=64, range=(0, 16))
    lessons.give(net, 300)
    return net


def cost(filesystem, disk, lessons):
    """(bytes written, bytes erased) of the first save, and of a later one on average."""
    filesystem.format(disk)
    with Mounted(filesystem, disk, FOLDER):
        net = create(lessons)
        net.save(PATH)
        costs = []
        for _ in range(1 + SAVES):
            lessons.give(net, 1)
            disk.written = disk.erased = 0
            net.save()
            costs.append((disk.written, disk.erased))
    later = [sum([one[kind] for one in costs[1:]]) // SAVES for kind in (0, 1)]
    return costs[0], later


def write_header_last(file, net):
    """What store._write() does, but the header, which would commit the rest, comes last."""
    structure = net.sections[image.STRUCTURE]
    file.write(bytes(image.HEADER_BYTES))
    file.write(memoryview(structure)[image.HEADER_BYTES :])
    for section in net.sections[1:]:
        file.write(section)
    file.flush()
    file.seek(0)
    file.write(memoryview(structure)[: image.HEADER_BYTES])
    file.flush()


def changed_sectors(lessons, between):
    """Share of a slot's sectors that a save changes, `between` lessons after the save before."""
    net = create(lessons)
    slots = []
    changed = total = 0
    for i in range(2 + SAVES):
        lessons.give(net, between)
        image.put(net.sections[0], image.HEADER["sequence"], i)
        store.engine.seal(net.sections)
        slots.append(b"".join(net.sections))
        if i >= 2:
            new, old = slots[i], slots[i - 2]
            for at in range(0, len(new), SECTOR):
                changed += new[at : at + SECTOR] != old[at : at + SECTOR]
                total += 1
    return changed / total


def report(name, value):
    print("%s\t%s" % (name, value))


def main():
    lessons = Lessons()
    report("image", create(lessons).image_bytes)
    for filesystem, block, count in ((Littlefs, 4096, 64), (Fat, SECTOR, 512)):
        first, later = cost(filesystem, RamDisk(bytes(block * count), block), lessons)
        report(filesystem.name + " first", first[0])
        report(filesystem.name + " first erased", first[1])
        report(filesystem.name + " later", later[0])
        report(filesystem.name + " later erased", later[1])
    for between in (1, 10, 100):
        report("changed after %d" % between, changed_sectors(lessons, between))
    store._write = write_header_last
    _, later = cost(Littlefs, RamDisk(bytes(64 * 4096), 4096), lessons)
    report("littlefs header last", later[0])
    report("littlefs header last erased", later[1])


main()
