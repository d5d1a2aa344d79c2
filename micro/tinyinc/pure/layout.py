"""The structs of an image as tables: name, struct format, lowest and highest value allowed.

Together the tables cover every byte, so that what they allow is all that is allowed. None leaves an
integer free and a float any finite number; a byte string with a bound of 0 is all zeros. Bounds
that depend on other fields are in image.py. usermod_c/SPEC.md says what the fields mean.
"""

import struct
from array import array


def single(value):
    """A number as float32 holds it."""
    return array("f", [value])[0]


MAX_UNITS = 65535  # units of a layer, and values of a sample
MAX_BYTES = 0x7FFFFFF8  # of a file
MAX_SECTIONS = 16
MAX_LAYERS = 32
STRUCTURE, TRAINED, FROZEN, MEMORY, STATE = range(5)
SECTIONS = 5
REQUIRED = 1  # section flag
TRAIN_WEIGHTS, TRAIN_BIAS = 1, 2  # layer flags
F32, Q8 = 0, 1
DENSE, CONV, DEPTHWISE, MAX_POOL, AVERAGE_POOL, ADD = range(1, 7)
LINEAR, RELU, RELU6 = 0, 1, 2
BITS8, BITS4 = 0, 1  # of a value in the memory
PACKED_STEP = 17  # between values of 4 bits: 15 of them make 255
FULL, STATIC, TINYPROP, TINYPROP2, SAMPLED = range(5)

HEADER = (
    ("magic", "4s", None, None),
    ("version_major", "H", 1, 1),
    ("version_minor", "H", None, None),
    ("structure_bytes", "I", None, None),
    ("structure_crc", "I", None, None),
    ("file_bytes", "I", None, MAX_BYTES),
    ("sequence", "I", None, None),
    ("lineage", "16s", None, None),
    ("format", "B", F32, F32),
    ("head", "B", 0, 0),
    ("section_count", "B", 4, MAX_SECTIONS),
    ("layer_count", "B", 1, MAX_LAYERS),
    ("input_type", "B", 0, 0),
    ("normalisation", "B", 0, 0),
    ("optimiser", "B", 0, 0),
    ("input_rank", "B", 1, 4),
    ("input_shape0", "I", 1, MAX_UNITS),
    ("input_shape1", "I", 1, MAX_UNITS),
    ("input_shape2", "I", 1, MAX_UNITS),
    ("input_shape3", "I", 1, MAX_UNITS),
    ("input_offset", "f", None, None),
    ("input_scale", "f", None, None),
    ("input_low", "f", -1e6, 1e6),
    ("input_high", "f", -1e6, 1e6),
    ("input_step", "I", 0, 0),
    ("input_zero_point", "I", 0, 0),
    ("stage_layers", "B", None, None),
    ("front_layers", "B", None, None),
    ("stage_rows", "H", 0, 0),
    ("reserved", "36s", 0, 0),
)
SECTION = (
    ("kind", "I", 1, None),
    ("flags", "I", 0, 3),
    ("offset", "I", None, None),
    ("bytes", "I", None, None),
    ("crc", "I", None, None),
    ("reserved", "12s", 0, 0),
)
LAYER = (
    ("kind", "B", DENSE, DENSE),
    ("activation", "B", LINEAR, RELU),
    ("flags", "B", 0, 3),
    ("update_eighths", "B", 0, 8),
    ("weight_type", "B", 0, 0),
    ("bias_type", "B", 0, 0),
    ("optimiser_slots", "B", 0, 0),
    ("rank", "B", 1, 1),
    ("convolution", "10s", 0, 0),
    ("source", "H", 0xFFFF, 0xFFFF),
    ("groups", "I", 0, 0),
    ("input_shape0", "I", 1, MAX_UNITS),
    ("input_shape1", "I", 1, 1),
    ("input_shape2", "I", 1, 1),
    ("output_shape0", "I", 1, MAX_UNITS),
    ("output_shape1", "I", 1, 1),
    ("output_shape2", "I", 1, 1),
    ("active", "I", None, None),
    ("weights_offset", "I", None, None),
    ("bias_offset", "I", None, None),
    ("scales_offset", "I", 0, 0),
    ("slots_offset", "I", 0, 0),
    ("masks_offset", "I", 0, 0),
    ("output_step", "I", 0, 0),
    ("output_zero_point", "I", 0, 0),
    ("reserved", "16s", 0, 0),
)
MEMORY_HEADER = (
    ("capacity", "I", 0, 65535),
    ("count", "I", None, None),
    ("features", "I", None, None),
    ("stride", "I", None, 2 * MAX_UNITS),
    ("element_type", "B", BITS8, BITS4),
    ("soft_labels", "B", 0, 0),
    ("reserved16", "H", 0, 0),
    ("step", "f", single(1e-9), 1e6),
    ("offset", "f", -1e6, 1e6),
    ("classes_offset", "I", None, None),
    ("weights_offset", "I", None, None),
    ("samples_offset", "I", None, None),
    ("soft_offset", "I", 0, 0),
    ("reserved", "20s", 0, 0),
)
STATE_HEADER = (
    ("rule", "B", FULL, SAMPLED),
    ("label_type", "B", 0, 1),
    ("label_bytes", "B", 4, 64),
    ("replay", "B", None, None),
    ("class_capacity", "I", None, None),
    ("generator", "I", 1, None),
    ("lessons", "I", None, None),
    ("trained", "I", None, None),
    ("learning_rate", "f", single(1e-9), 10),
    ("static_ratio", "f", 0, 1),
    ("s_min", "f", 0, 1),
    ("s_max", "f", 0, 1),
    ("zeta", "f", 0, 1),
    ("d_min", "f", 0, 1),
    ("d_max", "f", 0, 1),
    ("beta", "f", 0, 10),
    ("d_threshold", "f", 0, 10),
    ("error_threshold", "f", single(1e-6), 1e6),
    ("hidden_ratio", "f", 0, 1),
    ("input_threshold", "f", 0, 1),
    ("rates", "8s", 0, 0),
    ("layers_offset", "I", None, None),
    ("classes_offset", "I", None, None),
    ("labels_offset", "I", None, None),
    ("vote", "f", 0, 100),
    ("distance", "I", None, None),
    ("logit_adjustment", "f", 0, 20),
    ("novelty", "f", 0, 1e6),
    ("growth", "I", 0, MAX_UNITS),
    ("far", "I", None, None),
    ("label_smoothing", "f", 0, 1),
    ("reserved", "12s", 0, 0),
)


def form(fields):
    return "<" + "".join([field[1] for field in fields])


def size(fields):
    return struct.calcsize(form(fields))


def byte_of(fields, name):
    """Where in its struct a field lies."""
    names = [field[0] for field in fields]
    return size(fields[: names.index(name)])


HEADER_BYTES, SECTION_BYTES, LAYER_BYTES = size(HEADER), size(SECTION), size(LAYER)
MEMORY_BYTES, STATE_BYTES = size(MEMORY_HEADER), size(STATE_HEADER)
LAYER_STATE_BYTES, CLASS_STATE_BYTES = 8, 8
MAX_Y = 3e38


def read(fields, buffer, base=0):
    """The struct at a byte of the buffer, as a dict of its fields, unchecked."""
    values = struct.unpack_from(form(fields), buffer, base)
    return {field[0]: value for field, value in zip(fields, values)}


def write(fields, name, buffer, base, value):
    """Put one field of the struct at a byte of the buffer."""
    code = next(field[1] for field in fields if field[0] == name)
    struct.pack_into("<" + code, buffer, base + byte_of(fields, name), value)


def check(fields, values, wrong):
    """Hold values against the table; wrong(name, value) raises, with 0 for a float."""
    for name, code, low, high in fields:
        value = values[name]
        if code[-1] == "s":
            allowed = low is None or value == bytes(len(value))
        elif code == "f":
            # NaN is in no range, and neither it nor infinity has a difference of 0
            in_range = (low is None or low <= value) and (high is None or value <= high)
            allowed = in_range and value - value == 0
        else:
            allowed = (low is None or low <= value) and (high is None or value <= high)
        if not allowed:
            wrong(name, value if code in ("B", "H", "I") else 0)
