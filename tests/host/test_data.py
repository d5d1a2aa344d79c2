"""Loaders: the built-in set, and files that these tests write in the public formats."""

import gzip
import struct

import numpy as np
import pytest

from tinyinc_host import data
from tinyinc_host.data import idx

IDX_CODES = {np.dtype("u1"): 0x08, np.dtype(">i2"): 0x0B, np.dtype(">f4"): 0x0D}


def idx_bytes(values):
    header = struct.pack(">BBBB", 0, 0, IDX_CODES[values.dtype], values.ndim)
    return header + struct.pack(f">{values.ndim}I", *values.shape) + values.tobytes()


def write_set(folder, suffix=""):
    """A set of 3 classes in MNIST's layout; returns the four arrays."""
    generator = np.random.default_rng(1)
    arrays = [
        generator.integers(0, 256, (30, 4, 5), np.uint8),
        (np.arange(30) % 3).astype(np.uint8),
        generator.integers(0, 256, (6, 4, 5), np.uint8),
        (np.arange(6) % 3).astype(np.uint8),
    ]
    folder.mkdir(exist_ok=True)
    for part, values in zip(idx.PARTS, arrays, strict=True):
        content = idx_bytes(values)
        path = folder / f"{part}-idx{values.ndim}-ubyte{suffix}"
        path.write_bytes(gzip.compress(content) if suffix else content)
    return arrays


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv(data.FOLDER_VARIABLE, str(tmp_path))
    return tmp_path


def test_digits_are_split_by_class_and_keep_their_raw_values():
    digits = data.load("digits")
    assert len(digits.train_labels) + len(digits.test_labels) == 1797
    assert digits.train_samples.dtype == np.uint8 and digits.train_samples.max() == 16
    assert (digits.low, digits.high, digits.shape) == (0, 16, (8, 8))
    assert digits.labels[7] == "seven"
    shares = np.bincount(digits.test_labels) / (
        np.bincount(digits.test_labels) + np.bincount(digits.train_labels)
    )
    assert np.all(abs(shares - data.TEST_SHARE) < 0.01)
    both = np.concatenate([digits.train_samples, digits.test_samples])
    assert len(np.unique(both, axis=0)) == 1797, "a test image is a training image too"


def test_digits_are_the_same_every_time():
    assert np.array_equal(data.load("digits").test_samples, data.load("digits").test_samples)


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("name", ["mnist", "shapes"])
def test_idx_files(folder, suffix, name):
    arrays = write_set(folder if name == "mnist" else folder / name, suffix)
    loaded = data.load(name)
    assert np.array_equal(loaded.train_samples, arrays[0].reshape(30, 20))
    assert np.array_equal(loaded.test_labels, arrays[3])
    assert loaded.shape == (4, 5)
    assert loaded.labels[:3] == (("zero", "one", "two") if name == "mnist" else ("0", "1", "2"))
    assert name in data.known()


def test_idx_values_wider_than_a_byte_are_big_endian(tmp_path):
    values = np.array([[1, -2], [300, 4]], ">i2")
    path = tmp_path / "x-idx2-short"
    path.write_bytes(idx_bytes(values))
    assert np.array_equal(idx.read_idx(path), [[1, -2], [300, 4]])


@pytest.mark.parametrize("kept", [0, 3, 9, 16, 17, 600])
def test_truncated_idx_file_says_so(folder, kept):
    write_set(folder)
    path = folder / "train-images-idx3-ubyte"
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ValueError, match="train-images.*(truncated|not an IDX file)"):
        data.load("mnist")


def test_damaged_gzip_says_so(folder):
    write_set(folder, ".gz")
    path = folder / "t10k-labels-idx1-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-6])
    with pytest.raises(ValueError, match="t10k-labels.*damaged"):
        data.load("mnist")


def test_missing_idx_file_is_named(folder):
    write_set(folder)
    (folder / "t10k-images-idx3-ubyte").unlink()
    with pytest.raises(FileNotFoundError, match="t10k-images"):
        data.load("mnist")


def test_counts_that_differ(folder):
    write_set(folder)
    labels = np.zeros(29, np.uint8)
    (folder / "train-labels-idx1-ubyte").write_bytes(idx_bytes(labels))
    with pytest.raises(ValueError, match="30 samples but 29 labels"):
        data.load("mnist")


def test_npz_with_its_own_test_part(folder):
    samples = np.arange(24, dtype=np.int8).reshape(6, 2, 2)
    np.savez(
        folder / "tiny_full.npz",
        X_train=samples,
        y_train=[0, 1, 2, 0, 1, 2],
        X_test=samples[:3],
        y_test=[0, 1, 2],
        classes=["ant", "bee", "cat"],
    )
    tiny = data.load("tiny")
    assert tiny.labels == ("ant", "bee", "cat")
    assert tiny.inputs == 4 and (tiny.low, tiny.high) == (-128, 127)
    assert "tiny" in data.known()


def test_npz_split_as_it_says(folder):
    samples = np.linspace(-2, 3, 40).reshape(10, 4)
    split = np.arange(10) % 5 > 0
    np.savez(folder / "sensor.npz", X=samples, y=np.arange(10) % 2, is_train=split)
    sensor = data.load("sensor")
    assert np.array_equal(sensor.train_samples, samples[split].astype(np.float32))
    assert len(sensor.test_labels) == 2
    assert sensor.train_samples.dtype == np.float32
    assert (sensor.low, sensor.high) == (sensor.train_samples.min(), sensor.train_samples.max())


@pytest.mark.parametrize("name", ["subject", "speaker"])
def test_npz_of_several_people_is_split_by_person(folder, name):
    samples = np.arange(80, dtype=np.int8).reshape(40, 2)
    people = np.repeat(np.arange(8), 5)
    np.savez(folder / "voices.npz", X=samples, y=np.arange(40) % 2, **{name: people})
    voices = data.load("voices")
    assert len(voices.test_labels) == data.TEST_SHARE * 40
    assert np.array_equal(people[voices.train_samples[:, 0] // 2], voices.train_groups)
    assert not np.isin(people[voices.test_samples[:, 0] // 2], voices.train_groups).any()
    held_out = data.hold_out(voices, 1 / 6, seed=3)
    assert len(held_out.test_labels) == 5 and len(held_out.train_labels) == 25
    assert len(held_out.train_groups) == 25
    assert not np.isin(people[held_out.test_samples[:, 0] // 2], held_out.train_groups).any()


def test_npz_with_a_split_and_people_keeps_both(folder):
    split = np.arange(12) < 8
    people = np.arange(12) // 2
    arrays = {"X": np.zeros((12, 3), np.uint8), "y": np.arange(12) % 3}
    np.savez(folder / "walks.npz", **arrays, is_train=split, subject=people)
    walks = data.load("walks")
    assert np.array_equal(walks.train_groups, people[split]) and len(walks.test_labels) == 4
    np.savez(folder / "walks.npz", **arrays, subject=people[1:])
    with pytest.raises(ValueError, match="subject has 11 entries, X has 12"):
        data.load("walks")


@pytest.mark.parametrize("spoil", ["truncated", "foreign", "pickled", "other arrays", "nan"])
def test_bad_npz_says_what_is_wrong(folder, spoil):
    path = folder / "tiny.npz"
    samples = np.zeros((8, 4), np.float32)
    if spoil == "nan":
        samples[3, 1] = np.nan
    labels = np.arange(8) % 2
    np.savez(path, X=np.array([{}] * 8, object) if spoil == "pickled" else samples, y=labels)
    if spoil == "truncated":
        path.write_bytes(path.read_bytes()[:200])
    if spoil == "foreign":
        path.write_bytes(b"not an archive")
    if spoil == "other arrays":
        np.savez(path, images=samples)
    wanted = {"other arrays": "holds images; expected X_train", "nan": "not a finite number"}
    with pytest.raises(ValueError, match=wanted.get(spoil, "not a readable .npz")) as caught:
        data.load("tiny")
    assert "tiny.npz" in str(caught.value)


def test_unknown_dataset_lists_the_known(folder):
    write_set(folder / "shapes")
    with pytest.raises(ValueError, match="unknown dataset 'moons'; known: digits, shapes"):
        data.load("moons")


def test_no_folder_says_what_to_set(monkeypatch, tmp_path):
    monkeypatch.delenv(data.FOLDER_VARIABLE, raising=False)
    with pytest.raises(ValueError, match=f"set {data.FOLDER_VARIABLE}"):
        data.load("mnist")
    monkeypatch.setenv(data.FOLDER_VARIABLE, str(tmp_path / "nowhere"))
    with pytest.raises(FileNotFoundError, match="nowhere.*not a folder"):
        data.load("mnist")


def test_unknown_label_lists_the_known():
    with pytest.raises(ValueError, match="no label 'ten'; it has zero, one"):
        data.load("digits").indices(["ten"])


def test_hold_out_takes_from_the_training_part_only():
    digits = data.load("digits")
    held = data.hold_out(digits, 0.2, seed=3)
    assert len(held.train_labels) + len(held.test_labels) == len(digits.train_labels)
    rows = {row.tobytes() for row in digits.test_samples}
    assert not any(row.tobytes() in rows for row in held.test_samples)
