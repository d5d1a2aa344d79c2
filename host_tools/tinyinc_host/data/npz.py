"""Compact archives of numpy arrays, `.npz`. FORMS says which arrays they may hold; one archive may
hold two sets."""

from __future__ import annotations

import math
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from . import gestures, har
from .dataset import (
    TEST_SHARE,
    Dataset,
    build,
    by_class,
    by_group,
    by_time,
    check_pair,
    kinds,
    split,
)
from .files import MOST_BYTES
from .images import Core50
from .toycar import LABELS as TOYCAR_LABELS

DAMAGE = (  # what zipfile and numpy raise; RuntimeError: a version or an encryption unknown
    *(zipfile.BadZipFile, zlib.error, struct.error, tokenize.TokenError),
    *(EOFError, ValueError, OSError, KeyError, RuntimeError, SyntaxError, TypeError, MemoryError),
)
GROUPS = ("subject", "speaker", "session")  # arrays that say whose a sample is
DOMAINS = {  # arrays that say under which conditions, and what those are
    "subject": "subject",
    "session": "session",
    "load_hp": "load",
    "machine_id": "machine",
}
Arrays = dict[str, np.ndarray]


def find(folder: Path, name: str) -> Path | None:
    """The archive that has the set of this name."""
    for suffix in {"", *(form.suffix for form in FORMS if name.endswith(form.suffix))}:
        stem = name.removesuffix(suffix)
        for path in (folder / f"{stem}.npz", folder / f"{stem}_full.npz"):
            if path.is_file() and (not suffix or name in names(path)):
                return path
    return None


def names(path: Path) -> list[str]:
    """The sets in an archive."""
    try:
        with zipfile.ZipFile(path) as archive:
            arrays = {name.lower().removesuffix(".npy") for name in archive.namelist()}
    except DAMAGE:
        return []
    stem = path.stem.removesuffix("_full")
    return sorted({stem + form.suffix for form in FORMS if form.arrays <= arrays})


def read(name: str, path: Path) -> Dataset:
    try:
        arrays = load(path)
    except DAMAGE as error:
        raise ValueError(f"'{path}' is not a readable .npz archive: {error}") from None
    for form in FORMS:
        if form.arrays <= arrays.keys() and name.endswith(form.suffix):
            return form.read(name, arrays, str(path))
    raise ValueError(
        f"'{path}' holds {', '.join(sorted(arrays)) or 'nothing'}; "
        "expected X_train, y_train, X_test, y_test, or X and y"
    )


def load(path: Path) -> Arrays:
    """The arrays of an archive, by their names in lower case. Raises what is in DAMAGE."""
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            _check_member(archive, member)
    with np.load(path, allow_pickle=False) as archive:
        return {key.lower(): archive[key] for key in archive.files}


def _check_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> None:
    """ValueError where an array declares more than it has, or more than is reasonable: numpy
    would allocate it before it reads."""
    with archive.open(member) as file:
        version = np.lib.format.read_magic(file)
        header = np.lib.format.read_array_header_1_0
        if version != (1, 0):
            header = np.lib.format.read_array_header_2_0
        shape, _, kind = header(file)
    wanted = kind.itemsize * math.prod(shape)
    if not wanted <= min(member.file_size, MOST_BYTES):
        raise ValueError(
            f"{member.filename} declares {wanted} bytes of {member.file_size}, "
            f"at most {MOST_BYTES} are read"
        )


# ---- forms ----


def _halves(name: str, arrays: Arrays, source: str) -> Dataset:
    parts = [arrays[key] for key in ("x_train", "y_train", "x_test", "y_test")]
    return build(name, *parts, labels=_labels(arrays), source=source)


def _pooled(name: str, arrays: Arrays, source: str) -> Dataset:
    """Samples with labels, and who or what they come from, where that is known."""
    samples, targets = arrays["x"], arrays["y"]
    check_pair(samples, targets, source)
    group = next((key for key in GROUPS if key in arrays), None)
    domain = next((key for key in DOMAINS if key in arrays), None)
    for key in ("is_train", *{group, domain} - {None}):
        if key in arrays and arrays[key].shape != targets.shape:
            has = len(arrays[key]) if arrays[key].ndim else 0
            raise ValueError(f"'{source}': {key} has {has} entries, X has {len(samples)}")
    groups, domains = arrays.get(group), arrays.get(domain)
    return split(
        name,
        samples,
        targets,
        _test_part(arrays, targets, groups, domains),
        _labels(arrays),
        source,
        groups,
        domains,
        DOMAINS.get(domain, ""),
    )


def _test_part(
    arrays: Arrays, targets: np.ndarray, groups: np.ndarray | None, domains: np.ndarray | None
) -> np.ndarray:
    """The mask of an archive, or what fits what is known."""
    if "is_train" in arrays:
        return arrays["is_train"] == 0
    if "session" in arrays:
        return np.isin(groups, Core50.TEST_SESSIONS)
    if groups is not None:
        return by_group(groups, targets, TEST_SHARE, seed=0)
    if domains is not None:
        pairs = kinds(targets, domains)
        return by_time(pairs, TEST_SHARE) if "load_hp" in arrays else by_class(pairs, TEST_SHARE, 0)
    return by_class(targets, TEST_SHARE, seed=0)


def _labels(arrays: Arrays) -> tuple[str, ...] | None:
    if "machine_id" in arrays:
        return TOYCAR_LABELS
    for key in ("classes", "words"):
        if key in arrays:
            return tuple(str(label) for label in arrays[key].reshape(-1))
    return Core50.CATEGORIES if "object" in arrays else None


def _gestures(name: str, arrays: Arrays, source: str) -> Dataset:
    """Sequences of wing, ring, slope and negative, one after the other."""
    rows, lengths = arrays["tf_seq"], arrays["tf_len"]
    targets, people = arrays["tf_y"], arrays["tf_who"]
    good = rows.ndim == 2 and rows.shape[1] == 3 and rows.dtype == np.int16
    good = good and lengths.shape == targets.shape == people.shape == (len(lengths),)
    good = good and lengths.dtype.kind in "iu" and people.dtype.kind == "U"
    if not good or lengths.min(initial=1) < 1 or lengths.sum(dtype=float) != len(rows):
        raise ValueError(f"'{source}': tf_seq, tf_len, tf_y and tf_who do not fit each other")
    sequences = np.split(rows, np.cumsum(lengths.astype(np.int64))[:-1])
    people = np.array([str(who).split("_", 1)[-1] for who in people])
    return gestures.assemble(name, sequences, targets, people, source)


def _charms(name: str, arrays: Arrays, source: str) -> Dataset:
    parts = {key.removeprefix("charm_"): array for key, array in arrays.items()}
    return _halves(name, {**parts, "classes": arrays["charm_names"]}, source)


def _recordings(name: str, arrays: Arrays, source: str) -> Dataset:
    """HAPT (Reyes-Ortiz et al., 2015): raw signals at 50 Hz and what was done from when to when,
    cut into windows as those of UCI HAR, which overlap by half."""
    signal, offsets, spans = arrays["sig"], arrays["exp_offset"], arrays["labels"]
    good = signal.ndim == 2 and offsets.ndim == 1 and spans.ndim == 2 and spans.shape[1] == 5
    good = good and all(array.dtype.kind in "iu" for array in (signal, offsets, spans))
    if not good:
        raise ValueError(f"'{source}': expected sig, exp_offset and labels of five columns")
    samples, rows = [], []
    for experiment, user, activity, start, end in spans.tolist():
        known = 1 <= experiment < len(offsets) and 1 <= activity <= len(har.POSTURES)
        low, high = offsets[experiment - 1 : experiment + 1].tolist() if known else (0, 0)
        if not known or not 1 <= start <= end <= high - low or not 0 <= low <= high <= len(signal):
            raise ValueError(
                f"'{source}': no experiment {experiment} from {start} to {end}, or no "
                f"activity {activity}"
            )
        for at in range(low + start - 1, low + end - har.WINDOW + 1, har.WINDOW // 2):
            samples.append(signal[at : at + har.WINDOW])
            rows.append((activity - 1, user))
    targets, users = np.array(rows, np.int64).reshape(-1, 2).T
    windows = np.array(samples).reshape(-1, har.WINDOW, signal.shape[1])
    windows = np.rint(har.halved(windows.astype(np.float32))).astype(signal.dtype)
    test = np.isin(users, arrays["test_subjects"])
    return split(name, windows, targets, test, har.POSTURES, source, users, users, "subject")


@dataclass(frozen=True)
class Form:
    """Arrays that make a set, what its name ends with, and the function that reads it."""

    arrays: frozenset[str]
    read: Callable[[str, Arrays, str], Dataset]
    suffix: str = ""


FORMS = (
    Form(frozenset({"x_train", "y_train", "x_test", "y_test"}), _halves),
    Form(frozenset({"x", "y"}), _pooled),
    Form(
        frozenset(
            {"charm_x_train", "charm_y_train", "charm_x_test", "charm_y_test", "charm_names"}
        ),
        _charms,
        "_charms",
    ),
    Form(frozenset({"tf_seq", "tf_len", "tf_y", "tf_who"}), _gestures),
    Form(frozenset({"sig", "exp_offset", "labels", "test_subjects"}), _recordings),
)
