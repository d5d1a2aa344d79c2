"""Building firmware: the libraries that a port needs, UF2, and what is said when something is
missing."""

import os
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import module_at

ROOT = Path(__file__).parent.parent.parent
BOARDS = ROOT / "boards"


def module(name):
    return module_at(BOARDS / f"{name}.py")


@pytest.fixture
def libraries(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(BOARDS)
    monkeypatch.delitem(sys.modules, "micropython", raising=False)
    libraries = module("libraries")
    monkeypatch.setattr(libraries.micropython, "ROOT", tmp_path)
    (tmp_path / "build").mkdir()
    return libraries


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """A MicroPython source tree without libraries."""
    tree = tmp_path / "tree"
    (tree / "py").mkdir(parents=True)
    lines = [f"#define MICROPY_VERSION_{name} 25\n" for name in ("MINOR", "MICRO")]
    (tree / "py" / "mpconfig.h").write_text("#define MICROPY_VERSION_MAJOR 1\n" + "".join(lines))
    monkeypatch.setenv("MPY_DIR", str(tree))
    return tree


def fill(libraries, tree):
    for name, file in libraries.LIBRARIES["rp2"].items():
        path = tree / name / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_a_whole_tree_is_used_as_it_is(libraries, tree, capsys):
    fill(libraries, tree)
    assert libraries.main(["RPI_PICO"]) == 0
    assert capsys.readouterr() == (f"{tree}\n", "")


def test_another_tree_is_copied_and_filled(libraries, tree, tmp_path, capsys):
    def unreachable(copy, port):
        raise libraries.NoTree("no answer")

    calls = []

    def packages(copy, port):
        calls.append(port)
        fill(libraries, copy)

    libraries.WAYS = {"first": unreachable, "half": lambda copy, port: None, "second": packages}
    for _ in range(2):  # the second time it is there
        assert libraries.main(["RPI_PICO2"]) == 0
        assert capsys.readouterr().out == f"{tmp_path / 'build' / 'micropython-rp2'}\n"
    assert calls == ["rp2"]
    assert not (tree / "lib").exists()


def test_no_library_to_be_had(libraries, tree, capsys):
    def unreachable(copy, port):
        raise libraries.NoTree("no answer")

    libraries.WAYS = {"first": unreachable, "second": lambda copy, port: None}
    assert libraries.main(["RPI_PICO"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    last = captured.err.splitlines()[-1]
    assert "first: no answer; second: no lib/pico-sdk, lib/tinyusb" in last
    assert "set MPY_DIR to a MicroPython source tree with its submodules" in last


@pytest.mark.parametrize("names", [[], ["ARDUINO"], ["RPI_PICO", "RPI_PICO2"]])
def test_unknown_board(libraries, names, capsys):
    assert libraries.main(names) == 2
    assert "expected one of RPI_PICO, RPI_PICO2" in capsys.readouterr().err


def test_uf2():
    uf2 = module("uf2")
    content = bytes(range(256)) * 2 + b"rest"
    blocks = uf2.convert(content, uf2.FAMILIES["RPI_PICO"])
    assert len(blocks) == 3 * 512
    payload = b""
    for number in range(3):
        fields = struct.unpack_from("<8I476sI", blocks, 512 * number)
        assert fields[:3] == (0x0A324655, 0x9E5D5157, 0x2000)
        assert fields[3:8] == (0x10000000 + 256 * number, 256, number, 3, 0xE48BFF56)
        assert fields[9] == 0x0AB16F30
        payload += fields[8][:256]
    assert payload == content + b"\xff" * 252


def test_uf2_of_an_unknown_board(capsys):
    assert module("uf2").main(["ESP32_GENERIC", "a", "b"]) == 2
    assert "BOARD is one of RPI_PICO, RPI_PICO2" in capsys.readouterr().err


def module_boards():
    """Folders that are boards of a port with CMake."""
    return [path.parent.name for path in BOARDS.glob("*/mpconfigboard.cmake")]


def test_every_board_has_its_lines_and_its_page(libraries):
    assert sorted(libraries.PORTS) == sorted(module_boards())
    pico = [name for name, port in libraries.PORTS.items() if port == "rp2"]
    assert sorted(module("uf2").FAMILIES) == sorted(pico)
    for name in libraries.PORTS:
        page = (BOARDS / name / "README.md").read_text()
        for part in ("## What fits", "## Known limits", "tinyinc flash", "tinyinc install"):
            assert part in page
        assert (BOARDS / name / "manifest.py").is_file()


def test_libraries_of_esp32_are_not_taken_from_debian(libraries, tree, capsys):
    libraries.WAYS = {"Debian's packages": libraries.by_debian}
    assert libraries.main(["ESP32_GENERIC"]) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert "Debian's packages: there are none for port esp32" in last


def make(tmp_path, *arguments, **environment):
    return subprocess.run(
        ["make", "--no-print-directory", "-C", BOARDS, f"MPY_DIR={tmp_path}", *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_make_names_the_boards_that_there_are(tmp_path):
    done = make(tmp_path, "BOARD=VAX")
    assert done.returncode == 2
    assert "there is no board 'VAX', expected one of: " in done.stderr
    named = done.stderr.partition("expected one of: ")[2].partition(".  Stop")[0].split()
    assert sorted(named) == sorted(module_boards())


def test_make_names_the_packages_that_are_missing(tmp_path):
    for program in ("sh", "make", "awk", "gcc"):
        (tmp_path / program).symlink_to(shutil.which(program))
    done = make(tmp_path, PATH=str(tmp_path))
    assert done.returncode == 2
    assert "needs what is not installed: arm-none-eabi-g++ cmake newlib" in done.stderr
    assert "sudo apt-get install cmake gcc gcc-arm-none-eabi" in done.stderr
