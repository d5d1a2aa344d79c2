"""Builds and takes apart image files with numpy, straight from the format's description.

A second implementation on purpose: it shares no code with the device package or the host tools, so
that the tests pin the format itself.
"""

import re
import zlib

import numpy as np

STRUCTURE, TRAINED, FROZEN, MEMORY, STATE = range(5)
REQUIRED, READ_ONLY = 1, 2
TRAIN_WEIGHTS, TRAIN_BIAS = 1, 2
RULES = ["full", "static", "tinyprop", "tinyprop2", "sampled"]


def struct(fields):
    """A packed little-endian struct from "name:type" or "name:type*count" words."""
    words = [re.fullmatch(r"(\w+):(\w+)(?:\*(\d+))?", word).groups() for word in fields.split()]
    return np.dtype(
        [(name, f"<{kind}", int(count) if count else ()) for name, kind, count in words]
    )


HEADER = struct(
    """
    magic:S4 version_major:u2 version_minor:u2 structure_bytes:u4 structure_crc:u4 file_bytes:u4
    sequence:u4 lineage:u1*16 format:u1 head:u1 section_count:u1 layer_count:u1 input_type:u1
    normalisation:u1 optimiser:u1 input_rank:u1 input_shape:u4*4 input_offset:f4 input_scale:f4
    input_low:f4 input_high:f4 input_step:f4 input_zero_point:i4 reserved:u1*40
    """
)
SECTION = struct("kind:u4 flags:u4 offset:u4 bytes:u4 crc:u4 reserved:u4*3")
LAYER = struct(
    """
    kind:u1 activation:u1 flags:u1 update_eighths:u1 weight_type:u1 bias_type:u1
    optimiser_slots:u1 rank:u1 kernel:u1*2 stride:u1*2 padding:u1*4 dilation:u1*2 source:u2
    groups:u4 input_shape:u4*3 output_shape:u4*3 active:u4 weights_offset:u4 bias_offset:u4
    scales_offset:u4 slots_offset:u4 masks_offset:u4 output_step:f4 output_zero_point:i4
    reserved:u4*4
    """
)
MEMORY_HEADER = struct(
    """
    capacity:u4 count:u4 features:u4 stride:u4 element_type:u1 soft_labels:u1 reserved16:u2
    step:f4 offset:f4 classes_offset:u4 weights_offset:u4 samples_offset:u4 soft_offset:u4
    reserved:u4*5
    """
)
STATE_HEADER = struct(
    """
    rule:u1 label_type:u1 label_bytes:u1 replay:u1 class_capacity:u4 generator:u4 lessons:u4
    trained:u4 learning_rate:f4 static_ratio:f4 s_min:f4 s_max:f4 zeta:f4 d_min:f4 d_max:f4
    beta:f4 d_threshold:f4 error_threshold:f4 hidden_ratio:f4 input_threshold:f4 rates:f4*2
    layers_offset:u4 classes_offset:u4 labels_offset:u4 vote:f4 distance:u4
    reserved:u4*8
    """
)
LAYER_STATE = struct("y_max:f4 reserved:u4")
CLASS_STATE = struct("seen:u4 replayed:u4")

SETTINGS = {
    "rule": RULES.index("full"),
    "label_bytes": 8,
    "replay": 1,
    "generator": 2463534242,
    "learning_rate": 0.1,
    "static_ratio": 0.25,
    "s_min": 0.1,
    "s_max": 1.0,
    "zeta": 0.75,
    "d_min": 0.1,
    "d_max": 1.0,
    "beta": 1.0,
    "d_threshold": 0.3,
    "error_threshold": 0.75,
    "hidden_ratio": 0.3,
    "input_threshold": 0.1,
}
HEADER_FIELDS = {
    "magic": b"TINC",
    "version_major": 1,
    "input_rank": 1,
    "input_scale": 1.0,
    "input_low": -100.0,
    "input_high": 100.0,
}


def padded(n):
    return (n + 7) & ~7


def put(record, **fields):
    for name, value in fields.items():
        record[name] = value


class Image:
    """The five sections of an image, with numpy views of everything in them."""

    def __init__(self, net, extensions=()):
        self.net = tuple(net)
        self.extensions = list(extensions)  # (table index, bytes) of sections beyond the five

    @property
    def header(self):
        return np.frombuffer(self.net[STRUCTURE], HEADER, 1)[0]

    @property
    def table(self):
        count = int(self.header["section_count"])
        return np.frombuffer(self.net[STRUCTURE], SECTION, count, HEADER.itemsize)

    @property
    def layers(self):
        start = HEADER.itemsize + SECTION.itemsize * int(self.header["section_count"])
        return np.frombuffer(self.net[STRUCTURE], LAYER, int(self.header["layer_count"]), start)

    @property
    def memory(self):
        return np.frombuffer(self.net[MEMORY], MEMORY_HEADER, 1)[0]

    @property
    def state(self):
        return np.frombuffer(self.net[STATE], STATE_HEADER, 1)[0]

    @property
    def layer_states(self):
        offset = int(self.state["layers_offset"])
        return np.frombuffer(self.net[STATE], LAYER_STATE, len(self.layers), offset)

    @property
    def class_states(self):
        count, offset = int(self.state["class_capacity"]), int(self.state["classes_offset"])
        return np.frombuffer(self.net[STATE], CLASS_STATE, count, offset)

    @property
    def labels(self):
        width, offset = int(self.state["label_bytes"]), int(self.state["labels_offset"])
        return np.frombuffer(
            self.net[STATE], f"S{width}", int(self.state["class_capacity"]), offset
        )

    def _tensor_home(self, index, flag):
        return self.net[TRAINED if self.layers[index]["flags"] & flag else FROZEN]

    def weights(self, index, active=True):
        """Weights [units, inputs] of a layer; the active corner or the whole capacity."""
        layer = self.layers[index]
        units, inputs = int(layer["output_shape"][0]), int(layer["input_shape"][0])
        home = self._tensor_home(index, TRAIN_WEIGHTS)
        w = np.frombuffer(home, "<f4", units * inputs, int(layer["weights_offset"]))
        w = w.reshape(units, inputs)
        return w[: self.active(index), : self.active(index - 1)] if active else w

    def bias(self, index, active=True):
        layer = self.layers[index]
        home = self._tensor_home(index, TRAIN_BIAS)
        b = np.frombuffer(home, "<f4", int(layer["output_shape"][0]), int(layer["bias_offset"]))
        return b[: self.active(index)] if active else b

    def active(self, index):
        """Active units of a layer; of layer -1, the network's inputs."""
        return int(self.layers[index]["active"]) if index >= 0 else self.inputs

    @property
    def inputs(self):
        return int(self.layers[0]["input_shape"][0])

    @property
    def classes(self):
        return self.active(len(self.layers) - 1)

    @property
    def slot_classes(self):
        memory = self.memory
        return np.frombuffer(
            self.net[MEMORY], "<u2", int(memory["capacity"]), int(memory["classes_offset"])
        )

    @property
    def slot_weights(self):
        memory = self.memory
        return np.frombuffer(
            self.net[MEMORY], "<u2", int(memory["capacity"]), int(memory["weights_offset"])
        )

    @property
    def slot_samples(self):
        memory = self.memory
        slots, stride = int(memory["capacity"]), int(memory["stride"])
        q = np.frombuffer(self.net[MEMORY], "u1", slots * stride, int(memory["samples_offset"]))
        return q.reshape(slots, stride)[:, : int(memory["features"])]

    def copy(self):
        return Image([bytearray(section) for section in self.net], self.extensions)

    def contents(self):
        return tuple(bytes(section) for section in self.net)

    def restore(self, contents):
        for section, saved in zip(self.net, contents):
            section[:] = saved

    def seal_structure(self):
        self.header["structure_crc"] = 0
        self.header["structure_crc"] = zlib.crc32(self.net[STRUCTURE])
        return self

    def seal(self):
        """Put all CRCs into the structure, as zlib computes them."""
        extensions = dict(self.extensions)
        for index, entry in enumerate(self.table):
            body = extensions.get(index)
            entry["crc"] = zlib.crc32(self.net[entry["kind"]] if body is None else body)
        return self.seal_structure()

    def file(self):
        """The bytes of the sealed file: the structure, then the sections in the table's order."""
        extensions = dict(self.extensions)
        self.seal()
        parts = [bytes(self.net[STRUCTURE])]
        for index, entry in enumerate(self.table):
            assert entry["offset"] == sum(map(len, parts))
            parts.append(bytes(extensions.get(index, b"") or self.net[entry["kind"]]))
        return b"".join(parts)


def parse(file):
    """Take a file apart, trusting it."""
    header = np.frombuffer(file, HEADER, 1)[0]
    net = [bytearray(file[: int(header["structure_bytes"])])] + [bytearray()] * 4
    extensions = []
    image = Image(net)
    for index, entry in enumerate(image.table):
        body = file[int(entry["offset"]) :][: int(entry["bytes"])]
        if TRAINED <= entry["kind"] <= STATE:
            net[entry["kind"]] = bytearray(body)
        else:
            extensions.append((index, body))
    return Image(net, extensions)


def build(
    capacity,
    active=None,
    *,
    flags=None,
    slots=0,
    used=0,
    extensions=(),
    seed=0,
    step=1 / 64,
    offset=-2.0,
    stride=None,
    header=None,
    **settings,
):
    """An image of dense layers with random contents, sealed.

    capacity: (inputs, units of layer 0, .., classes); active: units in use per layer, all of them
    by default. flags: per layer TRAIN_WEIGHTS | TRAIN_BIAS, both by default. slots, used: capacity
    and fill of the memory, no memory section contents when 0. step, offset, stride: of the memory.
    extensions: (kind, flags, bytes) of further sections. settings: fields of the state.
    """
    rng = np.random.default_rng(seed)
    inputs, units = capacity[0], list(capacity[1:])
    active = list(active or units)
    flags = list(flags if flags is not None else [TRAIN_WEIGHTS | TRAIN_BIAS] * len(units))

    tensors = {TRAINED: 0, FROZEN: 0}

    def place(trained, count):
        kind = TRAINED if trained else FROZEN
        at, tensors[kind] = tensors[kind], padded(tensors[kind] + 4 * count)
        return at

    layers = np.zeros(len(units), LAYER)
    for index, layer in enumerate(layers):
        before = units[index - 1] if index else inputs
        put(
            layer,
            kind=1,
            activation=int(index < len(units) - 1),
            flags=flags[index],
            update_eighths=8,
            rank=1,
            source=0xFFFF,
            input_shape=(before, 1, 1),
            output_shape=(units[index], 1, 1),
            active=active[index],
            weights_offset=place(flags[index] & TRAIN_WEIGHTS, units[index] * before),
            bias_offset=place(flags[index] & TRAIN_BIAS, units[index]),
        )

    state = np.zeros((), STATE_HEADER)
    put(state, class_capacity=units[-1], **(SETTINGS | settings))
    state["layers_offset"] = STATE_HEADER.itemsize
    state["classes_offset"] = state["layers_offset"] + LAYER_STATE.itemsize * len(units)
    state["labels_offset"] = state["classes_offset"] + CLASS_STATE.itemsize * units[-1]
    state_bytes = padded(int(state["labels_offset"]) + int(state["label_bytes"]) * units[-1])

    memory, memory_bytes = np.zeros((), MEMORY_HEADER), 0
    if slots:
        stride = stride or inputs
        put(
            memory,
            capacity=slots,
            count=used,
            features=inputs,
            stride=stride,
            step=step,
            offset=offset,
            classes_offset=MEMORY_HEADER.itemsize,
        )
        memory["weights_offset"] = padded(int(memory["classes_offset"]) + 2 * slots)
        memory["samples_offset"] = padded(int(memory["weights_offset"]) + 2 * slots)
        memory_bytes = padded(int(memory["samples_offset"]) + stride * slots)

    bodies = [
        (TRAINED, REQUIRED, tensors[TRAINED]),
        (FROZEN, REQUIRED | READ_ONLY, tensors[FROZEN]),
        (MEMORY, REQUIRED, memory_bytes),
        (STATE, REQUIRED, state_bytes),
    ]
    bodies += [(kind, flag, len(body)) for kind, flag, body in extensions]
    structure_bytes = (
        HEADER.itemsize + SECTION.itemsize * len(bodies) + LAYER.itemsize * len(layers)
    )
    table, at = np.zeros(len(bodies), SECTION), structure_bytes
    for entry, (kind, flag, size) in zip(table, bodies):
        put(entry, kind=kind, flags=flag, offset=at, bytes=size)
        at += size

    head = np.zeros((), HEADER)
    put(
        head,
        structure_bytes=structure_bytes,
        file_bytes=at,
        lineage=range(1, 17),
        section_count=len(table),
        layer_count=len(layers),
    )
    put(head, **({"input_shape": (inputs, 1, 1, 1)} | HEADER_FIELDS | (header or {})))

    image = Image(
        [
            bytearray(head.tobytes() + table.tobytes() + layers.tobytes()),
            bytearray(tensors[TRAINED]),
            bytearray(tensors[FROZEN]),
            bytearray(memory.tobytes().ljust(memory_bytes, b"\0")) if slots else bytearray(),
            bytearray(state.tobytes().ljust(state_bytes, b"\0")),
        ],
        [(4 + i, body) for i, (_, _, body) in enumerate(extensions)],
    )
    for index in range(len(units)):
        w = image.weights(index, active=False)
        w[:] = rng.normal(0, (2 / w.shape[1]) ** 0.5, w.shape)
        image.bias(index, active=False)[:] = rng.normal(0, 0.1, units[index])
    for cls in range(active[-1]):
        image.labels[cls] = b"c%d" % cls
    if slots:
        image.slot_classes[:used] = rng.integers(0, max(active[-1], 1), used)
        image.slot_weights[:used] = rng.integers(1, 17, used)
        image.slot_samples[:used] = rng.integers(0, 256, (used, inputs))
    return image.seal()
