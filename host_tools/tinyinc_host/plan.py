"""The plan of a network's scratch as a table: which tensor lies where, and for how long."""

from __future__ import annotations

from array import array
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

import tinyinc
from tinyinc import image
from tinyinc.engine import engine
from tinyinc.undo import Undo
from tinyinc_host import network

ROLES = ("values", "mask", "winners", "gradient", "forward room", "backward room")
TABLE = "table of tensors"


@dataclass(frozen=True)
class Tensor:
    """A part of the scratch, from one moment to another: layer l runs at moment l, and is
    differentiated at moment 2 layers - 1 - l."""

    layer: int
    role: str
    shape: tuple[int, ...]  # of the layer's output
    offset: int
    bytes: int
    first: int
    last: int


WORKS = {"front end": 2, "inference": 0, "a step of learning": 1}  # as the engine numbers them


def plan(net: tinyinc.Net, work: int) -> tuple[list[Tensor], int]:
    """The tensors in the order of layers, and the bytes of scratch that they take together."""
    shape, layers = network.read(net)
    chain = network.shapes(shape, layers)
    words = array("I", bytes(4 * 4 * len(ROLES) * len(layers)))
    needed = engine.plan(net.sections, work, words)
    tensors = []
    for index in range(len(ROLES) * len(layers)):
        layer, role = divmod(index, len(ROLES))
        offset, size, first, last = words[4 * index : 4 * index + 4]
        if size:
            after = chain[layer].after
            tensors.append(Tensor(layer, ROLES[role], after, offset, size, first, last))
    return tensors, needed


def table(net: tinyinc.Net, title: str) -> Table:
    tensors, needed = plan(net, WORKS[title])
    _, layers = network.read(net)
    rows = Table(title=title, show_footer=True)
    rows.add_column("layer", "peak")
    rows.add_column("output")
    rows.add_column("tensor")
    rows.add_column("moments", justify="right")
    rows.add_column("bytes", str(needed), justify="right")
    rows.add_column("offset", justify="right")
    rows.add_row("", "", TABLE, "all", str(min(t.offset for t in tensors)), "0")
    shown = None
    for t in tensors:
        name = f"{t.layer} {layers[t.layer].kind}" if t.layer != shown else ""
        shape = " x ".join(map(str, t.shape)) if t.layer != shown else ""
        moments = f"{t.first}" if t.first == t.last else f"{t.first}-{t.last}"
        rows.add_row(name, shape, t.role, moments, str(t.bytes), str(t.offset))
        shown = t.layer
    return rows


def show(net: tinyinc.Net, console: Console) -> None:
    """A table per work. Each takes the scratch on its own, so the largest is what it needs."""
    front = image.front_layers(net.sections[image.STRUCTURE])
    for title in list(WORKS)[0 if front else 1 :]:
        console.print(table(net, title))


def summary(net: tinyinc.Net) -> str:
    """What a board needs RAM for beside Python itself."""
    kept = [len(section) for section in net.sections]
    frozen = f", of these {kept[2]} frozen, which may stay in flash" if kept[2] else ""
    undo = f"undo, where load(..., undo=True) asks for it: {Undo(net.sections).bytes} bytes"
    return f"image: {net.image_bytes} bytes{frozen}; scratch: {net.scratch_bytes} bytes; {undo}"
