"""Runs plain scripts, those in device/ and those of tests/micro: on the unix port with the C engine
("unix"), there with the pure engine in its place ("unix-pure"), or on CPython ("cpython")."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
MICROPYTHON = ROOT / "build" / "unix" / "micropython"
FOLDERS = [ROOT / "micro", ROOT / "micro" / "tinyinc", ROOT / "tests" / "micro"]
TARGETS = ("unix", "unix-pure", "cpython")


def output(target, script, *arguments, options=()):
    """What a script prints, which has to end well; options: of MicroPython."""
    argv = [str(script), *map(str, arguments)]
    if target == "cpython":
        argv = [sys.executable, *argv]
    else:
        through = [str(ROOT / "tests" / "micro" / "with_pure.py")] if "pure" in target else []
        argv = [str(MICROPYTHON), *options, *through, *argv]
    path = os.pathsep.join(map(str, [*FOLDERS, script.parent]))
    done = subprocess.run(
        argv,
        env={**os.environ, "MICROPYPATH": path + ":.frozen", "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=1000,
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-2000:]
    return done.stdout


def run(target, script, *arguments, heap="2m"):
    """Numbers that a script of device/ prints, by name: lines of name, tab, value."""
    path = ROOT / "tests" / "faults" / "device" / script
    text = output(target, path, *arguments, options=["-X", f"heapsize={heap}"])
    lines = [line.split("\t") for line in text.splitlines() if "\t" in line]
    return {name: float(value) for name, value in lines}
