"""What `make bench-accuracy` measures on real data: how accurate learning in integers (q8) is
beside float32, and what the sparse rules lose and save. Writes accuracy.json and accuracy.md into
build/bench.

Every network starts from random weights and sees one sample at a time, in the same order under all
rules and in both formats, so that differences are paired by seed. Settings come from a validation
split, see choose(). The result of every run is kept in build/bench/accuracy: a second start goes on
where the first one was interrupted, unless the core or a setting has changed since.

    python -m tinyinc_host.bench_accuracy               all runs
    python -m tinyinc_host.bench_accuracy choose mnist  settings of a task, on a validation split
"""

from __future__ import annotations

import hashlib
import json
import math
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import TypeVar

import _tinyinc_core
import numpy as np
from _tinyinc_core import ffi, lib
from rich.console import Console
from rich.progress import Progress, TimeRemainingColumn
from scipy.special import stdtrit

import tinyinc
from tinyinc_host import cli, data, network, pretrain
from tinyinc_host.bench import FOLDER
from tinyinc_host.network import conv, dense, max_pool
from tinyinc_host.report import Result, at_least, at_most, progress_bars, write

KEPT = FOLDER / "accuracy"
T, U = TypeVar("T"), TypeVar("U")
PROCESSES = 2
VALIDATION_SHARE = 1 / 6
MOST_LOST = 0.3  # points, of rule full in q8

HOW = (
    "Settings were chosen from short grids on a validation split of the training samples (a sixth "
    "of them; by person where persons are known), with three seeds (CIFAR-10: one): the learning "
    "rates by the accuracy of float32 under rule full, then those of each sparse rule by its "
    "accuracy in q8 among those whose backward ratio is within what the task asks of rule "
    "sampled. CIFAR-10 takes the rules' settings of network C. The papers' rules keep s_min 0.2, "
    "d_min 0, d_max 1 and beta 1. The test samples had no part in it. To save time, network C and "
    "CIFAR-10 see a random half of the training samples in every epoch."
)


@dataclass(frozen=True)
class Task:
    """A dataset with a network, and what is asked of rule sampled on it."""

    data: str
    layers: tuple[network.Layer, ...]
    clip: tuple[float, float]  # normalised range, which gives the int8 step
    rates: tuple[int, ...]  # log2 of the learning rate, per epoch
    rules: dict[str, dict[str, float]]  # settings of the sparse ones
    offset: float | None = None  # raw units; None: mean and deviation of the training samples
    scale: float | None = None
    samples: int | None = None  # of an epoch; None: all
    seeds: int = 10
    choosing_seeds: int = 3
    most_lost: float | None = None  # points, of rule sampled against float32 under rule full
    most_backward: float = 0.2  # ratio that rule sampled may need
    image: bool = False  # do the layers take images?


TINYPROP = {"s_min": 0.2, "s_max": 1.0, "zeta": 1.0}
SPARSE = {
    "sampled": {"error_threshold": 1.0, "hidden_ratio": 0.3, "input_threshold": 0.1},
    "tinyprop": TINYPROP | {"zeta": 0.7},
    "tinyprop2": TINYPROP | {"d_min": 0.0, "d_max": 1.0, "beta": 1.0, "d_threshold": 0.05},
}


def _sparse(**changed: dict[str, float]) -> dict[str, dict[str, float]]:
    """The settings of SPARSE, some of them changed."""
    return {rule: settings | changed.get(rule, {}) for rule, settings in SPARSE.items()}


def _small_cnn(*channels: int) -> tuple[network.Layer, ...]:
    hidden = [(conv(n, 3, padding="same"), max_pool(2)) for n in channels]
    return (*(layer for pair in hidden for layer in pair), dense(10))


TASKS = {
    "mnist": Task(
        "mnist",
        (dense(128), dense(10)),
        clip=(0.0, 1.0),
        rates=(-6, -7),
        rules=_sparse(
            sampled={"error_threshold": 0.5, "hidden_ratio": 0.5, "input_threshold": 0.05},
            tinyprop={"zeta": 1.0},
            tinyprop2={"d_threshold": 0.1},
        ),
        offset=0.0,
        scale=1 / 255,
        most_lost=0.5,
        most_backward=0.08,
    ),
    "har": Task(
        "uci_har6_win_i8_25hz",
        (dense(128), dense(6)),
        clip=(-4.0, 4.0),
        rates=(-6, -6, -7, -7, -8, -8),
        rules=_sparse(sampled={"input_threshold": 0.05}, tinyprop2={"d_threshold": 0.1}),
        most_lost=0.5,
        most_backward=0.08,
    ),
    "keywords": Task(
        "speech_cmds_mfcc_i8",
        (dense(128), dense(11)),
        clip=(-4.0, 4.0),
        rates=(-6, -7, -7, -8, -8, -9),
        rules=_sparse(
            sampled={"error_threshold": 0.5, "hidden_ratio": 0.5, "input_threshold": 0.05}
        ),
        offset=0.0,
        scale=1 / 32,
        most_lost=1.0,
        most_backward=0.2,
    ),
    "mnist-c": Task(
        "mnist",
        _small_cnn(8, 16),
        clip=(0.0, 1.0),
        rates=(-7, -8),
        rules=SPARSE,
        offset=0.0,
        scale=1 / 255,
        samples=30000,
        most_lost=0.5,
        most_backward=0.08,
        image=True,
    ),
    "cifar10": Task(
        "cifar10_2000pc",
        _small_cnn(8, 16, 32),
        clip=(-2.0, 2.0),
        rates=(-7, -8, -9),
        rules=SPARSE,
        samples=10000,
        seeds=3,
        choosing_seeds=1,
        image=True,
    ),
}
NAMES = {
    "mnist": "MNIST, 784-128-10",
    "har": "UCI HAR windows, 384-128-6",
    "keywords": "keyword MFCCs, 220-128-11",
    "mnist-c": "MNIST, network C (2 x 30 000 samples)",
    "cifar10": "CIFAR-10, small CNN (3 x 10 000 samples)",
}
BASE = ("f32", "full")
JUDGED = (BASE, ("q8", "full"), ("q8", "sampled"))
PAPERS = (("q8", "tinyprop"), ("q8", "tinyprop2"))
VARIANTS = JUDGED + PAPERS


@dataclass(frozen=True)
class Run:
    """One training and its test."""

    task: str
    format: str
    rule: str
    seed: int
    rates: tuple[int, ...]
    settings: dict[str, float] = field(default_factory=dict)
    validation: bool = False


@dataclass(frozen=True)
class Outcome:
    accuracy: float  # percent of the test samples
    backward: int  # multiply-accumulates done, of the whole training
    dense: int  # the same of every weight at every step
    trained: int  # samples that were not skipped
    diverged: int  # samples that were refused
    widened: list[int]  # q8: how often the step of a layer's output was doubled


# ---- one run ----


@lru_cache(maxsize=2)
def dataset(name: str, validation: bool) -> data.Dataset:
    loaded = data.load(name)
    return data.hold_out(loaded, VALIDATION_SHARE, seed=0) if validation else loaded


class View:
    """A network opened in the core once for many calls: of those there are millions."""

    def __init__(self, net: tinyinc.Net) -> None:
        self.net = net
        self.view = ffi.new("tinc_net *")
        bases, sizes = ffi.new("void *[]", 5), ffi.new("size_t[]", 5)
        self.held = [ffi.from_buffer("char[]", section) for section in net.sections]
        for i, section in enumerate(self.held):
            if len(section):
                bases[i], sizes[i] = section, len(section)
        self.check(lib.tinc_open(self.view, bases, sizes))
        self.sample_bytes = lib.tinc_sample_bytes(self.view)
        self.scratch_bytes = lib.tinc_scratch_bytes(self.view, lib.TINC_LEARN)
        self.scratch = ffi.new("uint64_t[]", self.scratch_bytes // 8 + 1)
        self.counts = ffi.new("uint32_t[]", lib.TINC_STEP_K + net.layer_count)
        self.figures = ffi.new("float[]", lib.TINC_STEP_FIGURES)
        self.probabilities = ffi.new("float[]", len(net.labels))

    def check(self, code: int) -> int:
        if code < 0:
            text = ffi.new("char[]", lib.TINC_TEXT_BYTES)
            lib.tinc_describe(ffi.addressof(self.view, "fault"), text)
            raise ValueError(ffi.string(text).decode())
        return code

    def normalise(self, raw: np.ndarray) -> np.ndarray:
        """Raw samples as the network sees them, a row of bytes each."""
        raw = np.ascontiguousarray(raw)
        made = np.empty((len(raw), self.sample_bytes), np.uint8)
        typecode = ord(pretrain.typecode(raw))
        source, target = (ffi.from_buffer("char[]", array) for array in (raw, made))
        for i in range(len(raw)):
            at, to = source + i * raw[0].nbytes, target + i * self.sample_bytes
            self.check(lib.tinc_normalise(self.view, at, raw.shape[1], typecode, to))
        return made

    def learn(self, x: np.ndarray, labels: np.ndarray, order: np.ndarray) -> np.ndarray:
        """One pass; returns backward MACs, samples trained and samples refused."""
        samples, counts = ffi.from_buffer("char[]", x), self.counts
        learn, rest = lib.tinc_learn, (counts, self.figures, self.scratch, self.scratch_bytes)
        view, size, diverging = self.view, self.sample_bytes, lib.TINC_E_DIVERGED
        backward = trained = diverged = 0
        for i, label in zip(order.tolist(), labels[order].tolist(), strict=True):
            code = learn(view, samples + i * size, label, *rest)
            if code == 0:
                backward += counts[lib.TINC_STEP_BACKWARD]
                trained += 1 - counts[lib.TINC_STEP_SKIPPED]
            elif code == diverging:
                diverged += 1
            else:
                self.check(code)
        return np.array([backward, trained, diverged])

    def accuracy(self, x: np.ndarray, labels: np.ndarray) -> float:
        """Percent of the samples that the network names rightly."""
        samples, hits = ffi.from_buffer("char[]", x), 0
        rest = (self.probabilities, self.scratch, self.scratch_bytes)
        for i, label in enumerate(labels.tolist()):
            hits += lib.tinc_infer(self.view, samples + i * self.sample_bytes, *rest) == label
        return 100 * hits / len(labels)


def scaling_of(task: Task, samples: np.ndarray) -> tuple[float, float, float, float]:
    """Offset, scale and range of the normalised values, for both formats."""
    offset = float(samples.mean()) if task.offset is None else task.offset
    scale = 1 / float(samples.std()) if task.scale is None else task.scale
    return offset, scale, *task.clip


def execute(run: Run) -> Outcome:
    """Train and test. The seed gives the first weights and the order of the samples."""
    task, rows = TASKS[run.task], dataset(TASKS[run.task].data, run.validation)
    net = network.network(
        network.image_shape(rows.shape) if task.image else (rows.inputs,),
        task.layers,
        labels=[str(label) for label in rows.labels],
        format=run.format,
        scaling=scaling_of(task, rows.train_samples),
        seed=run.seed + 1,
        rule=run.rule,
        **({"logit_adjustment": 0} | run.settings),  # the rules as published spare no class
    )
    view = View(net)
    x, labels = view.normalise(rows.train_samples), rows.train_labels
    generator, totals, lessons = np.random.default_rng(run.seed), np.zeros(3, int), 0
    for rate in run.rates:
        net.configure(learning_rate=2.0**rate)
        order = generator.permutation(len(labels))[: task.samples]
        totals += view.learn(x, labels, order)
        lessons += len(order)
    return Outcome(
        view.accuracy(view.normalise(rows.test_samples), rows.test_labels),
        int(totals[0]),
        lessons * net.dense_backward_macs,
        int(totals[1]),
        int(totals[2]),
        widened(view),
    )


def widened(view: View) -> list[int]:
    """Doublings of every layer's step, from the state section."""
    at = view.view.section[lib.TINC_STATE] + view.view.state.layers_offset
    states = ffi.cast("tinc_layer_state *", at)
    return [states[layer].widened for layer in range(view.net.layer_count)]


# ---- many runs ----


@lru_cache(maxsize=1)
def core_print() -> str:
    """Of the core as compiled: results of another core are not taken for this one's."""
    return hashlib.sha256(Path(_tinyinc_core.__file__).read_bytes()).hexdigest()[:16]


def key(run: Run) -> str:
    """The name under which a run's outcome is kept: its core, task and settings."""
    task = TASKS[run.task]
    seen = (task.layers, task.clip, task.offset, task.scale, task.samples)
    what = json.dumps([core_print(), asdict(run), repr(seen)])
    return f"{run.task}-{hashlib.sha256(what.encode()).hexdigest()[:20]}"


def kept(run: Run) -> Outcome | None:
    path = KEPT / f"{key(run)}.json"
    try:
        return Outcome(**json.loads(path.read_text()))
    except (FileNotFoundError, ValueError, TypeError):
        return None  # never run, or cut off while it was written


def keep(run: Run, outcome: Outcome) -> None:
    KEPT.mkdir(parents=True, exist_ok=True)
    path = KEPT / f"{key(run)}.json"
    part = path.with_suffix(f".{os.getpid()}")
    part.write_text(json.dumps(asdict(outcome)))
    part.replace(path)


def execute_and_keep(run: Run) -> Outcome:
    outcome = execute(run)
    keep(run, outcome)
    return outcome


def in_processes(function: Callable[[T], U], items: Iterable[T]) -> Iterator[tuple[T, U]]:
    """Each item with what the function made of it in one of PROCESSES processes, as they come."""
    context = multiprocessing.get_context("spawn")
    # Ctrl-C ends the workers at once and without a word: what they were at is run again.
    pool = ProcessPoolExecutor(
        PROCESSES, context, initializer=signal.signal, initargs=(signal.SIGINT, signal.SIG_DFL)
    )
    try:
        started = {pool.submit(function, item): item for item in items}
        for done in as_completed(started):
            yield started[done], done.result()
    except BrokenProcessPool:
        raise OSError("a training process was killed; start again to go on") from None
    finally:
        pool.shutdown(cancel_futures=True)


def outcomes(runs: Sequence[Run], progress: Progress, name: str) -> Iterator[tuple[Run, Outcome]]:
    """All outcomes, those that are kept first, the others as they come."""
    bar = progress.add_task(name, total=len(runs))
    missing = []
    for run in runs:
        found = kept(run)
        if found is None:
            missing.append(run)
            continue
        progress.advance(bar)
        yield run, found
    for run, outcome in in_processes(execute_and_keep, missing):
        progress.advance(bar)
        yield run, outcome


def settings_of(task: Task, rule: str) -> dict[str, float]:
    return task.rules.get(rule, {})


def plan() -> list[Run]:
    """All runs, seed after seed through the tasks, so that an early end leaves a whole table; the
    papers' rules, of which nothing is asked, come last."""
    most = max(task.seeds for task in TASKS.values())
    return [
        Run(name, format, rule, seed, task.rates, settings_of(task, rule))
        for variants in (JUDGED, PAPERS)
        for seed in range(most)
        for name, task in TASKS.items()
        if seed < task.seeds
        for format, rule in variants
    ]


# ---- the table ----


@dataclass(frozen=True)
class Row:
    """A rule in a format on a task, beside float32 under rule full."""

    task: str
    format: str
    rule: str
    accuracy: float
    difference: float  # points
    interval: float  # half of the 95 % interval
    ratio: float  # backward MACs against a dense backward pass at every step
    of_full: float  # and against what float32 did under rule full, where zeros cost nothing
    seeds: int


def rows_of(found: dict[tuple[str, str, str], dict[int, Outcome]]) -> list[Row]:
    """What can be told from the runs that are done."""
    rows = []
    for name, (format, rule) in product(TASKS, VARIANTS):
        base, own = found.get((name, *BASE), {}), found.get((name, format, rule), {})
        seeds = sorted(base.keys() & own.keys())
        if seeds:
            pairs = [(own[seed], base[seed]) for seed in seeds]
            rows.append(_row(name, format, rule, pairs))
    return rows


def _row(name: str, format: str, rule: str, pairs: Sequence[tuple[Outcome, Outcome]]) -> Row:
    lost = np.array([own.accuracy - base.accuracy for own, base in pairs])
    own, base = ([pair[i] for pair in pairs] for i in (0, 1))
    backward = sum(outcome.backward for outcome in own)
    return Row(
        name,
        format,
        rule,
        float(np.mean([outcome.accuracy for outcome in own])),
        float(lost.mean()),
        half_interval(lost),
        backward / sum(outcome.dense for outcome in own),
        backward / max(1, sum(outcome.backward for outcome in base)),
        len(pairs),
    )


def half_interval(values: np.ndarray) -> float:
    """Half of the 95 % interval of the mean; infinite for a single value."""
    n = len(values)
    return math.inf if n < 2 else float(stdtrit(n - 1, 0.975) * values.std(ddof=1) / math.sqrt(n))


def results_of(rows: Sequence[Row]) -> list[Result]:
    """Accuracies, differences and ratios, those with targets judged."""
    results = []
    for row in rows:
        task, name = TASKS[row.task], f"{row.task}, {row.format} {row.rule}"
        judged = row.format == "q8" and row.rule in ("full", "sampled")
        lost = MOST_LOST if row.rule == "full" else task.most_lost
        lost = lost if judged and task.most_lost is not None else None
        spread = f"{row.seeds} seeds"
        results.append(Result(f"{name}, accuracy", row.accuracy, "%", spread))
        if (row.format, row.rule) != BASE:
            about = f"paired with f32 full, {spread}"
            about += f", 95 % interval +-{row.interval:.2f}" if row.seeds > 1 else ""
            difference = (f"{name}, difference", row.difference, "points")
            results.append(
                Result(*difference, about) if lost is None else at_least(*difference, -lost, about)
            )
        about = f"of a dense backward pass; of what f32 full did: {row.of_full:.3f}"
        ratio = (f"{name}, backward ratio", row.ratio, "")
        limited = lost is not None and row.rule == "sampled"
        results.append(
            at_most(*ratio, task.most_backward, about) if limited else Result(*ratio, about)
        )
    return results


def markdown(rows: Sequence[Row]) -> str:
    lines = [
        "| task | format, rule | accuracy, % | points against f32 full | backward ratio "
        "| against f32 full | seeds |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        base = (row.format, row.rule) == BASE
        spread = f" ± {row.interval:.2f}" if row.seeds > 1 else ""
        points = "" if base else f"{row.difference:+.2f}{spread}"
        cells = (NAMES[row.task], f"{row.format} {row.rule}", f"{row.accuracy:.2f}", points)
        lines.append(f"| {' | '.join(cells)} | {row.ratio:.3f} | {row.of_full:.3f} | {row.seeds} |")
    return "\n".join(lines) + "\n"


def used_settings() -> dict[str, object]:
    """For the file: what the runs were made with, and how that was chosen."""
    tasks = {
        name: {
            "learning rates, log2 per epoch": task.rates,
            "samples of an epoch": task.samples or "all",
            **task.rules,
        }
        for name, task in TASKS.items()
    }
    return {"how": HOW, "tasks": tasks}


# ---- settings ----

RATES = {  # to choose from: falling, by epochs
    "mnist": ((-5, -6), (-6, -7), (-7, -8)),
    "har": ((-6, -6, -7, -7, -8, -8), (-7, -7, -8, -8, -9, -9), (-8, -8, -9, -9, -10, -10)),
    "keywords": ((-5, -6, -6, -7, -7, -8), (-6, -7, -7, -8, -8, -9), (-7, -8, -8, -9, -9, -10)),
    "mnist-c": ((-5, -6), (-6, -7), (-7, -8)),
    "cifar10": ((-6, -7, -8), (-7, -8, -9), (-8, -8, -9)),
}
GRIDS = {
    "sampled": {
        "error_threshold": (0.5, 1.0),
        "hidden_ratio": (0.3, 0.5),
        "input_threshold": (0.05, 0.1),
    },
    "tinyprop": {"s_min": (0.2,), "s_max": (0.5, 1.0), "zeta": (0.7, 1.0)},
    "tinyprop2": {"s_min": (0.2,), "s_max": (0.5, 1.0), "zeta": (1.0,), "d_threshold": (0.05, 0.1)},
}


def choose(name: str, progress: Progress) -> None:
    """Print how the settings of the grids do on the validation split, best first; those marked *
    are within the task's backward ratio."""
    task = TASKS[name]
    rates = candidates(
        (Run(name, *BASE, 0, rates, validation=True) for rates in RATES[name]), progress, "rates"
    )
    best = rates[0][0].rates
    for rule, grid in GRIDS.items():
        fixed = SPARSE[rule]
        runs = (
            Run(name, "q8", rule, 0, best, fixed | dict(zip(grid, values, strict=True)), True)
            for values in product(*grid.values())
        )
        candidates(runs, progress, f"rule {rule}", task.most_backward)


def candidates(
    runs: Iterable[Run], progress: Progress, what: str, most: float = math.inf
) -> list[tuple[Run, float, float]]:
    """Run, mean accuracy and backward ratio over a few seeds, best first."""
    found: dict[str, list[tuple[Run, Outcome]]] = {}
    every = [
        replace(run, seed=seed) for run in runs for seed in range(TASKS[run.task].choosing_seeds)
    ]
    for run, outcome in outcomes(every, progress, what):
        found.setdefault(key(replace(run, seed=0)), []).append((run, outcome))
    table = []
    for pairs in found.values():
        done = [outcome for _, outcome in pairs]
        ratio = sum(outcome.backward for outcome in done) / sum(outcome.dense for outcome in done)
        table.append((pairs[0][0], float(np.mean([outcome.accuracy for outcome in done])), ratio))
    table.sort(key=lambda line: -line[1])
    for run, accuracy, ratio in table:
        mark = "*" if ratio <= most else " "
        text = f"{run.settings or run.rates} accuracy {accuracy:.2f} ratio {ratio:.3f}"
        progress.console.print(f"{mark} {what}: {text}", highlight=False, soft_wrap=True)
    return table


# ---- the command ----


def main(arguments: Sequence[str]) -> None:
    if not os.environ.get(data.FOLDER_VARIABLE):
        raise ValueError(f"set {data.FOLDER_VARIABLE} to the folder that holds the benchmark data")
    known = data.known()
    for task in TASKS.values():
        if task.data not in known:
            raise ValueError(
                f"{data.FOLDER_VARIABLE} has no dataset '{task.data}'; it has {', '.join(known)}"
            )
    with progress_bars(Console(), TimeRemainingColumn()) as progress:
        if not arguments:
            measure(progress)
        elif len(arguments) == 2 and arguments[0] == "choose" and arguments[1] in TASKS:
            choose(arguments[1], progress)
        else:
            raise ValueError(f"expected nothing, or: choose {'|'.join(TASKS)}")


def measure(progress: Progress) -> None:
    """All runs; what is done by the end, or when it is interrupted, is written."""
    found: dict[tuple[str, str, str], dict[int, Outcome]] = {}
    try:
        for run, outcome in outcomes(plan(), progress, "runs"):
            found.setdefault((run.task, run.format, run.rule), {})[run.seed] = outcome
    finally:
        rows = rows_of(found)
        if rows:
            results, path = results_of(rows), FOLDER / "accuracy.json"
            write(path, results, settings=used_settings())
            path.with_suffix(".md").write_text(markdown(rows))
            progress.console.print(markdown(rows), highlight=False, soft_wrap=True)
            for result in results:
                if result.holds is False:
                    text = f"DOES NOT HOLD: {result.name} {result.value:.4g} {result.target}"
                    progress.console.print(text, highlight=False, soft_wrap=True)
            progress.console.print(f"written: {path}", highlight=False, soft_wrap=True)


if __name__ == "__main__":
    cli.run(lambda: main(sys.argv[1:]))
