"""Boards on the desktop: the device program on MicroPython's unix port, or the same package here.

Both take the requests of micro/examples/learn_stream.py, one sample at a time.
"""

from __future__ import annotations

import os
import subprocess
from abc import ABC, abstractmethod
from array import array
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import tinyinc
from tinyinc_host.pretrain import typecode

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = ROOT / "micro" / "examples" / "learn_stream.py"
BINARY = ROOT / "build" / "unix" / "micropython"


class BoardError(OSError):
    """The board refused a request, or stopped."""


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
        if not BINARY.is_file():
            raise FileNotFoundError(f"'{BINARY}' is not built: run `make unix`")
        self.process = subprocess.Popen(
            [BINARY, PROGRAM, image, typecode(np.empty(0, kind))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=os.environ | {"MICROPYPATH": str(ROOT / "micro")},
        )
        self._answer("ready")

    def learn(self, sample: np.ndarray, label: str) -> Lesson:
        self._send(b"L" + _text(label) + sample.tobytes())
        predicted, loss, skipped, forward, backward = self._answer("learned")
        return Lesson(predicted, float(loss), skipped == "1", int(forward), int(backward))

    def predict(self, sample: np.ndarray) -> str:
        self._send(b"P" + sample.tobytes())
        return self._answer("predicted")[0]

    def stats(self) -> Stats:
        self._send(b"S")
        return Stats(*map(int, self._answer("stats")))

    def save(self, path: Path) -> None:
        self._send(b"W" + _text(str(path)))
        self._answer("saved")

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.stdin.close()  # the end of the stream ends the program
            self.process.wait()
        self.process.stdout.close()

    def _send(self, request: bytes) -> None:
        try:
            self.process.stdin.write(request)
            self.process.stdin.flush()
        except BrokenPipeError:
            raise BoardError(f"the device program stopped: {self._last_words('')}") from None

    def _answer(self, expected: str) -> list[str]:
        line = self.process.stdout.readline().decode(errors="replace").rstrip("\n")
        kind, *fields = line.split("\t")
        if kind == "error":
            raise BoardError(f"the board refused: {fields[0]}")
        if kind != expected:
            raise BoardError(f"the device program stopped: {self._last_words(line)}")
        return fields

    def _last_words(self, line: str) -> str:
        """The last line printed: of a traceback, the one that says what happened."""
        self.process.stdin.close()
        rest = self.process.stdout.read().decode(errors="replace")
        lines = f"{line}\n{rest}".strip().splitlines()
        return lines[-1] if lines else f"exit code {self.process.wait()}"


ENGINES: dict[str, type[Board]] = {"unix": UnixPort, "desktop": Desktop}


def board(engine: str, image: Path, kind: np.dtype) -> Board:
    """Start a board of that kind on an image; kind is the type of the raw samples' values."""
    if engine not in ENGINES:
        raise ValueError(f"unknown engine '{engine}'; known: {', '.join(ENGINES)}")
    if not image.is_file():
        raise FileNotFoundError(f"there is no image '{image}'")
    return ENGINES[engine](image, kind)


def _text(text: str) -> bytes:
    encoded = text.encode()
    return bytes([len(encoded)]) + encoded
