"""The demo: its tasks, and a small slice of it from end to end on the unix port."""

import io
import json

import numpy as np
import pytest
from rich.console import Console

from tinyinc_host import data, demo
from tinyinc_host.picture import draw

KEYS = [
    "accuracy_old_before",
    "accuracy_old_after",
    "accuracy_new_after",
    "accuracy_all_after",
    "accuracy_all_no_memory",
    "samples",
    "skipped",
    "backward_macs_ratio",
    "total_macs_ratio",
    "image_bytes",
    "scratch_bytes",
    "memory_fraction",
]


@pytest.fixture(scope="module")
def digits():
    return data.load("digits")


def test_ten_seeds_make_every_digit_new_first_and_new_second(digits):
    tasks = [demo.make_task(digits, seed, 30) for seed in range(10)]
    assert tasks[0].new == [8, 9]
    assert sorted(task.new[0] for task in tasks) == list(range(10))
    assert sorted(task.new[1] for task in tasks) == list(range(10))
    for task in tasks:
        assert sorted(task.old + task.new) == list(range(10))
        assert digits.train_labels[task.stream].tolist() == [task.new[0]] * 30 + [task.new[1]] * 30
        assert len(set(task.stream.tolist())) == 60


def test_too_few_classes(digits):
    two = data.Dataset("two", *[None] * 4, ("a", "b"), 0, 1, (2,))
    with pytest.raises(ValueError, match="two has 2 classes"):
        demo.make_task(two, 0, None)


def test_a_small_slice_on_the_unix_port(digits, tmp_path):
    text = io.StringIO()
    console = Console(file=text, width=100)
    result = demo.show(digits, 3, "unix", console, quick=True, folder=tmp_path, draw=draw)
    assert json.loads((tmp_path / "result.json").read_text()) == result
    assert list(result) == KEYS
    assert result["samples"] == 40 and 0 <= result["skipped"] <= 40
    assert result["accuracy_old_before"] > 0.85
    # 40 samples and 2 epochs do not make it good, but memory helps already
    assert result["accuracy_all_after"] > max(result["accuracy_all_no_memory"], 0.8)
    assert 0 < result["backward_macs_ratio"] < result["total_macs_ratio"]
    assert 0.03 < result["memory_fraction"] <= 0.05
    assert result["image_bytes"] == (tmp_path / "deployed.tinc").stat().st_size
    assert (tmp_path / "learning.png").read_bytes().startswith(b"\x89PNG")
    assert "learned four, then five" in text.getvalue()
    assert str(tmp_path / "learning.png") in text.getvalue().replace("\n", "")


def test_the_same_seed_gives_the_same_result(digits, tmp_path):
    settings = demo.settings_for(digits, quick=True)
    results = [
        demo.run(digits, 1, "desktop", settings, folder=tmp_path / name).result() for name in "ab"
    ]
    assert results[0] == results[1]


def test_in_integers(digits, tmp_path):
    """Learning in q8 is as good as in float32, and takes less."""
    settings = demo.settings_for(digits)
    result = {
        kind: demo.run(digits, 1, "desktop", settings, folder=tmp_path / kind, format=kind).result()
        for kind in ("f32", "q8")
    }
    for name in ("accuracy_old_after", "accuracy_new_after", "accuracy_all_after"):
        assert result["q8"][name] > result["f32"][name] - 0.02
    assert result["q8"]["accuracy_all_after"] > 0.95
    assert result["q8"]["image_bytes"] < 0.7 * result["f32"]["image_bytes"]
    assert result["q8"]["scratch_bytes"] < result["f32"]["scratch_bytes"]
    with pytest.raises(ValueError, match="format 'q4', expected f32, q8"):
        demo.run(digits, 1, "desktop", settings, folder=tmp_path, format="q4")


def test_counts_of_a_run(digits, tmp_path):
    """What the result says of accuracy, recounted from the predictions."""
    outcome = demo.run(digits, 0, "desktop", demo.settings_for(digits, True), folder=tmp_path)
    result, run = outcome.result(), outcome.with_memory
    old = digits.test_labels < 8
    hits = run.after == digits.test_labels
    shares = (
        old.mean() * result["accuracy_old_after"] + (~old).mean() * result["accuracy_new_after"]
    )
    assert result["accuracy_all_after"] == pytest.approx(hits.mean()) == pytest.approx(shares)
    assert set(np.unique(run.before)) <= set(range(8))
    assert run.positions[0] == 0 and run.positions[-1] == 40
    assert len(run.curve) == len(run.positions)
    assert run.curve[0][1:] == [0.0, 0.0]
    dense = 20 * (64 * 32 + 2 * 32 * 9) + 20 * (64 * 32 + 2 * 32 * 10)
    assert result["backward_macs_ratio"] == pytest.approx(run.backward_macs / dense)
