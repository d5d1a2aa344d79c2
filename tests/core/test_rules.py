"""Each learning rule against the reference: what it trains, how much, and what it reports."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import images
import reference
from driver import Driver, is_c, networks, sample
from images import RULES, TRAIN_BIAS, TRAIN_WEIGHTS

BOTH = TRAIN_WEIGHTS | TRAIN_BIAS


def changes(image, before):
    """Per layer: the rows and the inputs of which any weight changed."""
    found = []
    for i in range(len(image.layers)):
        w = image.weights(i) != before.weights(i)
        b = image.bias(i) != before.bias(i)
        rows = np.flatnonzero(w.any(1) | b)
        found.append((list(rows), list(np.flatnonzero(w.any(0)))))
    return found


def demand(condition):
    assert condition, "a decision is too narrow for single precision: choose another sample"


def check_step(engine, image, x, target, need=demand):
    """One step of the engine and of the reference from the same image, compared in full."""
    network, before = reference.Network(image), image.copy()
    step, report = network.learn(x, target), Driver(engine, image).learn(x, target)
    need(step.margin > 3e-5)
    assert report.skipped == step.skipped
    assert report.predicted == step.predicted
    assert report.k == step.k
    assert (report.forward_macs, report.backward_macs) == (step.forward_macs, step.backward_macs)
    assert report.loss == pytest.approx(step.loss, rel=2e-5, abs=1e-6)
    assert report.error == pytest.approx(step.error, rel=2e-5, abs=1e-6)
    if image.state["rule"] == RULES.index("sampled"):
        assert report.probability == pytest.approx(step.probability, rel=2e-5)
    np.testing.assert_allclose(image.layer_states["y_max"], network.y_max, rtol=3e-5, atol=1e-6)
    assert image.state["generator"] == network.generator.image.state["generator"]
    assert image.state["trained"] - before.state["trained"] == (not step.skipped)
    for i, (rows, columns) in enumerate(changes(image, before)):
        assert set(rows) <= set(step.rows.get(i, []))
        assert set(columns) <= set(step.columns.get(i, []))
        np.testing.assert_allclose(image.weights(i), network.w[i], rtol=2e-5, atol=2e-6)
        np.testing.assert_allclose(image.bias(i), network.b[i], rtol=2e-5, atol=2e-6)
    return step


SETTINGS = {
    "full": {},
    "static": {"static_ratio": [0.0, 0.3, 1.0]},
    "tinyprop": {"s_min": [0.0, 0.2], "s_max": [0.4, 1.0], "zeta": [0.5, 1.0]},
    "tinyprop2": {
        "d_min": [0.0, 0.2],
        "d_max": [1.0],
        "beta": [0.6, 1.5],
        "d_threshold": [0.0, 0.9],
        "s_max": [0.5],
    },
    "sampled": {
        "error_threshold": [0.3, 1.5],
        "hidden_ratio": [0.0, 0.3, 1.0],
        "input_threshold": [0.0, 0.1, 0.7],
    },
}


@pytest.mark.parametrize("rule", RULES)
@given(data=st.data())
def test_rule(engine, rule, data):
    """Steps in a row, so that y_max and the generator matter."""
    image, samples, targets = data.draw(networks(units=30))
    image.state["rule"] = RULES.index(rule)
    for name, values in SETTINGS[rule].items():
        image.state[name] = data.draw(st.sampled_from(values))
    for x, target in zip(samples, targets):
        check_step(engine, image, x, target, need=assume)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize(
    "flags",
    [
        (0, BOTH, BOTH),
        (0, 0, BOTH),
        (BOTH, 0, BOTH),
        (BOTH, 0, 0),
        (0, 0, 0),
        (TRAIN_BIAS, BOTH, TRAIN_WEIGHTS),
        (TRAIN_WEIGHTS, TRAIN_BIAS, BOTH),
    ],
)
def test_frozen_tensors_stay(engine, rule, flags):
    rng = np.random.default_rng(1)
    image = images.build((12, 9, 8, 5), flags=flags, rule=RULES.index(rule), error_threshold=0.1)
    frozen = bytes(image.net[images.FROZEN])
    for target in 0, 3, 4, 3:
        step = check_step(engine, image, sample(rng, 12, 0.3), target)
        assert all((k == 0) == (not f or step.skipped) for k, f in zip(step.k, flags))
    assert image.net[images.FROZEN] == frozen


def test_every_rule_meets_both_decisions():
    """The settings above lead to skipped and to trained steps: the tests above see both."""
    for rule in "tinyprop2", "sampled":
        image = images.build(
            (8, 6, 4), rule=RULES.index(rule), d_threshold=0.9, error_threshold=1.5
        )
        rng, network = np.random.default_rng(0), reference.Network(image)
        skipped = [network.learn(sample(rng, 8), i % 4).skipped for i in range(40)]
        assert 0 < sum(skipped) < 40


@pytest.mark.parametrize("zeros", [0.0, 0.5, 0.6, 1.0])
def test_macs_of_a_known_network(engine, zeros):
    """Counted by hand: 10 inputs, 8 hidden units (5 live), 4 classes."""
    image = images.build((10, 8, 4))
    image.weights(0)[:], image.bias(0)[:] = 0, [1] * 5 + [-1] * 3
    x = np.ones(10)
    x[: int(10 * zeros)] = 0
    inputs = int(10 - 10 * zeros) if zeros >= 0.5 else 10
    report = Driver(engine, image).learn(x, 1)
    assert report.forward_macs == 8 * inputs + 4 * 8  # 5 of 8 live: more than half, so all
    assert report.backward_macs == 4 * 8 + 4 * 8 + 5 * inputs
    image.bias(0)[:] = [1] * 4 + [-1] * 4
    report = Driver(engine, image).learn(x, 1)
    assert report.forward_macs == 8 * inputs + 4 * 4
    assert report.backward_macs == 4 * 4 + 4 * 4 + 4 * inputs


@pytest.mark.parametrize("error_threshold", [1.0, 4.0])
def test_sampled_is_unbiased(engine, error_threshold):
    """The mean update over many draws is the full update, within its statistical error."""
    image = images.build(
        (6, 5, 3),
        rule=RULES.index("sampled"),
        hidden_ratio=1,
        input_threshold=0,
        error_threshold=error_threshold,
        generator=12345,
    )
    x = sample(np.random.default_rng(3), 6)
    full = image.copy()
    full.state["rule"] = RULES.index("full")
    start, driver = image.copy(), Driver(engine, image)
    error = Driver(engine, full).learn(x, 1).error
    p = min(1, error / error_threshold)
    assert p == 1 or p < 0.6
    trained, total = 0, [np.zeros_like(w) for w in reference.Network(image).w]
    rounds = 4000 if is_c(engine) else 1000
    for _ in range(rounds):
        image.net[images.TRAINED][:] = start.net[images.TRAINED]
        trained += not driver.learn(x, 1).skipped
        for i, sums in enumerate(total):
            sums += image.weights(i) - start.weights(i)
    deviation = 4 * (p * (1 - p) / rounds) ** 0.5
    assert abs(trained / rounds - p) <= deviation
    for i, sums in enumerate(total):
        update = full.weights(i) - start.weights(i)
        bound = (deviation / p + 1e-4) * np.abs(update) + 1e-6
        assert np.abs(update).max() > 1e-3 or i == 0
        assert (np.abs(sums / rounds - update) <= bound).all()


def test_sampled_draws_once_per_sample(engine):
    image = images.build((3, 4, 2), rule=RULES.index("sampled"), error_threshold=1e-3)
    expected = reference.Generator(image.copy())
    for _ in range(5):
        Driver(engine, image).learn([1, 2, 3], 0)
        expected.integer()
        assert image.state["generator"] == expected.image.state["generator"]


def test_the_rarest_sample_trains_finitely(engine):
    """An error of 4e-38 and the smallest of all draws: its reciprocal would be infinite."""
    image = images.build(
        (1, 2),
        rule=RULES.index("sampled"),
        error_threshold=1e6,
        learning_rate=10,
        generator=2215805,  # whose next number is 218, drawn as 0
    )
    image.weights(0)[:], image.bias(0)[:] = 0, [86, 0]
    report = Driver(engine, image).learn([1], 0)
    assert 0 < report.error < 1e-36
    assert report.skipped == 0
    assert report.probability == pytest.approx(2**-24)
    np.testing.assert_allclose(image.weights(0)[:, 0], 0, atol=1e-28)
    engine.check(image.seal().net)


def test_y_max_only_rises(engine):
    image = images.build((3, 4, 2), rule=RULES.index("tinyprop"))
    image.layer_states["y_max"] = [5, 0]
    Driver(engine, image).learn([1, 2, 3], 0)
    error = Driver(engine, image).learn([1, 2, 3], 1).error
    assert image.layer_states["y_max"][0] == 5
    assert image.layer_states["y_max"][1] >= error > 0


@pytest.mark.parametrize("rule", RULES)
def test_nothing_to_learn(engine, rule):
    """A single class has probability 1: no error, so no row is worth a change."""
    image = images.build((3, 4, 1), rule=RULES.index(rule))
    before = image.copy()
    report = Driver(engine, image).learn([1, 2, 3], 0)
    assert (report.loss, report.error) == (0, 0)
    assert image.net[images.TRAINED] == before.net[images.TRAINED]
    assert image.layer_states["y_max"].tolist() == [0, 0]


@pytest.mark.parametrize("rule", RULES)
def test_huge_gradients_are_cut(engine, rule):
    """Logits that cancel, gradients below them that overflow: the image stays valid."""
    image = images.build((1, 4, 2), rule=RULES.index(rule), error_threshold=0.01, learning_rate=10)
    signs = np.array([[1, -1, 1, -1], [-1, 1, -1, 1]])
    image.weights(0)[:], image.bias(0)[:], image.bias(1)[:] = 1, 0, 0
    image.weights(1)[:] = 3e38 * signs
    report = Driver(engine, image).learn([1], 0)
    assert report.error == pytest.approx(1)
    step = (image.weights(0) - 1)[image.weights(0) != 1]
    np.testing.assert_allclose(np.abs(step), 10 * reference.LARGEST_DELTA, rtol=1e-5)
    assert len(step) == report.k[0]
    engine.check(image.seal().net)
