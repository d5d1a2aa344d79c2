"""The baselines of the learning benchmark, each against a slow, obvious reference."""

import numpy as np
import pytest
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from tinyinc_host.learning import baselines
from tinyinc_host.learning.baselines import NearestMean, NearestNeighbour, StreamingLda
from tinyinc_host.learning.methods import Reservoir
from tinyinc_host.learning.protocols import Part
from tinyinc_host.learning.settings import Scaling

SCALING = Scaling(10.0, 1 / 50, -2.0, 2.0)
INPUTS, CLASSES = 6, 4


@pytest.fixture(params=[0, 1])
def part(request):
    """Raw int8 samples of overlapping classes, some beyond the range that is clipped."""
    generator = np.random.default_rng(request.param)
    labels = generator.integers(CLASSES, size=700)
    centres = generator.uniform(-80, 90, (CLASSES, INPUTS))
    samples = centres[labels] + generator.normal(0, 40, (700, INPUTS))
    return Part(samples.round().clip(-128, 127).astype(np.int8), labels)


def taught(kind, part, budget=10**6, seed=0):
    method = kind(INPUTS, CLASSES, SCALING, budget, seed)
    for sample, label in zip(*part, strict=True):
        method.learn(sample, int(label))
    method.end()
    return method


def scaled(part):
    return ((part.samples - 10.0) / 50).clip(-2, 2)


def test_nearest_mean_is_what_its_name_says(part):
    method = taught(NearestMean, part)
    means = [scaled(part)[part.labels == c].mean(axis=0) for c in range(CLASSES)]
    expected = [int(np.argmin([np.sum((x - m) ** 2) for m in means])) for x in scaled(part)]
    assert method.predict(part.samples).tolist() == expected
    assert method.learn_macs == part.samples.size
    assert method.memory_bytes == 4 * CLASSES * (INPUTS + 1)


def test_streaming_lda_is_lda_with_the_covariance_of_the_whole_batch(part):
    method = taught(StreamingLda, part)
    x, labels = scaled(part), part.labels
    means = np.array([x[labels == c].mean(axis=0) for c in range(CLASSES)])
    covariance = np.zeros((INPUTS, INPUTS))
    for row, label in zip(x, labels, strict=True):
        covariance += np.outer(row - means[label], row - means[label]) / len(x)
    covariance += np.eye(INPUTS) * 1e-2 * np.trace(covariance) / INPUTS
    scores = np.array([[m @ np.linalg.inv(covariance) @ (row - m / 2) for m in means] for row in x])
    weights, biases = method.solve()
    np.testing.assert_allclose(x @ weights.T + biases, scores, rtol=1e-4, atol=1e-4)
    assert np.mean(method.predict(part.samples) == scores.argmax(axis=1)) > 0.995
    assert method.memory_bytes == 4 * (INPUTS * (INPUTS + 1) // 2 + CLASSES * INPUTS)


def test_streaming_lda_agrees_with_scikit_learn(part):
    ours = taught(StreamingLda, part).predict(part.samples)
    priors = np.full(CLASSES, 1 / CLASSES)
    theirs = LinearDiscriminantAnalysis(solver="lsqr", priors=priors)
    theirs = theirs.fit(scaled(part), part.labels).predict(scaled(part))
    assert np.mean(ours == theirs) > 0.97  # but for the shrinkage


@pytest.mark.parametrize("kind", [NearestMean, StreamingLda])
def test_order_and_blocks_do_not_matter(part, kind, monkeypatch):
    weights = taught(kind, part).means()
    monkeypatch.setattr(baselines, "BLOCK", 7)
    turned = taught(kind, Part(part.samples[::-1], part.labels[::-1])).means()
    np.testing.assert_allclose(weights, turned, rtol=1e-5, atol=1e-6)


def test_classes_that_never_came_are_never_predicted(part):
    some = part.take(np.isin(part.labels, [1, 3]))
    for kind in (NearestMean, StreamingLda, NearestNeighbour):
        assert set(taught(kind, some).predict(part.samples)) == {1, 3}


def test_online_prototypes_step_by_step(part):
    """The same with lists and loops; the noise of the rounding comes from the same generator."""
    slots = 10
    method = taught(NearestNeighbour, part, slots * (INPUTS + 2) + 5, seed=3)
    generator = np.random.default_rng(3)
    prototypes = []  # [slot, label, weight, values]
    seen, free = [], list(range(slots))
    for x, label in zip(scaled(part).astype(np.float32), part.labels, strict=True):
        q = np.round((x + 2) * np.float32(255 / 4))
        if label not in seen:
            seen.append(label)
        own = [p for p in prototypes if p[1] == label]
        if len(own) < slots // len(seen):
            if not free:
                most = max(seen, key=lambda c: sum(p[1] == c for p in prototypes))
                least = min((p for p in prototypes if p[1] == most), key=lambda p: p[2])
                free.append(least[0])
                prototypes = [p for p in prototypes if p is not least]
            prototypes.append([free.pop(0), label, 1, q])
            continue
        nearest = min(own, key=lambda p: float(np.sum((p[3] - q) ** 2)))
        nearest[2] = min(nearest[2] + 1, 64)
        moved = nearest[3] + (q - nearest[3]) / np.float32(nearest[2])
        noise = generator.random(INPUTS, np.float32)
        nearest[3] = np.floor(moved + noise).clip(0, 255)
    for slot, label, weight, values in prototypes:
        assert slot in method.members[label] and method.weights[slot] == weight
        np.testing.assert_array_equal(method.prototypes[slot], values)
    q = np.round((scaled(part) + 2) * 255 / 4)
    nearest = [min(prototypes, key=lambda p: np.sum((p[3] - row) ** 2)) for row in q]
    assert np.mean(method.predict(part.samples) == [p[1] for p in nearest]) > 0.99


@pytest.mark.parametrize("budget", [0, 7, 8, 50, 500, 10**5])
def test_prototypes_stay_within_their_bytes(part, budget):
    method = taught(NearestNeighbour, part, budget)
    used = sorted(slot for slots in method.members.values() for slot in slots)
    assert method.memory_bytes <= budget and method.memory_bytes == method.used * (INPUTS + 2)
    slots = budget // (INPUTS + 2)
    assert len(set(used)) == len(used) == method.used
    assert min(slots // CLASSES * CLASSES, len(part)) <= method.used <= slots  # shares are whole
    assert method.prototypes.min(initial=0) >= 0 and method.prototypes.max(initial=0) <= 255
    np.testing.assert_allclose(method.norms, np.square(method.prototypes).sum(axis=1))


def test_too_few_bytes_for_all_classes_are_refused_when_asked(part):
    with pytest.raises(ValueError, match="no prototype"):
        taught(NearestNeighbour, part, 7).predict(part.samples)


def test_prototypes_depend_on_the_seed_alone(part):
    first, again, other = (taught(NearestNeighbour, part, 200, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.prototypes, again.prototypes)
    assert (first.prototypes != other.prototypes).any()


def test_what_came_before_costs_no_lessons(part):
    for kind in (NearestMean, StreamingLda, NearestNeighbour):
        method = kind(INPUTS, CLASSES, SCALING, 200, 0)
        method.begin(part)
        assert method.learn_macs == 0
        np.testing.assert_array_equal(
            method.predict(part.samples), taught(kind, part, 200).predict(part.samples)
        )


def test_the_reservoir_keeps_every_sample_of_a_class_alike():
    """Each of 40 samples of either class should be among the 5 of its class in 1/8 of the runs."""
    kept = np.zeros((2, 40))
    for seed in range(400):
        reservoir = Reservoir(10, Scaling(0.0, 1.0, 0.0, 255.0), 1, seed)
        for value in range(80):
            reservoir.keep(np.array([value], np.uint8), value // 40)
        for label, slots in reservoir.members.items():
            assert len(slots) == 5
            kept[label, [int(reservoir.values[slot, 0]) - 40 * label for slot in slots]] += 1
    assert abs(kept / 400 - 1 / 8).max() < 0.08  # five standard deviations


def test_the_reservoir_stays_in_its_slots_and_draws_what_it_was_given(part):
    reservoir = Reservoir(9, SCALING, INPUTS, 0)
    assert reservoir.draw() is None
    clipped = part.samples.clip(-90, 110)
    for sample, label in zip(part.samples, part.labels.tolist(), strict=True):
        reservoir.keep(sample, label)
        assert sum(map(len, reservoir.members.values())) == reservoir.used <= 9
    drawn = [reservoir.draw() for _ in range(200)]
    assert {label for _, label in drawn} == set(range(CLASSES))
    for sample, label in drawn:
        own = clipped[part.labels == label]
        assert np.abs(own - sample).max(axis=1).min() <= 0.5  # half a step of 200 / 255
