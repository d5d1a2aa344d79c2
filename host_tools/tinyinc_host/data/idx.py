"""IDX, the format of MNIST: four files, plain or .gz, train-images-idx3-ubyte and so on."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from .dataset import Dataset, build
from .files import content

TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
PARTS = ("train-images", "train-labels", "t10k-images", "t10k-labels")


def fits(folder: Path) -> bool:
    return any(_matches(folder, part) for part in PARTS)


def read(name: str, folder: Path) -> Dataset:
    files = [_matches(folder, part) for part in PARTS]
    for part, matches in zip(PARTS, files, strict=True):
        if not matches:
            raise FileNotFoundError(f"'{folder}' has no {part}-idx file beside the others")
    arrays = [read_idx(matches[0]) for matches in files]
    return build(name, *arrays, labels=None, source=str(folder))


def _matches(folder: Path, part: str) -> list[Path]:
    return sorted(folder.glob(f"{part}?idx*"))


def read_idx(path: Path) -> np.ndarray:
    """One IDX file, plain or .gz."""
    data = content(path)
    if len(data) < 4 or data[:2] != b"\0\0" or data[2] not in TYPES:
        raise ValueError(
            f"'{path}' is not an IDX file: it starts with {data[:4].hex() or 'nothing'}"
        )
    kind, rank = np.dtype(TYPES[data[2]]), data[3]
    header = 4 + 4 * rank
    if rank == 0 or len(data) < header:
        raise ValueError(f"'{path}' is truncated: {len(data)} bytes, its header alone has {header}")
    shape = tuple(int(n) for n in np.frombuffer(data[4:header], ">u4"))
    expected = header + kind.itemsize * math.prod(shape)
    if len(data) != expected:
        state = "truncated" if len(data) < expected else "too long"
        raise ValueError(f"'{path}' is {state}: {len(data)} bytes, expected {expected} for {shape}")
    values = np.frombuffer(data, kind, offset=header).reshape(shape)
    return values.astype(kind.newbyteorder("="), copy=False)
