"""Folders of JPEG and PNG files: one per class (TensorFlow's flowers), Food-101 with its lists of
training and test images, and CORe50, whose folders are sessions and objects."""

from __future__ import annotations

import re
import struct
from pathlib import Path

import numpy as np
from PIL import Image

from .dataset import TEST_SHARE, Dataset, by_class, split
from .files import folders, lines, tracked

SIDE = 32  # pixels of the images of a class folder
MOST_PIXELS = 1 << 25
SUFFIXES = {".jpg", ".jpeg", ".png"}
DAMAGE = (  # what Pillow raises
    *(OSError, SyntaxError, ValueError, MemoryError),
    *(struct.error, Image.DecompressionBombError),
)


def read_image(path: Path, side: int) -> np.ndarray:
    """A picture scaled to (side, side, 3), uint8."""
    try:
        with Image.open(path, formats=("JPEG", "PNG")) as image:
            if image.width * image.height > MOST_PIXELS:
                raise ValueError(f"{image.width} x {image.height} pixels")
            image.draft("RGB", (side, side))  # a JPEG is decoded no larger than needed
            return np.asarray(image.convert("RGB").resize((side, side), Image.Resampling.BILINEAR))
    except FileNotFoundError:
        raise
    except DAMAGE as error:
        raise ValueError(f"'{path}' is not a readable JPEG or PNG image: {error}") from None


def _images(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)


def _read_all(paths: list[Path], side: int, what: str) -> np.ndarray:
    samples = np.empty((len(paths), side, side, 3), np.uint8)
    for i, path in enumerate(tracked(paths, what)):
        samples[i] = read_image(path, side)
    return samples


class Classes:
    """A folder per class. Without a split of its own, a quarter of each class is for testing."""

    @staticmethod
    def fits(folder: Path) -> bool:
        return any(path.suffix.lower() in SUFFIXES for path in folder.glob("*/*"))

    @staticmethod
    def read(name: str, folder: Path) -> Dataset:
        found = {path.name: _images(path) for path in folders(folder)}
        labels = tuple(label for label, images in found.items() if images)
        paths = [path for label in labels for path in found[label]]
        targets = np.array([labels.index(path.parent.name) for path in paths])
        test = by_class(targets, TEST_SHARE, seed=0)
        return split(name, _read_all(paths, SIDE, name), targets, test, labels, str(folder))


class Food:
    """Food-101 (Bossard et al., 2014): images/CLASS/NUMBER.jpg, meta/train.txt, meta/test.txt."""

    @staticmethod
    def fits(folder: Path) -> bool:
        return (folder / "meta" / "train.txt").is_file() and (folder / "images").is_dir()

    @staticmethod
    def read(name: str, folder: Path) -> Dataset:
        parts = [lines(folder / "meta" / f"{part}.txt") for part in ("train", "test")]
        entries = parts[0] + parts[1]
        for entry in entries:
            if not re.fullmatch(r"\w+/\w+", entry):
                raise ValueError(f"'{folder / 'meta'}': expected CLASS/NUMBER, not '{entry[:80]}'")
        labels = tuple(sorted({entry.split("/")[0] for entry in entries}))
        targets = np.array([labels.index(entry.split("/")[0]) for entry in entries])
        paths = [folder / "images" / f"{entry}.jpg" for entry in entries]
        test = np.arange(len(paths)) >= len(parts[0])
        return split(name, _read_all(paths, SIDE, name), targets, test, labels, str(folder))


class Core50:
    """CORe50 (Lomonaco and Maltoni, 2017), 128 x 128: sN/oN/C_NN_NN_NNN.png, video at 20 Hz, of
    which one frame per second is taken. Classes are the ten categories, five objects each."""

    SIDE = 128
    FRAMES = 20
    CATEGORIES = ("plug adapter", "mobile phone", "scissors", "light bulb", "can")
    CATEGORIES += ("glasses", "ball", "marker", "cup", "remote control")
    TEST_SESSIONS = (3, 7, 10)  # as the authors split it

    @classmethod
    def fits(cls, folder: Path) -> bool:
        return next(folder.glob("s*/o*/C_*.png"), None) is not None

    @classmethod
    def read(cls, name: str, folder: Path) -> Dataset:
        paths = []
        for recording in sorted(folder.glob("s*/o*")):
            paths += _images(recording)[:: cls.FRAMES]
        places = [re.fullmatch(r"s(\d{1,2})/o(\d{1,2})", _place(path)) for path in paths]
        for path, place in zip(paths, places, strict=True):
            if not (place and 1 <= int(place[1]) <= 11 and 1 <= int(place[2]) <= 50):
                raise ValueError(f"'{path}': expected folders s1 to s11 and o1 to o50")
        sessions = np.array([int(place[1]) for place in places])
        targets = np.array([(int(place[2]) - 1) // 5 for place in places])
        test = np.isin(sessions, cls.TEST_SESSIONS)
        samples = _read_all(paths, cls.SIDE, name)
        return split(
            name, samples, targets, test, cls.CATEGORIES, str(folder), sessions, sessions, "session"
        )


def _place(path: Path) -> str:
    return f"{path.parent.parent.name}/{path.parent.name}"
