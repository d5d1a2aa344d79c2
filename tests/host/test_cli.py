"""The command: what it prints, and that bad input is one line and exit code 2."""

import resource
import subprocess
import sys

import numpy as np
import pytest

import board_helpers
from tinyinc import create, load
from tinyinc_host import __version__, cli, data


def tinyinc(*arguments, folder=None, started=None):
    command = [sys.executable, "-m", "tinyinc_host", *map(str, arguments)]
    environment = {"PATH": "/usr/bin:/bin"} | ({"TINYINC_DATA": str(folder)} if folder else {})
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        env=environment,
        timeout=100,
        preexec_fn=started,
    )


def refused(done, *words):
    """Exit code 2, one line that holds these words, and nothing else."""
    assert done.stdout == ""
    return board_helpers.refused(done, *words)


def test_version_and_help():
    assert tinyinc("--version").stdout == f"tinyinc {__version__}\n"
    done = tinyinc()
    assert done.returncode == 0
    commands = "data train distill compare-methods export quantise plan simulate demo bench-report"
    for command in commands.split():
        assert command in done.stdout


def test_data_lists_and_describes(tmp_path):
    np.savez(tmp_path / "tiny.npz", X=np.zeros((8, 3), np.int8), y=np.arange(8) % 2)
    np.savez(tmp_path / "other.npz", pictures=np.zeros(3))
    assert tinyinc("data", folder=tmp_path).stdout == "digits\ntiny\n"
    text = tinyinc("data", "tiny", folder=tmp_path).stdout
    assert "3 values, int8" in text and "-128 to 127" in text and "drifts" not in text
    np.savez(
        tmp_path / "tiny.npz", X=np.zeros((8, 3)), y=np.arange(8) % 2, subject=np.arange(8) // 2
    )
    text = tinyinc("data", "tiny", folder=tmp_path).stdout
    assert "subject: 3 to train on, 1 to test on" in text


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["data", "moons"], ["'moons'", "set TINYINC_DATA"]),
        (["dta"], ["dta"]),
        (["data", "--colour"], ["--colour"]),
        (["train"], ["out"]),
        (["train", "x.tinc", "--hidden", "32,x"], ["hidden is '32,x'", "32,16"]),
        (["train", "x.tinc", "--without", "ten"], ["no label 'ten'", "zero"]),
        (["train", "x.tinc", "--epochs", "0"], ["epochs"]),
        (["train", "/nowhere/x.tinc", "--epochs", "1"], ["/nowhere/x.tinc"]),
        (["train", "x.tinc", "--noise", "inf"], ["noise"]),
        (["train", "."], ["'.' cannot be written: it is a folder"]),
        (["distill", "."], ["'.' cannot be written: it is a folder"]),
        (["export", "net.tinc", "few.npz", "."], ["'.' cannot be written: it is a folder"]),
        (["distill", "x.npz", "--method", "magic"], ["'magic'", "kmeans"]),
        (["distill", "x.npz", "--bits", "5"], ["bits is 5", "8 or 4"]),
        (["distill", "x.npz", "--bytes", "700"], ["700 bytes hold 9 samples", "10 classes"]),
        (["compare-methods", "--bytes", "0"], ["0 bytes hold 0 samples"]),
        (["export", "/nowhere.tinc", "few.npz", "x.tinc"], ["/nowhere.tinc"]),
        (["train", "x.tinc", "--hidden", "conv8,pool2"], ["'conv8,pool2'", "conv8,max2"]),
        (["train", "x.tinc", "--hidden", "max2,max2,max2,max2"], ["layer 3 (max_pool)"]),
        (["quantise", "/nowhere.tinc", "x.tinc"], ["/nowhere.tinc"]),
        (["plan", "/nowhere.tinc"], ["/nowhere.tinc"]),
        (["demo", "--format", "q4"], ["'q4'", "f32, q8"]),
        (["simulate", "/nowhere.tinc"], ["/nowhere.tinc"]),
        (["simulate", "/nowhere.tinc", "--engine", "desktop"], ["/nowhere.tinc"]),
        (["simulate", "x.tinc", "--engine", "abacus"], ["'abacus'", "unix, desktop"]),
        (["demo", "--data", "moons"], ["'moons'"]),
        (["demo", "--engine", "abacus"], ["'abacus'", "unix, desktop"]),
        (["demo", "--seed", "-1"], ["seed"]),
        (["bench-report", "/nowhere"], ["/nowhere", "make bench"]),
    ],
)
def test_bad_input_is_one_line(arguments, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert refused(tinyinc(*arguments), *words)
    assert list(tmp_path.iterdir()) == []


def test_damaged_files_are_refused(tmp_path):
    foreign = tmp_path / "foreign.tinc"
    foreign.write_bytes(b"GIF89a" + bytes(300))
    for command in (["simulate", foreign], ["simulate", foreign, "--engine", "desktop"]):
        assert refused(tinyinc(*command))
    few = tmp_path / "few.npz"
    few.write_bytes(b"not an archive")
    image = tmp_path / "net.tinc"
    assert tinyinc("train", image, "--epochs", "1").returncode == 0
    done = tinyinc("export", image, few, tmp_path / "out.tinc")
    assert refused(done, "few.npz", "not what `tinyinc distill` writes: File is not a zip file")
    np.savez(few, samples=np.zeros((1, 64), np.float32), labels=["one"])
    done = tinyinc("export", image, few, tmp_path / "out.tinc")
    assert refused(done, "few.npz", "it has no 'stands_for'")
    np.savez(
        few, samples=np.full((1, 64), np.nan, np.float32), labels=["one"], stands_for=1, bits=8
    )
    done = tinyinc("quantise", image, tmp_path / "out.tinc", "--samples", few)
    assert refused(done, "sample[0] is NaN")
    image.write_bytes(image.read_bytes()[:-8])
    assert refused(tinyinc("simulate", image))
    assert not (tmp_path / "out.tinc").exists()


def test_archives_that_declare_much(tmp_path, monkeypatch):
    """Distilled samples are read as carefully as datasets."""
    few = tmp_path / "few.npz"
    np.savez_compressed(
        few, samples=np.zeros((9, 64), np.float32), labels=["a"] * 9, stands_for=1, bits=8
    )
    assert cli.read_distilled(few)[0].shape == (9, 64)
    monkeypatch.setattr(data.npz, "MOST_BYTES", 1000)
    with pytest.raises(ValueError, match="few.npz' is not what .* declares 2304 bytes"):
        cli.read_distilled(few)


def test_a_full_disk_leaves_what_was_there(tmp_path):
    few = tmp_path / "few.npz"
    assert tinyinc("distill", few, "--per-class", 1).returncode == 0
    before = few.read_bytes()
    limit = resource.RLIMIT_FSIZE, (len(before), len(before))
    done = tinyinc("distill", few, "--per-class", 20, started=lambda: resource.setrlimit(*limit))
    assert done.returncode == 2 and done.stderr.startswith("tinyinc: [Errno 27]"), done.stderr
    assert few.read_bytes() == before


def test_samples_of_another_size(tmp_path):
    np.savez(tmp_path / "tiny.npz", X=np.zeros((8, 3), np.uint8), y=np.arange(8) % 2)
    image = tmp_path / "net.tinc"
    create(inputs=64).save(str(image))
    for command in (["simulate", image], ["quantise", image, tmp_path / "out.tinc"]):
        done = tinyinc(*command, "--data", "tiny", folder=tmp_path)
        assert refused(done, "samples of tiny have 3 values, the network takes 64")


def test_train_distill_export_simulate(tmp_path):
    image, few, board, learned = (
        tmp_path / name for name in ("net.tinc", "few.npz", "board.tinc", "learned.tinc")
    )
    done = tinyinc("train", image, "--without", "eight,nine", "--epochs", 5)
    assert done.returncode == 0, done.stderr
    assert "of 361 test samples" in done.stdout
    done = tinyinc("distill", few, "--without", "eight,nine", "--per-class", 4)
    assert "32 samples for 1082" in done.stdout, done.stderr
    done = tinyinc("export", image, few, board, "--slots", 40)
    assert "32 samples in memory" in done.stdout, done.stderr
    assert refused(tinyinc("export", image, few, tmp_path / "x", "--slots", 9), "room for 9")
    for name in ("rule", "replay", "vote"):  # as any network's, unless told otherwise
        assert load(str(board)).setting(name) == create(inputs=1).setting(name)
    for engine in ("unix", "desktop"):
        done = tinyinc(
            "simulate", board, "--labels", "eight", "--limit", 30, "--engine", engine,
            "--out", learned,
        )  # fmt: skip
        assert "30 samples learned" in done.stdout, done.stderr
        assert learned.stat().st_size == board.stat().st_size
        learned.unlink()


def test_labels_longer_than_usual(tmp_path):
    """From data to board; `tinyinc data` lists such sets, too."""
    names = ["a rather long name", "another one, still longer", "short"]
    samples = np.random.default_rng(0).integers(0, 9, (60, 8, 8), np.uint8)
    samples[np.arange(60), np.arange(60) % 3] += 100
    np.savez(tmp_path / "names.npz", X=samples, y=np.arange(60) % 3, classes=names)

    def run(*arguments):
        done = tinyinc(*arguments, "--data", "names", folder=tmp_path)
        assert done.returncode == 0, done.stderr
        return done.stdout

    net, few = tmp_path / "net.tinc", tmp_path / "few.npz"
    run("front", net, "--hidden", "conv2,max2", "--epochs", 1)
    behind = ["--front", net]
    for more in (["--hidden", "8"], ["--hidden", "conv2,8"], ["--hidden", "8", *behind]):
        assert "100.0 % of 15 test samples" in run("train", tmp_path / "head.tinc", *more)
    run("distill", few, "--per-class", 2, "--score", *behind)
    done = tinyinc("export", tmp_path / "head.tinc", few, tmp_path / "board.tinc")
    assert "6 samples in memory" in done.stdout, done.stderr
    assert "100.0 % after" in run("simulate", tmp_path / "board.tinc", "--limit", 1)


def test_distill_into_bytes_of_4_bits_with_a_score(tmp_path):
    image, few, board = (tmp_path / name for name in ("net.tinc", "few.npz", "board.tinc"))
    assert tinyinc("train", image, "--epochs", 1).returncode == 0
    done = tinyinc("distill", few, "--bytes", 1500, "--bits", 4, "--method", "lvq", "--score")
    assert "30 samples for 1211" in done.stdout, done.stderr
    shares = [float(word) for word in done.stdout.split() if word.replace(".", "").isdigit()][-2:]
    assert 90 < shares[0] <= 100 and 75 < shares[1] <= 100
    done = tinyinc("export", image, few, board)
    assert "30 samples in memory" in done.stdout, done.stderr
    assert 30 * 32 < board.stat().st_size - image.stat().st_size <= 1500


def test_quantise_and_plan(tmp_path):
    image, few, small, board = (
        tmp_path / name for name in ("net.tinc", "few.npz", "small.tinc", "board.tinc")
    )
    assert tinyinc("train", image, "--hidden", "conv6,max2,16", "--epochs", 2).returncode == 0
    done = tinyinc("quantise", image, small)
    assert done.returncode == 0, done.stderr
    words = done.stdout.split()
    assert int(words[1]) == small.stat().st_size < image.stat().st_size == int(words[4].strip(","))
    assert "of 500 samples" in done.stdout and float(words[words.index("for", 5) + 1]) > 95
    assert tinyinc("distill", few, "--per-class", 3).returncode == 0
    assert "of 30 samples" in tinyinc("quantise", image, small, "--samples", few).stdout
    assert refused(tinyinc("quantise", small, board), "quantised already")

    text = tinyinc("plan", small).stdout
    for word in ("inference", "a step of learning", "0 conv", "8 x 8 x 6", "winners", "peak"):
        assert word in text
    assert f"image: {small.stat().st_size} bytes" in text

    done = tinyinc("export", small, few, board)
    assert "30 samples in memory" in done.stdout, done.stderr
    assert refused(
        tinyinc("export", small, few, board, "--learning-rate", "0.02"), "0.015625 or 0.03125"
    )
    done = tinyinc("simulate", board, "--labels", "nine", "--limit", 10)
    assert "10 samples learned" in done.stdout, done.stderr


def test_demo(tmp_path):
    done = tinyinc("demo", "--quick", "--format", "q8", "--seed", 1, "--folder", tmp_path / "new")
    assert "learned zero, then one, on the board" in done.stdout, done.stderr
    assert {path.name for path in (tmp_path / "new").iterdir()} == {
        *("bare.tinc", "deployed.tinc", "learned.tinc", "learning.png", "result.json")
    }
    assert load(str(tmp_path / "new" / "learned.tinc")).format == "q8"
