"""What `make bench-engine` measures: the engine on emulated microcontrollers, in counts that repeat
exactly. Writes build/bench/engine.json.

A job is a network and samples; the program boards/emulators/bench.c runs it on every machine. That
each machine ends with the very weights that the desktop's core gets is checked on the way. To add a
network, a core or a rule, add a line to NETWORKS, MACHINES or WORKS.
"""

from __future__ import annotations

import functools
import os
import re
import shutil
import struct
import subprocess
import sys
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

import tinyinc
from tinyinc import image
from tinyinc.engine import engine
from tinyinc_host import cli, data
from tinyinc_host.network import Layer, calibrate, conv, dense, forward, max_pool, with_weights
from tinyinc_host.network import network as build_network
from tinyinc_host.pretrain import one_of_each_first, typecode
from tinyinc_host.report import Result, at_most, progress_bars, write
from tinyinc_host.simulate import ROOT

SOURCE = ROOT / "boards" / "emulators"
CORE = ROOT / "usermod_c" / "core"
MODULE = ROOT / "usermod_c" / "natmod" / "Makefile"
BUILD = ROOT / "build" / "emulators"
OUTPUT = ROOT / "build" / "bench" / "engine.json"

GCC = "arm-none-eabi-gcc"
# Programs, and the Debian packages that bring them.
TOOLS = {
    GCC: "gcc-arm-none-eabi",
    "qemu-system-arm": "qemu-system-arm",
    "node": "nodejs",
    "npm": "npm",
}
SECONDS = 600  # that one job may take

CLASSES = 10
FULL_SAMPLES = 8
TRAINING_STEPS = 2000  # before rule sampled is measured
SAMPLED_SAMPLES = 200
SMALL_RATE = 2**-10  # of rule full: no unit dies while it is measured


# ---- what is measured ----


@dataclass(frozen=True)
class Network:
    """What takes samples of this shape; the dataset holds real ones."""

    shape: tuple[int, ...]
    layers: tuple[Layer, ...]
    dataset: str


LEARN, INFER, LAYER = range(3)  # the calls that bench.c can measure


@dataclass(frozen=True)
class Job:
    """A network's image with samples, and the call to measure on them."""

    sections: tuple
    samples: list[array]
    targets: list[int]
    call: int = LEARN

    def pack(self) -> bytes:
        """As bench.c reads it."""
        content = b"".join(bytes(section) for section in self.sections)
        first = self.samples[0]
        sizes = len(content), len(self.samples), len(first) * first.itemsize
        header = struct.pack("<5I", self.call, *sizes, ord(first.typecode))
        targets = struct.pack(f"<{len(self.targets)}I", *self.targets)
        return header + content + targets + b"".join(map(bytes, self.samples))


@dataclass(frozen=True)
class Machine:
    """A core and where it is emulated. The program lies in `flash`, the job is put at `job`. It is
    compiled as the native module is, or for speed, as what it is compared with was."""

    core: str
    architecture: str  # as MicroPython names it
    flags: tuple[str, ...]
    unit: str  # of its counts
    qemu: str  # its name there; none: the RP2040 emulator
    flash: int
    ram_bytes: int
    job: int
    for_speed: bool = False
    ram: int = 0x20000000


M0PLUS = ("Cortex-M0+", "armv6m", ("-mcpu=cortex-m0plus", "-mthumb"))
M4F = (
    "Cortex-M4F",
    "armv7emsp",
    ("-mcpu=cortex-m4", "-mthumb", "-mfpu=fpv4-sp-d16", "-mfloat-abi=hard"),
)
KB = 1024
MACHINES = (
    Machine(*M0PLUS, "instructions", "mps2-an385", 0, 4096 * KB, 0x21000000),
    Machine(*M0PLUS, "cycles", "", 0x10000000, 264 * KB, 0x10100000),
    Machine(*M4F, "instructions", "mps2-an386", 0, 4096 * KB, 0x21000000, for_speed=True),
)

NETWORKS = {
    "A": Network((784,), (dense(32), dense(16), dense(CLASSES)), "mnist"),
    "B": Network((64,), (dense(32), dense(CLASSES)), "digits"),
    "C": Network(
        (28, 28, 1),
        (conv(8, 3, padding=1), max_pool(2), conv(16, 3, padding=1), max_pool(2), dense(CLASSES)),
        "mnist",
    ),
}
ONE_LAYER = Network((784,), (dense(32),), "")


def full_work(network: Network, number_format: str, call: int = LEARN) -> Job:
    """A step that has all to do: no input is zero and every hidden unit is alive."""
    rng = np.random.default_rng(0)
    inputs = int(np.prod(network.shape))
    samples = rng.uniform(0.05, 1, (FULL_SAMPLES, inputs)).astype(np.float32)
    layers = calibrate(network.shape, alive(network, samples, rng), samples)
    net = made(network, layers, number_format, (0.0, 1.0), rule="full")
    engine.seal(net.sections)
    rows = [array("f", row.tobytes()) for row in samples]
    return Job(net.sections, rows, [i % net.class_capacity for i in range(len(rows))], call)


def alive(network: Network, samples: np.ndarray, rng: np.random.Generator) -> list[Layer]:
    """He weights everywhere, and biases so high that no hidden unit is off on any sample."""
    high = 100.0
    layers = with_weights(network.shape, network.layers)
    for index, layer in enumerate(layers):
        if layer.has_weights:
            bound = (6 / np.prod(layer.weights.shape[1:])) ** 0.5
            drawn = rng.uniform(-bound, bound, layer.weights.shape)
            layers[index] = replace(layer, weights=drawn, bias=layer.bias + high)
            values = forward(network.shape, layers, samples)[index]
            least = values.min(axis=tuple(range(values.ndim - 1)))
            layers[index] = replace(layers[index], bias=1 + high - least)
    return layers


def made(
    network: Network, layers: Sequence[Layer], number_format: str, span: tuple, **settings
) -> tinyinc.Net:
    """The network without a memory, whose classes all have their labels."""
    names = data.DIGIT_NAMES if layers[-1].units == CLASSES else range(layers[-1].units)
    rate = {"learning_rate": SMALL_RATE} if settings["rule"] == "full" else {}
    return build_network(
        network.shape,
        layers,
        labels=list(names),
        raw_range=span,
        format=number_format,
        replay=0,
        logit_adjustment=0,  # else the first lessons would spare what they have not seen yet
        **(rate | settings),
    )


def forward_work(network: Network, number_format: str) -> Job:
    """The forward pass alone, on the same."""
    return full_work(network, number_format, INFER)


def frozen(network: Network) -> Network:
    layers = [
        replace(layer, train="none") if layer.has_weights else layer for layer in network.layers
    ]
    return replace(network, layers=tuple(layers))


def sampled_work(network: Network, number_format: str) -> Job:
    """The next real samples after TRAINING_STEPS of the default rule and settings."""
    dataset = data.load(network.dataset)
    if dataset.inputs != np.prod(network.shape) or len(dataset.labels) != CLASSES:
        raise ValueError(
            f"dataset {dataset.name} has {dataset.inputs} values and {len(dataset.labels)} classes,"
            f" expected {np.prod(network.shape)} and {CLASSES}"
        )
    rows, targets = stream(dataset, TRAINING_STEPS + SAMPLED_SAMPLES)
    layers = with_weights(network.shape, network.layers)
    net = made(network, layers, number_format, (dataset.low, dataset.high), rule="sampled")
    for row, target in zip(rows[:TRAINING_STEPS], targets[:TRAINING_STEPS]):
        net.learn(row, net.labels[target])
    engine.seal(net.sections)
    return Job(net.sections, rows[TRAINING_STEPS:], targets[TRAINING_STEPS:])


def stream(dataset: data.Dataset, count: int) -> tuple[list[array], list[int]]:
    """Training samples in a random order, again and again, as arrays with their targets."""
    order = np.random.default_rng(0).permutation(len(dataset.train_samples))
    order = np.resize(one_of_each_first(order, dataset.train_labels), count)
    code = typecode(dataset.train_samples)
    rows = [array(code, dataset.train_samples[i].tobytes()) for i in order]
    return rows, [int(dataset.train_labels[i]) for i in order]


WORKS: dict[str, Callable[[Network, str], Job]] = {
    "full": full_work,
    "sampled": sampled_work,
    "forward": forward_work,
}

# Reference and, where one is asked for, the most it may be; by name of the result.
REFERENCES = {
    "A f32, full, Cortex-M0+, cycles": ("AIfES f32, all weights: 28.0 M", None),
    "A q8, full, Cortex-M0+, cycles": ("AIfES f32, all weights: 28.0 M", 0.60e6),
    "A q8, sampled, Cortex-M0+, cycles": ("AIfES f32, all weights: 28.0 M", 0.35e6),
    "A q8, full, Cortex-M0+, RAM": ("AIfES f32: 411 KB", 72 * KB),
    "B q8, full, Cortex-M0+, cycles": ("AIfES f32, all weights: 2.72 M", 65e3),
    "B q8, full, Cortex-M0+, RAM": ("AIfES f32: 36 KB", 10 * KB),
    "C q8, full, Cortex-M0+, cycles": ("AIfES f32, all weights: 315 M", 9e6),
    "C q8, sampled, Cortex-M0+, cycles": ("AIfES f32, all weights: 315 M", 5e6),
    "C q8, full, Cortex-M0+, RAM": ("AIfES f32: 233 KB", 64 * KB),
    "dense 784x32 int8, forward, Cortex-M0+, cycles per MAC": (
        "CMSIS-NN: 8.38; naive C: 10.0",
        5.0,
    ),
    "C int8, forward, Cortex-M0+, cycles": ("CMSIS-NN: 5.50 M", 4.0e6),
    "A f32, full, Cortex-M4F, instructions": (
        "AIfES f32, all weights: 2.97 M; plain fused C: 232 k",
        180e3,
    ),
    "C f32, full, Cortex-M4F, instructions": (
        "AIfES f32, all weights: 42.3 M; plain fused C: 2.50 M",
        2.2e6,
    ),
    "dense 784x32 int8, forward, Cortex-M4F, instructions per MAC": ("CMSIS-NN: 1.95", 1.9),
    "core q8, armv6m, text": ("all layers, constants included", 24 * KB),
}


# ---- tools ----


def missing_tools(*programs: str) -> list[str]:
    """Debian packages to install before these programs (all by default) can be used."""
    needed = programs or tuple(TOOLS)
    missing = [TOOLS[program] for program in needed if not shutil.which(program)]
    if shutil.which(GCC) and not Path(newlib()).is_file():
        missing.append("libnewlib-arm-none-eabi")
    return missing


def newlib() -> str:
    """Path of the C library, which gives the compiler its memcpy and memset."""
    return run([GCC, *M0PLUS[2], "-print-file-name=libc.a"]).strip()


def run(command: list[str | Path], **environment: str) -> str:
    """What a program prints; OSError with its last words when it fails."""
    name = Path(command[0]).name
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            env=os.environ | environment,
            timeout=SECONDS,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired:
        raise OSError(f"'{name}' did not end within {SECONDS} s") from None
    if done.returncode != 0:
        words = (done.stderr + done.stdout).strip().splitlines() or [f"exit {done.returncode}"]
        raise OSError(f"'{name}' failed: {words[-1]}")
    return done.stdout


@functools.cache
def build(machine: Machine) -> Path:
    """The bench program for a machine, as ELF; its image in flash lies beside it as .bin."""
    folder = BUILD / f"{machine.core}-{machine.qemu or 'rp2040'}"
    timer = ["-DTIMER=0x40000000"] if machine.qemu else []
    sources = [*sorted(CORE.glob("*.c")), *sorted(SOURCE.glob("*.c"))]
    objects = compiled(folder, sources, machine, timer)
    places = {
        "FLASH": machine.flash,
        "RAM": machine.ram,
        "RAM_BYTES": machine.ram_bytes,
        "PAYLOAD": machine.job,
    }
    link = [f"-Wl,--defsym={name}={value:#x}" for name, value in places.items()]
    link += ["-nostartfiles", "-Wl,--no-warn-rwx-segments", "-T", SOURCE / "bench.ld"]
    program = folder / "bench.elf"
    run([GCC, *machine.flags, *link, "-o", program, *objects])
    run(["arm-none-eabi-objcopy", "-O", "binary", program, program.with_suffix(".bin")])
    return program


def module_words(variable: str, architecture: str = "") -> list[str]:
    """A variable of the native module's Makefile; an architecture may have its own."""
    settings = dict(re.findall(r"^(\w+) := (.*)$", MODULE.read_text(), re.MULTILINE))
    return settings.get(f"{variable}_{architecture}", settings[variable]).split()


def module_flags(source: Path, architecture: str) -> list[str]:
    """How a file is compiled: as in the native module, but for armv6m for size alone, where the
    module spends 2 KB on speed."""
    fast = architecture != "armv6m" and source.stem in module_words("KERNELS", architecture)
    optimise = "-O2" if fast else "-Os"
    return [optimise, *module_words("FLAGS")]


def compiled(
    folder: Path, sources: Iterable[Path], machine: Machine, more_flags: Iterable[str]
) -> list[Path]:
    """The objects of these sources in a folder of their own."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    objects = []
    for source in sources:
        flags = module_flags(source, machine.architecture)
        flags += ["-O2"] if machine.for_speed else []
        flags += ["-std=c99", f"-I{CORE}", *machine.flags, *more_flags]
        objects.append(folder / f"{source.stem}.o")
        run([GCC, *flags, "-c", source, "-o", objects[-1]])
    return objects


def code_bytes(machine: Machine, flags: Sequence[str]) -> int:
    """Text of the core in the module, constants included, without the libraries that it calls."""
    machine = replace(machine, for_speed=False)
    objects = compiled(BUILD / "size", sorted(CORE.glob("*.c")), machine, flags)
    lines = run(["arm-none-eabi-size", *objects]).splitlines()[1:]
    return sum(int(line.split()[0]) for line in lines)


@functools.cache
def rp2040js() -> Path:
    """The folder of node modules with the RP2040 emulator, installed on first use."""
    modules = BUILD / "node_modules"
    wanted = (SOURCE / "package.json").read_text()
    stamp = BUILD / "package.json"
    if not modules.is_dir() or not stamp.is_file() or stamp.read_text() != wanted:
        BUILD.mkdir(parents=True, exist_ok=True)
        stamp.unlink(missing_ok=True)
        shutil.copy(SOURCE / "package.json", stamp)
        quiet = ["--silent", "--no-audit", "--no-fund", "--no-package-lock"]
        try:
            run(["npm", "install", *quiet, "--prefix", BUILD])
        except OSError as error:
            stamp.unlink()
            raise OSError(f"cannot install the RP2040 emulator: {error}") from None
    return modules


# ---- machines ----

# Virtual nanoseconds per instruction are 2^8, a tick of the timer is 40 ns: 6.4 ticks each.
ICOUNT_SHIFT = 8
TICK_NS = 40

# Of the loop in bench.c: movs, lsls, and 64 000 times subs and bne, which takes a second cycle when
# it is taken.
LOOP = {"instructions": 2 + 2 * 64000, "cycles": 2 + 3 * 64000 - 1}


@dataclass(frozen=True)
class Outcome:
    """What a machine reports of a job."""

    counts: list[int]  # per sample, in the machine's unit
    forward: list[int]  # multiply-accumulates
    backward: list[int]
    ram: dict[str, int]
    crc: int  # of the trained section afterwards


def emulator(machine: Machine, job: Job, profiled: bool = False) -> list[str | Path]:
    """The command that runs a job on a machine."""
    program = build(machine)
    path = program.with_name("job")
    path.write_bytes(job.pack())
    if not machine.qemu:
        option = ["--profile"] if profiled else []
        binary = program.with_suffix(".bin")
        return ["node", SOURCE / "rp2040.js", *option, binary, path, hex(machine.job)]
    trace = ["-singlestep", "-d", "exec,nochain"] if profiled else []
    return [
        *("qemu-system-arm", "-M", machine.qemu, "-icount", f"shift={ICOUNT_SHIFT}"),
        *("-display", "none", "-monitor", "none", "-serial", "none"),
        *("-chardev", "stdio,id=out", "-semihosting-config", "enable=on,chardev=out"),
        *("-device", f"loader,file={path},addr={machine.job:#x},force-raw=on"),
        *("-kernel", program),
        *trace,
    ]


def execute(machine: Machine, job: Job, profiled: bool = False) -> str:
    """Run a job on a machine; what the program prints."""
    environment = {} if machine.qemu else {"NODE_PATH": str(rp2040js())}
    return run(emulator(machine, job, profiled), **environment)


def measure(machine: Machine, job: Job) -> Outcome:
    """Run a job on a machine. OSError where its clock does not count what it should."""
    said: dict[str, list[list[int]]] = {}
    for line in execute(machine, job).splitlines():
        word, *rest = line.split()
        said.setdefault(word, []).append([int(number) for number in rest])
    nothing, loop = said["loop"][0]
    if counted(machine, loop - nothing) != LOOP[machine.unit]:
        raise OSError(
            f"{machine.core}: the clock gives {counted(machine, loop - nothing)} {machine.unit} "
            f"for a loop of {LOOP[machine.unit]}"
        )
    parts = ("sections", "scratch", "sample", "stack")
    spent, forward, backward = zip(*said["step"])
    return Outcome(
        [counted(machine, ticks - nothing) for ticks in spent],
        list(forward),
        list(backward),
        dict(zip(parts, said["ram"][0])),
        said["crc"][0][0],
    )


def counted(machine: Machine, ticks: int) -> int:
    """Ticks of the program's clock in the machine's unit."""
    if not machine.qemu:
        return ticks
    return round(ticks * TICK_NS / (1 << ICOUNT_SHIFT))


def on_desktop(job: Job) -> Outcome:
    """The same job with the desktop's core: no counts, but the work done and the weights left."""
    sections = tuple(bytearray(section) for section in job.sections)
    structure = sections[image.STRUCTURE]
    code = "b" if image.is_q8(structure) else "f"
    x = array(code, bytes(array(code).itemsize * image.inputs(structure)))
    counts = array("I", bytes(4 * (4 + structure[43])))
    figures = array("f", bytes(12))
    scratch = bytearray(engine.scratch_bytes(sections))
    done, backward = [], []
    for raw, target in zip(job.samples, job.targets):
        engine.normalise(sections, raw, x)
        engine.learn(sections, x, target, counts, figures, scratch)
        done.append(counts[2])
        backward.append(counts[3] if job.call == LEARN else 0)
    left = sections if job.call == LEARN else job.sections
    return Outcome([], done, backward, {}, engine.crc32(left[image.TRAINED]))


def checked(machine: Machine, job: Job) -> Outcome:
    """measure(), and OSError where the machine did not do exactly what the desktop does."""
    outcome, expected = measure(machine, job), on_desktop(job)
    if job.call == INFER:  # the call itself reports no work
        outcome = replace(outcome, forward=expected.forward, backward=expected.backward)
    if replace(outcome, counts=[], ram={}) != expected:
        raise OSError(f"{machine.core} ({machine.unit}) learns other weights than the desktop")
    return outcome


# ---- where the work goes ----

# What bench.c calls between two readings of the clock, and what they return to.
MEASURED = ("tinc_learn", "tinc_infer", "tinc_f32_run", "tinc_q8_run")
MEASURING = ("measure", "measure_layer")
PROFILED_SAMPLES = 8


def profile(machine: Machine, job: Job) -> Counter[str]:
    """Instructions or cycles of a job's measured calls, by function."""
    if machine.qemu:
        command = emulator(machine, job, profiled=True)
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL}
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, **pipes) as process:
            spent = traced(process.stderr)
        if process.returncode != 0 or not spent:
            raise OSError("this QEMU does not trace single instructions (-singlestep)")
        return spent
    symbols = function_symbols(build(machine))
    spent = Counter()
    for line in execute(machine, job, profiled=True).splitlines():
        if line.startswith("pc "):
            _, address, cycles = line.split()
            spent[function_at(symbols, int(address))] += int(cycles)
    return Counter({name: n for name, n in spent.items() if name not in ("calibrate", *MEASURING)})


def traced(lines: Iterable[str]) -> Counter[str]:
    """Count a trace of single instructions; every line ends with the name of the function."""
    spent: Counter[str] = Counter()
    measuring = False
    for line in lines:
        if line.startswith("Trace"):
            name = line.split("]", 1)[1].strip()
            measuring = (measuring or name in MEASURED) and name not in MEASURING
            spent[name] += measuring
    return +spent


def function_symbols(program: Path) -> list[tuple[int, str]]:
    lines = run(["arm-none-eabi-nm", "-n", program]).splitlines()
    entries = [line.split() for line in lines]
    return [(int(e[0], 16) & ~1, e[2]) for e in entries if len(e) == 3 and e[1] in "tT"]


def function_at(symbols: list[tuple[int, str]], address: int) -> str:
    return next((name for at, name in reversed(symbols) if at <= address), "?")


# ---- results ----


def jobs(console: Console) -> Iterator[tuple[str, str, Job]]:
    """Every network with every work, where its data is at hand."""
    known = data.known()
    for letter, network in NETWORKS.items():
        for work, make in WORKS.items():
            if make is sampled_work and network.dataset not in known:
                console.print(
                    f"no {network.dataset} in {data.FOLDER_VARIABLE}: {letter} without {work}"
                )
                continue
            for number_format in image.FORMATS:
                yield f"{letter} {number_format}", work, make(network, number_format)
    yield "C int8", "forward", forward_work(frozen(NETWORKS["C"]), "q8")
    yield "dense 784x32 int8", "forward", full_work(frozen(ONE_LAYER), "q8", LAYER)


def results_of(name: str, machine: Machine, outcome: Outcome) -> list[Result]:
    """One machine's numbers on one job: means over its samples."""
    count, forward, backward = (
        float(np.mean(numbers)) for numbers in (outcome.counts, outcome.forward, outcome.backward)
    )
    rows = [
        (machine.unit, count, machine.unit),
        (f"{machine.unit} per MAC", count / (forward + backward), f"{machine.unit}/MAC"),
        ("MACs forward", forward, "MACs"),
        ("MACs backward", backward, "MACs"),
        ("RAM", float(sum(outcome.ram.values())), "bytes"),
    ]
    return [judged(f"{name}, {machine.core}, {what}", n, unit) for what, n, unit in rows]


def judged(name: str, value: float, unit: str) -> Result:
    reference, most = REFERENCES.get(name, ("", None))
    if most is None:
        return Result(name, value, unit, reference)
    return at_most(name, value, unit, most, reference)


def code_results() -> list[Result]:
    """Size of the core, once per architecture: with both formats, and with q8 alone."""
    architectures = {machine.architecture: machine for machine in MACHINES}
    return [
        judged(f"core {formats}, {name}, text", code_bytes(machine, flag), "bytes")
        for name, machine in architectures.items()
        for formats, flag in {"f32 and q8": [], "q8": ["-DTINYINC_F32=0"]}.items()
    ]


SELECTING = "topk.o"  # the functions in it select what is trained
MOST_SELECTING = 0.03  # of a step


def selection(name: str, machine: Machine, job: Job) -> Result:
    """Which share of a step goes into the selection of the gradient's largest elements."""
    lines = run(["arm-none-eabi-nm", build(machine).parent / SELECTING]).splitlines()
    functions = {line.split()[-1] for line in lines if line.split()[-2] in "tT"}
    spent = profile(machine, first_few(job))
    share = sum(spent[function] for function in functions) / spent.total()
    return at_most(f"{name}, {machine.core}, selection", share, "of the step", MOST_SELECTING)


def first_few(job: Job) -> Job:
    few = PROFILED_SAMPLES
    return replace(job, samples=job.samples[:few], targets=job.targets[:few])


# Header of a column, and the results of which it shows the first that is there.
COLUMNS = {
    "instruc-\ntions": ("instructions",),
    "cycles": ("cycles",),
    "per\nMAC": ("cycles per MAC", "instructions per MAC"),
    "MACs\nforward": ("MACs forward",),
    "MACs\nbackward": ("MACs backward",),
    "RAM,\nbytes": ("RAM",),
    "selec-\ntion": ("selection",),
}


def show(results: list[Result], console: Console) -> None:
    """A row per job and core; then what is compared with something."""
    rows: dict[str, dict[str, Result]] = {}
    for result in results:
        what, _, number = result.name.rpartition(", ")
        rows.setdefault(what, {})[number] = result
    table = Table(box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    table.add_column("mean per call", vertical="bottom", no_wrap=True)
    for header in COLUMNS:
        table.add_column(header, justify="right", vertical="bottom", no_wrap=True)
    for what, numbers in rows.items():
        cells = [
            next((numbers[n] for n in names if n in numbers), None) for names in COLUMNS.values()
        ]
        if any(cells):
            table.add_row(what, *["" if cell is None else brief(cell.value) for cell in cells])
    console.print(table)
    for result in results:
        if result.reference or result.holds is False:
            verdict = {None: "", True: ", holds", False: ", DOES NOT HOLD"}[result.holds]
            target = f"; {result.target}{verdict}" if result.target else ""
            line = f"{result.name}: {brief(result.value)} ({result.reference}{target})"
            console.print(line, highlight=False, soft_wrap=True)


def brief(value: float) -> str:
    """Four digits and a factor."""
    for factor, letter in ((1e6, "M"), (1e3, "k")):
        if value >= factor:
            return f"{value / factor:.4g}{letter}"
    return f"{value:.3g}"


def show_profiles(console: Console) -> None:
    """Where the work of each job goes on each core: in cycles where an emulator counts them."""
    for name, work, job in jobs(console):
        few = first_few(job)
        for machine in {machine.core: machine for machine in MACHINES}.values():
            spent = profile(machine, few)
            total = spent.total()
            console.print(f"{name}, {work}, {machine.core}: {machine.unit} per call by function")
            for function, count in [("all", total), *spent.most_common(10)]:
                mean = brief(count / len(few.samples))
                console.print(f"{mean:>10} {100 * count / total:6.1f} %  {function}")


def main() -> None:
    console = Console()
    missing = missing_tools()
    if missing:
        names = " ".join(missing)
        raise OSError(f"not installed: {names}. On Debian: sudo apt-get install {names}")
    if "--profile" in sys.argv[1:]:
        show_profiles(console)
        return
    found: dict[str, Result] = {}
    with progress_bars(console) as progress:
        all_jobs = list(jobs(progress.console))
        bar = progress.add_task("", total=len(all_jobs) * len(MACHINES))
        for name, work, job in all_jobs:
            for machine in MACHINES:
                progress.update(bar, description=f"{name}, {work}, {machine.core}")
                results = results_of(f"{name}, {work}", machine, checked(machine, job))
                if job.call == LEARN and not machine.qemu:
                    results.append(selection(f"{name}, {work}", machine, job))
                found |= {result.name: result for result in results}
                progress.advance(bar)
    results = [*found.values(), *code_results()]
    write(OUTPUT, results, GCC)
    show(results, console)
    console.print(f"written: {OUTPUT}", soft_wrap=True, highlight=False)


if __name__ == "__main__":
    cli.run(main)
