"""Out of memory at every point where the device package allocates: a MemoryError, and the network
is as it was."""

from device_scripts import run
from results import record
from tinyinc_host.report import at_least

LEAST = 1000


def test_memory_faults(tmp_path):
    failures = run("unix", "memory_faults.py", tmp_path, heap="600k")
    for call in ("load", "create", "learn a new label", "save", "restore"):
        assert failures[call] > 50, call
    result = at_least("allocations failed, network unchanged", sum(failures.values()), "", LEAST)
    record(result)
    assert result.holds
