"""From a raw sample to class probabilities, and the kernels that others may use."""

import math
from array import array

from . import faults
from .buffers import flat, need_array, number, typecode
from .faults import fail
from .image import open_net
from .layout import MAX_UNITS

SCRATCH_BYTES = 8
LARGEST_VALUE = 1e30  # of samples and layers: with smaller ones no update makes a weight infinite


def normalise(sections, raw, x):
    """Convert raw values (int8, uint8, int16, uint16, float32) to what the network sees,
    clip((raw - offset) * scale, low, high), in the array('f') x."""
    net = open_net(sections)
    header = net.header
    need_array(3, x, "f", net.inputs)
    code = typecode(raw)
    if code not in ("b", "B", "h", "H", "f"):
        fail(faults.SAMPLE_TYPE, code)
    values = flat(raw)
    if len(values) != net.inputs:
        fail(faults.SAMPLE_SIZE, 0, len(values), net.inputs)
    for i in range(net.inputs):
        if values[i] - values[i] != 0:  # NaN or infinite
            fail(faults.SAMPLE_VALUE, i)
    offset, scale = header["input_offset"], header["input_scale"]
    low, high = header["input_low"], header["input_high"]
    for i in range(net.inputs):
        x[i] = min(max((values[i] - offset) * scale, low), high)


def scratch_bytes(sections, learning=True):
    """Bytes of scratch that infer() and learn() ask for. This engine uses only the first, to see
    that no two calls share a scratch; its own lists come and go."""
    open_net(sections)
    return SCRATCH_BYTES


class Busy:
    """Marks a scratch as in use while a call runs."""

    def __init__(self, scratch):
        if len(scratch) < SCRATCH_BYTES:
            fail(faults.SCRATCH, 0, len(scratch), SCRATCH_BYTES)
        if scratch[0]:
            fail(faults.BUSY)
        self.scratch = scratch

    def __enter__(self):
        self.scratch[0] = 1

    def __exit__(self, *error):
        self.scratch[0] = 0


def mac_inputs(values):
    """Inputs that cost a multiply-accumulate: where at most half are not 0, only those."""
    nonzero = len([value for value in values if value != 0])
    return nonzero if 2 * nonzero <= len(values) else len(values)


def forward(net, x):
    """Outputs of all layers, x before them, as lists; and the multiply-accumulates done."""
    outputs, macs = [[x[i] for i in range(net.inputs)]], 0
    for i, value in enumerate(outputs[0]):
        if not abs(value) <= LARGEST_VALUE:
            fail(faults.SAMPLE_VALUE, i)
    for index, layer in enumerate(net.layers):
        before = outputs[-1]
        used = [i for i, value in enumerate(before) if value != 0]
        sums = net.bias(layer)
        for unit in range(layer.active):
            row = net.row(layer, unit)
            for i in used:
                sums[unit] += row[i] * before[i]
        for value in sums:
            if not abs(value) <= LARGEST_VALUE:  # nor when it is NaN
                fail(faults.DIVERGED, index)
        if layer.relu:
            sums = [value if value > 0 else 0.0 for value in sums]
        outputs.append(list(array("f", sums)))
        macs += layer.active * mac_inputs(before)
    return outputs, macs


def argmax(values):
    """The index of the largest, the lowest of equals."""
    return max(range(len(values)), key=lambda i: (values[i], -i))


def softmax(logits):
    """Probabilities, and log sum exp(logit - largest)."""
    largest = max(logits)
    powers = [math.exp(logit - largest) for logit in logits]
    total = sum(powers)
    return [power / total for power in powers], math.log(total)


def infer(sections, x, probabilities, scratch):
    """Class probabilities of a normalised sample; returns the likeliest class."""
    net = open_net(sections)
    classes = net.last.active
    need_array(2, x, "f", net.inputs)
    need_array(3, probabilities, "f", classes)
    if classes == 0:
        fail(faults.CLASS, 0, 0, 0)
    with Busy(scratch):
        logits = forward(net, x)[0][-1]
        for i, probability in enumerate(softmax(logits)[0]):
            probabilities[i] = probability
    return argmax(logits)


def matmul(out, a, b, rows, inner, columns):
    """out[rows][columns] = a[rows][inner] b[inner][columns], row-major array('f')s."""
    for argument, size in ((4, rows), (5, inner), (6, columns)):
        if number(size) > MAX_UNITS:
            fail(faults.ARGUMENT, argument, number(size), MAX_UNITS)
    need_array(2, a, "f", rows * inner)
    need_array(3, b, "f", inner * columns)
    need_array(1, out, "f", rows * columns)
    for row in range(rows):
        for column in range(columns):
            total = 0.0
            for i in range(inner):
                total += a[row * inner + i] * b[i * columns + column]
            out[row * columns + column] = total


def largest(values, k):
    """Indices of the k largest |values|, ascending; the lower of equals; never exact zeros."""
    nonzero = [i for i in range(len(values)) if values[i] != 0]
    nonzero.sort(key=lambda i: (-abs(values[i]), i))
    return sorted(nonzero[:k])


def topk(values, k, indices):
    """Put those indices into the array('H') and return how many they are."""
    need_array(1, values, "f", 1)
    if not 1 <= k <= len(values) <= MAX_UNITS:
        fail(faults.ARGUMENT, 2, number(k), len(values))
    need_array(3, indices, "H", k)
    chosen = largest(values, k)
    for i, index in enumerate(chosen):
        indices[i] = index
    return len(chosen)
