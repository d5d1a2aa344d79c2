"""Long runs on the unix port: a flat heap and results that repeat; and numbers that explode.

LONG_RUN_STEPS says how long the run is: `make long-run` takes a million steps.
"""

import os
import time

from device_scripts import run
from results import record
from tinyinc_host.report import Result, at_most

STEPS = int(os.environ.get("LONG_RUN_STEPS", "20000"))
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
