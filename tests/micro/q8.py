"""Networks in integers, as a person uses them: the calls are those of float32 networks."""

import sys
from array import array

import gestures
from checks import refused, same

import tinyinc

source = gestures.Source()
path = sys.argv[1] + "/q8.tinc"


def taught(count=200, **options):
    options = dict({"range": (0, 100), "seed": 7, "format": "q8"}, **options)
    return source.teach(tinyinc.create(inputs=8, **options), count)


def test_learns_every_rule():
    for rule in ("full", "static", "tinyprop", "tinyprop2", "sampled"):
        net = taught(400, rule=rule)
        assert net.format == "q8" and net.labels == list(gestures.NAMES)
        accuracy = net.evaluate(source.samples(100))
        assert accuracy >= 0.97, (rule, accuracy)


def test_the_first_sample_tells_the_scale():
    for kind in "fBhH":
        net = tinyinc.create(inputs=8, format="q8")
        for x, name in source.samples(300):
            net.learn(array(kind, [int(value) for value in x]), name)
        assert net.evaluate(source.samples(100)) >= 0.95, kind


def test_a_new_class():
    net = taught(200, rule="full")
    old = source.samples(60)
    new = [(x, "shake") for x, _ in source.samples(80, ("right",))]
    for x, _ in new:
        x[0] += 60
    for x, label in new[:60]:
        net.learn(x, label)
    assert net.labels[-1] == "shake"
    assert net.evaluate(old) >= 0.9 and net.evaluate(new[60:]) >= 0.9


def test_probabilities():
    net = taught(200)
    for x, _ in source.samples(20):
        probabilities = net.probabilities(x)
        assert abs(sum(probabilities) - 1) < 1e-3 and min(probabilities) >= 0
        assert net.labels[list(probabilities).index(max(probabilities))] == net.predict(x)


def test_step():
    net = taught(40, rule="full", replay=2)
    step = net.learn(source.sample("up"), "up")
    assert (net.dense_forward_macs, net.dense_backward_macs) == (384, 512)
    assert 0 <= step.loss < 32 and 0 <= step.error <= 2.01
    assert step.k == (32, 4) and step.replayed == 2 and step.diverged is False
    assert 0 < step.backward_macs <= 3 * 512


def test_it_takes_less():
    wide = {"hidden": (64,), "memory": 8}
    net, other = taught(1, **wide), taught(1, format="f32", **wide)
    assert net.image_bytes < 0.7 * other.image_bytes


def test_save_and_load():
    net = taught(50)
    net.save(path)
    again = tinyinc.load(path)
    same(net, again)
    again.learn(source.sample("up"), "circle")
    again.save()
    newest = tinyinc.load(path)
    same(again, newest)
    for x, name in source.samples(20):
        assert again.learn(x, name).loss == newest.learn(x, name).loss
    same(again, newest)
    again.restore()
    assert newest.labels == again.labels
    again.evaluate(source.samples(5))


def test_the_same_everywhere():
    """Integers alone decide: what was learned is one number on every machine."""
    net = tinyinc.create(inputs=8, range=(0, 100), seed=3, format="q8", replay=2, memory=12)
    stream = gestures.Source(5)
    for x, name in stream.samples(300):
        net.learn(array("B", [int(value) for value in x]), name)
    from tinyinc.engine import engine

    print("learned\t%08x" % engine.crc32(net.sections[3], engine.crc32(net.sections[1])))


def test_size():
    net = taught(100, hidden=(12, 12))
    net.shrink(0, 4)
    net.shrink(1)
    assert net.dense_forward_macs == 8 * 8 + 8 * 11 + 11 * 4
    net.grow(0, 4)
    for x, name in source.samples(100):
        net.learn(x, name)
    assert net.evaluate(source.samples(60)) >= 0.9
    refused(("room for 0",), net.grow, 0, 1)


def test_memory():
    net = taught(200, memory=12, classes=6)
    assert net.memory.count == 12 and net.memory.slots_of == [3, 3, 3, 3, 0, 0]
    for x, label in net.memory.samples():
        assert len(x) == 8 and min(x) >= 0 and max(x) <= 1 and label in gestures.NAMES
    fresh = tinyinc.create(inputs=8, range=(0, 100), memory=2, format="q8")
    fresh.learn(source.sample("up"), "up")
    x = source.sample("up")
    fresh.memory.add(x, "up", weight=16)
    stored = list(fresh.memory.samples())[1][0]
    assert max([abs(100 * stored[i] - x[i]) for i in range(8)]) <= 0.9


def test_learning_rate():
    net = taught(5)
    assert net.setting("learning_rate") == 0.03125
    for rate in (0.5, 2.0**-9, 1, 8):
        net.configure(learning_rate=rate)
        assert net.setting("learning_rate") == rate
    refused(("0.3", "power of two", "0.25 or 0.5"), net.configure, learning_rate=0.3)
    refused(("0.05", "0.03125 or 0.0625"), net.configure, replay=3, learning_rate=0.05)
    refused(("expected 1e-09 to 10",), net.configure, learning_rate=16)
    assert net.setting("learning_rate") == 8 and net.setting("replay") == 2
    wrong = {"inputs": 8, "format": "q8", "learning_rate": 0.1}
    refused(("0.0625 or 0.125",), tinyinc.create, **wrong)


def test_bad_input():
    net = taught(40)
    before = [bytes(section) for section in net.sections]
    for x, words in (
        (array("f", [float("nan")] * 8), ("sample[0]",)),
        ([0, 0, 0, 0, 0, 0, 0, float("inf")], ("sample[7]",)),
        (bytes(7), ("7 values", "expected 8")),
    ):
        refused(words, net.learn, x, "up")
        refused(words, net.predict, x)
    assert [bytes(section) for section in net.sections] == before
    for value in (3e38, -3e38, 1e-45):
        assert net.learn(array("f", [value] * 8), "up").loss >= 0
    refused(('"f32" or "q8"', "'q4'"), tinyinc.create, inputs=8, format="q4")
    refused(
        ("range (1000, 1001)", "32 times"),
        tinyinc.create,
        inputs=8,
        range=(1000, 1001),
        format="q8",
    )
    tinyinc.create(inputs=8, range=(900, 1100), format="q8")


def test_wrong_buffers():
    """x is array('b') in q8, array('f') in float32: the other is refused by its number."""
    from tinyinc.engine import engine

    for kind, other in ("fb", "bf"):
        net = taught(10, format="f32" if kind == "f" else "q8")
        sections, scratch = net.sections, bytearray(net.scratch_bytes)
        wrong, q, probabilities = array(other, [0] * 8), bytearray(8), array("f", [0] * 16)
        counts, figures = array("I", [0] * 6), array("f", [0] * 3)
        expected = "expected a writable array of '%s'" % kind
        for number, call, arguments in (
            (2, engine.infer, (wrong, probabilities, scratch)),
            (2, engine.learn, (wrong, 0, counts, figures, scratch)),
            (2, engine.quantise, (wrong, q)),
            (3, engine.normalise, (bytes(8), wrong)),
            (3, engine.recall, (0, wrong)),
        ):
            refused(("argument %d" % number, expected), call, sections, *arguments)


def test_plan():
    from tinyinc.engine import engine

    net = taught(10)
    for learning in (False, True):
        table = array("I", [0] * (2 * 6 * 4))
        needed = engine.plan(net.sections, learning, table)
        assert needed == engine.scratch_bytes(net.sections, learning)
        rows = [table[i : i + 4] for i in range(0, len(table), 4)]
        assert needed == max([row[0] + row[1] for row in rows if row[1]])
        assert all([row[2] <= row[3] <= 4 for row in rows])
        assert list(rows[0])[1:] == [32, 0, 2 if learning else 1]  # the hidden layer's outputs
        assert (rows[3][1] > 0) == learning  # its gradient
    assert engine.scratch_bytes(net.sections) == needed
    refused(("argument 3", "47, expected 48"), engine.plan, net.sections, True, table[:47])
    refused(("argument 3", "'I'"), engine.plan, net.sections, True, bytearray(192))


for test in (
    test_learns_every_rule,
    test_the_first_sample_tells_the_scale,
    test_a_new_class,
    test_probabilities,
    test_step,
    test_it_takes_less,
    test_save_and_load,
    test_the_same_everywhere,
    test_size,
    test_memory,
    test_learning_rate,
    test_bad_input,
    test_wrong_buffers,
    test_plan,
):
    test()
    print("ok", test.__name__)
print("PASS")
