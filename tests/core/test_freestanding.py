"""The core stands alone: it calls nothing from outside and has no mutable data of its own. With
integers only, it does without the routines of the compiler's library (libgcc), too."""

import shutil
import subprocess

import pytest
from conftest import ROOT

CORE = sorted(map(str, (ROOT / "usermod_c" / "core").glob("*.c")))
FLAGS = ["-std=c99", "-ffreestanding", "-fno-stack-protector", "-nostdlib", "-r"]
COMPILER_CALLS = {"memcpy", "memset"}  # GCC may write a loop as one; the native module has its own

MACHINES = {
    "cortex-m0plus": ["arm-none-eabi-gcc", "-mcpu=cortex-m0plus", "-mthumb"],
    "cortex-m3": ["arm-none-eabi-gcc", "-mcpu=cortex-m3", "-mthumb"],
    "rv32imc": ["riscv64-unknown-elf-gcc", "-march=rv32imc", "-mabi=ilp32"],
}


def link(compiler, flags, linked):
    """All of the core in one relocatable object; the symbols it defines and asks for."""
    subprocess.run([*compiler, *FLAGS, *flags, *CORE, "-o", linked], check=True)
    nm = compiler[0].removesuffix("gcc") + "nm"
    listing = subprocess.run([nm, linked], check=True, capture_output=True, text=True).stdout
    return [line.split()[-2:] for line in listing.splitlines()]


def assert_alone(symbols):
    assert {name for kind, name in symbols if kind == "U"} <= COMPILER_CALLS
    assert [name for kind, name in symbols if kind in "DdBbCc"] == []


def test_symbols(tmp_path):
    symbols = link(["gcc"], ["-O2", "-fno-pic"], tmp_path / "core.o")
    assert_alone(symbols)
    assert all(name.startswith("tinc_") for kind, name in symbols if kind in "TRV")


@pytest.mark.parametrize("optimise", ["-Os", "-O2"])
@pytest.mark.parametrize("machine", MACHINES)
def test_integers_alone(machine, optimise, tmp_path):
    """Not even soft float, 64-bit products, divisions or table jumps of the compiler's library."""
    compiler = MACHINES[machine]
    if shutil.which(compiler[0]) is None:
        pytest.skip(f"needs {compiler[0]}")
    assert_alone(link(compiler, ["-DTINYINC_F32=0", optimise], tmp_path / "core.o"))
