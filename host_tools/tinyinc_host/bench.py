"""What `make bench` measures on the desktop: the speed of one learning step, and the accuracy of
the demo over ten seeds. Writes build/bench/host.json.

Speed: the C core, tinyinc.learn() on MicroPython's unix port, and PyTorch take turns, and the best
lap of each counts: what else runs on the machine then slows all of them alike.
"""

from __future__ import annotations

import importlib.util
import math
import multiprocessing
import os
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from rich.console import Console
from rich.progress import Progress

import tinyinc
from tinyinc_host import bench_engine, cli, data, demo
from tinyinc_host.bench_engine import run
from tinyinc_host.report import Result, at_least, at_most, progress_bars, write
from tinyinc_host.simulate import BINARY, ROOT

FOLDER = ROOT / "build" / "bench"
CORE = ROOT / "usermod_c" / "core"
HERE = Path(__file__).parent

DENSE = {"784-32-16-10": (784, (32, 16)), "64-32-10": (64, (32,))}
FASTER = 25  # times faster than PyTorch
CONVOLUTIONS_FASTER = 4
ROUNDS = 10  # in which each side takes its turn
LAPS = 20  # of a turn
STEPS = {"core": 2000, "board": 500, "torch": 50}  # of a lap: about 10 ms each
# So small that nothing is learned: a network that has converged has less to compute.
LEARNING_RATE = 1e-6
SEEDS = 10
CONVOLUTIONAL = "28x28 with two convolutions"

NAMES = {
    "core": "C core",
    "board": "tinyinc.learn() on the unix port",
    "torch": "PyTorch SGD step, batch 1",
}


def main() -> None:
    console = Console()
    FOLDER.mkdir(parents=True, exist_ok=True)
    with progress_bars(console) as progress:
        results = speed(progress) + accuracy(progress)
    write(FOLDER / "host.json", results)
    for result in results:
        verdict = {None: "", True: " holds", False: " DOES NOT HOLD"}[result.holds]
        target = f"  ({result.target}{verdict})" if result.target else ""
        line = f"{result.name}: {result.value:.4g} {result.unit}{target}"
        console.print(line, highlight=False, soft_wrap=True)
    console.print(f"written: {FOLDER / 'host.json'}", soft_wrap=True, highlight=False)


# ---- speed ----


def speed(progress: Progress) -> list[Result]:
    """One learning step of each network under rule full, and how it compares with PyTorch."""
    if not BINARY.is_file():
        raise FileNotFoundError(f"'{BINARY}' is not built: run `make unix`")
    build_core()
    results = []
    with_torch = importlib.util.find_spec("torch") is not None
    if not with_torch:
        progress.console.print("PyTorch is not installed: no comparison with it")
    for name, (inputs, hidden) in DENSE.items():
        image = make_image(name, inputs, hidden)
        turns = {"core": core_turn(image), "board": board_turn(image)}
        if with_torch:
            turns["torch"] = torch_turn((inputs,), dense_model(inputs, hidden))
        best = take_turns(turns, progress, f"steps of {name}")
        results += speed_results(name, best, FASTER)
    turns = {"core": core_turn(convolutional_image(), STEPS["torch"])}
    if with_torch:
        turns["torch"] = torch_turn((1, 28, 28), convolutional_model())
    best = take_turns(turns, progress, "steps with convolutions")
    return results + speed_results(CONVOLUTIONAL, best, CONVOLUTIONS_FASTER)


def speed_results(network: str, best: dict[str, float], faster: float) -> list[Result]:
    """Times in µs and, where PyTorch was measured, the ratios."""
    results = [
        Result(f"{network}, {NAMES[side]}", ns / 1000, "µs", "f32, rule full, one core")
        for side, ns in best.items()
    ]
    if "torch" in best:
        reference = f"{NAMES['torch']}, one thread: {best['torch'] / 1000:.0f} µs"
        results += [
            at_least(
                f"{network}, {NAMES[side]}, times faster than PyTorch",
                best["torch"] / best[side],
                "x",
                faster,
                reference,
            )
            for side in ("core", "board")
            if side in best
        ]
    return results


def take_turns(
    turns: dict[str, Callable[[], float]], progress: Progress, name: str
) -> dict[str, float]:
    """ns per step of each side, the best over all rounds."""
    best = dict.fromkeys(turns, math.inf)
    for _ in progress.track(range(ROUNDS), description=name):
        for side, turn in turns.items():
            best[side] = min(best[side], turn())
    return best


def build_core() -> None:
    """The timing loop in C with the core, compiled as the unix port has it."""
    flags = ["-std=c99", "-D_POSIX_C_SOURCE=199309L", "-O3", "-ffp-contract=off", "-march=native"]
    sources = [HERE / "bench_core.c", *sorted(CORE.glob("*.c"))]
    run([os.environ.get("CC", "cc"), *flags, "-o", FOLDER / "bench_core", *sources])


def make_image(name: str, inputs: int, hidden: tuple[int, ...]) -> Path:
    """A network with ten classes, the default memory, one replayed exemplar a lesson, rule full."""
    net = tinyinc.create(
        inputs=inputs,
        hidden=hidden,
        classes=10,
        range=(0.0, 1.0),
        rule="full",
        replay=1,
        learning_rate=LEARNING_RATE,
    )
    generator = np.random.default_rng(0)
    for digit in range(10):
        net.learn(generator.uniform(0.05, 1, inputs).tolist(), str(digit))
    path = FOLDER / f"{name}.tinc"
    net.save(str(path))
    return path


def core_turn(image: Path, steps: int = STEPS["core"]) -> Callable[[], float]:
    command = [FOLDER / "bench_core", image, str(LAPS), str(steps)]
    return lambda: float(run(command))


def board_turn(image: Path) -> Callable[[], float]:
    command = [BINARY, HERE / "bench_board.py", image, str(LAPS), str(STEPS["board"])]
    return lambda: float(run(command, MICROPYPATH=str(ROOT / "micro")))


def convolutional_image() -> Path:
    """Network C of bench_engine.py, where nothing can be skipped."""
    sections = bench_engine.full_work(bench_engine.NETWORKS["C"], "f32").sections
    net = tinyinc.Net(sections)
    net.configure(learning_rate=LEARNING_RATE)
    path = FOLDER / "convolutions.tinc"
    net.save(str(path))
    return path


def dense_model(inputs: int, hidden: tuple[int, ...]) -> list:
    from torch import nn

    layers = []
    for below, units in pairwise([inputs, *hidden, 10]):
        layers += [nn.Linear(below, units), nn.ReLU()]
    return layers[:-1]


def convolutional_model() -> list:
    from torch import nn

    layers = []
    for below, channels in ((1, 8), (8, 16)):
        layers += [nn.Conv2d(below, channels, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
    return [*layers, nn.Flatten(), nn.Linear(784, 10)]


def torch_turn(shape: tuple[int, ...], layers: list) -> Callable[[], float]:
    """The same step in PyTorch, written as its users write it."""
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = torch.nn.Sequential(*layers)
    optimiser = torch.optim.SGD(model.parameters(), lr=LEARNING_RATE)
    loss_of = torch.nn.CrossEntropyLoss()
    samples = 0.05 + 0.95 * torch.rand(STEPS["torch"], 1, *shape)
    lessons = [(x, torch.tensor([i % 10])) for i, x in enumerate(samples)]

    def lap() -> float:
        start = time.perf_counter_ns()
        for x, label in lessons:
            optimiser.zero_grad()
            loss_of(model(x), label).backward()
            optimiser.step()
        return (time.perf_counter_ns() - start) / len(lessons)

    return lambda: min(lap() for _ in range(LAPS))


# ---- accuracy ----


def accuracy(progress: Progress) -> list[Result]:
    """The demo over ten seeds: each has its own pair of new classes."""
    results = accuracy_results("digits", ten_seeds("digits", progress), 0.94, 2.0, 0.15, 0.05)
    if "mnist" in data.known():
        results += accuracy_results("mnist", ten_seeds("mnist", progress), 0.93, None, None, 0.01)
    else:
        progress.console.print(f"no MNIST in {data.FOLDER_VARIABLE}: accuracy on digits only")
    return results


def ten_seeds(name: str, progress: Progress) -> dict[str, np.ndarray]:
    """Every figure of the demo's result, one value per seed."""
    bar = progress.add_task(f"demo on {name}, seeds", total=SEEDS)
    outcomes = []
    # Fresh processes: PyTorch's threads do not survive a fork.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(mp_context=context) as pool:
        for done in as_completed([pool.submit(one_seed, name, seed) for seed in range(SEEDS)]):
            outcomes.append(done.result())
            progress.advance(bar)
    return {key: np.array([outcome[key] for outcome in outcomes]) for key in outcomes[0]}


def one_seed(name: str, seed: int) -> dict[str, float | int]:
    with TemporaryDirectory() as folder:
        return demo.run(data.load(name), seed, engine="desktop", folder=Path(folder)).result()


def accuracy_results(
    name: str,
    figures: dict[str, np.ndarray],
    least_accuracy: float,
    most_lost: float | None,
    most_backward: float | None,
    most_memory: float,
) -> list[Result]:
    """Means over the seeds against their targets; the spread beside them."""
    lost = 100 * (figures["accuracy_old_before"] - figures["accuracy_old_after"])
    rows = [
        ("accuracy_all_after", figures["accuracy_all_after"], "", at_least, least_accuracy),
        ("accuracy lost on old classes", lost, "points", at_most, most_lost),
        ("backward_macs_ratio", figures["backward_macs_ratio"], "", at_most, most_backward),
        ("memory_fraction", figures["memory_fraction"], "", at_most, most_memory),
    ]
    rows += [
        (key, figures[key], "", at_most, None)
        for key in (
            "accuracy_old_before",
            "accuracy_old_after",
            "accuracy_new_after",
            "accuracy_all_no_memory",
            "total_macs_ratio",
        )
    ]
    return [mean_result(f"{name}, {key}", *row) for key, *row in rows]


def mean_result(
    name: str,
    values: np.ndarray,
    unit: str,
    judge: Callable[..., Result],
    target: float | None,
) -> Result:
    spread = (
        f"mean of {len(values)} seeds; standard deviation {values.std(ddof=1):.2g}, "
        f"{values.min():.3g} to {values.max():.3g}"
    )
    mean = float(values.mean())
    if target is None:
        return Result(name, mean, unit, spread)
    return judge(name, mean, unit, target, spread)


if __name__ == "__main__":
    cli.run(main)
