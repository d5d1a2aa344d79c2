"""Datasets in one shape: training and test samples apart, raw values as their sensor gave them.

`digits` comes with scikit-learn; everything else lies in the folder that TINYINC_DATA names, each
set as a `.npz` archive or as a folder in the form in which it was published. A set's name is that
of its archive or folder.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np

from . import bearings, cifar, gestures, har, idx, keywords, npz, toycar
from .dataset import DIGIT_NAMES, TEST_SHARE, Dataset, by_class, hold_out, split
from .images import Classes, Core50, Food

__all__ = [
    "DIGIT_NAMES",
    "FOLDER_VARIABLE",
    "TEST_SHARE",
    "Dataset",
    "hold_out",
    "known",
    "load",
    "npz",
]

FOLDER_VARIABLE = "TINYINC_DATA"
# Each has fits(folder) and read(name, folder); the first that fits is taken.
FORMATS = (idx, cifar, har, toycar, keywords, Core50, Food, gestures, bearings, Classes)


def load(name: str) -> Dataset:
    """The dataset of that name; ValueError or OSError say what is missing or wrong."""
    if name == "digits":
        return _digits()
    root = _folder(name)
    for format in FORMATS if (root / name).is_dir() else ():
        if format.fits(root / name):
            return format.read(name, root / name)
    if name == "mnist" and idx.fits(root):
        return idx.read(name, root)
    archive = npz.find(root, name)
    if archive:
        return npz.read(name, archive)
    raise ValueError(f"unknown dataset '{name}'; known: {', '.join(known())}")


def known() -> list[str]:
    """Names that load() takes here: the built-in set and what the data folder holds."""
    names = {"digits"}
    root = Path(os.environ.get(FOLDER_VARIABLE) or "/dev/null")
    if root.is_dir():
        for path in root.iterdir():
            if path.suffix == ".npz":
                names.update(npz.names(path))
            elif path.is_dir() and any(format.fits(path) for format in FORMATS):
                names.add(path.name)
        if idx.fits(root):
            names.add("mnist")
    return sorted(names)


def _digits() -> Dataset:
    from sklearn.datasets import load_digits

    bunch = load_digits()
    test = by_class(bunch.target, TEST_SHARE, seed=0)
    samples = bunch.images.astype(np.uint8)
    digits = split("digits", samples, bunch.target, test, DIGIT_NAMES, "scikit-learn")
    return replace(digits, low=0.0, high=16.0)


def _folder(name: str) -> Path:
    value = os.environ.get(FOLDER_VARIABLE)
    if not value:
        raise ValueError(
            f"dataset '{name}' is not built in (digits is): "
            f"set {FOLDER_VARIABLE} to the folder that holds it"
        )
    folder = Path(value)
    if not folder.is_dir():
        raise FileNotFoundError(f"{FOLDER_VARIABLE} names '{folder}', which is not a folder")
    return folder
