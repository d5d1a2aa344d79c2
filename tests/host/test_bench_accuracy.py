"""The accuracy benchmark: one run on a small set, what is kept of runs, and what the table says."""

import json
import math
import os
import subprocess
import sys
from dataclasses import asdict, replace

import numpy as np
import pytest
from rich.progress import Progress

from tinyinc_host import bench_accuracy as bench
from tinyinc_host import data
from tinyinc_host.network import dense


@pytest.fixture
def task(tmp_path, monkeypatch):
    """Three classes of int8 samples that lie apart, as a task of its own; results kept aside."""
    generator = np.random.default_rng(0)
    labels = np.arange(240) % 3
    centres = generator.uniform(-60, 60, (3, 6))
    samples = (centres[labels] + generator.normal(0, 12, (240, 6))).round().clip(-128, 127)
    np.savez(tmp_path / "blobs.npz", X=samples.astype(np.int8), y=labels)
    monkeypatch.setenv(data.FOLDER_VARIABLE, str(tmp_path))
    monkeypatch.setattr(bench, "KEPT", tmp_path / "kept")
    made = bench.Task("blobs", (dense(12), dense(3)), (-4.0, 4.0), (-5, -6), bench.SPARSE)
    monkeypatch.setattr(bench, "TASKS", {"blobs": made})
    monkeypatch.setattr(bench, "NAMES", {"blobs": "blobs"})
    bench.dataset.cache_clear()
    yield made
    bench.dataset.cache_clear()


def run_of(task, format, rule, seed=0):
    return bench.Run("blobs", format, rule, seed, task.rates, bench.settings_of(task, rule))


@pytest.mark.parametrize("variant", bench.VARIANTS, ids=" ".join)
def test_a_run_learns_and_counts(task, variant):
    outcome = bench.execute(run_of(task, *variant))
    rule = variant[1]
    assert outcome.accuracy > (90 if rule in ("full", "sampled") else 40)
    assert outcome.dense == 2 * 180 * (6 * 12 + 2 * 12 * 3)
    assert 0 < outcome.backward <= outcome.dense
    assert (outcome.trained < 360) == (rule in ("sampled", "tinyprop2"))
    assert outcome.diverged == 0 and len(outcome.widened) == 2


def test_a_run_repeats_exactly_and_seeds_differ(task):
    first = bench.execute(run_of(task, "q8", "sampled"))
    assert first == bench.execute(run_of(task, "q8", "sampled"))
    assert first.backward != bench.execute(run_of(task, "q8", "sampled", 1)).backward


def test_validation_leaves_the_test_samples_alone(task):
    whole, held_out = bench.dataset("blobs", False), bench.dataset("blobs", True)
    assert len(held_out.train_labels) + len(held_out.test_labels) == len(whole.train_labels)
    training = {row.tobytes() for row in whole.train_samples}
    assert all(row.tobytes() in training for row in held_out.test_samples)


def test_no_class_is_spared_while_it_is_new(task):
    run = run_of(task, "f32", "full")
    spared = replace(run, settings={"logit_adjustment": 20})
    assert bench.execute(run) == bench.execute(replace(run, settings={"logit_adjustment": 0}))
    assert bench.execute(run) != bench.execute(spared)


def test_outcomes_are_kept_for_the_same_run_alone(task, monkeypatch):
    run, outcome = run_of(task, "q8", "sampled"), bench.Outcome(90.0, 1, 2, 3, 0, [1, 0])
    assert bench.kept(run) is None
    bench.keep(run, outcome)
    assert bench.kept(run) == outcome
    for other in (
        replace(run, seed=1),
        replace(run, rates=(-5, -7)),
        replace(run, settings=run.settings | {"hidden_ratio": 0.9}),
        replace(run, validation=True),
    ):
        assert bench.kept(other) is None
    monkeypatch.setitem(bench.TASKS, "blobs", replace(task, scale=0.5))
    assert bench.kept(run) is None


@pytest.mark.parametrize("content", ["", "{", "[]", '{"accuracy": 1}'])
def test_a_damaged_outcome_is_run_again(task, content):
    run = run_of(task, "q8", "full")
    bench.keep(run, bench.Outcome(90.0, 1, 2, 3, 0, []))
    next(bench.KEPT.iterdir()).write_text(content)
    assert bench.kept(run) is None


def test_half_interval_is_student_s():
    values = np.arange(10.0)
    deviation = values.std(ddof=1) / math.sqrt(10)
    assert bench.half_interval(values) == pytest.approx(2.2621572 * deviation)
    assert bench.half_interval(values[:3]) == pytest.approx(4.3026527 / math.sqrt(3))
    assert bench.half_interval(values[:1]) == math.inf


def test_table_pairs_by_seed(task):
    def outcome(accuracy, backward):
        return bench.Outcome(accuracy, backward, 1000, 10, 0, [0, 0])

    found = {
        ("blobs", "f32", "full"): {0: outcome(90.0, 400), 1: outcome(80.0, 400)},
        ("blobs", "q8", "full"): {0: outcome(89.0, 200), 1: outcome(79.0, 200), 2: outcome(1, 1)},
        ("blobs", "q8", "sampled"): {3: outcome(89.0, 200)},
    }
    base, full = bench.rows_of(found)
    assert (base.difference, base.ratio, base.of_full) == (0, 0.4, 1)
    assert (full.accuracy, full.difference, full.interval, full.seeds) == (84, -1, 0, 2)
    assert (full.ratio, full.of_full) == (0.2, 0.5)
    assert "| blobs | q8 full | 84.00 | -1.00 ± 0.00 | 0.200 | 0.500 | 2 |" in bench.markdown(
        [base, full]
    )


@pytest.mark.parametrize(
    ("rule", "difference", "ratio", "holds"),
    [
        ("full", -0.3, 0.9, {"difference": True}),
        ("full", -0.31, 0.1, {"difference": False}),
        ("sampled", -0.5, 0.08, {"difference": True, "backward ratio": True}),
        ("sampled", -0.6, 0.09, {"difference": False, "backward ratio": False}),
        ("tinyprop", -5.0, 0.9, {}),
    ],
)
def test_targets(task, monkeypatch, rule, difference, ratio, holds):
    asked = replace(task, most_lost=0.5, most_backward=0.08)
    monkeypatch.setattr(bench, "TASKS", {"blobs": asked})
    row = bench.Row("blobs", "q8", rule, 90.0, difference, 0.1, ratio, 1.0, 10)
    judged = {r.name.split(", ")[-1]: r.holds for r in bench.results_of([row])}
    assert {name: held for name, held in judged.items() if held is not None} == holds


def test_the_papers_rules_come_last_(task, monkeypatch):
    monkeypatch.setattr(bench, "TASKS", {"a": replace(task, seeds=2), "b": replace(task, seeds=1)})
    plan = [(run.seed, run.task, run.rule) for run in bench.plan()]
    assert plan[:4] == [(0, "a", "full"), (0, "a", "full"), (0, "a", "sampled"), (0, "b", "full")]
    assert [rule for *_, rule in plan].index("tinyprop") == 9
    assert len(plan) == 15


def test_an_interrupted_measurement_leaves_the_table_of_what_is_done(task, monkeypatch, tmp_path):
    def stopped(runs, progress, name):
        for run in runs[:3]:
            yield run, bench.execute(run)
        raise KeyboardInterrupt

    monkeypatch.setattr(bench, "outcomes", stopped)
    monkeypatch.setattr(bench, "FOLDER", tmp_path)
    with pytest.raises(KeyboardInterrupt), Progress(disable=True) as progress:
        bench.measure(progress)
    table = (tmp_path / "accuracy.md").read_text()
    assert table.count("| 1 |") == 3 and "q8 sampled" in table and "tinyprop" not in table
    written = json.loads((tmp_path / "accuracy.json").read_text())
    assert any("blobs, q8 sampled, difference" in str(result) for result in written["results"])


def test_settings_are_told(task):
    told = bench.used_settings()
    assert "validation" in told["how"] and told["tasks"]["blobs"]["sampled"]["hidden_ratio"] == 0.3
    assert asdict(run_of(task, "q8", "sampled"))["settings"] == task.rules["sampled"]


@pytest.mark.parametrize(
    ("folder", "arguments", "text"),
    [
        ("", [], "set TINYINC_DATA to the folder"),
        ("{}", [], "has no dataset 'mnist'"),
        ("/nowhere", [], "has no dataset 'mnist'"),
    ],
)
def test_without_the_data_it_says_so_on_one_line(tmp_path, folder, arguments, text):
    command = [sys.executable, "-m", "tinyinc_host.bench_accuracy", *arguments]
    environment = os.environ | {data.FOLDER_VARIABLE: folder.format(tmp_path)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 2 and text in done.stderr
    assert len(done.stderr.splitlines()) == 1 and not done.stdout
