"""Files of a dataset: read whole, never beyond a limit; errors name the file."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
from rich.console import Console
from rich.progress import track

MOST_BYTES = 1 << 30  # of a file's content, and of an array
Item = TypeVar("Item")


def content(path: Path, most: int = MOST_BYTES) -> bytes:
    """The bytes of a file, plain or .gz; ValueError when they are more than `most`."""
    read = bytearray()
    try:
        with gzip.open(path) if path.suffix == ".gz" else open(path, "rb") as file:
            while len(read) <= most and (piece := file.read(1 << 20)):
                read += piece
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ValueError(f"'{path}' is a damaged .gz file: {error}") from None
    if len(read) > most:
        raise ValueError(f"'{path}' is too large: expected at most {most} bytes")
    return bytes(read)


def lines(path: Path, most: int = 1 << 28) -> list[str]:
    """The lines of a text file, without white space around them and without empty ones."""
    try:
        text = content(path, most).decode()
    except UnicodeDecodeError:
        raise ValueError(f"'{path}' is not a text file") from None
    return [line.strip() for line in text.splitlines() if line.strip()]


def table(path: Path, columns: int) -> np.ndarray:
    """A text file of numbers, `columns` to a line, as float64."""
    text = lines(path)
    if not text:
        raise ValueError(f"'{path}' is empty; expected lines of {columns} numbers")
    try:
        rows = np.loadtxt(io.StringIO("\n".join(text)), ndmin=2, comments=None)
    except ValueError as error:
        raise ValueError(f"'{path}': {error}; expected {columns} numbers a line") from None
    if rows.shape[1] != columns or not np.isfinite(rows).all():
        raise ValueError(f"'{path}' has lines of {rows.shape[1]}; expected {columns} numbers")
    return rows


def integers(path: Path, low: int, high: int) -> np.ndarray:
    """A text file of integers from low to high, one to a line."""
    values = table(path, 1)[:, 0]
    if np.any((values < low) | (values > high) | (values % 1 != 0)):
        raise ValueError(f"'{path}': expected integers from {low} to {high}")
    return values.astype(np.int64)


def folders(folder: Path) -> list[Path]:
    """The folders in a folder, by name."""
    return sorted(path for path in folder.iterdir() if path.is_dir())


def tracked(items: Sequence[Item], what: str) -> Iterable[Item]:
    """The items, with a progress bar where someone watches."""
    console = Console(stderr=True)
    return track(items, what, console=console, transient=True, disable=not console.is_terminal)
