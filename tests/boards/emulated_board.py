"""A board in qemu with the stock firmware of MicroPython's qemu port. Files are put on it over its
serial line, into a file system in its RAM."""

import base64
import os
import select
import subprocess
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
SECONDS = 60  # that a script may be silent
CHUNK = 512  # small, to leave the heap in one piece

# The qemu port has no file system: a read-only one over a dict of buffers.
FILE_SYSTEM = """
import binascii, gc, io, sys, vfs
files = {}
class FileSystem:
    def mount(self, readonly, mkfs):
        pass
    def umount(self):
        pass
    def chdir(self, path):
        pass
    def stat(self, path):
        if path.lstrip("/") not in files:
            raise OSError(2)
        return (0x8000,) + (0,) * 9
    def open(self, path, mode):
        self.stat(path)
        return io.BytesIO(files[path.lstrip("/")])
vfs.mount(FileSystem(), "/")
sys.path.append("/")
"""

# By name of the qemu port: the emulator's command.
COMMANDS = {
    "MPS2_AN385": "qemu-system-arm -machine mps2-an385",
    "MPS2_AN386": "qemu-system-arm -machine mps2-an386",
    "MPS2_AN500": "qemu-system-arm -machine mps2-an500",
    "MPS2_AN505": "qemu-system-arm -machine mps2-an505",
    "VIRT_RV32": "qemu-system-riscv32 -bios none -machine virt",
}


def firmware(name):
    return ROOT / "build" / "qemu" / name / "firmware.elf"


class Board:
    """with Board(name) as board: ... It is talked to through MicroPython's raw REPL."""

    def __init__(self, name):
        options = "-nographic -monitor null -semihosting -serial stdio -kernel"
        self.emulator = subprocess.Popen(
            [*COMMANDS[name].split(), *options.split(), firmware(name)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            bufsize=0,
        )
        try:
            self.emulator.stdin.write(b"\r\x03\x01")
            self.read_until(lambda said: said.endswith(b"raw REPL; CTRL-B to exit\r\n>"))
            self.run(FILE_SYSTEM)
        except OSError:
            self.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.emulator.kill()
        self.emulator.communicate()

    def read_until(self, complete):
        """What the board says until that is complete."""
        said = b""
        output = self.emulator.stdout.fileno()
        while not complete(said):
            ready, _, _ = select.select([output], [], [], SECONDS)
            part = os.read(output, 4096) if ready else b""
            if not part:
                raise OSError(f"the board is silent after {said[-500:]!r}")
            said += part
        return said

    def run(self, script):
        """What a script prints; OSError with the traceback when it raises."""
        self.emulator.stdin.write(script.encode() + b"\x04")
        said = self.read_until(lambda said: said.count(b"\x04") == 2 and said.endswith(b">"))
        printed, error, _ = said.removeprefix(b"OK").decode().split("\x04")
        if error:
            raise OSError(error)
        return printed

    def put(self, name, content):
        """Put a file on the board."""
        self.run(f"files[{name!r}] = file = bytearray({len(content)})")
        for at in range(0, len(content), CHUNK):
            part = base64.b64encode(content[at : at + CHUNK])
            self.run(f"file[{at}:{at + CHUNK}] = binascii.a2b_base64({part})")
        self.run("gc.collect()")
