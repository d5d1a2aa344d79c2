"""Boards on the desktop: the device program on MicroPython's unix port, or the same package here.

Both take the requests of micro/examples/learn_stream.py, one sample at a time.

What a board sends is not trusted: answers are bounded in length and time, their fields are checked,
and nothing of them but printable text reaches the terminal.
"""

from __future__ import annotations

import math
import os
import select
import subprocess
import time
from abc import ABC, abstractmethod
from array import array
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import tinyinc
from tinyinc_host.board import BoardError, printable
from tinyinc_host.package import ROOT
from tinyinc_host.pretrain import typecode

PROGRAM = ROOT / "micro" / "examples" / "learn_stream.py"
BINARY = ROOT / "build" / "unix" / "micropython"

PATIENCE = 60.0  # seconds for an answer
LAST_PATIENCE = 2.0  # seconds for a program that has failed, or is asked to end
LONGEST_ANSWER = 4096  # bytes


@dataclass(frozen=True)
class Lesson:
    """What one learned sample cost; replay included."""

    predicted: str  # before the update
    loss: float
    skipped: bool
    macs: int  # all of them, the search for the nearest exemplar included
    backward_macs: int


@dataclass(frozen=True)
class Stats:
    image_bytes: int
    scratch_bytes: int
    dense_forward_macs: int  # of one step at the present size
    dense_backward_macs: int
    memory_count: int


class Board(ABC):
    """Something that learns from raw samples (a row of a dataset), as a context."""

    @abstractmethod
    def learn(self, sample: np.ndarray, label: str) -> Lesson: ...

    @abstractmethod
    def predict(self, sample: np.ndarray) -> str: ...

    @abstractmethod
    def stats(self) -> Stats: ...

    @abstractmethod
    def save(self, path: Path) -> None: ...

    def close(self) -> None:  # noqa: B027 (most boards have nothing to close)
        pass

    def __enter__(self) -> Board:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Desktop(Board):
    """The device package under CPython, on the same core."""

    def __init__(self, image: Path, kind: np.dtype) -> None:
        self.net = tinyinc.load(str(image))
        self.typecode = typecode(np.empty(0, kind))

    def learn(self, sample: np.ndarray, label: str) -> Lesson:
        step = self.net.learn(array(self.typecode, sample.tobytes()), label)
        if step.diverged:
            raise BoardError("the board refused: diverged: the learning rate may be too high")
        return Lesson(step.predicted, step.loss, step.skipped, step.macs, step.backward_macs)

    def predict(self, sample: np.ndarray) -> str:
        return self.net.predict(array(self.typecode, sample.tobytes()))

    def stats(self) -> Stats:
        net = self.net
        return Stats(
            net.image_bytes,
            net.scratch_bytes,
            net.dense_forward_macs,
            net.dense_backward_macs,
            net.memory.count,
        )

    def save(self, path: Path) -> None:
        self.net.save(str(path))


class UnixPort(Board):
    """The device program in a MicroPython process, fed through its standard input."""

    def __init__(self, image: Path, kind: np.dtype) -> None:
        self.process = subprocess.Popen(
            [BINARY, PROGRAM, image, typecode(np.empty(0, kind))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            bufsize=0,
            env=os.environ | {"MICROPYPATH": str(ROOT / "micro")},
        )
        self.received = b""
        os.set_blocking(self.process.stdin.fileno(), False)
        try:
            self._answer("ready", _count)
        except BoardError:
            self.close()
            raise

    def learn(self, sample: np.ndarray, label: str) -> Lesson:
        self._send(b"L" + _text(label) + sample.tobytes())
        return Lesson(*self._answer("learned", str, _finite, _flag, _count, _count))

    def predict(self, sample: np.ndarray) -> str:
        self._send(b"P" + sample.tobytes())
        return self._answer("predicted", str)[0]

    def stats(self) -> Stats:
        self._send(b"S")
        return Stats(*self._answer("stats", *[_count] * 5))

    def save(self, path: Path) -> None:
        self._send(b"W" + _text(str(path)))
        self._answer("saved")

    def close(self) -> None:
        self.process.stdin.close()  # the end of the stream ends the program
        try:
            self.process.wait(LAST_PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()

    def _send(self, request: bytes) -> None:
        end = time.monotonic() + PATIENCE
        pipe = self.process.stdin
        rest = memoryview(request)
        try:
            while rest:
                if not select.select([], [pipe], [], max(0.0, end - time.monotonic()))[1]:
                    raise self._failure(f"takes no request for {PATIENCE:g} s")
                rest = rest[pipe.write(rest) or 0 :]
        except BrokenPipeError:
            raise self._failure("stopped") from None

    def _answer(self, expected: str, *types: Callable[[str], object]) -> list:
        """The fields of the next line, converted; BoardError where they are not what they should
        be."""
        line = self._line()
        kind, *fields = line.split("\t")
        if kind == "error":
            raise BoardError(f"the board refused: {printable(' '.join(fields))}")
        try:
            if kind != expected or len(fields) != len(types):
                raise ValueError
            return [convert(field) for convert, field in zip(types, fields, strict=True)]
        except ValueError:
            raise self._failure(f"did not answer '{expected}'", line) from None

    def _line(self) -> str:
        end = time.monotonic() + PATIENCE
        while b"\n" not in self.received:
            if len(self.received) > LONGEST_ANSWER:
                raise self._failure(f"sent more than {LONGEST_ANSWER} bytes without an end of line")
            data = self._read(end)
            if data is None:
                raise self._failure(f"gave no answer for {PATIENCE:g} s")
            if not data:
                break
            self.received += data
        line, _, self.received = self.received.partition(b"\n")
        return line.decode(errors="replace")

    def _read(self, end: float) -> bytes | None:
        """Some bytes; none at the end of the stream, None when the time is over."""
        pipe = self.process.stdout
        if not select.select([pipe], [], [], max(0.0, end - time.monotonic()))[0]:
            return None
        return os.read(pipe.fileno(), LONGEST_ANSWER)

    def _failure(self, what: str, line: str = "") -> BoardError:
        """The error to raise, with the last line printed: of a traceback, the one that says what
        happened. The program is ended."""
        text = line.encode() + b"\n" + self.received
        self.process.stdin.close()
        end = time.monotonic() + LAST_PATIENCE
        while len(text) < 4 * LONGEST_ANSWER and (data := self._read(end)):
            text += data
        self.process.kill()
        lines = text.decode(errors="replace").strip().splitlines()
        last = printable(lines[-1]) if lines else "it printed nothing"
        return BoardError(f"the device program {what}: {last}")


def _finite(field: str) -> float:
    value = float(field)
    if not math.isfinite(value):
        raise ValueError
    return value


def _count(field: str) -> int:
    value = int(field)
    if value < 0:
        raise ValueError
    return value


def _flag(field: str) -> bool:
    if field not in ("0", "1"):
        raise ValueError
    return field == "1"


ENGINES: dict[str, type[Board]] = {"unix": UnixPort, "desktop": Desktop}


def check_engine(engine: str) -> None:
    """Whether there is such a kind of board."""
    if engine not in ENGINES:
        raise ValueError(f"unknown engine '{engine}'; known: {', '.join(ENGINES)}")
    if engine == "unix" and not BINARY.is_file():
        raise FileNotFoundError(f"'{BINARY}' is not built: run `make unix`")


def check(engine: str, image: Path) -> None:
    """Whether there is such a kind of board, and such a file."""
    check_engine(engine)
    if not image.is_file():
        raise FileNotFoundError(f"there is no image '{image}'")


def board(engine: str, image: Path, kind: np.dtype) -> Board:
    """Start a board of that kind on an image; kind is the type of the raw samples' values."""
    check(engine, image)
    return ENGINES[engine](image, kind)


def _text(text: str) -> bytes:
    encoded = text.encode()
    return bytes([len(encoded)]) + encoded
