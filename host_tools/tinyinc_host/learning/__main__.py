"""What `make bench-learning` starts. Ctrl-C ends it with the table of what is done by then; the
next start goes on from there.

    python -m tinyinc_host.learning                            all runs
    python -m tinyinc_host.learning --only mnist,har,b         of these datasets and this protocol
    python -m tinyinc_host.learning --validation --only mnist,b,tinyinc --set vote=8,rate=0.01
"""

from __future__ import annotations

import os
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import TimeRemainingColumn

from tinyinc_host import data
from tinyinc_host.cli import run
from tinyinc_host.report import progress_bars

from . import kept, runs, table

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.command()
def learning(
    only: Annotated[
        str, typer.Option(help="Datasets, protocols and methods, separated by commas.")
    ] = "",
    seeds: Annotated[int, typer.Option(min=1, help="Runs of each method.")] = runs.SEEDS,
    validation: Annotated[
        bool, typer.Option("--validation", help="Test on held-out training samples.")
    ] = False,
    changed: Annotated[
        str, typer.Option("--set", help="Settings to try out, NAME=VALUE separated by commas.")
    ] = "",
) -> None:
    """Measure how well TinyInc and the methods beside it learn without forgetting."""
    if not os.environ.get(data.FOLDER_VARIABLE):
        raise ValueError(f"set {data.FOLDER_VARIABLE} to the folder that holds the benchmark data")
    planned = runs.plan(only, seeds, validation, parse(changed))
    folder = kept.FOLDER / "tried" if validation or changed else kept.FOLDER
    with progress_bars(Console(), TimeRemainingColumn()) as progress:
        table.measure(planned, folder, progress)


def parse(text: str) -> tuple[tuple[str, float], ...]:
    """NAME=VALUE,NAME=VALUE."""
    pairs = []
    for word in text.split(",") if text else ():
        name, _, value = word.partition("=")
        try:
            number = float(value)
            pairs.append((name.strip(), int(number) if number.is_integer() else number))
        except (ValueError, OverflowError):
            raise ValueError(f"'{word}' is no setting, expected NAME=NUMBER") from None
    return tuple(pairs)


if __name__ == "__main__":
    run(app)
