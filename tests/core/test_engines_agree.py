"""The C core and the pure engine: the same results from the same state, step by step."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import images
import reference
import trajectory
from driver import Driver, bytes_of, networks
from images import RULES, STATE, TRAINED

GOLDEN = Path(__file__).parent.parent / "vectors" / "golden.tinc"


def test_trajectories(engines):
    logs = [trajectory.run(engine, trajectory.load(GOLDEN)) for engine in engines]
    assert len(logs[0]) > 50
    assert trajectory.compare(*logs) is None


def test_compare_sees_differences(c_engine):
    log = trajectory.run(c_engine, trajectory.load(GOLDEN))
    for change in ([["x", [1], []]], [["x", [0], [0.5]]], [["x", [0], []]] * 2):
        assert trajectory.compare([["x", [0], [0.25]]], change) is not None
    assert trajectory.compare(log, log[:-1]) is not None
    assert trajectory.compare(log, log) is None


@pytest.mark.parametrize("rule", RULES)
@given(net=networks(units=20))
def test_steps(engines, rule, net):
    """From equal state: equal decisions and counts, near floats; then from C's state again."""
    image, samples, targets = net
    image.state["rule"], image.state["error_threshold"] = RULES.index(rule), 1.5
    twins = [image, image.copy()]
    for x, target in zip(samples, targets):
        assume(reference.Network(image).learn(x, target).margin > 3e-5)
        c, pure = [Driver(e, twin).learn(x, target) for e, twin in zip(engines, twins)]
        assert (c.skipped, c.predicted, c.k) == (pure.skipped, pure.predicted, pure.k)
        assert (c.forward_macs, c.backward_macs) == (pure.forward_macs, pure.backward_macs)
        figures = [(report.loss, report.error, report.probability) for report in (c, pure)]
        np.testing.assert_allclose(*figures, rtol=1e-5, atol=1e-6)
        trained = [np.frombuffer(twin.net[TRAINED], "f4") for twin in twins]
        np.testing.assert_allclose(*trained, rtol=1e-5, atol=1e-6)
        y_max = [twin.layer_states["y_max"].copy() for twin in twins]
        np.testing.assert_allclose(*y_max, rtol=1e-5, atol=1e-6)
        twins[1].layer_states["y_max"] = twins[0].layer_states["y_max"]
        assert twins[0].net[STATE] == twins[1].net[STATE]
        twins[1].restore(twins[0].contents())
        np.testing.assert_allclose(
            *[Driver(e, twin).infer(x)[1] for e, twin in zip(engines, twins)], rtol=1e-5, atol=1e-7
        )


CALLS = {
    "choose": lambda e, im, rng, q: e.choose(im.net, int(rng.integers(-1, 3))),
    "remember": lambda e, im, rng, q: e.remember(
        im.net, min(int(im.memory["count"]), 9), q, int(rng.integers(0, max(im.classes, 1)))
    ),
    "move": lambda e, im, rng, q: e.move(im.net, int(rng.integers(0, 10)), q),
    "nearest": lambda e, im, rng, q: Driver(e, im).nearest(list(q), int(rng.integers(-1, 4))),
    "grow": lambda e, im, rng, q: e.grow(im.net, int(rng.integers(0, 2)), 1),
    "shrink": lambda e, im, rng, q: e.shrink(im.net, int(rng.integers(0, 2)), int(rng.integers(3))),
    "seal": lambda e, im, rng, q: e.seal(im.net),
}


@given(calls=st.lists(st.sampled_from(sorted(CALLS)), max_size=30), seed=st.integers(0, 1000))
def test_integers_agree_exactly(engines, calls, seed):
    """Any sequence of calls on memory and sizes: the same answers, refusals and bytes.

    Weights that grow() drew agree within a rounding; the pure engine gets C's before the next call.
    """
    image = images.build((5, 8, 6), (4, 3), slots=10, used=6, seed=seed, generator=seed + 1)
    twins = [image, image.copy()]
    for i, name in enumerate(calls):
        answers = []
        for engine, twin in zip(engines, twins):
            rng = np.random.default_rng([seed, i])
            q = bytes_of(rng.integers(0, 256, 5))
            try:
                answers.append(CALLS[name](engine, twin, rng, q))
            except ValueError:
                answers.append("refused")
        assert answers[0] == answers[1]
        weights = [np.frombuffer(twin.net[TRAINED], "f4") for twin in twins]
        np.testing.assert_allclose(*weights, rtol=1e-6, atol=1e-7)
        twins[1].net[TRAINED][:] = twins[0].net[TRAINED]
        for twin in twins:
            twin.seal()
        assert twins[0].contents() == twins[1].contents()
