"""The front end: extract() and the rest together do what the same network does without one."""

import json
import zlib
from array import array
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import images
import trajectory
from images import add, average_pool, conv, dense, depthwise, max_pool, network

VECTORS = Path(__file__).parent.parent / "vectors"
EXTRACT = 2  # a kind of work, beside False and True for learning
FROZEN = {"train": 0}


def residual():
    return [
        conv(4, 3, padding=1, **FROZEN),
        depthwise(3, padding=1, **FROZEN),
        add(0),
        average_pool(3),
        dense(7),
        dense(4, 3),
    ]


# Shape of a sample, layers, and where the front end may end.
NETWORKS = {
    "dense": ((13,), lambda: [dense(9, **FROZEN), dense(6, **FROZEN), dense(5), dense(4, 3)], 2),
    "images": (
        (9, 8, 2),
        lambda: [
            conv(3, 3, **FROZEN),
            max_pool(2),
            depthwise(3, padding=1, **FROZEN),
            conv(5, 2),
            dense(4, 3),
        ],
        3,
    ),
    "residual": ((6, 6, 2), residual, 4),
    "nothing trained": ((8,), lambda: [dense(6, **FROZEN), dense(4, 3, **FROZEN)], 1),
}
CASES = [
    (name, layers)
    for name, (_, _, most) in NETWORKS.items()
    for layers in range(1, most + 1)
    if (name, layers) not in (("residual", 1), ("residual", 2))  # within the addition
]
cases = pytest.mark.parametrize("name, front", CASES)
formats = pytest.mark.parametrize("q8", [False, True], ids=["f32", "q8"])


def make(name, front, q8, seed=0, **more):
    """The network with a front end, and the same one without."""
    shape, layers, _ = NETWORKS[name]
    header = {"front_layers": front} | more.pop("header", {})
    image = network(shape, layers(), q8=q8, seed=seed, header=header, **more)
    whole = image.copy()
    whole.header["front_layers"], whole.net[3][:] = 0, b""
    whole.table["bytes"][2] = 0  # a memory of features does not suit it
    return image, whole


def sample(image, rng):
    n = image.inputs
    values = rng.integers(-127, 128, n) * (rng.random(n) < 0.7)
    return array("b", values.tolist()) if image.q8 else array("f", (values / 64).tolist())


def zeros(image, n):
    return array("b" if image.q8 else "f", [0] * n)


def scratch_of(engine, image, work=True):
    return bytearray(engine.scratch_bytes(image.net, work))


def extract(engine, image, x, scratch):
    features = zeros(image, image.features)
    return features, engine.extract(image.net, x, features, scratch)


def learn(engine, image, x, target, scratch):
    counts, figures = array("I", [0] * (4 + len(image.layers))), array("f", [0] * 3)
    assert engine.learn(image.net, x, target, counts, figures, scratch)
    return list(counts), figures.tobytes()


@formats
@cases
@given(seed=st.integers(0, 2**32 - 1), rule=st.integers(0, 4))
def test_in_two_parts_it_is_the_same_network(c_engine, name, front, q8, seed, rule):
    """Bit by bit, multiply-accumulates included; and learning sees no more than the features."""
    image, whole = make(name, front, q8, seed, rule=rule)
    rng = np.random.default_rng(seed)
    scratch, whole_scratch = scratch_of(c_engine, image), scratch_of(c_engine, whole)
    for _ in range(4):
        x, target = sample(image, rng), int(rng.integers(3))
        features, macs = extract(c_engine, image, x, scratch)
        probabilities, expected = array("f", [0] * 3), array("f", [0] * 3)
        cls = c_engine.infer(image.net, features, probabilities, scratch)
        assert cls == c_engine.infer(whole.net, x, expected, whole_scratch)
        assert probabilities == expected
        counts, figures = learn(c_engine, image, features, target, scratch)
        whole_counts, whole_figures = learn(c_engine, whole, x, target, whole_scratch)
        counts[2] += macs
        assert (counts, figures) == (whole_counts, whole_figures)
        assert image.net[1] == whole.net[1] and image.net[4] == whole.net[4]


def test_the_features_are_what_its_last_layer_gives(c_engine):
    image, _ = make("dense", 2, q8=False)
    x = sample(image, np.random.default_rng(3))
    expected = np.array(x)
    for layer in (0, 1):
        expected = np.maximum(image.weights(layer) @ expected + image.bias(layer), 0)
    features, macs = extract(c_engine, image, x, scratch_of(c_engine, image))
    np.testing.assert_allclose(features, expected, rtol=1e-5, atol=1e-5)
    assert 0 < macs <= 13 * 9 + 9 * 6


@formats
def test_a_front_end_strip_by_strip(c_engine, q8):
    shape, layers, _ = NETWORKS["images"]
    stage = {"stage_layers": 3, "stage_rows": 1}
    strips = network(shape, layers(), q8=q8, header={"front_layers": 3} | stage)
    plain = network(shape, layers(), q8=q8, header={"front_layers": 3})
    x = sample(plain, np.random.default_rng(5))
    found, _ = extract(c_engine, strips, x, scratch_of(c_engine, strips, EXTRACT))
    assert found == extract(c_engine, plain, x, scratch_of(c_engine, plain, EXTRACT))[0]


@formats
def test_without_a_front_end_the_features_are_the_sample(c_engine, q8):
    image = network((9,), [dense(4), dense(3)], q8=q8)
    x = sample(image, np.random.default_rng(1))
    assert extract(c_engine, image, x, scratch_of(c_engine, image)) == (x, 0)


@formats
@cases
def test_the_scratch_is_enough_for_both_parts(c_engine, name, front, q8):
    """And a part's plan for this part, to the last byte."""
    image, _ = make(name, front, q8)
    rng = np.random.default_rng(2)
    needed = {}
    for work in (False, True, EXTRACT):
        table = array("I", bytes(4 * 4 * 6 * len(image.layers)))
        needed[work] = c_engine.plan(image.net, work, table)
        tensors = np.array(table).reshape(len(image.layers), 24)
        planned = tensors.any(axis=1)
        assert not planned[front:].any() if work == EXTRACT else not planned[:front].any()
    for work in needed:
        assert c_engine.scratch_bytes(image.net, work) == max(needed[work], needed[EXTRACT])
    x = sample(image, rng)
    touched = np.zeros(needed[EXTRACT] + 64, bool)
    for paint in (0xA5, 0x5A):
        scratch = bytearray([paint]) * len(touched)
        scratch[:4] = bytes(4)
        extract(c_engine, image, x, scratch)
        touched |= np.frombuffer(scratch, "u1") != paint
    assert not touched[needed[EXTRACT] :].any()
    with pytest.raises(ValueError, match=f"scratch has .*, expected {needed[EXTRACT]}"):
        extract(c_engine, image, x, bytearray(needed[EXTRACT] - 1))
    busy = bytearray(b"\1").ljust(needed[EXTRACT], b"\0")
    with pytest.raises(ValueError, match="busy"):
        extract(c_engine, image, x, busy)


@formats
@cases
def test_the_memory_keeps_features(c_engine, name, front, q8):
    image, _ = make(name, front, q8, slots=4, step=1 / 16, offset=-8.0)
    step = float(image.memory["step"])
    rng = np.random.default_rng(4)
    scratch, q = scratch_of(c_engine, image), bytearray(image.features)
    for slot in range(3):
        features, _ = extract(c_engine, image, sample(image, rng), scratch)
        c_engine.quantise(image.net, features, q)
        c_engine.remember(image.net, slot, q, slot)
        recalled = zeros(image, image.features)
        assert c_engine.recall(image.net, slot, recalled) == slot
        assert c_engine.nearest(image.net, q, -1, array("I", [0])) == slot
        np.testing.assert_allclose(recalled, features, atol=0 if q8 else step)
        learn(c_engine, image, recalled, slot, scratch)


@formats
def test_a_sample_and_its_features_are_not_mistaken(c_engine, q8):
    """Each call says how many values it wants."""
    image, _ = make("dense", 2, q8, slots=2, used=1)
    scratch = scratch_of(c_engine, image)
    few = zeros(image, image.features - 1)
    calls = {
        "features": lambda: c_engine.extract(image.net, zeros(image, 13), few, scratch),
        "x": lambda: c_engine.extract(image.net, zeros(image, 12), zeros(image, 6), scratch),
        "infer": lambda: c_engine.infer(image.net, few, array("f", [0] * 3), scratch),
        "recall": lambda: c_engine.recall(image.net, 0, few),
        "quantise": lambda: c_engine.quantise(image.net, zeros(image, 6), bytearray(5)),
        "nearest": lambda: c_engine.nearest(image.net, bytes(5), -1, array("I", [0])),
    }
    for name, call in calls.items():
        with pytest.raises(ValueError, match="argument .*: 1?[0-9], expected (6|13)"):
            call()
            pytest.fail(name)


# ---- the golden file ----


@pytest.fixture(scope="module")
def golden():
    return images.parse((VECTORS / "golden_front.tinc").read_bytes()), json.loads(
        (VECTORS / "golden_front.json").read_text()
    )


def test_golden_bytes(c_engine, golden):
    from make_golden import build_front

    image, expected = golden
    assert build_front().file() == image.file()
    assert zlib.crc32(image.file()) == expected["crc32"]
    assert [zlib.crc32(section) for section in image.net] == expected["section_crc32"]
    c_engine.check(image.net)


def test_golden_lessons(c_engine, golden):
    """Lessons on features that are kept in 4 bits and replayed, to the last bit; features differ,
    so that there is something to keep."""
    image, expected = golden
    assert trajectory.distil(c_engine, image.net) == expected["distilled_crc32"]
    rng, scratch = np.random.default_rng(0), scratch_of(c_engine, image)
    x = array("b", rng.integers(-127, 128, 63).tolist())
    features, _ = extract(c_engine, image, x, scratch)
    assert len(set(features)) > 10 and min(features) == 0 and max(features) > 20


@formats
def test_values_that_no_sample_can_hold(c_engine, q8):
    image, _ = make("dense", 2, q8)
    scratch = scratch_of(c_engine, image)
    for n, call in (
        (13, lambda x: extract(c_engine, image, x, scratch)),
        (6, lambda x: c_engine.infer(image.net, x, array("f", [0] * 3), scratch)),
    ):
        x = zeros(image, n)
        x[n - 1] = -128 if q8 else float("nan")
        with pytest.raises(ValueError, match=rf"sample\[{n - 1}\]"):
            call(x)
        assert scratch[:4] == bytes(4)  # not busy any more


@pytest.mark.parametrize("strips", [False, True])
def test_features_that_diverge_are_refused(c_engine, strips):
    stage = {"stage_layers": 1, "stage_rows": 1} if strips else {}
    layers = [conv(2, 1, weights=1e30, **FROZEN), dense(2)]
    image = network((2, 2, 1), layers, header={"front_layers": 1} | stage)
    scratch = scratch_of(c_engine, image)
    with pytest.raises(ValueError, match="diverged: layer 0"):
        extract(c_engine, image, array("f", [1e9] * 4), scratch)
