"""Benchmark files: one form for all of them, one table that prints them, and the progress bars of
what takes long."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table

FIELDS = ("name", "value", "unit", "reference", "target", "holds")


@dataclass(frozen=True)
class Result:
    """One measured number. `reference` says what it is compared with, `target` what is asked."""

    name: str
    value: float
    unit: str
    reference: str = ""
    target: str = ""
    holds: bool | None = None  # None: no target


def at_least(name: str, value: float, unit: str, least: float, reference: str = "") -> Result:
    return Result(name, value, unit, reference, f">= {least:g}", value >= least)


def at_most(name: str, value: float, unit: str, most: float, reference: str = "") -> Result:
    return Result(name, value, unit, reference, f"<= {most:g}", value <= most)


def write(path: Path, results: Sequence[Result], compiler: str = "", **more: object) -> None:
    """Write a benchmark file: where it was measured, more that is to be said, then the results. The
    compiler is the desktop's unless another is named."""
    content = {
        "machine": machine(),
        "compiler": first_line(compiler or os.environ.get("CC", "cc"), "--version"),
        "commit": commit(),
        **more,
        "results": [asdict(result) for result in results],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2) + "\n")


def read(path: Path) -> dict:
    """A benchmark file, checked for its form."""
    try:
        content = json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"'{path}' is not JSON: {error}") from None
    if not isinstance(content, dict) or not isinstance(content.get("results"), list):
        raise ValueError(f"'{path}' is not a benchmark file: it has no list of results")
    for position, result in enumerate(content["results"]):
        missing = [f for f in FIELDS if not isinstance(result, dict) or f not in result]
        if missing:
            raise ValueError(f"'{path}': result {position} lacks {missing[0]}")
    return content


def show(folder: Path, console: Console) -> bool:
    """Print every benchmark file of a folder as one table; whether all targets hold."""
    files = sorted(folder.glob("*.json"))
    if not files:
        raise FileNotFoundError(f"'{folder}' holds no benchmark files: run `make bench` first")
    table = Table("benchmark", "name", "value", "unit", "reference", "target", "holds")
    holds = True
    for path in files:
        content = read(path)
        for result in content["results"]:
            table.add_row(path.stem, *[_cell(result[field]) for field in FIELDS])
            holds = holds and result["holds"] is not False
        table.add_section()
        console.print(
            f"{path.stem}: {content.get('machine')}, {content.get('compiler')}, "
            f"commit {content.get('commit')}",
            highlight=False,
            soft_wrap=True,
        )
    console.print(table)
    return holds


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "NO"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def progress_bars(console: Console, *more: ProgressColumn) -> Progress:
    """Progress bars that count steps and tell the time; more columns stand behind."""
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
    return Progress(*columns, TimeElapsedColumn(), *more, console=console)


def machine() -> str:
    """Processor and number of cores this process may use."""
    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        models = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        name = models[0].split(":", 1)[1].strip() if models else name
    return f"{name}, {os.cpu_count()} cores, {platform.system()}"


def commit() -> str:
    """The tree's commit, with + when it has changes that are not committed."""
    name = first_line("git", "rev-parse", "--short=12", "HEAD")
    return name + ("+" if first_line("git", "status", "--porcelain") else "")


def first_line(*command: str) -> str:
    """First line that a command prints, or nothing where it cannot run."""
    if not shutil.which(command[0]):
        return ""
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parent)
    lines = done.stdout.splitlines()
    return lines[0] if done.returncode == 0 and lines else ""
