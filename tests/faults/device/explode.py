"""Numbers that explode: explode.py FOLDER STEPS. Noise, constants and contradictions at learning
rates far too high, STEPS of them with every rule: weights stay finite, divergence is reported, and
undone where that was asked for."""

import sys
from array import array

import gestures

import tinyinc
from tinyinc.engine import engine

path = sys.argv[1] + "/explode.tinc"
STEPS = int(sys.argv[2])
CHUNK = 100  # steps between two looks at everything
RULES = ("full", "static", "tinyprop", "tinyprop2", "sampled")

source = gestures.Source()
asked = source.samples(40)


def noise(i, x):
    """Nothing to learn, to the ends of the range and beyond."""
    for j in range(8):
        x[j] = source.below(400) - 200
    return source.below(4)


def constant(i, x):
    """The same again and again, as large as can be."""
    for j in range(8):
        x[j] = 3e38
    return 0


def adversarial(i, x):
    """Each sample twice, under two labels."""
    if i % 2 == 0:
        for j in range(8):
            x[j] = 1e6 if source.below(2) else -1e6
    return (i + i // 7) % 4


def network(rule):
    """Knows the gestures, and has been saved. Replays one exemplar per lesson: more of them keep it
    from diverging."""
    sizes = {"inputs": 8, "hidden": (12, 12), "classes": 4, "memory": 8}
    net = source.teach(tinyinc.create(rule=rule, replay=1, **sizes), 200)
    # inputs far beyond what is usual, so that it takes little to diverge
    tinyinc.image.put(net.sections[0], tinyinc.image.HEADER["input_low"], -1e6)
    tinyinc.image.put(net.sections[0], tinyinc.image.HEADER["input_high"], 1e6)
    net.save(path)
    return net


def explode(rule, stream, rate, undo, steps):
    """Steps that diverged, and predictions made afterwards."""
    net = network(rule)
    saved = [bytes(section) for section in net.sections]
    net.undo_divergence = undo
    x = array("f", bytes(32))
    diverged = predictions = 0
    net.configure(learning_rate=rate)
    for i in range(steps):
        label = gestures.NAMES[stream(i, x)]
        step = net.learn(x, label)
        if step.diverged:
            diverged += 1
            if undo:
                for j in range(5):
                    assert net.sections[j] == saved[j]
                net.configure(learning_rate=rate)  # the user insists
        if i % CHUNK == 0 or (diverged and diverged < 5):
            finite(net)
            predictions += predicts(net, undo and step.diverged)
    finite(net)
    return diverged, predictions


def finite(net):
    engine.seal(net.sections)
    engine.check(net.sections)  # CRCs, and every weight a finite number


def predicts(net, has_to):
    """How many predictions are made; a network that has diverged may refuse them, and says so."""
    made = 0
    for x, _ in asked[:4]:
        try:
            assert net.predict(x) in net.labels
            made += 1
        except ValueError as refusal:
            assert "diverged" in str(refusal) and not has_to, refusal
    return made


def main():
    total = {"steps": 0, "diverged": 0, "undone": 0, "predictions": 0}
    for rule in RULES:
        for stream in (noise, constant, adversarial):
            for rate in (1, 10):
                for undo in (False, True):
                    steps = STEPS // 12
                    diverged, predictions = explode(rule, stream, rate, undo, steps)
                    total["steps"] += steps
                    total["undone" if undo else "diverged"] += diverged
                    total["predictions"] += predictions
    for name in total:
        print("%s\t%d" % (name, total[name]))


main()
