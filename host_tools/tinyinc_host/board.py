"""A board on a serial port, run through its REPL by mpremote, or by ampy.

    with connect("/dev/ttyACM0") as board:
        print(board.run("print(1 + 1)"))

What a board sends is not trusted: answers are bounded in length and time. Whatever goes wrong is a
BoardError with a text of one line.
"""

from __future__ import annotations

import ast
import base64
import binascii
import contextlib
import errno
import io
import os
import struct
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator

try:
    from termios import error as TerminalError  # pyserial lets it through
except ImportError:  # Windows
    TerminalError = OSError

TOOLS = ("mpremote", "ampy")
PATIENCE = 10.0  # seconds of silence while a script runs
READ_PATIENCE = 2.0  # seconds for the port to give the next byte
MOST_OUTPUT = 64 * 1024  # bytes that a script may print
LONGEST_QUOTE = 200  # characters of a board's text in a message
CHUNK = 512  # bytes of a file in one script

CRC_PATIENCE = 60.0  # seconds to read all files

CRCS = """
import binascii
_part = bytearray(512)
for _path in {paths!r}:
    _crc = 0
    with open(_path, "rb") as _file:
        while True:
            _n = _file.readinto(_part)
            if not _n:
                break
            _crc = binascii.crc32(memoryview(_part)[:_n], _crc)
    print(_crc)
"""

Report = Callable[[int], None]  # bytes written since the last call


class BoardError(OSError):
    """No board, a board that went away, or one that cannot do what it is asked."""


class ScriptError(BoardError):
    """A script ended in an exception; `kind` is its name, `detail` its text."""

    def __init__(self, traceback: str) -> None:
        lines = traceback.strip().splitlines() or ["an exception"]
        last = printable(lines[-1])
        kind, _, self.detail = last.partition(": ")
        self.kind = kind.rpartition(".")[2]
        super().__init__(f"the board says {last}")


class Board(ABC):
    """A MicroPython that runs scripts and takes files."""

    def __init__(self, port: str) -> None:
        self.port = port

    @abstractmethod
    def run(self, script: str, patience: float | None = None) -> str:
        """What a script prints. Names stay defined until restart() with mpremote, not with ampy."""

    @abstractmethod
    def put(self, path: str, content: bytes, report: Report = lambda _: None) -> None:
        """Write a file."""

    @abstractmethod
    def restart(self) -> None:
        """A soft reset, after which boot.py has run and main.py has not."""

    @abstractmethod
    def close(self) -> None:
        """Let go of the board: it starts anew, main.py and all."""

    def ask(self, script: str, patience: float | None = None) -> object:
        """The Python literal that a script prints."""
        text = self.run(script, patience).strip()
        try:
            return ast.literal_eval(text)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            raise BoardError(f"the board's answer makes no sense: {printable(text)}") from None

    def verify(self, files: dict[str, bytes]) -> None:
        """That the board reads what was put there; by path."""
        said = self.run(CRCS.format(paths=list(files)), CRC_PATIENCE).split()
        for (path, content), crc in zip(files.items(), said + [""] * len(files)):
            if crc != str(binascii.crc32(content)):
                raise BoardError(f"'{path}' arrived damaged on the board")

    def lost(self, reason: object) -> BoardError:
        reason = printable(" ".join(str(reason).split()))
        return BoardError(f"the board at {self.port} does not answer any more ({reason})")


class MpremoteBoard(Board):
    """By mpremote's transport."""

    def __init__(self, port: str) -> None:
        from mpremote.transport import TransportError
        from mpremote.transport_serial import SerialTransport

        super().__init__(port)
        try:
            self.transport = SerialTransport(port, timeout=READ_PATIENCE)
        except (TransportError, OSError, TerminalError):
            raise BoardError(why_not_opened(port)) from None
        try:
            with self._talking():  # the cable may be pulled by now
                self.transport.serial.write_timeout = PATIENCE
            self.restart()
        except BoardError:
            self._close_port()
            raise BoardError(
                f"what is connected to {port} does not answer as MicroPython does: has it been "
                "flashed, and is this its port?"
            ) from None

    @contextlib.contextmanager
    def _talking(self) -> Iterator[None]:
        """Whatever mpremote raises, and prints, when a board is gone."""
        from mpremote.transport import TransportError

        try:
            with contextlib.redirect_stdout(io.StringIO()):
                yield
        except BoardError:
            raise
        except (TransportError, OSError, TerminalError, struct.error) as error:
            raise self.lost(error) from None

    def run(self, script: str, patience: float | None = None) -> str:
        printed = bytearray()

        def keep(data: bytes) -> None:
            printed.extend(data)
            if len(printed) > MOST_OUTPUT:
                raise BoardError(f"the board at {self.port} printed more than {MOST_OUTPUT} bytes")

        with self._talking():
            _, error = self.transport.exec_raw(
                script, timeout=patience or PATIENCE, data_consumer=keep
            )
        if error:
            raise ScriptError(error.decode(errors="replace"))
        return printed.rstrip(b"\x04").decode(errors="replace")

    def put(self, path: str, content: bytes, report: Report = lambda _: None) -> None:
        self.run(f"import binascii\n_file = open({path!r}, 'wb')")
        for at in range(0, len(content), CHUNK):
            part = content[at : at + CHUNK]
            self.run(f"_ = _file.write(binascii.a2b_base64({base64.b64encode(part)}))")
            report(len(part))
        self.run("_file.close()\ndel _file")

    def restart(self) -> None:
        with self._talking():
            self.transport.enter_raw_repl(soft_reset=True, timeout_overall=PATIENCE)

    def close(self) -> None:
        with contextlib.suppress(BoardError), self._talking():
            self.transport.exit_raw_repl()
            self.transport.serial.write(b"\x04")  # a soft reset
        self._close_port()

    def _close_port(self) -> None:
        try:
            self.transport.close()
        except OSError:  # on the way there, with a board that is gone
            self.transport.serial.close()


class AmpyBoard(Board):
    """By ampy, which does a soft reset before every script and file."""

    def __init__(self, port: str) -> None:
        try:
            from ampy.files import Files
            from ampy.pyboard import Pyboard, PyboardError
        except ImportError:
            raise BoardError("ampy is not installed: pip install adafruit-ampy") from None
        super().__init__(port)
        self.error = PyboardError
        try:
            self.pyboard = Pyboard(port)
        except PyboardError:
            raise BoardError(why_not_opened(port)) from None
        self.pyboard.serial.timeout = READ_PATIENCE
        self.pyboard.serial.write_timeout = PATIENCE
        self.files = Files(self.pyboard)
        self.restart()

    @contextlib.contextmanager
    def _talking(self) -> Iterator[None]:
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                yield
        except self.error as error:  # a BaseException
            if len(error.args) == 3:  # printed, and the traceback
                raise ScriptError(error.args[2].decode(errors="replace")) from None
            raise self.lost(error) from None
        except OSError as error:
            raise self.lost(error) from None

    def run(self, script: str, patience: float | None = None) -> str:
        with self._talking():
            self.pyboard.enter_raw_repl()
            printed = self.pyboard.exec_(script)
            self.pyboard.exit_raw_repl()
        return printed.decode(errors="replace")

    def put(self, path: str, content: bytes, report: Report = lambda _: None) -> None:
        with self._talking():
            self.files.put(path, content)
        report(len(content))

    def restart(self) -> None:
        self.run("pass")  # an empty script would be a soft reset

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.pyboard.serial.write(b"\r\x02\x04")
            self.pyboard.close()


def connect(port: str | None, tool: str = "mpremote") -> Board:
    """The board on a port, or the only one on USB."""
    if tool not in TOOLS:
        raise ValueError(f"unknown tool '{tool}'; known: {', '.join(TOOLS)}")
    port = port or only_port()
    return AmpyBoard(port) if tool == "ampy" else MpremoteBoard(port)


@contextlib.contextmanager
def connected(port: str | None, tool: str = "mpremote") -> Iterator[Board]:
    board = connect(port, tool)
    try:
        yield board
    finally:
        board.close()


def only_port() -> str:
    from serial.tools.list_ports import comports

    ports = [found.device for found in comports() if found.vid]
    if not ports:
        raise BoardError("no board is connected by USB; name its port with --port")
    if len(ports) > 1:
        raise BoardError(f"several ports: {', '.join(ports)}; choose one with --port")
    return ports[0]


def why_not_opened(port: str) -> str:
    """In one line, after a tool has failed to open a port without saying why."""
    import serial

    if os.name == "posix" and not os.path.exists(port):
        return f"there is no port {port}: is the board plugged in?"
    try:
        serial.Serial(port, exclusive=True).close()
    except TerminalError:
        return f"port {port} cannot be opened: it has just gone"
    except OSError as error:
        if error.errno in (errno.EBUSY, errno.EAGAIN):
            return f"port {port} is busy: another program has it open"
        if error.errno == errno.EACCES:
            return f"no permission for {port}: on Linux, add yourself to its group (dialout)"
        return f"port {port} cannot be opened: {' '.join(str(error).split())}"
    return f"port {port} could not be opened; now it can: try again"


def printable(text: str) -> str:
    """A board's text for a message: no control characters, not endless."""
    text = "".join(c if c.isprintable() else "?" for c in text[: LONGEST_QUOTE + 1])
    return text if len(text) <= LONGEST_QUOTE else text[:LONGEST_QUOTE] + " ..."


def explained(error: ScriptError) -> str:
    """An exception of the board in the words of a user."""
    if error.kind == "MemoryError":
        return f"too little memory on the board: {error.detail}"
    if error.kind == "OSError" and ("ENOSPC" in error.detail or error.detail == "28"):
        return "the board's file system is full"
    return str(error)


def repl(port: str | None) -> int:
    """A REPL on this terminal, until Ctrl-]; mpremote's exit code."""
    port = port or only_port()
    if os.name == "posix" and not os.path.exists(port):
        raise BoardError(why_not_opened(port))
    return subprocess.call([sys.executable, "-m", "mpremote", "connect", port, "repl"])
