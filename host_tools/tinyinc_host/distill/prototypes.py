"""Methods whose samples are prototypes: each stands for what lies nearest to it."""

from __future__ import annotations

import warnings

import numpy as np

from .job import Job, Pair

STEPS = 1000
BATCH = 256
RATE = 0.05  # of the way from a prototype to a sample, at first
STEEPNESS = 10  # how soon a sample counts as right or wrong for good


def kmeans(job: Job) -> Pair:
    """The centres of k-means within each class."""
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning
    from threadpoolctl import threadpool_limits

    def centres(rows: np.ndarray) -> np.ndarray:
        rows = rows.astype(np.float32)
        clusters = KMeans(min(job.per_class, len(rows)), n_init="auto", random_state=job.seed)
        # One thread: on a busy machine, threads that wait for each other take ten times as long.
        with warnings.catch_warnings(), threadpool_limits(1):
            warnings.simplefilter("ignore", ConvergenceWarning)  # fewer distinct samples than k
            found = clusters.fit(rows).cluster_centers_
        return found.clip(rows.min(axis=0), rows.max(axis=0))  # rounding leaves the range

    return job.by_class(centres)


def lvq(job: Job) -> Pair:
    """The centres of k-means, moved until the nearest one tells the class: generalised learning
    vector quantisation (Sato and Yamada, NeurIPS 1995), in batches, at a rate that falls to 0."""
    from threadpoolctl import threadpool_limits

    few, labels = kmeans(job)
    if len(job.classes) == 1:
        return few, labels
    prototypes = job.normalise(few)
    generator = np.random.default_rng(job.seed)
    with threadpool_limits(1):
        for step in job.track(range(STEPS), "moving"):
            rows = generator.integers(0, len(job.samples), BATCH)
            pull = pulls(job.normalise(job.samples[rows]), job.labels[rows], prototypes, labels)
            rate = RATE * (1 - step / STEPS) * len(few) / BATCH
            prototypes += np.float32(rate) * pull
    return job.restore(prototypes), labels


def pulls(
    samples: np.ndarray, classes: np.ndarray, prototypes: np.ndarray, labels: np.ndarray
) -> np.ndarray:
    """Where each prototype is drawn by these samples: to those that it is the nearest right one of,
    from those that it is the nearest wrong one of. With d their squared distances and
    u = (d_right - d_wrong) / (d_right + d_wrong), it is down the slope of sigmoid(STEEPNESS u),
    times (d_right + d_wrong) / 4, which frees the steps from the scale of the samples."""
    squares = (samples**2).sum(axis=1)[:, None] + (prototypes**2).sum(axis=1)
    distances = (squares - 2 * samples @ prototypes.T).clip(0)
    own = classes[:, None] == labels
    right = np.where(own, distances, np.inf).argmin(axis=1)
    wrong = np.where(own, np.inf, distances).argmin(axis=1)
    every = np.arange(len(samples))
    d_right, d_wrong = distances[every, right], distances[every, wrong]
    total = (d_right + d_wrong).clip(1e-12)
    share = 1 / (1 + np.exp(-STEEPNESS * (d_right - d_wrong) / total))
    slope = STEEPNESS * share * (1 - share)
    weights = np.zeros_like(distances)
    weights[every, right] = slope * d_wrong / total
    weights[every, wrong] = -slope * d_right / total
    return weights.T @ samples - weights.sum(axis=0)[:, None] * prototypes
