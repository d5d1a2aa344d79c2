"""The host tools trust nothing that comes from outside: no code in data, no paths in archives, no
download without its hash, and no board that says what it should not."""

import ast
import io
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import module_at

import tinyinc
from tinyinc_host import cli, data, simulate

ROOT = Path(__file__).parent.parent.parent
PROGRAMS = sorted([*(ROOT / "host_tools").rglob("*.py"), *(ROOT / "boards").rglob("*.py")])
PROGRAMS = [path for path in PROGRAMS if "build" not in path.relative_to(ROOT).parts]


# ---- what no program does ----

CODE_IN_DATA = {"pickle", "cPickle", "marshal", "shelve", "dill", "joblib", "cloudpickle"}
RUNS_TEXT = {"eval", "exec", "compile", "__import__"}
UNSAFE_CALLS = {"os.system", "os.popen"}
UNSAFE_METHODS = {"extractall", "extract", "unpack_archive", "urlretrieve"}


def complaints(source):
    """What a program does that none should."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            names = [alias.name for alias in node.names] + [getattr(node, "module", None) or ""]
            found += [name for name in names if name.split(".")[0] in CODE_IN_DATA]
        if not isinstance(node, ast.Call):
            continue
        keywords = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
        if isinstance(node.func, ast.Name) and node.func.id in RUNS_TEXT:
            found.append(node.func.id)
        if isinstance(node.func, ast.Attribute):
            name = ast.unparse(node.func)
            if name in UNSAFE_CALLS or node.func.attr in UNSAFE_METHODS:
                found.append(name)
            if name in ("np.load", "numpy.load") and keywords.get("allow_pickle") != "False":
                found.append(name)
            if name == "torch.load" and keywords.get("weights_only") != "True":
                found.append(name)
        if keywords.get("shell", "False") != "False":
            found.append("shell")
    return found


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: str(path.relative_to(ROOT)))
def test_programs(path):
    assert complaints(path.read_text()) == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from marshal import loads",
        "eval('1')",
        "np.load(path)",
        "np.load(path, allow_pickle=True)",
        "subprocess.run('ls', shell=True)",
        "tarfile.open(path).extractall()",
        "os.system('ls')",
    ],
)
def test_the_search_finds_them(source):
    assert len(complaints(source)) == 1


# ---- files ----


class Exploit:
    """Writes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def test_pickles_are_not_opened(tmp_path, monkeypatch):
    trap = tmp_path / "trap"
    objects = np.array([Exploit(trap)] * 4, object)
    monkeypatch.setenv(data.FOLDER_VARIABLE, str(tmp_path))
    np.savez(tmp_path / "set.npz", X=objects, y=np.arange(4))
    np.savez(tmp_path / "few.npz", samples=objects, labels=np.arange(4), stands_for=1)
    np.save(tmp_path / "plain.npy", objects)
    (tmp_path / "plain.npy").rename(tmp_path / "plain.npz")
    for name in ("set", "plain"):
        with pytest.raises(ValueError, match="not a readable .npz"):
            data.load(name)
    for name in ("few", "plain"):
        with pytest.raises(ValueError, match="not what `tinyinc distill` writes"):
            cli.read_distilled(tmp_path / f"{name}.npz")
    assert not trap.exists()


@pytest.fixture
def micropython():
    """boards/micropython.py as a module."""
    return module_at(ROOT / "boards" / "micropython.py")


def test_a_malicious_archive(micropython, tmp_path):
    """Names that lead outside, links to where files then go, devices, set-uid programs."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "victim").write_text("unharmed")
    tarball = tmp_path / "source.tar"
    with tarfile.open(tarball, "w") as archive:

        def add(name, kind=tarfile.REGTYPE, target="", mode=0o644):
            member = tarfile.TarInfo(name)
            member.type, member.linkname, member.mode = kind, target, mode
            member.size = 4 if kind == tarfile.REGTYPE else 0
            archive.addfile(member, io.BytesIO(b"evil"))

        add("top/link", tarfile.SYMTYPE, str(outside))
        add("top/link/victim")
        add("top/hard", tarfile.LNKTYPE, str(outside / "victim"))
        add("top/pipe", tarfile.FIFOTYPE)
        add("top/device", tarfile.CHRTYPE)
        for name in ("../outside/victim", "top/../outside/victim", "top/a/../../outside/victim"):
            add(name)
        add(str(outside / "victim"))
        add("top/program", mode=0o6777)
        add("victim")
    tree = tmp_path / "tree"
    micropython.unpack(tarball, tree)
    assert (outside / "victim").read_text() == "unharmed"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["outside", "source.tar", "tree"]
    for path in tree.rglob("*"):
        assert path.is_dir() or (path.is_file() and not path.is_symlink()), path
        assert path.stat().st_mode & 0o7022 == 0, path
    assert not (tree / "hard").exists()


def test_a_tag_that_was_moved(micropython, tmp_path):
    """Another commit under the right name is refused."""
    origin = tmp_path / "origin"

    def git(*words):
        identity = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
        command = ["git", *identity, "-C", str(origin), *words]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    origin.mkdir()
    git("init", "--quiet")
    (origin / "file").write_text("evil")
    git("add", "file")
    git("commit", "--quiet", "-m", "evil")
    git("tag", micropython.TAG)
    micropython.GIT_URL = origin.as_uri()
    with pytest.raises(micropython.NoTree, match=f"expected {micropython.COMMIT}"):
        micropython.clone(tmp_path / "tree")
    micropython.COMMIT = git("rev-parse", "HEAD")
    micropython.clone(tmp_path / "other")
    assert (tmp_path / "other" / "file").read_text() == "evil"


def test_packages_are_checked_by_their_signature(micropython, monkeypatch, tmp_path):
    """apt gets Debian's own keys, and nothing that would let it go on without them."""
    commands = []

    def run(command, seconds, **environment):
        commands.append(" ".join(map(str, command)))
        (tmp_path / "apt" / "micropython_1.orig.tar.xz").touch()

    monkeypatch.setattr(micropython, "run", run)
    folder = tmp_path / "apt"
    apt = micropython.apt_at("http://mirror/debian", folder)
    micropython.fetch_source(apt, folder, "micropython")
    sources = (tmp_path / "apt" / "sources.list").read_text()
    assert f"[signed-by={micropython.DEBIAN_KEYRING}]" in sources
    assert len(commands) == 2
    for word in ("unauthenticated", "insecure", "trusted", "no-check"):
        assert word not in (sources + " ".join(commands)).lower()


# ---- boards ----

# What a hostile board does after it was started, as a shell script, and what is said about it.
READY = "printf 'ready\\t64\\n'; "
SILENT = "exec sleep 60"
BOARDS = {
    "says nothing": (SILENT, "gave no answer"),
    "ends": ("exit 3", "ready.*printed nothing"),
    "never ends a line": ("exec tr '\\0' x < /dev/zero", "4096 bytes"),
    "never ends": ("exec yes", "did not answer 'ready'"),
    "sends noise": ("exec head -c 100000 /dev/urandom", "device program"),
    "sends zeros": ("exec head -c 3000 /dev/zero", "device program"),
    "is ready for what": ("echo ready; " + SILENT, "did not answer 'ready': ready"),
    "is ready in words": ("printf 'ready\\tvery\\n'; " + SILENT, "did not answer 'ready'"),
    "controls the terminal": ("printf 'error\\t\\033[2J\\007\\n'", "refused: .\\[2J.$"),
    "refuses at length": ("printf 'error\\t%03000d\\n' 0", "refused: 0{200} ...$"),
    "prints a traceback": (
        "printf 'Traceback\\n  line 1\\nImportError: no module\\n'",
        "ImportError: no module$",
    ),
    "says nothing more": (READY + SILENT, "gave no answer|takes no request"),
    "answers something else": (READY + "echo saved; " + SILENT, "did not answer"),
    "lacks fields": (READY + "echo predicted; " + SILENT, "did not answer 'predicted'"),
    "has too many fields": (
        READY + "printf 'predicted\\ta\\tb\\n'; " + SILENT,
        "did not answer 'predicted'",
    ),
}


@pytest.fixture
def board(tmp_path, monkeypatch):
    """Starts a script in place of MicroPython."""
    monkeypatch.setattr(simulate, "PATIENCE", 0.5)
    monkeypatch.setattr(simulate, "LAST_PATIENCE", 0.3)

    def start(script, kind=np.uint8):
        program = tmp_path / "board"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        monkeypatch.setattr(simulate, "BINARY", program)
        return simulate.UnixPort(tmp_path / "image", np.dtype(kind))

    return start


@pytest.mark.parametrize("case", BOARDS)
def test_hostile_boards(board, case):
    script, words = BOARDS[case]
    start = time.perf_counter()
    with pytest.raises(simulate.BoardError, match=words) as caught, board(script) as device:
        device.predict(np.zeros(64, np.uint8))
    text = str(caught.value)
    assert text.isprintable() and len(text) < 300
    assert time.perf_counter() - start < 5


@pytest.mark.parametrize(
    "answer",
    [
        "learned\\ta\\tnan\\t0\\t1\\t1",
        "learned\\ta\\t1\\t2\\t1\\t1",
        "learned\\ta\\t1\\t0\\t-1\\t1",
        "learned\\ta\\t1\\t0\\t1",
        "learned\\ta\\tb\\tc\\td\\te",
        "stats\\t1\\t2\\t3\\t4",
    ],
)
def test_wrong_numbers(board, answer):
    with (
        pytest.raises(simulate.BoardError, match="did not answer"),
        board(f"{READY} printf '{answer}\\n'; {SILENT}") as device,
    ):
        if answer.startswith("learned"):
            device.learn(np.zeros(64, np.uint8), "a")
        else:
            device.stats()


def test_a_board_that_reads_nothing(board):
    """More than a pipe holds: it does not wait for ever to be rid of it."""
    with (
        pytest.raises(simulate.BoardError, match="takes no request"),
        board(READY + SILENT, np.float32) as device,
    ):
        device.predict(np.zeros(60000, np.float32))


def test_a_board_that_does_not_end(board):
    start = time.perf_counter()
    with board(READY + SILENT) as device:
        pass
    assert device.process.returncode is not None
    assert time.perf_counter() - start < 5


def test_the_command_says_it_on_one_line(board, tmp_path, monkeypatch, capsys):
    image = tmp_path / "net.tinc"
    tinyinc.create(inputs=64, classes=2).save(str(image))
    monkeypatch.setattr(sys, "argv", ["tinyinc", "simulate", str(image)])
    monkeypatch.setitem(simulate.ENGINES, "unix", lambda *_: board("printf 'error\\t\\033[2J\\n'"))
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert said == "tinyinc: the board refused: ?[2J\n"
