"""Speech Commands (Warden, 2018): a folder of one-second WAV files per word, and lists of those
for testing. Where the ten usual words are there, only they are taken; `_background_noise_` becomes
the class `_silence_`. A sample is an MFCC, 20 coefficients x 11 frames, normalised, eight bits.

`validation_list.txt` belongs to the training part: hold_out() keeps speakers apart just as well.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from .dataset import Dataset, split
from .files import folders, lines, tracked
from .sound import RATE, mfcc, read_wav

TEN = ("down", "go", "left", "no", "off", "on", "right", "stop", "up", "yes")
NOISE, SILENCE = "_background_noise_", "_silence_"
FRAME, HOP, BANDS, COEFFICIENTS = 2048, 1600, 40, 20
STEP = 32  # per standard deviation: +-4 of them
NOISE_TEST_SHARE = 0.1  # the end of each recording of noise


def fits(folder: Path) -> bool:
    return next(folder.glob("*/*_nohash_*.wav"), None) is not None


def read(name: str, folder: Path) -> Dataset:
    words = tuple(path.name for path in folders(folder) if not path.name.startswith("_"))
    words = TEN if set(TEN) <= set(words) else words
    listed = set(lines(folder / "testing_list.txt"))
    rows = []  # features, class, for testing?, whose
    paths = [(path, c) for c, word in enumerate(words) for path in _sounds(folder / word)]
    for path, c in tracked(paths, name):
        test = f"{path.parent.name}/{path.name}" in listed
        rows.append((_features(read_wav(path)), c, test, path.stem.split("_nohash_")[0]))
    if not any(test for _, _, test, _ in rows):
        raise ValueError(f"'{folder / 'testing_list.txt'}' names no file that is there")
    for path in _sounds(folder / NOISE):
        noise = read_wav(path)
        border = int(len(noise) * (1 - NOISE_TEST_SHARE))
        for part, whose in ((noise[:border], path.stem), (noise[border:], f"end of {path.stem}")):
            for start in range(0, len(part) - RATE + 1, RATE // 4):
                second = part[start : start + RATE]
                rows.append((_features(second), len(words), whose != path.stem, whose))
    labels = (*words, SILENCE) if (folder / NOISE).is_dir() else words
    features, targets, test, speakers = (np.array(column) for column in zip(*rows, strict=True))
    training = features[~test]
    if not len(training):
        raise ValueError(f"'{folder / 'testing_list.txt'}' leaves nothing to train on")
    mean, deviation = training.mean((0, 2)), training.std((0, 2)) + 1e-6
    samples = np.rint((features - mean[:, None]) / deviation[:, None] * STEP)
    samples = np.clip(samples, -128, 127).astype(np.int8)
    return split(name, samples, targets, test, labels, str(folder), speakers)


def _sounds(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.wav"))


def _features(sound: np.ndarray) -> np.ndarray:
    """(coefficients, frames) of one second; shorter sounds are filled with silence."""
    second = np.zeros(RATE + FRAME, np.float32)
    second[FRAME // 2 :][: min(len(sound), RATE)] = sound[:RATE]
    return mfcc(second, FRAME, HOP, BANDS, COEFFICIENTS).T
