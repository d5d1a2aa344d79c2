"""What a dataset is, the checks that every reader's arrays pass, and how a set is split."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

TEST_SHARE = 0.25  # of a set that comes without a test set of its own
DIGIT_NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
USUAL_LABEL_BYTES, LABEL_BYTES = 16, 64  # what a network has room for; the most an image can hold
MOST_CLASSES = 4096
DRAWS = 100  # of groups, until both parts have every class


@dataclass(frozen=True)
class Dataset:
    """Samples are (count, values) in raw units; labels index `labels`.

    A group says whose a sample is: an honest split keeps every group whole. A domain says under
    which conditions it was taken, where those drift: another user, load, session. Both are arrays
    of integers or strings, one entry per sample, or None where nothing is known.
    """

    name: str
    train_samples: np.ndarray
    train_labels: np.ndarray
    test_samples: np.ndarray
    test_labels: np.ndarray
    labels: tuple[str, ...]
    low: float  # raw range of a value
    high: float
    shape: tuple[int, ...]  # of one sample
    train_groups: np.ndarray | None = None
    test_groups: np.ndarray | None = None
    train_domains: np.ndarray | None = None
    test_domains: np.ndarray | None = None
    domain: str = ""  # what the domains are: "subject", "load", ...

    @property
    def inputs(self) -> int:
        return self.train_samples.shape[1]

    @property
    def label_bytes(self) -> int:
        """Room for a label that a network needs, in steps of 4 bytes."""
        longest = max(len(label.encode()) for label in self.labels)
        return max(USUAL_LABEL_BYTES, (longest + 3) // 4 * 4)

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


# ---- splits: masks of the samples that are for testing ----


def hold_out(dataset: Dataset, share: float, seed: int) -> Dataset:
    """The same set with its test part cut from the training part, to choose settings on. Where it
    is known whose samples are, nobody has some in both parts."""
    labels, groups, domains = dataset.train_labels, dataset.train_groups, dataset.train_domains
    if groups is None:
        chosen = by_class(labels if domains is None else kinds(labels, domains), share, seed)
    else:
        chosen = by_group(groups, labels, share, seed)
    return replace(
        dataset,
        name=f"{dataset.name}, held out",
        train_samples=dataset.train_samples[~chosen],
        train_labels=labels[~chosen],
        test_samples=dataset.train_samples[chosen],
        test_labels=labels[chosen],
        train_groups=_of(groups, ~chosen),
        test_groups=_of(groups, chosen),
        train_domains=_of(domains, ~chosen),
        test_domains=_of(domains, chosen),
    )


def kinds(labels: np.ndarray, domains: np.ndarray) -> np.ndarray:
    """A number for each pair of class and domain."""
    numbers = np.unique(domains, return_inverse=True)[1].reshape(-1)
    return labels.astype(np.int64) * (numbers.max(initial=0) + 1) + numbers


def by_class(labels: np.ndarray, share: float, seed: int) -> np.ndarray:
    """The same share of every class."""
    generator = np.random.default_rng(seed)
    mask = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        members = generator.permutation(np.flatnonzero(labels == label))
        mask[members[: round(share * len(members))]] = True
    return mask


def by_group(groups: np.ndarray, labels: np.ndarray, share: float, seed: int) -> np.ndarray:
    """This share of the groups, at least one, each whole; drawn again while a class is missing
    from one of the parts."""
    generator = np.random.default_rng(seed)
    names = np.unique(groups)
    count, classes = max(1, round(share * len(names))), len(np.unique(labels))
    for _ in range(DRAWS):
        mask = np.isin(groups, generator.permutation(names)[:count])
        if len(np.unique(labels[mask])) == len(np.unique(labels[~mask])) == classes:
            return mask
    return np.isin(groups, np.random.default_rng(seed).permutation(names)[:count])


def by_time(recordings: np.ndarray, share: float) -> np.ndarray:
    """The last share of every recording: windows of a signal resemble their neighbours."""
    mask = np.zeros(len(recordings), bool)
    for recording in np.unique(recordings):
        members = np.flatnonzero(recordings == recording)
        mask[members[len(members) - round(share * len(members)) :]] = True
    return mask


# ---- what all readers have in common ----


def split(
    name: str,
    samples: np.ndarray,
    targets: np.ndarray,
    test: np.ndarray,
    labels: tuple[str, ...] | None,
    source: str,
    groups: np.ndarray | None = None,
    domains: np.ndarray | None = None,
    domain: str = "",
) -> Dataset:
    """The dataset whose test part is `test`, a mask over all samples."""
    parts = samples[~test], targets[~test], samples[test], targets[test]
    return replace(
        build(name, *parts, labels=labels, source=source),
        train_groups=_of(groups, ~test),
        test_groups=_of(groups, test),
        train_domains=_of(domains, ~test),
        test_domains=_of(domains, test),
        domain=domain,
    )


def build(
    name: str,
    train_samples: np.ndarray,
    train_labels: np.ndarray,
    test_samples: np.ndarray,
    test_labels: np.ndarray,
    labels: tuple[str, ...] | None,
    source: str,
) -> Dataset:
    """The dataset of these arrays, checked; ValueError names the source and what is wrong."""
    for samples, targets in ((train_samples, train_labels), (test_samples, test_labels)):
        check_pair(samples, targets, source)
        if not len(samples):
            raise ValueError(f"'{source}' has no samples in one of its parts")
    shape = train_samples.shape[1:]
    if test_samples.shape[1:] != shape:
        raise ValueError(
            f"'{source}': training samples are {shape}, test ones {test_samples.shape[1:]}"
        )
    train_labels, test_labels = train_labels.astype(np.int64), test_labels.astype(np.int64)
    classes = int(max(train_labels.max(), test_labels.max())) + 1
    if min(train_labels.min(), test_labels.min()) < 0:
        raise ValueError(f"'{source}': a label is negative; labels count from 0")
    if classes > MOST_CLASSES:
        raise ValueError(f"'{source}': label {classes - 1}; at most {MOST_CLASSES} classes")
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


def check_pair(samples: np.ndarray, targets: np.ndarray, source: str) -> None:
    """ValueError unless these are samples in rows and a label for each."""
    if samples.ndim < 2 or targets.ndim != 1:
        raise ValueError(f"'{source}': expected samples in rows and one label each")
    if samples.dtype.kind not in "iuf" or targets.dtype.kind not in "iu":
        raise ValueError(f"'{source}': expected numbers and integer labels")
    if len(samples) != len(targets):
        raise ValueError(f"'{source}': {len(samples)} samples but {len(targets)} labels")


def _of(values: np.ndarray | None, mask: np.ndarray) -> np.ndarray | None:
    return None if values is None else values[mask]


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
