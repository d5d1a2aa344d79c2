"""Images in RAM: the five sections of a network, made from scratch, and their fields by name.

The format is specified in usermod_c/SPEC.md. A section is a buffer of its own; `sections` is always
the tuple (structure, trained, frozen, memory, state). A network computes in float32 or in integers:
its format is "f32" or "q8".
"""

from math import frexp
from struct import pack_into, unpack_from

STRUCTURE, TRAINED, FROZEN, MEMORY, STATE = 0, 1, 2, 3, 4

VERSION_MINOR = 2  # of the format: the settings of a stream came with it

HEADER_BYTES = 128
SECTION_BYTES = 32
LAYER_BYTES = 96
MEMORY_BYTES = 64
STATE_BYTES = 128

# Header and tables: name -> (offset, struct format)
HEADER = {
    "structure_bytes": (8, "<I"),
    "file_bytes": (16, "<I"),
    "sequence": (20, "<I"),
    "lineage": (24, "16s"),
    "format": (40, "B"),
    "section_count": (42, "B"),
    "layer_count": (43, "B"),
    "input_offset": (64, "<f"),
    "input_scale": (68, "<f"),
    "input_low": (72, "<f"),
    "input_high": (76, "<f"),
    "input_step": (80, "<f"),
    "front_layers": (89, "B"),
}

FORMATS = ("f32", "q8")
DENSE, CONV, DEPTHWISE = 1, 2, 3
TRAIN_WEIGHTS = 1

RULES = ("full", "static", "tinyprop", "tinyprop2", "sampled")

STATE_FIELDS = {
    "lessons": (12, "<I"),
    "layers_offset": (76, "<I"),
    "classes_offset": (80, "<I"),
    "labels_offset": (84, "<I"),
    "distance": (92, "<I"),
    "far": (108, "<I"),
}

# What a user may set: name -> (offset in the state, struct format, lowest, highest, default)
SETTINGS = {
    "replay": (3, "B", 0, 255, 2),
    "learning_rate": (20, "<f", 1e-9, 10.0, 0.05),
    "static_ratio": (24, "<f", 0.0, 1.0, 0.3),
    "s_min": (28, "<f", 0.0, 1.0, 0.2),
    "s_max": (32, "<f", 0.0, 1.0, 0.5),
    "zeta": (36, "<f", 0.0, 1.0, 1.0),
    "d_min": (40, "<f", 0.0, 1.0, 0.0),
    "d_max": (44, "<f", 0.0, 1.0, 1.0),
    "beta": (48, "<f", 0.0, 10.0, 1.0),
    "d_threshold": (52, "<f", 0.0, 10.0, 0.1),
    "error_threshold": (56, "<f", 1e-6, 1e6, 0.5),
    "hidden_ratio": (60, "<f", 0.0, 1.0, 0.3),
    "input_threshold": (64, "<f", 0.0, 1.0, 0.1),
    "vote": (88, "<f", 0.0, 100.0, 8.0),
    "logit_adjustment": (96, "<f", 0.0, 20.0, 4.6),
    "novelty": (100, "<f", 0.0, 1e6, 0.0),
    "growth": (104, "<I", 0, 65535, 0),
    "label_smoothing": (112, "<f", 0.0, 1.0, 0.1),
}


def get(section, field):
    """Value of a field, given as (offset, format, ...)."""
    return unpack_from(field[1], section, field[0])[0]


def put(section, field, value):
    pack_into(field[1], section, field[0], value)


def setting(state, name):
    """Value of a setting; the rule by its name."""
    if name == "rule":
        return RULES[state[0]]
    _check_name(name)
    return get(state, SETTINGS[name])


def _check_name(name):
    if name not in SETTINGS:
        names = ", ".join(sorted(SETTINGS))
        raise ValueError("setting %r is unknown, expected rule, %s" % (name, names))


def check_setting(name, value, network_format="f32"):
    """ValueError unless a setting of this name can take the value."""
    if name == "rule":
        if value not in RULES:
            raise ValueError("rule %r is unknown, expected one of %s" % (value, ", ".join(RULES)))
        return
    _check_name(name)
    _, kind, low, high, _ = SETTINGS[name]
    whole = kind in ("B", "<I")
    names = ("__index__",) if whole else ("__index__", "__float__")  # numpy's scalars too
    number = isinstance(value, int if whole else (int, float))
    number = number or any([hasattr(value, name) for name in names])
    if not number or not low <= value <= high:
        raise ValueError("%s is %r, expected %s to %s" % (name, value, low, high))
    if name == "learning_rate" and network_format == "q8":
        mantissa, exponent = frexp(value)
        if mantissa != 0.5:
            low, high = 2.0 ** (exponent - 1), 2.0**exponent
            raise ValueError(
                "learning_rate is %r, in q8 a power of two is expected: %r or %r"
                % (value, low, high)
            )


def put_setting(state, name, value):
    """Set a checked setting."""
    if name == "rule":
        state[0] = RULES.index(value)
    else:
        put(state, SETTINGS[name], value)


def layer_field(structure, layer, offset):
    """A uint32 of a layer's table entry, by its offset there."""
    table = HEADER_BYTES + SECTION_BYTES * structure[42]
    return unpack_from("<I", structure, table + LAYER_BYTES * layer + offset)[0]


def active(structure, layer):
    """Units of a layer in use."""
    return layer_field(structure, layer, 48)


def capacity(structure, layer):
    """Units that a layer has room for."""
    return layer_field(structure, layer, 36)


def inputs(structure):
    """Values of a sample."""
    axes = unpack_from("<4I", structure, 48)
    return axes[0] * axes[1] * axes[2] * axes[3]


def front_layers(structure):
    """Layers of the front end, 0 without one."""
    return structure[HEADER["front_layers"][0]]


def can_resize(structure, layer):
    """Can a hidden layer's units in use change? It and the next one are dense and trained."""
    at = HEADER_BYTES + SECTION_BYTES * structure[42] + LAYER_BYTES * layer
    here, after = structure[at : at + 3], structure[at + LAYER_BYTES : at + LAYER_BYTES + 3]
    return here[0] == after[0] == DENSE and here[2] == 3 and after[2] & TRAIN_WEIGHTS == 1


def features(structure):
    """Values that the front end gives; without one, those of a sample."""
    front = front_layers(structure)
    if front == 0:
        return inputs(structure)
    at = HEADER_BYTES + SECTION_BYTES * structure[42] + LAYER_BYTES * (front - 1) + 36
    axes = unpack_from("<3I", structure, at)
    return axes[0] * axes[1] * axes[2]


def feature_step(structure):
    """Q8: what a step of a sample is worth, or with a front end of what that gives."""
    layer = front_layers(structure)
    table = HEADER_BYTES + SECTION_BYTES * structure[42]
    while layer:  # pools pass the step on
        layer -= 1
        step = unpack_from("<f", structure, table + LAYER_BYTES * layer + 72)[0]
        if step:
            return step
    return get(structure, HEADER["input_step"])


def is_q8(structure):
    return structure[HEADER["format"][0]] == 1


def layer_macs(structure, layer):
    """Multiply-accumulates that a layer takes forward, and for the gradients of its weights as far
    as they are trained, when nothing is left out."""
    at = HEADER_BYTES + SECTION_BYTES * structure[42] + LAYER_BYTES * layer
    kind, _, flags, eighths = structure[at : at + 4]
    below = inputs(structure) if layer == 0 else active(structure, layer - 1)
    if kind == DENSE:
        before = layer and structure[at - LAYER_BYTES] != DENSE
        macs = active(structure, layer) * (layer_field(structure, layer, 24) if before else below)
    elif kind in (CONV, DEPTHWISE):
        height, width, channels = unpack_from("<3I", structure, at + 36)
        macs = height * width * channels * structure[at + 8] * structure[at + 9]
        macs *= layer_field(structure, layer, 32) if kind == CONV else 1
    else:
        macs = 0
    return macs, macs * eighths // 8 if flags & TRAIN_WEIGHTS else 0


def first_trained(structure):
    """The first layer that is trained, or the number of layers."""
    at = HEADER_BYTES + SECTION_BYTES * structure[42] + 2
    layer = 0
    while layer < structure[43] and not structure[at + LAYER_BYTES * layer]:
        layer += 1
    return layer


def table_entry(structure, index):
    """Kind, flags, offset in the file, bytes and CRC of an entry of the section table."""
    return unpack_from("<5I", structure, HEADER_BYTES + SECTION_BYTES * index)


def _round_up(n):
    return (n + 7) & ~7


def empty_structure(layers, shape, q8, lineage):
    """Header, section table without sizes and layer table still to be filled, for samples of a
    shape."""
    structure = bytearray(HEADER_BYTES + 4 * SECTION_BYTES + layers * LAYER_BYTES)
    pack_into("<4sHHI", structure, 0, b"TINC", 1, VERSION_MINOR, len(structure))
    pack_into("16s8B", structure, 24, lineage, q8, 0, 4, layers, q8, 0, 0, len(shape))
    pack_into("<4I", structure, 48, *(tuple(shape) + (1, 1, 1))[:4])
    for kind in range(TRAINED, STATE + 1):
        entry = HEADER_BYTES + SECTION_BYTES * (kind - 1)
        pack_into("<2I", structure, entry, kind, 3 if kind == FROZEN else 1)
    return structure


def _structure(widths, q8, lineage):
    """The structure as far as it does not depend on the sections, and the trained bytes."""
    layers = len(widths) - 1
    structure = empty_structure(layers, (widths[0],), q8, lineage)
    trained = 0
    for layer in range(layers):
        entry = HEADER_BYTES + 4 * SECTION_BYTES + layer * LAYER_BYTES
        inputs, units = widths[layer], widths[layer + 1]
        hidden = layer < layers - 1
        bias = trained + _round_up(4 * inputs * (units + 1 >> 1 if q8 else units))
        scales = bias + _round_up(4 * units)
        if scales > 0xFFFFFFFF:
            raise MemoryError("weights of %d bytes" % scales)
        # dense, ReLU, trained in full; q8: 16-bit masters and 32-bit biases
        pack_into("8B", structure, entry, 1, hidden, 3, 8, 2 * q8, q8, 0, 1)
        pack_into("<HI", structure, entry + 18, 0xFFFF, 0)
        pack_into("<6I", structure, entry + 24, inputs, 1, 1, units, 1, 1)
        pack_into("<3I", structure, entry + 48, 0, trained, bias)
        trained = scales
        if q8:
            pack_into("<I", structure, entry + 60, scales)
            pack_into("<f", structure, entry + 72, HIDDEN_STEP if hidden else 0.0)
            trained += _round_up(4 * units)
    return structure, trained


# In q8, what is stored for a weight of 0 has this byte throughout.
ZERO_WEIGHT = 0x80
# The step of a hidden layer's output to start with: up to 4. Learning doubles it where needed.
HIDDEN_STEP = 2.0**-5


def _power_of_two(x):
    """The lowest power of two that is at least x."""
    mantissa, exponent = frexp(x)
    return 2.0 ** (exponent - (mantissa == 0.5))


def _trained(structure, size):
    """Weights and biases of 0. In q8 the scales suit the weights that growing starts with."""
    trained = bytearray(size)
    if is_q8(structure):
        block = bytes([ZERO_WEIGHT]) * 64
        for layer in range(structure[43]):
            at, bias, scales = [layer_field(structure, layer, offset) for offset in (52, 56, 60)]
            for i in range(at, bias, len(block)):
                trained[i : min(i + len(block), bias)] = block[: bias - i]
            # the bound of He et al. (2015) is 64 steps at most, half of what fits
            bound = (6 / layer_field(structure, layer, 24)) ** 0.5
            for unit in range(capacity(structure, layer)):
                pack_into("<f", trained, scales + 4 * unit, _power_of_two(bound / 64))
    return trained


# Lowest and highest input of a network whose first sample is to set the scale: later ones may be
# four times as large. Until then raw values pass as they are, up to a million.
OPEN_RANGE = (-4.0, 4.0)
UNSCALED = (0.0, 1.0, -1e6, 1e6)


def is_unscaled(structure):
    return get(structure, HEADER["input_high"]) == UNSCALED[3]


def set_scale(structure, scale):
    """Settle an open range: from now on inputs are raw values times `scale`; 0 opens it again.
    Allocates nothing."""
    if scale:
        pack_into("<4f", structure, 64, 0.0, scale, OPEN_RANGE[0], OPEN_RANGE[1])
    else:
        pack_into("<4f", structure, 64, 0.0, 1.0, UNSCALED[2], UNSCALED[3])


def normalisation(low, high):
    """Offset, scale, lowest and highest input that map raw low..high to at most -1..1.

    A raw 0 inside the range stays an exact 0, which costs the engine nothing.
    """
    if low <= 0 <= high:
        offset, scale = 0.0, 1.0 / max(-low, high)
    else:
        offset, scale = low, 1.0 / (high - low)
    return offset, scale, (low - offset) * scale, (high - offset) * scale


def input_step(low, high):
    """Q8: the step of the inputs, a power of two, for low..high in normalised units."""
    return _power_of_two(max(-low, high) / 128)


def memory_bits(memory):
    """Bits per value of a memory section: 8, also of an empty one, or 4."""
    return 4 if memory and memory[16] else 8


def empty_memory(slots, features, step, offset, bits=8):
    """An empty memory for samples of so many values, each offset + step * q, q of 0 to 255; in 4
    bits every 17th of them."""
    if bits not in (8, 4):
        raise ValueError("memory_bits is %r, expected 8 or 4" % (bits,))
    if slots == 0:
        return bytearray(0)
    stride = _round_up(features) if bits == 8 else features + 1 >> 1
    table = _round_up(2 * slots)
    memory = bytearray(MEMORY_BYTES + 2 * table + _round_up(slots * stride))
    pack_into("<4IB", memory, 0, slots, 0, features, stride, bits == 4)
    classes = MEMORY_BYTES
    weights = classes + table
    pack_into("<ff3I", memory, 20, step, offset, classes, weights, weights + table)
    return memory


def memory_steps(low, high, step, bits=8):
    """Step and offset of a memory: those of the inputs in q8, where their step is given; else (0)
    low..high in normalised units is covered, and 0 met exactly. In q8 with 4 bits half of the step
    and 0 where nothing is below it: none of the few values is wasted."""
    if step:
        return (step / 2, 0.0) if bits == 4 and low >= 0 else (step, -128 * step)
    unit = 17 if bits == 4 else 1
    steps = 255 if bits == 4 and low == 0 else 254 // unit * unit  # some to spare, to meet 0
    step = (high - low) / steps
    return step, round(low / (unit * step)) * unit * step


def empty_state(layers, classes, label_bytes, seed, q8):
    """Labels and settings of a network that has learned nothing."""
    class_states = STATE_BYTES + 8 * layers
    labels = class_states + 8 * classes
    state = bytearray(_round_up(labels + label_bytes * classes))
    generator = (seed * 2654435761 + 1) & 0xFFFFFFFF or 1
    pack_into("<BBBBII", state, 0, RULES.index("sampled"), 0, label_bytes, 0, classes, generator)
    put(state, STATE_FIELDS["layers_offset"], STATE_BYTES)
    put(state, STATE_FIELDS["classes_offset"], class_states)
    put(state, STATE_FIELDS["labels_offset"], labels)
    for name in SETTINGS:
        put(state, SETTINGS[name], SETTINGS[name][4])
    if q8:
        put_setting(state, "learning_rate", 0.5 * _power_of_two(SETTINGS["learning_rate"][4]))
    return state


def build(widths, raw_range, slots, label_bytes, seed, lineage, q8=False, memory_bits=8):
    """Sections of an empty network: every layer has room for its width and nothing in use.

    widths: inputs, units of each hidden layer, classes; raw_range: lowest and highest raw value, or
    None for the first sample to tell; slots: samples that the memory has room for; lineage: 16
    bytes; q8: whether it computes in integers; memory_bits: per value of a sample there, 8 or 4.
    """
    scaling = UNSCALED if raw_range is None else normalisation(*raw_range)
    low, high = OPEN_RANGE if raw_range is None else scaling[2:]
    structure, trained_bytes = _structure(widths, int(q8), lineage)
    step = input_step(low, high) if q8 else 0.0
    pack_into("<5f", structure, 64, *scaling, step)
    sections = (
        structure,
        _trained(structure, trained_bytes),
        bytearray(0),
        empty_memory(slots, widths[0], *memory_steps(low, high, step, memory_bits), memory_bits),
        empty_state(len(widths) - 1, widths[-1], label_bytes, seed, q8),
    )
    lay_out(sections)
    return sections


def lay_out(sections):
    """Put the sizes of the sections into the table that the structure holds, and their places in a
    file, one behind the other; those of extensions stay as large as they are."""
    structure = sections[STRUCTURE]
    offset = len(structure)
    for index in range(structure[42]):
        kind, _, _, size, _ = table_entry(structure, index)
        size = len(sections[kind]) if kind < len(sections) else size
        pack_into("<2I", structure, HEADER_BYTES + SECTION_BYTES * index + 8, offset, size)
        offset += size
    put(structure, HEADER["file_bytes"], offset)
