"""What `make bench-engine` measures: the engine on emulated microcontrollers, in counts that repeat
exactly. Writes build/bench/engine.json.

A job is a network and samples; the program boards/emulators/bench.c runs it on every machine. That
each machine ends with the very weights that the desktop's core gets is checked on the way. To add a
network, a core or a rule, add a line to NETWORKS, MACHINES or WORKS.
"""

from __future__ import annotations

import functools
import os
import shutil
import struct
import subprocess
import sys
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

import tinyinc
from tinyinc import image
from tinyinc.engine import engine
from tinyinc_host import data
from tinyinc_host.cli import refuse
from tinyinc_host.pretrain import one_of_each_first, typecode
from tinyinc_host.report import Result, at_most, write
from tinyinc_host.simulate import ROOT

SOURCE = ROOT / "boards" / "emulators"
CORE = ROOT / "usermod_c" / "core"
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
SMALL_RATE = 0.001  # of rule full: no unit dies while it is measured


# ---- what is measured ----


@dataclass(frozen=True)
class Network:
    """A dense network; the dataset holds its real samples."""

    inputs: int
    hidden: tuple[int, ...]
    dataset: str


@dataclass(frozen=True)
class Job:
    """A network's image with samples, and the call to measure on them."""

    sections: tuple
    samples: list[array]
    targets: list[int]
    infer: bool = False

    def pack(self) -> bytes:
        """As bench.c reads it."""
        content = b"".join(bytes(section) for section in self.sections)
        first = self.samples[0]
        sizes = len(content), len(self.samples), len(first) * first.itemsize
        header = struct.pack("<5I", self.infer, *sizes, ord(first.typecode))
        targets = struct.pack(f"<{len(self.targets)}I", *self.targets)
        return header + content + targets + b"".join(map(bytes, self.samples))


@dataclass(frozen=True)
class Machine:
    """A core and where it is emulated. The program lies in `flash`, the job is put at `job`."""

    core: str
    architecture: str  # as MicroPython names it
    flags: tuple[str, ...]
    unit: str  # of its counts
    qemu: str  # its name there; none: the RP2040 emulator
    flash: int
    ram_bytes: int
    job: int
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
    Machine(*M4F, "instructions", "mps2-an386", 0, 4096 * KB, 0x21000000),
)

NETWORKS = {
    "A": Network(784, (32, 16), "mnist"),
    "B": Network(64, (32,), "digits"),
}


def full_work(network: Network) -> Job:
    """A step that has all to do: no input is zero and every hidden unit is alive."""
    generator = np.random.default_rng(0)
    samples = generator.uniform(0.05, 1, (FULL_SAMPLES, network.inputs)).astype(np.float32)
    net = tinyinc.create(
        inputs=network.inputs,
        hidden=network.hidden,
        classes=CLASSES,
        range=(0.0, 1.0),
        memory=0,
        rule="full",
        learning_rate=SMALL_RATE,
        replay=0,
    )
    for digit in range(CLASSES):
        net.learn(samples[0].tolist(), str(digit))
    randomise(net, samples, generator)
    engine.seal(net.sections)
    rows = [array("f", row.tobytes()) for row in samples]
    return Job(net.sections, rows, [i % CLASSES for i in range(len(rows))])


def randomise(net: tinyinc.Net, samples: np.ndarray, generator: np.random.Generator) -> None:
    """He weights everywhere, and biases so high that no hidden unit is off on any sample."""
    structure, trained = net.sections[image.STRUCTURE], net.sections[image.TRAINED]
    x = samples
    for layer in range(net.layer_count):
        units, inputs = image.active(structure, layer), x.shape[1]
        offsets = (image.layer_field(structure, layer, at) for at in (52, 56))
        weights, bias = (np.frombuffer(trained, np.float32, offset=offset) for offset in offsets)
        bound = (6 / inputs) ** 0.5
        rows = weights[: units * inputs].reshape(units, inputs)
        rows[:] = generator.uniform(-bound, bound, rows.shape)
        if layer < net.layer_count - 1:
            x = x @ rows.T
            bias[:units] = 1 - x.min(axis=0)
            x = x + bias[:units]


def forward_work(network: Network) -> Job:
    """The forward pass alone, on the same."""
    job = full_work(network)
    return Job(job.sections, job.samples, job.targets, infer=True)


def sampled_work(network: Network) -> Job:
    """The next real samples after TRAINING_STEPS of the default rule and settings."""
    dataset = data.load(network.dataset)
    if dataset.inputs != network.inputs or len(dataset.labels) != CLASSES:
        raise ValueError(
            f"dataset {dataset.name} has {dataset.inputs} values and {len(dataset.labels)} classes,"
            f" expected {network.inputs} and {CLASSES}"
        )
    net = tinyinc.create(
        inputs=network.inputs,
        hidden=network.hidden,
        classes=CLASSES,
        range=(dataset.low, dataset.high),
        memory=0,
        rule="sampled",
        replay=0,
    )
    rows, targets = stream(dataset, TRAINING_STEPS + SAMPLED_SAMPLES)
    for row, target in zip(rows[:TRAINING_STEPS], targets[:TRAINING_STEPS]):
        net.learn(row, dataset.labels[target])
    engine.seal(net.sections)
    numbers = [net.labels.index(dataset.labels[target]) for target in targets[TRAINING_STEPS:]]
    return Job(net.sections, rows[TRAINING_STEPS:], numbers)


def stream(dataset: data.Dataset, count: int) -> tuple[list[array], list[int]]:
    """Training samples in a random order, again and again, as arrays with their targets."""
    order = np.random.default_rng(0).permutation(len(dataset.train_samples))
    order = np.resize(one_of_each_first(order, dataset.train_labels), count)
    code = typecode(dataset.train_samples)
    rows = [array(code, dataset.train_samples[i].tobytes()) for i in order]
    return rows, [int(dataset.train_labels[i]) for i in order]


WORKS: dict[str, Callable[[Network], Job]] = {
    "full": full_work,
    "sampled": sampled_work,
    "forward": forward_work,
}

# Reference and, where one is asked for, the most it may be; by name of the result.
REFERENCES = {
    "A f32, full, Cortex-M0+, cycles": ("AIfES f32, all weights: 28.0 M", None),
    "A f32, full, Cortex-M0+, RAM": ("AIfES f32: 411 KB", None),
    "B f32, full, Cortex-M0+, cycles": ("AIfES f32, all weights: 2.72 M", None),
    "B f32, full, Cortex-M0+, RAM": ("AIfES f32: 36 KB", None),
    "A f32, full, Cortex-M4F, instructions": (
        "AIfES f32, all weights: 2.97 M; plain fused C: 232 k",
        180e3,
    ),
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
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    flags = [*machine.flags, "-std=c99", "-O2", "-ffp-contract=off", "-ffreestanding", f"-I{CORE}"]
    objects = []
    for source in [*sorted(CORE.glob("*.c")), *sorted(SOURCE.glob("*.c"))]:
        objects.append(folder / f"{source.stem}.o")
        timer = ["-DTIMER=0x40000000"] if machine.qemu else []
        run([GCC, *flags, *timer, "-c", source, "-o", objects[-1]])
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


def code_bytes(machine: Machine) -> int:
    """Text of the core, constants included, without the libraries that it calls."""
    folder = build(machine).parent
    objects = [folder / f"{source.stem}.o" for source in sorted(CORE.glob("*.c"))]
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
    x = array("f", bytes(4 * image.inputs(sections[image.STRUCTURE])))
    counts = array("I", bytes(4 * (4 + sections[image.STRUCTURE][43])))
    figures = array("f", bytes(12))
    scratch = bytearray(engine.scratch_bytes(sections))
    forward, backward = [], []
    for raw, target in zip(job.samples, job.targets):
        engine.normalise(sections, raw, x)
        engine.learn(sections, x, target, counts, figures, scratch)
        forward.append(counts[2])
        backward.append(0 if job.infer else counts[3])
    left = job.sections if job.infer else sections
    return Outcome([], forward, backward, {}, engine.crc32(left[image.TRAINED]))


def checked(machine: Machine, job: Job) -> Outcome:
    """measure(), and OSError where the machine did not do exactly what the desktop does."""
    outcome, expected = measure(machine, job), on_desktop(job)
    if job.infer:  # the call itself reports no work
        outcome = replace(outcome, forward=expected.forward, backward=expected.backward)
    if replace(outcome, counts=[], ram={}) != expected:
        raise OSError(f"{machine.core} ({machine.unit}) learns other weights than the desktop")
    return outcome


# ---- where the work goes ----

MEASURED = ("tinc_learn", "tinc_infer")  # what bench.c calls between two readings of the clock
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
    return Counter({name: n for name, n in spent.items() if name not in ("calibrate", "measure")})


def traced(lines: Iterable[str]) -> Counter[str]:
    """Count a trace of single instructions; every line ends with the name of the function."""
    spent: Counter[str] = Counter()
    measuring = False
    for line in lines:
        if line.startswith("Trace"):
            name = line.split("]", 1)[1].strip()
            measuring = (measuring or name in MEASURED) and name != "measure"
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
            yield f"{letter} f32", work, make(network)


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
    """Size of the core, once per architecture."""
    architectures = {machine.architecture: machine for machine in MACHINES}
    return [
        Result(f"core f32, {name}, text", code_bytes(machine), "bytes", "-O2, constants included")
        for name, machine in architectures.items()
    ]


# Header of a column, and the results of which it shows the first that is there.
COLUMNS = {
    "instruc-\ntions": ("instructions",),
    "cycles": ("cycles",),
    "per\nMAC": ("cycles per MAC", "instructions per MAC"),
    "MACs\nforward": ("MACs forward",),
    "MACs\nbackward": ("MACs backward",),
    "RAM,\nbytes": ("RAM",),
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
        if result.reference:
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
        few = replace(job, samples=job.samples[:PROFILED_SAMPLES])
        few = replace(few, targets=job.targets[: len(few.samples)])
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
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    found: dict[str, Result] = {}
    with Progress(*columns, console=console) as progress:
        all_jobs = list(jobs(progress.console))
        bar = progress.add_task("", total=len(all_jobs) * len(MACHINES))
        for name, work, job in all_jobs:
            for machine in MACHINES:
                progress.update(bar, description=f"{name}, {work}, {machine.core}")
                results = results_of(f"{name}, {work}", machine, checked(machine, job))
                found |= {result.name: result for result in results}
                progress.advance(bar)
    results = [*found.values(), *code_results()]
    write(OUTPUT, results, GCC)
    show(results, console)
    console.print(f"written: {OUTPUT}", soft_wrap=True, highlight=False)


if __name__ == "__main__":
    try:
        main()
    except (OSError, ValueError) as error:
        sys.exit(refuse(str(error)))
