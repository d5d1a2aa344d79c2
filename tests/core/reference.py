"""The engine's semantics in float64 numpy, slow and obvious: what every engine is held against.

Every decision (a top-k, a rounded k, a skip, a ReLU's sign) also records how narrow it was: where
`margin` is small, single precision may rightly decide otherwise, and a test should look elsewhere.
"""

from dataclasses import dataclass, field

import numpy as np

import images
from images import RULES, TRAIN_BIAS, TRAIN_WEIGHTS

LARGEST_DELTA = 100.0  # a hidden gradient beyond is cut, so that no update can be infinite


def generator_next(state):
    """xorshift32 (Marsaglia 2003)."""
    state ^= state << 13 & 0xFFFFFFFF
    state ^= state >> 17
    state ^= state << 5 & 0xFFFFFFFF
    return state


class Generator:
    """The random numbers of an image's state; draws advance the image itself."""

    def __init__(self, image):
        self.image = image

    def next(self):
        state = generator_next(int(self.image.state["generator"]))
        self.image.state["generator"] = state
        return state

    def integer(self):
        return self.next() >> 8

    def uniform(self):
        return self.integer() / 2**24

    def within(self, bound):
        return (2 * self.uniform() - 1) * bound


def topk(values, k):
    """Indices of the k largest |values|, ascending; lower index of equals; no exact zeros."""
    order = sorted(range(len(values)), key=lambda i: (-abs(values[i]), i))[:k]
    return sorted(i for i in order if values[i] != 0)


def matmul(a, b):
    return np.asarray(a, "f8") @ np.asarray(b, "f8")


def mac_inputs(values):
    """Inputs that an output really works on: the non-zero ones where they are at most half."""
    nonzero = np.count_nonzero(values)
    return nonzero if 2 * nonzero <= np.size(values) else np.size(values)


def has_zeros(values):
    """Are there so many zeros that patches of these inputs are looked at for them?"""
    return 4 * np.count_nonzero(values) <= 3 * np.size(values)


# ---- layers: images are [height][width][channels], all else is flat ----


class Layer:
    """What all kinds share. `used` says which inputs count in an update, 0 elsewhere."""

    def __init__(self, image, index):
        entry = image.layers[index]
        self.before, self.shape = image.shape_before(index), image.shape(index)
        self.has_weights = image.has_weights(index)
        self.w = image.real_weights(index) if self.has_weights else None
        self.b = image.bias(index).astype("f8") if self.has_weights else None
        self.flags, self.eighths = int(entry["flags"]), int(entry["update_eighths"])
        self.activation = images.ACTIVATIONS[entry["activation"]]
        self.source = int(entry["source"])
        self.kernel, self.stride = (tuple(map(int, entry[name])) for name in ("kernel", "stride"))
        self.padding = tuple(map(int, entry["padding"]))
        self.capacity = int(entry["input_shape"][0])  # dense: inputs, used or not

    def activate(self, z):
        if self.activation == "linear":
            return z
        return np.clip(z, 0, 6 if self.activation == "relu6" else None)

    def passed(self, values):
        """Where the activation cut nothing."""
        if self.activation == "linear":
            return np.ones_like(values, bool)
        return (values > 0) & (values < (6 if self.activation == "relu6" else np.inf))

    def boundaries(self, z):
        """How near values come to where the activation bends."""
        bends = {"linear": [], "relu": [0], "relu6": [0, 6]}[self.activation]
        return min((np.abs(z - bend).min(initial=np.inf) for bend in bends), default=np.inf)

    def padded(self, values, edge=0.0):
        top, left, bottom, right = self.padding
        image = np.reshape(values, self.before)
        return np.pad(image, ((top, bottom), (left, right), (0, 0)), constant_values=edge)

    def cropped(self, padded):
        height, width, _ = self.before
        top, left = self.padding[:2]
        return padded[top : top + height, left : left + width].reshape(-1)

    def windows(self):
        """((y, x), their window in the padded image) of every output pixel."""
        for y, x in np.ndindex(self.shape[:2]):
            top, left = y * self.stride[0], x * self.stride[1]
            yield (y, x), np.s_[top : top + self.kernel[0], left : left + self.kernel[1]]

    def inside(self):
        """Taps of every output pixel that lie in the image."""
        ones = self.padded(np.ones(self.before))[..., 0]
        return {at: int(ones[window].sum()) for at, window in self.windows()}

    def elements(self, delta):
        """Elements of every output pixel that are not 0."""
        return np.count_nonzero(delta.reshape(self.shape), axis=2)


class Dense(Layer):
    def forward(self, x):
        return self.w @ x + self.b

    def forward_macs(self, x):
        return len(self.b) * mac_inputs(x)

    def below(self, x, delta):
        return self.w.T @ delta

    def below_macs(self, delta, live):
        return np.count_nonzero(delta) * (mac_inputs(live))

    def trained(self):
        return np.arange(self.before[0]) < self.capacity * self.eighths // 8

    def gradient(self, used, delta):
        return np.outer(delta, used), delta

    def update_macs(self, used, delta, listing):
        used = used[self.trained()]
        return np.count_nonzero(delta) * (np.count_nonzero(used) if listing else mac_inputs(used))


class Conv(Layer):
    def forward(self, x):
        z, image = np.empty(self.shape), self.padded(x)
        for at, window in self.windows():
            z[at] = np.tensordot(self.w, image[window], 3) + self.b
        return z.reshape(-1)

    def seen(self):
        """windows() without the rows above and below the image, and these rows over all columns."""
        first, end = self.padding[0], self.padding[0] + self.before[0]
        left, right = self.padding[1], self.padding[1] + self.before[1]
        for at, (rows, columns) in self.windows():
            rows = slice(max(rows.start, first), min(rows.stop, end))
            yield at, (rows, columns), (rows, slice(left, right))

    def forward_macs(self, x):
        image = self.padded(x)
        return len(self.b) * sum(
            mac_inputs(image[window]) if has_zeros(image[band]) else image[window].size
            for _, window, band in self.seen()
        )

    def below(self, x, delta):
        sums, delta = self.padded(np.zeros(self.before)), delta.reshape(self.shape)
        for at, window in self.windows():
            sums[window] += np.tensordot(delta[at], self.w, 1)
        return self.cropped(sums)

    def below_macs(self, delta, live):
        inside = self.inside()
        return (
            sum(n * inside[at] for at, n in np.ndenumerate(self.elements(delta))) * self.before[2]
        )

    def trained(self):
        channels = np.arange(self.before[2]) < self.before[2] * self.eighths // 8
        return np.broadcast_to(channels, self.before).reshape(-1)

    def gradient(self, used, delta):
        image, delta, total = self.padded(used), delta.reshape(self.shape), np.zeros_like(self.w)
        for at, window in self.windows():
            total += delta[at][:, None, None, None] * image[window]
        return total, delta.sum((0, 1))

    def update_macs(self, used, delta, listing):
        image = self.padded(used)
        count = np.count_nonzero if listing else mac_inputs if has_zeros(used) else np.size
        counts = {at: count(image[window]) for at, window, _ in self.seen()}
        return sum(n * counts[at] for at, n in np.ndenumerate(self.elements(delta)))


class Depthwise(Conv):
    def forward(self, x):
        z, image = np.empty(self.shape), self.padded(x)
        for at, window in self.windows():
            z[at] = (self.w * image[window]).sum((0, 1)) + self.b
        return z.reshape(-1)

    def forward_macs(self, x):
        return self.before[2] * sum(self.inside().values())

    def below(self, x, delta):
        sums, delta = self.padded(np.zeros(self.before)), delta.reshape(self.shape)
        for at, window in self.windows():
            sums[window] += delta[at] * self.w
        return self.cropped(sums)

    def below_macs(self, delta, live):
        inside = self.inside()
        return sum(n * inside[at] for at, n in np.ndenumerate(self.elements(delta)))

    def gradient(self, used, delta):
        image, delta, total = self.padded(used), delta.reshape(self.shape), np.zeros_like(self.w)
        for at, window in self.windows():
            total += delta[at] * image[window]
        return total, delta.sum((0, 1))

    def update_macs(self, used, delta, listing):
        image, delta = self.padded(used), delta.reshape(self.shape)
        return sum(
            int(np.count_nonzero(image[window], axis=(0, 1)) @ (delta[at] != 0))
            for at, window in self.windows()
        )


class Unweighted(Layer):
    def forward_macs(self, x):
        return 0

    def below_macs(self, delta, live):
        return 0


class MaxPool(Unweighted):
    def forward(self, x):
        image = self.padded(x, -np.inf)
        return np.array([image[window].max((0, 1)) for _, window in self.windows()]).reshape(-1)

    def boundaries(self, x):
        """How far the largest of a window is above the next one that is not exactly as large."""
        image, gaps = self.padded(x, -np.inf), [np.inf]
        for _, window in self.windows():
            values = image[window].reshape(-1, self.before[2])
            lower = np.where(values < values.max(0), values, -np.inf)
            gaps.append(np.subtract(values.max(0), lower.max(0)).min())
        return min(gaps)

    def below(self, x, delta):
        sums, image = self.padded(np.zeros(self.before)), self.padded(x, -np.inf)
        for (y, column), window in self.windows():
            winners = image[window].reshape(-1, self.before[2]).argmax(0)  # the first of equals
            for c, winner in enumerate(winners):
                dy, dx = np.unravel_index(winner, self.kernel)
                sums[window][dy, dx, c] += delta.reshape(self.shape)[y, column, c]
        return self.cropped(sums)


class AveragePool(Unweighted):
    def forward(self, x):
        image = self.padded(x, np.nan)
        return np.array([np.nanmean(image[w], (0, 1)) for _, w in self.windows()]).reshape(-1)

    def below(self, x, delta):
        sums, inside = self.padded(np.zeros(self.before)), self.inside()
        for at, window in self.windows():
            sums[window] += delta.reshape(self.shape)[at] / inside[at]
        return self.cropped(sums)


class Add(Unweighted):
    def boundaries(self, z):
        return super().boundaries(z[z != 0])  # the sum of two zeros is one, however it is rounded

    def below(self, x, delta):
        return delta


KINDS = {
    images.DENSE: Dense,
    images.CONV: Conv,
    images.DEPTHWISE: Depthwise,
    images.MAX_POOL: MaxPool,
    images.AVERAGE_POOL: AveragePool,
    images.ADD: Add,
}


@dataclass
class Step:
    loss: float
    predicted: int
    error: float
    probability: float = 1.0
    skipped: bool = False
    forward_macs: int = 0
    backward_macs: int = 0
    k: list = field(default_factory=list)
    rows: dict = field(default_factory=dict)  # layer: selected elements of its gradient
    columns: dict = field(default_factory=dict)  # layer: inputs whose weights are updated
    margin: float = np.inf


class Network:
    """The active part of an image as float64 copies, and the generator and y_max of its state."""

    def __init__(self, image):
        image = image.copy()
        count = len(image.layers)
        self.layers = [KINDS[int(image.layers[i]["kind"])](image, i) for i in range(count)]
        self.flags = [layer.flags for layer in self.layers]
        self.settings = {
            name: float(image.state[name])
            for name in (
                "learning_rate",
                "static_ratio",
                "s_min",
                "s_max",
                "zeta",
                "d_min",
                "d_max",
                "beta",
                "d_threshold",
                "error_threshold",
                "hidden_ratio",
                "input_threshold",
            )
        }
        self.rule = RULES[image.state["rule"]]
        self.y_max = image.layer_states["y_max"].astype("f8")
        self.generator = Generator(image)
        self.trained = [i for i in range(count) if self.flags[i]]
        self.margin = np.inf

    @property
    def w(self):
        return [layer.w for layer in self.layers]

    @property
    def b(self):
        return [layer.b for layer in self.layers]

    def narrow(self, value, boundary, scale=1.0):
        """Note how near a decided value came to its boundary."""
        self.margin = min(self.margin, abs(value - boundary) / scale)

    def forward(self, x):
        """Inputs of every layer, and the logits last."""
        activations = [np.asarray(x, "f8").reshape(-1)]
        for layer in self.layers:
            x = activations[-1]
            z = x + activations[layer.source + 1] if isinstance(layer, Add) else layer.forward(x)
            self.margin = min(self.margin, layer.boundaries(x if isinstance(layer, MaxPool) else z))
            activations.append(layer.activate(z))
        return activations

    def probabilities(self, x):
        z = self.forward(x)[-1]
        e = np.exp(z - z.max())
        return e / e.sum()

    def loss(self, x, target):
        z = self.forward(x)[-1]
        return np.log(np.exp(z - z.max()).sum()) + z.max() - z[target]

    def propagate(self, i, activations, delta, deltas):
        """Add what layer i passes on to the gradients of the layers that it takes from."""
        passed = self.layers[i].below(activations[i], delta)
        for source in {i - 1, self.layers[i].source} & set(range(i)):
            deltas[source] = deltas[source] + passed

    def gradients(self, x, target):
        """Full gradients (dW, db) of the loss per layer, None without weights."""
        activations = self.forward(x)
        deltas = [np.zeros_like(a) for a in activations[1:]]
        deltas[-1] = self.probabilities(x)
        deltas[-1][target] -= 1
        result = []
        for i in reversed(range(len(self.layers))):
            layer = self.layers[i]
            delta = deltas[i] * layer.passed(activations[i + 1])
            result.insert(0, layer.gradient(activations[i], delta) if layer.has_weights else None)
            self.propagate(i, activations, delta, deltas)
        return result

    def rounded_k(self, n, ratio):
        share = n * ratio + 0.5
        if 1 <= share < n:
            self.narrow(share, round(share), n)
        return int(min(max(np.floor(share), 1), n))

    def ratio(self, layer, error):
        """Back-propagation ratio of a trained layer (arXiv 2308.09201)."""
        s = self.settings
        depth = self.trained[::-1].index(layer)
        grown = error * (s["s_max"] - s["s_min"]) / self.y_max[layer] if error else 0
        return (s["s_min"] + grown) * s["zeta"] ** depth

    def k(self, layer, n, error):
        s = self.settings
        if self.rule == "static":
            return self.rounded_k(n, s["static_ratio"])
        if self.rule in ("tinyprop", "tinyprop2"):
            self.y_max[layer] = max(self.y_max[layer], error)
            return self.rounded_k(n, self.ratio(layer, error))
        if self.rule == "sampled" and layer < len(self.layers) - 1:
            return self.rounded_k(n, s["hidden_ratio"])
        return n

    def select(self, delta, k):
        rows = topk(delta, k)
        size = np.sort(np.abs(delta))[::-1]
        if k < len(size) and size[k - 1] > 0:
            self.narrow(size[k - 1], size[k], size[0])
        return rows

    def used_inputs(self, layer, inputs):
        """The inputs by which weights are updated, 0 where they are not."""
        counting = layer.trained() & (inputs != 0)
        if self.rule == "sampled":
            largest = np.abs(inputs).max(initial=0)
            bound = self.settings["input_threshold"] * largest
            for value in np.abs(inputs[inputs != 0]):
                self.narrow(value, bound, largest)
            counting &= np.abs(inputs) >= bound
        return np.where(counting, inputs, 0)

    def skips(self, step):
        """Decide by the rule whether this sample is left out; sets the step's probability."""
        s = self.settings
        if self.rule == "tinyprop2":
            last = len(self.layers) - 1
            self.y_max[last] = max(self.y_max[last], step.error)
            share = step.error / self.y_max[last] if step.error else 0
            d = (s["d_min"] + share * (s["d_max"] - s["d_min"])) * s["beta"]
            self.narrow(d, s["d_threshold"])
            return d < s["d_threshold"]
        if self.rule == "sampled":
            step.probability = np.clip(step.error / s["error_threshold"], 2**-24, 1)
            u = self.generator.uniform()
            self.narrow(u, step.probability)
            return u >= step.probability
        return False

    def learn(self, x, target):
        """One step of SGD under the rule, in place."""
        self.margin = np.inf
        activations = self.forward(x)
        delta = self.probabilities(x)
        logits = np.sort(activations[-1])[::-1]
        step = Step(self.loss(x, target), int(np.argmax(activations[-1])), 0.0)
        if len(logits) > 1:
            self.narrow(logits[0], logits[1])
        delta[target] -= 1
        step.error = np.abs(delta).sum()
        if 0 < np.abs(delta).min() < 1e-7:
            self.margin = 0  # 1 - p is 0 in single precision
        step.forward_macs = sum(
            layer.forward_macs(a) for a, layer in zip(activations, self.layers, strict=False)
        )
        step.k = [0] * len(self.layers)
        step.skipped = self.skips(step)
        if not step.skipped:
            self.backward(step, activations, delta / step.probability)
        step.margin = self.margin
        return step

    def backward(self, step, activations, delta):
        if not self.trained:
            return
        first, last = self.trained[0], len(self.layers) - 1
        deltas = [np.zeros_like(a) for a in activations[1:]]
        deltas[last] = delta
        for i in reversed(range(first, last + 1)):
            layer, delta = self.layers[i], deltas[i] * self.layers[i].passed(activations[i + 1])
            if i < last and layer.has_weights:
                delta = np.clip(delta, -LARGEST_DELTA, LARGEST_DELTA)
            if self.flags[i]:
                step.k[i] = self.k(i, len(delta), np.abs(delta).sum())
                chosen = np.zeros(len(delta), bool)
                chosen[self.select(delta, step.k[i])] = True
                delta = delta * chosen
            step.rows[i] = list(np.flatnonzero(delta))
            if i > first:
                live = self.layers[i - 1].passed(activations[i])
                step.backward_macs += layer.below_macs(delta, live)
                self.propagate(i, activations, delta, deltas)
            if self.flags[i]:
                self.update(step, i, activations[i], delta)

    def update(self, step, i, inputs, delta):
        layer, rate = self.layers[i], self.settings["learning_rate"]
        used = self.used_inputs(layer, inputs)
        step.columns[i] = list(np.flatnonzero(used))
        dw, db = layer.gradient(used, delta)
        if layer.flags & TRAIN_WEIGHTS:
            listing = self.rule == "sampled" or (isinstance(layer, Conv) and layer.eighths < 8)
            step.backward_macs += layer.update_macs(used, delta, listing)
            layer.w -= rate * dw
        if layer.flags & TRAIN_BIAS:
            layer.b -= rate * db


# ---- the distilled memory, on an image in place ----


def quantise(image, x):
    """Samples in the memory's number format, and how near each value came to another one."""
    inverse = np.float32(1) / np.float32(image.memory["step"])
    steps = (np.asarray(x, "f4") - np.float32(image.memory["offset"])) * inverse + np.float32(0.5)
    return np.clip(np.floor(steps), 0, 255).astype(int), np.abs(steps - np.round(steps))


def choose(image, excluded=-1):
    used = list(image.slot_classes[: int(image.memory["count"])])
    present = [c for c in range(image.classes) if c in used and c != excluded]
    if not present:
        return -1
    cls = min(present, key=lambda c: (image.class_states["replayed"][c], c))
    image.class_states["replayed"][cls] += 1
    if 0 <= excluded < image.classes:
        lags = image.class_states["replayed"]
        lags[excluded] = max(lags[excluded], lags[cls])
    slots = [slot for slot, c in enumerate(used) if c == cls]
    return slots[Generator(image).integer() % len(slots)]


def recall(image, slot):
    memory = image.memory
    x = float(memory["offset"]) + float(memory["step"]) * image.slot_samples[slot].astype("f8")
    return int(image.slot_classes[slot]), x


def remember(image, slot, q, cls):
    near, distance = nearest(image, q, cls)
    if near >= 0:
        track_distance(image, distance)
    image.set_slot(slot, q)
    image.slot_classes[slot], image.slot_weights[slot] = cls, 1
    image.memory["count"] = max(int(image.memory["count"]), slot + 1)


def nearest(image, q, cls=-1):
    """(slot, squared distance in steps), the lowest of equals; (-1, None) when there is none."""
    found = [
        (int(((image.slot_samples[slot].astype(int) - q) ** 2).sum()), slot)
        for slot in range(int(image.memory["count"]))
        if cls in (-1, image.slot_classes[slot])
    ]
    return min(found)[::-1] if found else (-1, None)


def move(image, slot, q):
    """One draw, spread over all values by a hash. A slot stands for at least one sample, whatever
    its weight says."""
    generator, sample = Generator(image), image.slot_samples[slot].astype(int)
    track_distance(image, int(((sample - q) ** 2).sum()))
    w = min(max(int(image.slot_weights[slot]), 1) + 1, 64)
    image.slot_weights[slot] = w
    draw, step = generator.next(), 17 if image.packed else 1
    for i, target in enumerate(q):
        up = ((draw + i * 0x9E3779B9) * 0x85EBCA6B % 2**32 >> 16) * step * w // 65536
        sample[i] += step * ((int(target) - sample[i] + up) // (step * w))
    image.set_slot(slot, sample)


def track_distance(image, distance):
    """A running mean over about 32 samples and the 95th of 100, in integers."""
    mean, far = int(image.state["distance"]), int(image.state["far"])
    step = abs(distance - mean) // 32
    image.state["distance"] = mean + (step if distance > mean else -step) if mean else distance
    beyond = 0
    if distance != far and not distance > far >= 0xEFFFFFFF:
        beyond = 19 if distance > far else -1
    image.state["far"] = (far + beyond * (far // 256 + 1)) % 2**32 if mean else 2 * distance


def vote(image, q, probabilities):
    """p exp(-vote share d / mean d) of every class, normalised; share: the exemplars over 16 per
    class; where a class has none, d is the mean."""
    weight, mean = float(image.state["vote"]), max(int(image.state["distance"]), 1)
    distances = [nearest(image, q, cls)[1] for cls in range(image.classes)]
    if not any(d is not None for d in distances) or not weight:
        return np.asarray(probabilities)
    weight *= min(int(image.memory["count"]) / (16 * image.classes), 1)
    distances = [mean if d is None else d for d in distances]
    scores = np.log(np.maximum(probabilities, 1e-30)) - weight * np.array(distances) / mean
    voted = np.exp(scores - scores.max())
    return voted / voted.sum()


# ---- capacity in use, on an image in place ----


def grow(image, layer, units):
    generator, first = Generator(image), image.active(layer)
    image.layers[layer]["active"] += units
    if layer == len(image.layers) - 1:
        others = image.class_states["replayed"][:first]
        for cls in range(first, first + units):
            image.weights(layer, active=False)[cls] = 0
            image.bias(layer)[cls] = 0
            image.class_states[cls] = (0, others.min() if first else 0)
        return
    incoming = (
        6 / max(image.active(layer - 1), 1)
    ) ** 0.5  # without inputs there is nothing to draw
    outgoing = 0.5 * (6 / image.active(layer)) ** 0.5
    for unit in range(first, first + units):
        row, column = image.weights(layer)[unit], image.weights(layer + 1)[:, unit]
        row[:] = [generator.within(incoming) for _ in row]
        column[:] = [generator.within(outgoing) for _ in column]
        image.bias(layer)[unit] = 0


def shrink(image, layer, unit):
    """Layers only: what happens to the memory's slots of a class is for the test to say."""
    last = image.active(layer) - 1
    image.weights(layer)[unit] = image.weights(layer)[last]
    image.bias(layer)[unit] = image.bias(layer)[last]
    if layer < len(image.layers) - 1:
        image.weights(layer + 1)[:, unit] = image.weights(layer + 1)[:, last]
    else:
        image.class_states[unit] = image.class_states[last]
        image.labels[unit] = image.labels[last]
    image.layers[layer]["active"] -= 1


def usefulness(image, layer):
    """Per hidden unit: sum of |outgoing| times sum of |incoming| weights, bias included."""
    incoming = np.abs(image.weights(layer)).sum(1, "f8") + np.abs(image.bias(layer))
    return np.abs(image.weights(layer + 1)).sum(0, "f8") * incoming
