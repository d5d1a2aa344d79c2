"""The public API: what a person does at the REPL, and what it then finds."""

import os
import sys
from array import array

import gestures
from checks import refused, same

import tinyinc

source = gestures.Source()
path = sys.argv[1] + "/gestures.tinc"


def taught(count=200, **options):
    return source.teach(tinyinc.create(inputs=8, range=(0, 100), seed=7, **options), count)


def test_learns_every_rule():
    for rule in ("full", "static", "tinyprop", "tinyprop2", "sampled"):
        net = taught(400, rule=rule)
        assert net.labels == list(gestures.NAMES), net.labels
        accuracy = net.evaluate(source.samples(100))
        assert accuracy >= 0.97, (rule, accuracy)


def test_the_first_sample_tells_the_scale():
    net = tinyinc.create(inputs=8)
    for x, name in source.samples(300):
        net.learn(x, name)
    assert net.evaluate(source.samples(100)) >= 0.95


def test_old_classes_stay():
    net = taught(150, rule="full")
    forgetful = taught(150, rule="full", memory=0)
    old = source.samples(90, gestures.NAMES[:3])
    for _ in range(60):
        x = source.sample("right")
        net.learn(x, "right")
        forgetful.learn(x, "right")
    new = [(x, "shake") for x, _ in source.samples(60, ("right",))]
    for x, label in new:
        x[0] += 60
        net.learn(x, label)
        forgetful.learn(x, label)
    assert net.evaluate(old) >= 0.95
    assert net.evaluate(new) >= 0.9
    assert net.evaluate(old) >= forgetful.evaluate(old)


def test_one_class_after_the_other():
    """The hard order, from scratch: replay alone has to keep every class, not just the last two."""
    accuracy = {}
    for memory in (0, 24):
        net = tinyinc.create(inputs=8, range=(0, 100), memory=memory, vote=0)
        for name in gestures.NAMES:
            for x, _ in source.samples(100, (name,)):
                net.learn(x, name)
        accuracy[memory] = net.evaluate(source.samples(100))
    assert accuracy[24] >= 0.95 and accuracy[0] <= 0.6, accuracy


def test_step():
    net = taught(40, rule="full", replay=2)
    step = net.learn(source.sample("up"), "up")
    dense = net.dense_backward_macs
    assert (net.dense_forward_macs, dense) == (8 * 32 + 32 * 4, 8 * 32 + 2 * 32 * 4)
    assert 0 <= step.loss < 10 and 0 <= step.error <= 2
    assert step.skipped is False and step.predicted in net.labels
    assert step.k == (32, 4) and step.replayed == 2
    assert 0 < step.backward_macs <= 3 * dense
    assert step.ratio == step.backward_macs / dense
    assert step.macs == step.forward_macs + step.backward_macs + step.search_macs
    kept = step.copy()
    loss, macs = kept.loss, kept.macs
    assert net.learn(source.sample("down"), "down") is step
    assert (kept.loss, kept.macs) == (loss, macs) and kept.loss != step.loss
    assert "loss" in repr(step)


def test_step_before_the_first_lesson():
    taught(10).save(path)
    for net in (tinyinc.create(inputs=8, hidden=()), tinyinc.load(path)):
        step = net.step
        assert (step.skipped, step.predicted, step.replayed) == (True, None, 0)
        assert (step.macs, step.ratio, step.loss) == (0, 0, 0)
        assert "skipped" in repr(step)


def test_sample_types():
    net = taught(100)
    values = [int(value) for value in source.sample("left")]
    expected = net.predict(array("f", values))
    probabilities = net.probabilities(values)
    assert abs(sum(probabilities) - 1) < 1e-5 and len(probabilities) == 4
    assert max(probabilities) == probabilities[net.labels.index(expected)]
    for x in (
        values,
        tuple(values),
        array("b", values),
        array("B", values),
        array("h", values),
        array("H", values),
        array("i", values),
        array("d", values),
        bytes(values),
        bytearray(values),
        memoryview(bytes(values)),
    ):
        assert net.predict(x) == expected
        assert list(net.probabilities(x)) == list(probabilities)
    net.learn(bytes(values), "left")


def test_settings():
    net = taught(20)
    net.configure(rule="static", learning_rate=0.25, replay=3, static_ratio=0.5)
    assert net.setting("rule") == "static" and net.setting("learning_rate") == 0.25
    assert net.learn(source.sample("up"), "up").k == (16, 2)
    assert net.step.replayed == 3
    for settings in (
        {"rule": "magic"},
        {"learning_rate": 11},
        {"speed": 1},
        {"replay": 256},
        {"learning_rate": 0.1, "zeta": 2},
    ):
        refused((), net.configure, **settings)
    assert net.setting("learning_rate") == 0.25


def test_save_and_load():
    net = taught(50)
    refused((), net.save)
    net.save(path)
    assert os.stat(path)[6] == net.image_bytes
    again = tinyinc.load(path)
    same(net, again)
    again.learn(source.sample("up"), "circle")
    again.save()
    newest = tinyinc.load(path)
    same(again, newest)
    assert newest.labels[-1] == "circle" and newest.memory.count == again.memory.count
    # both go on alike: nothing that matters is outside the image
    x = source.sample("down")
    assert again.learn(x, "down").loss == newest.learn(x, "down").loss
    same(again, newest)


def test_integer_labels():
    net = tinyinc.create(inputs=8, range=(0, 100))
    for x, name in source.samples(150):
        net.learn(x, -5 * gestures.NAMES.index(name))
    assert net.labels == [0, -5, -10, -15]
    net.save(path)
    assert tinyinc.load(path).labels == net.labels
    assert tinyinc.predict(source.sample("left")) == -10
    refused((), net.learn, source.sample("up"), "up")


def test_size():
    net = taught(100, hidden=(12, 12))
    refused((), net.grow, 0, 1)
    net.shrink(0, 4)
    net.shrink(1)
    assert net.dense_forward_macs == 8 * 8 + 8 * 11 + 11 * 4
    net.grow(0, 4)
    assert net.dense_forward_macs == 8 * 12 + 12 * 11 + 11 * 4
    for x, name in source.samples(60):
        net.learn(x, name)
    assert net.evaluate(source.samples(60)) >= 0.9
    refused((), net.shrink, 2)
    refused((), net.shrink, -1)


def test_memory():
    net = taught(200, memory=12, classes=6)
    assert net.memory.count == 12 and net.memory.slots_of == [3, 3, 3, 3, 0, 0]
    for _ in range(30):
        net.learn(array("f", reversed(list(source.sample("up")))), "pu")
    assert net.memory.count == 12 and net.memory.slots_of[4] == 2, net.memory.slots_of
    samples = list(net.memory.samples())
    assert [label for _, label in samples].count("pu") == 2
    assert all([len(x) == 8 and 0 <= min(x) and max(x) <= 1.01 for x, _ in samples])
    refused((), net.memory.add, source.sample("up"), "up")
    fresh = tinyinc.create(inputs=8, range=(0, 100), memory=2)
    fresh.learn(source.sample("up"), "up")
    x = source.sample("up")
    fresh.memory.add(x, "up", weight=16)
    stored = list(fresh.memory.samples())[1][0]
    assert max([abs(100 * stored[i] - x[i]) for i in range(8)]) < 0.3


def test_default_network():
    net = taught(100)
    x = source.sample("right")
    assert tinyinc.predict(x) == net.predict(x)
    assert tinyinc.learn(x, "right") is net.step


for test in (
    test_learns_every_rule,
    test_the_first_sample_tells_the_scale,
    test_old_classes_stay,
    test_one_class_after_the_other,
    test_step,
    test_step_before_the_first_lesson,
    test_sample_types,
    test_settings,
    test_save_and_load,
    test_integer_labels,
    test_size,
    test_memory,
    test_default_network,
):
    test()
    print("ok", test.__name__)
print("PASS")
