"""The figures of the table: per protocol, a panel for each dataset."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from . import methods
from .protocols import TITLES
from .settings import SETUPS
from .table import TELLS, Row, Rows

COLUMNS = 3
MARKS = dict(zip(methods.METHODS, "*oDs^Pv<>X", strict=True))


def draw(rows: Rows, folder: Path) -> list[Path]:
    """Write PNG files; returns their paths."""
    drawn = []
    for protocol in TELLS:
        own = [row for row in rows.values() if row.protocol == protocol]
        for name, panel in PANELS.items() if own else ():
            drawn.append(folder / f"{protocol}-{name}.png")
            _figure(own, protocol, panel, drawn[-1])
    return drawn


def _figure(
    rows: list[Row], protocol: str, panel: Callable[[Axes, list[Row]], None], path: Path
) -> None:
    names = list(dict.fromkeys(row.dataset for row in rows))
    columns = min(COLUMNS, len(names))
    lines = -(-len(names) // columns)
    size = (5 * columns + 1, 4 * lines + 0.6)
    figure, axes = plt.subplots(lines, columns, figsize=size, squeeze=False, layout="constrained")
    for spare in axes.flat[len(names) :]:
        spare.set_axis_off()
    for place, name in zip(axes.flat, names, strict=False):
        place.set_title(SETUPS[name].title)
        panel(place, [row for row in rows if row.dataset == name])
    figure.suptitle(TITLES[protocol])
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _scatter(axes: Axes, rows: list[Row], value: Callable[[Row], float | None], label: str) -> None:
    part = TELLS[rows[0].protocol][0]
    for position, row in enumerate(rows):
        x = value(row)
        if x is None:
            continue
        mean, spread = row.accuracy(part)
        colour = f"C{position}"
        axes.errorbar(x, mean, spread, fmt=MARKS[row.method], ms=8, capsize=3, color=colour)
        axes.annotate(row.method, (x, mean), xytext=(7, 4), textcoords="offset points", size=8)
    axes.set_xscale("log")
    axes.margins(0.15)
    axes.set_xlabel(label)
    axes.set_ylabel(f"accuracy ({part}), %")
    axes.grid(alpha=0.3)


def _bytes(axes: Axes, rows: list[Row]) -> None:
    _scatter(axes, rows, lambda row: row.first.total_bytes, "bytes, network and memory")


def _work(axes: Axes, rows: list[Row]) -> None:
    def backward(row: Row) -> float | None:
        return row.mean("backward") or None

    _scatter(axes, rows, backward, "backward MACs, of a dense pass")


def _bars(axes: Axes, rows: list[Row]) -> None:
    tells = TELLS[rows[0].protocol]
    height = 0.8 / len(tells)
    for shift, part in enumerate(tells):
        places = [i + (shift - (len(tells) - 1) / 2) * height for i in range(len(rows))]
        values = [row.accuracy(part) for row in rows]
        means, spreads = zip(*values, strict=True)
        axes.barh(places, means, height, xerr=spreads, capsize=2, label=part)
    axes.set_yticks(range(len(rows)), [row.method for row in rows])
    axes.invert_yaxis()
    axes.set_xlabel("accuracy, %")
    if len(tells) > 1:
        axes.legend()


PANELS = {"bytes": _bytes, "work": _work, "accuracy": _bars}
