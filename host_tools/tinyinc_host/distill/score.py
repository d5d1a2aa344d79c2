"""How good a distilled set is, and how many samples a memory of so many bytes holds."""

from __future__ import annotations

import time
from bisect import bisect_right
from dataclasses import dataclass
from itertools import product

import numpy as np
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from tinyinc import image
from tinyinc_host import network, report
from tinyinc_host.data import Dataset
from tinyinc_host.distill import METHODS, distill
from tinyinc_host.export import fill_memory, memory_arrays
from tinyinc_host.front import untrained
from tinyinc_host.pretrain import Schedule, accuracy, pretrain

HIDDEN = 128
LESSONS = 20000  # of the network; short sets are seen more often
LEARNING_RATE = 0.02
MOST_SLOTS = 65535  # of a memory
BLOCK = 1000  # samples whose distances are computed at once


@dataclass(frozen=True)
class Score:
    """Shares of the test samples that are named rightly."""

    nearest: float  # by the nearest distilled sample: what the memory's vote knows
    network: (
        float  # by a network that was trained on the distilled samples alone: what replay knows
    )


def score(
    samples: np.ndarray,
    labels: np.ndarray,
    dataset: Dataset,
    seed: int = 0,
    progress: Progress | None = None,
) -> Score:
    """Score distilled samples, in raw units, on the test samples of their classes. To compare
    methods or settings, leave the true test samples alone: take a dataset of data.hold_out(). The
    network has one hidden layer of 128 units and learns through the engine, seed by seed the same.
    ValueError: training diverged."""
    samples = samples.astype(np.float32)
    tested = np.isin(dataset.test_labels, labels)
    rows, right = dataset.test_samples[tested], dataset.test_labels[tested]
    net = untrained(dataset, [network.dense(HIDDEN)], seed)
    schedule = Schedule(-(-LESSONS // len(samples)), LEARNING_RATE)
    value_range = (dataset.low, dataset.high)
    pretrain(net, samples, labels, dataset.labels, schedule, value_range, seed, progress)
    return Score(
        nearest=float(np.mean(labels[nearest(rows, samples)] == right)),
        network=accuracy(net, rows, right, dataset.labels),
    )


def compare(dataset: Dataset, budget_bytes: int, seed: int, console: Console) -> Table:
    """Score all methods at the same bytes, with 8 and with 4 bits per value."""
    classes = len(np.unique(dataset.train_labels))
    counts = {
        bits: per_class_within(budget_bytes, dataset.inputs, classes, bits) for bits in (8, 4)
    }
    table = Table("method", "bits", "of each class", "CPU seconds", "nearest, %", "network, %")
    train = dataset.train_samples, dataset.train_labels
    with report.progress_bars(console) as progress:
        for (bits, per_class), name in product(counts.items(), METHODS):
            start = time.process_time()
            samples, labels = distill(*train, per_class, name, seed, dataset.shape, progress)
            seconds = time.process_time() - start
            found = score(as_stored(samples, dataset, bits), labels, dataset, seed, progress)
            shares = f"{100 * found.nearest:.1f}", f"{100 * found.network:.1f}"
            table.add_row(name, str(bits), str(per_class), f"{seconds:.1f}", *shares)
    return table


def nearest(samples: np.ndarray, few: np.ndarray) -> np.ndarray:
    """For each sample the row number of the nearest of the few."""
    squares = (few**2).sum(axis=1)
    blocks = np.split(samples, range(BLOCK, len(samples), BLOCK))
    products = (block.astype(np.float32) @ few.T for block in blocks)
    return np.concatenate([(squares - 2 * part).argmin(axis=1) for part in products])


def as_stored(samples: np.ndarray, dataset: Dataset, bits: int) -> np.ndarray:
    """Distilled samples as a board's memory of so many bits per value returns them, raw units."""
    value_range = (dataset.low, dataset.high)
    net = network.network(
        (1, 1, dataset.inputs),
        [network.dense(1)],
        labels=["any"],
        raw_range=value_range,
        memory=len(samples),
        memory_bits=bits,
    )
    fill_memory(net, samples, np.zeros(len(samples), int), net.labels)
    kept = memory_arrays(net.sections[image.MEMORY])
    names = ("input_offset", "input_scale")
    offset, scale = (image.get(net.sections[image.STRUCTURE], image.HEADER[n]) for n in names)
    raw = (kept.offset + kept.step * kept.samples.astype(np.float32)) / scale + offset
    return raw.clip(*value_range).astype(np.float32)


def per_class_within(budget_bytes: int, values: int, classes: int, bits: int = 8) -> int:
    """How many samples of each class fit into a memory section of at most so many bytes, with its
    header and tables. ValueError: less than one."""
    sizes = range(1 + min(budget_bytes * 8 // (values * bits), MOST_SLOTS))
    fit = bisect_right(
        sizes, budget_bytes, key=lambda slots: len(image.empty_memory(slots, values, 1, 0, bits))
    )
    slots = max(fit - 1, 0)
    if slots < classes:
        raise ValueError(
            f"{budget_bytes} bytes hold {slots} samples of {values} values in {bits} bits, "
            f"expected one of each of {classes} classes"
        )
    return slots // classes
