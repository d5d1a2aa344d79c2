"""Runs the plain scripts beside it: on the unix port with the C module, there with the pure engine
in its place, and on CPython."""

import json
from pathlib import Path

import pytest

from device_scripts import ROOT, output

HERE = Path(__file__).parent
GOLDEN = ROOT / "tests" / "vectors" / "golden.tinc"
TRAJECTORY = ROOT / "tests" / "core" / "trajectory.py"


@pytest.mark.parametrize("script", ["api", "bad_input", "stream", "undoing"])
@pytest.mark.parametrize("target", ["unix", "unix-pure", "cpython"])
def test_script(script, target, tmp_path):
    assert output(target, HERE / f"{script}.py", tmp_path).endswith("PASS\n")


@pytest.fixture(scope="module")
def learned_in_q8(tmp_path_factory):
    """What the q8 script prints that has to be the same everywhere."""
    return {
        target: output(target, HERE / "q8.py", tmp_path_factory.mktemp(target))
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
    assert output(target, HERE / "pure_engine.py").endswith("PASS\n")


def test_nothing_is_allocated():
    assert output("unix", HERE / "allocation.py").endswith("PASS\n")


def test_engines_agree():
    """The C core on the unix port and on CPython to the last bit; the pure engine nearly so."""
    logs = [
        json.loads(output(target, TRAJECTORY, GOLDEN))
        for target in ("unix", "cpython", "unix-pure")
    ]
    for unix, cpython, pure in zip(*logs, strict=True):
        assert unix[:2] == cpython[:2] == pure[:2]
        assert unix[2] == pytest.approx(cpython[2], rel=1e-12)  # far below float32's last bit
        assert unix[2] == pytest.approx(pure[2], rel=1e-3, abs=1e-4)
