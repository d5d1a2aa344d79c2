"""Convolutions, pools and additions in float32 against the reference: all of them forward,
backward and updated, over random shapes and under every rule."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import images
import reference
from driver import Driver, sample
from images import (
    ACTIVATIONS,
    RULES,
    TRAIN_BIAS,
    TRAIN_WEIGHTS,
    add,
    average_pool,
    conv,
    dense,
    depthwise,
    max_pool,
)
from test_gradients import finite_differences
from test_rules import demand

BOTH = TRAIN_WEIGHTS | TRAIN_BIAS
FULL, STATIC, SAMPLED = (RULES.index(rule) for rule in ("full", "static", "sampled"))


# ---- random networks ----


@st.composite
def windows(draw, height, width, overlap=True):
    """Kernel, stride and padding that fit an image; strides above 1 only without much overlap."""
    kernel = draw(st.integers(1, min(3, height))), draw(st.integers(1, min(4, width)))
    stride = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    padding = [draw(st.integers(0, min(2, k - 1))) for k in (*kernel, *kernel)]
    return {"kernel": kernel, "stride": stride, "padding": padding}


@st.composite
def layers_of_images(draw, shape, most):
    """Some layers over an image, and what they give."""
    declared, shapes = [], [shape]
    for i in range(draw(st.integers(1, most))):
        height, width, channels = shapes[-1]
        sources = [s for s in range(i - 1) if shapes[s + 1] == shapes[-1]]
        kind = draw(st.sampled_from([conv, conv, depthwise, max_pool, average_pool, add]))
        if kind is add and not sources:
            kind = conv
        if kind is add:
            more = {"activation": draw(st.sampled_from(ACTIVATIONS))}
            declared.append(add(draw(st.sampled_from(sources)), **more))
            shapes.append(shapes[-1])
            continue
        window = draw(windows(height, width))
        if sources and draw(st.booleans()):
            window = {"kernel": 1, "stride": 1}  # shapes that an addition can meet again
        if kind in (conv, depthwise):
            window["activation"] = draw(st.sampled_from(ACTIVATIONS))
            window["train"] = draw(st.sampled_from([BOTH, BOTH, TRAIN_WEIGHTS, TRAIN_BIAS, 0]))
            window["eighths"] = 8
            if window["train"] & TRAIN_WEIGHTS:
                window["eighths"] = draw(st.sampled_from([8, 8, 4, 2, 1]))
        if kind is conv:
            window["channels"] = draw(st.sampled_from([1, 2, 3, 5, 8, channels]))
        declared.append(kind(**window))
        shapes.append(shape_of(declared[-1], shapes[-1]))
    return declared


def shape_of(declared, before):
    image = images.network(before, [declared, dense(1)])
    return image.shape(0)


@st.composite
def networks_of_images(draw, most=4):
    """(image, samples, targets): layers of all kinds, then one or two dense ones."""
    shape = draw(st.integers(1, 7)), draw(st.integers(1, 7)), draw(st.sampled_from([1, 2, 3, 8]))
    declared = draw(layers_of_images(shape, most))
    if draw(st.booleans()):
        more = {"eighths": draw(st.sampled_from([8, 4, 1]))}
        more["activation"] = draw(st.sampled_from(["relu", "relu6"]))
        declared.append(dense(draw(st.integers(1, 9)), **more))
    classes, seed = draw(st.integers(2, 5)), draw(st.integers(0, 2**32 - 1))
    image = images.network(shape, [*declared, dense(classes)], seed=seed, generator=seed | 1)
    rng = np.random.default_rng(seed)
    zeros = draw(st.sampled_from([0.0, 0.3, 0.8, 1.0]))
    samples = [3 * sample(rng, image.inputs, zeros) for _ in range(2)]  # some beyond 6
    return image, samples, list(rng.integers(0, classes, 2))


def check_step(engine, image, x, target, need):
    """One step of the engine and of the reference from the same image, compared in full."""
    network, before = reference.Network(image), image.copy()
    step, report = network.learn(x, target), Driver(engine, image).learn(x, target)
    need(step.margin > 3e-5)
    assert (report.skipped, report.predicted, report.k) == (step.skipped, step.predicted, step.k)
    assert (report.forward_macs, report.backward_macs) == (step.forward_macs, step.backward_macs)
    assert report.loss == pytest.approx(step.loss, rel=5e-5, abs=1e-5)
    assert report.error == pytest.approx(step.error, rel=5e-5, abs=1e-5)
    np.testing.assert_allclose(image.layer_states["y_max"], network.y_max, rtol=1e-4, atol=1e-5)
    for i in filter(image.has_weights, range(len(image.layers))):
        for tensor, expected in (("weights", network.w[i]), ("bias", network.b[i])):
            old, new = (getattr(im, tensor)(i) for im in (before, image))
            bound = 1e-4 * np.abs(expected - old) + 3e-6 * (1 + np.abs(expected))
            assert (np.abs(new - expected) <= bound).all()
    assert image.net[images.FROZEN] == before.net[images.FROZEN]
    return step, report


@settings(max_examples=120)
@given(net=networks_of_images())
def test_infer(c_engine, net):
    image, samples, _ = net
    before = image.contents()
    for x in samples:
        cls, probabilities = Driver(c_engine, image).infer(x)
        expected = reference.Network(image).probabilities(x)
        np.testing.assert_allclose(probabilities, expected, rtol=2e-4, atol=1e-6)
        assert cls == np.argmax(probabilities)
    assert image.contents() == before


@settings(max_examples=80)
@pytest.mark.parametrize("rule", RULES)
@given(net=networks_of_images())
def test_learn(c_engine, rule, net):
    image, samples, targets = net
    image.state["rule"], image.state["error_threshold"] = RULES.index(rule), 0.5
    image.state["d_threshold"] = 0.2
    for x, target in zip(samples, targets):
        check_step(c_engine, image, x, target, assume)


# ---- gradients ----

# Per kind a network that has little but this, the trained layers around it included.
SMALL = {
    "conv": ((5, 4, 2), [conv(3, padding=1), conv(2, (2, 3), stride=(2, 1))]),
    "conv 1d": ((1, 9, 2), [conv(3, (1, 4), stride=(1, 2), padding=(0, 2, 0, 1))]),
    "conv of one pixel": ((3, 4, 3), [conv(4, 1), conv(2, 1, stride=2, activation="linear")]),
    "depthwise": ((4, 5, 3), [conv(4, 1), depthwise(3, padding=1), depthwise(2, stride=(1, 2))]),
    "relu6": ((4, 4, 1), [conv(4, 2, activation="relu6", bias=4.0), conv(2, 2)]),
    "max pool": ((6, 6, 1), [conv(2, 3, padding=1), max_pool(2)]),
    "overlapping pools": ((5, 5, 2), [conv(2, 1), max_pool(3, stride=1), conv(2, 2)]),
    "padded max pool": ((4, 4, 1), [conv(3, 1), max_pool(3, stride=2, padding=1)]),
    "average pool": ((4, 6, 2), [conv(3, 2), average_pool((2, 3), stride=1)]),
    "padded average pool": ((4, 4, 1), [conv(3, 1), average_pool(3, stride=2, padding=1)]),
    "global average": ((4, 3, 2), [conv(5, 2, padding=(1, 0, 0, 1)), average_pool((4, 3))]),
    "residual": ((4, 3, 2), [conv(3, 1), conv(3, 3, padding=1), add(0, activation="relu")]),
    "residual over pools": (
        (4, 4, 1),
        [conv(2, 3, padding=1), max_pool(2), conv(2, 1), add(1, activation="relu6"), add(2)],
    ),
    "two dense": ((3, 3, 2), [conv(3, 2), dense(6), dense(5, activation="relu6")]),
}


def small(name, **more):
    shape, declared = SMALL[name]
    image = images.network(shape, [*declared, dense(3)], **more)
    return image, sample(np.random.default_rng(more.get("seed", 0)), image.inputs)


@pytest.mark.parametrize("name", SMALL)
def test_update_is_minus_the_gradient(c_engine, name):
    """Rule full with rate 1, against finite differences of the loss in float64."""
    for seed in range(20):
        image, x = small(name, seed=seed, rule=FULL, learning_rate=1.0)
        network, before = reference.Network(image), image.copy()
        network.forward(x)
        if network.margin > 1e-4:  # nothing bends within a step
            break
    assert network.margin > 1e-4
    Driver(c_engine, image).learn(x, 1)
    moved = False
    for i in filter(image.has_weights, range(len(image.layers))):
        for tensor, parameters in (("weights", network.w[i]), ("bias", network.b[i])):
            old, new = (getattr(im, tensor)(i).astype("f8") for im in (before, image))
            expected = finite_differences(network, parameters, x, 1)
            np.testing.assert_allclose(old - new, expected, rtol=2e-4, atol=3e-6)
            moved = moved or (i == 0 and np.abs(expected).max() > 1e-3)
    assert moved


@pytest.mark.parametrize("name", SMALL)
def test_reference_gradients(name):
    """The reference itself: the chain rule against finite differences."""
    image, x = small(name)
    network = reference.Network(image)
    network.forward(x)
    assert network.margin > 1e-5
    for i, gradients in enumerate(network.gradients(x, 0)):
        for parameters, gradient in zip((network.w[i], network.b[i]), gradients or ()):
            expected = finite_differences(network, parameters, x, 0)
            np.testing.assert_allclose(gradient, expected, rtol=1e-5, atol=1e-7)


# ---- what is trained, and what it costs ----


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("rule", RULES)
def test_small_networks_under_every_rule(c_engine, name, rule):
    done = 0
    for seed in range(30):
        ratios = {
            "static_ratio": 0.28,
            "hidden_ratio": 0.28,
        }  # no share of any layer is near a half
        image, x = small(name, seed=seed, rule=RULES.index(rule), error_threshold=0.1, **ratios)
        if reference.Network(image).learn(x, 1).margin > 3e-5:
            step, report = check_step(c_engine, image, x, 1, demand)
            done += not step.skipped
    assert done >= 3


def test_only_the_largest_elements_of_a_convolution_train(c_engine):
    """k counts elements, height x width x channels of them, and each costs its own patch."""
    image = images.network((4, 4, 2), [conv(3, 3), dense(4)], rule=STATIC, static_ratio=0.25)
    network, x = reference.Network(image), sample(np.random.default_rng(1), 32)
    before = image.copy()
    step, report = check_step(c_engine, image, x, 0, demand)
    assert report.k == [3, 1]  # of 2 x 2 x 3 elements and of 4 classes
    row = step.rows[1][0]
    hidden = network.forward(x)[1]
    delta = network.w[1][row] * (hidden > 0)
    top = sorted(reference.topk(delta, 3))
    assert step.rows[0] == top
    touched = {element % 3 for element in top}
    changed = (image.weights(0) != before.weights(0)).any((1, 2, 3))
    assert set(np.flatnonzero(changed)) == touched
    dense_macs = reference.mac_inputs(hidden)
    assert report.backward_macs == 2 * dense_macs + len(top) * 18


@pytest.mark.parametrize("eighths", [1, 2, 4, 8])
@pytest.mark.parametrize("rule", [FULL, SAMPLED])
def test_only_the_first_channels_are_trained(c_engine, rule, eighths):
    """Convolution, depthwise convolution and a dense layer: the rest keeps its bits."""
    declared = [
        conv(8, 2, eighths=eighths, bias=2.0),
        depthwise(2, eighths=eighths, bias=2.0),
        conv(8, 1, eighths=eighths, bias=2.0),
        dense(4, eighths=eighths),
    ]
    image = images.network((4, 4, 8), declared, rule=rule, error_threshold=1e-3, hidden_ratio=1)
    x, before = sample(np.random.default_rng(5), image.inputs), image.copy()
    check_step(c_engine, image, x, 1, demand)
    for i in range(4):
        inputs = image.weights(i).shape[-1]
        changed = (image.weights(i) != before.weights(i)).reshape(-1, inputs).any(0)
        trained = inputs * eighths // 8
        assert changed[:trained].any()
        assert not changed[trained:].any()
        assert (image.bias(i) != before.bias(i)).any()


@pytest.mark.parametrize("train", [0, TRAIN_BIAS, TRAIN_WEIGHTS])
@pytest.mark.parametrize("kind", [lambda **t: conv(3, 2, **t), lambda **t: depthwise(2, **t)])
def test_frozen_tensors_stay(c_engine, kind, train):
    """Of a layer with trained ones on both sides, whose gradient goes through it all the same."""
    image = images.network((4, 4, 3), [conv(3, 1), kind(train=train), dense(3)])
    before, x = image.copy(), sample(np.random.default_rng(2), image.inputs)
    check_step(c_engine, image, x, 2, demand)
    assert (image.weights(1) != before.weights(1)).any() == bool(train & TRAIN_WEIGHTS)
    assert (image.bias(1) != before.bias(1)).any() == bool(train & TRAIN_BIAS)
    assert (image.weights(0) != before.weights(0)).any()


def test_zeros_cost_nothing(c_engine):
    """One pixel of 6 x 6 is not 0: the 9 patches that see it cost 1 input, the others nothing."""
    image = images.network((6, 6, 1), [conv(4, 3, padding=1), dense(3)])
    image.bias(0)[:] = 0
    x = np.zeros((6, 6))
    x[2, 3] = 1
    report = Driver(c_engine, image.copy()).learn(x.reshape(-1), 1)
    live = np.count_nonzero(reference.Network(image).forward(x)[1])
    assert report.forward_macs == 4 * 9 + 3 * live
    image.bias(0)[:] = 0
    report = Driver(c_engine, image).learn(np.zeros(36), 1)
    assert (report.forward_macs, report.backward_macs) == (0, 0)


def test_macs_of_a_known_network(c_engine):
    """Counted by hand, with every unit on and nothing 0."""
    declared = [
        conv(8, 3, padding=1, weights=0.05),  # 6 x 6 outputs
        max_pool(2),
        depthwise(3, padding=1, weights=0.05),  # 3 x 3 outputs: 49 taps in the image
        dense(5),
    ]
    image = images.network((6, 6, 2), declared, rule=FULL)
    x = np.random.default_rng(0).uniform(1, 2, 72)
    report = Driver(c_engine, image).learn(x, 0)
    patches = 24 * 18 + 12 * 12  # kernel rows above and below the image are left out
    assert report.forward_macs == 8 * patches + 49 * 8 + 72 * 5
    dense_macs = 72 * 5
    backward = report.backward_macs - 2 * dense_macs - 2 * 49 * 8
    assert backward == sum_of_patches(image, x)


def sum_of_patches(image, x):
    """Weights updated in the first layer: those of the winners' patches."""
    network = reference.Network(image.copy())
    first, pool = network.layers[:2]
    hidden = first.activate(first.forward(x))
    delta = pool.below(hidden, np.ones(72))
    padded = first.padded(x)
    return sum(
        np.count_nonzero(delta.reshape(6, 6, 8)[at]) * reference.mac_inputs(padded[window])
        for at, window in first.windows()
    )


# ---- pools ----


def test_a_winner_of_many_windows_gets_all_their_gradients(c_engine):
    """A peak in the middle wins the four windows that share it."""
    declared = [
        conv(1, 1, weights=1.0, bias=0.0, activation="linear"),
        max_pool(3, stride=1),
        dense(2, weights=[[1, 2, 3, 4], [0, 0, 0, 0]], bias=0.0),
    ]
    image = images.network((4, 4, 1), declared, rule=FULL, learning_rate=1.0)
    x = np.zeros((4, 4))
    x[1, 1] = 0.5
    p = reference.Network(image).probabilities(x)[0]
    Driver(c_engine, image).learn(x.reshape(-1), 1)
    np.testing.assert_allclose(image.weights(0), 1 - 0.5 * p * 10, rtol=1e-5)
    np.testing.assert_allclose(image.bias(0), -10 * p, rtol=1e-5)


def test_the_first_of_equals_wins(c_engine):
    """All values of the window are equal: only the first one's channel of weights is moved."""
    declared = [
        conv(1, 1, weights=[1.0, 1.0], bias=0.0, activation="linear"),
        max_pool((1, 2)),
        dense(2, weights=[[1], [0]], bias=0.0),
    ]
    image = images.network((1, 2, 2), declared, rule=FULL, learning_rate=1.0)
    Driver(c_engine, image).learn([1, 0, 0, 1], 1)  # pixels (1, 0) and (0, 1), both of value 1
    assert image.weights(0)[0, 0, 0, 0] < 1
    assert image.weights(0)[0, 0, 0, 1] == 1


@pytest.mark.parametrize("pool", [max_pool, average_pool])
def test_padding_belongs_to_no_window(c_engine, pool):
    """All values are -1: a padding of zeros would show."""
    declared = [pool(3, stride=2, padding=1), dense(4, weights=np.eye(4), bias=0.0)]
    image = images.network((3, 3, 1), declared)
    image.weights(1)[:] = [[1, 0, 0, 0], [0, 2, 0, 0], [0, 0, 3, 0], [0, 0, 0, 4]]
    probabilities = Driver(c_engine, image).infer(-np.ones(9))[1]
    expected = np.exp([-1.0, -2, -3, -4])
    np.testing.assert_allclose(probabilities, expected / expected.sum(), rtol=1e-5)


# ---- masks ----


@pytest.mark.parametrize("activation, bias", [("relu", -50.0), ("relu6", -50.0), ("relu6", 50.0)])
@pytest.mark.parametrize("kind", [lambda **m: conv(2, 2, **m), lambda **m: depthwise(2, **m)])
def test_no_gradient_through_what_was_cut(c_engine, kind, activation, bias):
    image = images.network((4, 4, 2), [kind(activation=activation, bias=bias), dense(3)])
    before, x = image.copy(), sample(np.random.default_rng(4), 32)
    Driver(c_engine, image).learn(x, 0)
    assert (image.weights(0) == before.weights(0)).all()
    assert (image.bias(0) == before.bias(0)).all()
    assert (image.bias(1) != before.bias(1)).any()


# ---- strips, places, divergence ----


@pytest.mark.parametrize("rows", [1, 2, 3, 5, 9])
def test_strip_by_strip_gives_the_same_bits(c_engine, rows):
    """A frozen stage over an image, some rows at a time, with all that changes its height."""
    declared = [
        conv(4, 3, padding=1, train=0),
        depthwise(3, stride=(2, 1), padding=1, train=0),
        max_pool(3, stride=1, padding=1),
        conv(3, 2, train=0, activation="relu6"),
        average_pool(2, stride=1),
        dense(3),
    ]
    image = images.network((20, 7, 2), declared, seed=3)
    strips = image.copy()
    for field, value in (("stage_layers", 5), ("stage_rows", min(rows, image.shape(4)[0]))):
        strips.header[field] = value
    strips.seal()
    x = sample(np.random.default_rng(1), image.inputs)
    whole = Driver(c_engine, image).infer(x)[1]
    assert Driver(c_engine, strips).infer(x)[1].tobytes() == whole.tobytes()
    for each in image, strips:
        Driver(c_engine, each).learn(x, 1)
    assert image.net[images.TRAINED] == strips.net[images.TRAINED]


def test_depthwise_in_place_gives_the_same_bits(c_engine):
    """Inference may overwrite what the layer takes, learning may not: the weights need it."""
    frozen, trained = (
        images.network((5, 6, 2), [conv(6, 1, train=0), depthwise(3, padding=1, train=t), dense(4)])
        for t in (0, BOTH)
    )
    x = sample(np.random.default_rng(1), 60)
    for i in range(3):
        trained.weights(i)[:], trained.bias(i)[:] = frozen.weights(i), frozen.bias(i)
    for image in frozen, trained:
        image.state["learning_rate"] = 1.0
    # the bias of the last layer moves by the gradient, which both forward passes must agree on
    reports = [Driver(c_engine, image).learn(x, 1) for image in (frozen, trained)]
    assert reports[0].loss == reports[1].loss
    assert frozen.bias(2).tobytes() == trained.bias(2).tobytes()
    assert frozen.weights(2).tobytes() == trained.weights(2).tobytes()
    assert (frozen.weights(1) != trained.weights(1)).any()


@pytest.mark.parametrize("weight, layer", [(1e31, 0), (6e29, 2), (np.nan, 0)])
def test_values_that_diverge_change_nothing(c_engine, weight, layer):
    """A convolution, or an addition of two values that are in bounds alone."""
    declared = [conv(1, 1, weights=weight, bias=0.0), max_pool(1), add(0), dense(2, weights=1e-30)]
    image = images.network((2, 2, 1), declared)
    before = image.contents()
    with pytest.raises(ValueError, match=f"diverged: layer {layer}"):
        Driver(c_engine, image).infer(np.ones(4))
    assert Driver(c_engine, image).learn(np.ones(4), 0) is None
    assert image.contents() == before
