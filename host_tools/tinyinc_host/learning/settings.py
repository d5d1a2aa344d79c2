"""The datasets of the table: how their samples are scaled, which network learns them, and the
settings.

All settings were chosen on samples held out of the training part. The learning rates, one for all
networks of a dataset, are those with which full training from scratch did best, out of 0.0015 to
0.05; the settings of the rules are those of `bench_accuracy`; TinyInc's are its own, also its
learning rate, and where a protocol asks for others, `under` has them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import lru_cache

import numpy as np

from tinyinc_host import data
from tinyinc_host.bench_accuracy import SPARSE, TASKS
from tinyinc_host.data import Dataset
from tinyinc_host.network import Layer, dense
from tinyinc_host.quantise import Scaling

VALIDATION_SHARES = (1 / 6, 1 / 4, 1 / 2)  # the first that leaves no class out
LARGEST_IMAGE = 32  # pixels of a side; larger ones are averaged down
Settings = dict[str, float]


@dataclass(frozen=True)
class Setup:
    """A dataset, the network all methods share, and their settings.

    drift: what protocol (a) changes: one of protocols.CHANGES, or the dataset's own "domains"; ""
    for none. offset, scale: of raw values (None: so that the training samples have mean 0 and
    deviation 1); clip: range of the scaled values. memory: its bytes, as a share of the training
    samples' in 8 bits a value; memory_bits: that TinyInc's exemplars have for a value, 8 or 4.
    consolidation: lessons of it after the stream, as a share of the stream's. protocols: that are
    of interest. under: what else is set, or of these fields, under a protocol.
    """

    data: str
    title: str
    hidden: tuple[Layer, ...]
    rate: float  # of learning
    drift: str = ""
    image: bool = False  # do the layers take images?
    prepared: str = ""  # what is learned instead of the raw samples, one of PREPARED
    offset: float | None = None
    scale: float | None = None
    clip: tuple[float, float] = (-4.0, 4.0)
    memory: float = 0.01
    memory_bits: int = 8
    consolidation: float = 0.05
    protocols: str = "bca"
    tinyinc: Settings = field(default_factory=dict)  # as in Net.configure()
    under: dict[str, Settings] = field(default_factory=dict)  # a protocol, where they are others
    rules: dict[str, Settings] = field(default_factory=lambda: SPARSE)
    epochs: int = 3  # of pre-training

    def __post_init__(self) -> None:
        if self.memory_bits not in (8, 4) or not 0 < self.memory <= 1:
            raise ValueError(
                f"memory is {self.memory} in {self.memory_bits} bits, expected up to 1 in 8 or 4"
            )


PIXELS = {"offset": 0.0, "scale": 1 / 255, "clip": (0.0, 1.0)}


def _like(task: str, **more: float) -> dict[str, object]:
    """The rules' settings of a task of bench_accuracy, and TinyInc's."""
    return {"rules": TASKS[task].rules, "tinyinc": more}


# few exemplars of photos are blurred: where all classes come mixed, they are not worth a replay
MIXED_PHOTOS = {"replay": 0, "error_threshold": 0.5, "vote": 2, "consolidation": 0}
PHOTOS_UNDER = {"c": MIXED_PHOTOS, "a": MIXED_PHOTOS}


def _photos(name: str, title: str, **more) -> Setup:
    """Small colour images, with the small convolutional network of bench_accuracy."""
    usual = {
        "rate": 0.003,
        "image": True,
        "offset": 127.5,
        "scale": 1 / 64,
        "clip": (-2.0, 2.0),
        "memory_bits": 4,
        "consolidation": 0.3,
        "tinyinc": {"error_threshold": 1, "hidden_ratio": 0.1, "input_threshold": 0.2, "vote": 16},
        "under": PHOTOS_UNDER,
    }
    return Setup(name, title, TASKS["cifar10"].layers[:-1], **{**usual, **more})


SETUPS = {
    "mnist": Setup(
        "mnist",
        "MNIST",
        (dense(128),),
        drift="rotated",
        rate=0.02,
        memory_bits=4,
        **_like("mnist", learning_rate=1 / 64, logit_adjustment=0),
        **PIXELS,
    ),
    "har": Setup(
        "uci_har6_win_i8_25hz",
        "UCI HAR windows",
        (dense(128),),
        drift="domains",
        epochs=6,
        rate=0.007,
        under={
            "c": {
                "replay": 0,
                "error_threshold": 0.7,
                "hidden_ratio": 0.15,
                "learning_rate": 0.01,
                "consolidation": 0,
                "vote": 4,
            },
            "a": {"replay": 0, "error_threshold": 0.7, "learning_rate": 0.007},
        },
        **_like("har", learning_rate=1 / 64, error_threshold=1, logit_adjustment=0),
    ),
    "keywords": Setup(
        "speech_cmds_mfcc_i8",
        "Speech Commands MFCC",
        (dense(128),),
        drift="microphone",
        offset=0.0,
        scale=1 / 32,
        rate=0.007,
        memory_bits=4,
        under={
            "c": {"replay": 0, "error_threshold": 0.6},
            "a": {"replay": 1, "error_threshold": 1, "vote": 4},
        },
        **_like("keywords", learning_rate=0.01),
    ),
    "cwru": Setup(
        "cwru_de12k_i16",
        "CWRU bearings, spectra",
        (dense(64),),
        drift="domains",
        prepared="spectrum",
        rate=0.01,
        consolidation=0.5,
        tinyinc={"logit_adjustment": 0, "vote": 16},
        under={
            "c": {"replay": 0, "error_threshold": 1, "vote": 4, "consolidation": 0.1},
            "a": {"consolidation": 0.05},
        },
    ),
    "wand": Setup(
        "magic_wand",
        "magic-wand gestures",
        (dense(64),),
        drift="domains",
        prepared="peak",
        memory=0.1,
        epochs=50,
        rate=0.03,
        memory_bits=4,
        tinyinc={"error_threshold": 0.7, "vote": 32},
        under={"c": {"replay": 0}, "a": {"replay": 0}},
    ),
    "charms": Setup(
        "magic_wand_charms",
        "magic-wand charms",
        (dense(64),),
        memory=1.0,  # there are a hundred
        rate=0.01,
        tinyinc={"error_threshold": 1, "vote": 32},
        under={"c": {"replay": 0}},
    ),
    "bed": Setup(
        "speech_bed_cat_happy_logmel_i8",
        "three words, log-mel",
        (dense(64),),
        rate=0.0025,
        memory_bits=4,
        consolidation=0.2,
        tinyinc={"learning_rate": 0.01, "logit_adjustment": 0, "vote": 4},
        under={"c": {"replay": 1, "learning_rate": 0.005, "consolidation": 0}},
    ),
    "toycar": Setup(
        "toycar_logmel_i8",
        "DCASE2020 ToyCar",
        (dense(32),),
        rate=0.007,
        memory_bits=4,
        consolidation=0,
        tinyinc={"replay": 1, "input_threshold": 0.2},
    ),
    "cifar10": _photos(
        "cifar10_2000pc",
        "CIFAR-10 (2000 per class)",
        drift="rotated",
        under={**PHOTOS_UNDER, "b": {"learning_rate": 0.0015}},
    ),
    "cifar100": _photos("cifar100_50pc", "CIFAR-100 (50 per class)", rate=0.006, memory=0.02),
    "flowers": _photos("flowers5_32px", "Flowers, 32 px"),
    "food": _photos("food20_32px", "Food, 20 classes, 32 px"),
    "core50": _photos("core50_mini_128px", "CORe50, 90 frames (smoke)", memory=0.2),
}
SETUPS["mnist10"] = replace(
    SETUPS["mnist"], title="MNIST, ten exemplars per class", memory=1 / 600, protocols="b"
)
FIRST = ("mnist", "har", "keywords")  # a table of these alone is of use


def scaling_of(setup: Setup, samples: np.ndarray) -> Scaling:
    offset = float(samples.mean()) if setup.offset is None else setup.offset
    scale = 1 / float(samples.std()) if setup.scale is None else setup.scale
    return Scaling(offset, scale, *setup.clip)


@lru_cache(maxsize=1)
def load(name: str, validation: bool = False) -> Dataset:
    """The dataset of a setup, as its methods see it."""
    setup = SETUPS[name]
    dataset = data.load(setup.data)
    if setup.prepared:
        dataset = _changed(dataset, PREPARED[setup.prepared])
    if setup.image and max(dataset.shape[:2]) > LARGEST_IMAGE:
        dataset = _changed(dataset, lambda rows: smaller(rows, dataset.shape))
    return held_out(dataset) if validation else dataset


def held_out(dataset: Dataset) -> Dataset:
    """With test samples out of the training part. Where few people have a class, it takes more of
    them for all classes to be tested."""
    for share in VALIDATION_SHARES:
        held = data.hold_out(dataset, share, seed=0)
        if len(np.unique(held.test_labels)) == len(np.unique(dataset.train_labels)):
            break
    return held


def _changed(dataset: Dataset, change: Callable[[np.ndarray], np.ndarray]) -> Dataset:
    """The same set with other samples."""
    train, test = change(dataset.train_samples), change(dataset.test_samples)
    return replace(
        dataset,
        train_samples=train.reshape(len(train), -1),
        test_samples=test.reshape(len(test), -1),
        shape=train.shape[1:],
        low=float(train.min()),
        high=float(train.max()),
    )


def spectrum(waves: np.ndarray) -> np.ndarray:
    """Logarithm of the magnitudes of a Hann window's spectrum: (count, values / 2 + 1), float32."""
    window = np.hanning(waves.shape[1])
    return np.log1p(np.abs(np.fft.rfft(waves * window, axis=1))).astype(np.float32)


def peak(rows: np.ndarray) -> np.ndarray:
    """Each sample in units of its largest value, int8: recordings differ in theirs."""
    largest = np.abs(rows.astype(np.float32)).max(axis=1, keepdims=True)
    return (rows * (127 / np.maximum(largest, 1))).round().astype(np.int8)


PREPARED = {"spectrum": spectrum, "peak": peak}


def smaller(rows: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Images averaged down in whole blocks to at most LARGEST_IMAGE pixels a side."""
    factor = -(-max(shape[:2]) // LARGEST_IMAGE)
    height, width = shape[0] // factor, shape[1] // factor
    images = rows.reshape(len(rows), *shape)[:, : height * factor, : width * factor]
    blocks = images.reshape(len(rows), height, factor, width, factor, *shape[2:])
    return blocks.mean((2, 4)).round().astype(rows.dtype)
