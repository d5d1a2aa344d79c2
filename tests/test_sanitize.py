"""The core's tests once more, on a build that stops at bad accesses and undefined behaviour."""

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

# One float fewer than it takes, straight to the core: the binding's checks are not in between.
OVERRUN = """\
from _tinyinc_core import ffi, lib
out = bytearray(12)
lib.tinc_matmul(ffi.from_buffer("float[]", out), ffi.new("float[2]"), ffi.new("float[2]"), 2, 1, 2)
"""


@pytest.fixture(scope="module")
def sanitized():
    """What `make sanitize` ran, and the environment that it ran in."""
    recipe = subprocess.run(
        ["make", "--no-print-directory", "sanitize"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={name: value for name, value in os.environ.items() if name != "MAKEFLAGS"},
    )
    command = recipe.stdout[recipe.stdout.index("LD_PRELOAD") :]
    return recipe, command.split("build/venv/bin/python", 1)[0].replace("\\\n", " ")


def test_core_under_sanitizers(sanitized):
    recipe, _ = sanitized
    assert recipe.returncode == 0, recipe.stdout[-4000:] + recipe.stderr[-4000:]
    assert " passed" in recipe.stdout
    assert " failed" not in recipe.stdout


def test_sanitizers_see_an_overrun(sanitized):
    _, environment = sanitized
    command = environment + 'build/venv/bin/python -c "$PROGRAM"'
    result = subprocess.run(
        ["sh", "-c", command],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={**os.environ, "PROGRAM": OVERRUN},
    )
    assert result.returncode != 0
    assert "AddressSanitizer: heap-buffer-overflow" in result.stderr
    assert "tinc_matmul" in result.stderr
