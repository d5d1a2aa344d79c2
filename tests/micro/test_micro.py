"""Runs the plain scripts beside it: on the unix port with the C module, there with the pure engine
in its place, and on CPython."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
MICROPYTHON = ROOT / "build" / "unix" / "micropython"
GOLDEN = ROOT / "tests" / "vectors" / "golden.tinc"
TRAJECTORY = ROOT / "tests" / "core" / "trajectory.py"


def command(target, script, *args):
    argv = [str(script), *map(str, args)]
    if target == "cpython":
        return [sys.executable, *argv]
    through = [str(HERE / "with_pure.py")] if target == "unix-pure" else []
    return [str(MICROPYTHON), *through, *argv]


def run(target, script, *args):
    """Output of a script that has to end well."""
    folders = [ROOT / "micro", ROOT / "micro" / "tinyinc", HERE, script.parent]
    path = os.pathsep.join(map(str, folders))
    done = subprocess.run(
        command(target, script, *args),
        env={**os.environ, "MICROPYPATH": path + ":.frozen", "PYTHONPATH": path},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("script", ["api", "bad_input", "stream", "undoing"])
@pytest.mark.parametrize("target", ["unix", "unix-pure", "cpython"])
def test_script(script, target, tmp_path):
    assert run(target, HERE / f"{script}.py", tmp_path).endswith("PASS\n")


@pytest.fixture(scope="module")
def learned_in_q8(tmp_path_factory):
    """What the q8 script prints that has to be the same everywhere."""
    return {
        target: run(target, HERE / "q8.py", tmp_path_factory.mktemp(target))
        for target in ("unix", "cpython")
    }


@pytest.mark.parametrize("target", ["unix", "cpython"])
def test_q8(target, learned_in_q8):
    assert learned_in_q8[target].endswith("PASS\n")


def test_q8_learns_the_same_to_the_last_bit(learned_in_q8):
    hashes = {
        line for text in learned_in_q8.values() for line in text.splitlines() if "learned\t" in line
    }
    assert len(hashes) == 1


@pytest.mark.parametrize("target", ["unix", "cpython"])
def test_pure_engine(target):
    assert run(target, HERE / "pure_engine.py").endswith("PASS\n")


def test_nothing_is_allocated():
    assert run("unix", HERE / "allocation.py").endswith("PASS\n")


def test_engines_agree():
    """The C core on the unix port and on CPython to the last bit; the pure engine nearly so."""
    logs = [
        json.loads(run(target, TRAJECTORY, GOLDEN)) for target in ("unix", "cpython", "unix-pure")
    ]
    for unix, cpython, pure in zip(*logs, strict=True):
        assert unix[:2] == cpython[:2] == pure[:2]
        assert unix[2] == pytest.approx(cpython[2], rel=1e-12)  # far below float32's last bit
        assert unix[2] == pytest.approx(pure[2], rel=1e-3, abs=1e-4)
