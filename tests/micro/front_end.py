"""A network behind a frozen front end that learns as any other does: front_end.py IMAGE, which has
learned nothing, for samples of eight values from 0 to 100."""

import sys
from array import array
from struct import unpack_from

import gestures
from checks import refused, same

import tinyinc
from tinyinc import image

source = gestures.Source()
path = sys.argv[1]
fresh = tinyinc.load(path)
FRONT = image.front_layers(fresh.sections[image.STRUCTURE])
assert FRONT and fresh.features != fresh.inputs == 8


def taught(count=200, **settings):
    net = tinyinc.load(path)
    net.configure(**settings)
    return source.teach(net, count)


def forward_macs(net, first, end):
    structure = net.sections[image.STRUCTURE]
    return sum([image.layer_macs(structure, layer)[0] for layer in range(first, end)])


def test_learns_every_rule():
    for rule in ("full", "static", "tinyprop", "tinyprop2", "sampled"):
        net = taught(400, rule=rule)
        accuracy = net.evaluate(source.samples(100))
        assert accuracy >= 0.95, (rule, accuracy)


def test_the_front_end_runs_once_per_sample():
    """Replayed exemplars start behind it."""
    for replay in (0, 1, 5):
        net = taught(60, rule="full", replay=replay)
        step = net.learn(source.sample("up"), "up")
        front = forward_macs(net, 0, FRONT)
        head = forward_macs(net, FRONT, net.layer_count)
        assert step.replayed == replay and net.dense_forward_macs == front + head
        # of exemplars with few values that are not 0, the others cost nothing
        assert front + head <= step.forward_macs <= front + (1 + replay) * head
        assert (step.forward_macs > front + head) == (replay > 0)


def test_the_memory_holds_features():
    net = taught(12)
    x = source.sample("left")
    net.memory.add(x, "left", 64)
    features = [float(value) for value in net.take(x)]
    *_, (stored, label) = net.memory.samples()
    assert len(stored) == len(features) == net.features and label == "left"
    if net.format == "q8":
        step = image.feature_step(net.sections[image.STRUCTURE])
        features = [step * value for value in features]
    memory = net.sections[image.MEMORY]
    step, offset = unpack_from("<2f", memory, 20)
    unit = 17 if image.memory_bits(memory) == 4 else 1  # steps from one value to the next
    features = [min(value, offset + 255 * step) for value in features]
    assert max(features) > 0.5
    assert max([abs(a - b) for a, b in zip(stored, features)]) <= (unit / 2 + 1) * step


def test_files():
    net = taught(50)
    frozen = bytes(net.sections[image.FROZEN])
    net.save(path + ".taught")
    again = tinyinc.load(path + ".taught", undo=True)
    same(net, again)
    for x, name in source.samples(20):
        assert again.learn(x, name).loss == net.learn(x, name).loss
    same(net, again)
    x = source.sample("up")
    before = [bytes(section) for section in again.sections]
    for label in ("up", "circle"):
        again.learn(x, label)
        again.undo()
        assert [bytes(section) for section in again.sections] == before
    again.restore()
    same(again, tinyinc.load(path + ".taught"))
    assert bytes(net.sections[image.FROZEN]) == frozen


def test_consolidate_and_novelty():
    net = taught(300, novelty=1)
    assert net.consolidate(lessons=20) == 20
    far = array("f", [0, 100] * 4)
    assert net.predict(far) is None and 0 < net.confidence <= 1
    assert net.evaluate(source.samples(200)) >= 0.85  # of the known, 95 of 100 are taken as such
    refused(("7 values",), net.predict, far[:7])


def test_nothing_is_allocated():
    try:
        from micropython import heap_lock, heap_unlock
    except ImportError:
        return
    net = taught(100)
    samples = source.samples(40)
    heap_lock()
    for x, name in samples:
        net.learn(x, name)
        net.predict(x)
    net.consolidate(lessons=10)
    heap_unlock()


for test in (
    test_learns_every_rule,
    test_the_front_end_runs_once_per_sample,
    test_the_memory_holds_features,
    test_files,
    test_consolidate_and_novelty,
    test_nothing_is_allocated,
):
    test()
    print("ok", test.__name__)
print("PASS")
