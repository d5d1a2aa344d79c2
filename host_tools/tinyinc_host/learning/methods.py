"""The methods of the table. Networks learn through the device package, as on a board; all have the
same layers, first weights and learning rate, and differ in rule and memory."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

import tinyinc
from tinyinc import image
from tinyinc_host import network
from tinyinc_host.data import Dataset
from tinyinc_host.distill import distill
from tinyinc_host.export import fill_memory, start_stream, with_memory
from tinyinc_host.pretrain import Schedule, pretrain
from tinyinc_host.quantise import Scaling

from .baselines import NearestMean, NearestNeighbour, StreamingLda
from .method import Method
from .protocols import Part
from .settings import Setup, scaling_of

GROWTH = 8  # units per class of a network whose size follows the task
MOST_LDA_INPUTS = 4096  # a covariance of more does not fit a desktop, let alone a board


@dataclass(frozen=True)
class Bench:
    """Everything that the methods of one run share."""

    setup: Setup
    dataset: Dataset
    seed: int
    folder: Path  # where pre-trained networks are kept
    key: str = ""  # of the pre-trained network

    @property
    def classes(self) -> int:
        return len(self.dataset.labels)

    @cached_property
    def scaling(self) -> Scaling:
        return scaling_of(self.setup, self.dataset.train_samples)

    @property
    def exemplars(self) -> int:
        """How many samples of 8 bits a value fit into the memory."""
        return max(self.classes, int(self.setup.memory * len(self.dataset.train_labels)))

    @property
    def slots(self) -> int:
        """Exemplars that TinyInc may keep in the same bytes."""
        return self.exemplars * 8 // self.setup.memory_bits

    def network(
        self,
        slots: int = 0,
        labels: tuple[int, ...] = (),
        hidden: tuple[network.Layer, ...] | None = None,
    ) -> tinyinc.Net:
        """A network that has learned nothing, with room for all classes; its hidden layers are the
        setup's, or others."""
        dataset, setup, scaling = self.dataset, self.setup, self.scaling
        shape = network.image_shape(dataset.shape) if setup.image else (dataset.inputs,)
        return network.network(
            shape,
            (*(hidden or setup.hidden), network.dense(self.classes)),
            labels=labels,
            scaling=(scaling.offset, scaling.scale, scaling.low, scaling.high),
            memory=slots,
            memory_bits=self.setup.memory_bits,
            label_bytes=4,
            seed=self.seed + 1,
        )

    def dense_macs(self) -> tuple[int, int]:
        """Forward and backward multiply-accumulates of one lesson that leaves nothing out."""
        net = self.network(labels=tuple(range(self.classes)))
        return net.dense_forward_macs, net.dense_backward_macs

    def budget(self) -> int:
        """Bytes that TinyInc takes: network, memory, labels and settings."""
        return self.network(self.slots).image_bytes

    def pretrained(self, before: Part) -> tinyinc.Net:
        """The network after its pre-training on the desktop, under rule full; kept for all methods
        of the same seed."""
        path = self.folder / f"{self.key}.tinc"
        if not path.is_file():
            net = self.network()
            names = range(self.classes)
            span = (self.dataset.low, self.dataset.high)
            schedule = Schedule(self.setup.epochs, self.setup.rate)
            pretrain(net, *before, names, schedule, span, self.seed)
            path.parent.mkdir(parents=True, exist_ok=True)
            part = path.with_suffix(f".{os.getpid()}")
            net.save(str(part))
            part.replace(path)
        return tinyinc.load(str(path))


class Network(Method):
    """A network that learns what it is told, by one rule, without memory."""

    slots = 0

    def __init__(self, bench: Bench, rule: str, **settings: float) -> None:
        self.bench = bench
        usual = {"replay": 0, "logit_adjustment": 0, "learning_rate": bench.setup.rate}
        self.settings = {"rule": rule, **usual, **settings}
        self.net = self.untrained()
        self.net.configure(**self.settings)
        self.backward_macs = 0

    def untrained(self) -> tinyinc.Net:
        return self.bench.network(self.slots)

    def begin(self, before: Part) -> None:
        bits = self.bench.setup.memory_bits
        self.net = with_memory(self.bench.pretrained(before), self.slots, memory_bits=bits)
        self.net.configure(**self.settings)
        start_stream(self.net)

    def learn(self, sample: np.ndarray, label: int) -> None:
        self.count(self.net.learn(sample, label))

    def count(self, step: tinyinc.Step) -> None:
        self.backward_macs += step.backward_macs
        self.learn_macs += step.forward_macs + step.backward_macs
        self.search_macs += step.search_macs
        self.diverged += step.diverged

    def predict(self, samples: np.ndarray) -> np.ndarray:
        return np.array([self.net.predict(sample) for sample in samples])

    @property
    def memory_bytes(self) -> int:
        return len(self.net.sections[image.MEMORY])

    @property
    def total_bytes(self) -> int:
        return self.net.image_bytes

    @property
    def ram_bytes(self) -> int:
        return self.total_bytes + self.net.scratch_bytes

    @property
    def vote_macs(self) -> int:
        """Of a prediction: the distances to all exemplars."""
        return self.net.memory.count * self.net.inputs

    @property
    def predict_macs(self) -> int:
        return self.net.dense_forward_macs + self.vote_macs

    @property
    def size(self) -> str:
        structure = self.net.sections[image.STRUCTURE]
        units = [
            image.active(structure, layer)
            for layer in range(self.net.layer_count)
            if image.layer_macs(structure, layer)[0]
        ]
        return "-".join(map(str, [self.net.inputs, *units]))


class TinyInc(Network):
    """All of it: sparse rule, distilled memory that is replayed and votes, consolidation. What the
    settings do not say is as tinyinc.create() has it."""

    def __init__(self, bench: Bench) -> None:
        self.slots = bench.slots
        names = ("replay", "logit_adjustment")
        usual = {name: image.SETTINGS[name][-1] for name in names}
        super().__init__(bench, "sampled", **usual | bench.setup.tinyinc)
        self.lessons = 0

    def begin(self, before: Part) -> None:
        super().begin(before)
        present = len(np.unique(before.labels))
        few, labels = distill(*before, self.slots // present, seed=self.bench.seed)
        fill_memory(self.net, few, labels, range(self.bench.classes), len(before) // len(few))

    def learn(self, sample: np.ndarray, label: int) -> None:
        super().learn(sample, label)
        self.lessons += 1

    def end(self) -> None:
        lessons = round(self.bench.setup.consolidation * self.lessons)
        if lessons:
            self.net.consolidate(lessons=lessons)
            self.count(self.net.step)

    def predict_alone(self, samples: np.ndarray) -> np.ndarray:
        vote = self.net.setting("vote")
        self.net.configure(vote=0)
        found = self.predict(samples)
        self.net.configure(vote=vote)
        return found


class Growing(TinyInc):
    """The same with a hidden layer that starts small, grows with the classes up to half the units
    of the others', and loses units of little use."""

    def __init__(self, bench: Bench) -> None:
        super().__init__(bench)
        self.net.configure(growth=GROWTH, replay=1, error_threshold=0.5)

    def untrained(self) -> tinyinc.Net:
        units = max(self.bench.setup.hidden[-1].units // 2, 1)
        return self.bench.network(
            self.slots, hidden=(network.dense(units, active=min(units, 2 * GROWTH)),)
        )


class RandomReplay(Network):
    """Replay as it is usually done: samples drawn at random, as many of every class, in the bytes
    that TinyInc's memory takes; one of them after each lesson, under rule full."""

    def __init__(self, bench: Bench) -> None:
        super().__init__(bench, "full")
        self.reservoir = Reservoir(bench.exemplars, bench.scaling, bench.dataset.inputs, bench.seed)

    def begin(self, before: Part) -> None:
        super().begin(before)
        for sample, label in zip(before.samples, before.labels.tolist(), strict=True):
            self.reservoir.keep(sample, label)

    def learn(self, sample: np.ndarray, label: int) -> None:
        exemplar = self.reservoir.draw()
        super().learn(sample, label)
        if exemplar:
            super().learn(*exemplar)
        self.reservoir.keep(sample, label)

    @property
    def memory_bytes(self) -> int:
        return len(image.empty_memory(self.reservoir.slots, self.net.inputs, 1.0, 0.0))

    @property
    def total_bytes(self) -> int:
        return self.net.image_bytes + self.memory_bytes


class Reservoir:
    """A random sample of every class (Vitter 1985), each with the same share of the slots; values
    in 8 bits over the range of the scaling, as in TinyInc's memory."""

    def __init__(self, slots: int, scaling: Scaling, inputs: int, seed: int) -> None:
        self.slots, self.scaling = slots, scaling
        self.generator = np.random.default_rng(seed)
        self.values = np.zeros((slots, inputs), np.uint8)
        self.members: dict[int, list[int]] = {}
        self.seen: dict[int, int] = {}
        self.used = 0

    def keep(self, sample: np.ndarray, label: int) -> None:
        """Perhaps: so that each sample of a class is kept with the same probability."""
        own = self.members.setdefault(label, [])
        self.seen[label] = self.seen.get(label, 0) + 1
        if len(own) < self.slots // len(self.members):
            slot = self._free_slot()
            own.append(slot)
        else:
            place = int(self.generator.integers(self.seen[label]))
            if place >= len(own):
                return
            slot = own[place]
        low, high = self.scaling.low, self.scaling.high
        x = self.scaling(sample)
        self.values[slot] = ((x - low) * (255 / (high - low))).round()

    def _free_slot(self) -> int:
        if self.used < self.slots:
            self.used += 1
            return self.used - 1
        largest = max(self.members.values(), key=len)
        return largest.pop(int(self.generator.integers(len(largest))))

    def draw(self) -> tuple[np.ndarray, int] | None:
        """A raw sample of a random class, and the class; None while there is none."""
        labels = [label for label, slots in self.members.items() if slots]
        if not labels:
            return None
        label = labels[int(self.generator.integers(len(labels)))]
        slots = self.members[label]
        q = self.values[slots[int(self.generator.integers(len(slots)))]]
        scaling = self.scaling
        x = scaling.low + q * np.float32((scaling.high - scaling.low) / 255)
        return (x / np.float32(scaling.scale) + np.float32(scaling.offset)), label


def _baseline(kind: type) -> Callable[[Bench], Method]:
    def make(bench: Bench) -> Method:
        inputs = bench.dataset.inputs
        return kind(inputs, bench.classes, bench.scaling, bench.budget(), bench.seed)

    return make


def _rule(name: str) -> Callable[[Bench], Method]:
    return lambda bench: Network(bench, name, **bench.setup.rules.get(name, {}))


METHODS: dict[str, Callable[[Bench], Method]] = {
    "tinyinc": TinyInc,
    "growing": Growing,
    "full": _rule("full"),
    "knn": _baseline(NearestNeighbour),
    "mean": _baseline(NearestMean),
    "slda": _baseline(StreamingLda),
    "joint": _rule("full"),
    "replay": RandomReplay,
    "static": _rule("static"),
    "tinyprop": _rule("tinyprop"),
    "tinyprop2": _rule("tinyprop2"),
}
BASELINES = ("knn", "mean", "slda")
TITLES = {
    "tinyinc": "TinyInc",
    "growing": "TinyInc, size follows the task",
    "full": "full rule, no memory (fine-tuning)",
    "knn": "k-NN on online prototypes",
    "mean": "nearest class mean",
    "slda": "streaming LDA",
    "joint": "joint training",
    "replay": "replay of random exemplars",
    "static": "static rule, no memory",
    "tinyprop": "TinyProp, no memory",
    "tinyprop2": "TinyPropv2, no memory",
}
