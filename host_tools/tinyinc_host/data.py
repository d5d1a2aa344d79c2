"""Datasets in one shape: training and test samples apart, raw values as their sensor gave them.

`digits` comes with scikit-learn; everything else lies in the folder that TINYINC_DATA names, as
`.npz` archives or as IDX files (MNIST's own format, plain or .gz).
"""

from __future__ import annotations

import gzip
import os
import zipfile
import zlib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

FOLDER_VARIABLE = "TINYINC_DATA"
TEST_SHARE = 0.25  # of a set that comes without a test set of its own
DIGIT_NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
LABEL_BYTES = 64  # the longest label an image can hold

IDX_TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
IDX_PARTS = ("train-images", "train-labels", "t10k-images", "t10k-labels")
GROUPS = ("subject", "speaker")  # arrays of an archive that say whose a sample is
NPZ_FORMS = ({"x_train", "y_train", "x_test", "y_test"}, {"x", "y"})
NPZ_DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, ValueError, OSError, KeyError)


@dataclass(frozen=True)
class Dataset:
    """Samples are (count, values) in raw units; labels index `labels`."""

    name: str
    train_samples: np.ndarray
    train_labels: np.ndarray
    test_samples: np.ndarray
    test_labels: np.ndarray
    labels: tuple[str, ...]
    low: float  # raw range of a value
    high: float
    shape: tuple[int, ...]  # of one sample
    train_groups: np.ndarray | None = None  # whose a training sample is, where that is known

    @property
    def inputs(self) -> int:
        return self.train_samples.shape[1]

    def indices(self, names: list[str]) -> list[int]:
        """Class numbers of label names."""
        for name in names:
            if name not in self.labels:
                raise ValueError(
                    f"dataset {self.name} has no label '{name}'; it has {', '.join(self.labels)}"
                )
        return [self.labels.index(name) for name in names]

    def training(self, classes: list[int]) -> tuple[np.ndarray, np.ndarray]:
        """Training samples and labels of these classes."""
        kept = np.isin(self.train_labels, classes)
        return self.train_samples[kept], self.train_labels[kept]


def load(name: str) -> Dataset:
    """The dataset of that name; ValueError or FileNotFoundError say what is missing or wrong."""
    if name == "digits":
        return _digits()
    folder = _folder(name)
    idx = _idx_files(folder, name)
    archive = _archive(folder, name)
    if idx:
        return _from_idx(name, idx)
    if archive:
        return _from_npz(name, archive)
    raise ValueError(f"unknown dataset '{name}'; known: {', '.join(known())}")


def known() -> list[str]:
    """Names that load() takes here: the built-in set and what the data folder holds."""
    names = {"digits"}
    folder = Path(os.environ.get(FOLDER_VARIABLE) or "/dev/null")
    if folder.is_dir():
        names |= {path.stem.removesuffix("_full") for path in folder.glob("*.npz") if _usable(path)}
        names |= {path.name for path in folder.iterdir() if path.is_dir() and _idx_in(path)}
        if _idx_in(folder):
            names.add("mnist")
    return sorted(names)


def hold_out(dataset: Dataset, share: float, seed: int) -> Dataset:
    """The same set with its test part cut from the training part, to choose settings on. Where it
    is known whose samples are, nobody has some in both parts."""
    if dataset.train_groups is None:
        chosen = _stratified(dataset.train_labels, share, seed)
    else:
        chosen = _of_groups(dataset.train_groups, share, seed)
    return replace(
        dataset,
        name=f"{dataset.name}, held out",
        train_samples=dataset.train_samples[~chosen],
        train_labels=dataset.train_labels[~chosen],
        test_samples=dataset.train_samples[chosen],
        test_labels=dataset.train_labels[chosen],
        train_groups=None if dataset.train_groups is None else dataset.train_groups[~chosen],
    )


def _digits() -> Dataset:
    from sklearn.datasets import load_digits

    bunch = load_digits()
    test = _stratified(bunch.target, TEST_SHARE, seed=0)
    samples = bunch.data.astype(np.uint8)
    return Dataset(
        "digits",
        samples[~test],
        bunch.target[~test],
        samples[test],
        bunch.target[test],
        DIGIT_NAMES,
        0.0,
        16.0,
        (8, 8),
    )


def _stratified(labels: np.ndarray, share: float, seed: int) -> np.ndarray:
    """A mask that takes the same share of every class."""
    generator = np.random.default_rng(seed)
    mask = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        members = generator.permutation(np.flatnonzero(labels == label))
        mask[members[: round(share * len(members))]] = True
    return mask


def _of_groups(groups: np.ndarray, share: float, seed: int) -> np.ndarray:
    """A mask that takes this share of the groups, at least one, each whole."""
    names = np.random.default_rng(seed).permutation(np.unique(groups))
    return np.isin(groups, names[: max(1, round(share * len(names)))])


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


# ---- IDX ----


def _idx_files(folder: Path, name: str) -> dict[str, Path] | None:
    found = _idx_in(folder / name)
    return found or (_idx_in(folder) if name == "mnist" else None)


def _idx_in(folder: Path) -> dict[str, Path] | None:
    """The four files of a set in MNIST's layout, or None when there is no sign of them."""
    found = {}
    for part in IDX_PARTS:
        matches = sorted(folder.glob(f"{part}?idx*"))
        if matches:
            found[part] = matches[0]
    if not found:
        return None
    missing = [part for part in IDX_PARTS if part not in found]
    if missing:
        raise FileNotFoundError(f"'{folder}' has no {missing[0]}-idx file beside the others")
    return found


def read_idx(path: Path) -> np.ndarray:
    """One IDX file, plain or .gz."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else open(path, "rb") as file:
            content = file.read()
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ValueError(f"'{path}' is a damaged .gz file: {error}") from None
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] not in IDX_TYPES:
        raise ValueError(
            f"'{path}' is not an IDX file: it starts with {content[:4].hex() or 'nothing'}"
        )
    kind, rank = np.dtype(IDX_TYPES[content[2]]), content[3]
    header = 4 + 4 * rank
    if rank == 0 or len(content) < header:
        raise ValueError(
            f"'{path}' is truncated: {len(content)} bytes, its header alone has {header}"
        )
    shape = tuple(int(n) for n in np.frombuffer(content[4:header], ">u4"))
    expected = header + kind.itemsize * _product(shape)
    if len(content) != expected:
        state = "truncated" if len(content) < expected else "too long"
        raise ValueError(
            f"'{path}' is {state}: {len(content)} bytes, expected {expected} for {shape}"
        )
    values = np.frombuffer(content, kind, offset=header).reshape(shape)
    return values.astype(kind.newbyteorder("="), copy=False)


def _product(shape: tuple[int, ...]) -> int:
    total = 1
    for n in shape:
        total *= n
    return total


def _from_idx(name: str, files: dict[str, Path]) -> Dataset:
    arrays = [read_idx(files[part]) for part in IDX_PARTS]
    return _build(name, *arrays, labels=None, source=str(files["train-images"].parent))


# ---- npz ----


def _archive(folder: Path, name: str) -> Path | None:
    for stem in (name, f"{name}_full"):
        path = folder / f"{stem}.npz"
        if path.is_file():
            return path
    return None


def _usable(path: Path) -> bool:
    """Whether an archive names the arrays of one of the two forms."""
    try:
        with zipfile.ZipFile(path) as archive:
            arrays = {name.lower().removesuffix(".npy") for name in archive.namelist()}
    except (zipfile.BadZipFile, OSError):
        return False
    return any(form <= arrays for form in NPZ_FORMS)


def _from_npz(name: str, path: Path) -> Dataset:
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {key.lower(): archive[key] for key in archive.files}
    except NPZ_DAMAGE as error:
        raise ValueError(f"'{path}' is not a readable .npz archive: {error}") from None
    names = arrays.get("classes", arrays.get("words"))
    labels = None if names is None else tuple(str(label) for label in names)
    groups = None
    if NPZ_FORMS[0] <= arrays.keys():
        parts = [arrays[key] for key in ("x_train", "y_train", "x_test", "y_test")]
    elif NPZ_FORMS[1] <= arrays.keys():
        samples, targets = arrays["x"], arrays["y"]
        _same_count(samples, targets, str(path))
        groups = next((arrays[key] for key in GROUPS if key in arrays), None)
        test = ~arrays["is_train"].astype(bool) if "is_train" in arrays else None
        for key, array in (("is_train", test), ("subject or speaker", groups)):
            if array is not None and len(array) != len(samples):
                raise ValueError(f"'{path}': {key} has {len(array)} entries, X has {len(samples)}")
        if test is None and groups is not None:
            test = _of_groups(groups, TEST_SHARE, seed=0)
        elif test is None:
            test = _stratified(targets, TEST_SHARE, seed=0)
        groups = None if groups is None else groups[~test]
        parts = [samples[~test], targets[~test], samples[test], targets[test]]
    else:
        raise ValueError(
            f"'{path}' holds {', '.join(sorted(arrays)) or 'nothing'}; "
            "expected X_train, y_train, X_test, y_test, or X and y"
        )
    return replace(_build(name, *parts, labels=labels, source=str(path)), train_groups=groups)


# ---- what both have in common ----


def _build(
    name: str,
    train_samples: np.ndarray,
    train_labels: np.ndarray,
    test_samples: np.ndarray,
    test_labels: np.ndarray,
    labels: tuple[str, ...] | None,
    source: str,
) -> Dataset:
    for samples, targets in ((train_samples, train_labels), (test_samples, test_labels)):
        _same_count(samples, targets, source)
        if not len(samples):
            raise ValueError(f"'{source}' has no samples in one of its parts")
        if samples.ndim < 2 or targets.ndim != 1:
            raise ValueError(f"'{source}': expected samples in rows and one label each")
        if samples.dtype.kind not in "iuf" or targets.dtype.kind not in "iu":
            raise ValueError(f"'{source}': expected numbers and integer labels")
    shape = train_samples.shape[1:]
    if test_samples.shape[1:] != shape:
        raise ValueError(
            f"'{source}': training samples are {shape}, test ones {test_samples.shape[1:]}"
        )
    train_labels, test_labels = train_labels.astype(np.int64), test_labels.astype(np.int64)
    classes = int(max(train_labels.max(), test_labels.max())) + 1
    if min(train_labels.min(), test_labels.min()) < 0:
        raise ValueError(f"'{source}': a label is negative; labels count from 0")
    if labels is None:
        labels = DIGIT_NAMES if name == "mnist" else tuple(str(n) for n in range(classes))
    if len(labels) < classes:
        raise ValueError(f"'{source}' names {len(labels)} classes and uses {classes}")
    if any(len(label.encode()) > LABEL_BYTES for label in labels):
        raise ValueError(f"'{source}': a class name is longer than {LABEL_BYTES} bytes")
    train, test = _flat(train_samples), _flat(test_samples)
    if not (np.isfinite(train).all() and np.isfinite(test).all()):
        raise ValueError(f"'{source}': a value is not a finite number")
    low, high = _range(train)
    return Dataset(name, train, train_labels, test, test_labels, labels, low, high, shape)


def _same_count(samples: np.ndarray, targets: np.ndarray, source: str) -> None:
    if len(samples) != len(targets):
        raise ValueError(f"'{source}': {len(samples)} samples but {len(targets)} labels")


def _flat(samples: np.ndarray) -> np.ndarray:
    """Rows in one of the types that a board takes."""
    rows = samples.reshape(len(samples), -1)
    return rows if rows.dtype in (np.int8, np.uint8, np.int16) else rows.astype(np.float32)


def _range(samples: np.ndarray) -> tuple[float, float]:
    """Eight-bit values use their whole range; wider ones the range that occurs."""
    if samples.dtype.itemsize == 1:
        limits = np.iinfo(samples.dtype)
        return float(limits.min), float(limits.max)
    low, high = float(samples.min()), float(samples.max())
    return (low, high) if high > low else (low, low + 1.0)
