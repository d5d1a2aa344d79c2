"""DCASE 2020 task 2, ToyCar and its like: train/ and test/ with WAV files that are called
normal_id_01_00000000.wav or anomaly_... A sample is a log-mel spectrum in dB, 50 spans of time x
64 bands.

The challenge trains on normal sounds alone. Learning with labels needs anomalies: a quarter of
each machine's and class's sounds in test/ is for testing, all other sounds are for training.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from .dataset import TEST_SHARE, Dataset, by_class, kinds, split
from .files import tracked
from .sound import log_mel, read_wav

LABELS = ("normal", "anomaly")
NAME = re.compile(r"(normal|anomaly)_id_(\d{1,2})_\w+\.wav")
SPANS, BANDS, FRAME, HOP = 50, 64, 1024, 512


def fits(folder: Path) -> bool:
    return next(folder.glob("train/*_id_*.wav"), None) is not None


def read(name: str, folder: Path) -> Dataset:
    paths = sorted(folder.glob("train/*.wav")) + sorted(folder.glob("test/*.wav"))
    matches = [NAME.fullmatch(path.name) for path in paths]
    for path, match in zip(paths, matches, strict=True):
        if not match:
            raise ValueError(f"'{path}' should be called normal_id_NN_... or anomaly_id_NN_...")
    targets = np.array([LABELS.index(match[1]) for match in matches])
    machines = np.array([int(match[2]) for match in matches])
    testable = np.array([path.parent.name == "test" for path in paths])
    test = np.zeros(len(paths), bool)
    test[testable] = by_class(kinds(targets, machines)[testable], TEST_SHARE, seed=0)
    samples = np.stack([_features(path) for path in tracked(paths, name)])
    return split(
        name, samples, targets, test, LABELS, str(folder), domains=machines, domain="machine"
    )


def _features(path: Path) -> np.ndarray:
    sound = read_wav(path)
    if len(sound) < FRAME + SPANS * HOP:
        raise ValueError(f"'{path}' is too short: {len(sound)} samples")
    spans = np.array_split(log_mel(sound, FRAME, HOP, BANDS), SPANS)
    return np.clip(np.rint([span.mean(0) for span in spans]), -128, 127).astype(np.int8)
