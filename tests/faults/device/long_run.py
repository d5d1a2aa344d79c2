"""A long run: long_run.py FOLDER STEPS SEED. Samples that wander, all rules in turn, new classes,
checkpoints; the heap stays flat, and the same seed gives the same network, bit for bit."""

import gc
import sys
from array import array

import gestures

import tinyinc
from tinyinc import store
from tinyinc.engine import engine

PARTS = 50  # looks at the heap
RULES = ("full", "static", "tinyprop", "tinyprop2", "sampled")

path = sys.argv[1] + "/long.tinc"
steps = int(sys.argv[2])
store.new_lineage = lambda: bytes(16)  # the one thing that is random by intention
source = gestures.Source(int(sys.argv[3]))


def wander(x, name, drift):
    """A gesture with noise and a slow drift, into a buffer that is used again and again."""
    for i in range(8):
        x[i] = source.below(30) + drift
    first = 2 * gestures.NAMES.index(name)
    x[first] = min(x[first] + 60, 120)
    x[first + 1] = min(x[first + 1] + 40, 120)


def learn(net, x, part, count):
    right = 0
    classes = min(4, 2 + part // 5)  # the third and the fourth come later
    for _ in range(count):
        name = gestures.NAMES[source.below(classes)]
        wander(x, name, 10 + part % 20)
        right += net.predict(x) == name
        net.learn(x, name)
    return right


def main():
    net = tinyinc.create(inputs=8, hidden=(16, 12), classes=6, range=(0, 120), memory=32, seed=5)
    x = array("B", bytes(8))
    net.learn(x, gestures.NAMES[0])
    net.save(path)
    right = 0
    heap = array("I", bytes(4 * PARTS))
    for part in range(PARTS):
        net.configure(rule=RULES[part % len(RULES)], learning_rate=0.02)
        right = learn(net, x, part, steps // PARTS)
        net.save()
        gc.collect()
        heap[part] = gc.mem_alloc()
    least, most = min(heap[15:]), max(heap[15:])  # all classes are there
    assert net.labels == list(gestures.NAMES)
    again = tinyinc.load(path)
    assert [bytes(s) for s in again.sections] == [bytes(s) for s in net.sections]
    engine.check(net.sections)
    crc = 0
    for section in net.sections:
        crc = engine.crc32(section, crc)
    print("steps\t%d" % (steps // PARTS * PARTS))
    print("accuracy\t%f" % (right / (steps // PARTS)))
    print("heap\t%d" % most)
    print("heap change\t%d" % (most - least))
    print("crc\t%d" % crc)


main()
