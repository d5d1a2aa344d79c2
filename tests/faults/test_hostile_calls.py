"""Hostile calls to the device package: re-entrance, threads, use after deinit(), buffers that are
resized or overwritten. On all engines."""

import pytest

from device_scripts import TARGETS, run
from results import record
from tinyinc_host.report import Result


@pytest.mark.parametrize("target", TARGETS)
def test_hostile_calls(target, tmp_path):
    counted = run(target, "hostile_calls.py", tmp_path)
    assert counted["refusals"] > 500
    assert counted["overwritten bytes"] > 100
    assert "threads" in counted
    record(
        Result(f"hostile calls refused, {target}", int(counted["refusals"]), ""),
        Result(f"overwritten bytes without harm, {target}", int(counted["overwritten bytes"]), ""),
    )
