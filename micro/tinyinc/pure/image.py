"""Is it a network? Every field of an image is checked before anything uses it."""

import struct

from . import faults, layout
from .faults import fail
from .layout import FROZEN, MEMORY, STATE, STRUCTURE, TRAINED
from .net import Layer, Net, floats

CRC_BYTE = layout.byte_of(layout.HEADER, "structure_crc")


def open_net(sections):
    """The view of a tuple of five buffers, every field checked; O(layers)."""
    if len(sections) != layout.SECTIONS:
        fail(faults.ARGUMENT, 1, len(sections), layout.SECTIONS)
    net = _open_structure(sections)
    for kind in (TRAINED, FROZEN, MEMORY, STATE):
        if len(sections[kind]) != net.entries[kind]["bytes"]:
            fail(faults.SECTION_BYTES, kind, len(sections[kind]), net.entries[kind]["bytes"])
    if len(sections[MEMORY]) != 0:
        _open_memory(net, sections[MEMORY])
    _open_state(net, sections[STATE])
    return net


def check_structure(structure):
    """Check the structure alone, before its sections are read."""
    _open_structure((structure,))


def check(sections):
    """Check all of a network just read: every field, CRC, weight and slot; O(bytes)."""
    net = open_net(sections)
    if _structure_crc(sections[STRUCTURE]) != net.header["structure_crc"]:
        fail(faults.STRUCTURE_CRC)
    for kind in (TRAINED, FROZEN, MEMORY, STATE):
        if crc32(sections[kind]) != net.entries[kind]["crc"]:
            fail(faults.SECTION_CRC, kind)
    for index, layer in enumerate(net.layers):
        weights = layer.capacity * layer.stride
        _check_finite(sections[layer.weights_section], layer.weights_offset, weights, index)
        _check_finite(sections[layer.bias_section], layer.bias_offset, layer.capacity, index)
    for slot in range(net.memory["count"] if net.memory else 0):
        cls = net.slot(slot)[0]
        if cls >= net.last.active:
            fail(faults.CLASS, 0, cls, net.last.active)


def _check_finite(section, offset, count, index):
    for first in range(0, count, 64):
        values = floats(section, offset + 4 * first, min(64, count - first))
        for i, value in enumerate(values):
            if value - value != 0:
                fail(faults.VALUE, index, first + i)


def seal(sections):
    """Put the CRCs of the sections, then of the structure, into the structure."""
    net = open_net(sections)
    structure = sections[STRUCTURE]
    for kind in (TRAINED, FROZEN, MEMORY, STATE):
        base = net.entries[kind]["base"]
        layout.write(layout.SECTION, "crc", structure, base, crc32(sections[kind]))
    struct.pack_into("<I", structure, CRC_BYTE, _structure_crc(structure))


def _crc32_slowly(data, crc=0):
    crc ^= 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0xEDB88320 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


try:
    from binascii import crc32  # (data, crc=0), IEEE 802.3, reflected
except ImportError:
    crc32 = _crc32_slowly


def _structure_crc(structure):
    """Of the structure with the CRC's own field taken as 0."""
    view = memoryview(structure)
    return crc32(view[CRC_BYTE + 4 :], crc32(bytes(4), crc32(view[:CRC_BYTE])))


def _open_structure(sections):
    net = Net(sections)
    net.header = _open_header(sections[STRUCTURE])
    net.inputs = _inputs(net.header)
    _open_sections(net)
    _open_layers(net)
    _check_front(net)
    _check_stage(net)
    return net


def _open_header(structure):
    if len(structure) < layout.HEADER_BYTES:
        fail(faults.TRUNCATED, STRUCTURE, len(structure), layout.HEADER_BYTES)
    header = layout.read(layout.HEADER, structure)
    if header["magic"] != b"TINC":
        fail(faults.MAGIC)
    if header["version_major"] != 1:
        fail(faults.VERSION, 0, header["version_major"], 1)
    if header["format"] > layout.Q8:
        fail(faults.FORMAT, 0, header["format"])
    if header["format"] == layout.Q8:
        fail(faults.COMPILED, 0)
    layout.check(layout.HEADER, header, _wrong_header)
    if header["input_scale"] == 0:
        _wrong_header("input_scale", 0)
    if header["input_low"] >= header["input_high"]:
        _wrong_header("input_low", 0)

    expected = layout.HEADER_BYTES
    expected += layout.SECTION_BYTES * header["section_count"]
    expected += layout.LAYER_BYTES * header["layer_count"]
    if header["structure_bytes"] != expected:
        _wrong_header("structure_bytes", header["structure_bytes"])
    if len(structure) != expected:
        fail(faults.TRUNCATED, STRUCTURE, len(structure), expected)
    if header["file_bytes"] < expected or header["file_bytes"] % 8:
        _wrong_header("file_bytes", header["file_bytes"])
    return header


def _wrong_header(name, value):
    fail(faults.HEADER, layout.byte_of(layout.HEADER, name), value)


def _inputs(header):
    """Values of a sample: the product of the axes in use."""
    inputs = 1
    for axis in range(4):
        name = "input_shape" + str(axis)
        most = layout.MAX_UNITS // inputs if axis < header["input_rank"] else 1
        if header[name] > most:
            _wrong_header(name, header[name])
        inputs *= header[name]
    return inputs


def _open_sections(net):
    end = net.header["structure_bytes"]
    for index in range(net.header["section_count"]):
        base = layout.HEADER_BYTES + layout.SECTION_BYTES * index
        entry = layout.read(layout.SECTION, net.sections[STRUCTURE], base)
        entry["base"] = base
        _check_section(net, index, entry, end)
        end = entry["offset"] + entry["bytes"]
        if entry["kind"] <= STATE:
            net.entries[entry["kind"]] = entry
    for kind in (TRAINED, FROZEN, MEMORY, STATE):
        if kind not in net.entries:
            fail(faults.SECTION, kind)


def _check_section(net, index, entry, end):
    """Hold an entry against the file and `end`, where the section before ends."""
    kind, offset, size = entry["kind"], entry["offset"], entry["bytes"]

    def wrong(name, value):
        fail(faults.SECTION, index, offset)

    layout.check(layout.SECTION, entry, wrong)
    if offset < end or offset % 8 or size % 8 or offset + size > net.header["file_bytes"]:
        wrong("offset", offset)
    if kind > STATE and entry["flags"] & layout.REQUIRED:
        fail(faults.SECTION_UNKNOWN, index, kind)
    if kind == STRUCTURE or kind in net.entries:
        fail(faults.SECTION, index, kind)


def _open_layers(net):
    base = layout.HEADER_BYTES + layout.SECTION_BYTES * net.header["section_count"]
    for index in range(net.header["layer_count"]):
        entry = layout.read(layout.LAYER, net.sections[STRUCTURE], base)
        _check_layer(net, index, entry)
        inputs = net.last.active if net.layers else net.inputs
        net.layers.append(Layer(entry, base, inputs))
        base += layout.LAYER_BYTES


def _check_layer(net, index, entry):
    def wrong(name, value):
        fail(faults.LAYER_FIELD, layout.byte_of(layout.LAYER, name), value, index)

    kind, eighths = entry["kind"], entry["update_eighths"]
    last = index == net.header["layer_count"] - 1
    if not layout.DENSE <= kind <= layout.ADD or (last and kind != layout.DENSE):
        fail(faults.LAYER_KIND, index, kind)
    trained = entry["flags"] & layout.TRAIN_WEIGHTS
    if eighths not in ((1, 2, 4, 8) if trained else (0, 8)):
        wrong("update_eighths", eighths)
    relu6 = entry["activation"] == layout.RELU6 and not last
    if kind != layout.DENSE or relu6 or (trained and eighths != 8):
        fail(faults.COMPILED, index)
    inputs, units = entry["input_shape0"], entry["output_shape0"]
    before = net.last.capacity if net.layers else net.inputs
    if inputs != before:
        fail(faults.LAYER_CHAIN, index, inputs, before)
    layout.check(layout.LAYER, entry, wrong)
    if entry["activation"] != (layout.LINEAR if last else layout.RELU):
        wrong("activation", entry["activation"])
    if entry["active"] > units:
        wrong("active", entry["active"])
    for name, flag, values in (
        ("weights_offset", layout.TRAIN_WEIGHTS, units * inputs),
        ("bias_offset", layout.TRAIN_BIAS, units),
    ):
        room = net.entries[TRAINED if entry["flags"] & flag else FROZEN]["bytes"]
        if entry[name] % 8 or entry[name] + 4 * values > room:
            fail(faults.LAYER_BOUNDS, index, entry[name], room)


def _check_front(net):
    """Layers that run apart from the others: not here."""
    layers = net.header["front_layers"]
    if layers >= net.header["layer_count"] or 0 < layers < net.header["stage_layers"]:
        _wrong_header("front_layers", layers)
    for index in range(layers):
        if net.layers[index].flags:
            fail(faults.FRONT, index)
    if layers:
        fail(faults.COMPILED, 0)


def _check_stage(net):
    """Layers that run strip by strip: none of those here can."""
    layers = net.header["stage_layers"]
    if layers >= net.header["layer_count"]:
        _wrong_header("stage_layers", layers)
    if layers:
        fail(faults.STAGE, 0)


def _open_memory(net, section):
    def wrong(name, value):
        fail(faults.MEMORY, layout.byte_of(layout.MEMORY_HEADER, name), value)

    if len(section) < layout.MEMORY_BYTES:
        fail(faults.MEMORY, 0, len(section))
    memory = layout.read(layout.MEMORY_HEADER, section)
    layout.check(layout.MEMORY_HEADER, memory, wrong)
    capacity = memory["capacity"]
    if memory["count"] > capacity:
        wrong("count", memory["count"])
    if memory["features"] != net.inputs:
        wrong("features", memory["features"])
    packed = memory["element_type"] == layout.BITS4
    if memory["stride"] < (net.inputs + packed) >> packed:
        wrong("stride", memory["stride"])
    for name, size in (
        ("classes_offset", 2 * capacity),
        ("weights_offset", 2 * capacity),
        ("samples_offset", memory["stride"] * capacity),
    ):
        if not _fits(memory[name], size, layout.MEMORY_BYTES, len(section)):
            wrong(name, memory[name])
    net.memory = memory


def _open_state(net, section):
    def wrong(name, value):
        fail(faults.STATE, layout.byte_of(layout.STATE_HEADER, name), value)

    if len(section) < layout.STATE_BYTES:
        fail(faults.STATE, 0, len(section))
    net.state = state = layout.read(layout.STATE_HEADER, section)
    layout.check(layout.STATE_HEADER, state, wrong)
    label_bytes, classes = state["label_bytes"], state["class_capacity"]
    if label_bytes % 4:
        wrong("label_bytes", label_bytes)
    if classes != net.last.capacity:
        wrong("class_capacity", classes)
    for name, size in (
        ("layers_offset", layout.LAYER_STATE_BYTES * len(net.layers)),
        ("classes_offset", layout.CLASS_STATE_BYTES * classes),
        ("labels_offset", label_bytes * classes),
    ):
        if not _fits(state[name], size, layout.STATE_BYTES, len(section)):
            wrong(name, state[name])
    for index in range(len(net.layers)):
        at = net.layer_state_at(index)
        y_max, widened = struct.unpack_from("<fI", section, at)
        if not 0 <= y_max <= layout.MAX_Y or widened:
            fail(faults.STATE, at, widened)


def _fits(offset, size, start, end):
    """Does a table lie behind its section's header, at a multiple of 8, inside the section?"""
    return offset % 8 == 0 and start <= offset and offset + size <= end
