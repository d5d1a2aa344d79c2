"""A board behind a serial port, for programs that talk to one: mpremote, ampy, `tinyinc install`.

    with SimulatedBoard(folder / "flash") as board:
        subprocess.run(["mpremote", "connect", board.port, "ls"])

The port is a pseudo-terminal. What is behind it speaks MicroPython's REPL, friendly, raw and with
raw paste, and runs scripts in the unix port without the engine (`make unix-stock`), whose file
system is littlefs or FAT in a file. A soft reset starts the unix port anew.
`python simulated_board.py FLASH` gives one to try things on.

What may go wrong: the cable is pulled after so many bytes from the desktop or to it, the power
fails at a write to flash, the heap or the flash is small, the board says that it is another.
"""

import contextlib
import fcntl
import json
import os
import select
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
import tty
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
DEVICE = HERE / "simulated_device.py"
MICROPYTHON = ROOT / "build" / "unix-stock" / "micropython"

BANNER = b'MicroPython on a simulated board\r\nType "help()" for more information.\r\n'
RAW_BANNER = b"raw REPL; CTRL-B to exit\r\n"
WINDOW = 128  # bytes that raw paste takes at a time
PERIOD = 0.2  # seconds that a script has to end by itself after Ctrl-C: signals come at any moment
CTRL_A, CTRL_B, CTRL_C, CTRL_D, CTRL_E = b"\x01\x02\x03\x04\x05"
IN_BOOTLOADER = 3  # exit code of the device program


class Unplugged(Exception):
    """The cable was pulled."""


@dataclass
class SimulatedBoard:
    """A context. `port` is the path to open."""

    flash: Path
    file_system: str = "littlefs"
    flash_bytes: int = 1 << 20
    heap_bytes: int = 1 << 20  # of a machine with 64 bits: objects are larger than a board's
    raw_paste: bool = True
    implementation: dict = field(default_factory=dict)  # what sys.implementation is to say instead
    pull_after_received: int | None = None  # bytes from the desktop until the cable is pulled
    pull_after_sent: int | None = None
    power_fails: tuple[int, int] = (0, 0)  # after how many starts, at which write to flash
    mute: bool = False  # says nothing
    micropython: Path = MICROPYTHON

    def __enter__(self):
        self.received = self.sent = self.starts = 0
        self.in_bootloader = False
        self.idle = False  # at the prompt of the friendly REPL, with nothing to do
        self.fresh = not self.flash.exists()
        if self.fresh:
            with open(self.flash, "wb") as file:
                file.truncate(self.flash_bytes)
        self.near, self.far = os.openpty()
        os.set_blocking(self.near, False)
        tty.setraw(self.far)
        self.port = os.ttyname(self.far)
        self.stop_read, self.stop_write = os.pipe()
        self.device = None
        self.start_device()
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *_):
        os.write(self.stop_write, b"x")
        self.thread.join()
        for end in (self.stop_read, self.stop_write):
            os.close(end)

    # The device

    def start_device(self):
        self.end_device()
        self.starts += 1
        after, write = self.power_fails
        settings = {
            "flash": str(self.flash),
            "format": self.fresh,
            "file_system": self.file_system,
            "writes_to_live": write if self.starts == after else 0,
            "implementation": self.implementation,
        }
        heap = f"heapsize={self.heap_bytes}"
        self.device = subprocess.Popen(
            [self.micropython, "-X", heap, DEVICE, json.dumps(settings)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
        )
        self.fresh = False
        self.device.stdout.read(1)  # READY

    def end_device(self):
        if self.device:
            self.device.kill()
            self.device.communicate()

    def execute(self, code):
        """What a script prints goes out, with both its ends; what comes in meanwhile is kept."""
        with contextlib.suppress(BrokenPipeError):
            self.device.stdin.write(struct.pack("<I", len(code)) + code)
        self.device.stdout.read(1)  # BEGUN
        output = self.device.stdout.fileno()
        ends = 0
        interrupted = None  # when Ctrl-C came
        while ends < 2:
            waiting = [output, self.near, self.stop_read]
            ready, _, _ = select.select(waiting, [], [], interrupted and PERIOD)
            if interrupted and not ends and time.monotonic() > interrupted + PERIOD:
                self.device.send_signal(signal.SIGINT)
                interrupted = None
            if self.stop_read in ready:
                raise Unplugged
            if self.near in ready:
                data = self.receive()
                if CTRL_C in data:
                    interrupted = time.monotonic()
                    data = data[data.rindex(CTRL_C) + 1 :]
                self.typed += data
            if output in ready:
                data = os.read(output, 4096)
                if not data:  # the power has failed, or there is no program any more
                    self.in_bootloader = self.device.wait() == IN_BOOTLOADER
                    raise Unplugged
                ends += data.count(CTRL_D)
                self.say(data.replace(b"\n", b"\r\n"), friendly=not self.raw)

    # The cable

    def say(self, data, friendly=False):
        if self.mute:
            return
        if friendly:
            data = data.replace(bytes([CTRL_D]), b"")
        if self.pull_after_sent is not None and self.sent + len(data) >= self.pull_after_sent:
            os.write(self.near, data[: self.pull_after_sent - self.sent])
            raise Unplugged
        self.sent += len(data)
        while data:
            writable = select.select([], [self.near], [], PERIOD)[1]
            if not writable:  # nobody reads: lost, as on USB
                return
            data = data[os.write(self.near, data[:256]) :]

    def receive(self):
        data = os.read(self.near, 4096)
        self.received += len(data)
        if self.pull_after_received is not None and self.received >= self.pull_after_received:
            raise Unplugged
        return data

    def next_byte(self):
        if not self.typed:
            self.idle = not self.raw
            ready, _, _ = select.select([self.near, self.stop_read], [], [])
            self.idle = False
            if self.stop_read in ready:
                raise Unplugged
            self.typed = self.receive()
        byte, self.typed = self.typed[0], self.typed[1:]
        return byte

    # The REPL

    def serve(self):
        self.typed = b""
        self.raw = False
        try:
            while True:
                self.raw_repl() if self.raw else self.friendly_repl()
        except Unplugged:
            pass
        finally:
            self.end_device()  # a board on USB loses its power, too
            with contextlib.suppress(OSError):
                fcntl.ioctl(self.far, termios.TIOCNXCL)
            os.close(self.near)
            os.close(self.far)

    def soft_reset(self):
        self.say(b"\r\nMPY: soft reboot\r\n")
        self.start_device()
        if not self.raw:
            self.execute(
                b"import os\nif 'main.py' in os.listdir():\n    exec(open('main.py').read())"
            )

    def friendly_repl(self):
        self.say(BANNER + b">>> ")
        line = b""
        while True:
            byte = self.next_byte()
            if byte == CTRL_A:
                self.raw = True
                return
            if byte == CTRL_B:
                return
            if byte == CTRL_D and not line:
                self.soft_reset()
                return
            if byte in b"\r\n":
                self.say(b"\r\n")
                if line:
                    self.execute(b"\x00" + line)
                self.say(b">>> ")
                line = b""
            elif byte == CTRL_C:
                self.say(b"\r\n>>> ")
                line = b""
            else:
                line += bytes([byte])
                self.say(bytes([byte]))

    def raw_repl(self):
        self.say(RAW_BANNER)
        while self.raw:
            self.say(b">")
            script = self.raw_script()
            if script is None:
                return
            self.execute(script)

    def raw_script(self):
        """The next script; None when a banner is to be printed first."""
        script = b""
        while True:
            byte = self.next_byte()
            if byte == CTRL_A:
                return None
            if byte == CTRL_B:
                self.say(b"\r\n")
                self.raw = False
                return None
            if byte == CTRL_C:
                script = b""
            elif byte == CTRL_D:
                self.say(b"OK")
                if script:
                    return script
                self.soft_reset()
                return None
            elif byte == CTRL_E and not script:
                if bytes([self.next_byte(), self.next_byte()]) == b"A\x01":
                    if self.raw_paste:
                        return self.pasted_script()
                    self.say(b"R\x00")
            else:
                script += bytes([byte])

    def pasted_script(self):
        self.say(b"R\x01" + struct.pack("<H", WINDOW) + b"\x01")
        script = b""
        while True:
            byte = self.next_byte()
            if byte == CTRL_D:
                self.say(b"\x04")
                return script
            if byte == CTRL_C:
                script = b""
            else:
                script += bytes([byte])
            if len(script) % WINDOW == 0:
                self.say(b"\x01")


if __name__ == "__main__":
    with SimulatedBoard(Path(sys.argv[1])) as simulated:
        print(f"{simulated.port}, until Ctrl-C", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            signal.pause()
