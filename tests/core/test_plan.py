"""The plan of the scratch: tensors that live together do not overlap, the peak is what is touched,
and a stage that runs strip by strip gives what the whole layers give."""

from array import array

import numpy as np
import pytest

import _tinyinc
from images import add, average_pool, conv, dense, depthwise, max_pool, network

VALUES, MASK, WINNERS, DELTA, FORWARD, BACKWARD = range(6)
ROLES = 6
TABLE_BYTES = 16  # of a tensor's entry at the start of the scratch
FROZEN = 0


NETWORKS = {
    "dense": ((40,), lambda: [dense(12), dense(6), dense(4)]),
    "images": (
        (10, 9, 2),
        lambda: [
            conv(4, 3, padding=1),
            max_pool(2),
            conv(5, 3, stride=2),
            dense(7),
            dense(3),
        ],
    ),
    "residual": (
        (6, 6, 4),
        lambda: [
            conv(4, 3, padding=1),
            depthwise(3, padding=1),
            conv(4, 1, activation="linear"),
            add(0),
            average_pool(6),
            dense(3),
        ],
    ),
    "frozen start": (
        (12, 8, 3),
        lambda: [
            conv(6, 3, padding=1, train=FROZEN),
            depthwise(3, padding=1, train=FROZEN),
            depthwise(3, padding=1, train=FROZEN),
            max_pool(2),
            dense(5),
            dense(3),
        ],
    ),
    "bias alone": (
        (7, 7, 2),
        lambda: [conv(3, 3, train=2), conv(4, 3, train=2), dense(4, train=2)],
    ),
}
cases = pytest.mark.parametrize("q8", [False, True], ids=["f32", "q8"])
nets = pytest.mark.parametrize("name", NETWORKS)


def make(name, q8, **fields):
    shape, layers = NETWORKS[name]
    return network(shape, layers(), q8=q8, seed=3, **fields)


def plan(image, learning):
    """Bytes of scratch, and the tensors [layer][role] as (offset, bytes, first, last)."""
    layers = len(image.layers)
    table = array("I", bytes(16 * ROLES * layers))
    needed = _tinyinc.plan(image.net, learning, table)
    return needed, np.array(table).reshape(layers, ROLES, 4)


def sample(image, rng, zeros=0.0):
    """A normalised sample with a share of zeros."""
    n = image.inputs
    values = rng.integers(1, 127, n) * rng.choice([-1, 1], n) * (rng.random(n) >= zeros)
    return array("b", values.tolist()) if image.q8 else array("f", (values / 64).tolist())


def run(image, x, scratch, learning):
    if learning:
        counts, figures = array("I", [0] * (4 + len(image.layers))), array("f", [0, 0, 0])
        assert _tinyinc.learn(image.net, x, 1, counts, figures, scratch)
    else:
        _tinyinc.infer(image.net, x, array("f", [0] * image.classes), scratch)


@cases
@nets
@pytest.mark.parametrize("learning", [False, True])
def test_tensors_that_live_together_do_not_overlap(name, q8, learning):
    image = make(name, q8)
    needed, tensors = plan(image, learning)
    flat = [tuple(map(int, t)) for t in tensors.reshape(-1, 4) if t[1]]
    values = {tuple(map(int, t[VALUES])) for t in tensors}
    assert needed == max(offset + size for offset, size, _, _ in flat)
    assert min(offset for offset, _, _, _ in flat) == 8 + TABLE_BYTES * ROLES * len(image.layers)
    for i, (offset, size, first, last) in enumerate(flat):
        for other in flat[i + 1 :]:
            apart = offset + size <= other[0] or other[0] + other[1] <= offset
            in_place = {flat[i], other} <= values and other[0] == offset  # depthwise
            assert apart or in_place or last < other[2] or other[3] < first


@cases
@nets
@pytest.mark.parametrize("learning", [False, True])
def test_the_peak_is_what_is_touched(name, q8, learning):
    """Over samples with few and with many zeros, since a list of inputs is made for the latter."""
    rng = np.random.default_rng(1)
    image = make(name, q8)
    needed, _ = plan(image, learning)
    assert needed == _tinyinc.scratch_bytes(image.net, learning)
    touched = np.zeros(needed + 64, bool)
    for zeros in np.linspace(0, 0.9, 20):
        for paint in (0xA5, 0x5A):  # a byte may happen to get the colour of the paint
            scratch = bytearray([paint]) * len(touched)
            scratch[:4] = bytes(4)
            run(image, sample(image, rng, zeros), scratch, learning)
            touched |= np.frombuffer(scratch, "u1") != paint
    assert not touched[needed:].any()
    assert touched[needed - 8 : needed].any()


@cases
@nets
@pytest.mark.parametrize("learning", [False, True])
def test_a_byte_less_is_refused(name, q8, learning):
    image = make(name, q8)
    needed, _ = plan(image, learning)
    rng = np.random.default_rng(2)
    for size in (0, 8, 100, needed - 1):
        with pytest.raises(ValueError, match=f"scratch has {size} bytes, expected {needed}"):
            run(image, sample(image, rng), bytearray(size), learning)


def test_nothing_is_kept_before_the_first_trained_layer():
    image = make("frozen start", True)
    _, tensors = plan(image, True)
    for layer in range(4):
        assert not tensors[layer, [MASK, WINNERS, DELTA, BACKWARD], 1].any()
    # the convolution's values become the depthwise layers', which the pool takes at moment 3; the
    # pool's train the weights of layer 4, at moment 2 * 6 - 1 - 4
    assert tensors[0, VALUES, 3] == 3
    assert tensors[3, VALUES, 3] == 7


def test_depthwise_layers_work_in_place():
    image = make("frozen start", True)
    _, tensors = plan(image, False)
    assert len({int(tensors[layer, VALUES, 0]) for layer in (0, 1, 2)}) == 1


def test_layers_whose_bias_alone_is_trained_keep_bits_not_values():
    image = make("bias alone", True)
    _, tensors = plan(image, True)
    for layer in (0, 1):
        assert tensors[layer, VALUES, 3] == layer + 1
        assert tensors[layer, MASK, 3] == 2 * 3 - 2 - layer
        outputs = int(np.prod(image.layers[layer]["output_shape"]))
        assert tensors[layer, MASK, 1] == ((outputs + 7) // 8 + 7) // 8 * 8


@cases
@pytest.mark.parametrize("rows", [1, 2, 3, 4])
def test_a_stage_strip_by_strip_gives_the_same_in_less_memory(q8, rows):
    def layers():
        return [
            conv(4, 3, padding=1, train=FROZEN),
            conv(6, 3, stride=2, padding=1, train=FROZEN),
            max_pool(2),
            dense(4),
        ]

    whole = network((16, 10, 3), layers(), q8=q8, seed=5)
    strips = network((16, 10, 3), layers(), q8=q8, seed=5)
    strips.header["stage_layers"], strips.header["stage_rows"] = 3, rows
    rng = np.random.default_rng(4)
    for _ in range(5):
        x = sample(whole, rng, 0.3)
        results = []
        for image in (whole, strips):
            probabilities = array("f", [0] * image.classes)
            scratch = bytearray(_tinyinc.scratch_bytes(image.net, True))
            _tinyinc.infer(image.net, x, probabilities, scratch)
            run(image, x, scratch, True)
            results.append((probabilities.tobytes(), bytes(image.net[1])))
        assert results[0] == results[1]
    if rows <= 3:
        assert plan(strips, False)[0] < plan(whole, False)[0]
