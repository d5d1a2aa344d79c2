"""The core stands alone: it calls nothing from outside and has no mutable data of its own."""

import subprocess

from conftest import ROOT

CORE = sorted(map(str, (ROOT / "usermod_c" / "core").glob("*.c")))
COMPILER_CALLS = {"memcpy", "memset"}  # GCC may write a loop as one; the native module has its own


def test_symbols(tmp_path):
    linked = tmp_path / "core.o"
    flags = ["-std=c99", "-ffreestanding", "-O2", "-fno-stack-protector", "-fno-pic", "-nostdlib"]
    subprocess.run(["gcc", *flags, "-r", *CORE, "-o", linked], check=True)
    listing = subprocess.run(["nm", linked], check=True, capture_output=True, text=True).stdout
    symbols = [line.split()[-2:] for line in listing.splitlines()]
    assert {name for kind, name in symbols if kind == "U"} <= COMPILER_CALLS
    assert [name for kind, name in symbols if kind in "DdBbCc"] == []
    assert all(name.startswith("tinc_") for kind, name in symbols if kind in "TRV")
