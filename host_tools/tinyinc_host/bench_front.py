"""What a frozen front end is good for: classes that come two at a time, learned behind it.

    make bench-front    # pre-trained on CIFAR-10 in grey, then MNIST: build/bench/front.json

The real network in integers tells what it takes; lessons are taken by its head alone, on features
that the front end has given once for all. That is the same to the last bit.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass

import numpy as np
from rich.console import Console

import tinyinc
from tinyinc import image
from tinyinc_host import cli, data, front, network
from tinyinc_host.data import Dataset
from tinyinc_host.export import with_memory
from tinyinc_host.learning.protocols import class_after_class
from tinyinc_host.pretrain import Schedule, accuracy
from tinyinc_host.quantise import quantise
from tinyinc_host.report import Result as Figure
from tinyinc_host.report import at_least, progress_bars, write
from tinyinc_host.simulate import ROOT

HIDDEN = 64
CALIBRATION = 500  # first samples of the stream: all that is known when the board is set up
CONSOLIDATION = 0.3  # lessons of it after the stream, as a share of the stream's
# Chosen on samples held out of MNIST's training part.
LEARNING = {"rule": "sampled", "learning_rate": 2.0**-6, "error_threshold": 0.1}


@dataclass(frozen=True)
class Result:
    accuracy: float  # share of the test samples, after the last lesson
    accuracy_alone: float  # of the network, without the exemplars' vote
    backward: float  # MACs against as many lessons of the head that leave nothing out
    front_macs: int  # of one sample
    head_macs: int
    exemplars: int
    memory_bytes: int
    frozen_bytes: int  # which may stay in flash
    image_bytes: int
    scratch_bytes: int


def board_network(
    front_end: tinyinc.Net, dataset: Dataset, memory_bytes: int, few: np.ndarray, seed: int
) -> tinyinc.Net:
    """Front end, head and a memory of features in 4 bits, in integers, before the first lesson."""
    slots = memory_bytes // (-(-front_end.features // 2) + 4)
    net = front.behind(front_end, dataset, [network.dense(HIDDEN)], seed)
    net = with_memory(quantise(net, few), slots, memory_bits=4)
    net.configure(**LEARNING)
    return net


def head_alone(net: tinyinc.Net, seed: int = 0) -> tinyinc.Net:
    """What is behind the front end of a network in integers, as a network for its features."""
    layers, count = network.read(net)[1], front.layers_of(net)
    step = image.feature_step(net.sections[image.STRUCTURE])
    signed = [x.activation == "linear" for x in layers[:count] if not x.kind.endswith("pool")]
    low = 0.0 if signed and not signed[-1] else -127 * step
    made = network.network(
        (net.features,),
        layers[count:],
        format="q8",
        scaling=(0.0, 1.0, low, 127 * step),
        memory=net.memory.capacity,
        memory_bits=4,
        seed=seed,
    )
    made.configure(**LEARNING)
    return made


def measure(
    front_end: tinyinc.Net, dataset: Dataset, seed: int = 0, memory_share: float = 0.01
) -> Result:
    """Class-incremental learning in one pass. memory_share: bytes of the memory, as a share of the
    training samples' in 8 bits a value."""
    memory_bytes = int(memory_share * dataset.train_samples.size)
    dataset = front.fit(dataset, front_end)
    order = class_after_class(dataset.train_labels, seed)
    few = dataset.train_samples[order[:CALIBRATION]]
    real = board_network(front_end, dataset, memory_bytes, few, seed)
    lessons = front.feature_dataset(real, dataset)
    net, backward = head_alone(real, seed), 0
    for i in order:
        row = array("f", lessons.train_samples[i].tobytes())
        backward += net.learn(row, int(dataset.train_labels[i])).backward_macs
    net.consolidate(lessons=round(CONSOLIDATION * len(order)))
    backward += net.step.backward_macs
    asked = lessons.test_samples, lessons.test_labels, range(len(lessons.labels))
    with_vote = accuracy(net, *asked)
    net.configure(vote=0)
    head = net.dense_forward_macs
    return Result(
        accuracy=with_vote,
        accuracy_alone=accuracy(net, *asked),
        backward=backward / (len(order) * net.dense_backward_macs),
        front_macs=real.dense_forward_macs - HIDDEN * real.features,
        head_macs=head,
        exemplars=net.memory.count,
        memory_bytes=len(real.sections[image.MEMORY]),
        frozen_bytes=len(real.sections[image.FROZEN]),
        image_bytes=real.image_bytes,
        scratch_bytes=real.scratch_bytes,
    )


# ---- make bench-front ----

OTHER_DATA, SHAPE = "cifar10_2000pc", (28, 28, 1)
LAYERS = "conv16,max2,conv32,max2,conv32/2"
SEEDS = 3
LEAST_ACCURACY = 96.0  # percent
PATH = ROOT / "build" / "bench" / "front.json"


def main() -> None:
    """Pre-train on other pictures, then learn MNIST behind that; write and tell what came of it."""
    console = Console()
    with progress_bars(console) as progress:
        pictures = data.load(OTHER_DATA)
        change = front.augmentation(pictures, SHAPE, shift=2, mirror=True)
        layers = network.parse(LAYERS)
        schedule = Schedule(10, 0.007)
        front_end = front.pretrained(
            pictures, layers, SHAPE, schedule, change, seed=0, progress=progress
        )
        digits, bar = data.load("mnist"), progress.add_task("learning behind it", total=SEEDS)
        found = []
        for seed in range(SEEDS):
            found.append(measure(front_end, digits, seed))
            progress.advance(bar)
    figures = results_of(found)
    write(PATH, figures)
    for figure in figures:
        console.print(f"{figure.name}: {figure.value:.5g} {figure.unit} {figure.target}")


def results_of(found: list[Result]) -> list[Figure]:
    first = found[0]
    accuracy = [100 * one.accuracy for one in found]
    alone = float(np.mean([100 * one.accuracy_alone for one in found]))
    about = f"mean of {len(found)} seeds, +-{np.std(accuracy, ddof=1):.2f}"
    return [
        at_least("MNIST, class-incremental", float(np.mean(accuracy)), "%", LEAST_ACCURACY, about),
        Figure("the same without vote", alone, "%", about),
        Figure("backward work of the head", float(np.mean([x.backward for x in found])), ""),
        Figure("front end", first.front_macs, "MACs"),
        Figure("head", first.head_macs, "MACs"),
        Figure("exemplars", first.exemplars, ""),
        Figure("memory", first.memory_bytes, "bytes"),
        Figure("frozen weights", first.frozen_bytes, "bytes"),
        Figure("scratch", first.scratch_bytes, "bytes"),
    ]


if __name__ == "__main__":
    cli.run(main)
