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
FRONT = -33
COMPILED = 1  # of this engine alone

# The same as in usermod_c/core/fault.c. Sections: 0 structure, 1 trained, 2 frozen, 3 memory,
# 4 state. Arguments count from 1. ALIGNMENT is the C core's alone: Python reads bytes anywhere.
TEXTS = {
    ALIGNMENT: "buffer {where} is not aligned to 8 bytes (a sample: to its type)",
    TRUNCATED: "section {where} is cut short: {found} bytes, expected {expected}",
    MAGIC: "not a TinyInc image: no TINC at its start",
    VERSION: "image of version {found}, expected {expected}",
    STRUCTURE_CRC: "image is damaged: the CRC of section {where} does not match",
    SECTION_CRC: "image is damaged: the CRC of section {where} does not match",
    HEADER: "image header: byte {where} is out of range (found {found})",
    SECTION: "section table: entry {where} is out of order or bounds (found {found})",
    SECTION_UNKNOWN: "section table: entry {where} is required, but of unknown kind {found}",
    SECTION_BYTES: "section {where} has {found} bytes, expected {expected}",
    LAYER_KIND: "layer {where}: kind {found} is unknown or has no place here",
    LAYER_FIELD: "layer {expected}: byte {where} is out of range (found {found})",
    LAYER_CHAIN: "layer {where}: takes {found} inputs, expected {expected}",
    LAYER_BOUNDS: "layer {where}: tensor at {found} lies outside its section",
    FORMAT: "format {found} of the image: this TinyInc does not have it",
    MEMORY: "memory: byte {where} is out of range (found {found})",
    STATE: "settings: byte {where} is out of range (found {found})",
    VALUE: "layer {where}: value {found} of a tensor is NaN, infinite or out of range",
    SCRATCH: "scratch has {found} bytes, expected {expected}",
    BUSY: "the network is busy with another call",
    SAMPLE_SIZE: "sample has {found} values, expected {expected}",
    SAMPLE_TYPE: "sample type '{where}', expected b, B, h, H or f",
    SAMPLE_VALUE: "sample[{where}] is NaN, infinite or out of range",
    CLASS: "class {found} does not exist, there are {expected}",
    LAYER: "layer {found} cannot be resized or does not exist, there are {expected}",
    UNIT: "layer {where}: unit {found} is the only one or does not exist, there are {expected}",
    CAPACITY: "layer {where}: {found} more units asked for, room for {expected}",
    SLOT: "memory slot {found} does not exist, there are {expected}",
    ARGUMENT: "argument {where} is too short or out of range: {found}, expected {expected}",
    DIVERGED: "diverged: layer {where} gives NaN or values beyond 1e30, learning rate too high?",
    ARGUMENT_TYPE: "argument {where} is of the wrong type, "
    "expected a writable array of '{expected}'",
    STAGE: "layer {where}: cannot run in strips: dense, an addition or trained",
    FRONT: "layer {where}: of the front end, but trained",
    COMPILED: "layer {where} needs the compiled engine: the pure one has plain dense layers in "
    "float32",
}


class Diverged(ValueError):
    """A layer gives NaN or values that no weight could bear."""


def fail(code, where=0, found=0, expected=0):
    error = Diverged if code == DIVERGED else ValueError
    raise error(TEXTS[code].format(where=where, found=found, expected=expected))
