"""undo() takes exactly one lesson back: the network is, byte for byte, what it was before."""

import gc
import sys
from struct import pack_into

import gestures
from checks import FORMATS, refused, same, state_of

import tinyinc
from tinyinc import image
from tinyinc.engine import engine

source = gestures.Source()
path = sys.argv[1] + "/undoing.tinc"
MICROPYTHON = sys.implementation.name == "micropython"


def network(undo=True, **options):
    return tinyinc.create(undo=undo, **dict({"inputs": 8, "range": (0, 100), "seed": 7}, **options))


def taught(count=60, **options):
    return source.teach(network(**options), count)


def exemplars_of(net):
    return [(bytes(x), label) for x, label in net.memory.samples()]


def stream():
    """Class after class, and all of them again: lessons that grow the network, that fill the
    memory, that take slots from larger classes and that move exemplars."""
    pairs = []
    for name in gestures.NAMES:
        pairs += source.samples(20, (name,))
    return pairs + source.samples(40)


def test_every_lesson_of_a_stream():
    """Each is learned, taken back and learned once more: as good as learned once."""
    for kind in FORMATS:
        for options in (
            {"memory": 24},
            {"memory": 24, "memory_bits": 4, "rule": "full"},
            {"memory": 10, "growth": 3, "hidden": (6, 16), "rule": "tinyprop2"},
            {"memory": 0, "hidden": ()},
            {"memory": 3, "rule": "static"},  # fewer slots than classes
            {"memory": 8, "range": None, "rule": "tinyprop"},  # the first lesson tells the scale
        ):
            options["format"] = kind
            net, other = network(**options), network(undo=False, **options)
            changed = 0
            for x, name in stream():
                before = state_of(net)
                net.learn(x, name)
                changed += state_of(net)[0][image.TRAINED] != before[0][image.TRAINED]
                net.undo()
                assert state_of(net) == before, options
                net.learn(x, name)
                other.learn(x, name)
            same(net, other)
            assert changed > 20, (options, changed)


def test_integers_as_labels():
    """The first label settles of what kind they are, until it is taken back."""
    net = network()
    before = state_of(net)
    net.learn(source.sample("up"), 5)
    net.undo()
    assert state_of(net) == before and net.labels == []
    refused(("nothing learned",), net.predict, source.sample("up"))
    net.learn(source.sample("up"), "five")
    assert net.labels == ["five"] and net.predict(source.sample("up")) == "five"


def test_one_lesson_is_kept():
    net = network()
    refused(("no lesson to take back",), net.undo)
    net = taught()
    net.undo()
    refused(("no lesson to take back", "one at a time"), net.undo)
    net.learn(source.sample("up"), "up")
    net.undo()


def test_only_where_it_was_asked_for():
    net = taught(undo=False)
    assert net.undo_bytes == 0
    refused(("undo=True",), net.undo)
    net.save(path)
    for undo in (False, True):
        net = tinyinc.load(path, undo=undo)
        before = state_of(net)
        net.learn(source.sample("up"), "up")
        if undo:
            net.undo()
            assert state_of(net) == before
        else:
            refused(("undo=True",), net.undo)


def test_what_it_takes():
    for options in ({}, {"memory": 0}, {"memory": 500, "hidden": (100,)}, {"memory_bits": 4}):
        net = taught(8, **options)
        slots = net.memory.capacity
        stride = 0 if not slots else 4 if "memory_bits" in options else 8
        tables = 64 + 4 * ((slots + 3) & ~3) if slots else 0
        expected = sum([len(net.sections[kind]) for kind in (0, 1, 4)]) + tables + stride
        assert net.undo_bytes == expected, (net.undo_bytes, expected)
    if MICROPYTHON:
        taken = []
        net.save(path)
        for undo in (False, False, True):  # the first takes the place of another network
            net = tinyinc.load(path, undo=undo)
            gc.collect()
            taken.append(gc.mem_alloc())
        assert 0 <= taken[2] - taken[1] - net.undo_bytes < 1500, (taken, net.undo_bytes)


def test_a_refused_lesson_is_none():
    """The one before it can still be taken back."""
    net = taught(59, classes=4)
    before = state_of(net)
    x = source.sample("up")
    net.learn(x, "up")
    after = state_of(net)
    for wrong, label in ((x[:7], "up"), (x, "fifth"), (x, ""), (x, 5), ([None] * 8, "up")):
        refused((), net.learn, wrong, label)
        assert state_of(net) == after
    net.undo()
    assert state_of(net) == before


def test_what_came_since_goes_too():
    for kind in FORMATS:
        net = taught(19, memory=40, growth=3, format=kind)
        before, exemplars = state_of(net), exemplars_of(net)
        net.learn(source.sample("up"), "a new one")
        net.memory.add(source.sample("down"), "a new one", 9)
        net.consolidate(lessons=20)
        net.configure(rule="full", learning_rate=0.25)
        net.grow(0, 2)
        net.undo()
        after = state_of(net)
        assert after[1:] == before[1:] and exemplars_of(net) == exemplars
        for section in (image.STRUCTURE, image.TRAINED, image.STATE):
            assert after[0][section] == before[0][section]
        for x, name in source.samples(40):
            net.learn(x, name)
        engine.seal(net.sections)
        engine.check(net.sections)


def test_saving_is_not_taken_back():
    """The next save goes where it has to, and the file holds what the network is."""
    net = taught()
    net.save(path)
    for _ in range(3):  # into one slot and the other
        before = [bytes(section) for section in net.sections[1:]]
        net.learn(source.sample("up"), "up")
        net.save()
        net.undo()
        assert [bytes(section) for section in net.sections[1:]] == before
        sequence = image.get(net.sections[0], image.HEADER["sequence"])
        same(tinyinc.load(path), learned_again(net))
        net.save()
        assert image.get(net.sections[0], image.HEADER["sequence"]) == sequence + 1
        same(tinyinc.load(path), net)
    net.learn(source.sample("down"), "down")
    net.save(path + ".copy")
    net.undo()
    net.save()
    same(tinyinc.load(path + ".copy"), net)
    net.restore()


def learned_again(net):
    """What the newest file holds, as it is not the network any more."""
    twin = tinyinc.Net(tuple([bytearray(section) for section in net.sections]), net.path)
    twin.restore()
    assert bytes(twin.sections[4]) != bytes(net.sections[4])
    return twin


def test_restore_and_undo():
    net = taught(memory=12)
    net.save(path)
    saved = state_of(net)[0][1:]
    for x, name in source.samples(30):
        net.learn(x, name)
    net.restore()
    assert state_of(net)[0][1:] == saved
    refused(("no lesson to take back",), net.undo)
    assert state_of(net)[0][1:] == saved
    net.learn(source.sample("up"), "up")
    net.undo()
    assert state_of(net)[0][1:] == saved


def test_the_scale_is_taken_back():
    """By undo() as by restore(): the next first sample tells it."""
    for back in ("undo", "restore"):
        net, other = network(range=None), network(range=None)
        net.save(path)
        net.learn([1e5] * 8, "up")
        getattr(net, back)()
        for x, name in source.samples(20):
            net.learn(x, name)
            other.learn(x, name)
        same(net, other)


def diverge(net):
    """Learn one sample with weights far too large; returns what was there before it."""
    weights = net.sections[image.TRAINED]
    for at in range(0, len(weights), 4):
        pack_into("<f", weights, at, 1e30)
    before = state_of(net)
    assert net.learn(source.sample("up"), "one more").diverged
    return before


def test_divergence_and_undo():
    net = taught()
    before = diverge(net)
    assert state_of(net) != before  # the class is there
    net.undo()
    assert state_of(net) == before
    net = taught()
    net.save(path)
    saved = state_of(net)
    net.undo_divergence = True
    diverge(net)
    assert state_of(net) == saved  # taken further back than by a lesson
    refused(("no lesson to take back",), net.undo)


def test_after_deinit():
    net = taught()
    net.deinit()
    refused(("deinit()",), net.undo)
    refused(("deinit()",), net.consolidate)
    refused(("deinit()",), lambda: net.confidence)


def test_damaged_sections():
    """What is no network any more is refused, and nothing is written outside of it."""
    net = taught(memory=12)
    net.learn(source.sample("up"), "up")
    before = state_of(net)[0]
    for kind in (0, 1, 3, 4):
        section = net.sections[kind]
        for change in (b"", before[kind][:-8], before[kind] + bytes(8)):
            section[:] = change
            refused((), net.undo)
            section[:] = before[kind]
    pack_into("<I", net.sections[3], 4, 9999)  # exemplars in use
    refused((), net.undo)
    net.sections[3][:] = before[3]
    net.undo()
    assert net.predict(source.sample("up")) == "up"


for test in (
    test_every_lesson_of_a_stream,
    test_integers_as_labels,
    test_one_lesson_is_kept,
    test_only_where_it_was_asked_for,
    test_what_it_takes,
    test_a_refused_lesson_is_none,
    test_what_came_since_goes_too,
    test_saving_is_not_taken_back,
    test_restore_and_undo,
    test_the_scale_is_taken_back,
    test_divergence_and_undo,
    test_after_deinit,
    test_damaged_sections,
):
    test()
    print("ok", test.__name__)
print("PASS")
