"""Bad input: the error says what was wrong and what was expected, and nothing has changed."""

import sys
from array import array

import gestures
from checks import refused, state_of

import tinyinc

source = gestures.Source()
path = sys.argv[1] + "/bad_input.tinc"
NAN, INFINITY = float("nan"), float("inf")


def network(classes=4):
    net = tinyinc.create(inputs=8, range=(0, 100), classes=classes, memory=8, hidden=(6,))
    return source.teach(net, 40)


def test_samples():
    net = network()
    before = state_of(net)
    good = source.sample("up")
    for x, words in (
        (good[:7], ("7 values", "expected 8")),
        (array("f", []), ("0 values", "expected 8")),
        (bytes(9), ("9 values", "expected 8")),
        (array("i", range(7)), ("7 values", "expected 8")),
        ("up", ()),
        (None, ("type",)),
        (3, ("type",)),
        ([1, 2, 3], ("3 values", "expected 8")),
        ([1, 2, 3, 4, 5, 6, 7, "8"], ("number",)),
        ([1, 2, 3, None, 5, 6, 7, 8], ("number",)),
        (array("f", [1, 2, 3, NAN, 5, 6, 7, 8]), ("sample[3]", "NaN")),
        (array("f", [1, INFINITY, 3, 4, 5, 6, 7, 8]), ("sample[1]", "infinite")),
        ([0, 0, 0, 0, 0, 0, 0, -INFINITY], ("sample[7]",)),
    ):
        refused(words, net.predict, x)
        refused(words, net.learn, x, "up")
        refused(words, net.learn, x, "a new one")
        assert state_of(net) == before, x
    assert net.learn(good, "up").loss >= 0


def test_labels():
    net = network(classes=5)
    before = state_of(net)
    x = source.sample("up")
    for label, words in (
        ("", ("0 bytes",)),
        ("a label of more than sixteen bytes", ("34 bytes", "expected 1 to 16")),
        ("nul\0", ("NUL",)),
        (7, ("labels are strings",)),
        (None, ("neither a string nor an integer",)),
        (1.5, ("neither a string nor an integer",)),
        (b"up", ("neither a string nor an integer",)),
    ):
        refused(words, net.learn, x, label)
        assert state_of(net) == before, label
    net.learn(x, "fifth")
    before = state_of(net)
    refused(("'sixth'", "all 5 classes"), net.learn, x, "sixth")
    assert state_of(net) == before


def test_numbers_as_labels():
    net = tinyinc.create(inputs=8)
    for label in (1 << 31, -(1 << 31) - 1, 1 << 70):
        refused(("32 bits",), net.learn, source.sample("up"), label)
        assert net.labels == []


def test_capacity():
    net = network()
    before = state_of(net)
    refused(("1 more units", "room for 0"), net.grow, 0, 1)
    for units in (6, -1, INFINITY, NAN):
        refused(("at least one",), net.shrink, 0, units)
    refused(("slots",), net.memory.add, source.sample("up"), "up")
    assert state_of(net) == before
    net2 = tinyinc.create(inputs=8, memory=4)
    net2.learn(source.sample("up"), "up")
    refused(("'down'", "unknown"), net2.memory.add, source.sample("up"), "down")
    before = state_of(net2)
    for weight in (0, 65, 1.5, NAN, "1", None):
        refused(("weight", "1 to 64"), net2.memory.add, source.sample("up"), "up", weight)
    assert state_of(net2) == before
    net2.memory.add(source.sample("up"), "up", 64)


def test_extremes():
    """Finite values of any size are clipped to the range, and do no harm."""
    net = network()
    for value in (3e38, -3e38, 1e-45):
        x = array("f", [value] * 8)
        assert net.learn(x, "up").loss >= 0
    assert net.evaluate(source.samples(40)) > 0.5


def test_nothing_yet():
    refused(("learn()",), tinyinc.create(inputs=8).predict, source.sample("up"))
    refused(("no samples",), network().evaluate, [])


def test_create():
    for options, words in (
        ({"inputs": 0}, ("1 to 65535",)),
        ({"inputs": 1.5}, ("1 to 65535",)),
        ({"inputs": 70000}, ("70000",)),
        ({"inputs": 8, "hidden": (0,)}, ("1 to 65535",)),
        ({"inputs": 8, "hidden": (2,) * 40}, ("at most 32",)),
        ({"inputs": 8, "range": (1, 1)}, ("lowest, highest",)),
        ({"inputs": 8, "range": (1, 0), "format": "q8"}, ("lowest, highest",)),
        ({"inputs": 8, "range": 5}, ("lowest, highest",)),
        ({"inputs": 8, "range": ()}, ("lowest, highest",)),
        ({"inputs": 8, "range": {}}, ("lowest, highest",)),
        ({"inputs": 8, "range": (0, 1, 2)}, ("lowest, highest",)),
        ({"inputs": 8, "range": ("a", "b")}, ("lowest, highest",)),
        ({"inputs": 8, "range": (0, NAN)}, ("lowest, highest",)),
        ({"inputs": 8, "range": (-INFINITY, INFINITY)}, ("lowest, highest",)),
        ({"inputs": 8, "range": (0, 1e35)}, ("lowest, highest",)),
        ({"inputs": 8, "range": (0, 1e-35)}, ("lowest, highest",)),
        ({"inputs": 8, "memory": -1}, ("memory",)),
        ({"inputs": 8, "memory": 0.5}, ("memory",)),
        ({"inputs": 8, "label_bytes": 3}, ("label_bytes",)),
        ({"inputs": 8, "label_bytes": (8,)}, ("label_bytes",)),
        ({"inputs": 8, "seed": "12"}, ("seed",)),
        ({"inputs": 8, "rule": "magic"}, ("rule", "sampled")),
        ({"inputs": 8, "speed": 1}, ("speed", "learning_rate")),
    ):
        refused(words, tinyinc.create, **options)
    refused(("weights of",), tinyinc.create, inputs=8, hidden=(65535, 65535), error=MemoryError)


def test_files():
    refused((), tinyinc.load, path + ".missing", error=OSError)
    net = network()
    net.save(path)
    with open(path, "rb") as file:
        good = file.read()
    for damaged, words in (
        (b"", ("cut short",)),
        (good[:50], ("cut short",)),
        (good[:200], ()),
        (good[:-8], ("bytes",)),
        (good + b"more", ("bytes",)),
        (b"PNG!" + good[4:], ("not a TinyInc image",)),
        (good[:4] + b"\2" + good[5:], ("version 2", "expected 1")),
        (good[:90] + b"\1" + good[91:], ("byte", "range")),
        (good[:900] + bytes([good[900] ^ 4]) + good[901:], ("CRC",)),
        (good[:-1] + bytes([good[-1] ^ 128]), ("CRC",)),
    ):
        with open(path, "wb") as file:
            file.write(damaged)
        refused(words, tinyinc.load, path)
    with open(path, "wb") as file:
        file.write(good)
    assert tinyinc.load(path).labels == net.labels


def test_no_network():
    tinyinc._default = None
    refused(("tinyinc.load", "tinyinc.create"), tinyinc.predict, bytes(8))


for test in (
    test_samples,
    test_labels,
    test_numbers_as_labels,
    test_capacity,
    test_extremes,
    test_nothing_yet,
    test_create,
    test_files,
    test_no_network,
):
    test()
    print("ok", test.__name__)
print("PASS")
