#!/usr/bin/env python3
"""Get LLVM with its Xtensa backend, for ESP32 and ESP32-S3, and print the folder that it is in.

It is Debian's, from the package mirror that this system already uses, and runs on an older system
as well: all libraries that it needs come with it. About 80 MB, kept in build/llvm, 400 MB.

Exit code 2 when it cannot be had; the message then says what to do.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from micropython import ROOT, from_debian, print_path, run

SUITE = "trixie"
VERSION = 22  # the first that compiles the engine for Xtensa
PACKAGES = [
    f"clang-{VERSION}",
    f"libclang-common-{VERSION}-dev",
    f"libclang-cpp{VERSION}",
    f"llvm-{VERSION}",
    f"libllvm{VERSION}",
    "picolibc-xtensa-lx106-elf",  # a C library's headers, which MicroPython's include
    *("libbsd0", "libc6", "libedit2", "libffi8", "libgcc-s1", "liblzma5", "libmd0", "libstdc++6"),
    *("libtinfo6", "libxml2", "libz3-4", "libzstd1", "zlib1g"),
]

TREE = ROOT / "build" / "llvm"
STAMP = ".tinyinc-llvm"  # written last: a tree without it was interrupted


def is_complete(tree: Path) -> bool:
    stamp = tree / STAMP
    return stamp.exists() and stamp.read_text(encoding="utf-8").split() == PACKAGES


def fetch(tree: Path) -> None:
    """Unpack Debian's packages into a folder, without installing them."""

    def get(apt: list[str], folder: Path) -> None:
        run([*apt, "download", *PACKAGES], 900)
        shutil.rmtree(tree, ignore_errors=True)
        for archive in sorted(folder.glob("*.deb")):
            run(["dpkg-deb", "--extract", str(archive), str(tree)], 120)

    from_debian(get, SUITE)
    (tree / STAMP).write_text("\n".join(PACKAGES), encoding="utf-8")


def complete_tree() -> Path:
    """The folder that it is in, fetched when it is not there."""
    if not is_complete(TREE):
        print(f"Getting LLVM {VERSION} for Xtensa from Debian's packages ...", file=sys.stderr)
        fetch(TREE)
    return TREE


def main() -> int:
    todo = "install Espressif's compiler, xtensa-esp32-elf-gcc"
    return print_path(complete_tree, "No compiler for Xtensa", todo)


if __name__ == "__main__":
    sys.exit(main())
