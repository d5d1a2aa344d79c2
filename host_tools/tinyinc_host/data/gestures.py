"""Magic-wand gestures (TensorFlow Lite for Microcontrollers): GESTURE/output_GESTURE_PERSON.txt,
lines of acceleration x,y,z in mg at 25 Hz, sequences apart by -,-,-. A sample is 128 x 3, int16.
People drift; nobody is in both parts."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from .dataset import TEST_SHARE, Dataset, by_group, split
from .files import lines

LABELS = ("wing", "ring", "slope", "negative")
WINDOW = 128


def fits(folder: Path) -> bool:
    return next(folder.glob("*/output_*_*.txt"), None) is not None


def read(name: str, folder: Path) -> Dataset:
    sequences, targets, people = [], [], []
    for c, label in enumerate(LABELS):
        for path in sorted((folder / label).glob(f"output_{label}_*.txt")):
            found = _sequences(path)
            sequences += found
            targets += [c] * len(found)
            people += [path.stem.removeprefix(f"output_{label}_")] * len(found)
    return assemble(name, sequences, np.array(targets), np.array(people), str(folder))


def assemble(
    name: str, sequences: list[np.ndarray], targets: np.ndarray, people: np.ndarray, source: str
) -> Dataset:
    """The dataset of sequences (count, 3) of any length, their classes and whose they are."""
    pieces = [_windows(sequence) for sequence in sequences]
    owners = np.repeat(np.arange(len(pieces)), [len(piece) for piece in pieces])
    if not len(owners):
        raise ValueError(f"'{source}' has no gestures; expected {', '.join(LABELS)}")
    samples, targets, people = np.concatenate(pieces), targets[owners], people[owners]
    test = by_group(people, targets, TEST_SHARE, seed=0)
    return split(name, samples, targets, test, LABELS, source, people, people, "person")


def _windows(sequence: np.ndarray) -> np.ndarray:
    """Cut into windows; the last value fills a short one, unless it is a small remainder."""
    rest = -len(sequence) % WINDOW
    if rest > WINDOW // 2 and len(sequence) > WINDOW:
        sequence, rest = sequence[: len(sequence) // WINDOW * WINDOW], 0
    return np.pad(sequence, ((0, rest), (0, 0)), "edge").reshape(-1, WINDOW, 3)


def _sequences(path: Path) -> list[np.ndarray]:
    sequences: list[list[list[float]]] = [[]]
    for number, line in enumerate(lines(path), 1):
        fields = line.split(",")
        if fields == ["-"] * 3:
            sequences.append([])
            continue
        try:
            row = [round(float(field)) for field in fields]
        except (ValueError, OverflowError):
            row = []
        if len(row) != 3 or not all(-32768 <= value <= 32767 for value in row):
            raise ValueError(f"'{path}', line {number}: expected x,y,z in mg, not '{line[:80]}'")
        sequences[-1].append(row)
    return [np.array(sequence, np.int16) for sequence in sequences if sequence]
