"""From a float32 network to one that computes in integers (q8)."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

import tinyinc
from tinyinc import image
from tinyinc.engine import engine
from tinyinc_host import network
from tinyinc_host.export import memory_arrays, remember

CLIPPED = 99.0  # percentile of a front end's features beyond which the memory clips


@dataclass(frozen=True)
class Scaling:
    """From raw values to what the network sees, as its header has it."""

    offset: float
    scale: float
    low: float
    high: float

    @classmethod
    def of(cls, net: tinyinc.Net) -> Scaling:
        structure = net.sections[image.STRUCTURE]
        names = ("input_offset", "input_scale", "input_low", "input_high")
        return cls(*(image.get(structure, image.HEADER[name]) for name in names))

    def __call__(self, raw: np.ndarray) -> np.ndarray:
        x = (np.asarray(raw, np.float32) - np.float32(self.offset)) * np.float32(self.scale)
        return x.clip(self.low, self.high)

    def as_tuple(self) -> tuple[float, float, float, float]:
        return self.offset, self.scale, self.low, self.high


def power_of_two(rate: float) -> float:
    """The power of two nearest to a learning rate, by ratio."""
    return 2.0 ** round(math.log2(rate))


def quantise(net: tinyinc.Net, samples: np.ndarray) -> tinyinc.Net:
    """A q8 network that does what the float32 one does; its activations' steps are chosen on raw
    samples, and its learning rate is the nearest power of two. Labels, memory and all else stay.
    """
    if net.format == "q8":
        raise ValueError("the network is quantised already")
    samples = np.asarray(samples)
    if len(samples) == 0 or samples.reshape(len(samples), -1).shape[1] != net.inputs:
        size = samples.reshape(len(samples) or 1, -1).shape[1]
        raise ValueError(f"samples have {size} values, the network takes {net.inputs}")
    shape, layers = network.read(net)
    scaling = Scaling.of(net)
    structure, state = net.sections[image.STRUCTURE], bytearray(net.sections[image.STATE])
    front = image.front_layers(structure)
    layers = _with_feature_step(shape, layers, front, scaling(samples))
    layers = network.calibrate(shape, layers, scaling(samples))
    made = network.sections(
        shape,
        layers,
        labels=net.labels,
        format="q8",
        scaling=scaling.as_tuple(),
        memory=net.memory.capacity,
        memory_bits=image.memory_bits(net.sections[image.MEMORY]),
        label_bytes=state[2],
        stage=network.stage_of(structure),
        front=front,
    )
    image.put_setting(state, "learning_rate", power_of_two(image.setting(state, "learning_rate")))
    layers_at = image.get(state, image.STATE_FIELDS["layers_offset"])
    state[layers_at : layers_at + 8 * net.layer_count] = bytes(8 * net.layer_count)
    made[image.STATE][:] = state
    if net.memory.count:
        _carry_memory(net, made)
    engine.seal(made)
    engine.check(made)
    return tinyinc.Net(made)


def feature_range(values: np.ndarray) -> tuple[float, float]:
    """Of features, from 0, or as far below it as above where some are negative: the range that a
    memory of theirs should cover. A few large values are clipped: the others then have finer
    steps."""
    high = float(np.percentile(np.abs(values), CLIPPED)) or 1.0
    return (-high if values.min() < 0 else 0.0), high


def _with_feature_step(
    shape: tuple[int, ...], layers: list[network.Layer], front: int, x: np.ndarray
) -> list[network.Layer]:
    """The layers, with the step of what a front end gives by that range: the memory's depends on
    it, and its 4 bits have no steps to spare."""
    layers, last = list(layers), front - 1
    while last >= 0 and layers[last].kind.endswith("pool"):
        last -= 1
    if last >= 0:
        high = feature_range(network.forward(shape, layers, x)[front - 1])[1]
        layers[last] = replace(layers[last], step=power_of_two(high / 127))
    return layers


def _carry_memory(net: tinyinc.Net, made: tuple[bytearray, ...]) -> None:
    """What the memory keeps, in the steps of q8."""
    before = memory_arrays(net.sections[image.MEMORY])
    after = memory_arrays(made[image.MEMORY])
    x = np.float32(before.offset) + np.float32(before.step) * before.samples[: net.memory.count]
    remember(made, x, before.classes[: len(x)])
    after.weights[:] = before.weights
    unit = (before.step / after.step) ** 2  # of squared distances, which are in steps
    for name in ("distance", "far"):
        field = image.STATE_FIELDS[name]
        distance = image.get(net.sections[image.STATE], field)
        image.put(made[image.STATE], field, min(round(distance * unit), 2**32 - 1))
