"""The runs of the table: what one of them does, which there are, and in which order."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np
from rich.progress import Progress
from threadpoolctl import threadpool_limits

from tinyinc_host.bench_accuracy import in_processes

from . import protocols, settings
from .kept import FOLDER, Outcome, Results, Run, facts_of, fingerprint, network_print, with_changes
from .method import Method
from .methods import METHODS, MOST_LDA_INPUTS, Bench
from .protocols import PROTOCOLS, Course
from .settings import FIRST, SETUPS

SEEDS = 3
LEAST_CLASSES = 3  # of protocol b: with two, there is but one step


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
        search=method.search_macs / (forward + backward),
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
        for name in ("macs", "search", "backward")
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
    for name in wanted[0]:
        with_changes(SETUPS[name], changed)
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
    if method == "growing":  # from few classes on, and one dense layer
        return protocol == "b" and [layer.kind for layer in setup.hidden] == ["dense"]
    return (protocol, method) != ("c", "joint")


def missing(runs: Sequence[Run]) -> dict[str, str]:
    """Setups whose dataset is not at hand, and why."""
    reasons = {}
    for name in {run.dataset: None for run in runs}:
        try:
            facts_of(name)
        except (ValueError, OSError) as error:
            reasons[name] = str(error)
    return reasons


def unfit(run: Run) -> str:
    """Why a run cannot be made, though its dataset is there; "" where it can."""
    facts = facts_of(run.dataset)
    if run.protocol == "b" and facts.classes < LEAST_CLASSES:
        return f"{facts.classes} classes"
    if run.protocol == "a" and run.setup.drift == "domains" and not facts.has_domains:
        return "its domains are not known"
    if run.method == "slda" and facts.inputs > MOST_LDA_INPUTS:
        return f"a covariance of {facts.inputs} values is too large"
    return ""


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
