"""Getting MicroPython's source: what is given is checked, what is fetched is whole or nothing."""

import io
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from conftest import module_at

SCRIPT = Path(__file__).parent.parent.parent / "boards" / "micropython.py"
HEADER = """\
#define MICROPY_VERSION_MAJOR 1
#define MICROPY_VERSION_MINOR {minor}
#define MICROPY_VERSION_MICRO 7
"""


@pytest.fixture
def source(tmp_path):
    """boards/micropython.py as a module whose tree lies in a folder of the test's own."""
    module = module_at(SCRIPT)
    module.TREE = tmp_path / "micropython"
    module.WORK = tmp_path / "micropython.part"
    return module


def make_tree(folder, minor=25):
    (folder / "py").mkdir(parents=True)
    (folder / "py" / "mpconfig.h").write_text(HEADER.format(minor=minor))
    return folder


def run(**environment):
    return subprocess.run(
        [sys.executable, SCRIPT],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_given_tree(tmp_path):
    tree = make_tree(tmp_path / "tree")
    result = run(MPY_DIR=str(tree))
    assert (result.returncode, result.stdout) == (0, f"{tree}\n")
    assert result.stderr == f"MicroPython 1.25.7 from MPY_DIR: {tree}\n"


def test_unknown_release():
    result = run(MPY_DIR="", MPY_RELEASE="1.2")
    assert (result.returncode, result.stdout) == (2, "")
    assert "MPY_RELEASE is 1.2, expected one of 1.25, 1.26" in result.stderr


@pytest.mark.parametrize(
    ("minor", "reason"), [(None, "not a MicroPython source tree"), (23, "1.23.7, expected 1.24")]
)
def test_given_tree_is_checked(tmp_path, minor, reason):
    if minor:
        make_tree(tmp_path / "tree", minor)
    result = run(MPY_DIR=str(tmp_path / "tree"))
    assert result.returncode == 2
    assert result.stdout == ""
    assert reason in result.stderr
    assert "set MPY_DIR" in result.stderr
    assert result.stderr.count("\n") == 1


def test_the_next_source_is_tried(source, tmp_path, capsys):
    def unreachable(tree):
        make_tree(tree, 10)  # half of a tree is left behind
        raise source.NoTree("no answer")

    source.SOURCES = {"first": unreachable, "second": make_tree}
    assert source.find() == (source.TREE, "1.25.7", "second")
    assert "first" in capsys.readouterr().err
    source.SOURCES = {}
    assert source.find() == (source.TREE, "1.25.7", "second")  # kept
    assert os.listdir(tmp_path) == ["micropython"]


def test_all_sources_fail(source, tmp_path):
    source.SOURCES = {"first": source.version_of, "old": lambda tree: make_tree(tree, 9)}
    with pytest.raises(source.NoTree, match=r"first: .*not a MicroPython.*; old: .*1\.9\.7"):
        source.find()
    assert os.listdir(tmp_path) == []


def test_interrupted_tree_is_fetched_again(source):
    def interrupted(tree):
        make_tree(tree)
        raise KeyboardInterrupt

    source.SOURCES = {"first": interrupted}
    with pytest.raises(KeyboardInterrupt):
        source.find()
    assert source.WORK.exists()
    make_tree(source.TREE, 24)  # no stamp: someone stopped while it was copied
    source.SOURCES = {"second": make_tree}
    assert source.find()[1:] == ("1.25.7", "second")


def test_program_without_an_answer_is_ended(source):
    with pytest.raises(source.NoTree, match=r"sh did not answer within 0 s"):
        source.run(["sh", "-c", "sleep 60 & sleep 60"], 0.2)


def test_failing_program_gives_its_reason(source):
    with pytest.raises(source.NoTree, match="^the reason$"):
        source.run(["sh", "-c", "echo trying; echo the reason >&2; exit 3"], 10)
    with pytest.raises(source.NoTree, match="no-such-program is not installed"):
        source.run(["no-such-program"], 10)


def test_unpack_stays_inside(source, tmp_path):
    tarball = tmp_path / "source.tar"
    link = tarfile.TarInfo("top/link")
    link.type, link.linkname = tarfile.SYMTYPE, str(tmp_path)
    with tarfile.open(tarball, "w") as archive:
        archive.addfile(link)
        for name in ("top/py/a.c", "top/../../out.c", "/outside/b.c", "top/link/c.c"):
            member = tarfile.TarInfo(name)
            member.size = 3
            archive.addfile(member, io.BytesIO(b"abc"))
    source.unpack(tarball, tmp_path / "tree")
    files = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert files == {"source.tar", "tree/py/a.c", "tree/outside/b.c", "tree/link/c.c"}
    assert not (tmp_path / "tree" / "link").is_symlink()


def test_mirrors_of_this_system(source, tmp_path, monkeypatch):
    etc = tmp_path / "apt"
    (etc / "sources.list.d").mkdir(parents=True)
    (etc / "sources.list.d" / "debian.sources").write_text(
        "Types: deb\n# a comment\nURIs: http://one/debian/\nComponents: main contrib\n\n"
        "Types: deb\nURIs: http://one/debian-security\nComponents: main\n\n"
        "Enabled: no\nTypes: deb\nURIs: http://off/debian\nComponents: main\n"
    )
    (etc / "sources.list").write_text(
        "# deb http://comment/debian stable main\n"
        "deb [arch=amd64 signed-by=/a/key.gpg] http://two/debian stable main # here\n"
        "deb http://three/app stable nonfree\n"
    )
    monkeypatch.setattr(source, "APT", etc)
    assert source.debian_mirrors() == ["http://one/debian", "http://two/debian"]
