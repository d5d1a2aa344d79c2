"""From the outcomes of runs to the table, the figures, and the file of what was asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.progress import Progress

from tinyinc_host.report import Result, at_least, at_most, write

from . import methods, protocols
from .kept import Outcome, Results, Run
from .runs import missing, outcomes, unfit
from .settings import SETUPS

TELLS = {"b": ("all",), "c": ("all",), "a": ("new", "old")}  # protocols and their test sets

# What the papers say, of their own networks and boards: not measured here.
PUBLISHED = {
    ("cifar10", "tinyprop2"): "-0.82 points against full training",
    ("", "tinyinc"): "43 % of the FLOPs at -1 point, 1 % of the data",
}


@dataclass(frozen=True)
class Row:
    """A method on a dataset under a protocol, over seeds."""

    dataset: str
    protocol: str
    method: str
    by_seed: dict[int, Outcome]

    @property
    def outcomes(self) -> list[Outcome]:
        return list(self.by_seed.values())

    def mean(self, name: str) -> float:
        """Of a number of the outcomes, or 0 where there is none."""
        return float(np.mean([getattr(outcome, name) or 0 for outcome in self.outcomes]))

    def accuracy(self, part: str, kind: str = "accuracy") -> tuple[float, float] | None:
        """Mean and standard deviation over the seeds (0 with one), in percent and points."""
        found = [getattr(outcome, kind).get(part) for outcome in self.outcomes]
        if None in found:
            return None
        return float(np.mean(found)), float(np.std(found, ddof=1)) if len(found) > 1 else 0.0

    @property
    def first(self) -> Outcome:
        return next(iter(self.by_seed.values()))

    @property
    def fits(self) -> bool:
        """In the bytes that TinyInc takes."""
        return self.first.total_bytes <= self.first.budget


Rows = dict[tuple[str, str, str], Row]


def rows_of(found: dict[Run, Outcome]) -> Rows:
    """What can be told, in the order of the tables."""
    found = {run: outcome for run, outcome in found.items() if not outcome.error}
    order = [(name, p, m) for p in TELLS for name in SETUPS for m in methods.METHODS]
    groups: dict[tuple[str, str, str], dict[int, Outcome]] = {}
    for run in sorted(found, key=lambda run: run.seed):
        where = run.dataset, run.protocol, run.method
        groups.setdefault(where, {})[run.seed] = found[run]
    return {where: Row(*where, groups[where]) for where in order if where in groups}


# ---- Markdown ----

HEAD = (
    "accuracy, %",
    "before, %",
    "without vote, %",
    "backward MACs",
    "all MACs + search",
    "memory, bytes",
    "all bytes",
    "RAM, bytes",
    "MACs per prediction (vote)",
    "size",
    "published",
)
LEGEND = """\
Accuracy is the mean over seeds ± their standard deviation; under (a) on held-out samples of the
new domain, then of the old; before: after pre-training, before the lessons. Without vote: by the
network alone. MACs are multiply-accumulates of the lessons (and of what follows them while the
board is idle) against a dense forward and backward pass of the whole network for each lesson;
search: for the nearest exemplar of a sample's class, which follows it. All bytes: network and
memory; those marked * take more than TinyInc does, and are shown with what they take. RAM: with
what the work needs. Published, not measured here: what the papers say of their own networks
(TinyPropv2, arXiv 2409.07109; distillation with model size adaption, arXiv 2409.07114).
"""


def markdown(rows: Rows, planned: Sequence[Run], reasons: dict[Run, str]) -> str:
    """All tables, then what has not run."""
    parts = ["# Learning without forgetting\n", LEGEND]
    for protocol in TELLS:
        parts += _section(protocol, [row for row in rows.values() if row.protocol == protocol])
    return "\n".join([*parts, "## What has not run\n", left_out(rows, planned, reasons)])


def _section(protocol: str, rows: Sequence[Row]) -> list[str]:
    parts = [f"## {protocols.TITLES[protocol]}\n"] if rows else []
    for name in dict.fromkeys(row.dataset for row in rows):
        own = [row for row in rows if row.dataset == name]
        lines = [f"| {' | '.join(('method', *HEAD))} |", f"|---{'|---' * len(HEAD)}|"]
        lines += [f"| {' | '.join(cells(row))} |" for row in own]
        lessons, seeds = own[0].first.lessons, max(len(row.outcomes) for row in own)
        memory = f"memory {100 * SETUPS[name].memory:.3g} % of the training set"
        title = f"### {SETUPS[name].title}: {lessons} lessons, {memory}, {seeds} seeds\n"
        parts += [title, "\n".join(lines) + "\n"]
    return parts


def cells(row: Row) -> list[str]:
    """A line of the table."""
    first = row.first
    search = f" + {row.mean('search'):.3f}" if first.search else ""
    vote = f" ({round(row.mean('vote_macs'))})" if first.vote_macs else ""
    return [
        methods.TITLES[row.method],
        *[percent(row, kind) for kind in ("accuracy", "before", "without_vote")],
        "" if first.backward is None else f"{row.mean('backward'):.3f}",
        f"{row.mean('macs'):.3f}{search}",
        str(first.memory_bytes),
        f"{first.total_bytes}{'' if row.fits else ' *'}",
        str(first.ram_bytes),
        f"{round(row.mean('predict_macs'))}{vote}",
        first.size,
        PUBLISHED.get((row.dataset, row.method), PUBLISHED.get(("", row.method), "")),
    ]


def percent(row: Row, kind: str) -> str:
    """Accuracy on each test set, with its spread where there are seeds to tell it."""
    pairs = [row.accuracy(part, kind) for part in TELLS[row.protocol]]
    spread = len(row.by_seed) > 1
    return ", ".join(
        f"{pair[0]:.2f}" + (f" ± {pair[1]:.2f}" if spread else "") for pair in pairs if pair
    )


def left_out(rows: Rows, planned: Sequence[Run], reasons: dict[Run, str]) -> str:
    """Planned runs without an outcome, and why where it is known."""
    waiting: dict[tuple[str, str, str], list[Run]] = {}
    for run in planned:
        row = rows.get((run.dataset, run.protocol, run.method))
        if run in reasons or row is None or run.seed not in row.by_seed:
            why = reasons.get(run, "not yet")
            waiting.setdefault((run.dataset, run.protocol, why), []).append(run)
    lines = []
    for (name, protocol, why), runs in waiting.items():
        names = ", ".join(dict.fromkeys(run.method for run in runs))
        lines.append(f"- {name} ({protocol}), {names}: {len(runs)} runs, {why}")
    done = len(planned) - sum(map(len, waiting.values()))
    return "\n".join([f"{done} of {len(planned)} runs are done.\n", *lines]) + "\n"


# ---- what was asked for ----

MOST_BACKWARD = {"b": 0.1, "a": 0.08, "c": 0.08}  # of TinyInc, against full training
BACKWARD_OF = {  # where more is allowed
    ("keywords", "b"): 0.2,
    ("keywords", "c"): 0.2,
    ("keywords", "a"): 0.2,
    ("cifar10", "a"): 0.15,
    ("cifar10", "c"): 0.15,
}
LEAST = {("mnist", "b"): 95.0, ("mnist10", "b"): 92.5}  # percent
MOST_BEHIND = {  # points, and whom
    ("har", "b"): (1.0, "joint"),
    ("keywords", "b"): (10.0, "joint"),
    ("mnist", "a"): (0.5, "full"),
    ("har", "a"): (0.5, "full"),
    ("keywords", "a"): (1.0, "full"),
    ("mnist", "c"): (0.5, "full"),
    ("har", "c"): (0.5, "full"),
    ("keywords", "c"): (1.0, "full"),
    ("cifar10", "a"): (0.8, "full"),
    ("cifar10", "c"): (0.8, "full"),
}
FIXED_UNITS = 128  # of the networks that the one that grows is held against
RIVALS = ("full", "knn", "mean", "slda", "replay", "static", "tinyprop", "tinyprop2")


def results_of(rows: Rows) -> list[Result]:
    """Every accuracy, and TinyInc's against what is asked of it."""
    results = []
    for row in rows.values():
        for part in TELLS[row.protocol]:
            mean, spread = row.accuracy(part)
            name = f"{row.protocol}, {row.dataset}, {row.method}, {part}"
            results.append(Result(name, mean, "%", f"{len(row.outcomes)} seeds, +-{spread:.2f}"))
        if row.method == "tinyinc":
            results += _judged(row, rows)
    return results + _size(rows)


def _size(rows: Rows) -> list[Result]:
    """The size that follows the task against a fixed one: means over the datasets of both where
    the fixed network has as many units as is asked for."""
    pairs = [
        (row, rows[(row.dataset, "b", "tinyinc")])
        for row in rows.values()
        if row.method == "growing" and (row.dataset, "b", "tinyinc") in rows
        if SETUPS[row.dataset].hidden[0].units == FIXED_UNITS
    ]
    if not pairs:
        return []
    lost = [fixed.accuracy("all")[0] - grown.accuracy("all")[0] for grown, fixed in pairs]
    work = [grown.mean("macs") for grown, _ in pairs]
    size = [
        (grown.mean("predict_macs") - grown.mean("vote_macs"))
        / (fixed.mean("predict_macs") - fixed.mean("vote_macs"))
        for grown, fixed in pairs
    ]
    about = f"mean of {len(pairs)} datasets, of {FIXED_UNITS} fixed units"
    return [
        at_most("size that follows the task, points lost", float(np.mean(lost)), "", 1.0, about),
        at_most("size that follows the task, training MACs", float(np.mean(work)), "", 0.2, about),
        at_most("size that follows the task, inference MACs", float(np.mean(size)), "", 0.5, about),
    ]


def _judged(row: Row, rows: Rows) -> list[Result]:
    where, name = (row.dataset, row.protocol), f"{row.protocol}, {row.dataset}, tinyinc"
    mean = row.accuracy(TELLS[row.protocol][0])[0]
    results = []
    if where in LEAST:
        results.append(at_least(f"{name}, accuracy", mean, "%", LEAST[where]))
    if where in MOST_BEHIND:
        points, other = MOST_BEHIND[where]
        if (*where, other) in rows:
            behind = mean - rows[(*where, other)].accuracy(TELLS[row.protocol][0])[0]
            results.append(at_least(f"{name}, against {other}", behind, "points", -points))
    if where in LEAST or where in MOST_BEHIND:
        most = BACKWARD_OF.get(where, MOST_BACKWARD[row.protocol])
        results.append(at_most(f"{name}, backward ratio", row.mean("backward"), "", most))
    rivals = [rows[(*where, other)] for other in RIVALS if (*where, other) in rows]
    rivals = [rival for rival in rivals if rival.fits]
    if row.protocol == "b" and rivals:
        best = max(rivals, key=lambda rival: rival.accuracy("all")[0])
        ahead = mean - best.accuracy("all")[0]
        about = f"the best that fits the bytes: {best.method}"
        results.append(at_least(f"{name}, ahead of the others", ahead, "points", 0.0, about))
    return results


# ---- all of it ----


def measure(planned: Sequence[Run], folder: Path, progress: Progress) -> None:
    """All runs; what is done by the end, or when it is interrupted, is written and told."""
    absent = missing(planned)
    reasons = {run: absent[run.dataset] for run in planned if run.dataset in absent}
    reasons |= {run: why for run in planned if run not in reasons and (why := unfit(run))}
    if planned and len(reasons) == len(planned):
        raise ValueError(f"nothing to run: {next(iter(reasons.values()))}")
    found: dict[Run, Outcome] = {}
    results = Results(folder / "results.jsonl")
    try:
        for run, outcome in outcomes([r for r in planned if r not in reasons], results, progress):
            found[run] = outcome
            if outcome.error:
                reasons[run] = outcome.error
    finally:
        write_all(rows_of(found), planned, reasons, folder, progress)


def write_all(
    rows: Rows, planned: Sequence[Run], reasons: dict[Run, str], folder: Path, progress: Progress
) -> None:
    """The table, the figures and the file of results."""
    from . import figures  # imports this module

    def say(text: str) -> None:
        progress.console.print(text, highlight=False, soft_wrap=True, markup=False)

    text = markdown(rows, planned, reasons)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "table.md").write_text(text)
    judged = results_of(rows)
    write(folder.with_suffix(".json"), judged)  # where bench-report finds it
    say(text)
    for result in judged:
        if result.holds is False:
            say(f"DOES NOT HOLD: {result.name} {result.value:.4g} {result.target}")
    drawn = figures.draw(rows, folder)
    say(f"written: {folder / 'table.md'} and {len(drawn)} figures beside it")
