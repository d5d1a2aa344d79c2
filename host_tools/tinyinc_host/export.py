"""From a pre-trained network and a distilled set to the image that a board loads."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from pathlib import Path

import numpy as np

import tinyinc
from tinyinc import image
from tinyinc.engine import engine

MOST_WEIGHT = 16  # of an exemplar, in the core


def with_memory(net: tinyinc.Net, slots: int) -> tinyinc.Net:
    """The same network with an empty memory of so many slots."""
    structure = net.sections[image.STRUCTURE]
    widths = [image.capacity(structure, layer) for layer in range(net.layer_count)]
    offset, scale, low, high = (
        image.get(structure, image.HEADER[name])
        for name in ("input_offset", "input_scale", "input_low", "input_high")
    )
    copy = tinyinc.create(
        inputs=net.inputs,
        hidden=widths[:-1],
        classes=widths[-1],
        range=(low / scale + offset, high / scale + offset),
        memory=slots,
        label_bytes=net.sections[image.STATE][2],
    )
    layers = slice(-net.layer_count * image.LAYER_BYTES, None)
    scaling = slice(image.HEADER["input_offset"][0], image.HEADER["input_high"][0] + 4)
    for part in (layers, scaling):
        copy.sections[image.STRUCTURE][part] = structure[part]
    for section in (image.TRAINED, image.STATE):
        copy.sections[section][:] = net.sections[section]
    engine.seal(copy.sections)
    return tinyinc.Net(copy.sections)


def fill_memory(
    net: tinyinc.Net,
    samples: np.ndarray,
    labels: np.ndarray,
    names: Sequence[str],
    stands_for: int = 1,
) -> None:
    """Store distilled samples, in raw units, under their labels. The more training samples each
    stands for, the slower it will follow what the board sees."""
    room = net.memory.capacity - net.memory.count
    if len(samples) > room:
        raise ValueError(f"{len(samples)} distilled samples, the memory has room for {room}")
    weight = min(max(stands_for, 1), MOST_WEIGHT)
    for row, label in zip(samples, labels, strict=True):
        net.memory.add(array("f", row.astype(np.float32).tobytes()), names[label], weight)


def export(net: tinyinc.Net, path: Path, **settings: str | float) -> None:
    """Write the image with the settings (Net.configure) that the board is to learn under."""
    net.configure(**settings)
    path.parent.mkdir(parents=True, exist_ok=True)
    net.save(str(path))
