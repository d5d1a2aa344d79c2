"""What can be wrong, in words: the numbers of tinc_error and the texts of tinc_describe()."""

ALIGNMENT = -1
TRUNCATED = -2
MAGIC = -3
VERSION = -4
STRUCTURE_CRC = -5
SECTION_CRC = -6
HEADER = -7
SECTION = -8
SECTION_UNKNOWN = -9
SECTION_BYTES = -10
LAYER_KIND = -11
LAYER_FIELD = -12
LAYER_CHAIN = -13
LAYER_BOUNDS = -14
FORMAT = -15
MEMORY = -16
STATE = -17
VALUE = -18
SCRATCH = -19
BUSY = -20
SAMPLE_SIZE = -21
SAMPLE_TYPE = -22
SAMPLE_VALUE = -23
CLASS = -24
LAYER = -25
UNIT = -26
CAPACITY = -27
SLOT = -28
ARGUMENT = -29
DIVERGED = -30
ARGUMENT_TYPE = -31
STAGE = -32
COMPILED = 1  # of this engine alone

# The same as in usermod_c/core/fault.c. Sections: 0 structure, 1 trained, 2 frozen, 3 memory,
# 4 state. Arguments count from 1. ALIGNMENT is the C core's alone: Python reads bytes anywhere.
TEXTS = {
    ALIGNMENT: "buffer {where} is not aligned: its address must be a multiple of 8 "
    "(a sample's: of its values)",
    TRUNCATED: "section {where} is cut short: {found} bytes, expected {expected}",
    MAGIC: "not a TinyInc image: it does not start with TINC",
    VERSION: "image of version {found}, this TinyInc reads version {expected}",
    STRUCTURE_CRC: "image is damaged: the structure's CRC does not match",
    SECTION_CRC: "image is damaged: the CRC of section {where} does not match",
    HEADER: "image header: byte {where} is out of range (found {found})",
    SECTION: "section table: entry {where} is not in order or out of bounds "
    "(found {found}, limit {expected})",
    SECTION_UNKNOWN: "section table: entry {where} is required but of unknown kind {found}, "
    "known up to {expected}",
    SECTION_BYTES: "section {where} has {found} bytes, its table says {expected}",
    LAYER_KIND: "layer {where}: kind {found} is unknown or has no place here, "
    "expected {expected} (dense)",
    LAYER_FIELD: "layer {where}: byte {found} is out of range (found {expected})",
    LAYER_CHAIN: "layer {where}: takes {found} inputs, the layer before gives {expected}",
    LAYER_BOUNDS: "layer {where}: tensor at {found} lies outside its section of {expected} bytes",
    FORMAT: "image header: byte {where} asks for format {found}, this TinyInc has up to {expected}",
    MEMORY: "memory: byte {where} is out of range (found {found}, limit {expected})",
    STATE: "settings: byte {where} is out of range (found {found})",
    VALUE: "layer {where}: value {found} of a tensor is NaN, infinite or out of range",
    SCRATCH: "scratch has {found} bytes, expected {expected}",
    BUSY: "the network is busy with another call",
    SAMPLE_SIZE: "sample has {found} values, expected {expected}",
    SAMPLE_TYPE: "sample type '{where}' is unknown, expected b, B, h, H or f",
    SAMPLE_VALUE: "sample[{where}] is NaN, infinite or beyond 1e30",
    CLASS: "class {found} does not exist, the network has {expected}",
    LAYER: "layer {found} cannot be resized or does not exist, the network has {expected}",
    UNIT: "layer {where}: unit {found} cannot be removed, of {expected} at least one stays",
    CAPACITY: "layer {where}: {found} more units asked for, room for {expected}",
    SLOT: "memory slot {found} does not exist, there are {expected}",
    ARGUMENT: "argument {where} is too short or out of range: {found}, expected {expected}",
    DIVERGED: "diverged: layer {where} gives NaN or values beyond 1e30, "
    "the learning rate may be too high",
    ARGUMENT_TYPE: "argument {where} is of the wrong type, "
    "expected a writable array of '{expected}'",
    STAGE: "layer {where} cannot run in strips: it is dense, an addition or trained",
    COMPILED: "layer {where} needs the compiled engine: the pure one has plain dense layers in "
    "float32",
}


class Diverged(ValueError):
    """A layer gives NaN or values that no weight could bear."""


def fail(code, where=0, found=0, expected=0):
    error = Diverged if code == DIVERGED else ValueError
    raise error(TEXTS[code].format(where=where, found=found, expected=expected))
