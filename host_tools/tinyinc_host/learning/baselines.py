"""What TinyInc has to beat: k nearest neighbours on online prototypes, the nearest class mean, and
streaming linear discriminant analysis; in numpy, on the samples that a network sees.

All of them take (sample, label) lessons one at a time; where their order does not change the
result, they are worked off in blocks.
"""

from __future__ import annotations

import numpy as np

from tinyinc_host.quantise import Scaling

from .method import Method
from .protocols import Part

BLOCK = 512  # lessons worked off at once, and test samples
MOST_WEIGHT = 64  # of a prototype: how slow it may become
LEVELS = 255  # steps of a prototype's 8-bit values
SHRINKAGE = 1e-2  # of the covariance, in units of its mean variance


class Baseline(Method):
    """What they have in common: no network, no backward pass."""

    def __init__(self, inputs: int, classes: int, scaling: Scaling, budget: int, seed: int) -> None:
        self.inputs, self.classes, self.scaling = inputs, classes, scaling
        self.budget = budget  # bytes

    @property
    def total_bytes(self) -> int:
        return self.memory_bytes

    @property
    def ram_bytes(self) -> int:
        """With the sample at hand."""
        return self.memory_bytes + 4 * self.inputs

    def begin(self, before: Part) -> None:
        """Learn what a network would have been pre-trained on."""
        for sample, label in zip(before.samples, before.labels.tolist(), strict=True):
            self.learn(sample, label)
        self.end()
        self.learn_macs = 0
        self.search_macs = 0

    def predict(self, samples: np.ndarray) -> np.ndarray:
        blocks = range(0, len(samples), BLOCK)
        return np.concatenate([self.classify(self.scaling(samples[i : i + BLOCK])) for i in blocks])

    def classify(self, x: np.ndarray) -> np.ndarray:
        """Classes of scaled samples."""
        raise NotImplementedError


class NearestNeighbour(Baseline):
    """One nearest neighbour among 8-bit prototypes, which online k-means within each class makes.

    Every class has the same share of the slots. While a class is below its share, a sample becomes
    a prototype, if need be instead of the one with least weight in the largest class; afterwards
    the nearest prototype of its class moves towards it by 1 / min(w, 64), where w samples made it
    (MacQueen 1967), rounded at random.
    """

    def __init__(self, inputs: int, classes: int, scaling: Scaling, budget: int, seed: int) -> None:
        super().__init__(inputs, classes, scaling, budget, seed)
        self.generator = np.random.default_rng(seed)
        self.slots = budget // (inputs + 2)  # a byte for each value, the class and the weight
        self.prototypes = np.zeros((self.slots, inputs), np.float32)  # whole numbers, 0 to 255
        self.norms = np.zeros(self.slots, np.float32)  # squared; kept for speed alone
        self.weights = np.zeros(self.slots, int)
        self.members: dict[int, list[int]] = {}
        self.used = 0

    @property
    def memory_bytes(self) -> int:
        return self.used * (self.inputs + 2)

    @property
    def predict_macs(self) -> int:
        return self.used * self.inputs

    def quantise(self, x: np.ndarray) -> np.ndarray:
        """Scaled samples in steps of a prototype's values."""
        low, high = self.scaling.low, self.scaling.high
        return ((x - low) * (LEVELS / (high - low))).round()

    def learn(self, sample: np.ndarray, label: int) -> None:
        q = self.quantise(self.scaling(sample))
        own = self.members.setdefault(label, [])
        if len(own) < self.slots // len(self.members):
            slot = self._free_slot()
            own.append(slot)
            self._put(slot, q, 1)
            return
        if not own:
            return  # more classes than slots
        distances = self.norms[own] - 2 * (self.prototypes[own] @ q)
        self.search_macs += len(own) * self.inputs
        slot = own[int(distances.argmin())]
        weight = min(self.weights[slot] + 1, MOST_WEIGHT)
        old = self.prototypes[slot]
        noise = self.generator.random(self.inputs, np.float32)
        self._put(slot, np.floor(old + (q - old) / weight + noise).clip(0, LEVELS), weight)

    def _put(self, slot: int, q: np.ndarray, weight: int) -> None:
        self.prototypes[slot], self.norms[slot], self.weights[slot] = q, q @ q, weight

    def _free_slot(self) -> int:
        if self.used < self.slots:
            self.used += 1
            return self.used - 1
        largest = max(self.members.values(), key=len)
        slot = min(largest, key=lambda slot: self.weights[slot])
        largest.remove(slot)
        return slot

    def classify(self, x: np.ndarray) -> np.ndarray:
        if not self.used:
            raise ValueError(f"no prototype fits {self.budget} bytes")
        order = [(slot, label) for label, slots in self.members.items() for slot in slots]
        slots, labels = np.array(order).T
        distances = self.norms[slots] - 2 * (self.quantise(x) @ self.prototypes[slots].T)
        return labels[distances.argmin(axis=1)]


class NearestMean(Baseline):
    """The class whose mean is nearest."""

    def __init__(self, inputs: int, classes: int, scaling: Scaling, budget: int, seed: int) -> None:
        super().__init__(inputs, classes, scaling, budget, seed)
        self.sums = np.zeros((classes, inputs))
        self.counts = np.zeros(classes, int)
        self.waiting: tuple[list[np.ndarray], list[int]] = ([], [])

    @property
    def memory_bytes(self) -> int:
        return 4 * self.classes * (self.inputs + 1)

    @property
    def predict_macs(self) -> int:
        return self.classes * self.inputs

    def learn(self, sample: np.ndarray, label: int) -> None:
        samples, labels = self.waiting
        samples.append(sample)
        labels.append(label)
        if len(labels) == BLOCK:
            self.end()

    def end(self) -> None:
        samples, labels = self.waiting
        if labels:
            self.add(self.scaling(np.stack(samples)), np.array(labels))
            samples.clear()
            labels.clear()

    def add(self, x: np.ndarray, labels: np.ndarray) -> None:
        one_hot = np.eye(self.classes, dtype=np.float32)[labels]
        self.sums += one_hot.T @ x
        self.counts += np.bincount(labels, minlength=self.classes)
        self.learn_macs += x.size

    @property
    def present(self) -> np.ndarray:
        """Classes seen so far."""
        return np.flatnonzero(self.counts)

    def means(self) -> np.ndarray:
        """Of the classes that are present."""
        return self.sums[self.present] / self.counts[self.present, None]

    def classify(self, x: np.ndarray) -> np.ndarray:
        means = self.means()
        return self.present[(np.square(means).sum(1) - 2 * (x @ means.T)).argmin(axis=1)]


class StreamingLda(NearestMean):
    """Streaming linear discriminant analysis (Hayes and Kanan, arXiv 1909.01520): running class
    means and one covariance within the classes, shrunk by SHRINKAGE times its mean variance."""

    def __init__(self, inputs: int, classes: int, scaling: Scaling, budget: int, seed: int) -> None:
        super().__init__(inputs, classes, scaling, budget, seed)
        self.products = np.zeros((inputs, inputs))
        self.solution: tuple[np.ndarray, np.ndarray] | None = None

    @property
    def memory_bytes(self) -> int:
        return 4 * (self.inputs * (self.inputs + 1) // 2 + self.classes * self.inputs)

    def add(self, x: np.ndarray, labels: np.ndarray) -> None:
        super().add(x, labels)
        self.products += x.T @ x
        self.learn_macs += len(x) * self.inputs * (self.inputs + 1) // 2

    def end(self) -> None:
        super().end()
        self.solution = None

    def solve(self) -> tuple[np.ndarray, np.ndarray]:
        """Weights (classes present, inputs) and biases."""
        means = self.means()
        between = (means * self.counts[self.present, None]).T @ means
        covariance = (self.products - between) / max(1, self.counts.sum())
        shrinkage = SHRINKAGE * max(np.trace(covariance) / self.inputs, 1e-12)
        covariance[np.diag_indices(self.inputs)] += shrinkage
        weights = np.linalg.solve(covariance, means.T).T
        return weights, -0.5 * (weights * means).sum(axis=1)

    def classify(self, x: np.ndarray) -> np.ndarray:
        if self.solution is None:
            self.solution = self.solve()
        weights, biases = self.solution
        return self.present[(x @ weights.T + biases).argmax(axis=1)]
