"""The distilled memory against the reference, in exact integers."""

from array import array

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import images
import reference
from driver import Driver, bytes_of, floats

seeds = st.integers(0, 2**32 - 1)
formats = pytest.mark.parametrize("packed", [False, True], ids=["8 bit", "4 bit"])


def memory_image(seed=0, used=None, slots=12, inputs=5, **more):
    """Four classes of five, some without slots, replayed unequally."""
    rng = np.random.default_rng(seed)
    used = int(rng.integers(0, slots + 1)) if used is None else used
    image = images.build(
        (inputs, 6, 5),
        (6, 4),
        slots=slots,
        used=used,
        seed=seed,
        generator=seed % (2**32 - 1) + 1,
        **more,
    )
    image.class_states["replayed"] = rng.integers(0, 3, 5)
    return image


def assert_same(image, expected):
    assert image.contents() == expected.contents()


@given(seed=seeds, excluded=st.integers(-1, 5))
def test_choose(engine, seed, excluded):
    image = memory_image(seed)
    expected = image.copy()
    for _ in range(10):
        slot = engine.choose(image.net, excluded)
        assert slot == reference.choose(expected, excluded)
        assert_same(image, expected)


def test_choose_balances_classes(engine):
    image = memory_image(used=12)
    image.class_states["replayed"] = 0
    image.slot_classes[:] = [0] * 9 + [1, 3, 3]
    chosen = [int(image.slot_classes[engine.choose(image.net)]) for _ in range(30)]
    assert [chosen.count(c) for c in range(4)] == [10, 10, 0, 10]


def test_the_class_left_out_does_not_lag_behind(engine):
    """First only class 2 comes in, then only class 0: neither is all that is replayed later."""
    image = memory_image(used=12)
    image.class_states["replayed"] = 0
    image.slot_classes[:] = [0, 1, 2, 3] * 3
    for _ in range(60):
        engine.choose(image.net, 2)
    chosen = [int(image.slot_classes[engine.choose(image.net, 0)]) for _ in range(30)]
    assert sorted(chosen.count(c) for c in (1, 2, 3)) == [10, 10, 10]


def test_choose_saturates(engine):
    image = memory_image(used=12)
    image.class_states["replayed"] = 2**32 - 1
    assert 0 <= engine.choose(image.net) < 12
    assert (image.class_states["replayed"] == 2**32 - 1).all()


@formats
@given(seed=seeds)
def test_recall(engine, packed, seed):
    image = memory_image(seed, 12, packed=packed, step=0.013, offset=-1.7)
    driver = Driver(engine, image)
    for slot in range(12):
        (cls, x), (expected, expected_x) = driver.recall(slot), reference.recall(image, slot)
        assert cls == expected
        np.testing.assert_allclose(x, expected_x, rtol=1e-6, atol=1e-6)


@formats
@given(seed=seeds, step=st.sampled_from([1 / 64, 0.013, 0.1]))
def test_quantise(engine, packed, seed, step):
    image = memory_image(seed, packed=packed, step=step)
    x = np.random.default_rng(seed).normal(0, 2, 5).astype("f4")
    q, margin = reference.quantise(image, x)
    found = Driver(engine, image).quantise(x)
    assert (np.abs(found - q) <= (margin < 1e-4)).all()


@pytest.mark.parametrize(
    "x, q",
    [
        (-2, 0),
        (np.nan, 0),
        (-np.inf, 0),
        (np.inf, 255),
        (-1e30, 0),
        (1e30, 255),
        (2, 255),
        (-2 + 1 / 128, 1),
        (-2 + 0.999 / 128, 0),
        (-2 + 254.5 / 64, 255),
        (-2 + 254.4 / 64, 254),
        (0, 128),
    ],
)
def test_quantise_rounds_and_clips(engine, x, q):
    assert list(Driver(engine, memory_image()).quantise([x] * 5)) == [q] * 5


@formats
@given(seed=seeds)
def test_recalled_samples_quantise_to_themselves(engine, packed, seed):
    image = memory_image(seed, 12, packed=packed, step=0.013, offset=-1.7)
    driver = Driver(engine, image)
    for slot in range(12):
        assert list(driver.quantise(driver.recall(slot)[1])) == list(image.slot_samples[slot])


@formats
@given(seed=seeds, cls=st.integers(0, 3), inputs=st.integers(1, 7))
def test_remember(engine, packed, seed, cls, inputs):
    image = memory_image(seed, packed=packed, inputs=inputs, stride=8)
    expected, rng = image.copy(), np.random.default_rng(seed)
    count = int(image.memory["count"])
    slot = int(rng.integers(0, min(count + 1, 12)))
    q = rng.integers(0, 256, inputs)
    engine.remember(image.net, slot, bytes_of(q), cls)
    reference.remember(expected, slot, q, cls)
    assert_same(image, expected)


@formats
@pytest.mark.parametrize("inputs", [1, 5, 300])
@given(seed=seeds, cls=st.integers(-1, 4))
def test_nearest(engine, inputs, packed, seed, cls):
    image = memory_image(seed, packed=packed, inputs=inputs)
    q = np.random.default_rng(seed).integers(0, 256, inputs)
    before = image.contents()
    assert Driver(engine, image).nearest(q, cls) == reference.nearest(image, q, cls)
    assert image.contents() == before


def test_nearest_of_equals_is_the_lowest(engine):
    image = memory_image(used=12)
    image.slot_samples[3:8], image.slot_classes[:] = 7, 2
    assert Driver(engine, image).nearest([7] * 5, 2) == (3, 0)
    image.slot_samples[3:8] = 9
    image.slot_samples[:3] = image.slot_samples[8:] = 200
    assert Driver(engine, image).nearest([7] * 5) == (3, 20)


@formats
def test_the_longest_distance(engine, packed):
    image = images.build((65535, 1, 2), slots=1, used=1, packed=packed)
    image.set_slot(0, np.full(65535, 255))
    assert Driver(engine, image).nearest([0] * 65535) == (0, 65535 * 255**2)


@formats
@pytest.mark.parametrize("inputs", [5, 150])
@given(seed=seeds)
def test_move(engine, inputs, packed, seed):
    image = memory_image(seed, 12, packed=packed, inputs=inputs)
    expected, rng = image.copy(), np.random.default_rng(seed)
    for _ in range(20):
        slot, q = int(rng.integers(12)), rng.integers(0, 256, inputs)
        engine.move(image.net, slot, bytes_of(q))
        reference.move(expected, slot, q)
        assert_same(image, expected)


@pytest.mark.parametrize("q8", [False, True])
def test_every_value_in_4_bits(c_engine, q8):
    """To the nearest of 16, that of its neighbour in the byte untouched; and back."""
    image = memory_image(used=2, packed=True, q8=q8, step=1 / 64, offset=0)
    for q in range(256):
        c_engine.remember(image.net, 0, bytes_of([q, 255 - q, q, 0, q]), 0)
        v = round(q / 17)
        assert list(image.slot_bytes[0]) == [v | 15 - v << 4, v, v]
        x = array("b", bytes(5)) if q8 else floats([0] * 5)
        c_engine.recall(image.net, 0, x)
        assert list(x)[::4] == ([max(17 * v - 128, -127)] if q8 else [17 * v / 64]) * 2


@formats
@pytest.mark.parametrize("positive", [False, True])
def test_every_value_of_q8(c_engine, packed, positive):
    """In 8 bits none is lost but those below 0 where there should be none; in 4 bits each is within
    half a step of them, 17 or, where all are positive, 8.5."""
    image = memory_image(used=1, packed=packed, q8=True, positive=positive, inputs=255)
    x, q, recalled = array("b", range(-127, 128)), bytearray(255), array("b", bytes(255))
    c_engine.quantise(image.net, x, q)
    assert list(q) == [max(2 * v, 0) if positive else v + 128 for v in x]
    c_engine.remember(image.net, 0, q, 0)
    c_engine.recall(image.net, 0, recalled)
    expected = np.maximum(x, 0) if positive else np.array(x)
    error = np.abs(np.array(recalled) - expected).max()
    assert error == 0 if not packed else 4 <= error <= (4.5 if positive else 8.5)
    assert min(recalled) >= -127


@pytest.mark.parametrize("weight, stored", [(0, 2), (1, 2), (16, 17), (64, 64), (65535, 64)])
def test_move_saturates_its_weight(engine, weight, stored):
    image = memory_image(used=12)
    image.slot_weights[4] = weight
    engine.move(image.net, 4, bytes(5))
    assert image.slot_weights[4] == stored


@pytest.mark.parametrize("weight", [15, 47, 64])
@pytest.mark.parametrize("packed, by", [(False, 1), (False, -1), (True, 3), (True, -3)])
def test_small_moves_count(engine, packed, by, weight):
    """Steps away: on average a share of them per call, in 4 bits by 17 or not at all."""
    image = memory_image(used=12, packed=packed)
    share, moved = min(weight + 1, 64), 0
    for _ in range(4000):
        image.slot_weights[0] = weight
        image.set_slot(0, np.full(5, 102))
        engine.move(image.net, 0, bytes([102 + by] * 5))
        moved += int((image.slot_samples[0].astype(int) - 102).sum())
    assert moved / 20000 == pytest.approx(by / share, abs=0.02 if packed else 0.005)


def test_moves_end_at_what_they_follow(engine):
    """In 4 bits: on average, between the two values around it."""
    image = memory_image(used=12, packed=True)
    followed, total = [0, 3, 100, 127, 255], np.zeros(5)
    for i in range(4100):
        engine.move(image.net, 0, bytes_of(followed))
        total += image.slot_samples[0] * (i >= 100)
    np.testing.assert_allclose(total / 4000, followed, atol=2)


@formats
@given(
    seed=seeds,
    weight=st.sampled_from([0, 0.5, 4, 100]),
    distance=st.sampled_from([0, 300, 5000, 2**32 - 1]),
)
def test_vote(engine, packed, seed, weight, distance):
    image = memory_image(seed, packed=packed, vote=weight, distance=distance)
    rng = np.random.default_rng(seed)
    q, probabilities = rng.integers(0, 256, 5), rng.dirichlet(np.ones(4)).astype("f4")
    before, expected = image.contents(), reference.vote(image, q, probabilities)
    cls, voted = Driver(engine, image).vote(q, probabilities)
    rounding = 2**-24 * weight * 5 * 255**2 / max(distance, 1)  # of the largest exponent
    np.testing.assert_allclose(voted, expected, rtol=1e-3, atol=1e-5 + rounding)
    assert expected[cls] >= expected.max() - 1e-5 - rounding
    assert image.contents() == before


def test_a_class_without_exemplars_is_not_voted_down(engine):
    """It counts as lying as far as samples of a class usually do."""
    image = memory_image(used=3, vote=64, distance=100)
    image.slot_classes[:3], image.slot_samples[:3] = [0, 1, 1], 100
    image.slot_samples[1:3] = 110
    cls, voted = Driver(engine, image).vote([100] * 5, [0.3, 0.3, 0.3, 0.1])
    assert cls == 0 and voted[0] > voted[2] > voted[1]
    assert voted[2] / voted[3] == pytest.approx(3, rel=1e-4)


def test_few_exemplars_vote_softly(engine):
    """With full weight from 16 per class on, in proportion below."""
    ratios = []
    for used in (8, 32, 64):
        image = images.build((5, 4, 2), slots=64, vote=2, distance=100)
        image.memory["count"] = used
        image.slot_classes[:] = [0, 1] * 32
        image.slot_samples[::2], image.slot_samples[1::2] = 100, 104
        voted = Driver(engine, image).vote([100] * 5, [0.5, 0.5])[1]
        ratios.append(np.log(voted[0] / voted[1]))
    expected = 2 * 5 * 4**2 / 100
    np.testing.assert_allclose(ratios, [expected / 4, expected, expected], rtol=1e-4)


CALLS = {
    "recall": lambda engine, net, slot: engine.recall(net, slot, floats([0] * 5)),
    "remember": lambda engine, net, slot: engine.remember(net, slot, bytes(5), 0),
    "move": lambda engine, net, slot: engine.move(net, slot, bytes(5)),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("slot, used", [(8, 7), (-1, 7), (12, 12), (2**31, 7)])
def test_a_slot_that_is_not_there(engine, call, slot, used):
    image = memory_image(used=used)
    before = image.contents()
    with pytest.raises(ValueError, match="slot|memory"):
        CALLS[call](engine, image.net, slot)
    assert image.contents() == before


@pytest.mark.parametrize("call", CALLS)
def test_no_memory(engine, call):
    image = images.build((5, 6, 5))
    with pytest.raises(ValueError, match="slot|memory"):
        CALLS[call](engine, image.net, 0)
    assert engine.choose(image.net, -1) == -1
    assert Driver(engine, image).nearest([0] * 5)[0] == -1


@pytest.mark.parametrize("cls", [4, 5, 70000, -1])
def test_remember_refuses_an_unknown_class(engine, cls):
    image = memory_image(used=3)
    before = image.contents()
    with pytest.raises(ValueError, match="class"):
        engine.remember(image.net, 3, bytes(5), cls)
    assert image.contents() == before


@pytest.mark.parametrize(
    "call",
    [
        lambda e, net: e.remember(net, 0, bytes(4), 0),
        lambda e, net: e.move(net, 0, bytes(4)),
        lambda e, net: e.quantise(net, floats([0] * 4), bytearray(5)),
        lambda e, net: e.quantise(net, floats([0] * 5), bytearray(4)),
        lambda e, net: e.recall(net, 0, floats([0] * 4)),
    ],
    ids=["remember", "move", "quantise x", "quantise q", "recall"],
)
def test_short_samples_are_refused(engine, call):
    image = memory_image(used=3)
    before = image.contents()
    with pytest.raises(ValueError, match=r"\d"):
        call(engine, image.net)
    assert image.contents() == before
