"""Datasets as lessons: (a) fine-tuning under drift, (b) class-incremental, (c) from scratch.

Each protocol gives courses: lessons in an order drawn from the seed, which all methods see alike,
and test sets by name; in (a) also what was learned before.

    a  Pre-trained on one domain, one pass over another: another user (a course for each), another
       load, images rotated by 30 degrees, or another microphone, which to cepstral coefficients is
       a constant for each. Tests: held-out samples of the new and of the old.
    b  Two classes at a time, in an order drawn from the seed, one pass.
    c  From scratch, one pass over all samples, shuffled.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from tinyinc_host.data import Dataset
from tinyinc_host.data.dataset import by_time, kinds

TURN = 30  # degrees
COLOUR = 1.0  # of a microphone: in standard deviations of each coefficient
CLASSES_AT_ONCE = 2
HELD_OUT = 0.1  # of the old domains, where the test part has but new ones
LESSONS_OF_NEW = 0.6  # of a new domain's samples, per class; the rest is for testing


Change = Callable[[np.ndarray], np.ndarray]  # of raw samples in rows


class Part(NamedTuple):
    """Raw samples in rows, and their classes."""

    samples: np.ndarray
    labels: np.ndarray

    def take(self, chosen: np.ndarray) -> Part:
        """Those of a mask, or at these positions in this order."""
        return Part(self.samples[chosen], self.labels[chosen])

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Course:
    """One stream of lessons, and what is tested after it."""

    lessons: Part
    tests: dict[str, Part]
    before: Part | None = None


def train_part(dataset: Dataset) -> Part:
    return Part(dataset.train_samples, dataset.train_labels)


def test_part(dataset: Dataset) -> Part:
    return Part(dataset.test_samples, dataset.test_labels)


# ---- b and c ----


def class_after_class(labels: np.ndarray, seed: int) -> np.ndarray:
    """Positions of all samples, two classes at a time."""
    generator = np.random.default_rng(seed)
    classes = generator.permutation(np.unique(labels))
    groups = [classes[i : i + CLASSES_AT_ONCE] for i in range(0, len(classes), CLASSES_AT_ONCE)]
    order = [generator.permutation(np.flatnonzero(np.isin(labels, g))) for g in groups]
    return np.concatenate(order)


def class_incremental(dataset: Dataset, drift: str, seed: int, validation: bool) -> list[Course]:
    train = train_part(dataset)
    order = class_after_class(train.labels, seed)
    return [Course(train.take(order), {"all": test_part(dataset)})]


def from_scratch(dataset: Dataset, drift: str, seed: int, validation: bool) -> list[Course]:
    train = train_part(dataset)
    order = np.random.default_rng(seed).permutation(len(train))
    return [Course(train.take(order), {"all": test_part(dataset)})]


# ---- a ----


def under_drift(dataset: Dataset, drift: str, seed: int, validation: bool) -> list[Course]:
    generator = np.random.default_rng(seed)
    if drift in CHANGES:
        return [_changed(dataset, CHANGES[drift](dataset, generator), generator)]
    return list(_domains(dataset, generator, validation))


def _changed(dataset: Dataset, change: Change, generator: np.random.Generator) -> Course:
    """One half of the training samples as they are, before; the other half changed, as lessons."""
    train, test = train_part(dataset), test_part(dataset)
    order = generator.permutation(len(train))
    before, lessons = train.take(order[: len(train) // 2]), train.take(order[len(train) // 2 :])
    tests = {"new": Part(change(test.samples), test.labels), "old": test}
    return Course(Part(change(lessons.samples), lessons.labels), tests, before)


def rotated(dataset: Dataset, generator: np.random.Generator) -> Change:
    from scipy.ndimage import rotate  # takes its time

    def change(samples: np.ndarray) -> np.ndarray:
        images = samples.reshape(len(samples), *dataset.shape)
        turned = rotate(images, TURN, axes=(1, 2), reshape=False, order=1)
        return turned.reshape(len(samples), -1)

    return change


def microphone(dataset: Dataset, generator: np.random.Generator) -> Change:
    """Samples are cepstra (coefficients, frames): a filter adds its logarithm to each."""
    samples = dataset.train_samples.reshape(-1, *dataset.shape)
    deviation = samples.std(axis=(0, 2))
    offset = (generator.normal(0, COLOUR, len(deviation)) * deviation)[:, None]
    low, high = dataset.low, dataset.high

    def change(samples: np.ndarray) -> np.ndarray:
        moved = samples.reshape(len(samples), *dataset.shape) + offset
        return moved.round().clip(low, high).astype(samples.dtype).reshape(len(samples), -1)

    return change


CHANGES: dict[str, Callable[[Dataset, np.random.Generator], Change]] = {
    "rotated": rotated,
    "microphone": microphone,
}


def _domains(
    dataset: Dataset, generator: np.random.Generator, validation: bool
) -> Iterator[Course]:
    """Where the test part has domains of its own (people), each of them in turn is new; else the
    last is, or to choose settings the last but one, which leaves the last alone."""
    train, test = train_part(dataset), test_part(dataset)
    of_train, of_test = dataset.train_domains, dataset.test_domains
    if of_train is None or of_test is None:
        raise ValueError(f"dataset {dataset.name} has no domains")
    strangers = np.setdiff1d(of_test, of_train)
    if len(strangers):
        # neighbours in a recording resemble each other: what is tested came last
        later = by_time(kinds(train.labels, of_train), HELD_OUT)
        before = train.take(generator.permutation(np.flatnonzero(~later)))
        for stranger in strangers:
            own = test.take(of_test == stranger)
            rest = by_time(own.labels, 1 - LESSONS_OF_NEW)
            lessons = own.take(generator.permutation(np.flatnonzero(~rest)))
            yield Course(lessons, {"new": own.take(rest), "old": train.take(later)}, before)
        return
    names = np.unique(of_train)
    names = names[:-1] if validation else names
    new, old = names[-1:], names[:-1]
    if not len(old):
        raise ValueError(
            f"dataset {dataset.name} has too few domains: {', '.join(map(str, names))}"
        )
    lessons = train.take(generator.permutation(np.flatnonzero(np.isin(of_train, new))))
    before = train.take(generator.permutation(np.flatnonzero(np.isin(of_train, old))))
    tests = {"new": test.take(np.isin(of_test, new)), "old": test.take(np.isin(of_test, old))}
    yield Course(lessons, tests, before)


PROTOCOLS: dict[str, Callable[[Dataset, str, int, bool], list[Course]]] = {
    "b": class_incremental,
    "c": from_scratch,
    "a": under_drift,
}
TITLES = {
    "a": "(a) fine-tuning under drift",
    "b": "(b) class-incremental, two classes at a time, one pass",
    "c": "(c) from scratch, batch 1, one pass over shuffled samples",
}


def joint(course: Course, seed: int) -> Course:
    """The same samples without the difficulty: shuffled; in (a) among as many of the old domain."""
    generator = np.random.default_rng(seed)
    lessons = course.lessons
    if course.before is not None:
        old = course.before.take(generator.permutation(len(course.before))[: len(lessons)])
        lessons = Part(*map(np.concatenate, zip(lessons, old, strict=True)))
    shuffled = lessons.take(generator.permutation(len(lessons)))
    return Course(shuffled, course.tests, course.before)
