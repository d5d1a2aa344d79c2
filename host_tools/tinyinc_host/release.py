"""Writes build/release: for each architecture a folder with a package.json, for `mpremote mip`.

    python -m tinyinc_host.release
    mpremote mip install build/release/armv6m/package.json

Serve the folder by HTTP, and boards with a network install from there themselves.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import tinyinc
from tinyinc_host import cli, package

RELEASE = package.ROOT / "build" / "release"
SOURCES = package.SOURCE.parent / "package.json"  # as it is in the tree, for boards without module


def index(names: list[str]) -> str:
    """What mip reads: each file's path on the board and its address beside this one."""
    urls = ",\n    ".join(json.dumps([name, name]) for name in sorted(names))
    version = json.dumps(tinyinc.__version__)
    return f'{{\n  "urls": [\n    {urls}\n  ],\n  "deps": [],\n  "version": {version}\n}}\n'


def write(folder: Path, modules: Path) -> list[str]:
    """A folder for each architecture that has a module; their names."""
    architectures = [
        name
        for name in package.MODULE_ARCHITECTURES
        if (modules / f"_tinyinc-{name}.mpy").is_file()
    ]
    if not architectures:
        raise FileNotFoundError(
            f"there are no native modules in '{modules}': run `make natmod-all`"
        )
    shutil.rmtree(folder, ignore_errors=True)
    for name in architectures:
        module = package.read_module(name, modules)
        files = package.compile_package(module.abi[0]) | {package.ENGINE: module.content}
        for path, content in files.items():
            (folder / name / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / name / path).write_bytes(content)
        (folder / name / "package.json").write_text(index(list(files)))
    return architectures


def main() -> None:
    for name in write(RELEASE, package.MODULES):
        print(RELEASE / name / "package.json")
    SOURCES.write_text(index([path.as_posix() for path in package.sources(pure=True)]))


if __name__ == "__main__":
    cli.run(main)
