"""A view of a network: its fields by name, and its tensors and tables as numbers."""

import struct
from array import array

from . import layout
from .layout import FROZEN, MEMORY, STATE, STRUCTURE, TRAINED


class Layer:
    """A dense layer: where its tensors are, and their sizes."""

    def __init__(self, entry, base, inputs):
        self.base = base  # of its entry in the structure
        self.flags = entry["flags"]
        self.relu = entry["activation"] == layout.RELU
        self.inputs = inputs  # active ones; the capacity is the stride of a row
        self.stride = entry["input_shape0"]
        self.active = entry["active"]
        self.capacity = entry["output_shape0"]
        self.weights_section = TRAINED if self.flags & layout.TRAIN_WEIGHTS else FROZEN
        self.weights_offset = entry["weights_offset"]
        self.bias_section = TRAINED if self.flags & layout.TRAIN_BIAS else FROZEN
        self.bias_offset = entry["bias_offset"]


class Net:
    """A view of the five sections, made anew by every call: a caller may change a buffer."""

    def __init__(self, sections):
        self.sections = sections
        self.header = None
        self.inputs = 0
        self.entries = {}  # of the section table, by kind; each with its "base"
        self.layers = []
        self.memory = None  # stays so when the network has none
        self.state = None

    @property
    def last(self):
        return self.layers[-1]

    def set_active(self, layer, active):
        layer.active = active
        layout.write(layout.LAYER, "active", self.sections[STRUCTURE], layer.base, active)

    def row(self, layer, unit):
        """A unit's weights from its active inputs, as a list."""
        at = layer.weights_offset + 4 * layer.stride * unit
        return floats(self.sections[layer.weights_section], at, layer.inputs)

    def set_row(self, layer, unit, values):
        at = layer.weights_offset + 4 * layer.stride * unit
        set_floats(self.sections[layer.weights_section], at, values)

    def set_weight(self, layer, unit, index, value):
        at = layer.weights_offset + 4 * (layer.stride * unit + index)
        set_floats(self.sections[layer.weights_section], at, [value])

    def bias(self, layer):
        return floats(self.sections[layer.bias_section], layer.bias_offset, layer.active)

    def set_bias(self, layer, unit, value):
        set_floats(self.sections[layer.bias_section], layer.bias_offset + 4 * unit, [value])

    def y_max(self, index):
        return floats(self.sections[STATE], self.layer_state_at(index), 1)[0]

    def set_y_max(self, index, value):
        set_floats(self.sections[STATE], self.layer_state_at(index), [value])

    def layer_state_at(self, index):
        return self.state["layers_offset"] + layout.LAYER_STATE_BYTES * index

    def class_state(self, cls):
        """[lesson that taught it last, times replayed] of a class."""
        return list(struct.unpack_from("<II", self.sections[STATE], self.class_state_at(cls)))

    def set_class_state(self, cls, last, replayed):
        struct.pack_into("<II", self.sections[STATE], self.class_state_at(cls), last, replayed)

    def class_state_at(self, cls):
        return self.state["classes_offset"] + layout.CLASS_STATE_BYTES * cls

    def slot(self, slot):
        """(class, weight) of a slot of the memory."""
        memory, section = self.memory, self.sections[MEMORY]
        cls = struct.unpack_from("<H", section, memory["classes_offset"] + 2 * slot)[0]
        weight = struct.unpack_from("<H", section, memory["weights_offset"] + 2 * slot)[0]
        return cls, weight

    def set_slot(self, slot, cls, weight):
        memory, section = self.memory, self.sections[MEMORY]
        struct.pack_into("<H", section, memory["classes_offset"] + 2 * slot, cls)
        struct.pack_into("<H", section, memory["weights_offset"] + 2 * slot, weight)

    @property
    def memory_step(self):
        """Between the values that the memory can hold."""
        return layout.PACKED_STEP if self.memory["element_type"] == layout.BITS4 else 1

    def sample(self, slot):
        """The quantised values of a slot, as a bytearray of its own."""
        at = self.memory["samples_offset"] + self.memory["stride"] * slot
        step = self.memory_step
        if step == 1:
            return bytearray(get_bytes(self.sections[MEMORY], at, self.inputs))
        pairs = get_bytes(self.sections[MEMORY], at, (self.inputs + 1) // 2)
        return bytearray([step * (pairs[i >> 1] >> 4 * (i & 1) & 15) for i in range(self.inputs)])

    def set_sample(self, slot, q):
        at = self.memory["samples_offset"] + self.memory["stride"] * slot
        step = self.memory_step
        if step > 1:  # the first of two values in the lower half of a byte
            q = [(value + step // 2) // step for value in q] + [0]
            q = [q[i] | q[i + 1] << 4 for i in range(0, self.inputs, 2)]
        put_bytes(self.sections[MEMORY], at, bytes(q))

    def set_count(self, count):
        self.memory["count"] = count
        layout.write(layout.MEMORY_HEADER, "count", self.sections[MEMORY], 0, count)

    def set_state(self, name, value):
        self.state[name] = value
        layout.write(layout.STATE_HEADER, name, self.sections[STATE], 0, value)

    def next(self):
        """32 random bits; the generator (xorshift32, Marsaglia 2003) is part of the image."""
        s = self.state["generator"]
        s ^= s << 13 & 0xFFFFFFFF
        s ^= s >> 17
        s ^= s << 5 & 0xFFFFFFFF
        self.set_state("generator", s)
        return s

    def uniform(self):
        """A random number in [0, 1)."""
        return (self.next() >> 8) / 16777216


def floats(buffer, offset, count):
    return list(struct.unpack_from("<" + str(count) + "f", buffer, offset))


def set_floats(buffer, offset, values):
    # through an array: on CPython, packing a number too large for float32 raises
    put_bytes(buffer, offset, bytes(array("f", values)))


def get_bytes(buffer, offset, count):
    return struct.unpack_from(str(count) + "s", buffer, offset)[0]


def put_bytes(buffer, offset, data):
    struct.pack_into(str(len(data)) + "s", buffer, offset, data)


def count_up(counter):
    return min(counter + 1, 0xFFFFFFFF)


def need_writable(net, *kinds):
    """Raise TypeError before anything is written, rather than half way through."""
    for kind in kinds:
        if len(net.sections[kind]):
            put_bytes(net.sections[kind], 0, b"")
