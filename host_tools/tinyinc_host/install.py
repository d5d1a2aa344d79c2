"""Puts TinyInc on a board that runs MicroPython: the package and the native module that fits.

The new version is copied beside the old one, checked byte for byte, and has to pass a self-test on
the board before one rename puts it in force. Whenever that is interrupted, by cable or power, the
board has the old version or the new one. For in sys.path the folder with `lib` comes before `lib`:

    lib/tinyinc.new/tinyinc -> /tinyinc       the new version is in force
    remove lib/tinyinc                        which is hidden by now
    /tinyinc -> lib/tinyinc

and an install that finds /tinyinc begins with the last two.
"""

from __future__ import annotations

import ast
import contextlib
import io
import math
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import tinyinc
from tinyinc_host import package, self_test
from tinyinc_host.board import Board, BoardError, Report, ScriptError, explained, printable
from tinyinc_host.package import ARCHITECTURES, MODULE_ARCHITECTURES, Module

OLDEST = (1, 24)  # earlier firmware can collect a native module's own objects
WORKING_BYTES = 16 * 1024  # RAM that a small network takes, on top of what is loaded
TESTED = {"inputs": 64, "classes": 10, "hidden": (32,), "range": (0, 16), "memory": 8}
SELF_TEST_PATIENCE = 120.0  # seconds
LOSS_TOLERANCE = 0.01  # of float32, whose last bits may differ

PROBE = """
import gc
gc.collect()
_free = gc.mem_free()
import os, sys
def _frozen(name):
    try:
        module = __import__(name)
        return getattr(module, "__version__", "")
    except ImportError:
        return None
def _space():
    try:
        s = os.statvfs(_lib or "/")
    except OSError:
        s = os.statvfs("/")
    return s[1], s[1] * s[4]
def _files(folder):
    try:
        return [entry[0] for entry in os.ilistdir(folder)]
    except OSError:
        return []
def _foreign():
    names = _files(_root or "/")
    found = [_root + "/" + name for name in ("tinyinc.py", "tinyinc.mpy") if name in names]
    if "tinyinc" in names and not [n for n in _files(_root + "/tinyinc") if n[:9] == "__init__."]:
        found.append(_root + "/tinyinc")
    for folder in _root + "/tinyinc", _lib + "/tinyinc":
        for name in _files(folder):
            if name.rpartition(".")[2] not in ("py", "mpy") and name not in ("pure", "__pycache__"):
                found.append(folder + "/" + name)
    return found
_i = sys.implementation
_path = sys.path[:]
_lib = ""
for _p in _path:
    if _p.endswith("/lib") and not _p.startswith("/rom") and not _lib:
        _lib = _p
sys.path[:] = [".frozen"]
_engine = _frozen("_tinyinc")
_package = _frozen("tinyinc")
sys.path[:] = _path
_root = _lib[:-4]
_mpy = getattr(_i, "_mpy", 0)
print((_i.name, tuple(_i.version[:3]), getattr(_i, "_machine", ""), _mpy, _free,
    _engine is not None, _package, _path, os.getcwd(), _lib, _space(),
    _foreign()[:9]))
"""

# What the scripts below have in common. ROOT/tinyinc, where there is one, is in force.
FILES = """
import os
LIB = {lib!r}
NEW = LIB + "/tinyinc.new"
INSTALLED = LIB + "/tinyinc"
SHADOW = LIB[:-3] + "tinyinc"
def exists(path):
    try:
        return os.stat(path)
    except OSError:
        return None
def remove(path):
    found = exists(path)
    if not found:
        return
    if found[0] & 0x4000:
        for entry in list(os.ilistdir(path)):
            remove(path + "/" + entry[0])
        os.rmdir(path)
    else:
        os.remove(path)
def same(a, b):
    if not (exists(a) and exists(b)):
        return False
    open(a + "/same", "w").close()
    found = exists(b + "/same")
    os.remove(a + "/same")
    return found is not None
def settle():
    if exists(SHADOW):
        remove(INSTALLED)
        os.rename(SHADOW, INSTALLED)
"""


# FAT writes a folder's new name before it removes the old one; to remove either folder would take
# the other's files.
DOUBLE = """
folders = INSTALLED, SHADOW, NEW + "/tinyinc"
print(any(same(a, b) for a in folders for b in folders if a < b))
"""


@dataclass(frozen=True)
class Facts:
    """What a board says of itself."""

    name: str
    version: tuple[int, int, int]
    machine: str
    architecture: str
    abi: tuple[int, int]
    memory_free: int
    has_engine: bool  # _tinyinc is in the firmware
    frozen_package: str | None  # the version of a tinyinc that is in the firmware
    path: list[str]
    folder: str
    lib: str
    block_bytes: int
    files_free: int
    foreign: list[str]  # what is in the package's folder, or hides it, and is not the package

    def __str__(self) -> str:
        version = ".".join(map(str, self.version))
        return (
            f"{self.machine or 'a board'}, MicroPython {version}, {self.architecture}, "
            f"ABI {self.abi[0]}.{self.abi[1]}, {self.memory_free // 1024} KB of memory and "
            f"{self.files_free // 1024} KB of files free"
        )


@dataclass(frozen=True)
class Tested:
    """What the self-test said of one number format."""

    format: str
    crc: int
    loss: float
    microseconds: int

    def __str__(self) -> str:
        return f"{self.format} right, {self.microseconds / 1000:.2f} ms per step"


@dataclass(frozen=True)
class Installed:
    facts: Facts
    module: Module | None  # None: the engine is in the firmware
    copied: bool  # False: the package is in the firmware
    tested: list[Tested]


def probe(board: Board) -> Facts:
    """Ask a board, just restarted, what it is."""
    try:
        said = board.ask(PROBE)
    except ScriptError as error:
        raise BoardError(f"the board cannot be asked what it is: {error}") from None
    try:
        (name, version, machine, mpy, memory, engine, frozen, path, folder, lib, space, foreign) = (
            said
        )
        return Facts(
            printable(name),
            (int(version[0]), int(version[1]), int(version[2])),
            printable(machine),
            ARCHITECTURES[number] if (number := mpy >> 10 & 15) < len(ARCHITECTURES) else "unknown",
            (mpy & 255, mpy >> 8 & 3),
            int(memory),
            bool(engine),
            None if frozen is None else printable(frozen),
            [str(part) for part in path],
            str(folder),
            str(lib),
            int(space[0]),
            int(space[1]),
            [printable(part) for part in foreign],
        )
    except (TypeError, ValueError, IndexError, AttributeError):
        raise BoardError(f"the board's answer makes no sense: {printable(str(said))}") from None


def check_firmware(facts: Facts) -> None:
    """That it is a MicroPython which TinyInc runs on."""
    if facts.name != "micropython":
        raise BoardError(f"the board runs {facts.name}, expected MicroPython")
    if facts.version[:2] < OLDEST:
        raise BoardError(
            f"the board has MicroPython {'.'.join(map(str, facts.version))}, expected "
            f"{OLDEST[0]}.{OLDEST[1]} or newer: flash a newer one first"
        )


def fitting(facts: Facts) -> list[str]:
    """Architectures of native modules that run on a board, the best first."""
    here = facts.architecture
    if "ESP32S2" in facts.machine.replace("-", "").upper():
        raise BoardError(
            "no native module fits an ESP32-S2: it has no FPU, and the one for xtensawin uses it"
        )
    arm = ["armv7m", "armv7emsp", "armv7emdp"]
    if here == "armv7em" or (here in arm and "RP2350" in facts.machine):
        return ["armv7m"]  # RP2350: its firmware's ABI breaks modules that use the FPU
    if here in arm:
        return arm[arm.index(here) :: -1]
    if here in MODULE_ARCHITECTURES:
        return [here]
    if here == "none":
        raise BoardError("this firmware loads no native modules: flash one that has TinyInc in it")
    raise BoardError(
        f"no native module fits a board of {here}; there are {', '.join(MODULE_ARCHITECTURES)}"
    )


def choose(facts: Facts, folder: Path) -> Module:
    """The best native module in a folder that runs on a board."""
    wanted = fitting(facts)
    there = [name for name in wanted if (folder / f"_tinyinc-{name}.mpy").is_file()]
    module = package.read_module((there or wanted)[0], folder)
    if module.abi != facts.abi:
        raise BoardError(
            "the native module has ABI {}.{}, the board {}.{}: another MicroPython is needed on "
            "the board, or a module built with its source tree".format(*module.abi, *facts.abi)
        )
    return module


def check_place(facts: Facts) -> None:
    """That there is a lib folder to import from, and that nothing is in the way."""
    root = facts.lib[:-4]
    before = facts.path[: facts.path.index(facts.lib)] if facts.lib else []
    if not facts.lib:
        raise BoardError(f"the board's sys.path has no folder 'lib': {printable(str(facts.path))}")
    if root not in before and not ("" in before and facts.folder == (root or "/")):
        raise BoardError(
            f"'{root or '/'}' is not before '{facts.lib}' in the board's sys.path: "
            f"{printable(str(facts.path))}"
        )
    if facts.foreign:
        raise BoardError(
            f"in the way on the board, and not TinyInc's: {', '.join(facts.foreign)}; move or "
            "remove it first"
        )


def check_room(facts: Facts, files: dict[str, bytes]) -> None:
    """That it fits, with the old version still there."""
    code = sum(len(content) for name, content in files.items() if name.endswith(".mpy"))
    if facts.memory_free < code + WORKING_BYTES:
        raise BoardError(
            f"too little memory: {facts.memory_free} bytes are free, TinyInc needs about "
            f"{code + WORKING_BYTES}"
        )
    folders = 4  # two new ones, of up to two blocks each
    blocks = folders + sum(math.ceil(len(c) / facts.block_bytes) for c in files.values())
    if facts.files_free < blocks * facts.block_bytes:
        raise BoardError(
            f"too little room for files: {facts.files_free} bytes are free, needed are "
            f"{blocks * facts.block_bytes} beside what is there"
        )


def test_images(formats: list[str]) -> dict[str, bytes]:
    """Networks for the self-test."""
    images = {}
    with tempfile.TemporaryDirectory() as folder:
        for kind in formats:
            path = Path(folder) / f"{kind}.tinc"
            tinyinc.create(format=kind, **TESTED).save(str(path))
            images[path.name] = path.read_bytes()
    return images


def expected_of(image: bytes) -> Tested:
    """What the self-test gives on the desktop."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "test.tinc"
        path.write_bytes(image)
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            self_test.self_test(str(path))
    return Tested(*ast.literal_eval(said.getvalue()))


def run_self_test(board: Board, folder: str, images: dict[str, bytes]) -> list[Tested]:
    """Learn a few samples on the board and compare with the desktop. OSError when it is wrong."""
    source = Path(self_test.__file__).read_text()
    try:
        board.run(f"import sys\nsys.path.insert(0, {folder!r})\n" + source)
        return [
            compared(board.ask(f"self_test({folder + '/' + name!r})", SELF_TEST_PATIENCE), image)
            for name, image in images.items()
        ]
    except ScriptError as error:
        raise BoardError(f"the self-test failed: {explained(error)}") from None


def compared(said: object, image: bytes) -> Tested:
    try:
        tested = Tested(str(said[0]), int(said[1]), float(said[2]), int(said[3]))
    except (TypeError, ValueError, IndexError):
        raise BoardError(f"the board's answer makes no sense: {printable(str(said))}") from None
    expected = expected_of(image)
    same = tested.crc == expected.crc
    if tested.format == "f32":
        same = abs(tested.loss - expected.loss) <= LOSS_TOLERANCE * expected.loss
    if tested.format != expected.format or not same:
        raise BoardError(
            f"the self-test failed: the board's {expected.format} engine learned something else "
            "than the desktop's; do both come from the same source? "
            f"(CRC {tested.crc:08x}, expected {expected.crc:08x}; "
            f"loss {tested.loss:.4f}, expected {expected.loss:.4f})"
        )
    return tested


class Installation:
    """The steps on the board, and in what state it is, for messages."""

    def __init__(self, board: Board, facts: Facts) -> None:
        self.board = board
        self.prelude = FILES.format(lib=facts.lib)
        self.new = facts.lib + "/tinyinc.new"
        self.state = "what was installed before is as it was"

    def check_folders(self) -> None:
        self.board.run(self.prelude)
        if self.board.ask(DOUBLE):
            raise BoardError(
                "a power cut in an install has left a folder under two names on the board's FAT: "
                "save your files, format it, and install again"
            )

    def begin(self) -> None:
        """End an interrupted install; empty folders for the new version."""
        self.board.run("settle()\nremove(NEW)", 60.0)
        self.board.run("if not exists(LIB):\n    os.mkdir(LIB)\nos.mkdir(NEW)")
        self.board.run("os.mkdir(NEW + '/tinyinc')")

    def copy(self, files: dict[str, bytes], report: Report) -> None:
        """All files, then their CRCs as the board reads them back."""
        files = {f"{self.new}/{name}": content for name, content in files.items()}
        for path, content in files.items():
            self.board.put(path, content, report)
        self.board.verify(files)

    def commit(self) -> None:
        """The new version is in force; then the rest is put in order."""
        self.board.restart()
        self.board.run(self.prelude)
        # In one script, which a pulled cable does not stop.
        self.state = "the board has the old version or the new one: run the command again"
        self.board.run("settle()\nos.rename(NEW + '/tinyinc', SHADOW)\nsettle()\nremove(NEW)", 60.0)
        self.state = "the new version is installed"

    def undo(self) -> None:
        with contextlib.suppress(BoardError):
            self.board.restart()
            self.board.run(self.prelude)
            self.board.run("remove(NEW)", 60.0)


def install(
    board: Board,
    modules: Path = package.MODULES,
    progress: Callable[[str, int], Report] = lambda *_: lambda _: None,
    tell: Callable[[Facts], None] = lambda _: None,
) -> Installed:
    """Put TinyInc on a board. progress(what, bytes) gives the function to report to; tell() gets
    what the board is. BoardError: it does not fit or did not work; the text says in which state the
    board is."""
    facts = probe(board)
    tell(facts)
    check_firmware(facts)
    if facts.frozen_package is not None:
        return test_frozen(board, facts)
    module = None if facts.has_engine else choose(facts, modules)
    check_place(facts)
    files = package.compile_package(facts.abi[0])
    if module:
        files[package.ENGINE] = module.content
    images = test_images(formats_of(module))
    check_room(facts, files | images)

    steps = Installation(board, facts)
    try:
        steps.check_folders()
        try:
            steps.begin()
            everything = files | images
            steps.copy(everything, progress("copying", sum(map(len, everything.values()))))
            board.restart()
            tested = run_self_test(board, steps.new, images)
            steps.commit()
        except ScriptError as error:
            steps.undo()
            raise BoardError(explained(error)) from None
        except BoardError:
            steps.undo()
            raise
    except BoardError as error:
        raise BoardError(f"{error}; {steps.state}") from None
    return Installed(facts, module, True, tested)


def formats_of(module: Module | None) -> list[str]:
    return ["q8"] if module and module.architecture == "armv6m" else ["q8", "f32"]


def test_frozen(board: Board, facts: Facts) -> Installed:
    """With all of it in the firmware there is nothing to install, but the test's network."""
    if not facts.has_engine:
        raise BoardError(
            "the package tinyinc is frozen into this firmware, but the engine is not: flash another"
        )
    images = test_images(["q8"])
    folder = facts.lib[:-3] if facts.lib else facts.folder
    name = f"{folder.rstrip('/')}/self_test.tinc"
    try:
        board.put(name, images["q8.tinc"])
        tested = run_self_test(board, folder.rstrip("/"), {"self_test.tinc": images["q8.tinc"]})
    finally:
        with contextlib.suppress(BoardError):
            board.run(f"import os\nos.remove({name!r})")
    return Installed(facts, None, False, tested)
