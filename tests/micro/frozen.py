"""Frozen weights used where they lie, in a read-only buffer: frozen.py IMAGE, which has some."""

import sys
from array import array

from checks import refused

import tinyinc
from tinyinc.engine import engine

path = sys.argv[1]
with open(path, "rb") as file:
    whole = file.read()
usual = tinyinc.load(path)
samples = [array("f", [(7 * i + 3 * k) % 10 for k in range(usual.inputs)]) for i in range(30)]
frozen = bytes(usual.sections[2])
start = whole.find(frozen)
damaged = bytearray(frozen)
damaged[5] ^= 16


def same(net):
    return [net.predict(x) for x in samples] == [usual.predict(x) for x in samples]


def test_in_place():
    for buffer in (whole, frozen, memoryview(whole), bytearray(whole), memoryview(frozen)):
        net = tinyinc.load(path, frozen=buffer)
        assert isinstance(net.sections[2], memoryview)
        assert bytes(net.sections[2]) == frozen and same(net)


def test_it_learns_and_leaves_them():
    net, other = tinyinc.load(path, frozen=whole), tinyinc.load(path)
    for i, x in enumerate(samples):
        label = net.labels[i % 2]
        assert net.learn(x, label).loss == other.learn(x, label).loss
    for i in (1, 3, 4):
        assert net.sections[i] == other.sections[i]
    net.save()
    again = tinyinc.load(path, frozen=whole)
    assert again.sections[1] == net.sections[1]
    net.learn(samples[0], net.labels[0])
    net.restore()
    assert isinstance(net.sections[2], memoryview) and net.sections[1] == again.sections[1]
    assert bytes(net.sections[2]) == frozen


def test_elsewhere():
    """At an odd address the engine refuses them, and load() copies them."""
    crooked = memoryview(b"1234" + frozen)[4:]
    net = tinyinc.load(path, frozen=crooked)
    assert isinstance(net.sections[2], bytearray) and bytes(net.sections[2]) == frozen
    sections = list(net.sections)
    sections[2] = crooked
    refused(("buffer 2", "not aligned", "8"), engine.check, tuple(sections))


def test_refusals():
    refused(("CRC",), tinyinc.load, path, frozen=damaged)
    refused(("CRC",), tinyinc.load, path, frozen=bytes(len(frozen)))
    refused(("%d bytes" % (len(frozen) - 1), "%d or the image" % len(frozen)), short)
    refused(("16 bytes",), tinyinc.load, path, frozen=b"TINC" + bytes(12))


def short():
    tinyinc.load(path, frozen=frozen[1:])


for test in (test_in_place, test_elsewhere, test_refusals, test_it_learns_and_leaves_them):
    test()
    print("ok", test.__name__)
print("PASS")
