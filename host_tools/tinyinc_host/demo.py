"""The main job: a board that knows all classes but two learns those two, one sample at a time.

A network is pre-trained on the old classes and deployed with their distilled memory. The board
then sees samples of one new class only, then of the other only: the order in which a network
without memory forgets. The same run without memory is the comparison.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

import tinyinc
from tinyinc.image import FORMATS
from tinyinc_host import network
from tinyinc_host.data import Dataset
from tinyinc_host.distill import distill
from tinyinc_host.export import export, fill_memory, with_memory
from tinyinc_host.front import features, memory_range, untrained
from tinyinc_host.pretrain import Schedule, pretrain
from tinyinc_host.quantise import power_of_two, quantise
from tinyinc_host.report import progress_bars
from tinyinc_host.simulate import ROOT, Board, Stats, board, check_engine

FOLDER = ROOT / "build" / "demo"
CALIBRATION = 2000  # samples at most that tell the steps in q8


@dataclass(frozen=True)
class Settings:
    """Chosen on images held out of the training part, never on test images."""

    hidden: int
    memory_share: float  # slots, as a share of the training samples of the old classes
    schedule: Schedule
    learning: dict[str, str | float]  # Net.configure() of the board
    stream: int | None = None  # samples of each new class; None: all there are
    checkpoints: int = 24  # of the learning curve
    curve_tests: int = 500  # test samples behind each of its points


MEMORY_BITS = 4  # per value of an exemplar: enough for images, and twice as many of them

SETTINGS = {
    "digits": Settings(
        hidden=32,
        memory_share=0.05,
        schedule=Schedule(epochs=30, learning_rate=0.1, noise=0.3),
        learning={"rule": "sampled", "learning_rate": 0.01, "replay": 2, "vote": 16},
    ),
    "mnist": Settings(
        hidden=128,
        memory_share=0.01,
        schedule=Schedule(epochs=3, learning_rate=0.05),
        learning={"rule": "sampled", "learning_rate": 0.01, "replay": 2, "vote": 16},
        stream=1000,
    ),
}


@dataclass(frozen=True)
class Task:
    """What is old, what is new, and in which order the new samples come."""

    dataset: Dataset
    old: list[int]
    new: list[int]
    stream: np.ndarray  # positions in the training part

    def is_old(self) -> np.ndarray:
        """Mask over the test samples."""
        return np.isin(self.dataset.test_labels, self.old)


@dataclass
class Run:
    """What one board did. A curve has a row per checkpoint: old, first new, second new class."""

    positions: list[int] = field(default_factory=list)
    curve: list[list[float]] = field(default_factory=list)
    before: np.ndarray | None = None  # predicted class of every test sample; -1: none of ours
    after: np.ndarray | None = None
    samples: int = 0
    skipped: int = 0
    macs: int = 0
    backward_macs: int = 0
    dense_forward_macs: int = 0
    dense_backward_macs: int = 0
    stats: Stats | None = None


@dataclass(frozen=True)
class Outcome:
    """Everything the table and the picture show."""

    task: Task
    with_memory: Run
    without_memory: Run
    memory_fraction: float
    image: Path  # after learning

    def result(self) -> dict[str, float | int]:
        run = self.with_memory
        right = run.after == self.task.dataset.test_labels
        old = self.task.is_old()
        dense = run.dense_forward_macs + run.dense_backward_macs
        return {
            "accuracy_old_before": _share((run.before == self.task.dataset.test_labels)[old]),
            "accuracy_old_after": _share(right[old]),
            "accuracy_new_after": _share(right[~old]),
            "accuracy_all_after": _share(right),
            "accuracy_all_no_memory": _share(
                self.without_memory.after == self.task.dataset.test_labels
            ),
            "samples": run.samples,
            "skipped": run.skipped,
            "backward_macs_ratio": run.backward_macs / run.dense_backward_macs,
            "total_macs_ratio": run.macs / dense,
            "image_bytes": run.stats.image_bytes,
            "scratch_bytes": run.stats.scratch_bytes,
            "memory_fraction": self.memory_fraction,
        }


def settings_for(dataset: Dataset, quick: bool = False) -> Settings:
    """The tuned settings of a dataset, or MNIST's for one that has none of its own."""
    settings = SETTINGS.get(dataset.name.split(",")[0], SETTINGS["mnist"])
    if quick:
        schedule = replace(settings.schedule, epochs=2)
        settings = replace(settings, schedule=schedule, stream=20, checkpoints=4, curve_tests=100)
    return settings


def make_task(dataset: Dataset, seed: int, limit: int | None) -> Task:
    """Each seed has its own pair of new classes, up to the number of pairs, then swapped ones."""
    classes = len(dataset.labels)
    if classes < 3:
        raise ValueError(f"dataset {dataset.name} has {classes} classes, the demo needs 3")
    first = (classes - 2 + 2 * seed) % classes
    new = [first, (first + 1) % classes]
    if seed // (classes // 2) % 2:
        new.reverse()
    old = [c for c in range(classes) if c not in new]
    generator = np.random.default_rng(seed)
    parts = [generator.permutation(np.flatnonzero(dataset.train_labels == c))[:limit] for c in new]
    return Task(dataset, old, new, np.concatenate(parts))


def check(engine: str, format: str) -> None:
    """Before the work: there is such a board, and it computes so."""
    check_engine(engine)
    if format not in FORMATS:
        raise ValueError(f"format '{format}', expected {', '.join(FORMATS)}")


def run(
    dataset: Dataset,
    seed: int = 0,
    engine: str = "unix",
    settings: Settings | None = None,
    progress: Progress | None = None,
    folder: Path = FOLDER,
    format: str = "f32",
    front_end: tinyinc.Net | None = None,
) -> Outcome:
    """Pre-train, distil, export and learn; the images are left in the folder. In format q8 the
    pre-trained network is quantised, and learns its new classes in integers. Behind a front end, to
    which the dataset has been made fit, the memory keeps features in 4 bits, in as many bytes."""
    check(engine, format)
    settings = settings or settings_for(dataset)
    task = make_task(dataset, seed, settings.stream)
    samples, labels = dataset.training(task.old)
    slots = int(settings.memory_share * len(samples))
    share, slots = slots / len(samples), slots * 8 // MEMORY_BITS
    if front_end:
        slots = slots * dataset.inputs // front_end.features
    per_class = slots // len(task.old)
    bare, deployed, learned = (folder / f"{n}.tinc" for n in ("bare", "deployed", "learned"))

    net = untrained(dataset, [network.dense(settings.hidden)], seed, front_end)
    pretrain(
        net,
        samples,
        labels,
        dataset.labels,
        settings.schedule,
        (dataset.low, dataset.high),
        seed,
        progress,
    )
    learning = settings.learning
    if format == "q8":
        net = quantise(net, samples[:: len(samples) // CALIBRATION + 1])
        learning = learning | {"learning_rate": power_of_two(learning["learning_rate"])}
    export(net, bare, **learning)
    with _step(progress, "distilling"):
        exemplars = features(net, samples) if front_end else samples
        few, few_labels = distill(exemplars, labels, per_class, seed=seed)
    net = with_memory(net, slots, memory_range(net, exemplars), MEMORY_BITS)
    fill_memory(net, few, few_labels, dataset.labels, len(samples) // len(few))
    export(net, deployed, **learning)

    def learn(image: Path, name: str) -> Run:
        with board(engine, image, dataset.train_samples.dtype) as device:
            done = stream(device, task, settings, name, progress)
            if image == deployed:
                device.save(learned)
        return done

    with ThreadPoolExecutor(2) as pool:
        runs = list(pool.map(learn, (deployed, bare), ("with memory", "without memory")))
    return Outcome(task, *runs, share, learned)


def stream(
    device: Board, task: Task, settings: Settings, name: str, progress: Progress | None = None
) -> Run:
    """Let a board learn the new classes, one sample at a time; test it on the way."""
    data, done = task.dataset, Run(samples=len(task.stream))
    subset = np.random.default_rng(0).permutation(len(data.test_labels))[: settings.curve_tests]
    points = set(np.linspace(0, done.samples, settings.checkpoints + 1).astype(int))
    bar = progress and progress.add_task(f"learning {name}", total=done.samples)
    done.before = predict_all(device, data)
    for position, index in enumerate(task.stream):
        if position in points:
            _checkpoint(done, position, device, task, subset)
        label = data.train_labels[index]
        lesson = device.learn(data.train_samples[index], data.labels[label])
        if position == 0 or label != data.train_labels[task.stream[position - 1]]:
            done.stats = device.stats()  # a class has been added
        done.skipped += lesson.skipped
        done.macs += lesson.macs
        done.backward_macs += lesson.backward_macs
        done.dense_forward_macs += done.stats.dense_forward_macs
        done.dense_backward_macs += done.stats.dense_backward_macs
        if progress:
            progress.advance(bar)
    _checkpoint(done, done.samples, device, task, subset)
    done.after = predict_all(device, data)
    return done


def predict_all(device: Board, data: Dataset, subset: np.ndarray | None = None) -> np.ndarray:
    """Predicted classes of the test samples, or of some of them."""
    rows = data.test_samples if subset is None else data.test_samples[subset]
    number = {label: position for position, label in enumerate(data.labels)}
    return np.array([number.get(device.predict(row), -1) for row in rows])


def _checkpoint(done: Run, position: int, device: Board, task: Task, subset: np.ndarray) -> None:
    truth = task.dataset.test_labels[subset]
    right = predict_all(device, task.dataset, subset) == truth
    groups = [np.isin(truth, task.old), truth == task.new[0], truth == task.new[1]]
    done.positions.append(position)
    done.curve.append([_share(right[group]) for group in groups])


def _share(right: np.ndarray) -> float:
    return float(np.mean(right)) if len(right) else float("nan")


@contextmanager
def _step(progress: Progress | None, name: str) -> Iterator[None]:
    """A bar that runs without a known end."""
    task = progress and progress.add_task(name, total=None)
    yield
    if progress:
        progress.update(task, total=1, completed=1)


def show(
    dataset: Dataset,
    seed: int,
    engine: str,
    console: Console,
    quick: bool = False,
    folder: Path = FOLDER,
    draw: Callable[[Outcome, Path], None] | None = None,
    format: str = "f32",
    front_end: tinyinc.Net | None = None,
) -> dict[str, float | int]:
    """Run with progress bars; write result.json and learning.png; print the table."""
    with progress_bars(console) as progress:
        settings = settings_for(dataset, quick)
        outcome = run(dataset, seed, engine, settings, progress, folder, format, front_end)
    result = outcome.result()
    (folder / "result.json").write_text(json.dumps(result, indent=2) + "\n")
    console.print(table(outcome, result))
    if draw:
        draw(outcome, folder / "learning.png")
        console.print(f"picture: {folder / 'learning.png'}", soft_wrap=True, highlight=False)
    return result


def table(outcome: Outcome, result: dict[str, float | int]) -> Table:
    task, labels = outcome.task, outcome.task.dataset.labels
    old = task.is_old()
    alone = outcome.without_memory.after == task.dataset.test_labels
    first, second = (labels[c] for c in task.new)
    rows = Table(title=f"{task.dataset.name}: learned {first}, then {second}, on the board")
    rows.add_column("")
    rows.add_column("with memory", justify="right")
    rows.add_column("without", justify="right")
    before = _percent(result["accuracy_old_before"])
    rows.add_row("accuracy, old classes, before", before, before)
    rows.add_row(
        "accuracy, old classes, after",
        _percent(result["accuracy_old_after"]),
        _percent(_share(alone[old])),
    )
    rows.add_row(
        "accuracy, new classes, after",
        _percent(result["accuracy_new_after"]),
        _percent(_share(alone[~old])),
    )
    rows.add_row(
        "accuracy, all classes, after",
        _percent(result["accuracy_all_after"]),
        _percent(result["accuracy_all_no_memory"]),
    )
    for title, getter in (
        ("samples streamed", lambda r: str(r.samples)),
        ("of these skipped", lambda r: str(r.skipped)),
        ("backward work, of dense", lambda r: _percent(r.backward_macs / r.dense_backward_macs)),
        (
            "all work, of dense",
            lambda r: _percent(r.macs / (r.dense_forward_macs + r.dense_backward_macs)),
        ),
    ):
        rows.add_row(title, getter(outcome.with_memory), getter(outcome.without_memory))
    rows.add_row("memory, of training images", _percent(result["memory_fraction"]), "")
    rows.add_row("image", f"{result['image_bytes']} bytes", "")
    rows.add_row("scratch", f"{result['scratch_bytes']} bytes", "")
    return rows


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
