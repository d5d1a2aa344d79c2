"""The native module: loaded from a file by MicroPython that was built without the engine, it does
what the user module does. What takes long to build is built by `make test-boards`, and tested where
it is there."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import emulated_board

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
TRAJECTORY = HERE / "trajectory_bits.py"
VECTORS = ROOT / "tests" / "vectors"

COMPILERS = {"x64": "gcc", "armv7m": "arm-none-eabi-gcc", "rv32imc": "riscv64-unknown-elf-gcc"}
EMULATED = [("MPS2_AN385", "armv7m"), ("VIRT_RV32", "rv32imc")]
# Text lies in the board's RAM.
MOST_BYTES = {"x64": 32 * 1024, "armv7m": 20 * 1024, "rv32imc": 28 * 1024}


def make(*arguments, **environment):
    return subprocess.run(
        ["make", "--no-print-directory", *arguments],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )


def made(*arguments):
    done = make(*arguments)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="session")
def module():
    """A function: the folder that holds _tinyinc.mpy for an architecture."""

    def folder(architecture):
        if not shutil.which(COMPILERS[architecture]):
            pytest.skip(f"{COMPILERS[architecture]} is not installed")
        made("natmod", f"ARCH={architecture}")
        return ROOT / "build" / "natmod" / architecture

    return folder


@pytest.fixture(scope="session", params=["1.25", "1.26"])
def stock(request):
    """MicroPython for unix without the engine."""
    if request.param == "1.25":
        made("unix-stock", "MPY_RELEASE=")
        return ROOT / "build" / "unix-stock" / "micropython"
    program = ROOT / "build" / f"unix-stock-{request.param}" / "micropython"
    if not program.exists():
        pytest.skip(f"no {program.relative_to(ROOT)}: `make test-boards` builds it")
    return program


def run(micropython, script, *arguments, folders=()):
    """What a script prints that has to end well."""
    folders = [*folders, "micro", "micro/tinyinc", "tests/micro", "tests/core"]
    done = subprocess.run(
        [micropython, script, *map(str, arguments)],
        cwd=VECTORS,
        env={**os.environ, "MICROPYPATH": ":".join(str(ROOT / folder) for folder in folders)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="session")
def expected():
    """The trajectory of the user module."""
    return json.loads(run(ROOT / "build" / "unix" / "micropython", TRAJECTORY))


def test_stock_has_no_engine(stock, module, tmp_path):
    script = tmp_path / "which.py"
    script.write_text("import _tinyinc; print(_tinyinc.__file__)")
    folder = module("x64")
    assert run(stock, script, folders=[folder]) == f"{folder}/_tinyinc.mpy\n"
    with pytest.raises(AssertionError, match="no module named '_tinyinc'"):
        run(stock, script)


@pytest.mark.parametrize("script", ["api", "bad_input", "allocation"])
def test_script(stock, module, script, tmp_path):
    path = ROOT / "tests" / "micro" / f"{script}.py"
    assert run(stock, path, tmp_path, folders=[module("x64")]).endswith("PASS\n")


def test_same_trajectory(stock, module, expected):
    assert len(expected) > 50
    assert json.loads(run(stock, TRAJECTORY, folders=[module("x64")])) == expected


@pytest.mark.parametrize(("board", "architecture"), EMULATED)
def test_same_trajectory_on_a_board(board, architecture, module, expected):
    if not shutil.which(emulated_board.COMMANDS[board].split()[0]):
        pytest.skip(f"no emulator for {board}")
    if not emulated_board.firmware(board).exists():
        pytest.skip(f"no firmware for {board}: `make test-boards` builds it")
    content = (module(architecture) / "_tinyinc.mpy").read_bytes()
    with emulated_board.Board(board) as there:
        there.put("_tinyinc.mpy", content)
        there.put("trajectory.py", (ROOT / "tests" / "core" / "trajectory.py").read_bytes())
        there.put("golden.tinc", (VECTORS / "golden.tinc").read_bytes())
        assert json.loads(there.run(TRAJECTORY.read_text())) == expected


def test_a_board_refuses_a_module_for_another(module):
    board = "MPS2_AN385"
    if not emulated_board.firmware(board).exists():
        pytest.skip(f"no firmware for {board}: `make test-boards` builds it")
    with emulated_board.Board(board) as there:
        there.put("_tinyinc.mpy", (module("x64") / "_tinyinc.mpy").read_bytes())
        with pytest.raises(OSError, match="ValueError: incompatible .mpy arch"):
            there.run("import _tinyinc")


@pytest.mark.parametrize("architecture", MOST_BYTES)
def test_size(module, architecture):
    folder = module(architecture)
    size = (folder / "_tinyinc.mpy").stat().st_size
    assert size <= MOST_BYTES[architecture]
    assert (folder.parent / f"_tinyinc-{architecture}.mpy").stat().st_size == size
    assert str(ROOT).encode() not in (folder / "_tinyinc.mpy").read_bytes()


def test_unknown_architecture():
    done = make("natmod", "ARCH=vax")
    assert done.returncode == 2
    assert "There is no ARCH=vax, expected one of armv6m armv7emdp" in done.stderr


def test_missing_compiler(tmp_path):
    """Nothing but what make itself needs is on the path."""
    for program in ("sh", "make", "awk", "cat", "gcc"):
        (tmp_path / program).symlink_to(shutil.which(program))
    (tmp_path / "python3").symlink_to(sys.executable)
    done = make("natmod", "ARCH=rv32imc", PATH=str(tmp_path), PYTHON=sys.executable)
    assert done.returncode == 2
    line = "ARCH=rv32imc needs riscv64-unknown-elf-gcc, which is not installed; on Debian: sudo apt"
    assert line in done.stderr
