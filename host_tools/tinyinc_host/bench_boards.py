"""learn() on an emulated Raspberry Pi Pico, through package, binding and engine: how long, and how
much RAM.

The firmware is that of `make firmware`; the native module, q8 alone, is a file on stock firmware.
Times are those of the emulator's clock at 125 MHz: they do not depend on the machine at hand, and
do not model flash-cache misses. Samples are real ones, in buffers that exist; one replayed sample
is part of every learn().

A network has learned SETTLING samples on the desktop before. `overhead` is all that is not spent in
the engine's own code. The networks are those of bench_engine.py, C the convolutional one. To add a
network or a setting: a line at RUNS.
"""

from __future__ import annotations

import re
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console

from tinyinc_host import bench_engine, cli, data, emulated_pico
from tinyinc_host.bench_engine import GCC, stream
from tinyinc_host.emulated_pico import FIRMWARE, STOCK, Pico
from tinyinc_host.network import network as build_network
from tinyinc_host.report import Result, at_most, write
from tinyinc_host.simulate import ROOT

OUTPUT = ROOT / "build" / "bench" / "boards.json"
PROGRAM = Path(__file__).with_name("bench_pico.py")

MHZ = 125
SETTLING = 2000
OTHER_LINES = 3  # of the program, after those of learn()
LEARNING_RATE = 1 / 64  # with much more, the deeper network's units die
OVERHEAD_MS = 1.0  # the most that package and binding may take
RAM_KB = 24  # the most of network 64-32-10, package and all
NATIVE_PERCENT = 115  # the most that learn() may take with the native module, of the user module's


@dataclass(frozen=True)
class Network:
    name: str
    made: bench_engine.Network
    memory: int  # samples it keeps


@dataclass(frozen=True)
class Run:
    network: Network
    format: str
    rule: str
    samples: int
    target: float | None = None  # milliseconds of learn() in the mean


SMALL = Network("64-32-10", bench_engine.NETWORKS["B"], 64)
LARGE = Network("784-32-16-10", bench_engine.NETWORKS["A"], 32)
CONVOLUTIONAL = Network("network C", bench_engine.NETWORKS["C"], 32)
RUNS = (
    Run(SMALL, "q8", "sampled", 400, 2.0),
    Run(SMALL, "q8", "full", 200, 3.5),
    Run(LARGE, "q8", "sampled", 200, 7.0),
    Run(LARGE, "q8", "full", 100, 12.0),
    Run(CONVOLUTIONAL, "q8", "sampled", 30),
    Run(CONVOLUTIONAL, "q8", "full", 10),
    Run(SMALL, "f32", "sampled", 100),
    Run(SMALL, "f32", "full", 50),
)

# What a script takes from the first import to the first lesson.
MEMORY_SCRIPT = """
import gc
x = bytearray(64)
gc.collect()
before = gc.mem_alloc()
import tinyinc
net = tinyinc.create(inputs=64, classes=10, hidden=(32,), range=(0, 16), format="{format}")
net.learn(x, "0")
gc.collect()
print(gc.mem_alloc() - before, net.image_bytes, net.scratch_bytes)
"""


def engine_code() -> str:
    """Addresses of the engine's code in the firmware, from the linker's map."""
    text = FIRMWARE.with_name("firmware.elf.map").read_text()
    text = text[text.index("Linker script and memory map") :]  # before it: what was left out
    pieces = re.findall(
        r"\.\w[\w.]*\s+0x([0-9a-f]{8,16})\s+0x([0-9a-f]+)\s+\S*usermod_c/core/\S+\.o", text
    )
    ranges = [(int(at, 16), int(size, 16)) for at, size in pieces if int(size, 16)]
    if not ranges:
        raise OSError(f"the linker's map of '{FIRMWARE}' names no code of the engine")
    return "".join(f"{at:x} {at + size:x}\n" for at, size in ranges)


def prepare(run: Run, folder: Path) -> None:
    """The network's file, settled, and the samples for the board."""
    made = run.network.made
    dataset = data.load(made.dataset)
    rows, targets = stream(dataset, SETTLING + run.samples)
    net = build_network(
        made.shape,
        made.layers,
        labels=dataset.labels,
        raw_range=(dataset.low, dataset.high),
        memory=run.network.memory,
        format=run.format,
        rule=run.rule,
        learning_rate=LEARNING_RATE,
        replay=1,
    )
    for row, target in zip(rows[:SETTLING], targets[:SETTLING]):
        net.learn(row, dataset.labels[target])
    net.save(str(folder / "network.tinc"))
    content = bytearray()
    for row, target in zip(rows[SETTLING:], targets[SETTLING:]):
        content += np.asarray(row).astype(np.uint8).tobytes()
        content.append(net.labels.index(dataset.labels[target]))
    (folder / "samples.bin").write_bytes(content)


def result(name: str, value: float, unit: str, most: float | None) -> Result:
    return Result(name, value, unit) if most is None else at_most(name, value, unit, most)


def timed(run: Run) -> dict[Path, np.ndarray]:
    """What the board says of a run, line by line in milliseconds, by firmware."""
    figures = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(run, folder)
        count = folder / "count"
        count.write_text(engine_code())
        for firmware in (FIRMWARE, STOCK) if run.format == "q8" else (FIRMWARE,):
            with Pico(count=count, firmware=firmware) as pico:
                if firmware == STOCK:
                    pico.put_tinyinc()
                for file in ("network.tinc", "samples.bin"):
                    pico.put(f"/{file}", (folder / file).read_bytes())
                said = pico.run(PROGRAM.read_text())
            lines = [line.split() for line in said.splitlines()]
            if len(lines) != run.samples + OTHER_LINES:
                raise OSError(f"the board measured {len(lines)} calls: {said[-200:]!r}")
            figures[firmware] = np.array(lines, float) / [1000, 1000 * MHZ]
    return figures


def measure(run: Run) -> list[Result]:
    """A run's results."""
    figures = timed(run)
    learn, other = figures[FIRMWARE][: run.samples], figures[FIRMWARE][run.samples :]
    plain, voted, collection = other[:, 0].tolist()
    name = f"{run.network.name} {run.format}, {run.rule}"
    total, engine = learn.mean(axis=0).tolist()
    results = [result(f"{name}: learn()", total, "ms", run.target)]
    results.append(Result(f"{name}: the slowest", float(learn[:, 0].max()), "ms"))
    if run.format == "q8":  # float32 is computed outside the engine
        results.append(Result(f"{name}: in the engine", engine, "ms"))
        most = OVERHEAD_MS if run.target else None  # memmove() and memset() count, too
        results.append(result(f"{name}: overhead", total - engine, "ms", most))
    if STOCK in figures:
        native = float(figures[STOCK][: run.samples, 0].mean())
        results.append(Result(f"{name}: learn(), native module", native, "ms"))
        share = 100 * native / total
        results.append(at_most(f"{name}: native to user module", share, "%", NATIVE_PERCENT))
    results.append(Result(f"{name}: predict()", plain, "ms"))
    results.append(Result(f"{name}: voting, in addition", voted - plain, "ms"))
    results.append(Result(f"{name}: a garbage collection", collection, "ms"))
    return results


def memory(number_format: str, firmware: Path) -> list[Result]:
    """RAM of network 64-32-10 on a board that has just started."""
    with Pico(firmware=firmware) as pico:
        if firmware == STOCK:
            pico.put_tinyinc()
        said = pico.run(MEMORY_SCRIPT.format(format=number_format))
    taken, image, scratch = (int(word) / 1024 for word in said.split())
    name = f"64-32-10 {number_format}: RAM"
    if firmware == STOCK:
        return [Result(f"{name}, native module and package as files", taken, "KB")]
    most = RAM_KB if number_format == "q8" else None
    return [
        result(name, taken, "KB", most),
        Result(f"{name} of image and scratch", image + scratch, "KB"),
    ]


def main() -> None:
    console = Console(stderr=True)
    reason = emulated_pico.lacking() or emulated_pico.lacking(STOCK)
    if reason:
        raise FileNotFoundError(f"the emulated Pico is not there: {reason}")
    results = memory("q8", FIRMWARE) + memory("q8", STOCK) + memory("f32", FIRMWARE)
    for run in RUNS:
        console.print(f"{run.network.name} {run.format}, {run.rule}: {run.samples} samples ...")
        results += measure(run)
    write(OUTPUT, results, GCC)
    for result in results:
        held = {None: "", True: "holds", False: "MISSED"}[result.holds]
        console.print(f"{result.name:50} {result.value:8.2f} {result.unit} {result.target} {held}")


if __name__ == "__main__":
    cli.run(main)
