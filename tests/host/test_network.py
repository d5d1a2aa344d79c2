"""Networks built from layers: their shapes, and that the engine computes what numpy does."""

import struct
from array import array

import numpy as np
import pytest

from tinyinc import image
from tinyinc.engine import engine
from tinyinc_host import network
from tinyinc_host.network import (
    add,
    average_pool,
    conv,
    dense,
    depthwise,
    fold,
    max_pool,
    pack,
    unpack,
)
from tinyinc_host.quantise import Scaling

EVERY_KIND = [
    conv(6, 3, padding="same", stride=2),
    max_pool(2, padding=1, stride=1),
    depthwise((2, 3), padding=(1, 1, 0, 1), activation="relu6"),
    conv(6, 1, activation="linear"),
    add(2, activation="relu"),
    average_pool((2, 3)),
    dense(9),
    dense(5),
]
SHAPE = (9, 10, 2)


def floats(values):
    return array("f", np.asarray(values, np.float32).tobytes())


def probabilities(net, samples):
    return np.array([net.probabilities(floats(row)) for row in samples])


def softmax(logits):
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def every_kind(seed=0, **more):
    """Random weights in every layer, the last one too."""
    rng = np.random.default_rng(seed)
    last = dense(rng.normal(0, 0.5, (5, 9)), bias=rng.normal(0, 0.3, 5))
    layers = network.with_weights(SHAPE, [*EVERY_KIND[:-1], last], seed)
    samples = rng.normal(0, 0.5, (40, *SHAPE)).clip(-1, 1).astype(np.float32)
    layers = network.calibrate(SHAPE, layers, samples)
    return network.network(SHAPE, layers, labels="abcde", **more), layers, samples


def test_shapes():
    chain = network.shapes(SHAPE, EVERY_KIND)
    after = [(5, 5, 6), (6, 6, 6), (6, 6, 6), (6, 6, 6), (6, 6, 6), (3, 2, 6), (9,), (5,)]
    assert [shape.after for shape in chain] == after
    assert chain[0].padding == (1, 0, 1, 1) and chain[6].before == (36,)


@pytest.mark.parametrize(
    ("layers", "text"),
    [
        ([conv(4, 11), dense(2)], "layer 0 (conv): the kernel 11 x 11 is larger than"),
        ([dense(4), conv(4), dense(2)], "layer 1 (conv): takes an image"),
        ([conv(4), add(0), dense(2)], "layer 1 (add): source is 0"),
        ([conv(4), conv(5), add(0), dense(2)], "layer 0 gives 7 x 8 x 4, the layer before 5 x 6"),
        ([conv(4)], "layer 0 (conv): the last layer has to be dense"),
        ([dense(4, activation="linear"), dense(2)], "layer 0 (dense): a hidden dense layer"),
        ([conv(4, padding=3), dense(2)], "layer 0 (conv): padding (3, 3, 3, 3)"),
        ([conv(4, stride=0), dense(2)], "layer 0 (conv): kernel 3 x 3, stride 0 x 0"),
        ([conv(4, update_eighths=3), dense(2)], "update_eighths 3, expected 1, 2, 4, 8"),
        ([conv(4, train="some"), dense(2)], "train 'some', expected none, weights, bias, all"),
        ([conv(4, activation="tanh"), dense(2)], "activation 'tanh', expected linear, relu, relu6"),
        ([conv(4, step=0.3), dense(2)], "layer 0 (conv): step 0.3, expected a power of two"),
        ([dense(np.zeros((3, 7)))], "layer 0 (dense): weights are 3 x 7, expected 3 x 180"),
        ([conv(np.full((2, 3, 3, 2), np.nan)), dense(2)], "layer 0 (conv): weights hold NaN"),
        ([conv(4, bias=np.zeros(3)), dense(2)], "layer 0 (conv): bias is 3, expected 4"),
        ([conv(2000, padding=1), dense(2)], "gives 9 x 10 x 2000 values, expected 1 to 65535"),
        ([], "0 layers, expected 1 to 32"),
        ([dense(0)], "layer 0 (dense): gives 0 values"),
    ],
)
def test_what_does_not_fit_names_the_layer(layers, text):
    with pytest.raises(ValueError) as refusal:
        network.sections(SHAPE, layers)
    assert text in str(refusal.value)


def test_other_refusals():
    for more, text in (
        ({"format": "q4"}, "format 'q4', expected f32, q8"),
        ({"labels": "abc"}, "3 labels, the last layer has 2 classes"),
        ({"labels": "aa"}, "label 'a' stands for two classes"),
    ):
        with pytest.raises(ValueError, match=text):
            network.sections((4,), [dense(2)], **more)
    with pytest.raises(ValueError, match="hidden is 'conv8,pool', expected layers such as 32,16"):
        network.parse("conv8,pool")


@pytest.mark.parametrize("front", [1, 3, 6])
def test_a_front_end_gives_what_numpy_does(front):
    net, layers, samples = every_kind()
    layers[4] = conv(6, 1, weights=np.ones((6, 1, 1, 6)), bias=np.zeros(6))  # no addition
    made = network.sections(SHAPE, layers, labels="abcde", front=front, memory=3)
    expected = network.forward(SHAPE, layers, samples)[front - 1].reshape(len(samples), -1)
    assert image.features(made[image.STRUCTURE]) == expected.shape[1]
    features, scratch = floats(expected[0]), bytearray(engine.scratch_bytes(made))
    q = bytearray(len(features))
    for x, row in zip(samples, expected, strict=True):
        macs = engine.extract(made, floats(x.ravel()), features, scratch)
        np.testing.assert_allclose(features, row, rtol=1e-4, atol=1e-4)
        dense_macs = sum(image.layer_macs(made[image.STRUCTURE], i)[0] for i in range(front))
        assert 0 < macs <= dense_macs
        engine.quantise(made, features, q)
        engine.remember(made, 0, q, 0)
        engine.recall(made, 0, features)  # calibrate() has cut off little
        np.testing.assert_allclose(features, row, atol=0.1 * np.abs(expected).max())


def test_the_range_of_a_memory_behind_a_front_end():
    layers = [dense(4, step=2.0**-6), dense(3, activation="relu6"), dense(2)]
    for front, more, low, high in (
        (0, {}, -1, 1),
        (1, {}, 0, 127 / 64),
        (2, {"memory_range": (0, 6)}, 0, 6),
        (1, {"format": "q8"}, -2, 127 / 64),
    ):
        made = network.sections((5,), layers, front=front, memory=2, **more)
        assert struct.unpack_from("<I", made[image.MEMORY], 8)[0] == (5, 4, 3)[front]
        step, offset = struct.unpack_from("<2f", made[image.MEMORY], 20)
        assert offset == pytest.approx(low, abs=step) and offset + 255 * step >= high - step / 2


@pytest.mark.parametrize("raw_range", [(0, 255), (-3, 1)])
@pytest.mark.parametrize("format", ["f32", "q8"])
def test_a_memory_of_4_bits(format, raw_range):
    """In half the bytes; what it keeps is within half a step of a range that is used well."""
    layers, more = [dense(4), dense(2)], {"labels": "ab", "format": format, "raw_range": raw_range}
    made = network.sections((97,), layers, memory=5, memory_bits=4, **more)
    memory = made[image.MEMORY]
    assert image.memory_bits(memory) == 4 and made[image.STRUCTURE][6] == 2
    assert len(memory) == 64 + 16 + 16 + 5 * 49 + 3
    low, high = (
        image.get(made[image.STRUCTURE], image.HEADER[n]) for n in ("input_low", "input_high")
    )
    step = image.get(made[image.STRUCTURE], image.HEADER["input_step"]) or 1
    x = np.linspace(low, high, 97, dtype=np.float32)
    x = np.round(x / step).clip(-127, 127).astype(np.int8) if format == "q8" else x
    recalled, q = x.copy(), bytearray(97)
    engine.quantise(made, x, q)
    engine.remember(made, 0, q, 1)
    assert engine.recall(made, 0, recalled) == 1
    error = np.abs(recalled.astype(float) - x).max() * step
    levels = 14 if format == "f32" or low == 0 else 7.5  # q8: a power of two, twice the range
    assert error <= 0.51 * (high - low) / levels * (1.01 if format == "f32" else 2)
    assert len(np.unique(recalled)) >= (12 if format == "f32" or low == 0 else 8)
    with pytest.raises(ValueError, match="memory_bits is 5, expected 8 or 4"):
        network.sections((7,), layers, memory_bits=5)


def test_front_layers_are_frozen():
    layers = [dense(4, update_eighths=2), dense(3), dense(2)]
    made = network.sections((8,), layers, front=1)
    assert image.first_trained(made[image.STRUCTURE]) == 1
    for front in (-1, 3):
        with pytest.raises(ValueError, match=f"a front end of {front} layers, expected 0 to 2"):
            network.sections((8,), layers, front=front)


def test_layers_in_short():
    layers = network.parse("conv8,max2, conv4x5,depthwise3,average2,32")
    kinds = ["conv", "max_pool", "conv", "depthwise", "average_pool", "dense"]
    assert [layer.kind for layer in layers] == kinds
    assert layers[2].kernel == (5, 5) and layers[2].units == 4 and layers[5].units == 32
    assert network.image_shape((28, 28)) == (28, 28, 1)
    assert network.image_shape((60,)) == (1, 60, 1)


@pytest.mark.parametrize("stage", [(0, 0), (3, 2)])
def test_the_engine_computes_what_numpy_does(stage):
    net, layers, samples = every_kind()
    if stage[0]:
        frozen = [network.replace(layer, train="none") for layer in layers[:3]]
        net = network.network(SHAPE, [*frozen, *layers[3:]], labels="abcde", stage=stage)
    logits = network.forward(SHAPE, layers, Scaling.of(net)(samples))[-1]
    assert np.abs(probabilities(net, samples) - softmax(logits)).max() < 1e-5
    assert np.ptp(softmax(logits), axis=0).min() > 0.02


def test_q8_is_near():
    net, layers, samples = every_kind(format="q8")
    expected = softmax(network.forward(SHAPE, layers, samples)[-1])
    assert np.abs(probabilities(net, samples) - expected).mean() < 0.02


@pytest.mark.parametrize("format", ["f32", "q8"])
def test_read_gives_the_layers_back(format):
    net, layers, _ = every_kind(format=format)
    shape, again = network.read(net)
    assert shape == SHAPE
    for before, after in zip(layers, again, strict=True):
        assert (before.kind, before.kernel, before.stride, before.source, before.train) == (
            (after.kind, after.kernel, after.stride, after.source, after.train)
        )
        if before.has_weights:
            largest = np.abs(before.weights).max()
            bound = largest / 20000 if format == "q8" else 1e-7
            assert np.abs(before.weights - after.weights).max() <= bound
            assert np.abs(before.bias - after.bias).max() < 1e-6
    steps = [layer.step for layer in layers[:-1]]
    assert [layer.step for layer in again[:-1]] == (steps if format == "q8" else [None] * 7)


def test_what_is_trained_lies_apart():
    """Weights and bias each go to the section that their layer's `train` asks for."""
    for train, frozen in (("none", 64), ("weights", 16), ("bias", 48), ("all", 0)):
        made = network.sections((3,), [dense(4, train=train), dense(2)])
        assert len(made[image.FROZEN]) == frozen
    made = network.sections((3,), [dense(4, train="none"), dense(2)], format="q8")
    assert len(made[image.FROZEN]) == 16 + 16 + 16  # weights in pairs, biases, scales
    made = network.sections((3,), [dense(4, int8=True), dense(2)], format="q8")
    assert len(made[image.FROZEN]) == 0


def test_room_for_more_classes():
    weights = np.random.default_rng(0).normal(0, 1, (3, 4))
    net = network.network((4,), [dense(weights, units=5)], labels="ab")
    assert net.labels == ["a", "b"] and net.class_capacity == 5
    net.learn(floats(np.ones(4)), "d")
    assert net.labels == ["a", "b", "d"]


@pytest.mark.parametrize("kind", [network.INT8, network.INT16])
@pytest.mark.parametrize("shape", [(5, 7), (4, 8), (1, 1), (3, 3, 3, 5), (3, 2, 6)])
def test_packing(kind, shape):
    depthwise_one = len(shape) == 3
    values = np.random.default_rng(1).integers(-127, 128, shape)
    data = pack(values, kind, depthwise_one)
    assert np.array_equal(unpack(data, shape, kind, depthwise_one), values)
    if shape == (5, 7) and kind == network.INT8:
        assert len(data) == 3 * 4 * 4
        first = values[0, 0], values[0, 1], values[1, 0], values[1, 1]
        assert [byte - 128 for byte in data[:4]] == list(first)
        assert data[-1] == data[-2] == 128  # the row that the last one lacks


@pytest.mark.parametrize("kind", ["conv", "depthwise", "dense"])
def test_batch_norm_is_folded(kind):
    rng = np.random.default_rng(2)
    size = {"conv": (4, 3, 3, 2), "depthwise": (3, 3, 2), "dense": (4, 60)}[kind]
    layer = {"conv": conv, "depthwise": depthwise, "dense": dense}[kind](rng.normal(0, 1, size))
    units = size[-1] if kind == "depthwise" else size[0]
    layer = network.replace(layer, bias=rng.normal(0, 1, units), activation="linear")
    gamma, beta, mean = rng.normal(1, 0.2, (3, units))
    variance = rng.uniform(0.5, 2, units)
    x = rng.normal(0, 1, (7, 5, 6, 2))
    layers = [layer, dense(np.ones((1, 1)))] if kind != "dense" else [layer]
    shape = (5, 6, 2)
    if kind != "dense":
        outputs = int(np.prod(network.shapes(shape, [layer, dense(1)])[0].after))
        layers[1] = dense(np.ones((1, outputs)), bias=np.zeros(1))
    plain = network.forward(shape, layers, x)[0]
    folded = [fold(layer, gamma, beta, mean, variance), *layers[1:]]
    expected = (plain - mean) / np.sqrt(variance + 1e-5) * gamma + beta
    assert np.abs(network.forward(shape, folded, x)[0] - expected).max() < 1e-4


def test_best_step():
    assert network.best_step(np.array([0.0, 0.99])) == 2.0**-7
    assert network.best_step(np.linspace(-3.9, 3.9, 100)) == 2.0**-5
    many = np.concatenate([np.random.default_rng(0).uniform(-1, 1, 5000), [1.2]])
    assert network.best_step(many) == 2.0**-7  # one that stands out is cut


def test_an_engine_checks_what_was_built():
    made = network.sections(SHAPE, EVERY_KIND, format="q8")
    engine.check(made)
    made[image.TRAINED][0] ^= 1
    with pytest.raises(ValueError, match="CRC"):
        engine.check(made)
