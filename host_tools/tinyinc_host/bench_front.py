"""What a frozen front end is good for: classes that come two at a time, learned behind it.

    found = measure(front, data.load("mnist"), seed=0)

The real network in integers tells what it takes; lessons are taken by its head alone, on features
that the front end has given once for all. That is the same to the last bit.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass

import numpy as np

import tinyinc
from tinyinc import image
from tinyinc_host import front, network
from tinyinc_host.data import Dataset
from tinyinc_host.export import with_memory
from tinyinc_host.quantise import quantise

CLASSES_AT_ONCE = 2
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


def stream(labels: np.ndarray, seed: int) -> np.ndarray:
    """Positions of all samples, two classes at a time."""
    generator = np.random.default_rng(seed)
    classes = generator.permutation(np.unique(labels))
    groups = [classes[i : i + CLASSES_AT_ONCE] for i in range(0, len(classes), CLASSES_AT_ONCE)]
    return np.concatenate(
        [generator.permutation(np.flatnonzero(np.isin(labels, g))) for g in groups]
    )


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
    _, layers = network.read(net)
    step = image.feature_step(net.sections[image.STRUCTURE])
    low = 0.0 if layers[front.layers_of(net) - 1].activation != "linear" else -127 * step
    made = network.network(
        (net.features,),
        layers[front.layers_of(net) :],
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
    order = stream(dataset.train_labels, seed)
    few = dataset.train_samples[order[:CALIBRATION]]
    real = board_network(front_end, dataset, memory_bytes, few, seed)
    lessons = front.feature_dataset(real, dataset)
    net, backward = head_alone(real, seed), 0
    for i in order:
        row = array("f", lessons.train_samples[i].tobytes())
        backward += net.learn(row, int(dataset.train_labels[i])).backward_macs
    net.consolidate(lessons=round(CONSOLIDATION * len(order)))
    backward += net.step.backward_macs
    with_vote = _accuracy(net, lessons)
    net.configure(vote=0)
    head = net.dense_forward_macs
    return Result(
        accuracy=with_vote,
        accuracy_alone=_accuracy(net, lessons),
        backward=backward / (len(order) * net.dense_backward_macs),
        front_macs=real.dense_forward_macs - HIDDEN * real.features,
        head_macs=head,
        exemplars=net.memory.count,
        memory_bytes=len(real.sections[image.MEMORY]),
        frozen_bytes=len(real.sections[image.FROZEN]),
        image_bytes=real.image_bytes,
        scratch_bytes=real.scratch_bytes,
    )


def _accuracy(net: tinyinc.Net, dataset: Dataset) -> float:
    rows, labels = dataset.test_samples, dataset.test_labels
    hits = [net.predict(array("f", x.tobytes())) == y for x, y in zip(rows, labels, strict=True)]
    return float(np.mean(hits))
