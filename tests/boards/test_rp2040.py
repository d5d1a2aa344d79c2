"""The firmware for a Raspberry Pi Pico, the very image that is flashed, in the RP2040 emulator; and
the native module on such firmware without the engine. `make test-boards` builds them; what is there
is tested."""

import dataclasses
import json
import os
import re
import select
import struct
import subprocess
from pathlib import Path

import numpy as np
import pytest

import tinyinc
from tinyinc_host import bench_boards, data, emulated_pico
from tinyinc_host.pretrain import one_of_each_first

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
UNIX = ROOT / "build" / "unix" / "micropython"
STREAM = HERE / "learning_stream.py"
CLASS_STREAM = HERE / "class_stream.py"
PAUSE = 255  # instead of a label there
TRAJECTORY = HERE / "trajectory_bits.py"
# Engine, number format and steps: a Pico computes floats in software, its native module none.
STREAMS = [("user module", "f32", 100), ("user module", "q8", 300), ("native module", "q8", 300)]

lacking = emulated_pico.lacking()
pytestmark = pytest.mark.skipif(bool(lacking), reason=lacking)


@pytest.fixture(scope="module")
def pico():
    with emulated_pico.Pico() as pico:
        yield pico


@pytest.fixture(scope="module")
def native_module():
    lacking = emulated_pico.lacking(emulated_pico.STOCK)
    if lacking:
        pytest.skip(lacking)
    subprocess.run(["make", "--silent", "natmod", "ARCH=armv6m"], cwd=ROOT, check=True)


@pytest.fixture(scope="module")
def stock_pico(native_module):
    """Stock firmware, with the native module and the package as files."""
    with emulated_pico.Pico(firmware=emulated_pico.STOCK) as pico:
        with pytest.raises(OSError, match="no module named 'tinyinc'"):
            pico.run("import tinyinc")
        pico.put_tinyinc()
        yield pico


def on_unix(script, folder):
    """What a script prints on MicroPython's unix port, in a folder."""
    path = f"{ROOT / 'micro'}:{ROOT / 'tests' / 'core'}"
    done = subprocess.run(
        [UNIX, script],
        cwd=folder,
        env={"MICROPYPATH": path},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_boots_with_engine_and_package(pico):
    said = pico.run("import sys, _tinyinc, tinyinc; print(sys.implementation._machine)")
    assert said == "Raspberry Pi Pico with TinyInc with RP2040\n"
    assert pico.run("print(tinyinc.engine.engine is _tinyinc)") == "True\n"


def test_emulated_clock(pico):
    """A loop takes the same time whatever the machine at hand does, and sleeping what it says."""
    clock = "from time import ticks_us, ticks_diff, sleep_ms; start = ticks_us()\n{}\n"
    clock += "print(ticks_diff(ticks_us(), start))"
    loops = [int(pico.run(clock.format("for _ in range(5000): pass"))) for _ in range(2)]
    assert loops[0] == pytest.approx(loops[1], rel=0.02)  # USB has its interrupts
    assert loops[0] > 10_000
    assert int(pico.run(clock.format("sleep_ms(20)"))) == pytest.approx(20_000, abs=500)


def test_arithmetic_of_the_boot_rom(pico):
    """The same float32 as numpy's, but numbers too small to be normal are zero."""
    said = pico.run(
        "from array import array\nimport struct\n"
        "numbers = array('f', [0, 1, -1, 1.5, -2.5, 3e9, 1e-30, -1e30, 0.1, 7, 16777215])\n"
        "for x in numbers:\n"
        "    for y in numbers:\n"
        "        got = [x + y, x - y, x * y] + ([x / y] if y else [])\n"
        "        print(*[struct.unpack('<I', struct.pack('<f', v))[0] for v in got])\n"
    )
    numbers = np.array([0, 1, -1, 1.5, -2.5, 3e9, 1e-30, -1e30, 0.1, 7, 16777215], np.float32)
    expected = []
    with np.errstate(over="ignore", under="ignore"):
        for x in numbers:
            for y in numbers:
                values = np.array([x + y, x - y, x * y] + ([x / y] if y else []), np.float32)
                values[np.abs(values) < np.finfo(np.float32).tiny] *= 0
                expected.append(values.view(np.uint32).tolist())
    assert [[int(word) for word in line.split()] for line in said.splitlines()] == expected


def test_conversions_of_the_boot_rom(pico):
    whole = "[int(float(x)) for x in ('0.9', '-0.9', '2.5', '-2.5', '1e9', '-1e9', '3e9')]"
    assert pico.run(f"print({whole})") == "[0, 0, 2, -2, 1000000000, -1000000000, 3000000000]\n"
    said = pico.run("print([float(x) for x in (-7, 1 << 24, 123456789, 1 << 40)])")
    assert said == "[-7.0, 1.677722e+07, 1.234568e+08, 1.099512e+12]\n"


def test_time_in_the_engine_is_counted(tmp_path):
    """The code whose cycles are counted is the engine's, all of it, and no other."""
    code = bench_boards.engine_code()
    ranges = [[int(word, 16) for word in line.split()] for line in code.splitlines()]
    symbols = subprocess.check_output(
        ["arm-none-eabi-nm", emulated_pico.FIRMWARE.with_name("firmware.elf")], text=True
    )
    names = {}
    for line in symbols.splitlines():
        address, kind, name = line.split()[-3:]
        if kind in "tT":
            names[name] = any(start <= int(address, 16) & ~1 < end for start, end in ranges)
    assert names["tinc_learn"] and names["tinc_infer"]
    assert not names["mp_execute_bytecode"] and not names["gc_collect"]

    (tmp_path / "count").write_text(code)
    with emulated_pico.Pico(count=tmp_path / "count") as pico:
        said = pico.run(
            "import tinyinc; from machine import mem32; from time import ticks_us, ticks_diff\n"
            "net = tinyinc.create(inputs=64, range=(0, 16)); x = bytearray(64); net.learn(x, 'a')\n"
            "start = ticks_us(); count = mem32[0x40070000]; net.learn(x, 'a')\n"
            "print(mem32[0x40070000] - count, ticks_diff(ticks_us(), start))"
        )
    cycles, micros = map(int, said.split())
    assert 0.1 * 125 * micros < cycles < 125 * micros


def run_script(tmp_path, script, firmware=emulated_pico.FIRMWARE):
    path = tmp_path / "script.py"
    path.write_text(script)
    command = [*emulated_pico.command()[:-1], firmware, path]
    return subprocess.run(
        command, env=emulated_pico.environment(), capture_output=True, text=True, timeout=60
    )


def test_script_from_the_command_line(tmp_path):
    done = run_script(tmp_path, "import time; time.sleep_ms(30); print(6 * 7)")
    assert (done.returncode, done.stdout) == (0, "42\n")
    assert re.fullmatch(r"\d+ cycles, 3\d\.\d+ ms at 125 MHz \(modelled: .*\)\n", done.stderr)
    done = run_script(tmp_path, "print(1); 1 / 0")
    assert (done.returncode, done.stdout) == (1, "1\n")
    assert "ZeroDivisionError" in done.stderr


def test_what_is_no_firmware_is_refused(tmp_path):
    firmware = tmp_path / "firmware.uf2"
    done = run_script(tmp_path, "", firmware)
    assert done.returncode == 2
    assert "no such file" in done.stderr
    firmware.write_bytes(bytes(512))
    done = run_script(tmp_path, "", firmware)
    assert (done.returncode, done.stderr) == (2, "pico.js: not a UF2 file: no block at byte 0\n")
    content = bytearray(emulated_pico.FIRMWARE.read_bytes())
    content[32 + 100] ^= 1  # of the second boot stage
    firmware.write_bytes(content)
    done = run_script(tmp_path, "", firmware)
    assert done.returncode == 2
    assert "stopped by breakpoint 255" in done.stderr


def test_misaligned_access_stops_the_emulation():
    script = """
@micropython.viper
def read(address: int) -> int:
    return ptr32(address)[0]
print(read(0x20000004) == read(0x20000004))
read(0x20000006)
"""
    stopped = pytest.raises(OSError, match="misaligned access to address 0x20000006")
    with emulated_pico.Pico() as pico, stopped:
        pico.run(script)


def test_reset_over_a_serial_port():
    """A terminal is there for programs that open serial ports; it outlives the board's reset."""

    def say_until(text, expected):
        said = b""
        for _ in range(60):
            os.write(port, text)
            while select.select([port], [], [], 0.5)[0]:
                said += os.read(port, 4096)
            if expected in said:
                return
        raise AssertionError(said)

    with emulated_pico.serial_port() as name:
        port = os.open(name, os.O_RDWR | os.O_NOCTTY)
        say_until(b"\r\x03", b">>> ")
        say_until(b"import machine; kept = machine.reset_cause()\r", b">>> ")
        say_until(b"print('cause', kept)\r", b"\ncause 1\r")
        os.write(port, b"machine.reset()\r")
        say_until(b"\r\x03print('kept' in globals())\r", b"\nFalse\r")
        say_until(b"import machine; print('cause', machine.reset_cause())\r", b"\ncause 3\r")
        os.close(port)


def test_files_survive_a_restart(tmp_path):
    flash = tmp_path / "flash"
    content = np.random.default_rng(0).bytes(10_000)
    with emulated_pico.Pico(flash=flash) as pico:
        pico.run("import tinyinc; net = tinyinc.create(inputs=2, range=(0, 1), memory=4)")
        pico.run("net.learn([0, 1], 'one'); net.learn([1, 0], 'two'); net.save('/net.tinc')")
        pico.put("/content", content)
    with emulated_pico.Pico(flash=flash) as pico:
        assert pico.get("/content") == content
        assert pico.run("import tinyinc; print(tinyinc.load('/net.tinc').labels)") == (
            "['one', 'two']\n"
        )


def test_same_trajectory(pico):
    """Every call of the engine gives the bits that it gives on the unix port."""
    vectors = ROOT / "tests" / "vectors"
    pico.put("/trajectory.py", (ROOT / "tests" / "core" / "trajectory.py").read_bytes())
    pico.put("/golden.tinc", (vectors / "golden.tinc").read_bytes())
    here = json.loads(on_unix(TRAJECTORY, vectors))
    assert len(here) > 50
    assert json.loads(pico.run(TRAJECTORY.read_text())) == here


@pytest.mark.parametrize(("which", "number_format", "steps"), STREAMS)
def test_learns_the_same_stream_to_the_same_bytes(request, tmp_path, which, number_format, steps):
    """Digits, learned from scratch by the whole package: the network is the unix port's."""
    fixture = {"user module": "pico", "native module": "stock_pico"}[which]
    pico = request.getfixturevalue(fixture)
    digits = data.load("digits")
    order = np.random.default_rng(0).permutation(len(digits.train_samples))
    order = one_of_each_first(order, digits.train_labels)[:steps]
    net = tinyinc.create(inputs=64, classes=10, range=(0, 16), format=number_format)
    for i in order[: len(digits.labels)]:
        net.learn(digits.train_samples[i].tolist(), digits.labels[digits.train_labels[i]])
    net.save(str(tmp_path / "network.tinc"))
    samples = bytearray()
    for i in order:
        label = net.labels.index(digits.labels[digits.train_labels[i]])
        samples += digits.train_samples[i].astype(np.uint8).tobytes() + struct.pack("B", label)
    (tmp_path / "samples.bin").write_bytes(samples)

    for name in ("network.tinc", "samples.bin"):
        pico.put(f"/{name}", (tmp_path / name).read_bytes())
    there = pico.run(STREAM.read_text())
    here = on_unix(STREAM, tmp_path)
    assert there == here
    count, _, right = map(int, here.split())
    assert count == steps
    assert right > steps / 3  # a tenth by chance
    assert pico.get("/learned.bin") == (tmp_path / "learned.bin").read_bytes()


def records(samples, labels):
    """As the device scripts read them."""
    rows = zip(samples.astype(np.uint8), labels, strict=True)
    return b"".join([row.tobytes() + struct.pack("B", label) for row, label in rows])


def two_classes_at_a_time(samples, labels, each=20):
    """Digits of two classes, mixed, and a pause; then the next two."""
    stream = b""
    for first in range(0, 10, 2):
        chosen = [np.flatnonzero(labels == digit)[:each] for digit in (first, first + 1)]
        chosen = np.ravel(chosen, order="F")
        stream += records(samples[chosen], labels[chosen])
        stream += records(np.zeros((1, samples.shape[1])), [PAUSE])
    return stream


def test_learns_class_after_class_to_the_same_bytes(pico, tmp_path):
    """With exemplars of 4 bits, growth, consolidation and undo: predictions and file are the unix
    port's."""
    digits = data.load("digits")
    sizes = {"inputs": 64, "hidden": (24,), "classes": 11, "memory": 40, "memory_bits": 4}
    settings = {"growth": 2, "novelty": 1}
    net = tinyinc.create(range=(0, 16), format="q8", **sizes, **settings)
    net.save(str(tmp_path / "network.tinc"))
    stream = two_classes_at_a_time(digits.train_samples, digits.train_labels)
    (tmp_path / "samples.bin").write_bytes(stream)
    asked, answers = digits.test_samples[:30], digits.test_labels[:30]
    (tmp_path / "asked.bin").write_bytes(records(asked, answers))

    for name in ("network.tinc", "samples.bin", "asked.bin"):
        pico.put(f"/{name}", (tmp_path / name).read_bytes())
    there = pico.run(CLASS_STREAM.read_text())
    assert there == on_unix(CLASS_STREAM, tmp_path)
    *predicted, slots = there.splitlines()
    assert slots == str([4] * 10 + [0])
    known = [set(line.split()) - {"None"} for line in predicted]
    assert all(known[i] <= set("0123456789"[: 2 * i + 2]) for i in range(5))
    right = sum(map(str.__eq__, predicted[-1].split(), map(str, answers)))
    assert right >= 18  # of 30, some of them taken for something new
    checkpoint = "network.tinc.1/checkpoint"
    assert pico.get(f"/{checkpoint}") == (tmp_path / checkpoint).read_bytes()


def test_native_module_is_what_runs(stock_pico):
    said = stock_pico.run(
        "import sys, tinyinc; print(tinyinc.engine.engine, sys.implementation._machine)"
    )
    file = "/lib/tinyinc/_tinyinc.mpy"
    assert said == (f"<module 'tinyinc._tinyinc' from '{file}'> Raspberry Pi Pico with RP2040\n")


def test_native_module_takes_little_longer(native_module):
    """Measured as `make bench-boards` does, but on fewer samples."""
    run = dataclasses.replace(bench_boards.RUNS[0], samples=60)
    results = {result.name: result for result in bench_boards.measure(run)}
    assert all(result.holds is not False for result in results.values())
    share = results["64-32-10 q8, sampled: native to user module"]
    assert share.holds and share.value > 90
