"""Long runs on the unix port: a flat heap and results that repeat, a stream that loses nothing
over 100 000 lessons; and numbers that explode.

LONG_RUN_STEPS says how long the run is: `make long-run` takes a million steps.
"""

import os
import time

import pytest

from device_scripts import run
from results import record
from tinyinc_host.report import Result, at_most

STEPS = int(os.environ.get("LONG_RUN_STEPS", "20000"))
SOAK = max(STEPS, 100_000)
NOISE = 0.04  # three standard deviations of an accuracy near 0.8, asked for 1000 times
EXPLODING_STEPS = 100_000  # with every rule
HEAP = "136k"  # half of it is what compiling the package takes


def test_long_run(tmp_path):
    start = time.perf_counter()
    first = run("unix", "long_run.py", tmp_path, STEPS, 1, heap=HEAP)
    seconds = time.perf_counter() - start
    assert run("unix", "long_run.py", tmp_path, STEPS, 1, heap=HEAP) == first
    assert run("unix", "long_run.py", tmp_path, STEPS, 2, heap=HEAP)["crc"] != first["crc"]
    assert first["steps"] == STEPS
    assert first["accuracy"] > 0.95
    name = f"long run of {STEPS} steps in {HEAP} of heap"
    flat = at_most(f"{name}: change of the heap", int(first["heap change"]), "B", 0)
    record(
        flat,
        Result(f"{name}: heap in use", int(first["heap"]), "B"),
        Result(f"{name}: time", round(seconds, 1), "s"),
    )
    assert flat.holds


@pytest.mark.parametrize("kind", ["f32", "q8"])
def test_soak(kind, tmp_path):
    """Two classes at a time, over and over: what is known after a tenth is known in the end."""
    found = run("unix", "soak.py", tmp_path, SOAK, kind, heap=HEAP)
    assert found["lessons"] == SOAK
    assert found["accuracy at first"] > 0.75  # an eighth by chance
    assert 2 <= found["units"] <= 20  # those it began with, and two for each class
    name = f"{SOAK} lessons of a stream, {kind}"
    flat = at_most(f"{name}: change of the heap", int(found["heap change"]), "B", 0)
    lost = found["accuracy at first"] - found["accuracy"]
    kept = at_most(f"{name}: points lost since a tenth", round(100 * lost, 1), "", 100 * NOISE)
    record(flat, kept, Result(f"{name}: accuracy", round(100 * found["accuracy"], 1), "%"))
    assert flat.holds and kept.holds


def test_explosions(tmp_path):
    """Weights stay finite; divergence is reported, and undone where that was asked for."""
    counted = run("unix", "explode.py", tmp_path, EXPLODING_STEPS)
    assert counted["steps"] > 5 * (EXPLODING_STEPS - 12)
    assert counted["diverged"] > 1000 and counted["undone"] > 100
    record(
        Result("net.learn() with rates too high, weights finite", int(counted["steps"]), "steps"),
        Result("of these diverged and were reported", int(counted["diverged"]), "steps"),
        Result("of these diverged and were undone", int(counted["undone"]), "steps"),
    )
