"""Distillation: a few samples that stand for a whole training set."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from rich.progress import Progress

from .choose import herding, random
from .distribution import matching
from .job import Job, Pair
from .prototypes import kmeans, lvq

__all__ = ["METHODS", "Job", "Pair", "check_method", "distill"]

METHODS: dict[str, Callable[[Job], Pair]] = {
    "kmeans": kmeans,
    "lvq": lvq,
    "matching": matching,
    "herding": herding,
    "random": random,
}


def distill(
    samples: np.ndarray,
    labels: np.ndarray,
    per_class: int,
    name: str = "kmeans",
    seed: int = 0,
    shape: Sequence[int] = (),
    progress: Progress | None = None,
) -> Pair:
    """Distil by the method of that name, class by class in the order of the labels.

    samples: (count, values) in raw units; labels: an integer each; shape: of one sample, where its
    values are no mere list. Returns at most per_class samples of each class, float32 in raw units
    and within the range of the given ones, and their labels. ValueError: no such method, no sample.
    """
    check_method(name)
    if per_class < 1:
        raise ValueError(f"per_class is {per_class}, expected at least 1")
    if not len(samples) or len(samples) != len(labels):
        raise ValueError(f"{len(samples)} samples and {len(labels)} labels, expected one of each")
    return METHODS[name](Job(samples, labels, per_class, seed, tuple(shape), progress))


def check_method(name: str) -> None:
    """ValueError unless there is a method of that name."""
    if name not in METHODS:
        raise ValueError(f"unknown distillation method '{name}'; known: {', '.join(METHODS)}")
