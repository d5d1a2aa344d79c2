"""Runs the scripts in device/: on the unix port with the C engine ("unix"), there with the pure
engine in its place ("unix-pure"), or on CPython ("cpython")."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
MICROPYTHON = ROOT / "build" / "unix" / "micropython"
FOLDERS = [ROOT / "micro", ROOT / "micro" / "tinyinc", ROOT / "tests" / "micro"]
TARGETS = ("unix", "unix-pure", "cpython")


def run(target, script, *arguments, heap="2m"):
    """Numbers that a script prints, by name: lines of name, tab, value. It has to end well."""
    argv = [str(ROOT / "tests" / "faults" / "device" / script), *map(str, arguments)]
    if target == "cpython":
        argv = [sys.executable, *argv]
    else:
        through = [str(ROOT / "tests" / "micro" / "with_pure.py")] if "pure" in target else []
        argv = [str(MICROPYTHON), "-X", f"heapsize={heap}", *through, *argv]
    path = os.pathsep.join(map(str, [*FOLDERS, ROOT / "tests" / "faults" / "device"]))
    done = subprocess.run(
        argv,
        env={**os.environ, "MICROPYPATH": path + ":.frozen", "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=1000,
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-2000:]
    lines = [line.split("\t") for line in done.stdout.splitlines() if "\t" in line]
    return {name: float(value) for name, value in lines}
