"""Calls an engine on an image with numpy arrays in and out, and draws random networks."""

from array import array
from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st

import images


def floats(values):
    return array("f", np.asarray(values, "f4").tobytes())


def bytes_of(q):
    return np.asarray(q, "u1").tobytes()


def is_c(engine):
    return engine.__name__ == "_tinyinc"


@dataclass
class Report:
    """What learn() reported."""

    skipped: int
    predicted: int
    forward_macs: int
    backward_macs: int
    k: list
    loss: float
    error: float
    probability: float


class Driver:
    def __init__(self, engine, image):
        self.engine, self.image = engine, image
        self.scratch = bytearray(engine.scratch_bytes(image.net))

    def extract(self, x):
        features = floats(np.zeros(self.image.features))
        macs = self.engine.extract(self.image.net, floats(x), features, self.scratch)
        return np.array(features), macs

    def infer(self, x):
        probabilities = floats(np.zeros(self.image.classes))
        cls = self.engine.infer(self.image.net, floats(x), probabilities, self.scratch)
        return cls, np.array(probabilities)

    def learn(self, x, target):
        counts = array("I", [0] * (4 + len(self.image.layers)))
        figures = floats(np.zeros(3))
        net = self.image.net
        if not self.engine.learn(net, floats(x), target, counts, figures, self.scratch):
            return None  # the step diverged
        return Report(*counts[:4], list(counts[4:]), *figures)

    def recall(self, slot):
        x = floats(np.zeros(self.image.features))
        return self.engine.recall(self.image.net, slot, x), np.array(x)

    def nearest(self, q, cls=-1):
        distance = array("I", [0])
        slot = self.engine.nearest(self.image.net, bytes_of(q), cls, distance)
        return slot, distance[0] if slot >= 0 else None

    def vote(self, q, probabilities):
        voted = floats(probabilities)
        return self.engine.vote(self.image.net, bytes_of(q), voted), np.array(voted)

    def quantise(self, x):
        q = bytearray(self.image.features)
        self.engine.quantise(self.image.net, floats(x), q)
        return np.array(q)

    def normalise(self, raw):
        x = floats(np.zeros(self.image.inputs))
        self.engine.normalise(self.image.net, raw, x)
        return np.array(x)


def sample(rng, n, zeros=0.0):
    """A normalised sample of n values in single precision, a share of them exactly 0."""
    return np.where(rng.random(n) < zeros, 0, rng.normal(0, 1, n)).astype("f4")


@st.composite
def networks(draw, layers=3, units=40, **build):
    """(image, samples, targets): a random dense network in part of its capacity."""
    depth = draw(st.integers(1, layers))
    active = [draw(st.integers(1, units)) for _ in range(depth + 1)]
    spare = [0] + [draw(st.sampled_from([0, 0, 1, 5])) for _ in range(depth)]
    seed = draw(st.integers(0, 2**32 - 1))
    zeros = draw(st.sampled_from([0.0, 0.3, 0.9, 1.0]))
    image = images.build(
        [a + s for a, s in zip(active, spare)], active[1:], seed=seed, generator=seed | 1, **build
    )
    rng = np.random.default_rng(seed)
    samples = [sample(rng, active[0], zeros) for _ in range(3)]
    return image, samples, list(rng.integers(0, active[-1], 3))
