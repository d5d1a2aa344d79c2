"""The native module: loaded from a file by MicroPython that was built without the engine, it does
what the user module does. What takes long to build is built by `make test-boards`, and tested where
it is there."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import emulated_board
from tinyinc_host import bench_engine

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
TRAJECTORY = HERE / "trajectory_bits.py"
CORE_TESTS = ROOT / "tests" / "core"
VECTORS = ROOT / "tests" / "vectors"

# Each architecture's compiler, and the most that its file may have: it lies in the board's RAM.
ARCHITECTURES = {
    "x64": ("gcc", 64 * 1024),
    "armv6m": ("arm-none-eabi-gcc", 32 * 1024),
    "armv7m": ("arm-none-eabi-gcc", 48 * 1024),
    "armv7emsp": ("arm-none-eabi-gcc", 48 * 1024),
    "armv7emdp": ("arm-none-eabi-gcc", 48 * 1024),
    "rv32imc": ("riscv64-unknown-elf-gcc", 64 * 1024),
    "xtensawin": ("LLVM", 64 * 1024),
}
MOST_TEXT = 24 * 1024  # bytes of the integer-only core on armv6m
# As the files and MicroPython have it: sys.implementation._mpy >> 10 & 15
NUMBERS = {"x64": 2, "armv6m": 4, "armv7m": 5, "armv7emsp": 7, "armv7emdp": 8}
NUMBERS |= {"xtensawin": 10, "rv32imc": 11}
INTEGERS_ONLY = {"armv6m"}
GOLDEN = {"f32": "golden", "q8": "golden_q8"}
# Board and module. A board with an FPU also takes the modules that make less use of it, or none.
EMULATED = [
    ("MPS2_AN385", "armv6m"),
    ("MPS2_AN385", "armv7m"),
    ("MPS2_AN386", "armv7m"),
    ("MPS2_AN386", "armv7emsp"),
    ("MPS2_AN500", "armv7m"),
    ("MPS2_AN500", "armv7emsp"),
    ("MPS2_AN500", "armv7emdp"),
    ("MPS2_AN505", "armv7m"),
    ("MPS2_AN505", "armv7emsp"),
    ("VIRT_RV32", "rv32imc"),
]
REFUSED = [
    ("MPS2_AN385", "x64"),
    ("MPS2_AN385", "armv7emsp"),
    ("MPS2_AN386", "armv7emdp"),
    ("MPS2_AN505", "armv7emdp"),
]


def make(*arguments, **environment):
    return subprocess.run(
        ["make", "--no-print-directory", *arguments],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )


def made(*arguments, **environment):
    done = make(*arguments, **environment)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="session")
def module():
    """A function: the folder that holds _tinyinc.mpy for an architecture."""
    built = set()

    def folder(architecture):
        compiler, _ = ARCHITECTURES[architecture]
        if compiler == "LLVM":  # where there is none, it is fetched
            llvm = [sys.executable, ROOT / "boards" / "llvm.py"]
            done = subprocess.run(llvm, capture_output=True, text=True, timeout=300)
            if done.returncode:
                pytest.skip(done.stderr.strip())
        elif not shutil.which(compiler):
            pytest.skip(f"{compiler} is not installed")
        if architecture not in built:
            made("natmod", f"ARCH={architecture}")
            built.add(architecture)
        return ROOT / "build" / "natmod" / architecture

    return folder


@contextlib.contextmanager
def board_with(name, module):
    """An emulated board that has the native module, and what the trajectory needs."""
    if not shutil.which(emulated_board.COMMANDS[name].split()[0]):
        pytest.skip(f"no emulator for {name}")
    if not emulated_board.firmware(name).exists():
        pytest.skip(f"no firmware for {name}: `make test-boards` builds it")
    with emulated_board.Board(name) as board:
        golden = [VECTORS / f"{name}.tinc" for name in GOLDEN.values()]
        for path in module / "_tinyinc.mpy", CORE_TESTS / "trajectory.py", *golden:
            board.put(path.name, path.read_bytes())
        yield board


@pytest.fixture(scope="session", params=["1.25", "1.26"])
def stock(request):
    """MicroPython for unix without the engine."""
    if request.param == "1.25":
        made("unix-stock", MPY_RELEASE="")
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
    """The trajectories of the user module, by format."""
    user_module = ROOT / "build" / "unix" / "micropython"
    return {
        kind: json.loads(run(user_module, TRAJECTORY, f"{name}.tinc"))
        for kind, name in GOLDEN.items()
    }


def test_training_is_the_golden_one(expected):
    golden = json.loads((VECTORS / "golden_q8.json").read_text())
    assert expected["q8"][0] == ["training", golden["training_crc32"], []]


def test_stock_has_no_engine(stock, module, tmp_path):
    script = tmp_path / "which.py"
    script.write_text("import _tinyinc; print(_tinyinc.__file__)")
    folder = module("x64")
    assert run(stock, script, folders=[folder]) == f"{folder}/_tinyinc.mpy\n"
    with pytest.raises(AssertionError, match="no module named '_tinyinc'"):
        run(stock, script)


@pytest.mark.parametrize("script", ["api", "q8", "bad_input", "allocation"])
def test_script(stock, module, script, tmp_path):
    path = ROOT / "tests" / "micro" / f"{script}.py"
    assert run(stock, path, tmp_path, folders=[module("x64")]).endswith("PASS\n")


@pytest.mark.parametrize("kind", GOLDEN)
def test_same_trajectory(kind, stock, module, expected):
    assert len(expected[kind]) > 50
    folders = [module("x64")]
    assert (
        json.loads(run(stock, TRAJECTORY, f"{GOLDEN[kind]}.tinc", folders=folders))
        == (expected[kind])
    )


@pytest.mark.parametrize(("board", "architecture"), EMULATED)
def test_same_trajectory_on_a_board(board, architecture, module, expected):
    with board_with(board, module(architecture)) as there:
        for kind, name in GOLDEN.items():
            if kind == "f32" and architecture in INTEGERS_ONLY:
                with pytest.raises(OSError, match="ValueError: .*format"):
                    there.run(TRAJECTORY.read_text())
                continue
            script = TRAJECTORY.read_text().replace("golden.tinc", f"{name}.tinc")
            assert json.loads(there.run(script)) == expected[kind]


@pytest.mark.parametrize(("board", "architecture"), REFUSED)
def test_a_board_refuses_a_module_for_another(board, architecture, module):
    refusal = pytest.raises(OSError, match="ValueError: incompatible .mpy arch")
    with board_with(board, module(architecture)) as there, refusal:
        there.run("import _tinyinc")


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_size(module, architecture):
    folder = module(architecture)
    content = (folder / "_tinyinc.mpy").read_bytes()
    assert len(content) <= ARCHITECTURES[architecture][1]
    assert (folder.parent / f"_tinyinc-{architecture}.mpy").read_bytes() == content
    assert str(ROOT).encode() not in content


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_header(module, architecture):
    """What firmware looks at before it loads a file: ABI 6.3, and the architecture."""
    content = (module(architecture) / "_tinyinc.mpy").read_bytes()
    assert content[:2] == b"M\x06"
    assert (content[2] & 3, content[2] >> 2) == (3, NUMBERS[architecture])


def test_size_of_integers_alone():
    """Of the core as it is compiled there, which is how the emulated core is measured, too."""
    if shutil.which(bench_engine.GCC) is None:
        pytest.skip(f"needs {bench_engine.GCC}")
    machine = next(m for m in bench_engine.MACHINES if m.architecture == "armv6m")
    assert bench_engine.code_bytes(machine, ["-DTINYINC_F32=0"]) <= MOST_TEXT


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
