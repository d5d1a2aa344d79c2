"""Hostile calls: from within another call, beside it, after deinit(), over buffers that the caller
has written to. Each is refused with a ValueError or does no harm; nothing is ever half done."""

import sys
import time
from array import array

import checks
import gestures
from checks import state_of

import tinyinc
from tinyinc.engine import engine

source = gestures.Source()
path = sys.argv[1] + "/hostile.tinc"
MICROPYTHON = sys.implementation.name == "micropython"
C_ENGINE = engine.__name__ == "_tinyinc"
# CPython itself does not let a buffer change its size while it is in use
REFUSALS = ValueError if MICROPYTHON else (ValueError, BufferError)
refusals = 0


def network(**options):
    sizes = {"inputs": 8, "memory": 12, "hidden": (6,), "classes": 6}
    return source.teach(tinyinc.create(range=(0, 100), **sizes, **options), 40)


def refused(words, call, *args, **options):
    """The call raises ValueError, whose text holds these words."""
    global refusals
    checks.refused(words, call, *args, error=REFUSALS, **options)
    refusals += 1


class Sample:
    """A sequence of numbers that does something while it is read."""

    def __init__(self, values, action):
        self.values, self.action = values, action

    def __len__(self):
        return len(self.values)

    def __iter__(self):
        self.action()
        return iter(self.values)


# ---- from within a call ----


def calls(net):
    """Every call there is, as functions of no argument."""
    x = source.sample("up")
    return (
        lambda: net.learn(x, "up"),
        lambda: net.learn(x, "never seen"),
        lambda: net.predict(x),
        lambda: net.probabilities(x),
        lambda: net.evaluate([(x, "up")]),
        lambda: net.configure(replay=3),
        lambda: net.setting("replay"),
        lambda: net.grow(0),
        lambda: net.shrink(0),
        lambda: net.save(path),
        net.restore,
        net.deinit,
        lambda: net.memory.add(x, "up"),
        lambda: list(net.memory.samples()),
        lambda: tinyinc.learn(x, "up"),
        lambda: tinyinc.predict(x),
        net.consolidate,
        net.undo,
        lambda: net.confidence,
    )


def test_calls_from_a_sample():
    """A sample that calls the network which is reading it; and what it raises comes out."""
    net = network()
    values = [float(value) for value in source.sample("up")]
    for call in calls(net):
        before = state_of(net)
        for outer in (net.predict, lambda x: net.learn(x, "up"), lambda x: net.learn(x, "new")):
            refused(("busy",), outer, Sample(values, call))
            assert state_of(net) == before
    # one that catches the refusal: the outer call goes on as if nothing had been
    other = twin(net)

    def swallow():
        refused(("busy",), net.learn, values, "down")

    net.learn(Sample(values, swallow), "up")
    other.learn(values, "up")
    assert state_of(net)[0][1:] == state_of(other)[0][1:]


def twin(net):
    """The same network once more."""
    return tinyinc.Net(tuple([bytearray(section) for section in net.sections]))


class Label(str):
    """A label that calls the network when it is looked up."""

    action = None

    def __hash__(self):
        if self.action:
            self.action()
        return str.__hash__(self) if not MICROPYTHON else 1


def test_calls_from_a_label():
    if MICROPYTHON:
        return  # the hash of a subclass of str is never asked for
    net = network()
    x = source.sample("up")
    before = state_of(net)
    label = Label("up")
    label.action = lambda: net.learn(x, "down")
    refused(("busy",), net.learn, x, label)
    assert state_of(net) == before


def test_learning_from_what_is_evaluated():
    """Between two samples the network is free: test, then train."""
    net = network()
    other = twin(net)
    pairs = source.samples(30)

    def learned(pairs):
        for x, label in pairs:
            yield x, label
            net.learn(x, label)

    accuracy = net.evaluate(learned(pairs))
    right = 0
    for x, label in pairs:
        right += other.predict(x) == label
        other.learn(x, label)
    assert accuracy == right / len(pairs)
    assert state_of(net)[0][1:] == state_of(other)[0][1:]
    for _, label in net.memory.samples():
        net.learn(source.sample("up"), label)


def test_scheduled_calls():
    """What micropython.schedule() runs meets the network at rest, or is refused."""
    if not MICROPYTHON:
        return
    import micropython

    net = network()
    other = twin(net)
    x, y = source.sample("up"), source.sample("left")
    seen = [0, 0]

    def interrupt(_):
        try:
            net.predict(y)
            seen[0] += 1
        except ValueError as refusal:
            assert "busy" in str(refusal), refusal
            seen[1] += 1

    values = [float(value) for value in x]
    for _ in range(200):
        micropython.schedule(interrupt, 0)
        net.learn(Sample(values, lambda: micropython.schedule(interrupt, 0)), "up")
        other.learn(x, "up")
    assert seen[0] + seen[1] >= 400 and seen[1] > 0, seen
    assert state_of(net)[0][1:] == state_of(other)[0][1:]
    return seen[1]


# ---- beside a call ----


def test_threads():
    """Two threads: every lesson is learned in full or refused, and samples are never mixed."""
    try:
        import _thread
    except ImportError:
        return
    net = network(rule="full")
    lessons = 2000 if C_ENGINE else 150
    samples = source.samples(8)
    tally = [[0, 0], [0, 0]]
    failures = []
    ended = [False, False]

    def work(me):
        try:
            for i in range(lessons):
                x, label = samples[(i + me) % 8]
                try:
                    net.learn(x, label)
                    tally[me][0] += 1
                except ValueError as refusal:
                    if "busy" not in str(refusal):
                        raise
                    tally[me][1] += 1
        except BaseException as error:
            failures.append(repr(error))
        ended[me] = True

    before = lessons_of(net)
    _thread.start_new_thread(work, (0,))
    _thread.start_new_thread(work, (1,))
    while ended != [True, True]:
        time.sleep(0.01)
    assert failures == [], failures
    learned = tally[0][0] + tally[1][0]
    assert learned + tally[0][1] + tally[1][1] == 2 * lessons
    assert lessons_of(net) - before == learned  # those that were replayed are none
    assert learned > 0
    engine.seal(net.sections)
    engine.check(net.sections)
    assert net.evaluate(source.samples(40)) > 0.9
    return tally[0][1] + tally[1][1]


def lessons_of(net):
    """Lessons that the network has counted."""
    return tinyinc.image.get(net.sections[4], tinyinc.image.STATE_FIELDS["lessons"])


# ---- after deinit() ----


def test_deinit():
    net = network()
    net.save(path)
    everything = calls(net)
    net.deinit()
    net.deinit()  # twice is once
    for call in everything[:11] + everything[12:]:
        refused(("deinit()",), call)
    assert net.sections == ()
    assert net.labels and net.step.loss >= 0 and net.memory.count > 0
    with tinyinc.load(path) as net:
        assert net.predict(source.sample("up")) in net.labels
    refused(("deinit()",), net.predict, source.sample("up"))
    refused(("deinit()",), tinyinc.learn, source.sample("up"), "up")
    assert tinyinc.load(path).labels == net.labels


# ---- buffers that the caller writes to ----


def attempt(call):
    """Whether a call works; if not, it raises ValueError."""
    global refusals
    try:
        call()
        return True
    except ValueError as refusal:
        assert str(refusal)
        refusals += 1
        return False


def test_overwritten_bytes():
    """Every byte of every section set to extremes: refused, or of no consequence but for what the
    network then predicts."""
    net = network(undo=True)
    x = source.sample("up")
    step = 1 if C_ENGINE else 41
    tried = accepted = 0
    whole = [bytes(section) for section in net.sections]
    for i in (0, 3, 4, 1):
        section = net.sections[i]
        for at in range(0, len(section), step if i != 1 else 8 * step):
            for value in (0, 1, 77, 127, 128, 255):
                if section[at] == value:
                    continue
                section[at] = value
                works = True
                for call in (
                    lambda: net.predict(x),
                    lambda: net.learn(x, "up"),
                    lambda: net.learn(x, "new"),
                    net.undo,
                    lambda: net.consolidate(lessons=1),
                    lambda: net.setting("rule"),
                    lambda: net.shrink(0),
                    lambda: net.grow(0),
                    lambda: list(net.memory.samples()),
                    lambda: net.dense_forward_macs,
                ):
                    works = attempt(call) and works
                tried += 1
                accepted += works
                restore(net, whole)
    assert accepted > 0 and tried > accepted
    assert net.learn(x, "up").loss >= 0
    return tried


def restore(net, whole):
    """The network as it was, its labels and counters too."""
    for i in range(5):
        # CPython takes all that is too much from the front, and so moves it out of alignment
        net.sections[i][len(whole[i]) :] = b""
        net.sections[i][:] = whole[i]
    net._use(tinyinc.learner._labels_of(net.sections))
    net.memory.recount()


def test_resized_buffers():
    net = network()
    x = source.sample("up")
    for i in (0, 1, 3, 4):
        section = net.sections[i]
        whole = bytes(section)
        for changed in (b"", whole[:-1], whole[:40], whole + b"\0", whole + bytes(5000)):
            section[:] = changed
            for call in calls(net)[:10]:
                refused(("section", "bytes") if i else (), call)
        section[:] = whole
        net.learn(x, "up")
    section = net.sections[1]
    section.extend(bytes(8))
    refused(("section 1 has",), net.predict, x)


def test_a_sample_that_changes_the_buffers():
    """While it is read: the check comes after."""
    net = network()
    values = [float(value) for value in source.sample("up")]
    whole = [bytes(section) for section in net.sections]
    for i in (0, 1, 3, 4):
        refused((), net.learn, Sample(values, lambda i=i: net.sections[i].extend(b"more")), "up")
        restore(net, whole)
    refused((), net.predict, Sample(values, lambda: scribble(net.sections[0])))
    restore(net, whole)
    net.learn(values, "up")


def scribble(section):
    for at in range(len(section)):
        section[at] = 0xA5


class Index:
    """A number for the engine that does something when it is asked for."""

    def __init__(self, action):
        self.action = action

    def __int__(self):
        self.action()
        return 0

    __index__ = __int__


def test_a_number_that_changes_the_buffers():
    """Straight to the engine: numbers are asked for before any buffer is looked at."""
    net = network()
    x, q, distance = array("f", bytes(32)), bytearray(8), array("I", [0])
    step, scratch = net.step, bytearray(net.scratch_bytes)
    whole = [bytes(section) for section in net.sections]

    def spoil():
        for section in net.sections:
            section.extend(bytes(100000))
        scribble(net.sections[0])

    for call in (
        lambda n: engine.learn(net.sections, x, n, step.counts, step.figures, scratch),
        lambda n: engine.grow(net.sections, n, 1),
        lambda n: engine.shrink(net.sections, 0, n),
        lambda n: engine.least_useful(net.sections, n),
        lambda n: engine.choose(net.sections, n),
        lambda n: engine.recall(net.sections, n, x),
        lambda n: engine.remember(net.sections, n, q, 0),
        lambda n: engine.remember(net.sections, 0, q, n),
        lambda n: engine.nearest(net.sections, q, n, distance),
        lambda n: engine.move(net.sections, n, q),
    ):
        if C_ENGINE:
            refused((), call, Index(spoil))
        restore(net, whole)
    net.learn(source.sample("up"), "up")


def test_lengths_that_lie():
    """A subclass of array whose len() is its own idea."""

    class Long(array):
        def __len__(self):
            return 60000

    net = network()
    x = Long("f", [1, 2, 3])
    attempt(lambda: net.predict(x))
    attempt(lambda: net.learn(x, "up"))
    if C_ENGINE:
        indices = array("H", bytes(2 * 60000))
        attempt(lambda: engine.topk(Long("f", [1, 2, 3]), 50000, indices))
        assert max(indices) < 3


# ---- labels ----


def test_labels():
    net = network()
    before = state_of(net)
    x = source.sample("up")
    for label in (
        "x" * 100000,
        "\xe9" * 9,
        [1],
        {},
        bytearray(3),
        1 << 2000,
        float("nan"),
        object(),
    ):
        refused((), net.learn, x, label)
        refused((), net.memory.add, x, label)
        assert state_of(net) == before
    try:
        net.learn(x, "y" * 100000)
    except ValueError as refusal:
        assert "100000 bytes" in str(refusal) and len(str(refusal)) < 200


def test_the_first_sample_is_read_once():
    """Where it settles the scale, too: an iterator gives its values but once."""
    net = tinyinc.create(inputs=3, classes=2)
    net.learn(iter([10.0, 5.0, 0.0]), "a")
    assert list(net.memory.samples())[0][0][0] > 0.9
    net = tinyinc.create(inputs=3, classes=2)
    net.learn(array("f", [1e-45, 0, 0]), "a")
    assert net.predict([0, 0, 0]) == "a"


def test_settings():
    net = network()
    before = state_of(net)
    for settings in (
        {"replay": 1.5},
        {"replay": "3"},
        {"replay": 1 << 70},
        {"learning_rate": "fast"},
        {"learning_rate": float("nan")},
        {"learning_rate": float("inf")},
        {"learning_rate": None},
        {"rule": 3},
        {"rule": None},
    ):
        refused((), net.configure, **settings)
    refused(("speed",), net.setting, "speed")
    for layer, units in ((0, 7), (0, -1), (0, 1 << 40), (1, 1), (-1, 1), (1 << 40, 1)):
        refused((), net.shrink, layer, units)
        refused((), net.grow, layer, units)
    assert state_of(net) == before


def main():
    for test in (
        test_calls_from_a_sample,
        test_calls_from_a_label,
        test_learning_from_what_is_evaluated,
        test_scheduled_calls,
        test_threads,
        test_deinit,
        test_overwritten_bytes,
        test_resized_buffers,
        test_a_sample_that_changes_the_buffers,
        test_a_number_that_changes_the_buffers,
        test_lengths_that_lie,
        test_labels,
        test_the_first_sample_is_read_once,
        test_settings,
    ):
        count = test()
        if count is not None:
            print("%s\t%d" % (test.__name__[5:].replace("_", " "), count))
    print("refusals\t%d" % refusals)


main()
