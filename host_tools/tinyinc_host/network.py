"""Networks as a list of layers with numpy weights, and the sections of an image made from them.

    layers = [
        conv(8, 3, padding="same"), max_pool(2),
        depthwise(3, padding="same"), conv(16, 1), average_pool(14),
        dense(10),
    ]
    net = network((28, 28, 1), layers, labels=names, raw_range=(0, 255), format="q8")

Weights are real numbers in natural shapes: dense [units, inputs], convolution [output channels,
height, width, input channels], depthwise [height, width, channels]; where there are none, they are
drawn at random, and 0 in the last layer. Images are height x width x channels. read() gives the
layers of an image back.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

import tinyinc
from tinyinc import image, store
from tinyinc.engine import engine

KINDS = ("", "dense", "conv", "depthwise", "max_pool", "average_pool", "add")
ACTIVATIONS = ("linear", "relu", "relu6")
TRAIN = ("none", "weights", "bias", "all")  # what of a layer learns on the board, by its flags

ENTRY = np.dtype(
    [
        ("kind", "u1"),
        ("activation", "u1"),
        ("flags", "u1"),
        ("update_eighths", "u1"),
        ("weight_type", "u1"),
        ("bias_type", "u1"),
        ("optimiser_slots", "u1"),
        ("rank", "u1"),
        ("kernel", "u1", 2),
        ("stride", "u1", 2),
        ("padding", "u1", 4),
        ("dilation", "u1", 2),
        ("source", "<u2"),
        ("groups", "<u4"),
        ("input_shape", "<u4", 3),
        ("output_shape", "<u4", 3),
        ("active", "<u4"),
        ("weights_offset", "<u4"),
        ("bias_offset", "<u4"),
        ("scales_offset", "<u4"),
        ("reserved", "<u4", 2),
        ("output_step", "<f4"),
        ("more_reserved", "<u4", 5),
    ]
)

STAGE_AT = 88  # in the header: layers of the early stage and of the front end, rows of the stage
NO_SOURCE = 0xFFFF
MOST_VALUES = 65535  # of a sample or of a layer's output
INT8, INT16 = 1, 2  # weight_type in q8
ZERO = {INT8: 128, INT16: 32896}  # what is added to a weight or master before it is stored
MASTER_STEPS = 256  # of an int16 master to one of the int8 weight
MOST_TRAINED = 90  # int8 steps of a trained weight to start with: at 96 its row is rescaled
BIAS_UNIT = 2.0**-20
MOST_BIAS = 2**30
STEP_EXPONENTS = range(-16, 9)  # that calibration tries


@dataclass(frozen=True)
class Layer:
    """One layer, as dense(), conv() and the others below declare it."""

    kind: str
    units: int = 0  # dense: room for so many; conv: output channels
    kernel: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    padding: str | tuple[int, int, int, int] = (0, 0, 0, 0)  # top, left, bottom, right; or "same"
    activation: str = "relu"
    source: int | None = None  # add: the layer whose output is added
    weights: np.ndarray | None = None
    bias: np.ndarray | None = None
    train: str = "all"
    update_eighths: int = 8  # of the input channels: 1, 2, 4 or 8 are trained
    int8: bool = False  # q8: trained weights without masters, for the smallest boards
    step: float | None = None  # q8: of the output, a power of two; None: see calibrate()
    active: int | None = None  # dense: units in use; None: all

    @property
    def has_weights(self) -> bool:
        return self.kind in ("dense", "conv", "depthwise")


@dataclass(frozen=True)
class Shape:
    """What a layer takes and gives, with its padding in numbers."""

    before: tuple[int, ...]
    after: tuple[int, ...]
    padding: tuple[int, int, int, int]


# ---- to declare layers ----


def _weighted(kind: str, units: int | np.ndarray, more: dict) -> Layer:
    """Units, or the weights that tell how many."""
    given = {"weights": units, "units": len(units)} if isinstance(units, np.ndarray) else {}
    return Layer(kind, **{"units": units} | given | more)


def _pair(value: int | Sequence[int]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else tuple(value)


def _window(more: dict) -> dict:
    """Kernel, stride and padding may be given as one number."""
    pairs = {name: _pair(more[name]) for name in ("kernel", "stride") if name in more}
    padding = more.get("padding", 0)
    padding = (padding,) * 4 if isinstance(padding, int) else padding
    return more | pairs | {"padding": padding if isinstance(padding, str) else tuple(padding)}


def dense(units: int | np.ndarray, /, **more) -> Layer:
    """A fully connected layer with so many units, or with these weights; takes images, too. The
    last layer may have room for more classes than weights: dense(weights, units=16)."""
    return _weighted("dense", units, more)


def conv(channels: int | np.ndarray, kernel: int | Sequence[int] = 3, **more) -> Layer:
    """A convolution; one in 1D is one over images of height 1."""
    if isinstance(channels, np.ndarray):
        kernel = channels.shape[1:3]
    return _weighted("conv", channels, _window({"kernel": kernel} | more))


def depthwise(kernel: int | Sequence[int] | np.ndarray = 3, **more) -> Layer:
    """A convolution of each channel by itself."""
    if isinstance(kernel, np.ndarray):
        more, kernel = {"weights": kernel} | more, kernel.shape[:2]
    return Layer("depthwise", **_window({"kernel": kernel} | more))


def _pool(kind: str, kernel: int | Sequence[int], more: dict) -> Layer:
    plain = {"activation": "linear", "train": "none"}
    return Layer(kind, **plain, **_window({"kernel": kernel, "stride": kernel} | more))


def max_pool(kernel: int | Sequence[int] = 2, **more) -> Layer:
    return _pool("max_pool", kernel, more)


def average_pool(kernel: int | Sequence[int] = 2, **more) -> Layer:
    """Padding does not count. With the image as its kernel: global."""
    return _pool("average_pool", kernel, more)


def add(source: int, **more) -> Layer:
    """The layer before plus an earlier one of the same shape, by its number."""
    return Layer("add", source=source, train="none", **{"activation": "linear"} | more)


WORD = re.compile(r"(conv|depthwise|max|average|)(\d+)(?:x(\d+))?(?:/(\d+))?")


def parse(text: str) -> list[Layer]:
    """Hidden layers in short, separated by commas: 32 (dense), conv8, conv8x5 (kernel 5) or conv8/2
    (stride 2), depthwise3, max2, average2."""
    layers = [_parse_word(word.strip()) for word in text.split(",")]
    if None in layers:
        known = "32,16 or conv8,max2,conv8x5,depthwise3,average2,32"
        raise ValueError(f"hidden is '{text}', expected layers such as {known}")
    return layers


def _parse_word(word: str) -> Layer | None:
    found = WORD.fullmatch(word)
    kind, number, kernel, stride = found.groups() if found else ("", "0", None, None)
    size = int(number)
    if size < 1 or ((kernel or stride) and kind != "conv"):
        return None
    if kind == "conv":
        return conv(size, int(kernel or 3), stride=int(stride or 1), padding="same")
    if kind == "depthwise":
        return depthwise(size, padding="same")
    return {"max": max_pool, "average": average_pool, "": dense}[kind](size)


def image_shape(shape: Sequence[int]) -> tuple[int, ...]:
    """Samples as images: height x width x channels, one channel where there is none."""
    return (1, *shape, 1) if len(shape) == 1 else (*shape, 1)[:3]


def fold(
    layer: Layer,
    gamma: np.ndarray,
    beta: np.ndarray,
    mean: np.ndarray,
    variance: np.ndarray,
    epsilon: float = 1e-5,
) -> Layer:
    """A layer with the batch norm behind it in its weights and bias."""
    factor = gamma / np.sqrt(variance + epsilon)
    last = layer.kind == "depthwise"
    shaped = factor if last else factor.reshape(-1, *[1] * (layer.weights.ndim - 1))
    bias = 0 if layer.bias is None else layer.bias
    return replace(layer, weights=layer.weights * shaped, bias=(bias - mean) * factor + beta)


# ---- shapes ----


def _refuse(index: int, layer: Layer, text: str) -> ValueError:
    return ValueError(f"layer {index} ({layer.kind}): {text}")


def _by(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))


def shapes(input_shape: Sequence[int], layers: Sequence[Layer]) -> list[Shape]:
    """What each layer takes and gives; ValueError that names the layer where they do not fit."""
    found: list[Shape] = []
    before = tuple(int(n) for n in input_shape)
    if not 1 <= len(layers) <= 32:
        raise ValueError(f"{len(layers)} layers, expected 1 to 32")
    if not 1 <= len(before) <= 4 or not 1 <= np.prod(before) <= MOST_VALUES or min(before) < 1:
        raise ValueError(f"a sample is {_by(before)}, expected 1 to {MOST_VALUES} values")
    for index, layer in enumerate(layers):
        shape = _shape(index, layer, before, found)
        if not 1 <= np.prod(shape.after) <= MOST_VALUES:
            text = f"gives {_by(shape.after)} values, expected 1 to {MOST_VALUES}"
            raise _refuse(index, layer, text)
        _check_layer(index, layer, shape, index == len(layers) - 1)
        found.append(shape)
        before = shape.after
    return found


def _shape(index: int, layer: Layer, before: tuple[int, ...], found: list[Shape]) -> Shape:
    none = (0, 0, 0, 0)
    if layer.kind not in KINDS[1:]:
        raise ValueError(f"layer {index}: kind '{layer.kind}', expected {', '.join(KINDS[1:])}")
    if layer.kind == "dense":
        return Shape((int(np.prod(before)),), (layer.units,), none)
    if len(before) != 3:
        text = f"takes an image (height, width, channels), gets {_by(before)} values"
        raise _refuse(index, layer, text)
    if layer.kind == "add":
        if layer.source is None or not 0 <= layer.source < index - 1:
            raise _refuse(index, layer, f"source is {layer.source}, expected 0 to {index - 2}")
        if found[layer.source].after != before:
            other = f"layer {layer.source} gives {_by(found[layer.source].after)}"
            raise _refuse(index, layer, f"{other}, the layer before {_by(before)}")
        return Shape(before, before, none)
    padding = _padding(layer, before)
    if min(layer.kernel) < 1 or max(layer.kernel) > 255 or min(layer.stride) < 1:
        raise _refuse(index, layer, f"kernel {_by(layer.kernel)}, stride {_by(layer.stride)}")
    if any(p < 0 or p >= layer.kernel[i % 2] for i, p in enumerate(padding)):
        text = f"padding {padding}, expected less than the kernel {_by(layer.kernel)}"
        raise _refuse(index, layer, text)
    extents = [before[i] + padding[i] + padding[i + 2] - layer.kernel[i] for i in (0, 1)]
    if min(extents) < 0:
        text = f"the kernel {_by(layer.kernel)} is larger than the padded image of {_by(before)}"
        raise _refuse(index, layer, text)
    size = [extents[i] // layer.stride[i] + 1 for i in (0, 1)]
    channels = layer.units if layer.kind == "conv" else before[2]
    return Shape(before, (*size, channels), padding)


def _padding(layer: Layer, before: tuple[int, ...]) -> tuple[int, int, int, int]:
    """In numbers; "same" gives an output of the input's extent over the stride, rounded up."""
    if layer.padding != "same":
        return layer.padding
    sides = []
    for size, kernel, stride in zip(before, layer.kernel, layer.stride, strict=False):
        total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
        sides.append((total // 2, total - total // 2))
    (top, bottom), (left, right) = sides
    return top, left, bottom, right


def weight_shape(layer: Layer, shape: Shape) -> tuple[int, ...]:
    """Natural shape of a layer's weights."""
    if layer.kind == "dense":
        return (layer.units, *shape.before)
    if layer.kind == "conv":
        return (layer.units, *layer.kernel, shape.before[2])
    return (*layer.kernel, shape.before[2])


def _check_layer(index: int, layer: Layer, shape: Shape, last: bool) -> None:
    """What shapes do not tell."""
    if last and layer.kind != "dense":
        raise _refuse(index, layer, "the last layer has to be dense")
    if layer.activation not in ACTIVATIONS:
        text = f"activation '{layer.activation}', expected {', '.join(ACTIVATIONS)}"
        raise _refuse(index, layer, text)
    if layer.kind == "dense" and not last and layer.activation == "linear":
        raise _refuse(index, layer, "a hidden dense layer needs an activation: relu or relu6")
    if layer.train not in TRAIN:
        raise _refuse(index, layer, f"train '{layer.train}', expected {', '.join(TRAIN)}")
    if layer.update_eighths not in (1, 2, 4, 8):
        raise _refuse(index, layer, f"update_eighths {layer.update_eighths}, expected 1, 2, 4, 8")
    if layer.step is not None and np.frexp(layer.step)[0] != 0.5:
        raise _refuse(index, layer, f"step {layer.step}, expected a power of two")
    if not layer.has_weights:
        return
    expected = weight_shape(layer, shape)
    if layer.weights is not None and layer.weights.shape != expected:
        text = f"weights are {_by(layer.weights.shape)}, expected {_by(expected)}"
        raise _refuse(index, layer, text)
    units = shape.after[-1]
    if layer.bias is not None and np.shape(layer.bias) != (units,):
        raise _refuse(index, layer, f"bias is {_by(np.shape(layer.bias))}, expected {units}")
    for name, values in (("weights", layer.weights), ("bias", layer.bias)):
        if values is not None and not np.isfinite(values).all():
            raise _refuse(index, layer, f"{name} hold NaN or infinity")


# ---- weights ----


def with_weights(input_shape: Sequence[int], layers: Sequence[Layer], seed: int = 0) -> list[Layer]:
    """The layers, with random weights (He et al. 2015) where there are none, 0 in the last."""
    rng = np.random.default_rng(seed)
    filled, layers = [], [*layers[:-1], *map(_with_room, layers[-1:])]
    for index, (layer, shape) in enumerate(zip(layers, shapes(input_shape, layers), strict=True)):
        if layer.has_weights:
            size = weight_shape(layer, shape)
            fan_in = np.prod(layer.kernel if layer.kind == "depthwise" else size[1:])
            bound = 0.0 if index == len(layers) - 1 else (6 / fan_in) ** 0.5
            drawn = rng.uniform(-bound, bound, size)
            weights = drawn if layer.weights is None else layer.weights
            bias = np.zeros(shape.after[-1]) if layer.bias is None else layer.bias
            layer = replace(layer, weights=np.asarray(weights), bias=np.asarray(bias))
        filled.append(layer)
    return filled


def _with_room(layer: Layer) -> Layer:
    """The last layer, with units of 0 where it has room for more classes than weights."""
    if layer.weights is None or len(layer.weights) >= layer.units:
        return layer
    more = layer.units - len(layer.weights)
    bias = None if layer.bias is None else np.pad(layer.bias, (0, more))
    return replace(layer, weights=np.pad(layer.weights, ((0, more), (0, 0))), bias=bias)


def forward(input_shape: Sequence[int], layers: Sequence[Layer], x: np.ndarray) -> list[np.ndarray]:
    """What every layer gives for normalised samples (rows, or images): the logits at the end."""
    outputs: list[np.ndarray] = []
    x = np.asarray(x, np.float32).reshape(len(x), *input_shape)
    for layer, shape in zip(layers, shapes(input_shape, layers), strict=True):
        y = _run(layer, shape, x, outputs)
        linear = layer is layers[-1] or layer.activation == "linear"
        x = y if linear else y.clip(0, 6 if layer.activation == "relu6" else None)
        outputs.append(x)
    return outputs


def _run(layer: Layer, shape: Shape, x: np.ndarray, outputs: list[np.ndarray]) -> np.ndarray:
    if layer.kind == "dense":
        return x.reshape(len(x), -1) @ layer.weights.reshape(layer.units, -1).T + layer.bias
    if layer.kind == "add":
        return x + outputs[layer.source]
    if layer.kind == "max_pool":
        return _windows(layer, shape, x, -np.inf).max((-2, -1))
    if layer.kind == "average_pool":
        return np.nanmean(_windows(layer, shape, x, np.nan), (-2, -1))
    windows = _windows(layer, shape, x, 0)
    if layer.kind == "conv":
        return np.tensordot(windows, layer.weights, ([4, 5, 3], [1, 2, 3])) + layer.bias
    return np.einsum("nyxcij,ijc->nyxc", windows, layer.weights) + layer.bias


def _windows(layer: Layer, shape: Shape, x: np.ndarray, beyond: float) -> np.ndarray:
    """What every output sees: samples, height, width, channels, kernel height, kernel width."""
    top, left, bottom, right = shape.padding
    edges = ((0, 0), (top, bottom), (left, right), (0, 0))
    padded = np.pad(x, edges, constant_values=beyond)
    down, across = layer.stride
    return sliding_window_view(padded, layer.kernel, (1, 2))[:, ::down, ::across]


def calibrate(input_shape: Sequence[int], layers: Sequence[Layer], x: np.ndarray) -> list[Layer]:
    """The layers, with the steps of their outputs in q8 chosen on normalised samples: those powers
    of two with the least squared error, where none is given."""
    outputs = forward(input_shape, layers, x)
    chosen = []
    for layer, values in zip(layers, outputs, strict=True):
        if layer.step is None and not layer.kind.endswith("pool"):
            layer = replace(layer, step=best_step(values))
        chosen.append(layer)
    return chosen


def best_step(values: np.ndarray) -> float:
    """The power of two in steps of which int8 represents the values with least squared error."""

    def error(exponent: int) -> float:
        step = 2.0**exponent
        return float(np.square(step * (values / step).round().clip(-127, 127) - values).mean())

    return 2.0 ** min(STEP_EXPONENTS, key=error)


# ---- q8 weights: integers with a scale per unit ----


def quantise_weights(layer: Layer) -> tuple[np.ndarray, np.ndarray]:
    """A layer's weights as integers in their natural shape, and a float32 scale per unit. Trained
    ones have scales of powers of two, and are masters unless the layer asks for int8 alone."""
    by_unit = _by_unit(layer)
    largest = np.abs(by_unit).max(axis=1, initial=0)
    fan_in = by_unit.shape[1]
    spare = largest.max(initial=0) or (6 / fan_in) ** 0.5  # a unit without weights may get some
    largest = np.where(largest > 2.0**-60, largest, spare)
    if "w" not in _trained(layer):
        scales = (largest / 127).astype(np.float32)
        steps = by_unit / scales[:, None].astype(float)
        return _natural(layer, steps.round().clip(-127, 127).astype(int)), scales
    scales = 2.0 ** np.ceil(np.log2(largest / MOST_TRAINED))
    most = MOST_TRAINED * (1 if layer.int8 else MASTER_STEPS)
    steps = by_unit / scales[:, None] * (1 if layer.int8 else MASTER_STEPS)
    return _natural(layer, steps.round().clip(-most, most).astype(int)), scales.astype(np.float32)


def _trained(layer: Layer) -> str:
    return {"none": "", "weights": "w", "bias": "b", "all": "wb"}[layer.train]


def weight_type(layer: Layer) -> int:
    """In q8: 16-bit masters for what is trained."""
    return INT16 if "w" in _trained(layer) and not layer.int8 else INT8


def _by_unit(layer: Layer) -> np.ndarray:
    """A row of weights per unit or channel."""
    weights = np.asarray(layer.weights, float)
    if layer.kind == "depthwise":
        return weights.reshape(-1, weights.shape[-1]).T
    return weights.reshape(len(weights), -1)


def _natural(layer: Layer, by_unit: np.ndarray) -> np.ndarray:
    rows = by_unit.T if layer.kind == "depthwise" else by_unit
    return rows.reshape(layer.weights.shape)


def pack(values: np.ndarray, kind: int, depthwise: bool) -> bytes:
    """Natural integers as they are stored: unsigned, and but for depthwise in pairs of rows, int8
    in pairs of inputs as well."""
    dtype = "<u2" if kind == INT16 else "u1"
    stored = values + ZERO[kind]
    if depthwise:
        return stored.astype(dtype).tobytes()
    rows = stored.reshape(len(stored), -1)
    odd = (len(rows) % 2, rows.shape[1] % 2 if kind == INT8 else 0)
    rows = np.pad(rows, ((0, odd[0]), (0, odd[1])), constant_values=ZERO[kind])
    pairs = rows.reshape(len(rows) // 2, 2, -1, 2 if kind == INT8 else 1)
    return pairs.transpose(0, 2, 1, 3).astype(dtype).tobytes()


def unpack(data: bytes, shape: tuple[int, ...], kind: int, depthwise: bool) -> np.ndarray:
    """The natural integers of what pack() gave."""
    stored = np.frombuffer(data, "<u2" if kind == INT16 else "u1").astype(int) - ZERO[kind]
    if depthwise:
        return stored.reshape(shape)
    units, n = shape[0], int(np.prod(shape[1:]))
    pairs = stored.reshape((units + 1) // 2, -1, 2, 2 if kind == INT8 else 1)
    rows = pairs.transpose(0, 2, 1, 3).reshape(2 * len(pairs), -1)
    return rows[:units, :n].reshape(shape)


# ---- images ----


def sections(
    input_shape: Sequence[int],
    layers: Sequence[Layer],
    *,
    labels: Sequence[str | int] = (),
    format: str = "f32",
    raw_range: tuple[float, float] = (-1.0, 1.0),
    scaling: tuple[float, float, float, float] | None = None,
    memory: int = 0,
    memory_range: tuple[float, float] | None = None,
    memory_bits: int = 8,
    label_bytes: int = 16,
    stage: tuple[int, int] = (0, 0),
    front: int = 0,
    seed: int = 0,
) -> tuple[bytearray, ...]:
    """The five sections of an image.

    labels: of the first classes; the last layer's units are room for more. raw_range: lowest and
    highest raw value; scaling: instead of it, offset, scale, and lowest and highest normalised
    value. memory: slots; memory_range and memory_bits: see empty_memory(). stage: so many early
    layers run strip by strip, of so many rows of the last of them. front: so many first layers are
    a frozen front end, which runs once per sample; the memory keeps what it gives, and the others
    learn from that.
    """
    if format not in image.FORMATS:
        raise ValueError(f"format '{format}', expected {', '.join(image.FORMATS)}")
    q8 = format == "q8"
    layers = with_weights(input_shape, layers, seed)
    chain = shapes(input_shape, layers)
    if not 0 <= front < len(layers):
        raise ValueError(f"a front end of {front} layers, expected 0 to {len(layers) - 1}")
    layers[:front] = [replace(layer, train="none", update_eighths=8) for layer in layers[:front]]
    capacity = layers[-1].units
    active = len(labels)
    if active > capacity or layers[-1].active not in (None, active):
        classes = layers[-1].active or capacity
        raise ValueError(f"{active} labels, the last layer has {classes} classes")
    layers[-1] = replace(layers[-1], active=active)

    scaling = scaling or image.normalisation(*raw_range)
    step = image.input_step(*scaling[2:]) if q8 else 0.0
    entries, tensors = _tensors(layers, chain, q8)
    structure = image.empty_structure(len(layers), tuple(input_shape), int(q8), store.new_lineage())
    struct.pack_into("<5f", structure, image.HEADER["input_offset"][0], *scaling, step)
    struct.pack_into("<BBH", structure, STAGE_AT, stage[0], front, stage[1])
    structure[-entries.nbytes :] = entries.tobytes()
    slots = empty_memory(structure, layers, memory, memory_range, memory_bits)
    state = image.empty_state(len(layers), capacity, label_bytes, seed, q8)
    made = (structure, *tensors, slots, state)
    image.lay_out(made)
    _name(state, labels)
    engine.seal(made)
    engine.check(made)
    return made


def empty_memory(
    structure: bytearray,
    layers: Sequence[Layer],
    slots: int,
    memory_range: tuple[float, float] | None = None,
    memory_bits: int = 8,
) -> bytearray:
    """A memory for what the front end gives, without one for samples; for its values are needed
    how large these are. In q8, and for samples, the structure tells. Else it is `memory_range`,
    lowest and highest, or +-127 steps of the layer that gives them (see calibrate()), at least 0
    behind a ReLU. memory_bits: 8 or 4 per value."""
    names = ("input_low", "input_high", "input_step")
    low, high, step = (image.get(structure, image.HEADER[name]) for name in names)
    front = layers[: image.front_layers(structure)]
    for layer in front:
        if not layer.kind.endswith("pool"):
            output_step = layer.step or image.HIDDEN_STEP
            step = output_step if step else 0.0
            high = 127 * output_step
            low = -high if layer.activation == "linear" else 0.0
    low, high = memory_range or (low, high)
    steps = image.memory_steps(low, high, step, memory_bits)
    return image.empty_memory(slots, image.features(structure), *steps, memory_bits)


def network(input_shape: Sequence[int], layers: Sequence[Layer], **more) -> tinyinc.Net:
    """The network that sections() describes; settings as of Net.configure() may be among them."""
    settings = {name: more.pop(name) for name in ("rule", *image.SETTINGS) if name in more}
    net = tinyinc.Net(sections(input_shape, layers, **more))
    net.configure(**settings)
    return net


def _name(state: bytearray, labels: Sequence[str | int]) -> None:
    names = tinyinc.learner.Labels(state, 0)
    for label in labels:
        if names.find(label) is not None:
            raise ValueError(f"label {label!r} stands for two classes")
        names.add(*names.encode(label))


def _tensors(
    layers: Sequence[Layer], chain: Sequence[Shape], q8: bool
) -> tuple[np.ndarray, tuple[bytearray, bytearray]]:
    """The layer table, and the trained and frozen sections."""
    entries = np.zeros(len(layers), ENTRY)
    bodies = (bytearray(), bytearray())

    def place(data: bytes, trained: bool) -> int:
        body = bodies[0 if trained else 1]
        at = len(body)
        body.extend(data + bytes(-len(data) % 8))
        return at

    for index, (entry, layer, shape) in enumerate(zip(entries, layers, chain, strict=True)):
        last = index == len(layers) - 1
        _describe(entry, layer, shape, last, q8)
        if not layer.has_weights:
            continue
        weights, bias = np.asarray(layer.weights), np.asarray(layer.bias, float)
        if q8:
            values, scales = quantise_weights(layer)
            data = pack(values, weight_type(layer), layer.kind == "depthwise")
            bias = (bias / BIAS_UNIT).round().clip(-MOST_BIAS, MOST_BIAS).astype("<i4")
        else:
            data, bias = weights.astype("<f4").tobytes(), bias.astype("<f4")
        entry["weights_offset"] = place(data, "w" in _trained(layer))
        entry["bias_offset"] = place(bias.tobytes(), "b" in _trained(layer))
        if q8:
            entry["scales_offset"] = place(scales.tobytes(), "w" in _trained(layer))
    return entries, bodies


def _describe(entry: np.void, layer: Layer, shape: Shape, last: bool, q8: bool) -> None:
    """A layer's entry but for where its tensors lie."""
    is_dense, has_window = layer.kind == "dense", layer.kind not in ("dense", "add")
    entry["kind"] = KINDS.index(layer.kind)
    linear = last or layer.kind.endswith("pool")
    entry["activation"] = 0 if linear else ACTIVATIONS.index(layer.activation)
    before = (int(np.prod(shape.before)),) if is_dense else shape.before
    after = shape.after
    entry["input_shape"] = (*before, 1, 1)[:3]
    entry["output_shape"] = (*after, 1, 1)[:3]
    entry["active"] = after[-1] if layer.active is None else layer.active
    entry["rank"] = 1 if is_dense else 3
    entry["source"] = NO_SOURCE if layer.source is None else layer.source
    if has_window:
        entry["kernel"], entry["stride"] = layer.kernel, layer.stride
        entry["padding"], entry["dilation"] = shape.padding, (1, 1)
    entry["groups"] = {"conv": 1, "depthwise": before[-1]}.get(layer.kind, 0)
    if layer.has_weights:
        entry["flags"] = TRAIN.index(layer.train)
        entry["update_eighths"] = layer.update_eighths
        if q8:
            entry["weight_type"], entry["bias_type"] = weight_type(layer), 1
    if q8 and not last and not layer.kind.endswith("pool"):
        entry["output_step"] = layer.step or image.HIDDEN_STEP


def read(net: tinyinc.Net) -> tuple[tuple[int, ...], list[Layer]]:
    """Shape of the samples and layers of a network, with its weights as real numbers."""
    structure = net.sections[image.STRUCTURE]
    q8 = net.format == "q8"
    shape = struct.unpack_from("<4I", structure, 48)[: structure[47]]
    at = len(structure) - net.layer_count * ENTRY.itemsize
    entries = np.frombuffer(bytes(structure), ENTRY, net.layer_count, at)
    layers = [_read_layer(net, entry, q8) for entry in entries]
    for before, layer in zip([None, *layers], layers, strict=False):
        if layer.kind == "dense":  # what units out of use have left behind means nothing
            layer.weights[layer.active :], layer.bias[layer.active :] = 0, 0
            if before and before.kind == "dense":
                layer.weights[:, before.active :] = 0
    return shape, layers


def stage_of(structure: bytearray) -> tuple[int, int]:
    """The layers that run strip by strip, and the rows of a strip."""
    layers, _, rows = struct.unpack_from("<BBH", structure, STAGE_AT)
    return layers, rows


def _read_layer(net: tinyinc.Net, entry: np.void, q8: bool) -> Layer:
    kind, flags = KINDS[entry["kind"]], int(entry["flags"])
    layer = Layer(
        kind,
        units=int(entry["output_shape"][0 if kind == "dense" else 2]),
        activation=ACTIVATIONS[entry["activation"]],
        source=None if entry["source"] == NO_SOURCE else int(entry["source"]),
        train=TRAIN[flags],
        step=float(entry["output_step"]) or None,
        active=int(entry["active"]) if kind == "dense" else None,
    )
    if kind not in ("dense", "add"):
        window = {name: tuple(map(int, entry[name])) for name in ("kernel", "stride", "padding")}
        layer = replace(layer, **window)
    if not layer.has_weights:
        return layer
    before = tuple(map(int, entry["input_shape"][: 1 if kind == "dense" else 3]))
    size = weight_shape(layer, Shape(before, (), (0, 0, 0, 0)))
    home = net.sections[image.TRAINED if flags & 1 else image.FROZEN]
    bias_home = net.sections[image.TRAINED if flags & 2 else image.FROZEN]
    units = layer.units if kind != "depthwise" else before[2]
    bias_at = int(entry["bias_offset"])
    bias = np.frombuffer(bias_home, "<i4" if q8 else "<f4", units, bias_at).copy()
    at = int(entry["weights_offset"])
    if q8:
        stored = int(entry["weight_type"])
        data = bytes(home)[at : at + len(pack(np.zeros(size, int), stored, kind == "depthwise"))]
        scales = np.frombuffer(home, "<f4", units, int(entry["scales_offset"]))
        by_unit = scales if kind == "depthwise" else scales.reshape(-1, *[1] * (len(size) - 1))
        steps = unpack(data, size, stored, kind == "depthwise")
        weights = steps * by_unit.astype(float) / (MASTER_STEPS if stored == INT16 else 1)
        layer = replace(layer, int8=stored == INT8 and bool(flags & 1))
        bias = bias * BIAS_UNIT
    else:
        weights = np.frombuffer(home, "<f4", int(np.prod(size)), at).reshape(size).copy()
    return replace(
        layer, weights=weights, bias=bias, update_eighths=int(entry["update_eighths"]) or 8
    )
