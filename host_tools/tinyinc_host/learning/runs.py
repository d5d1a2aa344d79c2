"""The runs of the table: which there are and in which order, one run, and what is kept of those
that are done, a line of JSON each.

A run that was kept is not run again while what it depends on is the same: see fingerprint().
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from pathlib import Path

import numpy as np
from rich.progress import Progress
from threadpoolctl import threadpool_limits

import tinyinc
from tinyinc import image
from tinyinc_host.bench import FOLDER as BENCHES
from tinyinc_host.bench_accuracy import core_print, in_processes

from . import protocols, settings
from .method import Method
from .methods import BASELINES, METHODS, MOST_LDA_INPUTS, Bench
from .protocols import PROTOCOLS, Course
from .settings import FIRST, SETUPS, Setup

FOLDER = BENCHES / "learning"
SEEDS = 3
LEAST_CLASSES = 3  # of protocol b: with two, there is but one step


@dataclass(frozen=True)
class Run:
    """One method on one dataset under one protocol. changed: fields of the setup, and settings of
    TinyInc, that replace those of the table, to try them out."""

    dataset: str
    protocol: str
    method: str
    seed: int
    validation: bool = False
    changed: tuple[tuple[str, float], ...] = ()

    @property
    def setup(self) -> Setup:
        setup, changed = SETUPS[self.dataset], dict(self.changed)
        own = {name: changed.pop(name) for name in CHANGEABLE if name in changed}
        return replace(setup, tinyinc={**setup.tinyinc, **changed}, **own)

    @property
    def name(self) -> str:
        return f"{self.dataset}/{self.protocol}/{self.method}/{self.seed}"


CHANGEABLE = ("rate", "memory", "consolidation")  # fields of a setup


@dataclass(frozen=True)
class Outcome:
    """What a run came to. Accuracies in percent, by test set; MACs against as many lessons of the
    whole network that leave nothing out; the rest as Method has it."""

    accuracy: dict[str, float] = field(default_factory=dict)
    before: dict[str, float] = field(default_factory=dict)  # the lessons, where something was
    without_vote: dict[str, float] = field(default_factory=dict)
    backward: float | None = None
    macs: float = 0.0
    lessons: int = 0
    predict_macs: int = 0
    vote_macs: int = 0
    memory_bytes: int = 0
    total_bytes: int = 0
    ram_bytes: int = 0
    budget: int = 0
    size: str = ""
    diverged: int = 0
    seconds: float = 0.0
    error: str = ""  # why there is nothing else


# ---- one run ----


def execute(run: Run) -> Outcome:
    """Learn and test; several courses are averaged."""
    started = time.monotonic()
    try:
        with threadpool_limits(1):  # as many processes as cores are at work
            outcome = _execute(run)
    except (ValueError, MemoryError) as error:
        outcome = Outcome(error=" ".join(str(error).split()) or "out of memory")
    return replace(outcome, seconds=round(time.monotonic() - started, 1))


def _execute(run: Run) -> Outcome:
    dataset = settings.load(run.dataset, run.validation)
    bench = Bench(run.setup, dataset, run.seed, FOLDER / "pretrained", network_print(run))
    courses = PROTOCOLS[run.protocol](dataset, run.setup.drift, run.seed, run.validation)
    return average([_take(run, bench, course) for course in courses])


def _take(run: Run, bench: Bench, course: Course) -> Outcome:
    """One course."""
    method = METHODS[run.method](bench)
    lessons, before = course.lessons, {}
    if course.before is not None:
        method.begin(course.before)
        before = _accuracies(method.predict, course)
    if run.method == "joint":
        lessons = protocols.joint(course, run.seed).lessons
    for sample, label in zip(lessons.samples, lessons.labels.tolist(), strict=True):
        method.learn(sample, label)
    method.end()
    return replace(_judge(method, bench, course), before=before)


def _judge(method: Method, bench: Bench, course: Course) -> Outcome:
    forward, backward = (macs * len(course.lessons) for macs in bench.dense_macs())
    return Outcome(
        accuracy=_accuracies(method.predict, course),
        without_vote=_accuracies(method.predict_alone, course),
        backward=None if method.backward_macs is None else method.backward_macs / backward,
        macs=method.learn_macs / (forward + backward),
        lessons=len(course.lessons),
        predict_macs=method.predict_macs,
        vote_macs=method.vote_macs,
        memory_bytes=method.memory_bytes,
        total_bytes=method.total_bytes,
        ram_bytes=method.ram_bytes,
        budget=bench.budget(),
        size=method.size,
        diverged=method.diverged,
    )


def _accuracies(
    predict: Callable[[np.ndarray], np.ndarray | None], course: Course
) -> dict[str, float]:
    """Percent of each test set that is named rightly."""
    found = {name: predict(part.samples) for name, part in course.tests.items()}
    return {
        name: float(100 * np.mean(labels == course.tests[name].labels))
        for name, labels in found.items()
        if labels is not None
    }


def average(outcomes: Sequence[Outcome]) -> Outcome:
    """The mean of the courses of a run; their lessons in sum."""
    if not outcomes:
        raise ValueError("this dataset gives no course under this protocol")
    first = outcomes[0]
    means = {
        name: float(np.mean([getattr(outcome, name) for outcome in outcomes]))
        for name in ("macs", "backward")
        if getattr(first, name) is not None
    }
    tables = {
        name: {
            part: float(np.mean([getattr(outcome, name)[part] for outcome in outcomes]))
            for part in getattr(first, name)
        }
        for name in ("accuracy", "before", "without_vote")
    }
    sums = {
        name: sum(getattr(outcome, name) for outcome in outcomes)
        for name in ("lessons", "diverged")
    }
    return replace(outcomes[-1], **means, **tables, **sums)


# ---- all runs ----


def plan(
    only: str = "",
    seeds: int = SEEDS,
    validation: bool = False,
    changed: tuple[tuple[str, float], ...] = (),
) -> list[Run]:
    """The runs in their order: first the datasets that a table needs most, under b, c, a, seed
    after seed; then the others. ValueError for a word or a setting that there is not."""
    wanted = choose(only)
    for name, value in changed:
        if name not in CHANGEABLE:
            image.check_setting(name, value)
    others = tuple(name for name in SETUPS if name not in FIRST)
    return [
        Run(name, protocol, method, seed, validation, changed)
        for names in (FIRST, others)
        for protocol in PROTOCOLS
        for seed in range(seeds)
        for name in names
        for method in METHODS
        if name in wanted[0]
        and protocol in wanted[1]
        and method in wanted[2]
        and makes_sense(name, protocol, method)
    ]


def choose(only: str) -> list[set[str]]:
    """Datasets, protocols and methods that words separated by commas stand for; all of a kind where
    none of it is named."""
    kinds = (SETUPS, PROTOCOLS, METHODS)
    words = [word.strip() for word in only.split(",") if word.strip()]
    for word in words:
        if not any(word in kind for kind in kinds):
            known = "; ".join(", ".join(kind) for kind in kinds)
            raise ValueError(f"'{word}' is no dataset, protocol or method; known: {known}")
    return [{word for word in words if word in kind} or set(kind) for kind in kinds]


def makes_sense(name: str, protocol: str, method: str) -> bool:
    """Protocol a needs a drift; in c, joint training would be the full rule again."""
    setup = SETUPS[name]
    if protocol not in setup.protocols or (protocol == "a" and not setup.drift):
        return False
    return (protocol, method) != ("c", "joint")


def missing(runs: Sequence[Run]) -> dict[str, str]:
    """Setups whose dataset is not at hand or does not fit, and why."""
    reasons = {}
    for name in {run.dataset: None for run in runs}:
        try:
            data_print(name)
        except (ValueError, OSError) as error:
            reasons[name] = str(error)
    return reasons


def unfit(run: Run) -> str:
    """Why a run cannot be made, though its dataset is there; "" where it can."""
    classes, inputs, has_domains = data_print(run.dataset)[1:]
    if run.protocol == "b" and classes < LEAST_CLASSES:
        return f"{classes} classes"
    if run.protocol == "a" and run.setup.drift == "domains" and not has_domains:
        return "its domains are not known"
    if run.method == "slda" and inputs > MOST_LDA_INPUTS:
        return f"a covariance of {inputs} values is too large"
    return ""


# ---- what is kept ----


@cache
def data_print(name: str) -> tuple[str, int, int, bool]:
    """Of a dataset's content; its classes, its values per sample, and whether domains are known."""
    dataset = settings.load(name)
    made = hashlib.sha256()
    for array in (dataset.train_samples, dataset.train_labels, dataset.test_samples):
        made.update(np.ascontiguousarray(array).view(np.uint8).data)
    known = dataset.train_domains is not None
    return made.hexdigest()[:16], len(dataset.labels), dataset.inputs, known


@cache
def engine_print() -> str:
    """Of the device package and the core as compiled."""
    return core_print() + source_print(Path(tinyinc.__file__).parent, "*.py")


@cache
def source_print(folder: Path, *names: str) -> str:
    made = hashlib.sha256()
    for name in names:
        for path in sorted(folder.glob(name)):
            made.update(path.read_bytes())
    return made.hexdigest()[:16]


def fingerprint(run: Run) -> str:
    """Of all that a run's outcome depends on. Baselines do not depend on the engine, but for the
    bytes that they get."""
    here, baseline = Path(__file__).parent, run.method in BASELINES
    sources = ("protocols.py", "baselines.py" if baseline else "methods.py")
    needs = [asdict(run), setup_print(run), data_print(run.dataset)[0]]
    needs += [source_print(here, *sources), budget(run) if baseline else engine_print()]
    return _hash(needs)


def setup_print(run: Run) -> str:
    """What the network, the data and (but for a baseline) the settings are."""
    setup = run.setup
    if run.method in BASELINES:
        setup = replace(setup, tinyinc={}, rules={}, rate=0, consolidation=0)
    elif run.method != "tinyinc":
        setup = replace(setup, tinyinc={}, consolidation=0)
    return repr(setup)


@cache
def base_budget(name: str, memory: float) -> int:
    bench = Bench(replace(SETUPS[name], memory=memory), settings.load(name), 0, FOLDER)
    return bench.budget()


def budget(run: Run) -> int:
    return base_budget(run.dataset, run.setup.memory)


def network_print(run: Run) -> str:
    """Of the network that is pre-trained for this run."""
    setup = run.setup
    needs = [run.dataset, run.seed, run.validation, data_print(run.dataset)[0], engine_print()]
    needs += [repr((setup.hidden, setup.rate, setup.epochs, setup.drift))]
    needs += [source_print(Path(__file__).parent, "protocols.py")]
    return f"{run.dataset}-{_hash(needs)}"


def _hash(needs: object) -> str:
    return hashlib.sha256(json.dumps(needs).encode()).hexdigest()[:20]


class Results:
    """The file of results: a line for each run that is done."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> dict[str, Outcome]:
        """Outcomes by fingerprint; a line that was cut off is left out."""
        found = {}
        lines = self.path.read_text().splitlines() if self.path.is_file() else []
        for line in lines:
            try:
                entry = json.loads(line)
                found[entry["fingerprint"]] = Outcome(**entry["outcome"])
            except (ValueError, KeyError, TypeError):
                continue
        return found

    def append(self, run: Run, outcome: Outcome) -> None:
        entry = {"fingerprint": fingerprint(run), "run": asdict(run), "outcome": asdict(outcome)}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with open(self.path, "a+b") as file:
            if file.tell():
                file.seek(-1, os.SEEK_END)
                if file.read() != b"\n":  # the line before was cut off
                    file.write(b"\n")
            file.write(json.dumps(entry).encode() + b"\n")


def outcomes(
    runs: Sequence[Run], results: Results, progress: Progress
) -> Iterator[tuple[Run, Outcome]]:
    """All outcomes: those that are kept first, the others as they come, each kept at once. A run
    that failed is tried again."""
    bar = progress.add_task("runs", total=len(runs))
    known, waiting = results.read(), []
    for run in runs:
        outcome = known.get(fingerprint(run))
        if outcome is None or outcome.error:
            waiting.append(run)
            continue
        progress.advance(bar)
        yield run, outcome
    for run, outcome in in_processes(execute, waiting):
        results.append(run, outcome)
        progress.advance(bar)
        yield run, outcome
