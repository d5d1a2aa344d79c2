"""Flashes a firmware: Picos as a USB drive that takes UF2 files, ESP32 boards by esptool.

To add a board: a line in BOARDS.
"""

from __future__ import annotations

import importlib.util
import os
import re
import string
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tinyinc_host.board import (
    BoardError,
    ScriptError,
    connected,
    only_port,
    printable,
    why_not_opened,
)
from tinyinc_host.package import ROOT

FIRMWARE = ROOT / "build" / "firmware"
DRIVE_PATIENCE = 20.0  # seconds until a board that was asked to shows its drive
MOUNTS = ("/media/*", "/media/*/*", "/run/media/*/*", "/mnt/*", "/Volumes/*")
INFO = "INFO_UF2.TXT"  # on the drive of a UF2 boot loader

UF2_MAGIC = 0x0A324655, 0x9E5D5157
UF2_HAS_FAMILY = 0x2000
UF2_BLOCK = 512
ESP_MAGIC = 0xE9
ESP_HEADER = 24

Progress = Callable[[float], None]  # share of the work that is done


@dataclass(frozen=True)
class Pico:
    drive: str  # the boot drive's name, and what INFO_UF2.TXT has as Board-ID
    family: int  # of its UF2 files

    suffix = "uf2"


@dataclass(frozen=True)
class Esp:
    chip: str  # as esptool calls it
    number: int  # as an image's header does
    offset: int  # of the boot loader in flash

    suffix = "bin"


BOARDS: dict[str, Pico | Esp] = {
    "RPI_PICO": Pico("RPI-RP2", 0xE48BFF56),
    "RPI_PICO2": Pico("RP2350", 0xE48BFF59),
    "ESP32_GENERIC": Esp("esp32", 0, 0x1000),
    "ESP32_GENERIC_S3": Esp("esp32s3", 9, 0),
    "ESP32_GENERIC_C3": Esp("esp32c3", 5, 0),
}


def flash(
    name: str,
    firmware: Path | None = None,
    port: str | None = None,
    drive: Path | None = None,
    erase: bool = False,
    progress: Progress = lambda _: None,
) -> Path:
    """Flash a board; what was flashed. firmware: or what `make firmware` built; port: of an ESP32,
    or of a Pico that runs MicroPython and is to show its drive; drive: where that is; erase: an
    ESP32's files, too."""
    if name not in BOARDS:
        raise ValueError(f"unknown board '{name}'; known: {', '.join(BOARDS)}")
    board = BOARDS[name]
    firmware = firmware or FIRMWARE / name / f"firmware.{board.suffix}"
    if not firmware.is_file():
        raise FileNotFoundError(
            f"there is no '{firmware}': run `make firmware BOARD={name}`, or name a file"
        )
    content = firmware.read_bytes()
    if isinstance(board, Pico):
        check_uf2(firmware, content, board)
        if erase:
            raise ValueError("--erase is for ESP32 boards: a Pico's files stay where they are")
        copy(content, drive or boot_drive(board, port), progress)
    else:
        check_esp(firmware, content, board)
        run_esptool(board, firmware, port or only_port(), erase, progress)
    return firmware


def check_uf2(path: Path, content: bytes, board: Pico) -> None:
    """That all of a file is UF2, and for this board."""
    if not content or len(content) % UF2_BLOCK:
        raise ValueError(f"'{path}' is no UF2 file, or is cut short")
    count = len(content) // UF2_BLOCK
    for at in range(0, len(content), UF2_BLOCK):
        first, second, flags, *_, family = struct.unpack_from("<8I", content, at)
        if (first, second) != UF2_MAGIC:
            raise ValueError(f"'{path}' is no UF2 file: block {at // UF2_BLOCK} of {count}")
        if flags & UF2_HAS_FAMILY and family != board.family:
            raise ValueError(
                f"'{path}' is for another chip: family {family:08x}, expected {board.family:08x}"
            )


def check_esp(path: Path, content: bytes, board: Esp) -> None:
    """That a file begins with a boot loader for this chip."""
    if len(content) < ESP_HEADER or content[0] != ESP_MAGIC:
        raise ValueError(f"'{path}' is no firmware for an ESP32")
    number = struct.unpack_from("<H", content, 12)[0]
    if number != board.number:
        raise ValueError(
            f"'{path}' is for another chip: number {number}, {board.chip} has {board.number}"
        )


# Picos


def boot_drive(board: Pico, port: str | None) -> Path:
    """Where the boot drive is, after asking the board on `port` for it."""
    found = find_drive(board)
    if found:
        return found
    how = (
        f"no drive {board.drive}: hold the button BOOTSEL down while plugging the board in, then "
        "run this again (where the system mounts no drives, mount it, and name it with --drive)"
    )
    if not port:
        raise BoardError(f"{how}; with --port, a board that runs MicroPython is asked for it")
    ask_for_drive(port)
    end = time.monotonic() + DRIVE_PATIENCE
    while time.monotonic() < end:
        time.sleep(0.2)
        if found := find_drive(board):
            return found
    raise BoardError(f"the board was asked, but there is {how}")


def find_drive(board: Pico) -> Path | None:
    return next((folder for folder in drives() if is_drive(folder, board)), None)


def drives() -> list[Path]:
    """Folders where drives are mounted."""
    if os.name == "nt":
        return [Path(f"{letter}:\\") for letter in string.ascii_uppercase]
    return [path for mounts in MOUNTS for path in sorted(Path("/").glob(mounts[1:]))]


def is_drive(folder: Path, board: Pico) -> bool:
    return board_id(folder) == board.drive


def board_id(folder: Path) -> str | None:
    """What a boot loader's drive says that it is; None for any other folder."""
    try:
        with open(folder / INFO, errors="replace") as file:
            found = re.search(r"^Board-ID:\s*(\S+)", file.read(4096), re.MULTILINE)
    except OSError:
        return None
    return found[1] if found else None


def ask_for_drive(port: str) -> None:
    """Restart a board into its boot loader."""
    with connected(port) as board:
        try:
            board.run("import machine\nmachine.bootloader()", patience=2.0)
        except ScriptError as error:
            raise BoardError(f"the board does not start its boot loader: {error}") from None
        except BoardError:
            pass  # it has gone, as it should


def copy(content: bytes, drive: Path, progress: Progress) -> None:
    """The board takes the blocks as they come, and restarts with the last one: then the drive is
    gone, which is no error."""
    if not (drive / INFO).is_file():
        raise FileNotFoundError(f"'{drive}' is no boot loader's drive: it has no {INFO}")
    step = 128 * UF2_BLOCK
    written = 0
    try:
        with open(drive / "firmware.uf2", "wb", buffering=0) as file:
            while written < len(content):
                written += file.write(content[written : written + step])
                progress(written / len(content))
            os.fsync(file.fileno())
    except OSError as error:
        if written < len(content) or (drive / INFO).exists():
            raise BoardError(
                f"the drive {drive} was lost after {written} of {len(content)} bytes ({error}): "
                "plug the board in again with BOOTSEL held down, then run this again"
            ) from None


# ESP32


def run_esptool(board: Esp, firmware: Path, port: str, erase: bool, progress: Progress) -> None:
    if importlib.util.find_spec("esptool") is None:
        raise BoardError("esptool is not installed: pip install 'tinyinc-host[boards]'")
    if os.name == "posix" and not os.path.exists(port):
        raise BoardError(why_not_opened(port))
    command = [
        *(sys.executable, "-m", "esptool", "--chip", board.chip, "--port", port, "write-flash"),
        *(["--erase-all"] if erase else []),
        *(hex(board.offset), str(firmware)),
    ]
    said = ""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        while data := os.read(process.stdout.fileno(), 4096):
            said = (said + data.decode(errors="replace"))[-8192:]
            if percent := re.findall(r"(\d+(?:\.\d+)?) ?%", said[-200:]):
                progress(min(float(percent[-1]), 100) / 100)
    if process.returncode:
        raise BoardError(f"esptool failed: {reason(said)}")


def reason(said: str) -> str:
    """Of all that esptool printed, the line that says why."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    fatal = [line for line in lines if "error" in line.lower()]
    return printable((fatal or lines or ["it printed nothing"])[-1])
