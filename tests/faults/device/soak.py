"""A soak: soak.py FOLDER LESSONS FORMAT. A stream without end, two classes at a time, with
exemplars of 4 bits, growth, consolidation whenever a pair is through, and checkpoints; prints the
accuracy after a tenth of the lessons and in the end, and how the heap changed in between."""

import gc
import sys
from array import array

import gestures

import tinyinc
from tinyinc.engine import engine

PARTS = 10
PAIR = 125  # lessons with two classes
CLASSES = 8
ASKED = 1000

path = sys.argv[1] + "/soak.tinc"
lessons = int(sys.argv[2])
source = gestures.Source(4)


def sample(x, cls):
    """Noise, and somewhat higher in two places that say which class it is."""
    for i in range(8):
        x[i] = source.below(60)
    x[cls] += 45
    x[(cls + 3) % 8] += 30


def learn(net, x, count):
    for i in range(count):
        cls = i // PAIR * 2 % CLASSES + source.below(2)
        sample(x, cls)
        net.learn(x, cls)
        if i % PAIR == PAIR - 1:
            assert net.consolidate(lessons=20) == 20


def right(net, x):
    """Predictions that are right, of ASKED."""
    count = 0
    for i in range(ASKED):
        sample(x, i % CLASSES)
        count += net.predict(x) == i % CLASSES
    return count


def main():
    sizes = {"inputs": 8, "hidden": (32,), "classes": CLASSES, "memory": 64, "memory_bits": 4}
    net = tinyinc.create(range=(0, 105), growth=2, format=sys.argv[3], **sizes)
    x = array("B", bytes(8))
    net.save(path)
    found, heap = array("I", bytes(4 * PARTS)), array("I", bytes(4 * PARTS))
    for part in range(PARTS):
        learn(net, x, lessons // PARTS)
        net.save()
        found[part] = right(net, x)
        gc.collect()
        heap[part] = gc.mem_alloc()
    engine.check(tinyinc.load(path).sections)
    units = tinyinc.image.active(net.sections[0], 0)
    print("lessons\t%d" % tinyinc.image.get(net.sections[4], tinyinc.image.STATE_FIELDS["lessons"]))
    print("accuracy at first\t%f" % (found[0] / ASKED))
    print("accuracy\t%f" % (found[PARTS - 1] / ASKED))
    print("heap\t%d" % max(heap))
    print("heap change\t%d" % (max(heap) - min(heap)))
    print("units\t%d" % units)


main()
