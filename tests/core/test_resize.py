"""Growing and shrinking the capacity in use."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import images
import reference
from driver import Driver, sample


def resizable(seed=0, **more):
    """6 inputs; 4 of 9 and 3 of 7 hidden units, 3 of 6 classes in use, and a memory."""
    capacity, memory = (6, 9, 7, 6), {"slots": 8, "used": 7} | more
    image = images.build(capacity, (4, 3, 3), seed=seed, generator=seed + 1, **memory)
    image.class_states["replayed"] = [5, 3, 4, 9, 9, 9]
    image.class_states["last"] = [1, 2, 3, 4, 5, 6]
    return image


def assert_close(image, expected):
    for i in range(len(image.layers)):
        assert image.active(i) == expected.active(i)
        np.testing.assert_allclose(image.weights(i), expected.weights(i), rtol=2e-6, atol=1e-7)
        np.testing.assert_array_equal(image.bias(i), expected.bias(i))
    assert image.state["generator"] == expected.state["generator"]
    np.testing.assert_array_equal(
        image.class_states[: image.classes], expected.class_states[: image.classes]
    )


@pytest.mark.parametrize("layer", [0, 1, 2])
@given(seed=st.integers(0, 10000), units=st.integers(0, 3))
def test_grow(engine, layer, seed, units):
    image = resizable(seed)
    expected = image.copy()
    engine.grow(image.net, layer, units)
    reference.grow(expected, layer, units)
    assert_close(image, expected)


def test_grown_weights_spread_over_their_bounds(engine):
    image = images.build((24, 200, 6), (10, 6))
    engine.grow(image.net, 0, 190)
    incoming = image.weights(0)[10:] / (6 / 24) ** 0.5
    outgoing = image.weights(1)[:, 10:] / (0.5 * (6 / 200) ** 0.5)
    for weights in incoming, outgoing:
        assert np.abs(weights).max() <= 1 + 1e-6
        assert weights.std() == pytest.approx(3**-0.5, rel=0.05)
        assert abs(weights.mean()) < 0.05
    assert (image.bias(0)[10:] == 0).all()


def test_a_new_class_starts_level(engine):
    """Zero weights, and replayed as often as the class replayed least."""
    image = resizable()
    engine.grow(image.net, 2, 2)
    assert (image.weights(2)[3:] == 0).all() and (image.bias(2)[3:] == 0).all()
    assert image.class_states[3:5].tolist() == [(0, 3), (0, 3)]
    first = images.build((6, 4, 3), (4, 0))
    first.class_states["replayed"] = 7
    engine.grow(first.net, 1, 1)
    assert first.class_states[0].tolist() == (0, 0)
    assert Driver(engine, first).infer([1] * 6) == (0, [1.0])


@pytest.mark.parametrize("layer", [0, 1, 2])
@given(seed=st.integers(0, 10000), data=st.data())
def test_shrink(engine, layer, seed, data):
    image = resizable(seed)
    unit = data.draw(st.integers(0, image.active(layer) - 1))
    expected = image.copy()
    engine.shrink(image.net, layer, unit)
    reference.shrink(expected, layer, unit)
    assert_close(image, expected)
    assert (image.labels[: image.classes] == expected.labels[: image.classes]).all()


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("cls", [0, 1, 2])
def test_shrinking_a_class_frees_its_slots(engine, cls, packed):
    def contents(image):
        return sorted(
            (
                image.labels[image.slot_classes[slot]],
                int(image.slot_weights[slot]),
                image.slot_samples[slot].tobytes(),
            )
            for slot in range(int(image.memory["count"]))
        )

    image = resizable(packed=packed)
    kept = [entry for entry in contents(image) if entry[0] != image.labels[cls]]
    assert len(kept) < 7
    engine.shrink(image.net, 2, cls)
    assert contents(image) == kept
    engine.check(image.seal().net)


def test_units_without_outgoing_weights_do_not_matter(engine):
    """Taking out such a unit leaves the function as it was; so does adding one."""
    image, x = resizable(), sample(np.random.default_rng(0), 6)
    image.weights(1)[:, 2] = 0
    before = Driver(engine, image).infer(x)
    engine.shrink(image.net, 0, 2)
    after = Driver(engine, image).infer(x)
    np.testing.assert_allclose(after[1], before[1], rtol=1e-6)
    engine.grow(image.net, 0, 1)
    image.weights(1)[:, 3] = 0
    np.testing.assert_allclose(Driver(engine, image).infer(x)[1], before[1], rtol=1e-6)


@pytest.mark.parametrize("layer", [0, 1])
@given(seed=st.integers(0, 10000))
def test_least_useful(engine, layer, seed):
    image = resizable(seed)
    use = reference.usefulness(image, layer)
    assert use[engine.least_useful(image.net, layer)] <= use.min() * (1 + 1e-5)
    spread = int(use.max() / use.min())
    assert engine.least_useful(image.net, layer, max(spread - 1, 1)) >= 0
    assert engine.least_useful(image.net, layer, spread + 2) == -1


def test_least_useful_counts_the_bias(engine):
    image = images.build((2, 2, 2))
    image.weights(0)[:], image.weights(1)[:], image.bias(0)[:] = 1, 1, [0.5, -0.25]
    assert engine.least_useful(image.net, 0) == 1


def test_resizing_keeps_the_image_valid(engine):
    image = resizable()
    for layer in 0, 1, 2:
        engine.grow(image.net, layer, 2)
        engine.shrink(image.net, layer, 1)
        Driver(engine, image).learn([1] * 6, 0)
    engine.seal(image.net)
    engine.check(image.net)


@pytest.mark.parametrize(
    "call, text",
    [
        (lambda e, net: e.grow(net, 0, 6), "room|capacity|unit"),
        (lambda e, net: e.grow(net, 2, 4), "room|capacity|class|unit"),
        (lambda e, net: e.grow(net, 0, 2**32 - 1), "room|capacity|unit|range"),
        (lambda e, net: e.grow(net, 3, 1), "layer"),
        (lambda e, net: e.shrink(net, 0, 4), "unit"),
        (lambda e, net: e.shrink(net, 3, 0), "layer"),
        (lambda e, net: e.least_useful(net, 2), "layer"),
        (lambda e, net: e.least_useful(net, 7), "layer"),
    ],
)
def test_out_of_range(engine, call, text):
    image = resizable()
    before = image.contents()
    with pytest.raises(ValueError, match=text):
        call(engine, image.net)
    assert image.contents() == before


@pytest.mark.parametrize("layer", [0, 1, 2])
def test_the_last_unit_stays(engine, layer):
    image = images.build((3, 4, 4, 4), (1, 1, 1))
    with pytest.raises(ValueError, match="unit|class"):
        engine.shrink(image.net, layer, 0)
    assert image.active(layer) == 1


@pytest.mark.parametrize("flags", [(0, 3, 3), (1, 3, 3), (2, 3, 3), (3, 2, 3)])
@pytest.mark.parametrize("call", ["grow", "shrink"])
def test_frozen_tensors_are_not_resized(engine, flags, call):
    """Neither a layer's own rows nor the next layer's columns when they may lie in flash."""
    image = images.build((3, 4, 4, 4), (2, 2, 2), flags=flags)
    before = image.contents()
    with pytest.raises(ValueError, match="layer 0"):
        getattr(engine, call)(image.net, 0, 1)
    assert image.contents() == before
    Driver(engine, image).learn([1, 2, 3], 1)


@pytest.mark.parametrize("rule", images.RULES)
def test_a_network_that_starts_empty(engine, rule):
    """No hidden unit and no class yet: it grows into one that learns."""
    image = images.build((3, 4, 4), (0, 0), rule=images.RULES.index(rule))
    engine.check(image.net)
    engine.grow(image.net, 1, 2)
    image.bias(1)[:] = [0, 1]
    cls, probabilities = Driver(engine, image).infer([1, 2, 3])
    assert cls == 1
    np.testing.assert_allclose(probabilities, reference.Network(image).probabilities([1, 2, 3]))
    report = Driver(engine, image).learn([1, 2, 3], 0)
    assert report.k[0] == 0
    assert (report.forward_macs, report.backward_macs) == (0, 0)
    engine.grow(image.net, 0, 2)
    expected = reference.Network(image).learn([1, 2, 3], 0)
    assert Driver(engine, image).learn([1, 2, 3], 0).loss == pytest.approx(expected.loss, rel=1e-5)
