"""The engine's semantics in float64 numpy, slow and obvious: what every engine is held against.

Every decision (a top-k, a rounded k, a skip, a ReLU's sign) also records how narrow it was: where
`margin` is small, single precision may rightly decide otherwise, and a test should look elsewhere.
"""

from dataclasses import dataclass, field

import numpy as np

from images import RULES, TRAIN_BIAS, TRAIN_WEIGHTS

LARGEST_DELTA = 1000.0  # a hidden gradient beyond is cut, so that no update can be infinite


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
    """Inputs that a layer really works on: the non-zero ones where they are at most half."""
    nonzero = np.count_nonzero(values)
    return nonzero if 2 * nonzero <= len(values) else len(values)


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
    rows: dict = field(default_factory=dict)  # layer: selected rows
    columns: dict = field(default_factory=dict)  # layer: inputs whose weights are updated
    margin: float = np.inf


class Network:
    """The active part of an image as float64 copies, and the generator and y_max of its state."""

    def __init__(self, image):
        image = image.copy()
        count = len(image.layers)
        self.w = [image.weights(i).astype("f8") for i in range(count)]
        self.b = [image.bias(i).astype("f8") for i in range(count)]
        self.flags = [int(layer["flags"]) for layer in image.layers]
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

    def narrow(self, value, boundary, scale=1.0):
        """Note how near a decided value came to its boundary."""
        self.margin = min(self.margin, abs(value - boundary) / scale)

    def forward(self, x):
        """Inputs of every layer, and the logits last."""
        activations = [np.asarray(x, "f8")]
        for i, (w, b) in enumerate(zip(self.w, self.b)):
            z = w @ activations[-1] + b
            if i < len(self.w) - 1:
                self.margin = min(self.margin, np.abs(z).min(initial=np.inf))
                z = np.maximum(z, 0)
            activations.append(z)
        return activations

    def probabilities(self, x):
        z = self.forward(x)[-1]
        e = np.exp(z - z.max())
        return e / e.sum()

    def loss(self, x, target):
        z = self.forward(x)[-1]
        return np.log(np.exp(z - z.max()).sum()) + z.max() - z[target]

    def gradients(self, x, target):
        """Dense gradients (dW, db) per layer of the loss, by the chain rule."""
        activations = self.forward(x)
        delta = self.probabilities(x)
        delta[target] -= 1
        result = []
        for i in reversed(range(len(self.w))):
            result.insert(0, (np.outer(delta, activations[i]), delta))
            delta = (self.w[i].T @ delta) * (activations[i] > 0)
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

    def k(self, layer, error):
        n, s = len(self.b[layer]), self.settings
        if self.rule == "static":
            return self.rounded_k(n, s["static_ratio"])
        if self.rule in ("tinyprop", "tinyprop2"):
            self.y_max[layer] = max(self.y_max[layer], error)
            return self.rounded_k(n, self.ratio(layer, error))
        if self.rule == "sampled" and layer < len(self.w) - 1:
            return self.rounded_k(n, s["hidden_ratio"])
        return n

    def select(self, delta, k):
        rows = topk(delta, k)
        size = np.sort(np.abs(delta))[::-1]
        if k < len(size) and size[k - 1] > 0:
            self.narrow(size[k - 1], size[k], size[0])
        return rows

    def update_columns(self, inputs):
        """Inputs whose weights are updated, and how many count as work."""
        if self.rule == "sampled":
            bound = self.settings["input_threshold"] * np.abs(inputs).max(initial=0)
            for value in np.abs(inputs[inputs != 0]):
                self.narrow(value, bound, np.abs(inputs).max(initial=0))
            kept = np.flatnonzero((np.abs(inputs) >= bound) & (inputs != 0))
            return kept, len(kept)
        return np.flatnonzero(inputs), mac_inputs(inputs)

    def skips(self, step):
        """Decide by the rule whether this sample is left out; sets the step's probability."""
        s = self.settings
        if self.rule == "tinyprop2":
            last = len(self.w) - 1
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
        step.forward_macs = sum(
            len(b) * mac_inputs(a) for a, b in zip(activations, self.b, strict=False)
        )
        step.k = [0] * len(self.w)
        step.skipped = self.skips(step)
        if not step.skipped:
            self.backward(step, activations, delta / step.probability)
        step.margin = self.margin
        return step

    def backward(self, step, activations, delta):
        if not self.trained:
            return
        rate, first = self.settings["learning_rate"], self.trained[0]
        for i in reversed(range(first, len(self.w))):
            inputs, rows = activations[i], np.flatnonzero(delta)
            if self.flags[i]:
                step.k[i] = self.k(i, np.abs(delta).sum())
                rows = np.array(self.select(delta, step.k[i]), int)
            delta_before = (self.w[i][rows].T @ delta[rows]) * (inputs > 0)
            delta_before = np.clip(delta_before, -LARGEST_DELTA, LARGEST_DELTA)
            if i > first:
                step.backward_macs += len(rows) * mac_inputs(inputs)
            columns, work = self.update_columns(inputs)
            if self.flags[i] & TRAIN_WEIGHTS:
                step.backward_macs += len(rows) * work
                self.w[i][np.ix_(rows, columns)] -= rate * np.outer(delta[rows], inputs[columns])
            if self.flags[i] & TRAIN_BIAS:
                self.b[i][rows] -= rate * delta[rows]
            step.rows[i], step.columns[i] = list(rows), list(columns)
            delta = delta_before


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
    image.slot_samples[slot] = q
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
    generator, sample = Generator(image), image.slot_samples[slot]
    track_distance(image, int(((sample.astype(int) - q) ** 2).sum()))
    w = min(max(int(image.slot_weights[slot]), 1) + 1, 16)
    image.slot_weights[slot] = w
    draw = generator.next()
    for i, target in enumerate(q):
        up = ((draw + i * 0x9E3779B9) * 0x85EBCA6B % 2**32 >> 24) * w // 256
        sample[i] = int(sample[i]) + (int(target) - int(sample[i]) + up) // w


def track_distance(image, distance):
    """A running mean over about 32 samples, in integers."""
    mean = int(image.state["distance"])
    step = abs(distance - mean) // 32
    image.state["distance"] = mean + (step if distance > mean else -step) if mean else distance


def vote(image, q, probabilities):
    """p exp(-vote d / mean d) of every class, normalised; the mean of d where a class has none."""
    weight, mean = float(image.state["vote"]), max(int(image.state["distance"]), 1)
    distances = [nearest(image, q, cls)[1] for cls in range(image.classes)]
    heard = [d for d in distances if d is not None]
    if not heard or not weight:
        return np.asarray(probabilities)
    distances = [np.mean(heard) if d is None else d for d in distances]
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
