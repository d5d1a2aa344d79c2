"""Images in RAM: the five sections of a network, made from scratch, and their fields by name.

The format is specified in usermod_c/SPEC.md. A section is a bytearray of its own; `sections` is
always the tuple (structure, trained, frozen, memory, state).
"""

from struct import pack_into, unpack_from

STRUCTURE, TRAINED, FROZEN, MEMORY, STATE = 0, 1, 2, 3, 4

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
    "section_count": (42, "B"),
    "layer_count": (43, "B"),
    "input_offset": (64, "<f"),
    "input_scale": (68, "<f"),
    "input_low": (72, "<f"),
    "input_high": (76, "<f"),
}

RULES = ("full", "static", "tinyprop", "tinyprop2", "sampled")

# What a user may set: name -> (offset in the state, struct format, lowest, highest, default)
SETTINGS = {
    "replay": (3, "B", 0, 255, 1),
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
    "vote": (88, "<f", 0.0, 100.0, 4.0),
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


def check_setting(name, value):
    """ValueError unless a setting of this name can take the value."""
    if name == "rule":
        if value not in RULES:
            raise ValueError("rule %r is unknown, expected one of %s" % (value, ", ".join(RULES)))
        return
    _check_name(name)
    _, kind, low, high, _ = SETTINGS[name]
    names = ("__index__",) if kind == "B" else ("__index__", "__float__")  # numpy's scalars too
    number = isinstance(value, int if kind == "B" else (int, float))
    number = number or any([hasattr(value, name) for name in names])
    if not number or not low <= value <= high:
        raise ValueError("%s is %r, expected %s to %s" % (name, value, low, high))


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
    return layer_field(structure, 0, 24)


def table_entry(structure, index):
    """Kind, flags, offset in the file, bytes and CRC of an entry of the section table."""
    return unpack_from("<5I", structure, HEADER_BYTES + SECTION_BYTES * index)


def _round_up(n):
    return (n + 7) & ~7


def _structure(widths, lineage):
    """Header, section table (sizes to be filled in) and layer table, and the trained bytes."""
    layers = len(widths) - 1
    structure = bytearray(HEADER_BYTES + 4 * SECTION_BYTES + layers * LAYER_BYTES)
    pack_into("<4sHHI", structure, 0, b"TINC", 1, 0, len(structure))
    pack_into("16s8B", structure, 24, lineage, 0, 0, 4, layers, 0, 0, 0, 1)
    pack_into("<4I", structure, 48, widths[0], 1, 1, 1)
    trained = 0
    for layer in range(layers):
        entry = HEADER_BYTES + 4 * SECTION_BYTES + layer * LAYER_BYTES
        units = widths[layer + 1]
        bias = trained + _round_up(4 * widths[layer] * units)
        relu = layer < layers - 1
        pack_into("8B", structure, entry, 1, relu, 3, 8, 0, 0, 0, 1)
        pack_into("<HI", structure, entry + 18, 0xFFFF, 0)
        pack_into("<6I", structure, entry + 24, widths[layer], 1, 1, units, 1, 1)
        pack_into("<3I", structure, entry + 48, 0, trained, bias)
        trained = bias + _round_up(4 * units)
    return structure, trained


# Lowest and highest input of a network whose first sample is to set the scale: later ones may be
# four times as large. Until then raw values pass as they are, up to a million.
OPEN_RANGE = (-4.0, 4.0)
UNSCALED = (0.0, 1.0, -1e6, 1e6)


def set_scale(structure, scale):
    """Settle an open range: from now on inputs are raw values times `scale`. Allocates nothing."""
    pack_into("<4f", structure, 64, 0.0, scale, OPEN_RANGE[0], OPEN_RANGE[1])


def normalisation(low, high):
    """Offset, scale, lowest and highest input that map raw low..high to at most -1..1.

    A raw 0 inside the range stays an exact 0, which costs the engine nothing.
    """
    if low <= 0 <= high:
        offset, scale = 0.0, 1.0 / max(-low, high)
    else:
        offset, scale = low, 1.0 / (high - low)
    return offset, scale, (low - offset) * scale, (high - offset) * scale


def _memory(slots, features, low, high):
    """An empty memory whose steps cover low..high, in normalised units, and meet 0 exactly."""
    if slots == 0:
        return bytearray(0)
    stride = _round_up(features)
    table = _round_up(2 * slots)
    memory = bytearray(MEMORY_BYTES + 2 * table + slots * stride)
    step = (high - low) / 254
    offset = round(low / step) * step
    pack_into("<4I", memory, 0, slots, 0, features, stride)
    classes = MEMORY_BYTES
    weights = classes + table
    pack_into("<ff3I", memory, 20, step, offset, classes, weights, weights + table)
    return memory


def _state(layers, classes, label_bytes, seed):
    class_states = STATE_BYTES + 8 * layers
    labels = class_states + 8 * classes
    state = bytearray(_round_up(labels + label_bytes * classes))
    generator = (seed * 2654435761 + 1) & 0xFFFFFFFF or 1
    pack_into("<BBBBII", state, 0, RULES.index("sampled"), 0, label_bytes, 0, classes, generator)
    pack_into("<3I", state, 76, STATE_BYTES, class_states, labels)
    for name in SETTINGS:
        put(state, SETTINGS[name], SETTINGS[name][4])
    return state


def build(widths, raw_range, slots, label_bytes, seed, lineage):
    """Sections of an empty network: every layer has room for its width and nothing in use.

    widths: inputs, units of each hidden layer, classes; raw_range: lowest and highest raw value, or
    None for the first sample to tell; slots: samples that the memory has room for; lineage: 16
    bytes.
    """
    scaling = UNSCALED if raw_range is None else normalisation(*raw_range)
    low, high = OPEN_RANGE if raw_range is None else scaling[2:]
    structure, trained_bytes = _structure(widths, lineage)
    pack_into("<4f", structure, 64, *scaling)
    sections = (
        structure,
        bytearray(trained_bytes),
        bytearray(0),
        _memory(slots, widths[0], low, high),
        _state(len(widths) - 1, widths[-1], label_bytes, seed),
    )
    offset = len(structure)
    for kind in range(TRAINED, STATE + 1):
        entry = HEADER_BYTES + (kind - 1) * SECTION_BYTES
        flags = 3 if kind == FROZEN else 1
        pack_into("<4I", structure, entry, kind, flags, offset, len(sections[kind]))
        offset += len(sections[kind])
    put(structure, HEADER["file_bytes"], offset)
    return sections
