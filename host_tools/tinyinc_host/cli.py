"""The `tinyinc` command. Bad input ends in one line on the standard error and exit code 2."""

from __future__ import annotations

import sys
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from tinyinc_host import __version__, board_commands, data, report
from tinyinc_host.distill import METHODS, check_method, distill

if TYPE_CHECKING:  # imported where needed: tinyinc and matplotlib take their time
    import tinyinc
    from tinyinc_host import network
    from tinyinc_host.simulate import Board

app = typer.Typer(
    help="Train small networks on the desktop, then let a board go on learning.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
console = Console()
LEARNING_RATE = 0.02  # on the board
BITS = 8, 4  # of a value in the memory
HELD_OUT = 0.1  # of the training set, to score on

DatasetName = Annotated[str, typer.Option("--data", help="Dataset; `tinyinc data` lists them.")]
Seed = Annotated[int, typer.Option(min=0, help="Fixes every random choice.")]
MemoryBytes = Annotated[
    int, typer.Option("--bytes", min=0, help="Most bytes of the memory; 0: as --per-class says.")
]
HiddenLayers = Annotated[
    str,
    typer.Option(
        help="Hidden layers: units such as 32,16; for images also conv8, conv8x5 (kernel 5), "
        "conv8/2 (stride 2), depthwise3, max2, average2."
    ),
]
LabelList = Annotated[str, typer.Option(help="Labels, separated by commas.")]
Image = Annotated[Path, typer.Argument(help="An image file.")]
FrontEnd = Annotated[
    Path | None,
    typer.Option("--front", help="An image with a front end, which stays as it is: see `front`."),
]


def main() -> None:
    """Entry point of the command."""
    run(app)


def run(command: typer.Typer | Callable[[], object]) -> None:
    """Run a command or a function and end the program: bad input with one line and exit code 2."""
    try:
        code = command(standalone_mode=False) if isinstance(command, typer.Typer) else command()
    except (ValueError, OSError, MemoryError) as error:
        code = refuse(str(error))
    except Exception as error:  # typer's own complaints about arguments carry their exit code
        if not hasattr(error, "format_message"):
            raise
        code = refuse(error.format_message())
    except KeyboardInterrupt:
        code = 130
    sys.exit(code if isinstance(code, int) else 0)


def refuse(text: str) -> int:
    """Say on one line what was wrong."""
    print(f"tinyinc: {' '.join(text.split()) or 'out of memory'}", file=sys.stderr)
    return 2


def print_version(wanted: bool) -> None:
    if wanted:
        print(f"tinyinc {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def options(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=print_version, is_eager=True, help="Print it.")
    ] = False,
) -> None:
    if context.invoked_subcommand is None:
        print(context.get_help())


@app.command("data")
def data_command(
    name: Annotated[str | None, typer.Argument(help="The dataset to describe.")] = None,
) -> None:
    """List the datasets at hand, or describe one."""
    if name is None:
        for known in data.known():
            print(known)
        return
    dataset = data.load(name)
    table = Table(title=name, show_header=False)
    shape = " x ".join(str(n) for n in dataset.shape)
    table.add_row("training samples", str(len(dataset.train_labels)))
    table.add_row("test samples", str(len(dataset.test_labels)))
    table.add_row("one sample", f"{shape} values, {dataset.train_samples.dtype}")
    table.add_row("raw range", f"{dataset.low:g} to {dataset.high:g}")
    table.add_row("labels", ", ".join(dataset.labels))
    if dataset.domain:
        counts = (len(np.unique(part)) for part in (dataset.train_domains, dataset.test_domains))
        table.add_row(
            "drifts by", "{}: {} to train on, {} to test on".format(dataset.domain, *counts)
        )
    console.print(table)


@app.command("front")
def front_command(
    out: Annotated[Path, typer.Argument(help="The image to write.")],
    name: DatasetName = "digits",
    hidden: HiddenLayers = "conv16,max2,conv32,max2,conv32/2",
    shape: Annotated[
        str, typer.Option(help="Of the samples it takes, such as 28x28x1; as the dataset's.")
    ] = "",
    shift: Annotated[
        int, typer.Option(min=0, help="Move pictures at random by up to so many pixels.")
    ] = 0,
    mirror: Annotated[bool, typer.Option("--mirror", help="Mirror every second picture.")] = False,
    without: LabelList = "",
    epochs: Annotated[int, typer.Option(min=1)] = 10,
    learning_rate: Annotated[float, typer.Option(help="Of the first epoch.")] = 0.007,
    seed: Seed = 0,
) -> None:
    """Pre-train a front end: layers that stay as they are, behind which a head learns something
    else (`train --front`, `demo --front`)."""
    from tinyinc_host import front, network
    from tinyinc_host.pretrain import Schedule, accuracy

    check_folder(out)
    dataset = data.load(name)
    classes = kept_classes(dataset, without)
    layers = network.parse(hidden)
    wanted = front.parse_shape(shape) if shape else input_shape(dataset, layers)
    change = front.augmentation(dataset, wanted, shift, mirror) if shift or mirror else None
    with Progress(console=console) as progress:
        schedule = Schedule(epochs, learning_rate)
        net = front.pretrained(dataset, layers, wanted, schedule, change, classes, seed, progress)
    net.save(str(out))
    dataset = front.fit(dataset, net)
    kept = np.isin(dataset.test_labels, classes)
    share = accuracy(net, dataset.test_samples[kept], dataset.test_labels[kept], dataset.labels)
    console.print(
        f"{out}: {net.features} features of {net.inputs} values; by their own head "
        f"{100 * share:.1f} % of {kept.sum()} test samples",
        soft_wrap=True,
    )


@app.command()
def train(
    out: Annotated[Path, typer.Argument(help="The image to write.")],
    name: DatasetName = "digits",
    hidden: HiddenLayers = "32",
    behind: FrontEnd = None,
    without: LabelList = "",
    epochs: Annotated[int, typer.Option(min=1)] = 20,
    learning_rate: Annotated[float, typer.Option(help="Of the first epoch.")] = 0.05,
    noise: Annotated[
        float, typer.Option(min=0, max=1, help="Added, as a share of the range.")
    ] = 0.0,
    seed: Seed = 0,
) -> None:
    """Pre-train a network on a dataset and write it, still without a memory."""
    from tinyinc_host import front, network
    from tinyinc_host.pretrain import Schedule, accuracy, pretrain

    check_folder(out)
    dataset, front_end = load_for(name, behind)
    classes = kept_classes(dataset, without)
    net = front.untrained(dataset, network.parse(hidden), seed, front_end)
    samples, labels = dataset.training(classes)
    with Progress(console=console) as progress:
        pretrain(
            net,
            samples,
            labels,
            dataset.labels,
            Schedule(epochs, learning_rate, noise),
            (dataset.low, dataset.high),
            seed,
            progress,
        )
    net.save(str(out))
    kept = np.isin(dataset.test_labels, classes)
    share = accuracy(net, dataset.test_samples[kept], dataset.test_labels[kept], dataset.labels)
    console.print(f"{out}: {100 * share:.1f} % of {kept.sum()} test samples", soft_wrap=True)


@app.command("distill")
def distill_command(
    out: Annotated[Path, typer.Argument(help="The .npz file to write: samples and labels.")],
    name: DatasetName = "digits",
    method: Annotated[str, typer.Option(help=f"One of {', '.join(METHODS)}.")] = "kmeans",
    per_class: Annotated[int, typer.Option(min=1, help="Samples of each class.")] = 5,
    budget: MemoryBytes = 0,
    bits: Annotated[int, typer.Option(help="Of a value in the memory: 8 or 4.")] = 8,
    score: Annotated[
        bool, typer.Option("--score", help="Leave a tenth out, and say what is right there.")
    ] = False,
    without: LabelList = "",
    behind: FrontEnd = None,
    seed: Seed = 0,
) -> None:
    """Distil a training set to a few samples of each class; with --front, what the front end makes
    of it."""
    from tinyinc_host.distill import score as scoring

    check_folder(out)
    check_method(method)
    if bits not in BITS:
        raise ValueError(f"bits is {bits}, expected 8 or 4")
    dataset, front_end = load_for(name, behind)
    if front_end:
        from tinyinc_host.front import feature_dataset

        with console.status("front end at work"):
            dataset = feature_dataset(front_end, dataset)
    classes = kept_classes(dataset, without)
    if score:
        dataset = data.hold_out(dataset, HELD_OUT, seed)
    samples, labels = dataset.training(classes)
    if budget:
        per_class = scoring.per_class_within(budget, dataset.inputs, len(np.unique(labels)), bits)
    with report.progress_bars(console) as progress:
        few, few_labels = distill(samples, labels, per_class, method, seed, dataset.shape, progress)
    new = out.with_name(f"{out.name}.new")  # a full disk leaves what was there before
    with open(new, "wb") as file:
        np.savez_compressed(
            file,
            samples=few,
            labels=np.array(dataset.labels)[few_labels],
            stands_for=len(samples) // len(few),
            bits=bits,
        )
    new.replace(out)
    console.print(f"{out}: {len(few)} samples for {len(samples)}", soft_wrap=True)
    if score:
        with report.progress_bars(console) as progress:
            found = scoring.score(
                scoring.as_stored(few, dataset, bits), few_labels, dataset, seed, progress
            )
        console.print(
            f"of the samples left out, right: {100 * found.nearest:.1f} % by the nearest distilled "
            f"sample, {100 * found.network:.1f} % by a network trained on the distilled ones alone",
            soft_wrap=True,
        )


@app.command("compare-methods")
def compare_methods(
    name: DatasetName = "digits",
    budget: MemoryBytes = 4096,
    seed: Seed = 0,
) -> None:
    """Score every method of distillation on a tenth of the training set, left out for that."""
    from tinyinc_host.distill.score import compare

    dataset = data.hold_out(data.load(name), HELD_OUT, seed)
    console.print(compare(dataset, budget, seed, console))


@app.command("export")
def export_command(
    trained: Annotated[Path, typer.Argument(help="The image that `train` wrote.")],
    distilled: Annotated[Path, typer.Argument(help="The .npz that `distill` wrote.")],
    out: Annotated[Path, typer.Argument(help="The image to write for the board.")],
    slots: Annotated[
        int, typer.Option(min=0, max=65535, help="Room in the memory; 0: what is distilled.")
    ] = 0,
    learning_rate: Annotated[
        float | None,
        typer.Option(help="On the board: 0.02, in q8 a power of two, 0.015625."),
    ] = None,
    replay: Annotated[int, typer.Option(min=0, max=255, help="Per learned sample.")] = 2,
    vote: Annotated[float, typer.Option(min=0, max=100, help="Weight of the memory's vote.")] = 8,
    rule: Annotated[str, typer.Option(help="Learning rule.")] = "sampled",
) -> None:
    """Put a network, its distilled memory and how to learn into one image."""
    import tinyinc
    from tinyinc_host import front
    from tinyinc_host.export import export, fill_memory, with_memory
    from tinyinc_host.quantise import power_of_two

    check_no_folder(out)
    net = tinyinc.load(str(trained))
    samples, names, stands_for, bits = read_distilled(distilled)
    net = with_memory(net, slots or len(samples), front.memory_range(net, samples), bits)
    labels, indices = np.unique(names, return_inverse=True)
    fill_memory(net, samples, indices, [str(label) for label in labels], stands_for)
    usual = power_of_two(LEARNING_RATE) if net.format == "q8" else LEARNING_RATE
    rate = usual if learning_rate is None else learning_rate
    export(net, out, rule=rule, learning_rate=rate, replay=replay, vote=vote)
    console.print(
        f"{out}: {net.image_bytes} bytes, {len(samples)} samples in memory", soft_wrap=True
    )


@app.command("quantise")
def quantise_command(
    source: Annotated[Path, typer.Argument(help="An image in float32.")],
    out: Annotated[Path, typer.Argument(help="The image in integers to write.")],
    name: DatasetName = "digits",
    samples: Annotated[
        Path | None, typer.Option(help="Samples to calibrate on, an .npz of `distill`.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="Or so many training samples.")] = 500,
    seed: Seed = 0,
) -> None:
    """Make a network compute in integers (q8), for boards without FPU."""
    import tinyinc
    from tinyinc_host.quantise import quantise

    check_folder(out)
    net = tinyinc.load(str(source))
    if samples:
        rows = read_distilled(samples)[0]
    else:
        rows = load_as(name, net).train_samples
        rows = rows[np.random.default_rng(seed).permutation(len(rows))[:limit]]
    made = quantise(net, rows)
    agreed = np.mean([net.predict(floats(row)) == made.predict(floats(row)) for row in rows])
    made.save(str(out))
    console.print(
        f"{out}: {made.image_bytes} bytes for {net.image_bytes}, the same label for "
        f"{100 * agreed:.1f} % of {len(rows)} samples",
        soft_wrap=True,
    )


@app.command("plan")
def plan_command(image: Image) -> None:
    """Print how a network uses its scratch, tensor by tensor, and what else it takes in RAM."""
    import tinyinc
    from tinyinc_host import plan

    net = tinyinc.load(str(image))
    plan.show(net, console if console.is_terminal else Console(width=100))
    console.print(plan.summary(net), soft_wrap=True)


@app.command()
def simulate(
    image: Image,
    labels: LabelList = "",
    name: DatasetName = "digits",
    limit: Annotated[int, typer.Option(min=1, help="Training samples of each label.")] = 100,
    engine: Annotated[str, typer.Option(help="unix (MicroPython) or desktop.")] = "unix",
    out: Annotated[Path | None, typer.Option(help="Where to save what was learned.")] = None,
    seed: Seed = 0,
) -> None:
    """Stream samples to the device program, label after label, and test before and after."""
    import tinyinc
    from tinyinc_host import simulate as boards

    if out:
        check_folder(out)
    boards.check(engine, image)
    dataset = load_as(name, tinyinc.load(str(image)))
    chosen = dataset.indices(split(labels)) or list(range(len(dataset.labels)))
    generator = np.random.default_rng(seed)
    stream = np.concatenate(
        [generator.permutation(np.flatnonzero(dataset.train_labels == c))[:limit] for c in chosen]
    )
    with boards.board(engine, image, dataset.train_samples.dtype) as board:
        before = board_accuracy(board, dataset)
        with Progress(console=console) as progress:
            for index in progress.track(stream, description="learning"):
                board.learn(
                    dataset.train_samples[index], dataset.labels[dataset.train_labels[index]]
                )
        after = board_accuracy(board, dataset)
        if out:
            board.save(out.resolve())
    console.print(
        f"{len(stream)} samples learned: {100 * before:.1f} % of the test samples right "
        f"before, {100 * after:.1f} % after",
        soft_wrap=True,
    )


@app.command()
def demo(
    name: DatasetName = "digits",
    seed: Seed = 0,
    engine: Annotated[str, typer.Option(help="unix (MicroPython) or desktop.")] = "unix",
    quick: Annotated[bool, typer.Option("--quick", help="A small slice, to try it out.")] = False,
    folder: Annotated[Path | None, typer.Option(help="Where to; build/demo.")] = None,
    format: Annotated[
        str, typer.Option(help="How the board computes: f32, or q8 for integers.")
    ] = "f32",
    behind: FrontEnd = None,
) -> None:
    """The main job: learn two new classes on a board, and show how well it went."""
    from tinyinc_host import demo as job
    from tinyinc_host.picture import draw

    job.check(engine, format)
    folder = folder or job.FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    dataset, front_end = load_for(name, behind)
    job.show(dataset, seed, engine, console, quick, folder, draw, format, front_end)


@app.command("bench-report")
def bench_report(
    folder: Annotated[Path, typer.Argument(help="The benchmark files.")] = Path("build/bench"),
) -> None:
    """Print all benchmark files as one table."""
    report.show(folder, console if console.is_terminal else Console(width=160))


for name, command in board_commands.COMMANDS.items():
    app.command(name)(command)


def check_folder(path: Path) -> None:
    """Before the work, not after it: what is made can be written."""
    if not path.absolute().parent.is_dir():
        raise FileNotFoundError(f"'{path}' cannot be written: there is no such folder")
    check_no_folder(path)


def check_no_folder(path: Path) -> None:
    if path.is_dir():
        raise IsADirectoryError(f"'{path}' cannot be written: it is a folder")


def split(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def floats(row: np.ndarray) -> array:
    return array("f", np.asarray(row, np.float32).tobytes())


def load_as(name: str, net: tinyinc.Net) -> data.Dataset:
    """A dataset with samples as a network takes them: made fit where it has a front end."""
    from tinyinc_host import front

    dataset = data.load(name)
    if front.layers_of(net):
        return front.fit(dataset, net)
    if dataset.inputs != net.inputs:
        raise ValueError(
            f"samples of {name} have {dataset.inputs} values, the network takes {net.inputs}"
        )
    return dataset


def load_for(name: str, path: Path | None) -> tuple[data.Dataset, tinyinc.Net | None]:
    """A dataset, and the network whose front end takes it, if a path is given."""
    if path is None:
        return data.load(name), None
    import tinyinc
    from tinyinc_host import front

    net = tinyinc.load(str(path))
    if not front.layers_of(net):
        raise ValueError(f"'{path}' has no front end: `tinyinc front` makes one")
    return front.fit(data.load(name), net), net


def input_shape(dataset: data.Dataset, layers: list[network.Layer]) -> tuple[int, ...]:
    """Of a dataset's samples as these layers take them."""
    from tinyinc_host import network

    if all(layer.kind == "dense" for layer in layers):
        return (dataset.inputs,)
    return network.image_shape(dataset.shape)


def kept_classes(dataset: data.Dataset, without: str) -> list[int]:
    """All classes but those named."""
    left_out = dataset.indices(split(without))
    kept = [c for c in range(len(dataset.labels)) if c not in left_out]
    if not kept:
        raise ValueError("no label is left to train on")
    return kept


def read_distilled(path: Path) -> tuple[np.ndarray, np.ndarray, int, int]:
    """Samples, label names, the samples that each stands for, and the bits per value to store them
    in, as `distill` wrote them."""
    try:
        arrays = data.npz.load(path)
        samples, labels = arrays["samples"], arrays["labels"]
        stands_for, bits = int(arrays["stands_for"]), int(arrays["bits"])
    except FileNotFoundError:
        raise
    except data.npz.DAMAGE as error:
        why = f"it has no {error}" if isinstance(error, KeyError) else error
        raise ValueError(f"'{path}' is not what `tinyinc distill` writes: {why}") from None
    if samples.ndim != 2 or samples.dtype != np.float32 or labels.shape != samples.shape[:1]:
        raise ValueError(f"'{path}' is not what `tinyinc distill` writes: wrong shapes or types")
    if bits not in BITS:
        raise ValueError(f"'{path}' asks for {bits} bits per value, expected 8 or 4")
    return samples, labels, stands_for, bits


def board_accuracy(board: Board, dataset: data.Dataset) -> float:
    from tinyinc_host.demo import predict_all

    return float(np.mean(predict_all(board, dataset) == dataset.test_labels))


if __name__ == "__main__":
    main()
