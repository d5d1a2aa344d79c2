"""How q8 weights lie in an image: between natural shapes of integers and the stored bytes.

Natural shapes: dense [units, inputs], convolution [output channels, height, width, input channels],
depthwise [height, width, channels]. Masters are signed, 256 to one step of an int8 weight: the
weight is (master + 128) >> 8.
"""

import numpy as np

INT8, INT16 = 1, 2  # weight_type
MASTER_ZERO, INT8_ZERO = 32896, 128  # how a weight of 0 is stored; a padding weight, too
LEAST_MASTER, MOST_MASTER = 32 * 256 - MASTER_ZERO, 223 * 256 + 255 - MASTER_ZERO


def rows_of(values, depthwise):
    """Rows of weights: depthwise, one per tap; else one per unit or output channel."""
    values = np.asarray(values)
    return values.reshape(-1, values.shape[-1]) if depthwise else values.reshape(len(values), -1)


def weight_bytes(shape, weight_type, depthwise):
    """Bytes that weights of a natural shape take."""
    if depthwise:
        return int(np.prod(shape)) * weight_type
    pairs, n = (shape[0] + 1) // 2, int(np.prod(shape[1:]))
    return 4 * pairs * (n if weight_type == INT16 else (n + 1) // 2)


def pack(values, weight_type, depthwise):
    """Natural integers to the stored bytes."""
    rows = rows_of(values, depthwise).astype(np.int64)
    stored = rows + (MASTER_ZERO if weight_type == INT16 else INT8_ZERO)
    zero, dtype = (MASTER_ZERO, "<u2") if weight_type == INT16 else (INT8_ZERO, "u1")
    if depthwise:
        return stored.astype(dtype).tobytes()
    odd_input = stored.shape[1] % 2 if weight_type == INT8 else 0
    stored = np.pad(stored, ((0, len(stored) % 2), (0, odd_input)), constant_values=zero)
    pairs = len(stored) // 2
    if weight_type == INT16:
        return stored.reshape(pairs, 2, -1).transpose(0, 2, 1).astype(dtype).tobytes()
    return stored.reshape(pairs, 2, -1, 2).transpose(0, 2, 1, 3).astype(dtype).tobytes()


def unpack(data, shape, weight_type, depthwise):
    """The stored bytes to natural integers."""
    dtype, zero = ("<u2", MASTER_ZERO) if weight_type == INT16 else ("u1", INT8_ZERO)
    stored = np.frombuffer(data, dtype).astype(np.int64) - zero
    if depthwise:
        return stored.reshape(shape)
    rows, n = shape[0], int(np.prod(shape[1:]))
    pairs = (rows + 1) // 2
    if weight_type == INT16:
        stored = stored.reshape(pairs, n, 2).transpose(0, 2, 1)
    else:
        stored = stored.reshape(pairs, (n + 1) // 2, 2, 2).transpose(0, 2, 1, 3)
    return stored.reshape(2 * pairs, -1)[:rows, :n].reshape(shape)


def int8_of(values, weight_type):
    """What the arithmetic multiplies with: of masters, the upper byte, rounded."""
    return values + 128 >> 8 if weight_type == INT16 else values


def times_scales(values, scales, depthwise):
    """Natural weights of any kind, each times the scale of its unit."""
    return values * (scales if depthwise else scales.reshape(-1, *[1] * (values.ndim - 1)))


def quantise(real, trained, weight_type, depthwise):
    """Real weights to (natural integers, float32 scale per unit), as an exporter would choose.

    A trained layer's scales are powers of two, and leave its weights room to grow."""
    magnitude = np.abs(real)
    channels = real.shape[-1] if depthwise else len(real)
    axes = tuple(range(real.ndim - 1)) if depthwise else tuple(range(1, real.ndim))
    largest = np.maximum(magnitude.max(axis=axes, initial=0), 2.0**-20).reshape(channels)
    if trained:
        scales = 2.0 ** np.ceil(np.log2(largest / 90))
    else:
        scales = (largest / 127).astype("f4").astype("f8")
    steps = times_scales(real, 1 / scales, depthwise)
    if weight_type == INT16:
        masters = np.clip(np.round(256 * steps), LEAST_MASTER, MOST_MASTER)
        return masters.astype(np.int64), scales
    return np.clip(np.round(steps), -127, 127).astype(np.int64), scales
