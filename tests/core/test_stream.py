"""Lessons have a place in the stream, replayed exemplars have none; exemplars follow the stream."""

from array import array

import numpy as np
import pytest

import images
from driver import Driver, bytes_of, floats

RECENT = 300


def image_of(seed=0, q8=False, **settings):
    """A network of 6 inputs and 4 classes with 8 exemplars, in either format."""
    if q8:
        declared = [images.dense(5), images.dense(4)]
        image = images.network((6,), declared, q8=True, input_step=2.0**-5, seed=seed, slots=8)
    else:
        image = images.build((6, 5, 4), slots=8, seed=seed, generator=seed + 1)
    for name, value in settings.items():
        image.state[name] = value
    rng = np.random.default_rng(seed)
    image.memory["count"] = 8
    image.slot_samples[:] = rng.integers(1, 256, image.slot_samples.shape)
    image.slot_classes[:] = [0, 0, 1, 1, 2, 2, 3, 3]
    image.slot_weights[:] = 1
    return image


def last_gradient(image, driver, x, target):
    """p - onehot, as the last layer's bias tells, and the report."""
    last = len(image.layers) - 1
    before = image.bias(last).astype("f8").copy()
    report = driver.learn(x, target)
    rate = float(image.state["learning_rate"])
    return (before - image.bias(last)) / rate, report


def test_absent_classes_are_spared(engine):
    """The gradient is that of logits lowered by the adjustment, for classes away for long."""
    image = image_of(logit_adjustment=3, lessons=1000)
    image.class_states["last"] = [700, 701, 1000, 0]  # the first and the last are absent
    driver, x = Driver(engine, image), np.linspace(-1, 1, 6)
    _, p = driver.infer(x)
    expected = p * np.exp([-3, 0, 0, -3])
    expected /= expected.sum()
    onehot = np.eye(4)[1]
    found, report = last_gradient(image, driver, x, 1)
    np.testing.assert_allclose(found, expected - onehot, atol=2e-6)
    assert report.loss == pytest.approx(-np.log(expected[1]), abs=2e-6)
    assert report.error == pytest.approx(abs(expected - onehot).sum(), abs=2e-6)
    assert report.predicted == p.argmax()  # of the logits as they were


def test_the_class_itself_is_never_spared(engine):
    image = image_of(logit_adjustment=20, lessons=1000)
    driver, x = Driver(engine, image), np.linspace(-1, 1, 6)
    _, p = driver.infer(x)
    _, report = last_gradient(image, driver, x, 3)  # all the others are absent: hardly a doubt left
    assert report.error < 1e-6
    assert report.predicted == p.argmax()
    assert list(image.class_states["last"]) == [0, 0, 0, 1001]


def test_a_class_stays_present_for_300_lessons(engine):
    errors = []
    for last in (RECENT - 1, RECENT):
        image = image_of(logit_adjustment=20, lessons=RECENT, rule=0)
        image.class_states["last"] = RECENT - last
        errors.append(Driver(engine, image).learn(np.linspace(-1, 1, 6), 0).error)
    assert errors[0] > 0.5 > errors[1]


def test_integers_spare_absent_classes_too(c_engine):
    figures = {}
    for adjustment in (0, 2.5):
        image = image_of(q8=True, logit_adjustment=adjustment, lessons=1000)
        image.class_states["last"] = [0, 1000, 1000, 0]
        net, scratch = image.net, bytearray(c_engine.scratch_bytes(image.net))
        x, counts = array("b", range(-60, 60, 20)), array("I", [0] * 6)
        p, found = floats([0] * 4), floats([0] * 3)
        c_engine.infer(net, x, p, scratch)
        c_engine.learn(net, x, 1, counts, found, scratch)
        figures[adjustment] = found
        expected = np.array(p) * np.exp([-adjustment, 0, 0, -adjustment])
        expected /= expected.sum()
        assert found[0] == pytest.approx(-np.log(expected[1]), abs=2e-3)
        assert found[1] == pytest.approx(abs(expected - np.eye(4)[1]).sum(), abs=1e-3)
    assert figures[2.5][0] < figures[0][0]


def test_replay_is_choose_recall_and_a_step_that_is_no_lesson(engine):
    """As a lesson without adjustment, but for the counters and the class's place in the stream."""
    image = image_of(logit_adjustment=3, lessons=1000)
    image.class_states["last"] = [0, 1000, 1000, 0]
    other = image.copy()
    other.state["logit_adjustment"] = 0
    driver, twin = Driver(engine, image), Driver(engine, other)
    counts, figures = array("I", [0] * 6), floats([0] * 3)
    x = floats(np.zeros(6))
    for excluded in (0, 1, -1, 3):
        found = engine.replay(image.net, excluded, x, counts, figures, driver.scratch)
        slot = engine.choose(other.net, excluded)
        cls, recalled = twin.recall(slot)
        report = twin.learn(recalled, cls)
        assert found == cls != excluded
        np.testing.assert_array_equal(x, recalled)
        assert list(counts)[:4] == [
            report.skipped,
            report.predicted,
            report.forward_macs,
            report.backward_macs,
        ]
        assert list(figures) == [report.loss, report.error, report.probability]
    assert (image.state["lessons"], image.state["trained"]) == (1000, 0)
    assert list(image.class_states["last"]) == [0, 1000, 1000, 0]
    for i in range(2):
        np.testing.assert_array_equal(image.weights(i), other.weights(i))


def test_replay_smooths_labels(engine):
    """The gradient is p minus a target of 1 - s and s over all classes."""
    image = image_of(label_smoothing=0.25)
    driver, last = Driver(engine, image), 1
    counts, figures, x = array("I", [0] * 6), floats([0] * 3), floats(np.zeros(6))
    other = image.copy()
    slot = engine.choose(other.net, -1)
    cls, recalled = Driver(engine, other).recall(slot)
    _, p = Driver(engine, other).infer(recalled)
    before = image.bias(last).astype("f8").copy()
    assert engine.replay(image.net, -1, x, counts, figures, driver.scratch) == cls
    found = (before - image.bias(last)) / float(image.state["learning_rate"])
    expected = p - (0.75 * np.eye(4)[cls] + 0.25 / 4)
    np.testing.assert_allclose(found, expected, atol=2e-6)
    assert figures[1] == pytest.approx(abs(expected).sum(), abs=2e-6)


def test_integers_smooth_labels_too(c_engine):
    image = image_of(q8=True, label_smoothing=0.25)
    net, scratch = image.net, bytearray(c_engine.scratch_bytes(image.net))
    x, counts, found, p = (
        array("b", bytes(6)),
        array("I", [0] * 6),
        floats([0] * 3),
        floats([0] * 4),
    )
    twin = image.copy()
    slot = c_engine.choose(twin.net, -1)
    cls = c_engine.recall(twin.net, slot, x)
    c_engine.infer(twin.net, x, p, scratch)
    assert c_engine.replay(net, -1, x, counts, found, scratch) == cls
    expected = np.array(p) - (0.75 * np.eye(4)[cls] + 0.25 / 4)
    assert found[1] == pytest.approx(abs(expected).sum(), abs=1e-3)


def test_replay_without_exemplars(engine):
    image = image_of()
    image.memory["count"] = 2  # of class 0 alone
    before = image.contents()
    driver, x = Driver(engine, image), floats(np.zeros(6))
    counts, figures = array("I", [0] * 6), floats([0] * 3)
    assert engine.replay(image.net, 0, x, counts, figures, driver.scratch) == -1
    assert image.contents() == before


def test_replay_that_diverges(engine):
    image = image_of()
    image.weights(0)[:] = 1e20
    image.weights(1)[:] = 1e20
    image.memory["offset"] = 1  # all recalled values are positive
    driver, x = Driver(engine, image), floats(np.zeros(6))
    counts, figures = array("I", [0] * 6), floats([0] * 3)
    assert engine.replay(image.net, -1, x, counts, figures, driver.scratch) == -2


def test_follow_is_quantise_nearest_and_move(engine):
    image = image_of()
    other = image.copy()
    rng, twin = np.random.default_rng(1), Driver(engine, other)
    for cls in (0, 3, 2, 2, 1):
        x, q = rng.normal(0, 1, 6), bytearray(6)
        slot = engine.follow(image.net, floats(x), cls, q)
        quantised = twin.quantise(floats(x))
        assert list(q) == list(quantised)
        assert slot == twin.nearest(quantised, cls)[0]
        engine.move(other.net, slot, bytes_of(quantised))
        assert image.contents() == other.contents()


def test_follow_without_exemplars(engine):
    image = image_of()
    image.memory["count"] = 2
    before = image.contents()
    assert engine.follow(image.net, floats(np.zeros(6)), 3, bytearray(6)) == -1
    assert image.contents() == before
