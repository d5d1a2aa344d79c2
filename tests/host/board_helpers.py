"""What the tests that talk to a simulated board share."""

import contextlib
import subprocess
import sys
import time
from pathlib import Path

from tinyinc_host.board import BoardError, connect

ROOT = Path(__file__).parent.parent.parent
sys.path.append(str(ROOT / "tests" / "boards"))

# A version is one that works when it learns.
WORKS = """
import tinyinc
net = tinyinc.create(inputs=4, classes=2, hidden=(4,), range=(0, 1), memory=2, format="q8")
for _ in range(20):
    net.learn((0, 0, 1, 1), "a")
    net.learn((1, 1, 0, 0), "b")
assert net.predict((1, 1, 0, 0)) == "b" and net.predict((0, 0, 1, 1)) == "a"
print(tinyinc.__version__, tinyinc.__file__)
"""


def make(*arguments):
    done = subprocess.run(
        ["make", "--no-print-directory", *arguments], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


def build_native():
    """The board's MicroPython, and the native module for it."""
    make("unix-stock")
    make("natmod", "ARCH=x64")


def command(*arguments):
    line = [sys.executable, "-m", "tinyinc_host", *map(str, arguments)]
    return subprocess.run(line, capture_output=True, text=True, timeout=100)


def refused(done, *words):
    """Exit code 2 and one line that holds these words."""
    assert done.returncode == 2, done.stdout + done.stderr
    assert done.stderr.startswith("tinyinc: ") and done.stderr.count("\n") == 1, done.stderr
    for word in words:
        assert word in done.stderr
    return True


@contextlib.contextmanager
def talking(board):
    """A simulated board's REPL. Where the board has just started a process, that process had this
    one's files for a moment, a lock on the port among them."""
    for attempt in range(100):
        try:
            there = connect(board.port)
            break
        except BoardError as error:
            if "busy" not in str(error) or attempt == 99:
                raise
            time.sleep(0.02)
    try:
        yield there
    finally:
        there.close()


def on(board, script):
    """What a script prints on a board that has just been restarted."""
    with talking(board) as there:
        return there.run(script).strip().replace("\r", "")


def files(board):
    return on(
        board,
        "import os\ndef show(path):\n"
        "    for name, kind, *_ in sorted(os.ilistdir(path)):\n"
        "        print(path + '/' + name)\n"
        "        if kind == 0x4000:\n"
        "            show(path + '/' + name)\n"
        "show('')",
    ).split("\n")
