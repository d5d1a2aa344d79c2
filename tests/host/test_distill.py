"""Distillation: how many samples, of which classes, and that k-means stands for its class best."""

import numpy as np
import pytest

from tinyinc_host import data, distill


def spread(samples, labels, few, few_labels):
    """Mean squared distance of samples to the nearest of their class's few."""
    nearest = [
        ((few[few_labels == label] - row) ** 2).sum(axis=1).min()
        for row, label in zip(samples.astype(float), labels, strict=True)
    ]
    return np.mean(nearest)


@pytest.mark.parametrize("method", sorted(distill.METHODS))
def test_same_number_of_each_class(method):
    digits = data.load("digits")
    few, labels = distill.distill(digits.train_samples, digits.train_labels, 4, method, seed=2)
    assert few.shape == (40, 64) and few.dtype == np.float32
    assert np.array_equal(labels, np.repeat(np.arange(10), 4))
    assert few.min() >= digits.low and few.max() <= digits.high
    again, _ = distill.distill(digits.train_samples, digits.train_labels, 4, method, seed=2)
    assert np.array_equal(few, again)


def test_random_draws_training_samples():
    digits = data.load("digits")
    few, labels = distill.distill(digits.train_samples, digits.train_labels, 3, "random")
    for row, label in zip(few, labels, strict=True):
        assert (digits.train_samples[digits.train_labels == label] == row).all(axis=1).any()


def test_kmeans_centres_lie_closer_than_random_samples():
    digits = data.load("digits")
    samples, labels = digits.training([3, 8])
    distances = {
        method: spread(samples, labels, *distill.distill(samples, labels, 5, method))
        for method in ("kmeans", "random")
    }
    assert distances["kmeans"] < 0.8 * distances["random"]


@pytest.mark.parametrize("method", sorted(distill.METHODS))
def test_class_smaller_than_its_share(method):
    samples = np.array([[0, 0], [4, 4], [9, 9]], np.uint8)
    few, labels = distill.distill(samples, np.array([0, 0, 1]), 5, method)
    assert sorted(map(tuple, few)) == [(0, 0), (4, 4), (9, 9)]
    assert np.array_equal(np.bincount(labels), [2, 1])


def test_kmeans_of_equal_samples():
    few, labels = distill.distill(np.full((6, 3), 7, np.uint8), np.zeros(6, int), 2, "kmeans")
    assert np.all(few == 7) and np.all(labels == 0)


def test_new_methods_register_by_name(monkeypatch):
    monkeypatch.setattr(distill, "METHODS", dict(distill.METHODS))

    @distill.method("first")
    def first(samples, labels, per_class, seed):
        return distill.by_class(samples, labels, lambda rows: rows[:per_class])

    few, labels = distill.distill(np.eye(4), np.array([0, 0, 1, 1]), 1, "first")
    assert np.array_equal(few, np.eye(4)[[0, 2]]) and np.array_equal(labels, [0, 1])


def test_bad_arguments():
    with pytest.raises(ValueError, match="unknown distillation method 'magic'; known: kmeans"):
        distill.distill(np.zeros((2, 2)), np.zeros(2, int), 1, "magic")
    with pytest.raises(ValueError, match="per_class is 0"):
        distill.distill(np.zeros((2, 2)), np.zeros(2, int), 0)
