"""Distribution matching: samples whose mean agrees with that of their class in any embedding
(Zhao and Bilen, arXiv 2110.04181)."""

from __future__ import annotations

import numpy as np

from .embeddings import Chain, embedding
from .job import Job, Pair
from .prototypes import kmeans

STEPS = 200
BATCH = 64  # real samples of each class
RATE = 0.05  # of Polyak's step, at first


def matching(job: Job) -> Pair:
    """The centres of k-means, moved until their means under random networks are those of real
    samples. Each step draws a network and real samples anew; the steps get smaller."""
    from threadpoolctl import threadpool_limits

    few, labels = kmeans(job)
    moved = job.normalise(few)
    generator = np.random.default_rng(job.seed)
    members = [np.flatnonzero(job.labels == c) for c in job.classes]
    with threadpool_limits(1):
        for step in job.track(range(STEPS), "matching"):
            features = embedding(job.shape, job.samples.shape[1], generator)
            drawn = [generator.permutation(rows)[:BATCH] for rows in members]
            real = job.normalise(job.samples[np.concatenate(drawn)])
            classes = np.repeat(job.classes, [len(rows) for rows in drawn])
            targets = class_means(features.forward(real), classes, job.classes)
            moved -= RATE * (1 - step / STEPS) * polyak_step(features, moved, labels, targets)
            moved = job.normalise(job.restore(moved))
    return job.restore(moved), labels


def class_means(rows: np.ndarray, labels: np.ndarray, classes: np.ndarray) -> np.ndarray:
    return np.stack([rows[labels == c].mean(axis=0) for c in classes])


def polyak_step(
    features: Chain, moved: np.ndarray, labels: np.ndarray, targets: np.ndarray
) -> np.ndarray:
    """For each class, the gradient of the squared distance of its mean to its target, times that
    distance and divided by the gradient's square: Polyak's step for a function whose least value
    is 0. targets: a row for each class, in the order of the labels."""
    classes, index, counts = np.unique(labels, return_inverse=True, return_counts=True)
    gaps = class_means(features.forward(moved), labels, classes) - targets
    gradient = features.backward((2 * gaps / counts[:, None])[index].astype(np.float32))
    squares = np.bincount(index, (gradient**2).sum(axis=1)).clip(1e-30)
    steps = (gaps**2).sum(axis=1) / squares
    return gradient * steps[index, None].astype(np.float32)
