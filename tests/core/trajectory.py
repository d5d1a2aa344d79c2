"""Runs an engine through a fixed sequence of calls and lists what every call gave.

Plain Python for CPython and MicroPython alike, so that the engines of both can be compared:
    micropython trajectory.py golden.tinc              prints JSON, with the engine _tinyinc
    compare(run(engine, load(path)), other)            what differs between two engines
"""

import json
import struct
import sys
from array import array

HEADER_BYTES, ENTRY_BYTES = 128, 32


def load(path):
    """The five sections of an image file as a tuple of bytearrays."""
    with open(path, "rb") as f:
        file = f.read()
    (structure_bytes,) = struct.unpack_from("<I", file, 8)
    net = [bytearray(file[:structure_bytes])] + [bytearray() for _ in range(4)]
    for i in range(file[42]):
        kind, _, offset, size = struct.unpack_from("<IIII", file, HEADER_BYTES + ENTRY_BYTES * i)
        if kind < len(net):
            net[kind] = bytearray(file[offset : offset + size])
    return tuple(net)


class Source:
    """Raw samples of whole numbers, the same on every machine."""

    def __init__(self):
        self.state = 1

    def sample(self, n):
        values = bytearray(n)
        for i in range(n):
            self.state = self.state * 16807 % 2147483647  # Lehmer; below 2^31 * 2^15
            values[i] = self.state >> 8 & 255
        return values


TRAINING_STEPS = 200


def train(engine, net):
    """CRCs of what training by all rules in turn makes of a copy of the network: of its trained
    tensors and its state."""
    net, source = tuple([bytearray(section) for section in net]), Source()
    axes, layers = struct.unpack_from("<4I", net[0], 48), net[0][43]
    x = array("b" if net[0][40] else "f", [0] * (axes[0] * axes[1] * axes[2] * axes[3]))
    counts, figures = array("I", [0] * (4 + layers)), array("f", [0] * 3)
    scratch = bytearray(engine.scratch_bytes(net))
    for step in range(TRAINING_STEPS):
        net[4][0] = step % 5
        engine.normalise(net, source.sample(len(x)), x)
        engine.learn(net, x, step % 3, counts, figures, scratch)
    return [engine.crc32(net[1]), engine.crc32(net[4])]


def distil(engine, net):
    """CRCs of all sections of a copy of the network after lessons that keep and replay what its
    front end gives; and that of the features."""
    net, source = tuple([bytearray(section) for section in net]), Source()
    axes, layers = struct.unpack_from("<4I", net[0], 48), net[0][43]
    x = array("b", [0] * (axes[0] * axes[1] * axes[2] * axes[3]))
    capacity, _, count = struct.unpack_from("<3I", net[3], 0)
    features, probabilities = array("b", [0] * count), array("f", [0] * 3)
    counts, figures = array("I", [0] * (4 + layers)), array("f", [0] * 3)
    q, distance, scratch = bytearray(count), array("I", [0]), bytearray(engine.scratch_bytes(net))
    crc = 0
    for step in range(TRAINING_STEPS):
        cls = step % 3
        engine.normalise(net, source.sample(len(x)), x)
        engine.extract(net, x, features, scratch)
        engine.infer(net, features, probabilities, scratch)
        engine.quantise(net, features, q)
        engine.vote(net, q, probabilities)
        crc = engine.crc32(probabilities, engine.crc32(features, crc))
        engine.learn(net, features, cls, counts, figures, scratch)
        slot = net[3][4]
        if slot < capacity:
            engine.remember(net, slot, q, cls)
        else:
            engine.move(net, engine.nearest(net, q, cls, distance), q)
        slot = engine.choose(net, cls)
        if slot >= 0:
            engine.learn(
                net, features, engine.recall(net, slot, features), counts, figures, scratch
            )
    return [engine.crc32(section) for section in net] + [crc]


def run(engine, net, classes=3):
    """List of [name, integers, floats], one per call. Changes the network, in float32 or in q8,
    whose last two layers are dense."""
    log, source = [], Source()
    axes, layers = struct.unpack_from("<4I", net[0], 48), net[0][43]
    inputs = axes[0] * axes[1] * axes[2] * axes[3]
    hidden, last = layers - 2, layers - 1
    x, figures = array("b" if net[0][40] else "f", [0] * inputs), array("f", [0] * 3)
    counts, distance = array("I", [0] * (4 + layers)), array("I", [0])
    q, scratch = bytearray(inputs), bytearray(engine.scratch_bytes(net))

    def note(name, integers, floats=()):
        log.append([name, [int(i) for i in integers], [float(f) for f in floats]])

    engine.check(net)
    if net[0][40]:  # integers: the same on every machine to the last bit
        note("training", train(engine, net))
    # class 2 has been away from the stream, and its logit counts as lower by 2.5
    struct.pack_into("<I", net[4], 12, 1000)
    struct.pack_into("<f", net[4], 96, 2.5)
    struct.pack_into("<f", net[4], 112, 0.25)  # of replayed exemplars, labels are smoothed
    for rule in range(5):
        net[4][0] = rule
        for target in (0, 1, 2, 2, 0, 1):
            engine.normalise(net, source.sample(inputs), x)
            engine.learn(net, x, target, counts, figures, scratch)
            note(f"learn rule {rule}", counts, figures)
        probabilities = array("f", [0] * classes)
        note("infer", [engine.infer(net, x, probabilities, scratch)], probabilities)
    for cls, target in ((0, 0), (1, 1), (-1, 2), (2, 0)):
        slot = engine.choose(net, cls)
        note("choose", [slot])
        note("recall", [engine.recall(net, slot, x)], list(x))
        engine.normalise(net, source.sample(inputs), x)
        engine.quantise(net, x, q)
        note("quantise", q)
        note("nearest", [engine.nearest(net, q, cls, distance), distance[0]])
        engine.move(net, slot, q)
        replayed = engine.replay(net, cls, x, counts, figures, scratch)
        note("replay", [replayed] + list(counts), figures)
        note("follow", [engine.follow(net, x, target, q)] + list(q))
    engine.remember(net, net[3][4], q, 1)  # the first free slot
    note("memory", [engine.crc32(net[3])])
    note("least useful", [engine.least_useful(net, hidden)])
    engine.grow(net, hidden, 2)
    engine.grow(net, last, 1)
    engine.shrink(net, hidden, 0)
    engine.shrink(net, last, 1)
    note("memory after shrinking", [engine.crc32(net[3])])
    note("generator", struct.unpack_from("<III", net[4], 8))
    engine.learn(net, x, 2, counts, figures, scratch)
    note("learn after resizing", counts, figures)
    engine.seal(net)
    engine.check(net)
    return log


def compare(one, other, tolerance=1e-5):
    """The first entries that differ, integers exactly and floats by more than a tolerance, or
    None when all agree."""
    for a, b in zip(one, other):
        near = [abs(f - g) <= tolerance * (1 + abs(f)) for f, g in zip(a[2], b[2])]
        if a[:2] != b[:2] or len(a[2]) != len(b[2]) or not all(near):
            return a, b
    return None if len(one) == len(other) else (len(one), len(other))


if __name__ == "__main__":
    import _tinyinc

    print(json.dumps(run(_tinyinc, load(sys.argv[1]))))
