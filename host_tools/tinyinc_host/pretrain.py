"""Pre-training on the desktop, through the very learn() that a board calls."""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from rich.progress import Progress

import tinyinc

Change = Callable[[np.ndarray, np.random.Generator], np.ndarray]
TYPECODES = {"int8": "b", "uint8": "B", "int16": "h", "float32": "f"}


@dataclass(frozen=True)
class Schedule:
    """Plain SGD, one sample at a time; the rate falls from learning_rate to 0 on a half cosine."""

    epochs: int
    learning_rate: float
    noise: float = 0.0  # standard deviation added to each value, as a share of its raw range


def typecode(samples: np.ndarray) -> str:
    """The array typecode in which a board takes these samples."""
    if samples.dtype.name not in TYPECODES:
        raise ValueError(f"samples are {samples.dtype}, expected {', '.join(TYPECODES)}")
    return TYPECODES[samples.dtype.name]


def pretrain(
    net: tinyinc.Net,
    samples: np.ndarray,
    labels: np.ndarray,
    names: Sequence[str],
    schedule: Schedule,
    value_range: tuple[float, float],
    seed: int = 0,
    progress: Progress | None = None,
    change: Change | None = None,
) -> None:
    """Train every weight on raw samples whose labels index names, under rule full.

    The network should have no memory yet: learn() would fill it. change: what makes of the samples,
    in every epoch anew, those that the network takes (augmentation).
    """
    generator = np.random.default_rng(seed)
    low, high = value_range
    spread = schedule.noise * (high - low)
    task = progress and progress.add_task("pre-training", total=schedule.epochs)
    net.configure(rule="full", replay=0)
    for epoch in range(schedule.epochs):
        net.configure(learning_rate=schedule.learning_rate * cosine(epoch / schedule.epochs))
        order = generator.permutation(len(samples))
        if epoch == 0:
            order = one_of_each_first(order, labels)
        rows = change(samples[order], generator) if change else samples[order]
        rows = rows.astype(np.float32)
        if spread:
            rows += generator.normal(0, spread, rows.shape).astype(np.float32)
            rows = rows.clip(low, high)
        for row, label in zip(rows, labels[order], strict=True):
            if net.learn(array("f", row.tobytes()), names[label]).diverged:
                raise ValueError("training diverged: the learning rate may be too high")
        if progress:
            progress.advance(task)


def cosine(share: float) -> float:
    """1 at the start, 0 at the end."""
    return 0.5 * (1 + math.cos(math.pi * share))


def one_of_each_first(order: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Classes are numbered as they come: let the first samples name them in order."""
    firsts = np.unique(labels[order], return_index=True)[1]
    return np.concatenate([order[firsts], np.delete(order, firsts)])


def accuracy(
    net: tinyinc.Net, samples: np.ndarray, labels: np.ndarray, names: Sequence[str | int]
) -> float:
    """Share of raw samples that the network names rightly."""
    kind = typecode(samples)
    hits = sum(
        net.predict(array(kind, row.tobytes())) == names[label]
        for row, label in zip(samples, labels, strict=True)
    )
    return hits / len(samples)
