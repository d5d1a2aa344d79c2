"""Builds and takes apart image files with numpy, straight from the format's description.

A second implementation on purpose: it shares no code with the device package or the host tools, so
that the tests pin the format itself.

    build((6, 8, 5), (5, 3))              dense layers in float32, some units in use
    network((12, 12, 3), [                any layers, float32, or q8=True
        conv(8, 3, stride=2, padding=1),          3 x 3, trained, ReLU
        depthwise(3, padding=1, train=0),         frozen
        conv(8, 1, activation="linear"),
        add(0),                                   the layer before plus layer 0
        average_pool(6),
        dense(5, active=3),                       the last: linear
    ], q8=True, input_step=2**-5, slots=9, used=4, rule=4)

What a layer's dict may say beside its shape (all have defaults): train (TRAIN_WEIGHTS |
TRAIN_BIAS), activation, eighths, weights, bias; in q8 also scales, step (of the output) and
weight_type (INT8 or INT16); any field of LAYER by its name overrides what was worked out. Without
"weights" they are random, for q8 quantised from random reals. Weights have their natural shapes,
see storage.py: in q8 they are integers, masters (INT16) or weights (INT8), with a scale per unit;
bias is int32 in units of 2^-20.

An Image reads them back: weights(i) in float32 is a view to write into; in q8 a copy, to be
written with set_weights(i, values). int8_weights(i) is what q8 multiplies with, real_weights(i)
that times the scales. scales(i) and bias(i) are views. step(i) is the step of a layer's output,
pools and widening included, step(-1) the input's. shape_before(i) and shape(i) are what a layer
takes and gives, as (height, width, channels); a dense layer's are (values,).
"""

import re
import zlib

import numpy as np

import storage
from storage import INT8, INT16

STRUCTURE, TRAINED, FROZEN, MEMORY, STATE = range(5)
REQUIRED, READ_ONLY = 1, 2
TRAIN_WEIGHTS, TRAIN_BIAS = 1, 2
DENSE, CONV, DEPTHWISE, MAX_POOL, AVERAGE_POOL, ADD = range(1, 7)
ACTIVATIONS = ["linear", "relu", "relu6"]
NO_SOURCE = 0xFFFF
BIAS_UNIT = 2.0**-20  # q8
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
    input_low:f4 input_high:f4 input_step:f4 input_zero_point:i4 stage_layers:u1
    front_layers:u1 stage_rows:u2 reserved:u1*36
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
    logit_adjustment:f4 novelty:f4 growth:u4 far:u4 label_smoothing:f4 reserved:u4*3
    """
)
LAYER_STATE = struct("y_max:f4 widened:u4")
CLASS_STATE = struct("last:u4 replayed:u4")

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


# Fields that a layer's declaration does not spell otherwise: it may set them as they are.
SPELT = {"kind", "kernel", "stride", "padding", "activation", "active", "weight_type"}
RAW = set(LAYER.names) - SPELT


def needs_1_1(layer):
    """Does a float32 layer have anything that version 1.0 does not know?"""
    return bool(layer["kind"] != DENSE or layer["activation"] > 1 or layer["update_eighths"] != 8)


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

    @property
    def q8(self):
        return bool(self.header["format"])

    def shape(self, index):
        """Of a layer's output, in use; of layer -1, of the sample."""
        if index < 0:
            return tuple(map(int, self.header["input_shape"][: int(self.header["input_rank"])]))
        layer = self.layers[index]
        if layer["kind"] == DENSE:
            return (int(layer["active"]),)
        return tuple(map(int, layer["output_shape"]))

    def shape_before(self, index):
        """Of what a layer takes, in use."""
        if self.layers[index]["kind"] == DENSE:
            return (self.active(index - 1),)
        return tuple(map(int, self.layers[index]["input_shape"]))

    def active(self, index):
        """Values that a layer gives, of a dense one its active units; of layer -1, the inputs."""
        return int(np.prod(self.shape(index)))

    def step(self, index):
        """Q8: the step of a layer's output, widened as it is now; of layer -1, of the sample."""
        if index < 0:
            return float(self.header["input_step"])
        if self.layers[index]["kind"] in (MAX_POOL, AVERAGE_POOL):
            return self.step(index - 1)
        widened = int(self.layer_states["widened"][index])
        return float(self.layers[index]["output_step"]) * 2**widened

    def has_weights(self, index):
        return self.layers[index]["kind"] in (DENSE, CONV, DEPTHWISE)

    def _tensor_home(self, index, flag):
        return self.net[TRAINED if self.layers[index]["flags"] & flag else FROZEN]

    def _stored_weights(self, index):
        """Where a q8 layer's weights lie, and what storage.py asks for: natural shape, type, ..."""
        layer, shape = self.layers[index], weight_shape(self.layers[index])
        depthwise = bool(layer["kind"] == DEPTHWISE)
        size = storage.weight_bytes(shape, int(layer["weight_type"]), depthwise)
        at = int(layer["weights_offset"])
        home = memoryview(self._tensor_home(index, TRAIN_WEIGHTS))[at : at + size]
        return home, shape, int(layer["weight_type"]), depthwise

    def weights(self, index, active=True):
        """Weights of a layer in their natural shape; of a dense one, the active corner [units,
        inputs] or the whole capacity. A view in float32, a copy of the integers in q8."""
        if self.q8:
            w = storage.unpack(*self._stored_weights(index))
        else:
            layer, shape = self.layers[index], weight_shape(self.layers[index])
            home = self._tensor_home(index, TRAIN_WEIGHTS)
            w = np.frombuffer(home, "<f4", int(np.prod(shape)), int(layer["weights_offset"]))
            w = w.reshape(shape)
        if active and self.layers[index]["kind"] == DENSE:
            return w[: self.active(index), : self.active(index - 1)]
        return w

    def set_weights(self, index, values):
        """Write weights of the capacity, or of the active corner."""
        if not self.q8:
            whole = np.shape(values) == weight_shape(self.layers[index])
            self.weights(index, active=not whole)[:] = values
            return
        home, shape, weight_type, depthwise = self._stored_weights(index)
        if np.shape(values) != shape:
            whole = self.weights(index, active=False)
            whole[: np.shape(values)[0], : np.shape(values)[1]] = values
            values = whole
        home[:] = storage.pack(values, weight_type, depthwise)

    def int8_weights(self, index, active=True):
        """Q8: the integers that samples are multiplied with."""
        return storage.int8_of(self.weights(index, active), int(self.layers[index]["weight_type"]))

    def real_weights(self, index, active=True):
        """What they stand for."""
        if not self.q8:
            return self.weights(index, active).astype("f8")
        scales = self.scales(index, active).astype("f8")
        depthwise = self.layers[index]["kind"] == DEPTHWISE
        return storage.times_scales(self.int8_weights(index, active), scales, depthwise)

    def _per_unit(self, home, dtype, index, offset, active):
        values = np.frombuffer(home, dtype, units(self.layers[index]), int(offset))
        return values[: int(self.layers[index]["active"])] if active else values

    def scales(self, index, active=True):
        """Q8: float32 per unit or output channel."""
        home, offset = self._tensor_home(index, TRAIN_WEIGHTS), self.layers[index]["scales_offset"]
        return self._per_unit(home, "<f4", index, offset, active)

    def bias(self, index, active=True):
        home, offset = self._tensor_home(index, TRAIN_BIAS), self.layers[index]["bias_offset"]
        return self._per_unit(home, "<i4" if self.q8 else "<f4", index, offset, active)

    @property
    def inputs(self):
        return int(np.prod(self.header["input_shape"].astype(int)))

    @property
    def features(self):
        """Values that the front end gives, and the rest takes."""
        return self.active(int(self.header["front_layers"]) - 1)

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
    def packed(self):
        """Has the memory 4 bits per value?"""
        return bool(self.memory["element_type"])

    @property
    def slot_bytes(self):
        memory, packed = self.memory, int(self.packed)
        slots, stride = int(memory["capacity"]), int(memory["stride"])
        stored = np.frombuffer(
            self.net[MEMORY], "u1", slots * stride, int(memory["samples_offset"])
        )
        return stored.reshape(slots, stride)[:, : (int(memory["features"]) + packed) >> packed]

    @property
    def slot_samples(self):
        """q of every slot: a view to write into, but of 4 bits a copy."""
        stored = self.slot_bytes
        if not self.packed:
            return stored
        halves = np.stack([stored & 15, stored >> 4], axis=-1)
        return 17 * halves.reshape(len(stored), -1)[:, : int(self.memory["features"])]

    def set_slot(self, slot, q):
        """q of one slot; of 4 bits the nearest that there is."""
        if self.packed:
            v = np.round(np.asarray(q) / 17).astype("u1")
            v = np.pad(v, (0, len(v) % 2)).reshape(-1, 2)
            q = v[:, 0] | v[:, 1] << 4
        self.slot_bytes[slot] = q

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


def units(layer):
    """Units or output channels at capacity."""
    return int(layer["output_shape"][0 if layer["kind"] == DENSE else 2])


def weight_shape(layer):
    """The natural shape of a layer's weights, at capacity."""
    if layer["kind"] == DENSE:
        return int(layer["output_shape"][0]), int(layer["input_shape"][0])
    shape = (*map(int, layer["kernel"]), int(layer["input_shape"][2]))
    return shape if layer["kind"] == DEPTHWISE else (units(layer), *shape)


# ---- layers, declared ----


def dense(units, active=None, **more):
    return {"kind": DENSE, "units": units, "active": units if active is None else active} | more


def conv(channels, kernel=3, **more):
    return {"kind": CONV, "channels": channels, "kernel": kernel} | more


def depthwise(kernel=3, **more):
    return {"kind": DEPTHWISE, "kernel": kernel} | more


def max_pool(kernel=2, **more):
    return {"kind": MAX_POOL, "kernel": kernel, "stride": kernel} | more


def average_pool(kernel=2, **more):
    return {"kind": AVERAGE_POOL, "kernel": kernel, "stride": kernel} | more


def add(source, **more):
    return {"kind": ADD, "source": source} | more


def times(value, count):
    """One number for all axes, or one for each."""
    return (value,) * count if np.ndim(value) == 0 else tuple(value)


def output_extent(before, kernel, stride, padding):
    """padding: what goes before and after together."""
    return (before + padding - kernel) // stride + 1


def _geometry(entry, declared, before):
    """Shapes and all that follows from them; before: (height, width, channels) or (values,)."""
    kind = declared["kind"]
    if kind == DENSE:
        put(
            entry,
            rank=1,
            input_shape=(int(np.prod(before)), 1, 1),
            output_shape=(declared["units"], 1, 1),
            active=declared["active"],
        )
        return
    height, width, channels = before
    if kind == ADD:
        put(entry, source=declared["source"], output_shape=before)
    else:
        kernel, stride = times(declared["kernel"], 2), times(declared.get("stride", 1), 2)
        top, left, bottom, right = padding = times(declared.get("padding", 0), 4)
        put(entry, kernel=kernel, stride=stride, padding=padding, dilation=(1, 1))
        entry["output_shape"] = (
            output_extent(height, kernel[0], stride[0], top + bottom),
            output_extent(width, kernel[1], stride[1], left + right),
            declared.get("channels", channels),
        )
        entry["groups"] = {CONV: 1, DEPTHWISE: channels}.get(kind, 0)
    put(entry, rank=3, input_shape=before, active=entry["output_shape"][2])


def _declared(entry, declared, last, q8):
    """Fill a layer's entry but its offsets; its shapes are there."""
    trainable = entry["kind"] <= DEPTHWISE
    pool = entry["kind"] in (MAX_POOL, AVERAGE_POOL)
    usual = "linear" if last or pool else "relu"
    put(
        entry,
        activation=ACTIVATIONS.index(declared.get("activation", usual)),
        flags=declared.get("train", TRAIN_WEIGHTS | TRAIN_BIAS) if trainable else 0,
        update_eighths=declared.get("eighths", 8 if trainable else 0),
    )
    if q8 and trainable:
        trained = entry["flags"] & TRAIN_WEIGHTS
        put(entry, weight_type=declared.get("weight_type", INT16 if trained else INT8), bias_type=1)
    if q8 and not pool and not last:
        entry["output_step"] = declared.get("step", 2.0**-4)


def _place(entry, tensors, q8):
    """Give a layer's tensors their places in the two sections, whose sizes grow."""

    def place(flag, size):
        kind = TRAINED if entry["flags"] & flag else FROZEN
        at, tensors[kind] = tensors[kind], padded(tensors[kind] + size)
        return at

    shape, depthwise = weight_shape(entry), bool(entry["kind"] == DEPTHWISE)
    size = 4 * int(np.prod(shape))
    if q8:
        size = storage.weight_bytes(shape, int(entry["weight_type"]), depthwise)
    entry["weights_offset"] = place(TRAIN_WEIGHTS, size)
    entry["bias_offset"] = place(TRAIN_BIAS, 4 * units(entry))
    if q8:
        entry["scales_offset"] = place(TRAIN_WEIGHTS, 4 * units(entry))


def _fill(image, index, declared, rng):
    """Put a layer's weights there: those declared, or random ones."""
    layer, shape = image.layers[index], weight_shape(image.layers[index])
    depthwise = bool(layer["kind"] == DEPTHWISE)
    fan_in = int(np.prod(shape[:2] if depthwise else shape[1:]))
    real = rng.normal(0, (2 / fan_in) ** 0.5, shape)
    bias = rng.normal(0, 0.1, units(layer))
    if image.q8:
        trained, weight_type = layer["flags"] & TRAIN_WEIGHTS, int(layer["weight_type"])
        weights, scales = storage.quantise(real, trained, weight_type, depthwise)
        image.scales(index, active=False)[:] = declared.get("scales", scales)
        bias = np.round(bias / BIAS_UNIT)
    else:
        weights = real
    image.set_weights(index, np.broadcast_to(declared.get("weights", weights), shape))
    image.bias(index, active=False)[:] = declared.get("bias", bias)


def build(capacity, active=None, *, flags=None, **more):
    """An image of dense layers with random contents, sealed.

    capacity: (inputs, units of layer 0, .., classes); active: units in use per layer, all of them
    by default. flags: per layer TRAIN_WEIGHTS | TRAIN_BIAS, both by default. more: see network().
    """
    inputs, units = capacity[0], list(capacity[1:])
    flags = flags if flags is not None else [TRAIN_WEIGHTS | TRAIN_BIAS] * len(units)
    layers = zip(units, list(active or units), flags)
    return network((inputs,), [dense(n, used, train=train) for n, used, train in layers], **more)


def network(
    shape,
    layers,
    *,
    q8=False,
    input_step=2.0**-5,
    slots=0,
    used=0,
    extensions=(),
    seed=0,
    step=1 / 64,
    offset=-2.0,
    stride=None,
    packed=False,
    positive=False,
    header=None,
    sizes_only=False,
    **settings,
):
    """An image of any layers for samples of a shape, sealed.

    layers: see the top of this file. slots, used: capacity and fill of the memory, no memory
    section contents when 0. step, offset, stride: of the memory; in q8 the first two are given by
    the step of its features, and by whether these are all `positive`. packed: 4 bits per value.
    extensions: (kind, flags, bytes) of further sections. header: fields of the header. sizes_only:
    leave the tensors out, where they would be huge. settings: fields of the state.
    """
    rng = np.random.default_rng(seed)
    declared, features = list(layers), int(np.prod(shape))
    front = (header or {}).get("front_layers", 0)

    tensors = {TRAINED: 0, FROZEN: 0}
    layers, before = np.zeros(len(declared), LAYER), tuple(shape)
    for index, (layer, what) in enumerate(zip(layers, declared)):
        put(layer, kind=what["kind"], source=NO_SOURCE)
        _geometry(layer, what, before)
        _declared(layer, what, index == len(layers) - 1, q8)
        if layer["kind"] <= DEPTHWISE and not sizes_only:
            _place(layer, tensors, q8)
        put(layer, **{name: what[name] for name in LAYER.names if name in what and name in RAW})
        before = tuple(map(int, layer["output_shape"]))
        if index < front:
            features = int(np.prod(before))
    if q8:
        steps = [input_step, *(float(layer["output_step"]) for layer in layers[:front])]
        step = [step for step in steps if step][-1]  # a pool keeps that of its input
        step, offset = (step / 2, 0.0) if positive else (step, -128 * step)

    classes = int(layers[-1]["output_shape"][0])
    state = np.zeros((), STATE_HEADER)
    settings = SETTINGS | ({"learning_rate": 0.125} if q8 else {}) | settings
    put(state, class_capacity=classes, **settings)
    state["layers_offset"] = STATE_HEADER.itemsize
    state["classes_offset"] = state["layers_offset"] + LAYER_STATE.itemsize * len(layers)
    state["labels_offset"] = state["classes_offset"] + CLASS_STATE.itemsize * classes
    state_bytes = padded(int(state["labels_offset"]) + int(state["label_bytes"]) * classes)

    memory, memory_bytes = np.zeros((), MEMORY_HEADER), 0
    if slots:
        stride = stride or (features + packed) >> packed
        put(
            memory,
            capacity=slots,
            count=used,
            features=features,
            stride=stride,
            element_type=packed,
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

    head, arithmetic = np.zeros((), HEADER), {}
    if q8:
        arithmetic = {"format": 1, "input_type": 1, "input_step": input_step}
    put(
        head,
        version_minor=2
        if front or packed or positive
        else int(q8 or any(needs_1_1(layer) for layer in layers)),
        structure_bytes=structure_bytes,
        file_bytes=at,
        lineage=range(1, 17),
        section_count=len(table),
        layer_count=len(layers),
    )
    axes = {"input_shape": (*shape, *[1] * (4 - len(shape))), "input_rank": len(shape)}
    put(head, **(HEADER_FIELDS | axes | arithmetic | (header or {})))

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
    for index, what in enumerate(declared):
        if image.has_weights(index) and not sizes_only:
            _fill(image, index, what, rng)
    active = int(layers[-1]["active"])
    for cls in range(active):
        image.labels[cls] = b"c%d" % cls
    if slots:
        image.slot_classes[:used] = rng.integers(0, max(active, 1), used)
        image.slot_weights[:used] = rng.integers(1, 17, used)
        for slot, q in enumerate(rng.integers(int(q8), 256, (used, features))):
            image.set_slot(slot, q)
    return image.seal()
