"""CIFAR-10 and CIFAR-100 in their binary version (cs.toronto.edu/~kriz/cifar.html): rows of one
label byte, or of a coarse and a fine one, and 3 planes of 32 x 32. The Python version is pickled,
which is code, and is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from .dataset import Dataset, build
from .files import content, lines

PIXELS = 3 * 32 * 32


def fits(folder: Path) -> bool:
    return _ten(folder) or _hundred(folder) or _pickled(folder)


def _ten(folder: Path) -> bool:
    return (folder / "data_batch_1.bin").is_file()


def _hundred(folder: Path) -> bool:
    return (folder / "train.bin").is_file() and (folder / "fine_label_names.txt").is_file()


def _pickled(folder: Path) -> bool:
    return (folder / "data_batch_1").is_file() or (folder / "meta").is_file()


def read(name: str, folder: Path) -> Dataset:
    if _ten(folder):
        training, test, names, labels = "data_batch_*.bin", "test_batch.bin", "batches.meta.txt", 1
    elif _hundred(folder):
        training, test, names, labels = "train.bin", "test.bin", "fine_label_names.txt", 2
    else:
        raise ValueError(f"'{folder}' holds pickles; expected the binary version of CIFAR (.bin)")
    batches = [_rows(path, labels) for path in sorted(folder.glob(training))]
    rows = np.concatenate(batches), _rows(folder / test, labels)
    parts = [part for half in rows for part in (_images(half), half[:, labels - 1])]
    return build(name, *parts, labels=tuple(lines(folder / names)), source=str(folder))


def _rows(path: Path, labels: int) -> np.ndarray:
    data, row = content(path, 1 << 28), labels + PIXELS
    if not data or len(data) % row:
        raise ValueError(f"'{path}' has {len(data)} bytes; expected rows of {row}")
    return np.frombuffer(data, np.uint8).reshape(-1, row)


def _images(rows: np.ndarray) -> np.ndarray:
    planes = rows[:, -PIXELS:].reshape(-1, 3, 32, 32)
    return np.ascontiguousarray(planes.transpose(0, 2, 3, 1))
