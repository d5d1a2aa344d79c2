"""`tinyinc flash`: the right file gets onto the boot drive of a Pico, and esptool is run as it
should be; a wrong file, board or drive is refused before anything is written."""

import os
import struct
import subprocess
import sys
import threading
import time

import pytest
from conftest import module_at

from board_helpers import ROOT, build_native, command, refused
from tinyinc_host import flash as flashing
from tinyinc_host.board import BoardError

from simulated_board import SimulatedBoard  # isort: skip


def uf2_of(board, folder):
    """A UF2 file as `make firmware` makes it."""
    uf2 = module_at(ROOT / "boards" / "uf2.py")
    path = folder / f"{board}.uf2"
    path.write_bytes(uf2.convert(os.urandom(150_000), uf2.FAMILIES[board]))
    return path


def esp_image(folder, number, name="firmware.bin"):
    header = struct.pack("<BBBBI4xH10x", 0xE9, 3, 2, 0x20, 0x40380000, number)
    path = folder / name
    path.write_bytes(header + os.urandom(20_000))
    return path


def boot_drive(folder, name="RPI-RP2"):
    folder.mkdir()
    text = f"UF2 Bootloader v3.0\nModel: Raspberry Pi RP2\nBoard-ID: {name}\n"
    (folder / "INFO_UF2.TXT").write_text(text)
    return folder


@pytest.mark.parametrize("board", ["RPI_PICO", "RPI_PICO2"])
def test_pico(tmp_path, board):
    firmware = uf2_of(board, tmp_path)
    drive = boot_drive(tmp_path / "drive")
    done = command("flash", firmware, "--board", board, "--drive", drive)
    assert done.returncode == 0, done.stderr
    assert "is on the board" in done.stdout
    assert (drive / "firmware.uf2").read_bytes() == firmware.read_bytes()


def test_the_drive_is_found(tmp_path, monkeypatch):
    (tmp_path / "stick").mkdir()
    drive = boot_drive(tmp_path / "drive")
    boot_drive(tmp_path / "other", "RP2350")
    monkeypatch.setattr(flashing, "MOUNTS", (f"{tmp_path}/*",))
    firmware = uf2_of("RPI_PICO", tmp_path)
    shares = []
    flashing.flash("RPI_PICO", firmware, progress=shares.append)
    assert (drive / "firmware.uf2").read_bytes() == firmware.read_bytes()
    assert shares == sorted(shares) and shares[-1] == 1
    assert not (tmp_path / "other" / "firmware.uf2").exists()


def test_no_drive(tmp_path, monkeypatch):
    monkeypatch.setattr(flashing, "MOUNTS", (f"{tmp_path}/*",))
    with pytest.raises(BoardError, match="no drive RPI-RP2: hold the button BOOTSEL down"):
        flashing.flash("RPI_PICO", uf2_of("RPI_PICO", tmp_path))


def test_a_running_board_is_asked_for_its_drive(tmp_path, monkeypatch):
    build_native()
    monkeypatch.setattr(flashing, "MOUNTS", (f"{tmp_path}/*",))
    firmware = uf2_of("RPI_PICO", tmp_path)
    with SimulatedBoard(tmp_path / "flash") as board:

        def show():
            while not board.in_bootloader:
                time.sleep(0.05)
            boot_drive(tmp_path / "drive")

        thread = threading.Thread(target=show, daemon=True)
        thread.start()
        flashing.flash("RPI_PICO", firmware, board.port)
        thread.join(5)
    assert (tmp_path / "drive" / "firmware.uf2").read_bytes() == firmware.read_bytes()


def test_the_drive_goes_with_the_last_block(tmp_path, monkeypatch):
    """As a Pico's does; before that, it is an error."""
    drive = boot_drive(tmp_path / "drive")

    def vanish(_descriptor):
        (drive / "INFO_UF2.TXT").unlink()
        raise OSError("no such device")

    monkeypatch.setattr(os, "fsync", vanish)
    flashing.copy(bytes(4096), drive, lambda _: None)

    def lost(_share):
        raise OSError("no such device")

    boot_drive(tmp_path / "second")
    with pytest.raises(BoardError, match="was lost after 65536 of 100000 bytes"):
        flashing.copy(bytes(100_000), tmp_path / "second", lost)


def test_refusals(tmp_path):
    drive = ["--drive", boot_drive(tmp_path / "drive")]
    firmware = uf2_of("RPI_PICO2", tmp_path)
    assert refused(command("flash", firmware, *drive), "another chip", "e48bff59", "e48bff56")
    assert refused(command("flash", tmp_path / "none.uf2", *drive), "there is no", "make firmware")
    assert refused(command("flash", firmware, "--board", "VAX", *drive), "'VAX'", "ESP32_GENERIC")
    other = tmp_path / "other.uf2"
    other.write_bytes(firmware.read_bytes()[:-10])
    assert refused(command("flash", other, "--board", "RPI_PICO2", *drive), "no UF2", "cut short")
    other.write_bytes(bytes(1024))
    assert refused(command("flash", other, *drive), "no UF2")
    firmware = uf2_of("RPI_PICO", tmp_path)
    assert refused(command("flash", firmware, *drive, "--erase"), "--erase")
    assert refused(command("flash", firmware, "--drive", tmp_path), "no boot loader's drive")
    assert [path.name for path in drive[1].iterdir()] == ["INFO_UF2.TXT"]


@pytest.mark.parametrize(
    ("board", "number", "offset"),
    [
        ("ESP32_GENERIC", 0, "0x1000"),
        ("ESP32_GENERIC_S3", 9, "0x0"),
        ("ESP32_GENERIC_C3", 5, "0x0"),
    ],
)
def test_esptool_is_run(tmp_path, monkeypatch, board, number, offset):
    """In its place a program that notes how it was called, and prints as it does."""
    log = tmp_path / "log"
    (tmp_path / "esptool.py").write_text(
        "import sys\n"
        f"open({str(log)!r}, 'w').write(' '.join(sys.argv[1:]))\n"
        "print('Writing at 0x00010000... (40 %)', flush=True)\n"
        "print('Writing at 0x00020000... (100 %)')\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    firmware = esp_image(tmp_path, number)
    shares = []
    flashing.flash(board, firmware, "/dev/null", erase=True, progress=shares.append)
    chip = flashing.BOARDS[board].chip
    assert log.read_text() == (
        f"--chip {chip} --port /dev/null write-flash --erase-all {offset} {firmware}"
    )
    assert shares[-1] == 1
    wrong = esp_image(tmp_path, number + 1, "wrong.bin")
    done = command("flash", wrong, "--board", board, "--port", "/dev/null")
    assert refused(done, "another chip")


def test_esptool_fails(tmp_path):
    """The real one, with a port that is none, and one behind which nobody answers."""
    firmware = esp_image(tmp_path, 5)
    options = ["--board", "ESP32_GENERIC_C3", "--port"]
    done = command("flash", firmware, *options, "/dev/ttyNONE")
    assert refused(done, "there is no port /dev/ttyNONE")
    assert refused(command("flash", firmware, *options, firmware), "esptool failed")
    (tmp_path / "text.bin").write_text("no firmware")
    done = command("flash", tmp_path / "text.bin", *options, "/dev/null")
    assert refused(done, "no firmware for an ESP32")


def test_esptool_knows_these_options():
    """Those of the command line above."""
    line = [sys.executable, "-m", "esptool", "write-flash", "--help"]
    text = subprocess.run(line, capture_output=True, text=True, check=True).stdout
    assert "--erase-all" in text
