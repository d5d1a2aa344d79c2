"""Distillation: a few samples that stand for a whole training set.

A method takes (samples, labels, per_class, seed) and returns (distilled samples in raw units as
float32, their labels), at most per_class for each class. Register one with @method("name").
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np

Pair = tuple[np.ndarray, np.ndarray]
Method = Callable[[np.ndarray, np.ndarray, int, int], Pair]

METHODS: dict[str, Method] = {}


def method(name: str) -> Callable[[Method], Method]:
    """Register a method under a name."""

    def register(function: Method) -> Method:
        METHODS[name] = function
        return function

    return register


def distill(
    samples: np.ndarray, labels: np.ndarray, per_class: int, name: str = "kmeans", seed: int = 0
) -> Pair:
    """Distil by the method of that name, class by class in the order of the labels."""
    if name not in METHODS:
        raise ValueError(f"unknown distillation method '{name}'; known: {', '.join(METHODS)}")
    if per_class < 1:
        raise ValueError(f"per_class is {per_class}, expected at least 1")
    return METHODS[name](samples, labels, per_class, seed)


def by_class(
    samples: np.ndarray, labels: np.ndarray, choose: Callable[[np.ndarray], np.ndarray]
) -> Pair:
    """Apply a function to the samples of each class; put the results together."""
    classes = np.unique(labels)
    chosen = [choose(samples[labels == c]).astype(np.float32) for c in classes]
    return np.concatenate(chosen), np.repeat(classes, [len(rows) for rows in chosen])


@method("kmeans")
def kmeans(samples: np.ndarray, labels: np.ndarray, per_class: int, seed: int) -> Pair:
    """The centres of k-means within each class."""
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning
    from threadpoolctl import threadpool_limits

    def centres(rows: np.ndarray) -> np.ndarray:
        rows = rows.astype(np.float32)
        clusters = KMeans(min(per_class, len(rows)), n_init="auto", random_state=seed)
        # One thread: on a busy machine, threads that wait for each other take ten times as long.
        with warnings.catch_warnings(), threadpool_limits(1):
            warnings.simplefilter("ignore", ConvergenceWarning)  # fewer distinct samples than k
            found = clusters.fit(rows).cluster_centers_
        return found.clip(rows.min(axis=0), rows.max(axis=0))  # rounding leaves the range

    return by_class(samples, labels, centres)


@method("random")
def random(samples: np.ndarray, labels: np.ndarray, per_class: int, seed: int) -> Pair:
    """Samples drawn at random: the baseline."""
    generator = np.random.default_rng(seed)

    def draw(rows: np.ndarray) -> np.ndarray:
        return rows[generator.permutation(len(rows))[:per_class]]

    return by_class(samples, labels, draw)
