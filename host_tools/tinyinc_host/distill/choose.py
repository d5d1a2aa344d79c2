"""Methods that choose samples as they are."""

from __future__ import annotations

import numpy as np

from .embeddings import embedding
from .job import Job, Pair


def random(job: Job) -> Pair:
    """Samples drawn at random: the baseline."""
    generator = np.random.default_rng(job.seed)
    return job.by_class(lambda rows: rows[generator.permutation(len(rows))[: job.per_class]])


def herding(job: Job) -> Pair:
    """Samples whose mean follows the mean of their class in a random embedding (Welling, "Herding
    dynamical weights to learn", 2009)."""
    features = embedding(job.shape, job.samples.shape[1], np.random.default_rng(job.seed))

    def choose(rows: np.ndarray) -> np.ndarray:
        return rows[herd(features.forward(job.normalise(rows)), job.per_class)]

    return job.by_class(choose)


def herd(features: np.ndarray, count: int) -> np.ndarray:
    """Row numbers, at most count, none twice: the next is what lies furthest along the weights,
    which gain the mean and lose what was chosen. Rows are brought to length 1, where this is also
    the choice that brings the mean of the chosen closest."""
    features = features / np.linalg.norm(features, axis=1, keepdims=True).clip(1e-12)
    mean = features.mean(axis=0)
    weights, chosen = mean.copy(), []
    free = np.zeros(len(features))
    for _ in range(min(count, len(features))):
        best = int(np.argmax(features @ weights + free))
        chosen.append(best)
        free[best] = -np.inf
        weights += mean - features[best]
    return np.array(chosen)
