"""Capacity in use: units and classes come and go within what the image has room for."""

import math

from . import faults, layout
from .buffers import number
from .faults import fail
from .image import open_net
from .layout import MEMORY, STATE, STRUCTURE, TRAINED
from .net import get_bytes, need_writable, put_bytes


def grow(sections, layer, units):
    """Put `units` more units of a layer to use: hidden ones with random weights (He et al. 2015)
    from the layer's inputs and half as large ones to the next layer, classes with zeros."""
    net = open_net(sections)
    here, after = _resizable(net, layer)
    units = number(units)
    room = here.capacity - here.active
    if units > room:
        fail(faults.CAPACITY, layer, units, room)
    outgoing = 0.5 * _he_bound(here.active + units)
    for _ in range(units):
        if after is None:
            _start_class(net, here.active)
            net.set_row(here, here.active, [0.0] * here.inputs)
        else:
            bound = _he_bound(here.inputs)
            net.set_row(here, here.active, [_draw(net, bound) for _ in range(here.inputs)])
            column = [_draw(net, outgoing) for _ in range(after.active)]
            _set_column(net, after, here.active, column)
        net.set_bias(here, here.active, 0.0)
        net.set_active(here, here.active + 1)


def shrink(sections, layer, unit):
    """Take a unit out of use; the last one moves into its place, at least one stays. With a class
    go its samples in the memory."""
    net = open_net(sections)
    here, after = _resizable(net, layer)
    unit = number(unit)
    if unit >= here.active or here.active == 1:
        fail(faults.UNIT, layer, unit, here.active)
    last = here.active - 1
    net.set_row(here, unit, net.row(here, last))
    net.set_bias(here, unit, net.bias(here)[last])
    if after is None:
        _remove_class(net, unit, last)
    else:
        after.inputs = here.active
        _set_column(net, after, unit, _column(net, after, last))
    net.set_active(here, last)


def least_useful(sections, layer, over=0):
    """The hidden unit with the smallest use, the sum of |outgoing| times that of |incoming|
    weights; -1 unless the largest use is `over` times as large."""
    net = open_net(sections)
    layer, over = number(layer), number(over)
    if layer >= len(net.layers) - 1:
        fail(faults.LAYER, layer, layer, len(net.layers) - 1)
    here, after = net.layers[layer], net.layers[layer + 1]
    bias = net.bias(here)
    uses = []
    for unit in range(here.active):
        incoming = abs(bias[unit]) + sum([abs(weight) for weight in net.row(here, unit)])
        outgoing = sum([abs(weight) for weight in _column(net, after, unit)])
        uses.append(incoming * outgoing)
    if not uses:
        return 0
    return -1 if min(uses) * over > max(uses) else uses.index(min(uses))


def _resizable(net, index):
    """The layer and the next (None after the last), when their tensors may be written."""
    need_writable(net, STRUCTURE, TRAINED, MEMORY, STATE)
    layers, index = net.layers, number(index)
    if index >= len(layers):
        fail(faults.LAYER, index, index, len(layers))
    here = layers[index]
    after = layers[index + 1] if index + 1 < len(layers) else None
    trained = here.flags == layout.TRAIN_WEIGHTS | layout.TRAIN_BIAS
    if not trained or (after and not after.flags & layout.TRAIN_WEIGHTS):
        fail(faults.LAYER, index, index, len(layers))
    return here, after


def _draw(net, bound):
    return (2 * net.uniform() - 1) * bound


def _he_bound(inputs):
    return math.sqrt(6 / inputs) if inputs else 0.0


def _column(net, layer, unit):
    return [net.row(layer, row)[unit] for row in range(layer.active)]


def _set_column(net, layer, unit, values):
    for row, value in enumerate(values):
        net.set_weight(layer, row, unit, value)


def _start_class(net, cls):
    """A new class counts as replayed as often as the rarest, not as one long neglected."""
    others = [net.class_state(other)[1] for other in range(cls)]
    net.set_class_state(cls, net.state["lessons"], min(others) if others else 0)


def _remove_class(net, cls, last):
    taught, replayed = net.class_state(last)
    net.set_class_state(cls, taught, replayed)
    state, size = net.sections[STATE], net.state["label_bytes"]
    at = net.state["labels_offset"]
    put_bytes(state, at + size * cls, get_bytes(state, at + size * last, size))
    if net.memory:
        _forget_class(net, cls, last)


def _forget_class(net, cls, last):
    """The memory's samples of a class go, the last slot into each place; those of the last class
    take its number."""
    slot = 0
    while slot < net.memory["count"]:
        if net.slot(slot)[0] == cls:
            net.set_count(net.memory["count"] - 1)
            moving = net.memory["count"]
            net.set_slot(slot, *net.slot(moving))
            net.set_sample(slot, net.sample(moving))
        else:
            slot += 1
    for slot in range(net.memory["count"]):
        its_class, weight = net.slot(slot)
        if its_class == last:
            net.set_slot(slot, cls, weight)
