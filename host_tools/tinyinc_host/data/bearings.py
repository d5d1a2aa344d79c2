"""Bearing vibration of Case Western Reserve University: .mat files of the drive end at 12 kHz,
called 105.mat or IR007_0.mat. A sample is 512 values, int16, 4096 to the g; what drifts is the
load of the motor. The last quarter of each recording is for testing."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np

from .dataset import TEST_SHARE, Dataset, by_time, split
from .files import content

# Class, and the number of its recording without load; those at 1, 2 and 3 HP follow. A name says
# the place of the damage, ball, inner or outer race (at 6 o'clock), and its width in 1/1000 inch.
FIRST = {"Normal": 97, "B007": 118, "B014": 185, "B021": 222, "IR007": 105, "IR014": 169}
FIRST |= {"IR021": 209, "OR007@6": 130, "OR014@6": 197, "OR021@6": 234}
LABELS = tuple(FIRST)
WINDOW, STEPS, MOST_G = 512, 4096, 1e3
MATRIX, DOUBLES, COMPRESSED = 14, 9, 15  # types of elements


def fits(folder: Path) -> bool:
    return any(_recording(path) for path in folder.rglob("*.mat"))


def read(name: str, folder: Path) -> Dataset:
    samples, numbers = [], []
    for path in sorted(folder.rglob("*.mat")):
        number = _recording(path)
        if number:
            signal = read_mat(path, f"X{number:03}_DE_time")
            windows = signal[: len(signal) // WINDOW * WINDOW].reshape(-1, WINDOW) * STEPS
            samples.append(np.clip(np.rint(windows), -32768, 32767).astype(np.int16))
            numbers += [number] * len(windows)
    places = {
        first + load: (c, load) for c, first in enumerate(FIRST.values()) for load in range(4)
    }
    targets, loads = np.array([places[number] for number in numbers]).reshape(-1, 2).T
    test = by_time(np.array(numbers), TEST_SHARE)
    arrays = np.concatenate(samples), targets, test
    return split(name, *arrays, LABELS, str(folder), domains=loads, domain="load")


def _recording(path: Path) -> int | None:
    """The number of a recording, by the name of its file; None for one that is not needed."""
    match = re.fullmatch(r"(\w+?(?:@6)?)_([0-3])", path.stem)
    if match and match[1] in FIRST:
        return FIRST[match[1]] + int(match[2])
    number = int(path.stem) if re.fullmatch(r"\d{2,3}", path.stem) else 0
    return number if any(first <= number < first + 4 for first in FIRST.values()) else None


def read_mat(path: Path, name: str) -> np.ndarray:
    """A matrix of doubles, as one row, from a MAT-file of version 5 (its public description is
    "MAT-File Format", MathWorks). scipy's loadmat() would do, but crashes on damaged files."""
    data = content(path, 1 << 26)
    if data[124:128] != b"\0\1IM":
        raise ValueError(f"'{path}' is not a MAT-file of version 5, little-endian")
    found = []
    for kind, body in _elements(memoryview(data)[128:], path):
        if kind == COMPRESSED:
            raise ValueError(f"'{path}' is compressed; expected it as it is published")
        parts = list(islice(_elements(body, path), 4)) if kind == MATRIX else []
        if len(parts) == 4:
            (_, _), (_, dims), (_, title), (kind, values) = parts
            found.append(bytes(title).decode("ascii", "replace")[:63])
            if found[-1] == name:
                break
    else:
        raise ValueError(f"'{path}' has {', '.join(found[:9]) or 'no matrix'}; expected {name}")
    shape = np.frombuffer(dims[: len(dims) // 4 * 4], "<u4").tolist()
    if kind != DOUBLES or len(shape) != 2 or 8 * shape[0] * shape[1] != len(values):
        raise ValueError(f"'{path}': {name} is damaged; expected a matrix of doubles")
    row = np.frombuffer(values, "<f8")
    if len(row) < WINDOW or not np.all(abs(row) < MOST_G):
        raise ValueError(f"'{path}': {name} is too short or has a value that is no acceleration")
    return row


def _elements(data: memoryview, path: Path) -> Iterator[tuple[int, memoryview]]:
    """Type and content of each data element; small ones have both in eight bytes."""
    while len(data) >= 8:
        kind, size = struct.unpack_from("<II", data)
        start = 8
        if kind >> 16:
            kind, size, start = kind & 0xFFFF, kind >> 16, 4
        if start + size > len(data) or (start == 4 and size > 4):
            raise ValueError(f"'{path}' is truncated or damaged: an element of {size} bytes")
        yield kind, data[start : start + size]
        data = data[(start + size + 7) // 8 * 8 :]
