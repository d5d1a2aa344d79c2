"""What a run is, what it comes to, and what is kept of runs that are done: a line of JSON each.

A run that was kept is not run again while what it depends on is the same: see fingerprint().
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

import tinyinc
from tinyinc import image
from tinyinc_host.bench import FOLDER as BENCHES
from tinyinc_host.bench_accuracy import core_print

from . import settings
from .methods import BASELINES, Bench
from .settings import SETUPS, Setup

FOLDER = BENCHES / "learning"


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
        usual = SETUPS[self.dataset]
        under = tuple(usual.under.get(self.protocol, {}).items())
        return with_changes(usual, under + self.changed)


CHANGEABLE = ("rate", "memory", "memory_bits", "consolidation")  # fields of a setup


def with_changes(setup: Setup, changed: tuple[tuple[str, float], ...]) -> Setup:
    """The setup with other fields, and other settings of TinyInc; ValueError where that cannot
    be."""
    own = {name: value for name, value in changed if name in CHANGEABLE}
    more = {name: value for name, value in changed if name not in CHANGEABLE}
    for name, value in more.items():
        image.check_setting(name, value)
    return replace(setup, tinyinc={**setup.tinyinc, **more}, **own)


@dataclass(frozen=True)
class Outcome:
    """What a run came to. Accuracies in percent, by test set; MACs against as many lessons of the
    whole network that leave nothing out; the rest as Method has it."""

    accuracy: dict[str, float] = field(default_factory=dict)
    before: dict[str, float] = field(default_factory=dict)  # the lessons, where something was
    without_vote: dict[str, float] = field(default_factory=dict)
    backward: float | None = None
    macs: float = 0.0
    search: float = 0.0
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


class Facts(NamedTuple):
    """What runs depend on in a dataset."""

    content: str  # a hash of all of it
    classes: int
    inputs: int
    has_domains: bool


@cache
def facts_of(name: str) -> Facts:
    dataset = settings.load(name)
    made = hashlib.sha256()
    for field_of in fields(dataset):
        value = getattr(dataset, field_of.name)
        array = isinstance(value, np.ndarray)
        made.update(np.ascontiguousarray(value).tobytes() if array else repr(value).encode())
    known = dataset.train_domains is not None
    return Facts(made.hexdigest()[:16], len(dataset.labels), dataset.inputs, known)


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
    needs = [asdict(run), setup_print(run), facts_of(run.dataset).content]
    needs += [source_print(here, *sources), budget(run) if baseline else engine_print()]
    return _hash(needs)


def setup_print(run: Run) -> str:
    """What the network, the data and the settings are that the method takes; those under the
    protocol are among them already."""
    setup = replace(run.setup, under={})
    if run.method in BASELINES:
        setup = replace(setup, tinyinc={}, rules={}, rate=0, consolidation=0)
    elif run.method not in ("tinyinc", "growing"):
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
    needs = [run.dataset, run.seed, run.validation, facts_of(run.dataset).content, engine_print()]
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
