"""Distillation: what all methods promise, each method against its definition, the score and the
byte budget."""

import numpy as np
import pytest

import tinyinc
from tinyinc import image
from tinyinc_host import data, distill
from tinyinc_host.distill import choose, distribution, embeddings, prototypes
from tinyinc_host.distill import score as scoring
from tinyinc_host.export import with_memory

METHODS = sorted(distill.METHODS)
IMAGE = (8, 8)


def digits(classes=range(10)):
    return data.load("digits").training(list(classes))


def spread(samples, labels, few, few_labels):
    """Mean squared distance of samples to the nearest of their class's few."""
    nearest = [
        ((few[few_labels == label] - row) ** 2).sum(axis=1).min()
        for row, label in zip(samples.astype(float), labels, strict=True)
    ]
    return np.mean(nearest)


# ---- what all methods promise ----


@pytest.mark.parametrize("shape", [(), IMAGE])
@pytest.mark.parametrize("method", METHODS)
def test_same_number_of_each_class_within_the_range(method, shape):
    samples, labels = digits([2, 3, 8])
    few, few_labels = distill.distill(samples, labels, 4, method, 2, shape)
    assert few.shape == (12, 64) and few.dtype == np.float32
    assert np.array_equal(few_labels, np.repeat([2, 3, 8], 4))
    assert np.all(few >= samples.min(axis=0)) and np.all(few <= samples.max(axis=0))
    again, _ = distill.distill(samples, labels, 4, method, 2, shape)
    assert np.array_equal(few, again)
    other, _ = distill.distill(samples, labels, 4, method, 3, shape)
    assert not np.array_equal(few, other)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", [np.int8, np.int16, np.float32])
def test_negative_values_and_labels_with_gaps(method, kind):
    generator = np.random.default_rng(0)
    samples = generator.normal(-20, 30, (60, 5)).clip(-128, 127).astype(kind)
    few, labels = distill.distill(samples, np.repeat([2, 5, 9], 20), 3, method)
    assert np.array_equal(labels, np.repeat([2, 5, 9], 3))
    assert few.min() >= samples.min() and few.max() <= samples.max()


@pytest.mark.parametrize("method", METHODS)
def test_class_smaller_than_its_share(method):
    samples = np.array([[0, 0], [4, 4], [9, 9]], np.uint8)
    few, labels = distill.distill(samples, np.array([0, 0, 1]), 5, method)
    assert np.array_equal(np.bincount(labels), [2, 1])
    if method != "lvq":  # which moves even what stands for itself alone
        assert np.allclose(few[np.argsort(few[:, 0])], samples, atol=1e-3)


@pytest.mark.parametrize("method", METHODS)
def test_one_class_of_equal_samples(method):
    few, labels = distill.distill(np.full((6, 3), 7, np.uint8), np.zeros(6, int), 2, method)
    assert np.all(few == 7) and np.array_equal(labels, [0, 0])


def test_new_methods_register_by_name(monkeypatch):
    def first(job):
        return job.by_class(lambda rows: rows[: job.per_class])

    monkeypatch.setitem(distill.METHODS, "first", first)
    few, labels = distill.distill(np.eye(4), np.array([0, 0, 1, 1]), 1, "first")
    assert np.array_equal(few, np.eye(4)[[0, 2]]) and np.array_equal(labels, [0, 1])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((np.zeros((2, 2)), np.zeros(2, int), 1, "magic"), "method 'magic'; known: kmeans"),
        ((np.zeros((2, 2)), np.zeros(2, int), 0), "per_class is 0"),
        ((np.zeros((0, 2)), np.zeros(0, int), 1), "0 samples and 0 labels"),
        ((np.zeros((2, 2)), np.zeros(3, int), 1), "2 samples and 3 labels"),
    ],
)
def test_bad_arguments(arguments, words):
    with pytest.raises(ValueError, match=words):
        distill.distill(*arguments)


# ---- methods that choose ----


@pytest.mark.parametrize("method", ["random", "herding"])
def test_chosen_samples_are_training_samples_none_twice(method):
    samples, labels = digits()
    few, few_labels = distill.distill(samples, labels, 3, method)
    for row, label in zip(few, few_labels, strict=True):
        assert (samples[labels == label] == row).all(axis=1).any()
    assert len(np.unique(few, axis=0)) == len(few)


def test_herding_brings_the_mean_closest_at_every_choice():
    features = np.random.default_rng(1).normal(1, 1, (30, 6))
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    chosen = []
    for _ in range(8):
        left = [i for i in range(30) if i not in chosen]
        gap = [np.linalg.norm(features[[*chosen, i]].mean(0) - features.mean(0)) for i in left]
        chosen.append(left[int(np.argmin(gap))])
    assert np.array_equal(choose.herd(3 * features, 8), chosen)
    assert sorted(choose.herd(features, 99)) == list(range(30))


# ---- prototypes ----


def test_kmeans_centres_lie_closer_than_random_samples():
    samples, labels = digits([3, 8])
    distances = {
        method: spread(samples, labels, *distill.distill(samples, labels, 5, method))
        for method in ("kmeans", "random")
    }
    assert distances["kmeans"] < 0.8 * distances["random"]


def test_pulls_are_down_the_slope_of_the_cost():
    generator = np.random.default_rng(2)
    sample, centres = generator.normal(size=(1, 3)), generator.normal(size=(4, 3))
    classes, labels = np.array([1]), np.array([0, 0, 1, 1])

    def distances(centres):
        squares = ((centres - sample) ** 2).sum(axis=1)
        return squares[2:].min(), squares[:2].min()

    def cost(centres):
        right, wrong = distances(centres)
        return 1 / (1 + np.exp(-prototypes.STEEPNESS * (right - wrong) / (right + wrong)))

    slope = slopes(cost, centres)
    expected = -slope * sum(distances(centres)) / 4
    assert np.allclose(prototypes.pulls(sample, classes, centres, labels), expected, atol=1e-6)


def test_lvq_tells_classes_apart_that_kmeans_mixes():
    """The classes differ in a value whose spread is small beside that of the others."""
    generator = np.random.default_rng(3)
    labels = np.repeat([0, 1], 300)
    samples = generator.normal(0, 1, (600, 2)) * [10, 0.5] + 4 * labels[:, None] * [0, 1]
    samples = samples.astype(np.float32)
    right = {}
    for method in ("kmeans", "lvq"):
        few, few_labels = distill.distill(samples, labels, 2, method)
        right[method] = np.mean(few_labels[scoring.nearest(samples, few)] == labels)
    assert right["lvq"] > 0.97 > 0.9 > right["kmeans"]


# ---- distribution matching ----


def slopes(function, at, step=1e-5):
    """The gradient by central differences."""
    gradient = np.zeros(at.shape)
    for place in np.ndindex(at.shape):
        ahead, behind = at.copy(), at.copy()
        ahead[place] += step
        behind[place] -= step
        gradient[place] = (function(ahead) - function(behind)) / (2 * step)
    return gradient


def double(chain):
    """The same network in float64, for differences."""
    for layer in chain.layers:
        dense = getattr(layer, "dense", layer)
        dense.weights, dense.bias = dense.weights.astype(float), dense.bias.astype(float)
    return chain


@pytest.mark.parametrize("shape", [(16,), (9, 8), (8, 9, 2)])
def test_gradient_of_an_embedding(shape):
    generator = np.random.default_rng(4)
    values = int(np.prod(shape))
    chain = double(embeddings.embedding(shape, values, generator))
    assert isinstance(chain.layers[0], embeddings.Dense if len(shape) == 1 else embeddings.Conv)
    rows = generator.normal(size=(2, values))
    weights = generator.normal(size=chain.forward(rows).shape)
    expected = slopes(lambda x: (weights * chain.forward(x)).sum(), rows)
    chain.forward(rows)
    assert np.allclose(chain.backward(weights), expected, atol=1e-4)


@pytest.mark.parametrize("shape", [(5, 4, 2), (4, 5, 1)])
def test_convolution_against_sums(shape):
    generator = np.random.default_rng(5)
    conv = embeddings.Conv(shape, 3, generator)
    rows = generator.normal(size=(2, *shape)).astype(np.float32)
    weights = conv.dense.weights.reshape(3, 3, shape[2], 3)
    found = conv.forward(rows.reshape(2, -1)).reshape(2, *conv.shape)
    padded = np.pad(rows, ((0, 0), (1, 1), (1, 1), (0, 0)))
    for n, i, j, k in np.ndindex(found.shape):
        patch = padded[n, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3]
        expected = max((patch * weights[..., k]).sum() + conv.dense.bias[k], 0)
        assert abs(found[n, i, j, k] - expected) < 1e-4


def test_a_step_is_down_the_slope_and_brings_the_means_closer():
    generator = np.random.default_rng(6)
    chain = double(embeddings.embedding((), 6, generator))
    few, labels = generator.normal(size=(5, 6)), np.array([0, 0, 0, 1, 1])
    targets = chain.forward(generator.normal(0.5, 1, (2, 6)))

    def gaps(x):
        means = distribution.class_means(chain.forward(x), labels, np.array([0, 1]))
        return ((means - targets) ** 2).sum(axis=1)

    step = distribution.polyak_step(chain, few, labels, targets)
    slope = slopes(lambda x: gaps(x).sum(), few)
    for label in (0, 1):
        mine = slope[labels == label]
        expected = gaps(few)[label] * mine / (mine**2).sum()
        assert np.allclose(step[labels == label], expected, rtol=1e-3, atol=1e-5)
    assert np.all(gaps(few - 0.1 * step) < gaps(few))


@pytest.mark.parametrize("shape", [(), IMAGE])
def test_matching_brings_means_closer_under_networks_it_never_saw(shape):
    samples, labels = digits()
    chain = embeddings.embedding(shape, 64, np.random.default_rng(99))

    def gap(few, few_labels):
        means = [
            distribution.class_means(chain.forward(rows.astype(np.float32)), of, np.arange(10))
            for rows, of in ((samples, labels), (few, few_labels))
        ]
        return ((means[0] - means[1]) ** 2).sum()

    gaps = [
        gap(*distill.distill(samples, labels, 4, method, 0, shape))
        for method in ("matching", "kmeans")
    ]
    assert gaps[0] < 0.7 * gaps[1]


# ---- the score, and the budget ----


def test_nearest_in_blocks(monkeypatch):
    monkeypatch.setattr(scoring, "BLOCK", 7)
    samples, _ = digits()
    expected = [((samples[:3].astype(float) - row) ** 2).sum(1).argmin() for row in samples[:50]]
    assert np.array_equal(scoring.nearest(samples[:50], samples[:3].astype(np.float32)), expected)


def test_score_tells_good_samples_from_bad_ones():
    dataset = data.hold_out(data.load("digits"), 0.2, 0)
    few, labels = distill.distill(dataset.train_samples, dataset.train_labels, 5)
    good = scoring.score(few, labels, dataset)
    bad = scoring.score(few, (labels + 1) % 10, dataset)
    assert min(good.nearest, good.network) > 0.85 and max(bad.nearest, bad.network) < 0.1
    assert scoring.score(few, labels, dataset) == good
    two = labels < 2
    assert scoring.score(few[two], labels[two], dataset).nearest > 0.95  # of these classes alone


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize(("low", "high", "kind"), [(0, 16, np.uint8), (-128, 127, np.int8)])
def test_as_stored_is_within_half_a_step(bits, low, high, kind):
    generator = np.random.default_rng(7)
    samples = generator.integers(low, high + 1, (9, 5)).astype(kind)
    labels = np.zeros(9, int)
    dataset = data.Dataset("any", samples, labels, samples, labels, ("any",), low, high, (5,))
    found = scoring.as_stored(samples.astype(np.float32), dataset, bits)
    step = (high - low) / (254 if bits == 8 else 14)
    assert np.abs(found - samples).max() <= step * (0.51 if low == 0 else 1.01)  # one end may miss
    assert found.min() >= low and found.max() <= high
    assert len(np.unique(found)) <= 2**bits


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("values", [1, 3, 64, 784])
def test_budget_is_never_exceeded_and_well_used(bits, values):
    for budget in (500, 1000, 4096, 50000):
        if budget < 2 * values + 100:
            with pytest.raises(ValueError, match=f"{budget} bytes hold"):
                scoring.per_class_within(budget, values, 100, bits)
            continue
        count = scoring.per_class_within(budget, values, 2, bits)
        sizes = [len(image.empty_memory(2 * n, values, 1.0, 0.0, bits)) for n in (count, count + 1)]
        assert sizes[0] <= budget < sizes[1]


def test_a_board_gets_no_more_bytes_than_asked_for():
    count = scoring.per_class_within(3000, 64, 10, 4)
    net = tinyinc.create(inputs=64, range=(0, 16), memory=0)
    made = with_memory(net, 10 * count, memory_bits=4)
    assert len(made.sections[image.MEMORY]) <= 3000 and made.memory.capacity == 10 * count
