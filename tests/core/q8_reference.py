"""The layers of q8 in exact integers: slow, obvious, written from the format's description.

A Q8 holds an image at work on one sample: run(index) and backward steps change the image's trained
tensors and this object's values, gradients, exponents and counts as the engine must, bit for bit.
Values of images are arrays (height, width, channels), those of dense layers (units,); gradients are
int64 arrays of the same shapes. A list names elements of the flat gradient, ascending.
"""

import numpy as np

from images import (
    ADD,
    AVERAGE_POOL,
    CONV,
    DENSE,
    DEPTHWISE,
    MAX_POOL,
    RULES,
    TRAIN_BIAS,
    TRAIN_WEIGHTS,
)
from storage import INT16

LINEAR, RELU, RELU6 = range(3)
LIMIT32 = 2**31 - 1


def shifted(v, s, limit=LIMIT32):
    """v * 2^s, to the nearest integer, halves up, within +-limit."""
    v = int(v)
    if s >= 0:
        v <<= s if v else 0
    else:
        s = min(-s, 31)
        v = (v + (1 << (s - 1))) >> s
    return max(-limit, min(limit, v))


def all_shifted(values, s, limit=LIMIT32):
    flat = [shifted(v, s, limit) for v in values.ravel()]
    return np.array(flat, np.int64).reshape(values.shape)


def bits(v):
    return abs(int(v)).bit_length()


def log2(power):
    """Of a power of two."""
    exponent = int(np.log2(power))
    assert 2.0**exponent == power
    return exponent


def mantissa_and_exponent(scale):
    """scale = m 2^e with 15 bits of m, rounded down."""
    fraction, exponent = np.frexp(np.float64(scale))
    return int(fraction * 2**15), int(exponent) - 15


def advance(state):
    """xorshift32."""
    state ^= state << 13 & 0xFFFFFFFF
    state ^= state >> 17
    return state ^ (state << 5 & 0xFFFFFFFF)


def noise16(draw, i):
    return ((draw + i * 0x9E3779B9) * 0x85EBCA6B & 0xFFFFFFFF) >> 16


def dithered(v, s, noise, limit):
    """v * 2^s within +-limit; 16 bits of noise decide whether it is rounded up or down."""
    if s >= 0:
        return shifted(v, s, limit)
    v, right = (v, -s) if s >= -30 else (shifted(v, s + 30), 30)
    noise = noise >> 16 - right if right < 16 else noise << right - 16
    return max(-limit, min(limit, (int(v) + noise) >> right))


def listed_count(x):
    """How many inputs are multiplied: those that are not 0, or all where that is quicker."""
    nonzero = int(np.count_nonzero(x))
    return nonzero if 2 * nonzero <= x.size else x.size


def inverse(count):
    """(m, b): 1 / count = m 2^-(14 + b), rounded to nearest, b = log2 count rounded up."""
    b = (count - 1).bit_length()
    return ((2 << (b + 14)) // count + 1) // 2, b


class Q8:
    def __init__(self, image, x, learning=True):
        self.image, self.learning = image, learning
        self.layers = image.layers
        shape = image.shape(-1)
        self.values = {-1: np.asarray(x, np.int64).reshape(shape)}
        self.exponents = {-1: log2(image.header["input_step"])}
        self.masks, self.winners = {}, {}
        self.delta, self.delta_exponent, self.live = {}, {}, set()
        self.forward = self.backward = 0

    # ---- forward ----

    def is_last(self, index):
        return index + 1 == len(self.layers)

    def input(self, index):
        shape = self.image.shape_before(index)
        return self.values[index - 1].reshape(shape)

    def window(self, index, y, x):
        """The taps (ky, kx) of an output's kernel that lie within the input, and where."""
        layer = self.layers[index]
        height, width, _ = self.image.shape_before(index)
        top = y * int(layer["stride"][0]) - int(layer["padding"][0])
        left = x * int(layer["stride"][1]) - int(layer["padding"][1])
        for ky in range(int(layer["kernel"][0])):
            for kx in range(int(layer["kernel"][1])):
                if 0 <= top + ky < height and 0 <= left + kx < width:
                    yield ky, kx, top + ky, left + kx

    def output_exponent(self, index):
        if self.layers[index]["kind"] in (MAX_POOL, AVERAGE_POOL):
            return self.exponents[index - 1]
        if self.is_last(index):
            return -10 + min(14, int(self.image.layer_states["widened"][index]))
        return log2(self.image.step(index))

    def limits(self, index, exponent):
        if self.is_last(index):
            return -32767, 32767
        activation = self.layers[index]["activation"]
        six = int(6 * 2.0**-exponent)
        return (
            -127 if activation == LINEAR else 0,
            min(127, six) if activation == RELU6 else 127,
        )

    def output(self, index, unit, total):
        """From a unit's sum to its output, before it is cut."""
        m, e = mantissa_and_exponent(self.image.scales(index)[unit])
        bias = int(self.image.bias(index)[unit])
        exponent = self.output_exponent(index)
        last, limit = (14, 2**30 - 2**22) if self.is_last(index) else (21, 2**29)
        t = shifted(total, e + self.exponents[index - 1] - exponent + last, 32767)
        b = shifted(bias, last - 20 - exponent, limit)
        assert abs(t * m + b) + 2**21 < 2**31
        return (t * m + b + 2 ** (last - 1)) >> last

    def sums(self, index):
        """The sum of every output, and the multiplications that take."""
        image, layer, x = self.image, self.layers[index], self.input(index)
        w = image.int8_weights(index)
        if layer["kind"] == DENSE:
            return w @ x, len(w) * listed_count(x)
        sums, macs = np.zeros(image.shape(index), np.int64), 0
        for y, column, _ in np.ndindex(*sums.shape[:2], 1):
            taps = list(self.window(index, y, column))
            if layer["kind"] == DEPTHWISE:
                for ky, kx, iy, ix in taps:
                    sums[y, column] += w[ky, kx] * x[iy, ix]
                macs += len(taps) * x.shape[2]
            else:
                patch = np.zeros(w.shape[1:], np.int64)
                for ky, kx, iy, ix in taps:
                    patch[ky, kx] = x[iy, ix]
                sums[y, column] = np.tensordot(w, patch, 3)
                macs += len(w) * listed_count(patch)
        return sums, macs

    def run(self, index):
        kind = self.layers[index]["kind"]
        exponent = self.output_exponent(index)
        low, high = self.limits(index, exponent)
        if kind <= DEPTHWISE:
            sums, macs = self.sums(index)
            self.forward += macs
            out = np.zeros_like(sums)
            for at in np.ndindex(*sums.shape):
                out[at] = self.output(index, at[-1], sums[at])
        elif kind == ADD:
            out = self.run_add(index, exponent)
        else:
            out = self.run_pool(index)
        cut = int((out > high).sum() + (out < low).sum() * (low < 0))
        self.values[index] = np.clip(out, low, high)
        self.exponents[index] = exponent
        v = self.values[index]
        six = 6 * 2.0**-exponent
        self.masks[index] = {
            LINEAR: np.ones(v.shape, bool),
            RELU: v > 0,
            RELU6: (v > 0) & (v < (int(six) if six < 127 else 128)),
        }[int(self.layers[index]["activation"])]
        both = TRAIN_WEIGHTS | TRAIN_BIAS
        widens = self.layers[index]["flags"] & both == both and high >= 127
        if self.learning and widens and 128 * cut > v.size:
            states = self.image.layer_states
            states["widened"][index] = min(30, states["widened"][index] + 1)
        if self.is_last(index):  # the engine keeps logits in steps of 2^-10
            self.values[index] = self.values[index] << (exponent + 10)
        return self.values[index]

    def run_add(self, index, exponent):
        """Terms are added with 8 bits behind the output's step."""
        source = int(self.layers[index]["source"])
        out = 0
        for term in (index - 1, source):
            up = self.exponents[term] - exponent + 8
            out = out + all_shifted(self.values[term], up, 2**29)
        return all_shifted(out, -8)

    def run_pool(self, index):
        x = self.input(index)
        out = np.zeros(self.image.shape(index), np.int64)
        self.winners[index] = {}
        for y, column, c in np.ndindex(*out.shape):
            seen = [(x[iy, ix, c], (iy, ix, c)) for _, _, iy, ix in self.window(index, y, column)]
            if self.layers[index]["kind"] == MAX_POOL:
                best = max(v for v, _ in seen)
                out[y, column, c] = best
                self.winners[index][y, column, c] = next(at for v, at in seen if v == best)
            else:
                m, b = inverse(len(seen))
                total, spare = int(sum(v for v, _ in seen)), max(b - 9, 0)
                total = shifted(total, -spare) if spare else total
                assert abs(total * m) < 2**31
                out[y, column, c] = shifted(total * m, spare - 14 - b, 127)
        return out

    # ---- gradients ----

    def settle(self, index):
        """Shift so that the largest has 15 bits."""
        d = self.delta[index]
        largest = bits(np.abs(d).max(initial=0))
        if largest == 0:
            return
        self.delta[index] = all_shifted(d, 15 - largest, 32767)
        self.delta_exponent[index] -= 15 - largest

    def gate(self, index):
        self.delta[index] = np.where(self.masks[index], self.delta[index], 0)

    def add_below(self, index, addend_of, exponent):
        """Add gradients of an exponent to layer index's; addend_of(v) cuts a factor as needed."""
        if index not in self.live or not self.delta[index].any():
            self.delta[index] = np.zeros(self.values[index].shape, np.int64)
            self.delta_exponent[index] = exponent
            right = 0
        else:
            self.settle(index)
            left = self.delta_exponent[index] - exponent
            done = min(left, 14)
            self.delta[index] = all_shifted(self.delta[index], done)
            self.delta_exponent[index] -= done
            right = left - done
        self.live.add(index)
        self.delta[index] = self.delta[index] + addend_of(
            lambda v: shifted(v, -right) if right else int(v)
        )

    def elements(self, index, chosen):
        """(place, unit, d) of the listed elements of a layer with weights."""
        d = self.delta[index]
        for element in chosen:
            at = np.unravel_index(element, d.shape)
            yield tuple(map(int, at[:-1])), int(at[-1]), int(d[at])

    def propagate(self, index, chosen=()):
        kind = self.layers[index]["kind"]
        exponent = self.delta_exponent[index]
        if kind == MAX_POOL:
            self.add_below(index - 1, lambda cut: self.unpooled(index, cut), exponent)
        elif kind == AVERAGE_POOL:
            area = int(np.prod(self.layers[index]["kernel"].astype(int)))
            guard = min(inverse(area)[1], 8)
            self.add_below(index - 1, lambda cut: self.spread(index, cut, guard), exponent - guard)
        elif kind == ADD:
            d = self.delta[index]
            for to in (index - 1, int(self.layers[index]["source"])):
                if to >= self.first_trained:
                    self.add_below(to, lambda cut: np.vectorize(cut, [np.int64])(d), exponent)
        else:
            self.propagate_weights(index, chosen)

    @property
    def first_trained(self):
        return next(index for index, layer in enumerate(self.layers) if layer["flags"])

    def unpooled(self, index, cut):
        below = np.zeros(self.image.shape_before(index), np.int64)
        for at, winner in self.winners[index].items():
            below[winner] += cut(self.delta[index][at])
        return below

    def spread(self, index, cut, guard):
        below = np.zeros(self.image.shape_before(index), np.int64)
        d = self.delta[index]
        for y, x, c in np.ndindex(*d.shape):
            window = list(self.window(index, y, x))
            m, b = inverse(len(window))
            for _, _, iy, ix in window:
                below[iy, ix, c] += cut(shifted(d[y, x, c] * m, guard - 14 - b))
        return below

    def propagate_weights(self, index, chosen):
        scales = [mantissa_and_exponent(s) for s in self.image.scales(index)]
        scaled = [
            (place, unit, d * scales[unit][0], scales[unit][1])
            for place, unit, d in self.elements(index, chosen)
        ]
        tops = [bits(g) + e for _, _, g, e in scaled if g]
        if tops:
            top = max(tops)
            factors = [(p, unit, shifted(g, e - top + 7, 127)) for p, unit, g, e in scaled]
            self.add_below(
                index - 1,
                lambda cut: self.through_weights(index, [(p, u, cut(c)) for p, u, c in factors]),
                self.delta_exponent[index] + top - 7,
            )

    def through_weights(self, index, factors):
        kind, w = self.layers[index]["kind"], self.image.int8_weights(index)
        below = np.zeros(self.image.shape_before(index), np.int64)
        live = np.ones(below.shape, bool)
        if kind == DENSE and self.layers[index - 1]["activation"] != LINEAR:
            mask = self.masks[index - 1].ravel()
            live = mask if 2 * mask.sum() <= mask.size else live
        for place, unit, c in factors:
            if c == 0:
                continue
            if kind == DENSE:
                below[live] += w[unit][live] * c
                self.backward += int(live.sum())
                continue
            for ky, kx, iy, ix in self.window(index, *place):
                if kind == CONV:
                    below[iy, ix] += w[unit, ky, kx] * c
                    self.backward += below.shape[2]
                else:
                    below[iy, ix, unit] += w[ky, kx, unit] * c
                    self.backward += 1
        return below.reshape(self.values[index - 1].shape)

    # ---- updates ----

    def counting(self, x):
        """Which inputs an update uses: in rule sampled, not what is small beside the largest."""
        state = self.image.state
        least = 0.0
        if state["rule"] == RULES.index("sampled"):
            least = float(state["input_threshold"]) * int(np.abs(x).max(initial=0))
        return (x != 0) & (np.abs(x) >= least)

    def update(self, index, chosen):
        image, layer = self.image, self.layers[index]
        rate = log2(image.state["learning_rate"])
        if layer["flags"] & TRAIN_WEIGHTS:
            draw = advance(int(image.state["generator"]))
            image.state["generator"] = draw
            step = self.delta_exponent[index] + rate + self.exponents[index - 1] + 8
            if layer["kind"] == DENSE:
                self.update_dense(index, chosen, draw, step)
            else:
                self.update_conv(index, chosen, draw, step)
        if layer["flags"] & TRAIN_BIAS:
            sums = {}
            for _, unit, d in self.elements(index, chosen):
                sums[unit] = sums.get(unit, 0) + d
            bias = image.bias(index)
            for unit, total in sums.items():
                change = shifted(-total, self.delta_exponent[index] + rate + 20, 2**30)
                bias[unit] = max(-(2**30), min(2**30, int(bias[unit]) + change))

    def update_dense(self, index, chosen, draw, step):
        image, layer = self.image, self.layers[index]
        wide = layer["weight_type"] == INT16
        w, scales = image.weights(index, active=False), image.scales(index, active=False)
        n, x = w.shape[1], self.input(index)
        usable = min(len(x), n * int(layer["update_eighths"]) // 8)
        counts = self.counting(x)
        sampled = image.state["rule"] == RULES.index("sampled")
        used = int(counts[:usable].sum())
        if not sampled or least_of(image, x) <= 1:
            used = listed_count(x[:usable])
        deltas = {unit: d for _, unit, d in self.elements(index, chosen) if d}
        for pair in sorted({unit // 2 for unit in deltas}):
            rows = [r for r in (2 * pair, 2 * pair + 1) if r in deltas]
            h = {r: step - log2(scales[r]) for r in rows}
            s = max(1, min([14] + [7 - bits(deltas[r]) - h[r] for r in rows]))
            for r in rows:
                factor = shifted(-deltas[r], h[r] + s, 127)
                if factor == 0 or used == 0:
                    continue
                self.backward += used
                change = np.zeros(n, np.int64)
                for i in np.flatnonzero(counts[:usable]):
                    noise = noise16(draw, pair if wide else r * n + int(i))
                    change[i] = dithered(factor * x[i], -s if wide else -s - 8, noise, 8065)
                self.change(w[r], change, scales, r, wide)
        image.set_weights(index, w)

    def update_conv(self, index, chosen, draw, step):
        image, layer, x = self.image, self.layers[index], self.input(index)
        wide, depthwise = layer["weight_type"] == INT16, layer["kind"] == DEPTHWISE
        w, scales = image.weights(index, active=False), image.scales(index, active=False)
        height, width, units = image.shape(index)
        b = min(15, 23 - (height * width - 1).bit_length())
        counts = self.counting(x)
        counts[:, :, x.shape[2] * int(layer["update_eighths"]) // 8 :] = False
        gradient = np.zeros(w.shape, np.int64)
        for place, unit, d in self.elements(index, chosen):
            d = shifted(d, b - 15, 2**b - 1)
            for ky, kx, iy, ix in self.window(index, *place) if d else ():
                if depthwise:
                    gradient[ky, kx, unit] += d * x[iy, ix, unit] * counts[iy, ix, unit]
                    self.backward += int(counts[iy, ix, unit])
                else:
                    gradient[unit, ky, kx] += d * x[iy, ix] * counts[iy, ix]
                    self.backward += int(counts[iy, ix].sum())
        assert np.abs(gradient).max(initial=0) < 2**30
        for unit in range(units):
            row = w[:, :, unit] if depthwise else w[unit]
            g = (gradient[:, :, unit] if depthwise else gradient[unit]).ravel()
            s = step + 15 - b - log2(scales[unit]) - (0 if wide else 8)
            change = np.zeros(g.size, np.int64)
            for i in np.flatnonzero(g):
                noise = noise16(draw, unit if wide else unit * g.size + int(i))
                change[i] = dithered(-g[i], s, noise, 8064 if wide else 31)
            self.change(row, change.reshape(row.shape), scales, unit, wide)
        image.set_weights(index, w)

    def change(self, row, change, scales, unit, wide):
        """Add changes to a row, in place. When a weight came out at 96 or more, halve the row, and
        double its scale."""
        row += change
        if not wide:
            row[...] = np.clip(row, -127, 127)
        w = (row + 128) >> 8 if wide else row
        if not ((change != 0) & ((w < -96) | (w >= 96))).any():
            return
        if scales[unit] < 2.0**15:
            row[...] = (row + 1) >> 1
            scales[unit] *= 2
        else:
            most = 96 * 256 - 129 if wide else 95
            row[...] = np.clip(row, -most, most)


def least_of(image, x):
    threshold = float(image.state["input_threshold"])
    return int(np.ceil(threshold * int(np.abs(x).max(initial=0))))
