#!/usr/bin/env python3
"""Get a MicroPython source tree with the libraries that a board's firmware needs, and print its
path: libraries.py BOARD

The tree is that of micropython.py. Where it has the libraries, as a checkout with submodules, it
is used as it is. Else a copy is made in build/micropython-<port> and filled: by git, where the tree
is a clone, else with Debian's packages, which lack some of the firmware's modules; that is said.

Exit code 2 when there is no such tree; the message then says what to do.
"""

from __future__ import annotations

import shutil
import sys
import tarfile
from pathlib import Path

import micropython
from micropython import NoTree, fetch_source, from_debian, print_path, run, unpack

# A port's libraries, each with a file that it has when it is there.
LIBRARIES = {
    "rp2": {
        "lib/pico-sdk": "pico_sdk_init.cmake",
        "lib/tinyusb": "src/tusb.h",
        "lib/mbedtls": "include/mbedtls/ssl.h",
        "lib/micropython-lib": "README.md",
    },
    "esp32": {  # all else is part of ESP-IDF
        "lib/berkeley-db-1.xx": "README",
        "lib/tinyusb": "src/tusb.h",
        "lib/micropython-lib": "README.md",
    },
}
PORTS = {
    "RPI_PICO": "rp2",
    "RPI_PICO2": "rp2",
    "ESP32_GENERIC": "esp32",
    "ESP32_GENERIC_S3": "esp32",
    "ESP32_GENERIC_C3": "esp32",
}

# What Debian has of rp2's: binary packages that hold source text, and a source package.
DEBIAN_BINARIES = {"pico-sdk-source": "pico-sdk", "tinyusb-source": "tinyusb"}
DEBIAN_SOURCES = {"mbedtls": "mbedtls"}

# Modules of micropython-lib that the ports' own manifests ask for.
MANIFEST_MODULES = ("onewire", "ds18x20", "dht", "neopixel")

STAMP = ".tinyinc-libraries"  # written last; names the tree that was copied


def missing(tree: Path, port: str) -> list[str]:
    return [name for name, file in LIBRARIES[port].items() if not (tree / name / file).exists()]


def by_git(tree: Path, port: str) -> None:
    """Fetch the submodules at the commits that the tree names."""
    if not (tree / ".git").exists():
        raise NoTree("the tree is no git clone")
    command = [
        "git",
        "-C",
        str(tree),
        "-c",
        "http.lowSpeedLimit=1000",
        "-c",
        "http.lowSpeedTime=10",
    ]
    update = ["submodule", "--quiet", "update", "--init", "--depth=1"]
    run([*command, *update, *missing(tree, port)], 900, GIT_TERMINAL_PROMPT="0")


def by_debian(tree: Path, port: str) -> None:
    """Fetch Debian's packages, and stand in for the modules that none of them has."""
    if port != "rp2":
        raise NoTree(f"there are none for port {port}")

    def get(apt: list[str], folder: Path) -> None:
        for package, name in DEBIAN_BINARIES.items():
            run([*apt, "download", package], 300)
            (archive,) = folder.glob(f"{package}_*.deb")
            run(["dpkg-deb", "--extract", str(archive), str(folder / package)], 60)
            target = tree / "lib" / name
            shutil.rmtree(target, ignore_errors=True)
            shutil.move(folder / package / "usr" / "src" / name, target)
        for package, name in DEBIAN_SOURCES.items():
            unpack(fetch_source(apt, folder, package), tree / "lib" / name)

    from_debian(get)
    stand_in_for_modules(tree / "lib" / "micropython-lib")


def stand_in_for_modules(library: Path) -> None:
    """Empty packages, so that a port's own manifest can be included without micropython-lib."""
    for name in MANIFEST_MODULES:
        package = library / "micropython" / name
        package.mkdir(parents=True, exist_ok=True)
        (package / "manifest.py").write_text('metadata(version="0")\n', encoding="utf-8")
    text = "Stands in for micropython-lib: its modules are missing.\n"
    (library / "README.md").write_text(text, encoding="utf-8")
    names = ", ".join(MANIFEST_MODULES)
    print(f"Firmware will lack {names}: Debian has no micropython-lib", file=sys.stderr)


WAYS = {"git": by_git, "Debian's packages": by_debian}


def filled(source: Path, version: str, port: str) -> Path:
    """A copy of the tree with its libraries, in build/."""
    tree = micropython.ROOT / "build" / f"micropython-{port}"
    stamp = f"{source}\n{version}\n"
    if (tree / STAMP).exists() and (tree / STAMP).read_text(encoding="utf-8") == stamp:
        return tree
    shutil.rmtree(tree, ignore_errors=True)
    shutil.copytree(source, tree, symlinks=True)
    reasons = []
    for way, fill in WAYS.items():
        print(f"Getting libraries of port {port}: {way} ...", file=sys.stderr)
        try:
            fill(tree, port)
        except (NoTree, OSError, ValueError, tarfile.TarError) as error:
            reasons.append(f"{way}: {error}")
            continue
        lacking = missing(tree, port)
        if not lacking:
            (tree / STAMP).write_text(stamp, encoding="utf-8")
            return tree
        reasons.append(f"{way}: no {', '.join(lacking)}")
    raise NoTree("; ".join(reasons))


def tree_for(port: str) -> Path:
    """The tree to build from, which has the port's libraries."""
    tree, version, _ = micropython.find()
    return filled(tree, version, port) if missing(tree, port) else tree


def main(names: list[str]) -> int:
    if len(names) != 1 or names[0] not in PORTS:
        boards = ", ".join(PORTS)
        print(f"BOARD is {' '.join(names) or 'missing'}, expected one of {boards}", file=sys.stderr)
        return 2
    (name,) = names
    todo = "set MPY_DIR to a MicroPython source tree with its submodules, 1.24 or newer"
    return print_path(lambda: tree_for(PORTS[name]), f"No libraries for {name}", todo)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
