"""From a pre-trained network and a distilled set to the image that a board loads."""

from __future__ import annotations

import struct
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import tinyinc
from tinyinc import image, store
from tinyinc.engine import engine
from tinyinc_host import network

MOST_WEIGHT = 64  # of an exemplar, in the core


@dataclass(frozen=True)
class MemoryArrays:
    """The fields of a memory section; the arrays are views into it, samples of 4 bits a copy."""

    step: float
    offset: float
    classes: np.ndarray
    weights: np.ndarray
    samples: np.ndarray


def memory_arrays(section: bytearray) -> MemoryArrays:
    capacity, _, features, stride = struct.unpack_from("<4I", section, 0)
    step, offset, *places = struct.unpack_from("<ff3I", section, 20)
    classes, weights = (np.frombuffer(section, "<u2", capacity, at) for at in places[:2])
    samples = np.frombuffer(section, "u1", capacity * stride, places[2]).reshape(capacity, stride)
    if image.memory_bits(section) == 4:
        samples = 17 * np.stack([samples & 15, samples >> 4], axis=-1).reshape(capacity, -1)
    return MemoryArrays(step, offset, classes, weights, samples[:, :features])


def with_memory(
    net: tinyinc.Net,
    slots: int,
    memory_range: tuple[float, float] | None = None,
    memory_bits: int = 8,
) -> tinyinc.Net:
    """The same network with an empty memory of so many slots; the rest as of empty_memory()."""
    sections = [bytearray(section) for section in net.sections]
    structure = sections[image.STRUCTURE]
    _, layers = network.read(net)
    sections[image.MEMORY] = network.empty_memory(
        structure, layers, slots, memory_range, memory_bits
    )
    structure[6] = image.VERSION_MINOR
    image.lay_out(sections)
    image.put(structure, image.HEADER["lineage"], store.new_lineage())
    engine.seal(sections)
    return tinyinc.Net(tuple(sections), None, net.extensions)


def start_stream(net: tinyinc.Net) -> None:
    """Make a network that was trained elsewhere begin a stream of its own: none of its classes has
    been in it yet, so that lessons spare those they know nothing of."""
    state = net.sections[image.STATE]
    classes = image.get(state, image.STATE_FIELDS["classes_offset"])
    for cls in range(net.class_capacity):
        struct.pack_into("<I", state, classes + 8 * cls, 0)


def fill_memory(
    net: tinyinc.Net,
    samples: np.ndarray,
    labels: np.ndarray,
    names: Sequence[str],
    stands_for: int = 1,
) -> None:
    """Store distilled samples, in raw units, under their labels; behind a front end, features. The
    more training samples each stands for, the slower it will follow what the board sees."""
    room, first = net.memory.capacity - net.memory.count, net.memory.count
    if len(samples) > room:
        raise ValueError(f"{len(samples)} distilled samples, the memory has room for {room}")
    weight = min(max(stands_for, 1), MOST_WEIGHT)
    if image.front_layers(net.sections[image.STRUCTURE]):
        remember(net.sections, samples, [net.class_of(names[label]) for label in labels], first)
        memory_arrays(net.sections[image.MEMORY]).weights[first : first + len(samples)] = weight
        net.memory.recount()
        return
    for row, label in zip(samples, labels, strict=True):
        net.memory.add(array("f", row.astype(np.float32).tobytes()), names[label], weight)


def remember(
    sections: tuple[bytearray, ...], rows: np.ndarray, classes: Sequence[int], first: int = 0
) -> None:
    """Store normalised samples, or what a front end gives, in a memory's slots from `first` on."""
    structure = sections[image.STRUCTURE]
    expected = image.features(structure)
    if rows.shape[1] != expected:
        raise ValueError(f"exemplars have {rows.shape[1]} values, the memory's have {expected}")
    rows, q = rows.astype(np.float32), bytearray(expected)
    if image.is_q8(structure):
        steps = rows / image.feature_step(structure)
        rows = steps.round().clip(-127, 127).astype(np.int8)
    for slot, (row, cls) in enumerate(zip(rows, classes, strict=True), first):
        engine.quantise(sections, row, q)
        engine.remember(sections, slot, q, int(cls))


def export(net: tinyinc.Net, path: Path, **settings: str | float) -> None:
    """Write the image with the settings (Net.configure) that the board is to learn under. None of
    its classes has been in the board's stream yet."""
    net.configure(**settings)
    start_stream(net)
    path.parent.mkdir(parents=True, exist_ok=True)
    net.save(str(path))
