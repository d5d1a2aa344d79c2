"""Out of memory at every point where a call allocates (MicroPython): memory_faults.py FOLDER

The heap is filled but for a hole, which grows block by block from nothing until the call works:
in one piece, so that small and large allocations fail, and as single blocks, so that only large
ones do. Each time it is a MemoryError, and the network is as it was, or the call has worked.
"""

import gc
import os
import sys

import gestures
from checks import state_of

import tinyinc
from tinyinc import image
from tinyinc.engine import engine

folder = sys.argv[1]
path = folder + "/net.tinc"
BLOCK = 32  # bytes, the least that MicroPython allocates on a 64-bit machine
C_ENGINE = engine.__name__ == "_tinyinc"

source = gestures.Source()
x = source.sample("up")
values = [float(value) for value in x]
ballast = [None] * 20000
hole = [None]


def dig(blocks, in_pieces):
    """Fill the heap but for a hole; seal() then takes what this call itself leaves behind."""
    gc.collect()
    hole[0] = None if in_pieces else bytearray(blocks * BLOCK)
    at = 0
    for size in (16384, 2048, 256):
        try:
            while True:
                ballast[at] = bytearray(size)
                at += 1
        except MemoryError:
            pass
    return at


def seal(at):
    """Fill what is left, block by block. Its frame is small enough not to be on the heap."""
    try:
        while True:
            ballast[at] = at + 0.5
            at += 1
    except MemoryError:
        return at


def open_hole(at, blocks):
    """Empty the hole, or free every second of the last single blocks instead."""
    hole[0] = None
    while blocks:
        at -= 2
        ballast[at] = None
        blocks -= 1
    gc.collect()


def clear_away():
    for i in range(len(ballast)):
        ballast[i] = None
    hole[0] = None
    gc.collect()


def network(undo=False):
    sizes = {"inputs": 8, "range": (0, 100), "memory": 8, "hidden": (6,), "classes": 6}
    net = tinyinc.create(seed=3, undo=undo, **sizes)
    for sample, name in samples:
        net.learn(sample, name)
    net.path = path
    return net


def consistent(net):
    """What Python knows of the network is what the sections say."""
    structure, state = net.sections[image.STRUCTURE], net.sections[image.STATE]
    active = image.active(structure, net.layer_count - 1)
    assert net.labels == tinyinc.learner.Labels(state, active).names, (net.labels, active)
    assert [net.class_of(label) for label in net.labels] == list(range(active))
    counted = net.memory.count, list(net.memory.slots_of)
    net.memory.recount()
    assert counted == (net.memory.count, net.memory.slots_of)


def usable(net):
    """It predicts, learns an old and a new label, and can be saved and loaded."""
    assert net.learn(x, "up").loss >= 0
    assert net.predict(x) in net.labels
    net.learn(values, "one more")
    net.save(folder + "/usable.tinc")
    assert tinyinc.load(folder + "/usable.tinc").labels == net.labels
    net.path = path


def survey(name, make, call, unchanged=True, check=None):
    """Make `call` with holes of every size; prints how often it failed."""
    failures = 0
    for in_pieces in (False, True):
        worked = blocks = 0
        while worked < 3 and blocks < 1500:
            net = make()
            before = state_of(net)
            default = tinyinc._default
            failed = False
            at = dig(blocks, in_pieces)
            at = seal(at)
            open_hole(at, blocks if in_pieces else 0)
            try:
                call(net)
            except MemoryError:
                failed = True
            clear_away()
            failures += failed
            worked += not failed
            if failed:
                assert not unchanged or state_of(net) == before, (name, blocks)
                assert tinyinc._default is default
            consistent(net)
            if check:
                check(net, failed)
            usable(net)
            blocks += 1 if blocks < 200 else 5
            if in_pieces and blocks > 60:
                break  # never enough for what is large
    assert failures > 0, name
    print("%s\t%d" % (name, failures))


def loaded():
    """The network from its file, with one lesson more."""
    net = tinyinc.load(path)
    net.learn(x, "up")
    return net


def back(net, failed):
    saved = tinyinc.load(path)
    assert failed or state_of(net) == state_of(saved)
    net.restore()
    assert state_of(net) == state_of(saved)


def untaught():
    net = tinyinc.create(inputs=8, memory=8, hidden=(6,), classes=6, seed=3)
    net.path = path
    return net


def reloaded(net, failed):
    """After a save that failed, the file holds the network before; after one that worked, this."""
    found = tinyinc.load(path)
    same = state_of(found)[0][1:] == state_of(net)[0][1:]
    assert same or failed
    for slot in (0, 1):  # the next save starts anew
        try:
            os.remove("%s.%d/checkpoint" % (path, slot))
        except OSError:
            pass
    net.save()
    assert state_of(tinyinc.load(path)) == state_of(net)


samples = source.samples(40)
network().save(path)

if C_ENGINE:
    survey("learn a list", network, lambda net: net.learn(values, "up"))
survey("learn a new label", network, lambda net: net.learn(x, "new"), C_ENGINE)
survey("learn the first label", untaught, lambda net: net.learn(x, "new"), C_ENGINE)
survey("learn what can be undone", lambda: network(True), lambda net: net.learn(x, "new"), C_ENGINE)
survey("undo", lambda: network(True), lambda net: net.undo(), C_ENGINE)
survey("predict", network, lambda net: net.predict(values))
survey("probabilities", network, lambda net: net.probabilities(x))
survey("load", network, lambda net: tinyinc.load(path))
survey("create", network, lambda net: tinyinc.create(inputs=8))
survey("save", loaded, lambda net: net.save(), True, reloaded)
survey("save to a path", loaded, lambda net: net.save(path), True, reloaded)
survey("restore", loaded, lambda net: net.restore(), True, back)
survey("memory.samples", network, lambda net: list(net.memory.samples()))
