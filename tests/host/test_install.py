"""`tinyinc install`, `deploy` and `repl` against a simulated board, to which mpremote and ampy talk
as to a real one: what gets there works, and whatever goes wrong, the board keeps a version that
works."""

import functools
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import serial

import tinyinc
from board_helpers import ROOT, WORKS, build_native, command, files, on, refused, talking
from tinyinc_host import board as boards
from tinyinc_host import install as installation
from tinyinc_host import package
from tinyinc_host.board import BoardError

from simulated_board import SimulatedBoard  # isort: skip

OLD = "0.0.9"  # the version on a board before
ARCHITECTURE = {name: number for number, name in enumerate(package.ARCHITECTURES)}


@pytest.fixture(scope="session", autouse=True)
def built():
    build_native()


@pytest.fixture(autouse=True)
def patience(monkeypatch):
    monkeypatch.setattr(boards, "READ_PATIENCE", 0.5)
    monkeypatch.setattr(boards, "PATIENCE", 3.0)


def install(board, **options):
    with talking(board) as there:
        return installation.install(there, **options)


def fails(board, words, **options):
    """That an install ends so; the text."""
    with pytest.raises(BoardError, match=words) as failure:
        install(board, **options)
    assert "\n" not in str(failure.value)
    return str(failure.value)


@functools.cache
def old_flash(file_system, folder):
    """A flash with an older version of TinyInc, installed as any is; its bytes."""
    path = Path(folder) / file_system
    source = Path(folder) / f"{file_system}-source" / "tinyinc"
    shutil.copytree(package.SOURCE, source)
    init = source / "__init__.py"
    init.write_text(init.read_text().replace(f'"{tinyinc.__version__}"', f'"{OLD}"'))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(package, "SOURCE", source)
        with SimulatedBoard(path, file_system) as board:
            install(board)
            assert on(board, WORKS).split()[0] == OLD
    return path.read_bytes()


@pytest.fixture(scope="session")
def old(tmp_path_factory):
    folder = tmp_path_factory.mktemp("old")
    return lambda file_system="littlefs": old_flash(file_system, folder)


@pytest.mark.parametrize("file_system", ["littlefs", "fat"])
def test_install(tmp_path, file_system):
    with SimulatedBoard(tmp_path / "flash", file_system) as board:
        done = command("install", "--port", board.port)
        assert done.returncode == 0, done.stderr
        size = len(package.read_module("x64").content)
        assert "MicroPython 1.25.0, x64, ABI 6.3" in done.stdout
        assert f"/lib/tinyinc, with _tinyinc for x64 of {size} bytes" in done.stdout
        assert "q8 right" in done.stdout and "f32 right" in done.stdout
        assert "ms per step" in done.stdout
        assert on(board, WORKS) == f"{tinyinc.__version__} /lib/tinyinc/__init__.mpy"
        names = {"/lib", "/lib/tinyinc"} | {
            f"/lib/{path.with_suffix('.mpy')}" for path in package.sources(pure=False)
        }
        assert set(files(board)) == names | {"/lib/tinyinc/_tinyinc.mpy"}
        # ... and once more over itself
        assert command("install", "--port", board.port).returncode == 0
        assert set(files(board)) == names | {"/lib/tinyinc/_tinyinc.mpy"}


@pytest.mark.parametrize("file_system", ["littlefs", "fat"])
def test_a_new_version_replaces_an_old_one(tmp_path, old, file_system):
    flash = tmp_path / "flash"
    flash.write_bytes(old(file_system))
    with SimulatedBoard(flash, file_system) as board:
        assert on(board, WORKS) == f"{OLD} /lib/tinyinc/__init__.mpy"
        install(board)
        assert on(board, WORKS) == f"{tinyinc.__version__} /lib/tinyinc/__init__.mpy"


PUT_MAIN = """
with open("main.py", "w") as main:
    main.write("with open('ran', 'a') as file: file.write('x')")
"""
RAN = """
try:
    print(open("ran").read())
except OSError:
    print("never")
"""


def test_main_runs_again_afterwards(tmp_path):
    """The board is left as it was found: with its program at work."""
    with SimulatedBoard(tmp_path / "flash") as board:
        on(board, PUT_MAIN)
        wait_until_idle(board)
        assert on(board, RAN) == "x"
        wait_until_idle(board)
        install(board)
        wait_until_idle(board)
        assert on(board, RAN) == "xxx"


def wait_until_idle(board):
    time.sleep(0.3)  # until it has read all that it was told
    wait_for(lambda: board.idle)


def wait_for(condition, seconds=5):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


# What fits


def facts(architecture="armv6m", **other):
    known = {
        "name": "micropython",
        "version": (1, 25, 0),
        "machine": "a board",
        "architecture": architecture,
        "abi": (6, 3),
        "memory_free": 200_000,
        "has_engine": False,
        "frozen_package": None,
        "path": ["", ".frozen", "/lib"],
        "folder": "/",
        "lib": "/lib",
        "block_bytes": 4096,
        "files_free": 500_000,
        "foreign": [],
    }
    return installation.Facts(**known | other)


@pytest.mark.parametrize(
    ("architecture", "machine", "expected"),
    [
        ("armv6m", "Raspberry Pi Pico with RP2040", ["armv6m"]),
        ("armv7emsp", "Raspberry Pi Pico2 with RP2350", ["armv7m"]),
        ("rv32imc", "Raspberry Pi Pico2 with RP2350-RISCV", ["rv32imc"]),
        ("armv7m", "a board", ["armv7m"]),
        ("armv7em", "a board", ["armv7m"]),
        ("armv7emsp", "PYBv1.1 with STM32F405RG", ["armv7emsp", "armv7m"]),
        ("armv7emdp", "PYBD", ["armv7emdp", "armv7emsp", "armv7m"]),
        ("xtensawin", "Generic ESP32S3 module with ESP32S3", ["xtensawin"]),
        ("rv32imc", "ESP32C3 module with ESP32C3", ["rv32imc"]),
    ],
)
def test_fitting(architecture, machine, expected):
    assert installation.fitting(facts(architecture, machine=machine)) == expected


@pytest.mark.parametrize(
    ("architecture", "machine", "words"),
    [
        ("xtensa", "ESP module with ESP8266", "no native module fits a board of xtensa; there are"),
        ("xtensawin", "Generic ESP32S2 module with ESP32S2", "no native module fits an ESP32-S2"),
        ("none", "a board", "loads no native modules"),
        ("x86", "a board", "x86"),
    ],
)
def test_nothing_fits(architecture, machine, words):
    with pytest.raises(BoardError, match=words):
        installation.fitting(facts(architecture, machine=machine))


def fake_module(folder, architecture, sub_version=3):
    path = folder / f"_tinyinc-{architecture}.mpy"
    path.write_bytes(bytes([ord("M"), 6, ARCHITECTURE[architecture] << 2 | sub_version, 31]))
    return path


def test_choose(tmp_path):
    fake_module(tmp_path, "armv7m")
    assert installation.choose(facts("armv7emdp"), tmp_path).architecture == "armv7m"
    fake_module(tmp_path, "armv7emsp")
    assert installation.choose(facts("armv7emdp"), tmp_path).architecture == "armv7emsp"
    with pytest.raises(FileNotFoundError, match="make natmod ARCH=armv6m"):
        installation.choose(facts("armv6m"), tmp_path)
    fake_module(tmp_path, "armv6m", sub_version=2)
    with pytest.raises(BoardError, match=r"has ABI 6\.2, the board 6\.3"):
        installation.choose(facts("armv6m"), tmp_path)
    fake_module(tmp_path, "x64").rename(tmp_path / "_tinyinc-rv32imc.mpy")
    with pytest.raises(ValueError, match="is for x64, not for rv32imc"):
        installation.choose(facts("rv32imc"), tmp_path)
    (tmp_path / "_tinyinc-rv32imc.mpy").write_bytes(b"GIF89a")
    with pytest.raises(ValueError, match="is no .mpy file"):
        installation.choose(facts("rv32imc"), tmp_path)


def mpy(architecture, version=6, sub_version=3):
    return version | sub_version << 8 | ARCHITECTURE[architecture] << 10


@pytest.mark.parametrize(
    ("implementation", "words"),
    [
        ({"version": (1, 23, 0)}, ["MicroPython 1.23.0, expected 1.24"]),
        ({"name": "circuitpython"}, ["runs circuitpython, expected MicroPython"]),
        ({"_mpy": mpy("xtensa")}, ["no native module fits a board of xtensa"]),
        ({"_mpy": mpy("none")}, ["loads no native modules"]),
        ({"_mpy": mpy("x64", sub_version=2)}, ["the native module has ABI 6.3, the board 6.2"]),
        ({"_mpy": "6"}, ["makes no sense"]),
        ({"version": "one"}, ["makes no sense"]),
    ],
)
def test_a_board_that_does_not_fit(tmp_path, old, implementation, words):
    flash = tmp_path / "flash"
    flash.write_bytes(old())
    with SimulatedBoard(flash, implementation=implementation) as board:
        assert refused(command("install", "--port", board.port), *words)
        assert on(board, WORKS).startswith(OLD)


def test_a_module_that_the_board_refuses(tmp_path, old):
    """As a board that says that it is another makes it: found out before anything is replaced."""
    flash, modules = tmp_path / "flash", tmp_path / "modules"
    flash.write_bytes(old())
    modules.mkdir()
    fake_module(modules, "armv6m")
    with SimulatedBoard(flash, implementation={"_mpy": mpy("armv6m")}) as board:
        before = files(board)
        done = command("install", "--port", board.port, "--modules", modules)
        assert refused(done, "the self-test failed", "incompatible .mpy arch", "is as it was")
        assert files(board) == before
        assert on(board, WORKS).startswith(OLD)


def test_an_engine_that_computes_otherwise(tmp_path, old, monkeypatch):
    flash = tmp_path / "flash"
    flash.write_bytes(old())
    expected = installation.expected_of

    def other(image):
        right = expected(image)
        return installation.Tested(right.format, right.crc ^ 1, right.loss, right.microseconds)

    monkeypatch.setattr(installation, "expected_of", other)
    with SimulatedBoard(flash) as board:
        fails(board, "learned something else than.*is as it was")
        assert on(board, WORKS).startswith(OLD)


def test_too_little_memory(tmp_path, old):
    flash = tmp_path / "flash"
    flash.write_bytes(old())
    with SimulatedBoard(flash, heap_bytes=90_000) as board:
        assert refused(command("install", "--port", board.port), "too little memory", "bytes are")
    with SimulatedBoard(flash) as board:
        assert on(board, WORKS).startswith(OLD)


def test_too_little_memory_is_found_by_the_self_test(tmp_path, old, monkeypatch):
    flash = tmp_path / "flash"
    flash.write_bytes(old())
    monkeypatch.setattr(installation, "check_room", lambda *_: None)
    with SimulatedBoard(flash, heap_bytes=90_000) as board:
        fails(board, "too little memory on the board: .*is as it was")
    with SimulatedBoard(flash) as board:
        assert on(board, WORKS).startswith(OLD)


@pytest.mark.parametrize("checked", [True, False])
def test_full_file_system(tmp_path, old, monkeypatch, checked):
    """Known beforehand, and come upon while copying."""
    flash = tmp_path / "flash"
    flash.write_bytes(old())
    with SimulatedBoard(flash) as board:
        on(board, "f = open('ballast', 'wb')\nfor _ in range(205): f.write(bytes(4096))\nf.close()")
        before = files(board)
        if not checked:
            monkeypatch.setattr(installation, "check_room", lambda *_: None)
        words = "too little room for files" if checked else "file system is full; .*is as it was"
        fails(board, words)
        assert files(board) == before
        assert on(board, WORKS).startswith(OLD)


@pytest.mark.parametrize(
    ("script", "name"),
    [
        ("open('tinyinc.py', 'w').close()", "/tinyinc.py"),
        ("import os; os.mkdir('tinyinc')", "/tinyinc"),
        ("open('lib/tinyinc/mine.tinc', 'w').close()", "/lib/tinyinc/mine.tinc"),
    ],
)
def test_what_is_in_the_way_is_not_touched(tmp_path, old, script, name):
    flash = tmp_path / "flash"
    flash.write_bytes(old())
    with SimulatedBoard(flash) as board:
        on(board, script)
        before = files(board)
        assert refused(command("install", "--port", board.port), f"not TinyInc's: {name};")
        assert files(board) == before


# Ports


def test_no_port():
    assert refused(command("install", "--port", "/dev/ttyNONE"), "there is no port /dev/ttyNONE")
    done = command("deploy", ROOT / "tests/vectors/golden.tinc", "--port", "/dev/ttyNONE")
    assert refused(done, "there is no port")
    assert refused(command("repl", "--port", "/dev/ttyNONE"), "there is no port")


def test_no_board(monkeypatch):
    monkeypatch.setattr("serial.tools.list_ports.comports", list)
    with pytest.raises(BoardError, match="no board is connected by USB"):
        boards.only_port()


@pytest.mark.parametrize("tool", [[], ["--with", "ampy"]])
def test_no_terminal(tmp_path, tool):
    image = ROOT / "tests" / "vectors" / "golden.tinc"
    (tmp_path / "file").touch()
    done = command("deploy", image, "--port", tmp_path / "file", *tool)
    assert refused(done, "cannot be opened")


def test_busy_port(tmp_path, old):
    flash = tmp_path / "flash"
    flash.write_bytes(old())
    with SimulatedBoard(flash) as board:
        with serial.Serial(board.port, exclusive=True):
            done = command("install", "--port", board.port)
            assert refused(done, f"port {board.port} is busy")
        assert on(board, WORKS).startswith(OLD)


def test_a_silent_board(tmp_path):
    with SimulatedBoard(tmp_path / "flash", mute=True) as board:
        fails(board, "does not answer as MicroPython does")


def test_a_board_that_falls_silent(tmp_path, old):
    flash = tmp_path / "flash"
    flash.write_bytes(old())
    with SimulatedBoard(flash) as board:

        def silence(_facts):
            board.mute = True

        fails(board, "does not answer any more.*is as it was", tell=silence)
        board.mute = False
        assert on(board, WORKS).startswith(OLD)


def test_a_board_that_never_stops_talking(tmp_path):
    flood = pytest.raises(BoardError, match="printed more than 65536 bytes")
    with SimulatedBoard(tmp_path / "flash") as board, talking(board) as there, flood:
        there.run("while True: print('blah ' * 20)")


# Interruptions


def traffic(tmp_path, old):
    """Bytes to the board in an install, and from it."""
    flash = tmp_path / "counted"
    flash.write_bytes(old)
    with SimulatedBoard(flash) as board:
        install(board)
        return board.received, board.sent


def interrupted(board):
    """What an install says when the cable is pulled; nothing when that comes too late."""
    try:
        install(board)
    except BoardError as error:
        assert "\n" not in str(error)
        return str(error)
    return ""


@pytest.mark.parametrize("way", ["received", "sent"])
def test_pulled_cable(tmp_path, old, way):
    """Anywhere, and power goes with it: the old version works, or the new one; a second install
    succeeds."""
    total = dict(zip(("received", "sent"), traffic(tmp_path, old())))[way]
    shares = (0.001, 0.01, 0.4, 0.7, 0.95, 0.98, 0.99, 0.998)
    seen = set()
    for share in shares:
        flash = tmp_path / f"flash-{share}"
        flash.write_bytes(old())
        with SimulatedBoard(flash, **{f"pull_after_{way}": int(total * share)}) as board:
            failure = interrupted(board)
        with SimulatedBoard(flash) as board:
            version, path = on(board, WORKS).split()
            seen.add(version)
            assert version == OLD or "is as it was" not in failure
            assert version != OLD or failure
            install(board)
            assert on(board, WORKS) == f"{tinyinc.__version__} /lib/tinyinc/__init__.mpy"
            assert not any("tinyinc.new" in name for name in files(board))
    assert OLD in seen


def test_pulled_cable_is_one_line(tmp_path, old):
    flash = tmp_path / "flash"
    flash.write_bytes(old())
    with SimulatedBoard(flash, pull_after_received=30_000) as board:
        done = command("install", "--port", board.port)
    assert refused(done, "does not answer any more", "is as it was")


STARTS_BEFORE_COMMIT = 4  # its own, connecting, the self-test, the commit


def test_power_cut_at_any_write_of_the_commit(tmp_path, old):
    """On littlefs there is no moment without a version that works."""
    seen = []
    for write in range(1, 500):
        flash = tmp_path / "flash"
        flash.write_bytes(old())
        with SimulatedBoard(flash, power_fails=(STARTS_BEFORE_COMMIT, write)) as board:
            try:
                install(board)
            except BoardError as error:
                assert "the board has the old version or the new one" in str(error)
            else:
                break
        with SimulatedBoard(flash) as board:
            seen.append(on(board, WORKS).split()[0])
            if write % 8 == 0:
                install(board)
                assert on(board, WORKS) == f"{tinyinc.__version__} /lib/tinyinc/__init__.mpy"
                assert not any("tinyinc.new" in name for name in files(board))
    assert seen[0] == OLD and seen[-1] == tinyinc.__version__
    assert sorted(seen) == seen  # OLD first, then the new one


@pytest.mark.parametrize("write", [1, 2, 3, 4, 16, 26, 27, 28, 29])
def test_power_cut_on_fat(tmp_path, old, write):
    """Some version works, and goes on working: where a folder is left under two names, nothing is
    removed."""
    flash = tmp_path / "flash"
    flash.write_bytes(old("fat"))
    with SimulatedBoard(flash, "fat", power_fails=(STARTS_BEFORE_COMMIT, write)) as board:
        fails(board, "the old version or the new one")
    with SimulatedBoard(flash, "fat") as board:
        before = on(board, WORKS)
        try:
            install(board)
        except BoardError as error:
            assert "a folder under two names on the board's FAT: save your files" in str(error)
            assert on(board, WORKS) == before
        else:
            assert on(board, WORKS).startswith(tinyinc.__version__)


# Deploy


@pytest.fixture(scope="session")
def ready(tmp_path_factory):
    """A function: the flash of a board with TinyInc, as bytes."""

    @functools.cache
    def flash(file_system="littlefs"):
        path = tmp_path_factory.mktemp("ready") / "flash"
        with SimulatedBoard(path, file_system) as board:
            install(board)
        return path.read_bytes()

    return flash


@pytest.fixture
def image(tmp_path):
    net = tinyinc.create(inputs=4, classes=3, hidden=(4,), range=(0, 1), format="q8")
    net.learn((0, 0, 1, 1), "a")
    net.learn((1, 1, 0, 0), "b")
    path = tmp_path / "digits.tinc"
    net.save(str(path))
    return path


SAVE = """
import os, tinyinc
net = tinyinc.load("digits.tinc")
print(net.labels, [os.stat("digits.tinc.%d/checkpoint" % n)[6] for n in (0, 1)])
net.learn((0, 1, 0, 1), "c")
net.save()
print(tinyinc.load("digits.tinc").labels)
"""


@pytest.mark.parametrize(
    ("file_system", "tool", "raw_paste"),
    [
        ("littlefs", "mpremote", True),
        ("littlefs", "mpremote", False),
        ("fat", "mpremote", True),
        ("fat", "ampy", True),
    ],
)
def test_deploy(tmp_path, ready, image, file_system, tool, raw_paste):
    flash = tmp_path / "flash"
    flash.write_bytes(ready(file_system))
    program = tmp_path / "program.py"
    program.write_text("import tinyinc\nnet = tinyinc.load('digits.tinc')\n")
    size = image.stat().st_size
    with SimulatedBoard(flash, file_system, raw_paste=raw_paste) as board:
        options = ["--port", board.port, "--with", tool]
        done = command("deploy", image, "--main", program, *options)
        assert done.returncode == 0, done.stderr
        assert "/digits.tinc: q8, " in done.stdout
        labels = on(board, SAVE)
        assert labels == f"['a', 'b'] [{size}, {size}]\n['a', 'b', 'c']"
        assert on(board, "print(open('main.py').read())") == program.read_text().strip()
        assert not any(name.endswith(".new") for name in files(board))
        if tool == "ampy":  # slow
            return
        # The same once more: what the board learned stays.
        done = command("deploy", image, *options)
        assert "goes on from what it has learned" in done.stdout, done.stderr
        assert on(board, "import tinyinc; print(tinyinc.load('digits.tinc').labels)") == (
            "['a', 'b', 'c']"
        )


def test_deploy_refuses(tmp_path, ready, image):
    flash = tmp_path / "flash"
    flash.write_bytes(ready())
    program = tmp_path / "program.py"
    program.write_text("def (:\n")
    with SimulatedBoard(flash) as board:
        port = ["--port", board.port]
        before = files(board)
        assert refused(command("deploy", tmp_path / "none.tinc", *port), "there is no file")
        assert refused(command("deploy", image, "--with", "magic", *port), "'magic'", "ampy")
        assert refused(command("deploy", image, "--main", program, *port), "program.py")
        image.write_bytes(image.read_bytes()[:-8])
        assert refused(command("deploy", image, *port), "bytes")
        large = tmp_path / "large.tinc"
        tinyinc.create(inputs=3000, hidden=(100,), memory=0).save(str(large))
        done = command("deploy", large, *port)
        assert refused(done, "too little room for files", "is as it was")
        assert files(board) == before


def test_deploy_what_the_memory_does_not_hold(tmp_path, ready):
    flash = tmp_path / "flash"
    flash.write_bytes(ready())
    large = tmp_path / "large.tinc"
    tinyinc.create(inputs=500, hidden=(100,), memory=0, format="q8").save(str(large))
    with SimulatedBoard(flash, heap_bytes=165_000) as board:
        before = files(board)
        done = command("deploy", large, "--port", board.port)
        assert refused(done, "the board cannot use this network: too little memory")
        assert files(board) == before


def test_deploy_without_tinyinc(tmp_path, image):
    with SimulatedBoard(tmp_path / "flash") as board:
        done = command("deploy", image, "--port", board.port)
        assert refused(done, "TinyInc is not on the board", "tinyinc install")
        assert files(board) == ["/lib"]


@pytest.mark.parametrize("tool", ["mpremote", "ampy"])
def test_deploy_interrupted(tmp_path, ready, image, tool):
    """The network that was deployed before is there as long as the new one is not."""
    flash, first = tmp_path / "flash", image.read_bytes()
    flash.write_bytes(ready())
    with SimulatedBoard(flash) as board:
        assert command("deploy", image, "--port", board.port).returncode == 0
    before = flash.read_bytes()
    net = tinyinc.load(str(image))
    net.learn((1, 0, 1, 0), "d")
    net.save(str(image))
    second = image.read_bytes()
    shares = (1000, 2000, 3000, 4000, 5000, 8000)
    for share in shares if tool == "mpremote" else shares[2:3]:
        flash.write_bytes(before)
        with SimulatedBoard(flash, pull_after_received=share) as board:
            done = command("deploy", image, "--port", board.port, "--with", tool)
        if done.returncode:
            assert refused(done, "does not answer any more")
        with SimulatedBoard(flash) as board:
            there = on(board, "print(open('digits.tinc', 'rb').read())")
            assert there in (repr(first), repr(second))
            assert on(board, "import tinyinc; tinyinc.load('digits.tinc'); print(1)") == "1"


# A terminal, and mpremote's package installer


def test_repl(tmp_path):
    with SimulatedBoard(tmp_path / "flash") as board:
        near, far = os.openpty()
        with subprocess.Popen(
            [sys.executable, "-m", "tinyinc_host", "repl", "--port", board.port],
            stdin=far, stdout=far, stderr=far,
        ) as process:  # fmt: skip
            said = bytearray()
            reader = threading.Thread(target=read_all, args=(near, said), daemon=True)
            reader.start()
            wait_for(lambda: b"Ctrl-x to exit" in said or b"Ctrl-]" in said, 20)
            os.write(near, b"6 * 7\r")
            wait_for(lambda: b"\n42\r\n" in said, 10)
            os.write(near, b"\x1d")
            assert process.wait(10) == 0
        os.close(far)
        reader.join(5)
        os.close(near)


def read_all(descriptor, said):
    try:
        while data := os.read(descriptor, 4096):
            said += data
    except OSError:
        pass
