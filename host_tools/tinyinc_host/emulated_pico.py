"""A Raspberry Pi Pico in the RP2040 emulator, which runs the firmware of `make firmware`.

    with Pico() as pico:
        pico.put("/network.tinc", content)
        print(pico.run("import tinyinc; ..."))

The emulator is boards/emulators/pico.js. On the board, time.ticks_us() is the emulator's clock:
what passes between two readings is modelled time, which does not depend on the machine at hand.
"""

from __future__ import annotations

import base64
import contextlib
import os
import select
import subprocess
import tempfile
import tty
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

from tinyinc_host import package
from tinyinc_host.bench_engine import BUILD, SOURCE, missing_tools, rp2040js, run
from tinyinc_host.simulate import ROOT

FIRMWARE = ROOT / "build" / "firmware" / "RPI_PICO" / "firmware.uf2"
STOCK = ROOT / "build" / "firmware" / "RPI_PICO-stock" / "firmware.uf2"  # without the engine
BOOTROM = BUILD / "bootrom.bin"

SILENCE = 300  # seconds that a script may say nothing
LAST_WORDS = 30  # seconds for the emulator to end
CHUNK = 3072  # bytes of a file in one script


def lacking(firmware: Path = FIRMWARE) -> str:
    """What has to be done before a Pico can be emulated; empty when all is there."""
    tools = missing_tools("arm-none-eabi-gcc", "node", "npm")
    if tools:
        return f"not installed: {' '.join(tools)}"
    make = "make firmware STOCK=1" if firmware == STOCK else "make firmware"
    return "" if firmware.is_file() else f"no '{firmware}': run `{make}`"


def command(
    flash: Path | None = None, count: Path | None = None, firmware: Path = FIRMWARE
) -> list[str | Path]:
    """The emulator's command. What the board writes to flash is kept in `flash`, if given; `count`
    lists the code whose cycles are counted."""
    reason = lacking(firmware)
    if reason:
        raise FileNotFoundError(reason)
    run(["make", "--silent", "-C", SOURCE / "bootrom", f"BUILD={BUILD}"])
    options = [["--flash", flash] if flash else [], ["--count", count] if count else []]
    return ["node", SOURCE / "pico.js", *options[0], *options[1], BOOTROM, firmware]


def environment() -> dict[str, str]:
    return os.environ | {"NODE_PATH": str(rp2040js())}


@contextlib.contextmanager
def serial_port(flash: Path | None = None) -> Iterator[str]:
    """The path of a terminal behind which is a Pico, for programs that open serial ports."""
    near, far = os.openpty()
    tty.setraw(far)
    options = {"stdin": near, "stdout": near, "env": environment()}
    try:
        with subprocess.Popen(command(flash), **options) as emulator:
            try:
                yield os.ttyname(far)
            finally:
                emulator.terminate()
    finally:
        os.close(near)
        os.close(far)


class Pico:
    """with Pico() as pico: ... It is talked to through MicroPython's raw REPL."""

    def __init__(
        self, flash: Path | None = None, count: Path | None = None, firmware: Path = FIRMWARE
    ) -> None:
        self.errors = tempfile.TemporaryFile()  # noqa: SIM115 (closed in close())
        self.emulator = subprocess.Popen(
            command(flash, count, firmware),
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            bufsize=0,
        )
        try:
            self._write(b"\r\x03\x01")
            self._read(lambda said: said.endswith(b"raw REPL; CTRL-B to exit\r\n>"))
        except OSError:
            self.close()
            raise

    def __enter__(self) -> Pico:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the emulator; what the board wrote to flash is kept then."""
        self.emulator.stdin.close()
        try:
            self.emulator.wait(LAST_WORDS)
        except subprocess.TimeoutExpired:
            self.emulator.kill()
            self.emulator.wait()
        self.emulator.stdout.close()
        self.errors.close()

    def run(self, script: str) -> str:
        """What a script prints. OSError with its traceback when it raises."""
        self._write(script.encode() + b"\x04")
        said = self._read(lambda said: said.count(b"\x04") == 2 and said.endswith(b"\x04>"))
        printed, error, _ = said.removeprefix(b"OK").decode().split("\x04")
        if error:
            raise OSError(error.replace("\r\n", "\n"))
        return printed.replace("\r\n", "\n")

    def put(self, path: str, content: bytes) -> None:
        """Write a file on the board."""
        self.run(f"import binascii, gc; file = open({path!r}, 'wb')")
        for at in range(0, len(content), CHUNK):
            part = base64.b64encode(content[at : at + CHUNK])
            self.run(f"file.write(binascii.a2b_base64({part}))")
        self.run("file.close(); del file; gc.collect()")

    def put_tinyinc(self) -> None:
        """Put the package and the native module on a board with stock firmware, for `import`."""
        module = package.read_module("armv6m")
        files = {package.ENGINE: module.content, **package.compile_package(module.abi[0])}
        folders = sorted({folder for path in files for folder in PurePosixPath(path).parents})
        self.run("import os; os.mkdir('/lib')")
        for folder in folders[1:]:  # the first is the top
            self.run(f"os.mkdir('/lib/{folder}')")
        for path, content in files.items():
            self.put(f"/lib/{path}", content)

    def get(self, path: str) -> bytes:
        """Read a file of the board."""
        script = f"""
import binascii
with open({path!r}, "rb") as file:
    part = file.read({CHUNK})
    while part:
        print(binascii.b2a_base64(part).decode(), end="")
        part = file.read({CHUNK})
del file, part
"""
        return b"".join(base64.b64decode(line) for line in self.run(script).splitlines())

    def _write(self, content: bytes) -> None:
        try:
            self.emulator.stdin.write(content)
        except BrokenPipeError:
            raise OSError(self._last_words()) from None

    def _read(self, complete: Callable[[bytes], bool]) -> bytes:
        """What the board says until that is complete."""
        said = b""
        output = self.emulator.stdout.fileno()
        while not complete(said):
            ready, _, _ = select.select([output], [], [], SILENCE)
            if not ready:
                raise OSError(f"the emulated Pico is silent after {said[-500:]!r}")
            part = os.read(output, 65536)
            if not part:
                raise OSError(self._last_words())
            said += part
        return said

    def _last_words(self) -> str:
        self.emulator.wait(LAST_WORDS)
        self.errors.seek(0)
        return self.errors.read().decode(errors="replace").strip() or "the emulator has ended"
