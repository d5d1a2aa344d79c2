"""The picture of a demo: learning curves, confusion before and after, the memory's samples."""

from __future__ import annotations

from math import isqrt
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import SubFigure

import tinyinc
from tinyinc_host.demo import Outcome, Run

# Okabe and Ito's palette: told apart by the colour-blind, and in grey by its lightness.
COLOURS = ("#0072B2", "#D55E00", "#009E73")
STYLES = ("-", "--", "-.")
MEMORY_COLUMNS = 8


def draw(outcome: Outcome, path: Path) -> None:
    """Write the picture as a PNG file."""
    figure = plt.figure(figsize=(13, 9), layout="constrained")
    top, bottom = figure.subfigures(2, 1, height_ratios=(1, 1.1))
    result = outcome.result()
    names = [outcome.task.dataset.labels[c] for c in outcome.task.new]
    figure.suptitle(
        f"A board learns {names[0]}, then {names[1]}, one sample at a time "
        f"({outcome.task.dataset.name}, {result['accuracy_all_after']:.1%} on all classes after)",
        fontsize=14,
    )
    curves = top.subplots(1, 2, sharey=True)
    _curve(curves[0], outcome, outcome.with_memory, "TinyInc, with its distilled memory")
    _curve(curves[1], outcome, outcome.without_memory, "Fine-tuning without memory")
    curves[0].set_ylabel("accuracy on test samples, %")
    left, right = bottom.subfigures(1, 2, width_ratios=(1.7, 1))
    grids = left.subplots(1, 2, sharey=True)
    _confusion(grids[0], outcome, outcome.with_memory.before, "Before: predicted class")
    _confusion(grids[1], outcome, outcome.with_memory.after, "After: predicted class")
    grids[0].set_ylabel("true class")
    _memory(right, outcome)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def _curve(axes: Axes, outcome: Outcome, run: Run, title: str) -> None:
    labels = outcome.task.dataset.labels
    names = ["old classes", *[f"new: {labels[c]}" for c in outcome.task.new]]
    curve = 100 * np.array(run.curve)
    for column, (name, colour, style) in enumerate(zip(names, COLOURS, STYLES, strict=True)):
        axes.plot(run.positions, curve[:, column], style, color=colour, lw=2.2, label=name)
    first = int(
        np.sum(outcome.task.dataset.train_labels[outcome.task.stream] == outcome.task.new[0])
    )
    for start, end, c in ((0, first, 0), (first, run.samples, 1)):
        axes.axvspan(start, end, color=COLOURS[c + 1], alpha=0.06, lw=0)
        axes.text(
            (start + end) / 2,
            103,
            f"only {labels[outcome.task.new[c]]}",
            ha="center",
            color=COLOURS[c + 1],
            fontsize=10,
        )
    axes.set(title=title, xlabel="samples learned", ylim=(-2, 109), xlim=(0, run.samples))
    axes.grid(axis="y", alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="center right", framealpha=0.9)


def _confusion(axes: Axes, outcome: Outcome, predicted: np.ndarray, title: str) -> None:
    """Rows sum to 100 %; new classes are marked with a star."""
    data = outcome.task.dataset
    classes = len(data.labels)
    counts = np.zeros((classes, classes))
    known = predicted >= 0
    np.add.at(counts, (data.test_labels[known], predicted[known]), 1)
    shares = counts / np.maximum(np.bincount(data.test_labels, minlength=classes), 1)[:, None]
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    if classes <= 12:
        for row, column in zip(*np.nonzero(shares >= 0.005), strict=True):
            share = shares[row, column]
            axes.text(
                column,
                row,
                f"{100 * share:.0f}",
                ha="center",
                va="center",
                fontsize=7,
                color="white" if share > 0.5 else "black",
            )
    names = [f"{name}*" if c in outcome.task.new else name for c, name in enumerate(data.labels)]
    axes.set_xticks(range(classes), names, rotation=60, ha="right", fontsize=8)
    axes.set_yticks(range(classes), names, fontsize=8)
    axes.set_title(f"{title} (* new)", fontsize=11)


def _memory(figure: SubFigure, outcome: Outcome) -> None:
    """A row of samples per class, as the board holds them after learning."""
    net = tinyinc.load(str(outcome.image))
    labels = outcome.task.dataset.labels
    held: dict[str, list[np.ndarray]] = {label: [] for label in labels}
    for values, label in net.memory.samples():
        held[label].append(np.array(values))
    every = np.concatenate([row for rows in held.values() for row in rows] or [np.zeros(1)])
    columns = min(MEMORY_COLUMNS, max(len(rows) for rows in held.values()) or 1)
    grid = figure.subplots(len(labels), columns, squeeze=False)
    for line, label in zip(grid, labels, strict=True):
        for axes in line:
            axes.axis("off")
        for axes, row in zip(line, held[label], strict=False):
            axes.imshow(
                _image(row, outcome.task.dataset.shape),
                cmap="gray_r",
                vmin=every.min(),
                vmax=every.max(),
            )
        line[0].text(
            -0.2, 0.5, label, transform=line[0].transAxes, ha="right", va="center", fontsize=9
        )
    count = sum(len(rows) for rows in held.values())
    shown = "" if columns * len(labels) >= count else f", {columns} per class shown"
    figure.suptitle(f"The memory after learning: {count} samples{shown}", fontsize=11)


def _image(row: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Rows and columns to show: colours as their mean, a plain vector as one line, the features of
    a front end as nearly a square."""
    if row.size != np.prod(shape):
        shape = (max(n for n in range(1, isqrt(row.size) + 1) if row.size % n == 0), -1)
    if len(shape) == 3:
        return row.reshape(shape).mean(axis=2)
    return row.reshape(shape if len(shape) == 2 else (1, -1))
