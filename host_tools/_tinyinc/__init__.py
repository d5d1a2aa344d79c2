"""TinyInc's engine for CPython: the functions of the board's C module, over the same C core.

`net` is always a tuple of five buffers, the sections of an image: structure, trained tensors,
frozen tensors, memory, state; an absent section is empty. Nothing is kept between calls: buffers
are opened and checked in each. Sections that a call does not write may be read-only.

Arrays are C-contiguous buffers of the right item format, such as numpy's and array.array: float32
for probabilities, figures and matrices, uint32 for counts, plans and distance, uint16 for indices,
uint8 for q. x is a normalised sample, float32 or (in q8 networks) int8, for extract(), and its
features for every other call: the same where the network has no front end. q is x in the memory's
number format, a value per feature. Arrays may be longer than needed; scratch is a bytearray
of at least scratch_bytes(net).

Bad input raises ValueError with the core's text; arguments are counted from 1.

One call at a time per network: calls release the interpreter lock.
"""

import operator

import numpy as np
from _tinyinc_core import ffi, lib

_STRUCTURE, _TRAINED, _FROZEN, _MEMORY, _STATE = range(lib.TINC_SECTIONS)

# Per typecode: the item as C sees it, and the formats under which buffers announce it.
_ITEMS = {
    "f": ("float[]", 4, ("f", "<f")),
    "I": ("uint32_t[]", 4, ("I", "<I", "L", "<L")),
    "H": ("uint16_t[]", 2, ("H", "<H")),
    "B": ("uint8_t[]", 1, ("B", "<B")),
    "b": ("int8_t[]", 1, ("b", "<b")),
}


def _text(fault):
    text = ffi.new("char[]", lib.TINC_TEXT_BYTES)
    lib.tinc_describe(fault, text)
    return ffi.string(text).decode()


def _result(net, code):
    """The result of a call, or its fault as ValueError."""
    if code < 0:
        raise ValueError(_text(ffi.addressof(net, "fault")))
    return code


def _wrong(code, where, found, expected, detail=""):
    """The error for an argument that does not reach the core."""
    fault = ffi.new("tinc_fault *", (code, where, found, expected))
    return ValueError(_text(fault) + detail)


def _wrong_type(where, typecode, found):
    return _wrong(lib.TINC_E_ARGUMENT_TYPE, where, 0, ord(typecode), f" (it is {found})")


def _held(buffer):
    """A buffer for ffi.from_buffer(): the garbage collector crashes in cffi when it meets one over
    a memoryview, and not when numpy's array stands between."""
    return np.asarray(buffer) if isinstance(buffer, memoryview) else buffer


def _bytes(buffer, where, writable=False):
    """Argument number `where` as bytes, whatever its items are."""
    try:
        return ffi.from_buffer("char[]", _held(buffer), require_writable=writable)
    except (TypeError, ValueError, BufferError) as error:
        raise _wrong_type(where, "B", error) from None


def _items(buffer, where, typecode, count, writable=False):
    """Argument number `where` as at least `count` items of a typecode."""
    ctype, size, formats = _ITEMS[typecode]
    try:
        view = memoryview(buffer)
    except TypeError:
        raise _wrong_type(where, typecode, type(buffer).__name__) from None
    if view.format not in formats or view.itemsize != size:
        raise _wrong_type(where, typecode, f"'{view.format}'")
    if not view.c_contiguous:
        raise _wrong_type(where, typecode, "not contiguous")
    if writable and view.readonly:
        raise _wrong_type(where, typecode, "read-only")
    if view.nbytes < count * size:
        raise _wrong(lib.TINC_E_ARGUMENT, where, view.nbytes // size, count)
    items = ffi.from_buffer(ctype, _held(buffer))
    if count and int(ffi.cast("uintptr_t", items)) % size:
        raise _wrong_type(where, typecode, "not aligned to its items")
    return items


def _values(view, buffer, where, count, writable=False):
    """Argument number `where` as values of a sample, as the network computes."""
    typecode = "b" if view.header.format == lib.TINC_Q8 else "f"
    return _items(buffer, where, typecode, count, writable)


def _sample(view, buffer, where, writable=False):
    """Argument number `where` as a normalised sample of the network."""
    return _values(view, buffer, where, view.inputs, writable)


def _features(view, buffer, where, writable=False):
    """Argument number `where` as the features of a sample."""
    return _values(view, buffer, where, view.features, writable)


def _index(value):
    """An index or a count; what cannot be one becomes one that no network has. Taken before the
    buffers are checked: an object's own __index__() may write to them."""
    number = operator.index(value)
    return number if 0 <= number <= 0x3FFFFFFF else lib.TINC_NONE


def _open(net, *written):
    """Check and open the five buffers. Returns the core's view and what keeps its memory alive;
    the caller holds both until its last call."""
    if len(net) != lib.TINC_SECTIONS:
        raise _wrong(lib.TINC_E_ARGUMENT, 1, len(net), lib.TINC_SECTIONS)
    view = ffi.new("tinc_net *")
    bases = ffi.new("void *[]", lib.TINC_SECTIONS)
    sizes = ffi.new("size_t[]", lib.TINC_SECTIONS)
    held = []
    for i, buffer in enumerate(net):
        section = _bytes(buffer, 1)
        if len(section):  # an empty buffer's address is arbitrary
            if i in written:
                section = _bytes(buffer, 1, True)
            bases[i] = section
            sizes[i] = len(section)
            held.append(section)
    _result(view, lib.tinc_open(view, bases, sizes))
    return view, held


def check_structure(structure):
    """Check a structure before its sections are read."""
    view = ffi.new("tinc_net *")
    data = _bytes(structure, 1)
    _result(view, lib.tinc_open_structure(view, data, len(data)))


def check(net):
    """Check everything in a network just read, CRCs included; O(bytes)."""
    view, _held = _open(net)
    _result(view, lib.tinc_check(view))


def seal(net):
    """Put the CRCs of all sections and of the structure into the structure."""
    view, _held = _open(net, _STRUCTURE)
    lib.tinc_seal(view)


def crc32(data, crc=0):
    """CRC-32 (as zlib's) of a buffer, continuing from crc."""
    data = _bytes(data, 1)
    return lib.tinc_crc32(crc & 0xFFFFFFFF, data, len(data))


def _work(work):
    if work == lib.TINC_EXTRACT:
        return work
    return lib.TINC_LEARN if work else lib.TINC_INFER


def scratch_bytes(net, work=True):
    """Bytes of scratch with which extract() can be done, and learn() (True; enough for infer()),
    infer() (False) or nothing more (2)."""
    view, _held = _open(net)
    return lib.tinc_scratch_bytes(view, _work(work))


def plan(net, work, table):
    """How the scratch is used: fills table (uint32) with offset, bytes, first and last moment of
    every tensor, those of a layer together: values, mask, winners, delta, forward and backward
    room. Layer l runs at moment l and is differentiated at moment 2 layers - 1 - l. work: False for
    infer(), True for learn(), 2 for extract(). Returns the bytes of scratch for this alone."""
    view, _held = _open(net)
    count = view.layer_count * lib.TINC_ROLES
    words = _items(table, 3, "I", 4 * count, True)
    tensors = ffi.new("tinc_tensor[]", count)
    needed = lib.tinc_plan(view, _work(work), tensors)
    for i, tensor in enumerate(tensors):
        row = (tensor.offset, tensor.bytes, tensor.first, tensor.last)
        words[4 * i : 4 * i + 4] = row
    return needed


def normalise(net, raw, x):
    """Raw values (int8, uint8, int16, uint16 or float32) to normalised x, undefined on error."""
    view, _held = _open(net)
    out = _sample(view, x, 3, True)
    try:
        values = memoryview(raw)
    except TypeError:
        raise _wrong(lib.TINC_E_SAMPLE_TYPE, ord("?"), 0, 0) from None
    code = values.format.lstrip("@=<")
    if len(code) != 1:
        code = "?"  # big-endian or structured: no typecode has a name for it
    count = values.nbytes // values.itemsize
    data = _bytes(values, 2)
    _result(view, lib.tinc_normalise(view, data, count, ord(code), out))


def extract(net, x, features, scratch):
    """The features of a normalised sample, as the front end gives them, which every call below
    takes as x; of a network without one, the sample. Returns the multiply-accumulates done."""
    view, _held = _open(net)
    values = _sample(view, x, 2)
    out = _features(view, features, 3, True)
    work = _bytes(scratch, 4, True)
    macs = ffi.new("uint32_t *")
    _result(view, lib.tinc_extract(view, values, out, macs, work, len(work)))
    return macs[0]


def infer(net, x, probabilities, scratch):
    """Class probabilities of x; returns the likeliest class."""
    view, _held = _open(net)
    values = _features(view, x, 2)
    classes = view.layers[view.layer_count - 1].active
    out = _items(probabilities, 3, "f", classes, True)
    work = _bytes(scratch, 4, True)
    return _result(view, lib.tinc_infer(view, values, out, work, len(work)))


def learn(net, x, target, counts, figures, scratch):
    """One step on x with its class. counts: skipped, predicted class, forward and backward
    multiply-accumulates, then k per layer; figures: loss, local error, chance of training. False,
    and nothing has changed, when the step diverged: a layer gave NaN or values beyond 1e30."""
    cls = _index(target)
    view, _held = _open(net, _TRAINED, _STATE)
    values = _features(view, x, 2)
    counted = _items(counts, 4, "I", lib.TINC_STEP_K + view.layer_count, True)
    figured = _items(figures, 5, "f", lib.TINC_STEP_FIGURES, True)
    work = _bytes(scratch, 6, True)
    code = lib.tinc_learn(view, values, cls, counted, figured, work, len(work))
    return code != lib.TINC_E_DIVERGED and _result(view, code) == 0


def replay(net, excluded, x, counts, figures, scratch):
    """The same step on an exemplar of a class other than `excluded` (-1: of any), recalled into x.
    Returns its class, -1 where there is none, or -2 when the step diverged."""
    excluded = _index(excluded)
    view, _held = _open(net, _TRAINED, _STATE)
    values = _features(view, x, 3, True)
    counted = _items(counts, 4, "I", lib.TINC_STEP_K + view.layer_count, True)
    figured = _items(figures, 5, "f", lib.TINC_STEP_FIGURES, True)
    work = _bytes(scratch, 6, True)
    code = lib.tinc_replay(view, excluded, values, counted, figured, work, len(work))
    if code in (lib.TINC_E_SLOT, lib.TINC_E_DIVERGED):
        return -1 if code == lib.TINC_E_SLOT else -2
    return _result(view, code)


def matmul(out, a, b, rows, inner, columns):
    """out[rows][columns] = a[rows][inner] b[inner][columns]; out must not overlap a or b."""
    size = [_index(n) for n in (rows, inner, columns)]
    for i, n in enumerate(size):
        if n > lib.TINC_MAX_UNITS:
            raise _wrong(lib.TINC_E_ARGUMENT, 4 + i, n, lib.TINC_MAX_UNITS)
    rows, inner, columns = size
    left = _items(a, 2, "f", rows * inner)
    right = _items(b, 3, "f", inner * columns)
    lib.tinc_matmul(_items(out, 1, "f", rows * columns, True), left, right, *size)


def topk(values, k, indices):
    """Indices of the k largest |values|, ascending; exact zeros are left out. Returns how many."""
    k = _index(k)
    numbers = _items(values, 1, "f", 1)
    n = len(numbers)
    if not 1 <= k <= n <= lib.TINC_MAX_UNITS:
        raise _wrong(lib.TINC_E_ARGUMENT, 2, k, n)
    return lib.tinc_topk(numbers, n, k, _items(indices, 3, "H", k, True))


def grow(net, layer, units):
    """Put `units` more units of a layer to use."""
    layer, units = _index(layer), _index(units)
    view, _held = _open(net, _STRUCTURE, _TRAINED, _MEMORY, _STATE)
    _result(view, lib.tinc_grow(view, layer, units))


def shrink(net, layer, unit):
    """Take a unit out of use; the last one moves into its place."""
    layer, unit = _index(layer), _index(unit)
    view, _held = _open(net, _STRUCTURE, _TRAINED, _MEMORY, _STATE)
    _result(view, lib.tinc_shrink(view, layer, unit))


def least_useful(net, layer, over=0):
    """The hidden unit whose removal matters least, or -1 unless the most useful one is `over` times
    as useful."""
    layer, over = _index(layer), _index(over)
    view, _held = _open(net)
    unit = lib.tinc_least_useful(view, layer, over)
    return -1 if unit == lib.TINC_E_UNIT else _result(view, unit)


def choose(net, excluded=-1):
    """A slot to replay, of a class other than `excluded` (-1: of any), or -1 when there is none."""
    excluded = _index(excluded)
    view, _held = _open(net, _STATE)
    return max(lib.tinc_choose(view, excluded), -1)


def recall(net, slot, x):
    """A slot's sample to normalised x; returns its class."""
    slot = _index(slot)
    view, _held = _open(net)
    out = _features(view, x, 3, True)
    return _result(view, lib.tinc_recall(view, slot, out))


def quantise(net, x, q):
    """Normalised x to q, in the memory's number format."""
    view, _held = _open(net)
    values = _features(view, x, 2)
    _result(view, lib.tinc_quantise(view, values, _items(q, 3, "B", view.features, True)))


def remember(net, slot, q, cls):
    """Store q as a sample of a class in a slot: one in use, or the next free one."""
    slot, cls = _index(slot), _index(cls)
    view, _held = _open(net, _MEMORY, _STATE)
    sample = _items(q, 3, "B", view.features)
    _result(view, lib.tinc_remember(view, slot, sample, cls))


def nearest(net, q, cls, distance):
    """The slot of a class (-1: of any) nearest to q, or -1 when there is none; distance[0] gets
    the squared Euclidean distance in quantisation steps."""
    cls = _index(cls)
    view, _held = _open(net)
    sample = _items(q, 2, "B", view.features)
    out = _items(distance, 4, "I", 1, True)
    return max(lib.tinc_nearest(view, sample, cls, out), -1)


def move(net, slot, q):
    """Move a slot's sample towards q (online k-means)."""
    slot = _index(slot)
    view, _held = _open(net, _MEMORY, _STATE)
    sample = _items(q, 3, "B", view.features)
    _result(view, lib.tinc_move(view, slot, sample))


def follow(net, x, cls, q):
    """Move the exemplar of its class nearest to x towards it; q gets x in the memory's number
    format. Returns its slot, or -1 when the class has none."""
    cls = _index(cls)
    view, _held = _open(net, _MEMORY, _STATE)
    values = _features(view, x, 2)
    return max(lib.tinc_follow(view, values, cls, _items(q, 4, "B", view.features, True)), -1)


def vote(net, q, probabilities):
    """Let the exemplars vote on the network's probabilities for q; returns the likeliest class."""
    view, _held = _open(net)
    sample = _items(q, 2, "B", view.features)
    classes = view.layers[view.layer_count - 1].active
    return _result(view, lib.tinc_vote(view, sample, _items(probabilities, 3, "f", classes, True)))


def is_new(net, q):
    """Whether q lies further from every exemplar than known samples do, times `novelty`."""
    view, _held = _open(net)
    return bool(_result(view, lib.tinc_is_new(view, _items(q, 2, "B", view.features))))
