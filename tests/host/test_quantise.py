"""From float32 to q8: the same network, in integers."""

import numpy as np
import pytest

import tinyinc
from tinyinc import image
from tinyinc_host import data, network
from tinyinc_host.export import fill_memory, memory_arrays, with_memory
from tinyinc_host.pretrain import Schedule, accuracy, pretrain
from tinyinc_host.quantise import power_of_two, quantise


@pytest.fixture(scope="module")
def digits():
    return data.load("digits")


def trained(digits, layers, epochs, classes=range(9)):
    shape = network.image_shape(digits.shape)
    net = network.network(shape, [*layers, network.dense(10)], raw_range=(0, 16))
    samples, labels = digits.training(list(classes))
    pretrain(net, samples, labels, digits.labels, Schedule(epochs, 0.1), (0, 16))
    return net, samples, labels


@pytest.fixture(scope="module")
def both(digits):
    """A network with a memory, and what became of it."""
    net, samples, labels = trained(digits, [network.dense(24)], 6)
    net = with_memory(net, 30)
    fill_memory(net, samples[:20].astype(np.float32), labels[:20], digits.labels, 3)
    net.configure(learning_rate=0.02, replay=2, rule="static")
    return net, quantise(net, samples[:300])


def test_it_knows_the_same(digits, both):
    net, made = both
    assert (net.format, made.format) == ("f32", "q8")
    known = digits.test_labels < 9
    right = [
        accuracy(one, digits.test_samples[known], digits.test_labels[known], digits.labels)
        for one in both
    ]
    assert right[0] > 0.92 and right[1] > right[0] - 0.01
    assert made.labels == net.labels and made.class_capacity == 10


def test_everything_else_stays(both):
    net, made = both
    assert made.setting("learning_rate") == 2**-6
    assert made.setting("replay") == 2 and made.setting("rule") == "static"
    assert made.memory.slots_of == net.memory.slots_of and made.memory.capacity == 30
    before, after = (memory_arrays(one.sections[3]) for one in both)
    assert np.array_equal(before.weights, after.weights)
    for (x, label), (y, other) in zip(net.memory.samples(), made.memory.samples(), strict=True):
        assert label == other and np.abs(np.array(x) - np.array(y)).max() <= 1 / 127 + 1 / 254
    assert made.image_bytes < 0.7 * net.image_bytes


def test_a_memory_of_4_bits_stays_one(digits, both):
    net, whole = both
    packed = with_memory(net, 30, memory_bits=4)
    known = np.flatnonzero(digits.train_labels < 9)[:20]
    samples = digits.train_samples[known].astype(np.float32)
    fill_memory(packed, samples, digits.train_labels[known], digits.labels, 3)
    made = quantise(packed, samples)
    before, after = (memory_arrays(one.sections[3]) for one in (packed, made))
    assert len(made.sections[3]) < 0.6 * len(whole.sections[3])
    assert (after.step, after.offset) == (step_of(made) / 2, 0)
    assert np.array_equal(before.classes, after.classes)
    assert np.array_equal(before.weights, after.weights)
    x, y = (one.step * one.samples + one.offset for one in (before, after))
    np.testing.assert_allclose(x[:20], y[:20], atol=1 / 30 + 1 / 127)


def test_distances_stay(both):
    """What is usual, and what would be new, is as far away as before; in other steps."""
    net = tinyinc.Net(tuple(map(bytearray, both[0].sections)))
    fields = [image.STATE_FIELDS[name] for name in ("distance", "far")]
    usual = [0.04, 0.16]  # squared
    for field, squared in zip(fields, usual, strict=True):
        step = memory_arrays(net.sections[image.MEMORY]).step
        image.put(net.sections[image.STATE], field, round(squared / step**2))
    made = quantise(net, np.zeros((1, net.inputs)))
    step = memory_arrays(made.sections[image.MEMORY]).step
    found = [step**2 * image.get(made.sections[image.STATE], field) for field in fields]
    np.testing.assert_allclose(found, usual, rtol=0.01)


def step_of(net):
    return image.get(net.sections[image.STRUCTURE], image.HEADER["input_step"])


def test_it_learns_on(digits, both, tmp_path):
    _, made = both
    made.save(str(tmp_path / "q8.tinc"))
    net = tinyinc.load(str(tmp_path / "q8.tinc"))
    net.configure(rule="full", replay=3, learning_rate=2**-5, vote=0)
    net.configure(label_smoothing=0, logit_adjustment=0)
    nines = np.flatnonzero(digits.train_labels == 9)
    for row in digits.train_samples[nines]:
        net.learn(row.astype(np.float32), "nine")
    assert accuracy(net, digits.test_samples, digits.test_labels, digits.labels) > 0.9


def test_convolutions(digits):
    layers = network.parse("conv8,max2,depthwise3,conv12x1,average2")
    net, samples, _ = trained(digits, layers, 2, range(10))
    made = quantise(net, samples[:200])
    right = [
        accuracy(n, digits.test_samples, digits.test_labels, digits.labels) for n in (net, made)
    ]
    assert right[0] > 0.8 and right[1] > right[0] - 0.02
    assert (
        made.dense_forward_macs
        == net.dense_forward_macs
        == (64 * 8 * 9 + 16 * 8 * 9 + 16 * 8 * 12 + 48 * 10)
    )


def test_part_of_the_capacity():
    """Units out of use hold what they were last: neither scales nor outputs depend on it."""
    net = tinyinc.create(inputs=3, hidden=(6, 5), range=(-1, 1), classes=4, memory=0)
    rows = np.random.default_rng(0).uniform(-1, 1, (200, 3)).astype(np.float32)
    for row in rows:
        net.learn(row, "ab"[int(row.sum() > 0)])
    net.shrink(0, 3)
    net.shrink(1, 2)
    made = quantise(net, rows)
    same = [net.predict(row) == made.predict(row) for row in rows]
    assert np.mean(same) > 0.95
    assert made.dense_forward_macs == net.dense_forward_macs
    made.grow(0, 3)
    assert made.learn(rows[0], "c").loss > 0


def test_refusals(both):
    net, made = both
    with pytest.raises(ValueError, match="quantised already"):
        quantise(made, np.zeros((1, 64)))
    with pytest.raises(ValueError, match="samples have 63 values, the network takes 64"):
        quantise(net, np.zeros((5, 63)))
    with pytest.raises(ValueError, match="samples"):
        quantise(net, np.zeros((0, 64)))


def test_nearest_power_of_two():
    assert [power_of_two(rate) for rate in (0.01, 0.02, 0.05, 0.1, 1)] == (
        [2**-7, 2**-6, 2**-4, 2**-3, 1]
    )
