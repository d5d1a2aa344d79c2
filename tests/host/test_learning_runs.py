"""The runs of the learning benchmark: every method on a small set, what is kept, what is told."""

import json
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from rich.progress import Progress

from tinyinc_host import data
from tinyinc_host.learning import figures, kept, runs, settings, table
from tinyinc_host.learning.kept import Outcome, Results, Run
from tinyinc_host.learning.methods import METHODS
from tinyinc_host.network import dense

QUIET = {"drift": "rotated", "memory": 0.1, "rate": 0.05, "epochs": 2}


@pytest.fixture
def blobs(tmp_path, monkeypatch):
    """Four classes of int8 images that lie apart, as the only dataset; results kept aside, and the
    runs made here, not in other processes."""
    generator = np.random.default_rng(0)
    labels = np.arange(400) % 4
    centres = generator.uniform(-70, 70, (4, 9))
    samples = (centres[labels] + generator.normal(0, 40, (400, 9))).round().clip(-128, 127)
    np.savez(tmp_path / "blobs.npz", X=samples.reshape(-1, 3, 3).astype(np.int8), y=labels)
    monkeypatch.setenv(data.FOLDER_VARIABLE, str(tmp_path))
    for name in list(settings.SETUPS):
        monkeypatch.delitem(settings.SETUPS, name)
    setup = settings.Setup("blobs", "blobs", (dense(16),), **QUIET)
    monkeypatch.setitem(settings.SETUPS, "blobs", setup)
    monkeypatch.setattr(runs, "FOLDER", tmp_path / "learning")
    monkeypatch.setattr(
        runs, "in_processes", lambda work, items: ((item, work(item)) for item in items)
    )
    caches = (settings.load, kept.facts_of, kept.base_budget)
    for cache in caches:
        cache.cache_clear()
    yield tmp_path / "learning"
    for cache in caches:
        cache.cache_clear()


def measured(planned, folder):
    with Progress(disable=True) as progress:
        table.measure(planned, folder, progress)


@pytest.mark.parametrize("protocol", ["a", "b", "c"])
@pytest.mark.parametrize("method", METHODS)
def test_every_method_learns_and_tells_what_it_took(blobs, protocol, method):
    outcome = runs.execute(Run("blobs", protocol, method, 0))
    forgets = protocol == "b" and method in ("full", "static", "tinyprop", "tinyprop2")
    assert outcome.error == "" and outcome.diverged == 0
    for accuracy in outcome.accuracy.values():
        assert 40 < accuracy < 60 if forgets else accuracy > 65
    assert set(outcome.accuracy) == ({"new", "old"} if protocol == "a" else {"all"})
    assert set(outcome.before) == ({"new", "old"} if protocol == "a" else set())
    assert outcome.lessons == (150 if protocol == "a" else 300)
    assert outcome.memory_bytes <= outcome.total_bytes < outcome.ram_bytes
    assert outcome.total_bytes <= outcome.budget
    assert 0 < outcome.macs + outcome.search < 4
    assert (outcome.search > 0) == (method in ("tinyinc", "growing", "knn"))
    if method in ("knn", "mean", "slda"):
        assert outcome.backward is None and outcome.size == ""
        return
    units = 8 if method == "growing" and protocol != "a" else 16
    assert 0 < outcome.backward < 2.1 and outcome.size == f"9-{units}-4"
    assert outcome.predict_macs == 9 * units + units * 4 + outcome.vote_macs
    remembers = method in ("tinyinc", "growing")
    assert (outcome.vote_macs > 0) == remembers == bool(outcome.without_vote)


def test_work_is_counted_against_lessons_that_leave_nothing_out(blobs):
    full, joint = (runs.execute(Run("blobs", "c", name, 0)) for name in ("full", "joint"))
    assert 0.5 < full.backward <= 1 and 0.5 < full.macs <= 1
    assert full.accuracy == pytest.approx(joint.accuracy, abs=8)
    replay = runs.execute(Run("blobs", "c", "replay", 0))
    assert replay.macs / full.macs == pytest.approx(2, abs=0.25)
    assert replay.total_bytes == replay.budget  # as many bytes as TinyInc's memory


@pytest.mark.parametrize("method", ["tinyinc", "knn", "replay"])
def test_a_run_repeats_exactly_and_seeds_differ(blobs, method):
    same = [replace(runs.execute(Run("blobs", "b", method, 1)), seconds=0) for _ in range(2)]
    assert same[0] == same[1]
    other = replace(runs.execute(Run("blobs", "b", method, 2)), seconds=0)
    assert other != same[0]


def test_validation_tests_on_training_samples(blobs):
    whole, held_out = settings.load("blobs"), settings.load("blobs", True)
    training = {row.tobytes() for row in whole.train_samples}
    assert all(row.tobytes() in training for row in held_out.test_samples)
    assert len(held_out.train_labels) + len(held_out.test_labels) == len(whole.train_labels)
    assert runs.execute(Run("blobs", "c", "mean", 0, validation=True)).lessons == 252


def test_changed_settings_reach_the_network(blobs):
    changed = (("rate", 0.01), ("memory", 0.2), ("vote", 2.0))
    run = Run("blobs", "b", "tinyinc", 0, changed=changed)
    setup = run.setup
    assert (setup.rate, setup.memory, setup.tinyinc) == (0.01, 0.2, {"vote": 2.0})
    usual, own = runs.execute(replace(run, changed=())), runs.execute(run)
    assert own.vote_macs == 2 * usual.vote_macs and own.accuracy != usual.accuracy


def test_exemplars_of_four_bits_are_twice_as_many_in_the_same_bytes(blobs):
    usual = runs.execute(Run("blobs", "b", "tinyinc", 0))
    packed = runs.execute(Run("blobs", "b", "tinyinc", 0, changed=(("memory_bits", 4),)))
    assert packed.vote_macs == 2 * usual.vote_macs
    assert packed.memory_bytes == pytest.approx(usual.memory_bytes, rel=0.3)  # small samples


def test_what_a_run_refuses_is_its_outcome(blobs, monkeypatch):
    monkeypatch.setitem(settings.SETUPS, "blobs", replace(settings.SETUPS["blobs"], rate=99.0))
    outcome = runs.execute(Run("blobs", "b", "tinyinc", 0))
    assert "learning_rate is 99.0" in outcome.error and outcome.accuracy == {}


# ---- which runs, in which order ----


def test_first_datasets_and_class_incremental_come_first():
    planned = runs.plan()
    assert len(planned) == len(set(planned)) > 500
    places = [(run.dataset not in settings.FIRST, "bca".index(run.protocol)) for run in planned]
    assert places == sorted(places)
    first = [run for run in planned if run.dataset in settings.FIRST and run.protocol == "b"]
    assert [run.seed for run in first] == sorted(run.seed for run in first)
    assert {run.method for run in first[: len(METHODS)]} == set(METHODS)
    drifting = {run.dataset for run in planned if run.protocol == "a"}
    assert drifting == {
        name for name, setup in settings.SETUPS.items() if setup.drift and "a" in setup.protocols
    }


def test_only_takes_words_of_all_kinds():
    planned = runs.plan("mnist, knn,slda,b,c", seeds=2)
    assert {(run.dataset, run.method, run.protocol) for run in planned} == {
        ("mnist", method, protocol) for method in ("knn", "slda") for protocol in "bc"
    }
    assert len(planned) == 8 and runs.plan("", 1) == runs.plan(" ", 1)


# ---- what is kept ----


def test_what_is_done_is_not_run_again(blobs, monkeypatch):
    planned = runs.plan("b,mean,knn,tinyinc", seeds=2)
    measured(planned[:4], blobs)
    ran = []
    execute = runs.execute
    monkeypatch.setattr(runs, "execute", lambda run: ran.append(run) or execute(run))
    measured(planned, blobs)
    assert ran == planned[4:]
    assert len((blobs / "results.jsonl").read_text().splitlines()) == 6


def test_another_setting_or_dataset_is_another_run(blobs, monkeypatch):
    run = Run("blobs", "b", "tinyinc", 0)
    before = kept.fingerprint(run), kept.fingerprint(replace(run, method="knn"))
    growing, full = replace(run, method="growing"), replace(run, method="full")
    others = kept.fingerprint(growing), kept.fingerprint(full)
    setup = settings.SETUPS["blobs"]
    monkeypatch.setitem(settings.SETUPS, "blobs", replace(setup, under={"b": {"vote": 8.0}}))
    assert kept.fingerprint(growing) != others[0]  # it is TinyInc too
    assert kept.fingerprint(full) == others[1]
    changed = replace(setup, tinyinc={"vote": 8.0})
    monkeypatch.setitem(settings.SETUPS, "blobs", changed)
    assert kept.fingerprint(run) != before[0]
    assert kept.fingerprint(replace(run, method="knn")) == before[1]  # it has no vote
    monkeypatch.setitem(settings.SETUPS, "blobs", replace(setup, memory=0.2))
    assert kept.fingerprint(replace(run, method="knn")) != before[1]  # more bytes for all
    monkeypatch.setitem(settings.SETUPS, "blobs", setup)
    for other in (
        replace(run, seed=1),
        replace(run, validation=True),
        replace(run, protocol="c"),
        replace(run, changed=(("vote", 2.0),)),
    ):
        assert kept.fingerprint(other) != before[0]
    facts = kept.facts_of("blobs")._replace(content="other")
    monkeypatch.setattr(kept, "facts_of", lambda name: facts)
    assert kept.fingerprint(run) != before[0]


def test_a_line_that_was_cut_off_is_run_again(blobs):
    results, run = Results(blobs / "results.jsonl"), Run("blobs", "b", "mean", 0)
    outcome = Outcome(accuracy={"all": 90.0}, lessons=3)
    results.append(run, outcome)
    assert results.read() == {kept.fingerprint(run): outcome}
    text = results.path.read_text()
    results.path.write_text(text + text[: len(text) // 2])
    other = replace(run, seed=1)
    results.append(other, outcome)
    assert set(results.read()) == {kept.fingerprint(run), kept.fingerprint(other)}


def test_an_interrupted_measurement_leaves_a_table(blobs, monkeypatch):
    def stopped(work, items):
        for item in list(items)[:2]:
            yield item, work(item)
        raise KeyboardInterrupt

    monkeypatch.setattr(runs, "in_processes", stopped)
    with pytest.raises(KeyboardInterrupt):
        measured(runs.plan("b,mean,knn,slda", seeds=1), blobs)
    text = (blobs / "table.md").read_text()
    assert "| k-NN" in text and "| streaming LDA" not in text and "2 of 3 runs are done" in text
    assert "- blobs (b), slda: 1 runs, not yet" in text


def test_a_run_that_fails_is_told_and_tried_again(blobs, monkeypatch):
    run = Run("blobs", "b", "mean", 0)
    monkeypatch.setattr(runs, "execute", lambda run: Outcome(error="it broke"))
    measured([run], blobs)
    assert "- blobs (b), mean: 1 runs, it broke" in (blobs / "table.md").read_text()
    monkeypatch.undo()


# ---- the table ----


def outcome(accuracy, **more):
    usual = {"lessons": 10, "macs": 0.5, "backward": 0.05, "total_bytes": 90, "budget": 100}
    return Outcome(accuracy=accuracy, **{**usual, **more})


FOUND = {
    Run("mnist", "b", "tinyinc", 1): outcome(
        {"all": 97.0}, without_vote={"all": 91.0}, vote_macs=7, predict_macs=20
    ),
    Run("mnist", "b", "tinyinc", 0): outcome({"all": 95.0}, without_vote={"all": 89.0}),
    Run("mnist", "b", "slda", 0): outcome({"all": 99.0}, backward=None, total_bytes=101),
    Run("mnist", "b", "knn", 0): outcome({"all": 96.5}, backward=None),
    Run("har", "a", "tinyprop2", 0): outcome(
        {"new": 80.0, "old": 70.0}, before={"new": 60.0, "old": 75.0}
    ),
}


def test_the_table_has_means_spreads_and_marks():
    text = table.markdown(table.rows_of(FOUND), list(FOUND), {})
    assert "| TinyInc | 96.00 ± 1.41 |  | 90.00 ± 1.41 | 0.050 | 0.500 |" in text
    assert "| streaming LDA | 99.00 |  |  |  | 0.500 | 0 | 101 * |" in text
    assert "| 80.00, 70.00 | 60.00, 75.00 |" in text
    assert text.index("(b) class-incremental") < text.index("(a) fine-tuning")
    assert "5 of 5 runs are done" in text and "not yet" not in text


def test_published_figures_stand_in_their_own_column_and_are_not_ours():
    rows = table.rows_of({Run("cifar10", "c", "tinyprop2", 0): outcome({"all": 50.0})})
    text = table.markdown(rows, [], {})
    header = next(line for line in text.splitlines() if line.startswith("| method"))
    assert header.endswith("| published |") and "Published, not measured here" in text
    line = next(line for line in text.splitlines() if line.startswith("| TinyPropv2"))
    assert line.split(" | ")[-1].startswith("-0.82 points")


def test_what_is_asked_for_is_judged_against_those_that_fit():
    judged = {result.name: result for result in table.results_of(table.rows_of(FOUND))}
    assert judged["b, mnist, tinyinc, accuracy"].holds
    assert judged["b, mnist, tinyinc, backward ratio"].holds
    ahead = judged["b, mnist, tinyinc, ahead of the others"]
    assert (ahead.value, ahead.holds) == (-0.5, False) and "knn" in ahead.reference
    assert judged["a, har, tinyprop2, old"].value == 70.0


def test_a_size_that_follows_is_judged_against_128_fixed_units():
    runs_of = [
        ("mnist", "tinyinc", 96.0, 0.5),
        ("mnist", "growing", 95.5, 0.1),
        ("cwru", "tinyinc", 99.0, 0.5),  # 64 units
        ("cwru", "growing", 90.0, 0.4),
    ]
    rows = table.rows_of(
        {Run(d, "b", n, 0): outcome({"all": a}, macs=m, predict_macs=9) for d, n, a, m in runs_of}
    )
    judged = {result.name: result for result in table.results_of(rows)}
    assert judged["size that follows the task, points lost"].value == 0.5
    assert judged["size that follows the task, training MACs"].value == 0.1


def test_figures_are_drawn_for_each_protocol(tmp_path):
    drawn = figures.draw(table.rows_of(FOUND), tmp_path)
    assert {path.name for path in drawn} == {
        f"{protocol}-{name}.png" for protocol in "ab" for name in ("bytes", "work", "accuracy")
    }
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in drawn)


def test_the_file_of_results_has_the_form_of_the_others(blobs):
    measured(runs.plan("b,mean", seeds=1), blobs)
    content = json.loads(blobs.with_suffix(".json").read_text())
    assert content["results"][0]["name"] == "b, blobs, mean, all"


# ---- the command ----


@pytest.mark.parametrize(
    ("folder", "arguments", "text"),
    [
        ("", [], "set TINYINC_DATA to the folder"),
        ("{}", ["--only", "mnist,b,mean"], "nothing to run: unknown dataset 'mnist'"),
        ("{}", ["--only", "mnist,nobody"], "'nobody' is no dataset, protocol or method"),
        ("{}", ["--set", "wrong=1"], "setting 'wrong' is unknown"),
        ("{}", ["--set", "memory_bits=3"], "in 3 bits, expected up to 1 in 8 or 4"),
        ("{}", ["--set", "vote=much"], "'vote=much' is no setting, expected NAME=NUMBER"),
        ("{}", ["--seeds", "0"], "--seeds"),
        ("{}", ["--wrong"], "--wrong"),
    ],
)
def test_bad_arguments_end_in_one_line(tmp_path, folder, arguments, text):
    command = [sys.executable, "-m", "tinyinc_host.learning", *arguments]
    environment = os.environ | {data.FOLDER_VARIABLE: folder.format(tmp_path)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 2 and text in done.stderr
    assert len(done.stderr.splitlines()) == 1
