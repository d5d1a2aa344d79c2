"""The figures of the table: per protocol, a panel for each dataset."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.artist import Artist
from matplotlib.axes import Axes

from . import methods
from .protocols import TITLES
from .settings import SETUPS
from .table import TELLS, Row, Rows

COLUMNS = 3
SHAPES = "*oDs^Pv<>XdphH8"
STYLES = {
    name: {"marker": SHAPES[i % len(SHAPES)], "color": f"C{i % 10}"}
    for i, name in enumerate(methods.METHODS)
}


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
    size = (5 * columns + 3, 4 * lines + 0.6)
    figure, axes = plt.subplots(lines, columns, figsize=size, squeeze=False, layout="constrained")
    for spare in axes.flat[len(names) :]:
        spare.set_axis_off()
    for place, name in zip(axes.flat, names, strict=False):
        place.set_title(SETUPS[name].title)
        panel(place, [row for row in rows if row.dataset == name])
    shown: dict[str, Artist] = {}
    for place in axes.flat:
        handles, labels = place.get_legend_handles_labels()
        shown = dict(zip(labels, handles, strict=True)) | shown
    if shown:
        figure.legend(shown.values(), shown.keys(), loc="outside right center")
    figure.suptitle(TITLES[protocol])
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _scatter(axes: Axes, rows: list[Row], value: Callable[[Row], float | None], label: str) -> None:
    part = TELLS[rows[0].protocol][0]
    for row in rows:
        x, (mean, spread) = value(row), row.accuracy(part)
        style, name = STYLES[row.method], methods.TITLES[row.method]
        if x is None:
            axes.axhline(mean, ls=":", label=name, color=style["color"])
        else:
            axes.errorbar(x, mean, spread, ls="", ms=9, capsize=3, label=name, **style)
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

    _scatter(axes, rows, backward, "backward MACs, of a dense pass; dotted: none")


def _bars(axes: Axes, rows: list[Row]) -> None:
    tells = TELLS[rows[0].protocol]
    height = 0.8 / len(tells)
    colours = [STYLES[row.method]["color"] for row in rows]
    for number, part in enumerate(tells):
        places = [i + (number - (len(tells) - 1) / 2) * height for i in range(len(rows))]
        means, spreads = zip(*[row.accuracy(part) for row in rows], strict=True)
        style = {"color": colours, "alpha": 0.5 if number else 1.0, "capsize": 2}
        axes.barh(places, means, height, xerr=spreads, **style)
    axes.set_yticks(range(len(rows)), [row.method for row in rows])
    axes.invert_yaxis()
    axes.set_xlabel("accuracy, %" + ("; pale: of the old domain" if len(tells) > 1 else ""))


PANELS = {"bytes": _bytes, "work": _work, "accuracy": _bars}
