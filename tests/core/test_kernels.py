"""Kernels and whole passes against numpy in float64, over random shapes."""

from array import array

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import images
import reference
from driver import Driver, floats, networks, sample

LARGEST = float(np.finfo("f4").max)
DENORMAL = 2.0**-149


@given(shape=st.tuples(*[st.integers(1, 40)] * 3), seed=st.integers(0, 1000))
def test_matmul(engine, shape, seed):
    rows, inner, columns = shape
    rng = np.random.default_rng(seed)
    a, b = sample(rng, (rows, inner), 0.2), sample(rng, (inner, columns), 0.2)
    out = floats(np.full(rows * columns, np.nan))
    engine.matmul(out, floats(a), floats(b), rows, inner, columns)
    bound = 1e-6 * np.abs(a) @ np.abs(b) + 1e-30
    assert (np.abs(np.array(out).reshape(rows, columns) - reference.matmul(a, b)) <= bound).all()


def topk(engine, values, k):
    indices = array("H", [9] * max(k, 1))
    count = engine.topk(floats(values), k, indices)
    return list(indices[:count])


@given(
    values=st.lists(
        st.sampled_from([0.0, -0.0, 1.0, -1.0, 2.0, 0.5, DENORMAL, -DENORMAL, LARGEST])
        | st.floats(width=32, allow_nan=False, allow_infinity=False),
        min_size=1,
        max_size=60,
    ),
    share=st.floats(0, 1),
)
def test_topk(engine, values, share):
    k = max(1, round(share * len(values)))
    assert topk(engine, values, k) == reference.topk(values, k)


@pytest.mark.parametrize(
    "values, k, expected",
    [
        ([1, -1, 1, -1], 2, [0, 1]),
        ([1, 2, -2, 3, 2], 2, [1, 3]),
        ([0, 0, 0], 2, []),
        ([0, -5, 0], 3, [1]),
        ([3], 1, [0]),
        ([DENORMAL, 0, 2 * DENORMAL], 1, [2]),
        ([LARGEST, -LARGEST, 1], 3, [0, 1, 2]),
        ([-0.0, 1], 2, [1]),
    ],
)
def test_topk_examples(engine, values, k, expected):
    assert topk(engine, values, k) == expected


def test_topk_of_the_longest_layer(engine):
    values = np.arange(65535) % 1000 - 500
    assert topk(engine, values, 70) == reference.topk(values.tolist(), 70)


@pytest.mark.parametrize("k", [0, 4, -1])
def test_topk_refuses_k_out_of_range(engine, k):
    with pytest.raises(ValueError, match=r"argument 2|\bk\b"):
        engine.topk(floats([1, 2, 3]), k, array("H", [0] * 4))


# ---- own exp, log and 1 / sqrt: the bounds that tinyinc.h states ----


def swept(function, x):
    x = np.asarray(x, "f4")
    return x.astype("f8"), np.array([function(float(v)) for v in x])


@pytest.fixture(scope="module")
def arithmetic(c_engine):
    """The core's own functions, which no engine call exposes."""
    return c_engine.lib


def test_exp(arithmetic):
    x, y = swept(arithmetic.tinc_exp, np.linspace(-87, 88, 60001))
    assert np.abs(y / np.exp(x) - 1).max() < 2e-7
    assert arithmetic.tinc_exp(0.0) == 1
    assert arithmetic.tinc_exp(-87.5) == arithmetic.tinc_exp(-1e30) == 0
    assert arithmetic.tinc_exp(89.0) == arithmetic.tinc_exp(LARGEST) == LARGEST


def test_log(arithmetic):
    ladder = np.concatenate([np.geomspace(1.2e-38, 3.4e38, 40001), np.linspace(0.5, 2, 20001)])
    x, y = swept(arithmetic.tinc_log, ladder)
    assert (np.abs(y - np.log(x)) < 2e-7 + 1e-7 * np.abs(np.log(x))).all()
    assert arithmetic.tinc_log(1.0) == 0


def test_rsqrt(arithmetic):
    x, y = swept(arithmetic.tinc_rsqrt, np.geomspace(1.2e-38, 3.4e38, 40001))
    assert np.abs(y * np.sqrt(x) - 1).max() < 3e-7


# ---- forward ----


@given(net=networks())
def test_infer(engine, net):
    image, samples, _ = net
    driver, network = Driver(engine, image), reference.Network(image)
    before = image.contents()
    for x in samples:
        cls, probabilities = driver.infer(x)
        expected = network.probabilities(x)
        np.testing.assert_allclose(probabilities, expected, rtol=2e-5, atol=1e-7)
        assert cls == np.argmax(probabilities)
    assert image.contents() == before


def test_infer_prefers_the_lowest_of_equal_classes(engine):
    image = images.build((2, 4))
    image.weights(0)[:], image.bias(0)[:] = 0, [1, 3, 3, 2]
    assert Driver(engine, image).infer([1, 1])[0] == 1


@pytest.mark.parametrize("logits", [[4096.5, 4096], [-30000, -30001], [80, -80], [0, 0]])
def test_loss_keeps_its_precision_at_large_logits(engine, logits):
    image = images.build((1, 2))
    image.weights(0)[:], image.bias(0)[:] = 0, logits
    for target in 0, 1:
        expected = reference.Network(image.copy()).loss([1], target)
        report = Driver(engine, image.copy()).learn([1], target)
        assert report.loss == pytest.approx(expected, rel=1e-6, abs=1e-6)


def test_no_class_yet(engine):
    image = images.build((3, 4, 2), (4, 0))
    driver = Driver(engine, image)
    before = image.contents()
    for call in lambda: driver.infer([1, 2, 3]), lambda: driver.learn([1, 2, 3], 0):
        with pytest.raises(ValueError, match="class"):
            call()
    assert image.contents() == before


@pytest.mark.parametrize("bias", [np.inf, np.nan, -np.inf])
def test_a_logit_that_is_not_finite_changes_nothing(engine, bias):
    image = images.build((3, 4, 3), rule=images.RULES.index("sampled"))
    image.bias(1)[1] = bias
    driver, before = Driver(engine, image), image.contents()
    with pytest.raises(ValueError, match="diverged: layer 1"):
        driver.infer([1, 2, 3])
    assert driver.learn([1, 2, 3], 0) is None
    assert image.contents() == before
    image.bias(1)[1] = 0
    assert driver.learn([1, 2, 3], 0)  # the scratch is free again


@pytest.mark.parametrize("scale", [1e16, 1e19, 1e30, 1e38])
def test_activations_that_would_make_weights_infinite(engine, scale):
    """The output is small, but not what its weights would be multiplied with."""
    image = images.build((3, 4, 4, 3), learning_rate=10)
    for index, size in enumerate([scale, scale, 1e-38]):
        image.weights(index)[:] = size
    driver, before = Driver(engine, image), image.contents()
    with pytest.raises(ValueError, match="diverged: layer [01]"):
        driver.infer([1, 2, 3])
    assert driver.learn([1, 2, 3], 0) is None
    assert image.contents() == before


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e38])
def test_a_sample_that_never_was_normalised(engine, value):
    image = images.build((3, 4, 3))
    driver, before = Driver(engine, image), image.contents()
    for call in driver.infer, lambda x: driver.learn(x, 0):
        with pytest.raises(ValueError, match=r"sample\[1\]"):
            call([1, value, 3])
    assert image.contents() == before
    driver.learn([1, 2, 3], 0)  # the scratch is free again


# ---- learn ----


@given(net=networks(rule=images.RULES.index("full"), learning_rate=0.05))
def test_learn(engine, net):
    image, samples, targets = net
    driver, network = Driver(engine, image), reference.Network(image)
    for x, target in zip(samples, targets):
        step, report = network.learn(x, target), driver.learn(x, target)
        assume(step.margin > 1e-5)
        assert report.loss == pytest.approx(step.loss, rel=2e-5, abs=1e-6)
        assert report.error == pytest.approx(step.error, rel=2e-5, abs=1e-6)
        assert report.predicted == step.predicted
        for i in range(len(network.w)):
            np.testing.assert_allclose(image.weights(i), network.w[i], rtol=2e-5, atol=1e-6)
            np.testing.assert_allclose(image.bias(i), network.b[i], rtol=2e-5, atol=1e-6)


@given(net=networks(rule=images.RULES.index("full")))
def test_learn_touches_nothing_beyond_the_active_units(engine, net):
    image, samples, targets = net
    driver, before = Driver(engine, image), image.copy()
    for x, target in zip(samples, targets):
        driver.learn(x, target)
    for i in range(len(image.layers)):
        for array_of in images.Image.weights, images.Image.bias:
            rest, rest_before = (array_of(im, i, active=False).copy() for im in (image, before))
            corner = tuple(slice(n) for n in array_of(image, i).shape)
            rest[corner] = rest_before[corner] = 0
            np.testing.assert_array_equal(rest, rest_before)
    assert image.net[images.STRUCTURE] == before.net[images.STRUCTURE]


def test_counters(engine):
    image = images.build((3, 4, 3))
    driver = Driver(engine, image)
    for target in 0, 2, 2:
        driver.learn([1, 2, 3], target)
    assert (image.state["lessons"], image.state["trained"]) == (3, 3)
    assert list(image.class_states["last"]) == [1, 0, 3]
    image.state["lessons"] = image.state["trained"] = image.class_states["last"][0] = 2**32 - 1
    driver.learn([1, 2, 3], 0)
    assert image.state["lessons"] == image.state["trained"] == 2**32 - 1
    assert image.class_states["last"][0] == 2**32 - 1


@pytest.mark.parametrize("target", [3, 7, -1])
def test_learn_refuses_an_unknown_class(engine, target):
    image = images.build((3, 4, 8), (4, 3))
    before = image.contents()
    with pytest.raises(ValueError, match="class"):
        Driver(engine, image).learn([1, 2, 3], target)
    assert image.contents() == before


def test_scratch_is_checked(engine):
    image = images.build((3, 4, 3))
    driver, before = Driver(engine, image), image.contents()
    enough = driver.scratch
    driver.scratch = enough[:-1]
    with pytest.raises(ValueError, match="scratch"):
        driver.learn([1, 2, 3], 0)
    assert image.contents() == before


def test_scratch_is_aligned(c_engine):
    image = images.build((3, 4, 3))
    driver, before = Driver(c_engine, image), image.contents()
    driver.scratch = memoryview(driver.scratch + bytes(8))[4:-4]
    with pytest.raises(ValueError, match="align"):
        driver.learn([1, 2, 3], 0)
    assert image.contents() == before


def test_a_busy_scratch_is_refused(engine):
    """As another call, of another core or an interrupted one, would have left it."""
    image = images.build((3, 4, 3))
    driver, before = Driver(engine, image), image.contents()
    driver.scratch[:4] = b"\1\0\0\0"
    for call in lambda: driver.learn([1, 2, 3], 0), lambda: driver.infer([1, 2, 3]):
        with pytest.raises(ValueError, match="busy|in use"):
            call()
    assert image.contents() == before


@pytest.mark.parametrize(
    "call, short",
    [("infer", "x"), ("infer", "out"), ("learn", "x"), ("learn", "counts"), ("learn", "figures")],
)
def test_short_arrays_are_refused(engine, call, short):
    image = images.build((3, 4, 3))
    before, scratch = image.contents(), bytearray(engine.scratch_bytes(image.net))
    size = {"x": 3, "out": 3, "counts": 6, "figures": 3}
    size[short] -= 1
    x, out, figures = (floats(np.ones(size[name])) for name in ("x", "out", "figures"))
    with pytest.raises(ValueError, match=r"\d"):
        if call == "infer":
            engine.infer(image.net, x, out, scratch)
        else:
            engine.learn(image.net, x, 0, array("I", [0] * size["counts"]), figures, scratch)
    assert image.contents() == before
