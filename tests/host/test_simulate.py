"""Boards on the desktop: the device program and the package under CPython give the same answers."""

import subprocess

import numpy as np
import pytest

import tinyinc
from tinyinc_host import data
from tinyinc_host.demo import predict_all
from tinyinc_host.export import export, fill_memory, with_memory
from tinyinc_host.pretrain import Schedule, accuracy, pretrain
from tinyinc_host.simulate import BINARY, PROGRAM, ROOT, BoardError, Desktop, UnixPort


@pytest.fixture(scope="module")
def digits():
    return data.load("digits")


@pytest.fixture(scope="module")
def image(digits, tmp_path_factory):
    """Knows zero to four, with ten of them in a memory of 14 slots."""
    path = tmp_path_factory.mktemp("image") / "digits.tinc"
    net = tinyinc.create(inputs=64, hidden=(16,), classes=6, range=(0, 16), memory=0, seed=5)
    samples, labels = digits.training([0, 1, 2, 3, 4])
    pretrain(net, samples, labels, digits.labels, Schedule(4, 0.1), (0, 16), seed=5)
    net = with_memory(net, 14)
    fill_memory(net, samples[:10].astype(np.float32), labels[:10], digits.labels, 12)
    export(net, path, rule="sampled", replay=2, learning_rate=0.03)
    return path


def test_the_image_is_what_was_trained(digits, image):
    net = tinyinc.load(str(image))
    assert net.labels == list(digits.labels[:5])
    assert (net.memory.count, net.memory.capacity) == (10, 14)
    assert net.setting("replay") == 2 and net.setting("rule") == "sampled"
    known = digits.test_labels < 5
    right = accuracy(net, digits.test_samples[known], digits.test_labels[known], digits.labels)
    assert right > 0.95
    samples, labels = digits.training([0, 1, 2, 3, 4])
    for (values, label), row, number in zip(net.memory.samples(), samples, labels, strict=False):
        assert label == digits.labels[number]
        assert np.abs(np.array(values) * 16 - row).max() < 16 / 254


def test_a_memory_changes_nothing_else(digits):
    net = tinyinc.create(inputs=64, hidden=(12, 8), classes=4, range=(-3, 16), memory=0, seed=9)
    samples, labels = digits.training([1, 7])
    pretrain(net, samples[:60], labels[:60], digits.labels, Schedule(1, 0.1), (-3, 16))
    copy = with_memory(net, 5)
    assert copy.labels == net.labels and copy.memory.capacity == 5
    for row in digits.test_samples[:20].astype(np.float32):
        assert list(copy.probabilities(row)) == list(net.probabilities(row))


def test_unix_port_and_desktop_agree(digits, image, tmp_path):
    kind = digits.train_samples.dtype
    stream = np.flatnonzero(digits.train_labels <= 5)[:80]
    learned = [tmp_path / "unix.tinc", tmp_path / "desktop.tinc"]
    lessons, answers, stats = [], [], []
    for board, path in zip((UnixPort(image, kind), Desktop(image, kind)), learned, strict=True):
        with board:
            labels = [digits.labels[digits.train_labels[i]] for i in stream]
            samples = digits.train_samples[stream]
            lessons.append([board.learn(*pair) for pair in zip(samples, labels, strict=True)])
            answers.append(predict_all(board, digits))
            stats.append(board.stats())
            board.save(path)
    assert stats[0] == stats[1]
    assert 10 < stats[0].memory_count <= 14
    assert stats[0].dense_forward_macs == 64 * 16 + 16 * 6
    assert stats[0].dense_backward_macs == 64 * 16 + 2 * 16 * 6
    assert np.allclose([a.loss for a in lessons[0]], [b.loss for b in lessons[1]], atol=1e-3)
    same = [(a.skipped, a.predicted) == (b.skipped, b.predicted) for a, b in zip(*lessons)]
    assert np.mean(same) > 0.95
    assert np.mean(answers[0] == answers[1]) > 0.98
    assert tinyinc.load(str(learned[0])).labels == tinyinc.load(str(learned[1])).labels


def test_the_board_says_why_it_refuses_and_goes_on(digits, image):
    with UnixPort(image, digits.train_samples.dtype) as board:
        sample = digits.train_samples[0]
        assert board.learn(sample, "five").loss > 0
        with pytest.raises(BoardError, match="refused: .*'six'.*6 classes"):
            board.learn(sample, "six")
        with pytest.raises(BoardError, match="refused"):
            board.learn(sample, "")
        assert board.predict(sample) in digits.labels


def test_floats_that_are_no_numbers_are_refused(digits, image):
    with UnixPort(image, np.dtype(np.float32)) as board:
        sample = digits.train_samples[0].astype(np.float32)
        before = board.predict(sample)
        sample[7] = np.nan
        with pytest.raises(BoardError, match="refused: .*7"):
            board.learn(sample, "zero")
        sample[7] = digits.train_samples[0, 7]
        assert board.predict(sample) == before


def test_the_program_ends_with_its_stream_and_on_an_unknown_command(image):
    for stream, last in (
        (b"", b"ready\t64\n"),
        (b"P123", b"ready\t64\n"),
        (b"?", b"L, P, S, W or Q\n"),
    ):
        done = subprocess.run(
            [BINARY, PROGRAM, image, "B"],
            input=stream,
            capture_output=True,
            env={"MICROPYPATH": str(ROOT / "micro")},
            timeout=20,
        )
        assert done.returncode == 0 and done.stderr == b""
        assert done.stdout.endswith(last)
