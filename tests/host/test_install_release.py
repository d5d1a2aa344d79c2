"""Release folders: mpremote's package installer puts TinyInc on a simulated board from one, from a
folder and by HTTP, and what it put there works."""

import functools
import http.server
import json
import subprocess
import sys
import threading

import pytest

import tinyinc
from board_helpers import WORKS, build_native, on
from tinyinc_host import package, release

from simulated_board import SimulatedBoard  # isort: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    build_native()
    folder = tmp_path_factory.mktemp("release")
    assert "x64" in release.write(folder, package.MODULES)
    return folder


@pytest.fixture(scope="module")
def address(folder):
    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    handler = functools.partial(Handler, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def mip_install(board, what):
    line = [sys.executable, "-m", "mpremote", "connect", board.port, "mip", "install", what]
    done = subprocess.run(line, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("Done\n")


def engine(board):
    return on(board, "from tinyinc.engine import engine\nprint(engine.__name__)")


@pytest.mark.parametrize("path", ["/x64/package.json", "/x64/", "/x64"])
def test_from_a_server(tmp_path, address, path):
    with SimulatedBoard(tmp_path / "flash") as board:
        mip_install(board, address + path)
        assert on(board, WORKS) == f"{tinyinc.__version__} /lib/tinyinc/__init__.mpy"
        assert engine(board) == "tinyinc._tinyinc"


def test_from_a_folder(tmp_path, folder):
    with SimulatedBoard(tmp_path / "flash") as board:
        mip_install(board, str(folder / "x64" / "package.json"))
        assert on(board, WORKS) == f"{tinyinc.__version__} /lib/tinyinc/__init__.mpy"


def test_the_sources(tmp_path):
    """Without a native module, the engine in Python: in float32 alone."""
    with SimulatedBoard(tmp_path / "flash") as board:
        mip_install(board, str(release.SOURCES))
        said = on(board, WORKS.replace('"q8"', '"f32"'))
        assert said == f"{tinyinc.__version__} /lib/tinyinc/__init__.py"
        assert engine(board) == "tinyinc.pure"


def test_every_architecture(folder):
    for path in folder.iterdir():
        listed = json.loads((path / "package.json").read_text())
        assert listed["version"] == tinyinc.__version__
        names = {name for name, _ in listed["urls"]}
        assert names == {p.relative_to(path).as_posix() for p in path.rglob("*.mpy")}
        assert package.ENGINE in names and "tinyinc/__init__.mpy" in names
        assert package.read_module(path.name).content == (path / package.ENGINE).read_bytes()


def test_the_list_of_sources_is_up_to_date():
    """`python -m tinyinc_host.release` writes it."""
    expected = release.index([path.as_posix() for path in package.sources(pure=True)])
    assert release.SOURCES.read_text() == expected


def test_no_modules(tmp_path):
    with pytest.raises(FileNotFoundError, match="make natmod-all"):
        release.write(tmp_path / "release", tmp_path)


def test_mpy_cross_of_another_version():
    with pytest.raises(ValueError, match="of version 6, the board takes version 7"):
        package.compile_package(7)
