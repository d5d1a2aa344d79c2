"""A stream that brings class after class: consolidating in between, something new, size that
follows, exemplars of 4 bits, classes that stay away."""

import sys
from array import array
from struct import pack_into

import gestures
from checks import FORMATS, refused, same

import tinyinc
from tinyinc import image, learner

source = gestures.Source()
path = sys.argv[1] + "/stream.tinc"


def network(**options):
    return tinyinc.create(inputs=8, range=(0, 100), seed=7, **options)


def taught(count=200, **options):
    return source.teach(network(**options), count)


def contents(net):
    return [bytes(section) for section in net.sections]


# ---- consolidating ----


class Clock:
    """Stands in for ticks_ms: ten milliseconds later whenever it is asked, which is between two
    lessons; then does something."""

    def __init__(self, action=None):
        self.now, self.action = 0, action

    def __call__(self):
        self.now += 10
        if self.action:
            self.action()
        return self.now


def with_clock(clock, call, *args):
    usual = learner.ticks_ms
    learner.ticks_ms = clock
    try:
        return call(*args)
    finally:
        learner.ticks_ms = usual


def lessons_of(net):
    return image.get(net.sections[image.STATE], image.STATE_FIELDS["lessons"])


def test_consolidate_does_what_it_is_told():
    for kind in FORMATS:
        net = taught(rule="full", format=kind)
        lessons, before = lessons_of(net), contents(net)
        assert net.consolidate(lessons=0) == net.consolidate(ms=0) == 0
        assert contents(net) == before
        assert net.consolidate(lessons=7) == 7
        step = net.step
        assert step.replayed == 7 and step.skipped and step.predicted is None
        assert 0 < step.forward_macs <= 7 * net.dense_forward_macs
        assert 0 < step.backward_macs <= 7 * net.dense_backward_macs
        assert with_clock(Clock(), net.consolidate) == 9  # within the usual 100 ms
        assert with_clock(Clock(), net.consolidate, 50) == 4
        assert with_clock(Clock(), net.consolidate, 50, 20) == 20  # lessons alone count then
        after = contents(net)
        assert after[image.TRAINED] != before[image.TRAINED]
        for section in (image.STRUCTURE, image.FROZEN, image.MEMORY):
            assert after[section] == before[section]
        assert lessons_of(net) == lessons  # these were none of the stream
    start = learner.ticks_ms()
    assert net.consolidate(30) > 0
    assert learner.ticks_diff(learner.ticks_ms(), start) >= 30


def test_consolidate_without_exemplars():
    for net in (taught(20, memory=0), network(), tinyinc.create(inputs=8), network(growth=4)):
        before = contents(net)
        assert net.consolidate() == net.consolidate(lessons=5) == 0
        assert contents(net) == before


def test_consolidate_refuses():
    net = taught(20)
    refused(("ms is -1", "0 or more"), net.consolidate, -1)
    refused(("lessons -2", "0 or more"), net.consolidate, lessons=-2)
    for arguments in (("long",), (100, "many"), (None,)):
        refused((), net.consolidate, *arguments, error=TypeError)
    assert net.consolidate(lessons=1) == 1


def test_others_may_come_in_between():
    """They do what they would do without: in turns is as good as one after the other."""
    net = taught(rule="full")
    other = tinyinc.Net(tuple([bytearray(section) for section in net.sections]))
    x = source.sample("up")

    def come_in():
        net.predict(x)
        net.learn(x, "up")

    assert with_clock(Clock(come_in), net.consolidate, 50) == 4
    for i in range(6):  # it was also asked for the start, and in the end
        other.learn(x, "up")
        if 0 < i < 5:
            assert other.consolidate(lessons=1) == 1
    same(net, other)


def test_ctrl_c_while_consolidating():
    net = taught(rule="full")

    def press():
        if clock.now == 40:
            raise KeyboardInterrupt

    clock = Clock(press)
    refused((), with_clock, clock, net.consolidate, error=KeyboardInterrupt)
    assert net.predict(source.sample("up")) == "up" and net.consolidate(lessons=3) == 3


def test_consolidate_mends():
    """One class after the other and nothing replayed: the last is all that is known, until the
    memory is gone through."""
    for kind in FORMATS:
        net = network(memory=24, vote=0, replay=0, logit_adjustment=0, format=kind)
        for name in gestures.NAMES:
            for x, _ in source.samples(60, (name,)):
                net.learn(x, name)
        asked = source.samples(100)
        before = net.evaluate(asked)
        assert net.consolidate(lessons=300) == 300
        after = net.evaluate(asked)
        assert before <= 0.7 and after >= 0.95, (kind, before, after)


def test_a_network_that_has_diverged_is_not_consolidated():
    net = taught(20, rule="full")
    weights = net.sections[image.TRAINED]
    for at in range(0, len(weights), 4):
        pack_into("<f", weights, at, 1e30)
    refused(("diverged",), net.consolidate)


def test_classes_that_stay_away():
    """After 300 lessons without a class it is spared: by the setting logit_adjustment, in the loss
    of others."""
    known = {}
    for adjustment in (0, 4.6):
        net = network(memory=0, rule="full")
        net.configure(logit_adjustment=adjustment)
        assert abs(net.setting("logit_adjustment") - adjustment) < 1e-6
        stream = gestures.Source(3)
        for x, name in stream.samples(200):
            net.learn(x, name)
        for rate, lessons in ((1e-9, 300), (0.05, 1000)):  # until they are away nothing changes
            net.configure(learning_rate=rate)
            for x, name in stream.samples(lessons, gestures.NAMES[:2]):
                net.learn([value / 2 for value in x], name)
        known[adjustment] = net.evaluate(stream.samples(100, gestures.NAMES[2:]))
    assert known[4.6] > known[0] + 0.2, known
    net = taught(20)
    for wrong in (-1, 21, "much"):
        refused(("logit_adjustment", "0.0 to 20"), net.configure, logit_adjustment=wrong)


# ---- something new ----


def test_known_or_new():
    for kind in FORMATS:
        for bits in (8, 4):
            net = taught(600, memory=32, format=kind, memory_bits=bits, novelty=1)
            kept = sum([net.predict(x) is not None for x, _ in source.samples(600)])
            assert 0.9 <= kept / 600 <= 0.99, (kind, bits, kept)
            far = array("f", [100 - value for value in source.sample("up")])
            assert net.predict(far) is None and 0 < net.confidence <= 1
            assert abs(sum(net.probabilities(far)) - 1) < 1e-3
            assert net.evaluate([(far, "up")]) == 0
            net.configure(novelty=0)
            assert net.predict(far) in net.labels
            net.configure(novelty=1)
            for _ in range(5):
                net.learn(far, "circle")
            assert net.predict(far) == "circle"


def test_nothing_is_new_without_exemplars():
    net = taught(100, memory=0, novelty=1)
    assert net.predict([100] * 8) in net.labels


def test_confidence():
    net = taught(300, novelty=1)
    fresh = tinyinc.Net(net.sections)
    refused(("predict()",), lambda: fresh.confidence)
    x = source.sample("left")
    label = net.predict(x)
    sure = net.confidence
    assert sure == net.probabilities(x)[net.labels.index(label)] and sure > 0.5
    net.configure(vote=0)
    net.predict([0] * 8)  # nothing at all
    assert 0.25 <= net.confidence < 0.9 * sure


# ---- size ----


def units(net, layer=0):
    return image.active(net.sections[image.STRUCTURE], layer)


def test_growth():
    for kind in FORMATS:
        net = network(hidden=(14,), classes=8, growth=3, format=kind)
        sizes = [units(net)]
        for i in range(8):  # at full capacity, too
            for _ in range(20):
                x = source.sample(gestures.NAMES[i % 4])
                net.learn([min(100, value * (1 + i // 4)) for value in x], "class %d" % i)
            sizes.append(units(net))
        assert sizes == [6, 9, 12, 14, 14, 14, 14, 14, 14], sizes
        assert len(net.labels) == 8
        assert net.dense_forward_macs == 8 * 14 + 14 * 8
        net.save(path)
        same(net, tinyinc.load(path))
        one = network(growth=3, format=kind)  # with a single class, no unit is of more use
        for x, name in source.samples(20, ("up",)):
            one.learn(x, name)
        assert one.consolidate(lessons=5) == 5 and units(one) == 9
    two = network(hidden=(5, 9), growth=2)
    two.learn(source.sample("up"), "up")
    assert (units(two), units(two, 1)) == (5, 6)  # the last alone
    assert units(network(hidden=(3,), growth=8)) == 3
    network(hidden=(), growth=2).learn(source.sample("up"), "up")
    for wrong in (-1, 65536, 1.5):
        refused(("growth", "0 to 65535"), tinyinc.create, inputs=8, growth=wrong)


def silence(net, unit):
    """Set a hidden unit's weights and bias to 0: no other is less useful."""
    structure, trained = net.sections[image.STRUCTURE], net.sections[image.TRAINED]
    at, bias = [image.layer_field(structure, 0, offset) for offset in (52, 56)]
    pack_into("<8f", trained, at + 32 * unit, *([0] * 8))
    pack_into("<f", trained, bias + 4 * unit, 0)


def test_units_of_little_use_go():
    asked = source.samples(40)
    net = taught(300, hidden=(24,), growth=4, rule="full", vote=0)
    net.consolidate(lessons=0)
    size = units(net)
    assert size > 12
    expected = [list(net.probabilities(x)) for x, _ in asked]
    silence(net, 1)
    silence(net, size - 1)
    net.configure(growth=0)
    net.consolidate(lessons=0)
    assert units(net) == size
    net.configure(growth=4)
    before = [list(net.probabilities(x)) for x, _ in asked]
    net.consolidate(lessons=0)
    assert units(net) == size - 2
    for (x, _), was in zip(asked, before):
        assert max([abs(p - q) for p, q in zip(net.probabilities(x), was)]) < 1e-5
    assert expected != before  # they had been of use
    for unit in range(units(net)):
        silence(net, unit)
    net.consolidate(lessons=0)
    assert units(net) == 4  # never fewer than it grows by
    assert net.learn(*asked[0]).loss >= 0


# ---- exemplars of 4 bits ----


def test_memory_of_4_bits():
    for kind in FORMATS:
        net = taught(300, memory=24, memory_bits=4, format=kind)
        assert net.memory.count == 24
        assert len(net.sections[image.MEMORY]) == 64 + 2 * 48 + 24 * 4
        assert net.evaluate(source.samples(100)) >= 0.95
        net.save(path)
        again = tinyinc.load(path)
        same(net, again)
        x = source.sample("up")
        assert again.learn(x, "up").loss == net.learn(x, "up").loss
        same(net, again)
        fresh = network(memory=2, memory_bits=4, format=kind)
        fresh.learn(x, "up")
        stored, label = list(fresh.memory.samples())[0]
        assert label == "up" and max([abs(100 * a - b) for a, b in zip(stored, x)]) < 100 / 15
    for bits in (5, 0, "8", None):
        refused(("memory_bits", "8 or 4"), tinyinc.create, inputs=8, memory_bits=bits)


for test in (
    test_consolidate_does_what_it_is_told,
    test_consolidate_without_exemplars,
    test_consolidate_refuses,
    test_others_may_come_in_between,
    test_ctrl_c_while_consolidating,
    test_consolidate_mends,
    test_a_network_that_has_diverged_is_not_consolidated,
    test_classes_that_stay_away,
    test_known_or_new,
    test_nothing_is_new_without_exemplars,
    test_confidence,
    test_growth,
    test_units_of_little_use_go,
    test_memory_of_4_bits,
):
    test()
    print("ok", test.__name__)
print("PASS")
