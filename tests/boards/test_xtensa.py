"""The native module for ESP32 and ESP32-S3: the very file that is installed, on an emulated Xtensa,
does to the last bit what the engine does here."""

import ctypes
import json
import shutil
import struct
import subprocess
import sys
from array import array
from pathlib import Path

import numpy as np
import pytest
from conftest import module_at

import _tinyinc
import trajectory
import xtensa_board

ROOT = xtensa_board.ROOT
printed = xtensa_board.printed
VECTORS = ROOT / "tests" / "vectors"
CORE = ROOT / "usermod_c" / "core"
NATMOD = xtensa_board.NATMOD
COMPILE = NATMOD / "xtensa" / "compile.py"
LLVM = ROOT / "boards" / "llvm.py"
WARNINGS = ["-std=c99", "-ffreestanding", "-Wall", "-Wextra", "-Wdouble-promotion", "-Wconversion"]


@pytest.fixture(scope="session")
def llvm():
    """The folder of LLVM, or no test."""
    done = subprocess.run([sys.executable, LLVM], capture_output=True, text=True, timeout=300)
    if done.returncode:
        pytest.skip(done.stderr.strip())
    return Path(done.stdout.strip())


@pytest.fixture(scope="session")
def module(llvm):
    printed("make", "--no-print-directory", "natmod", "ARCH=xtensawin")
    return ROOT / "build" / "natmod" / "_tinyinc-xtensawin.mpy"


@pytest.fixture(scope="session")
def program(llvm, tmp_path_factory):
    if not shutil.which(xtensa_board.QEMU):
        pytest.skip(f"{xtensa_board.QEMU} is not installed")
    micropython = Path(printed(sys.executable, ROOT / "boards" / "micropython.py").strip())
    return xtensa_board.build_program(tmp_path_factory.mktemp("xtensa"), llvm, micropython)


@pytest.fixture
def board(program, module, tmp_path):
    with xtensa_board.Board(tmp_path, program, module) as there:
        yield there


@pytest.mark.parametrize("name", ["golden", "golden_q8"])
def test_same_trajectory(board, name):
    here = trajectory.run(_tinyinc, trajectory.load(VECTORS / f"{name}.tinc"))
    assert len(here) > 50
    assert trajectory.run(board, trajectory.load(VECTORS / f"{name}.tinc")) == here


def test_golden_training(board):
    golden = json.loads((VECTORS / "golden_q8.json").read_text())
    net = trajectory.load(VECTORS / "golden_q8.tinc")
    assert trajectory.train(board, net) == golden["training_crc32"]


def test_golden_inference(board):
    golden = json.loads((VECTORS / "golden_q8.json").read_text())
    net = trajectory.load(VECTORS / "golden_q8.tinc")
    scratch = bytearray(board.scratch_bytes(net))
    assert len(golden["inference"]) > 1
    for case in golden["inference"]:
        x, probabilities = array("b", bytes(len(case["x"]))), array("f", [0] * 3)
        board.normalise(net, bytes(case["raw"]), x)
        assert list(x) == case["x"]
        assert board.infer(net, x, probabilities, scratch) == case["class"]
        assert list(probabilities) == pytest.approx(case["probabilities"], abs=1e-6)


def test_what_is_wrong_is_told(board):
    net = trajectory.load(VECTORS / "golden_q8.tinc")
    with pytest.raises(ValueError, match="sample has 3 values, expected 84"):
        board.normalise(net, bytes(3), array("b", bytes(84)))


def test_division(tmp_path):
    """Against the division of this machine, which is that of IEEE 754."""
    library = tmp_path / "divide.so"
    flags = ["-O1", "-shared", "-fPIC", "-D__divsf3=divide"]
    printed("gcc", *flags, NATMOD / "xtensa" / "divide.c", "-o", library)
    divide = ctypes.CDLL(library).divide
    divide.restype, divide.argtypes = ctypes.c_float, [ctypes.c_float, ctypes.c_float]
    special = [0, 1, 2, 3, 0x7FFFFF, 0x800000, 0x3F800000, 0x3FFFFFFF, 0x7F7FFFFF, 0x7F800000]
    state, numbers = 1, special + [bits | 1 << 31 for bits in special] + [0x7FC00000]
    for _ in range(300):
        state = state * 1664525 + 1013904223 & 0xFFFFFFFF
        numbers.append(state & (0x80FFFFFF if state & 1 << 12 else 0xFFFFFFFF))
    a = np.array(numbers, np.uint32).view(np.float32)
    with np.errstate(all="ignore"):
        expected = a[:, None] / a
    for i, up in enumerate(a):
        for j, down in enumerate(a):
            given = divide(up, down)
            if expected[i, j] != expected[i, j]:
                assert given != given
            else:
                bits = struct.pack("<f", given), struct.pack("<f", expected[i, j])
                assert bits[0] == bits[1], (up, down)


@pytest.mark.parametrize("features", ["", "-DTINYINC_F32=0"])
@pytest.mark.parametrize("target", ["xtensa", "riscv32"])
def test_core_compiles_without_warnings(request, target, features, tmp_path):
    """For ESP32 and, as LLVM 22 knows no esp32s3, which has all that an esp32 has, for ESP32-S3;
    for ESP32-C3."""
    gcc = "riscv64-unknown-elf-gcc"
    if target == "xtensa":
        compiler = [sys.executable, COMPILE, request.getfixturevalue("llvm") / "gcc"]
    elif shutil.which(gcc):
        compiler = [gcc, "-march=rv32imc", "-mabi=ilp32"]
    else:
        pytest.skip(f"{gcc} is not installed")
    flags = [*WARNINGS, "-Werror", "-Os", *features.split()]
    for source in sorted(CORE.glob("*.c")):
        printed(*compiler, *flags, "-o", tmp_path / f"{source.stem}.o", "-c", source)


def test_static_names_do_not_meet(llvm, tmp_path):
    """Two files with a function of one name each, which the linker would take for one."""
    objects = []
    for name in "one", "two":
        source, target = tmp_path / f"{name}.c", tmp_path / f"{name}.o"
        body = "static __attribute__((noinline)) int entry(int x) { return x / 3; }\n"
        source.write_text(f"int {name}(int x);\n{body}int {name}(int x) {{ return entry(x) + 1; }}")
        printed(sys.executable, COMPILE, llvm / "gcc", "-Os", "-o", target, "-c", source)
        objects.append(target.read_bytes())
    assert [b"one.entry" in objects[0], b"two.entry" in objects[1]] == [True, True]


@pytest.fixture
def compiler():
    """The script that stands in for a compiler, as a module."""
    return module_at(COMPILE)


def test_what_cannot_be_linked_is_refused(compiler):
    with pytest.raises(compiler.Failed, match=r"a literal table\+8 cannot be linked"):
        compiler.linkable("\t.literal .LCPI0_0, table+8\n", "file")
    fine = "\t.literal .LCPI0_0, mp_fun_table+8\n\t.literal .LCPI0_1, -7\n"
    assert compiler.linkable(fine, "file") == fine


def test_stack_stays_aligned(compiler):
    moved = "\taddi\ta8, a1, {}\n\tmovsp\ta1, a8\n".format
    for given, taken in [(-4, -16), (4, 16), (-16, -16), (20, 32)]:
        assert compiler.with_aligned_stack(moved(given), "file") == moved(taken)
    with pytest.raises(compiler.Failed, match="moves in an unknown way"):
        compiler.with_aligned_stack("\tmovsp\ta1, a8\n", "file")


def test_no_llvm(tmp_path):
    """Nothing but Python is on the path, and nothing was fetched before."""
    script = (
        "import pathlib, sys; sys.path.insert(0, sys.argv[1]); import llvm\n"
        "llvm.TREE = pathlib.Path(sys.argv[2]); sys.exit(llvm.main())"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(LLVM.parent), str(tmp_path / "llvm")],
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (2, "")
    last = done.stderr.splitlines()[-1]
    assert last.startswith("No compiler for Xtensa (")
    assert last.endswith("): install Espressif's compiler, xtensa-esp32-elf-gcc")
    assert not (tmp_path / "llvm").exists()
