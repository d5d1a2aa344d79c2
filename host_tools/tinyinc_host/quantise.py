"""From a float32 network to one that computes in integers (q8)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

import tinyinc
from tinyinc import image
from tinyinc.engine import engine
from tinyinc_host import network
from tinyinc_host.export import memory_arrays, remember


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
    layers = network.calibrate(shape, layers, scaling(samples))
    structure, state = net.sections[image.STRUCTURE], bytearray(net.sections[image.STATE])
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
        front=image.get(structure, image.HEADER["front_layers"]),
    )
    image.put_setting(state, "learning_rate", power_of_two(image.setting(state, "learning_rate")))
    layers_at = image.get(state, (76, "<I"))
    state[layers_at : layers_at + 8 * net.layer_count] = bytes(8 * net.layer_count)
    made[image.STATE][:] = state
    if net.memory.count:
        _carry_memory(net, made)
    engine.seal(made)
    engine.check(made)
    return tinyinc.Net(made)


def _carry_memory(net: tinyinc.Net, made: tuple[bytearray, ...]) -> None:
    """What the memory keeps, in the steps of q8."""
    before = memory_arrays(net.sections[image.MEMORY])
    after = memory_arrays(made[image.MEMORY])
    x = np.float32(before.offset) + np.float32(before.step) * before.samples[: net.memory.count]
    remember(made, x, before.classes[: len(x)])
    after.weights[:] = before.weights
    unit = (before.step / after.step) ** 2  # of the mean squared distance, which is in steps
    distance = image.get(net.sections[image.STATE], (92, "<I"))
    image.put(made[image.STATE], (92, "<I"), min(round(distance * unit), 2**32 - 1))
