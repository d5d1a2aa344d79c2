"""What a distillation method is given."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import numpy as np
from rich.progress import Progress

Pair = tuple[np.ndarray, np.ndarray]
T = TypeVar("T")


@dataclass(frozen=True)
class Job:
    """A training set, and what to make of it. Normalised units are those of the distances between
    samples: each value is centred on its mean, all are divided by the same number."""

    samples: np.ndarray  # (count, values) in raw units
    labels: np.ndarray
    per_class: int
    seed: int = 0
    shape: tuple[int, ...] = ()  # of one sample; (): a list of values
    progress: Progress | None = None

    @cached_property
    def classes(self) -> np.ndarray:
        return np.unique(self.labels)

    @cached_property
    def _mean(self) -> np.ndarray:
        return self.samples.mean(axis=0, dtype=np.float32)

    @cached_property
    def _scale(self) -> np.float32:
        return self.samples.std(dtype=np.float32) or np.float32(1)

    @cached_property
    def _range(self) -> tuple[np.ndarray, np.ndarray]:
        return self.samples.min(axis=0), self.samples.max(axis=0)

    def normalise(self, rows: np.ndarray) -> np.ndarray:
        return (rows - self._mean) / self._scale

    def restore(self, rows: np.ndarray) -> np.ndarray:
        """Raw units, each value within the range of the training samples."""
        raw = rows * self._scale + self._mean
        return raw.clip(*self._range).astype(np.float32)

    def by_class(self, choose: Callable[[np.ndarray], np.ndarray]) -> Pair:
        """Apply a function to the samples of each class; put the results together."""
        chosen = [
            choose(self.samples[self.labels == c]).astype(np.float32)
            for c in self.track(self.classes)
        ]
        return np.concatenate(chosen), np.repeat(self.classes, [len(rows) for rows in chosen])

    def track(self, steps: Sequence[T], what: str = "distilling") -> Iterable[T]:
        """The steps, with a progress bar where one is wanted."""
        return self.progress.track(steps, description=what) if self.progress else steps
