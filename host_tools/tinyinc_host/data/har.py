"""UCI HAR (Anguita et al., 2013): text files of windows, 2.56 s of an accelerometer and a
gyroscope at 50 Hz. Here at 25 Hz in eight bits, as a small board would sample them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from .dataset import Dataset, split
from .files import integers, table

ACTIVITIES = ("walking", "upstairs", "downstairs", "sitting", "standing", "lying")
POSTURES = (  # the activities and postural transitions of HAPT
    *ACTIVITIES,
    "stand to sit",
    "sit to stand",
    "sit to lie",
    "lie to sit",
    "stand to lie",
    "lie to stand",
)
WINDOW = 128  # values of an axis in a window, at 50 Hz
AXES = [f"{sensor}_{axis}" for sensor in ("total_acc", "body_gyro") for axis in "xyz"]
STEPS = np.array([48] * 3 + [24] * 3)  # per g: +-2.6 g; per rad/s: +-5.3 rad/s


def fits(folder: Path) -> bool:
    return (folder / "train" / "Inertial Signals").is_dir()


def read(name: str, folder: Path) -> Dataset:
    halves = [_part(folder / part, part) for part in ("train", "test")]
    samples, targets, subjects = (np.concatenate(arrays) for arrays in zip(*halves, strict=True))
    test = np.arange(len(targets)) >= len(halves[0][1])
    return split(
        name, samples, targets, test, ACTIVITIES, str(folder), subjects, subjects, "subject"
    )


def _part(folder: Path, part: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Windows (count, 64, 6), activities and subjects of the folder train or test."""
    targets = integers(folder / f"y_{part}.txt", 1, len(ACTIVITIES)) - 1
    subjects = integers(folder / f"subject_{part}.txt", 1, 255)
    axes = []
    for axis in AXES:
        path = folder / "Inertial Signals" / f"{axis}_{part}.txt"
        axes.append(halved(table(path, WINDOW)))
        if not len(axes[-1]) == len(subjects) == len(targets):
            raise ValueError(
                f"'{path}' has {len(axes[-1])} windows; there are {len(targets)} labels "
                f"and {len(subjects)} subjects"
            )
    samples = np.clip(np.rint(np.stack(axes, axis=2) * STEPS), -128, 127)
    return samples.astype(np.int8), targets, subjects


def halved(windows: np.ndarray) -> np.ndarray:
    """Half the rate along the second axis: the means of neighbours."""
    return (windows[:, 0::2] + windows[:, 1::2]) / 2
