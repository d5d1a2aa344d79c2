"""Numbers that explode: whatever a network is taught, its weights stay finite, and a step that
diverges is refused with a ValueError."""

from array import array

import numpy as np
import pytest

import images

STEPS = 100_000
CHUNK = 500  # steps between two looks at the weights
LARGEST_INPUT = 1e6  # what input_low and input_high may be at most

SHAPES = {
    "one layer": (8, 4),
    "two layers": (8, 12, 4),
    "three layers": (6, 10, 8, 3),
    "six layers": (4, 5, 5, 5, 5, 5, 3),
}


def noise(rng, inputs, classes):
    """Nothing to learn, in the usual range."""
    return rng.normal(0, 1, (CHUNK, inputs)), rng.integers(0, classes, CHUNK)


def constant(rng, inputs, classes):
    """The same again and again, large."""
    return np.full((CHUNK, inputs), 1000.0), np.zeros(CHUNK, int)


def adversarial(rng, inputs, classes):
    """Extremes with labels that contradict one another, every other sample its opposite."""
    x = rng.choice([-1.0, 0.0, 1.0], (CHUNK, inputs)) * LARGEST_INPUT
    x[1::2] = -x[::2]
    return x, np.arange(CHUNK) % classes


def is_finite(image):
    return all(np.isfinite(np.frombuffer(image.net[k], "f4")).all() for k in (1, 2))


class Trainer:
    """Learns through the engine, and starts anew after a step that diverged."""

    def __init__(self, engine, image):
        self.engine, self.image, self.start = engine, image, image.contents()
        self.scratch = bytearray(engine.scratch_bytes(image.net))
        self.counts = array("I", [0] * (4 + len(image.layers)))
        self.figures = array("f", [0] * 3)
        self.learned = self.diverged = 0

    def learn(self, x, target):
        try:
            self.engine.learn(self.image.net, x, target, self.counts, self.figures, self.scratch)
            self.learned += 1
        except ValueError as error:
            assert "diverged" in str(error)
            assert is_finite(self.image)
            self.diverged += 1
            self.image.restore(self.start)


def train(engine, image, inputs, steps):
    rng, trainer = np.random.default_rng(1), Trainer(engine, image)
    for _ in range(steps // CHUNK):
        samples, targets = inputs(rng, image.inputs, image.classes)
        for x, target in zip(samples.astype("f4"), targets.tolist()):
            trainer.learn(x, target)
        assert is_finite(image)
        assert np.isfinite(trainer.figures).all()
    assert trainer.learned + trainer.diverged == steps
    engine.check(image.seal().net)
    return trainer


@pytest.mark.parametrize("rule", images.RULES)
@pytest.mark.parametrize("inputs", [noise, constant, adversarial], ids=lambda f: f.__name__)
def test_weights_stay_finite(c_engine, inputs, rule):
    """At the highest learning rate there is; 100 000 steps in all on nets of each depth."""
    for seed, shape in enumerate(SHAPES.values()):
        image = images.build(
            shape, rule=images.RULES.index(rule), learning_rate=10, error_threshold=1e6, seed=seed
        )
        train(c_engine, image, inputs, STEPS // len(SHAPES))


def test_divergence_is_reported(c_engine):
    """Six layers and extremes: some steps learn, some are refused, and the net is of use again."""
    image = images.build(SHAPES["six layers"], learning_rate=10)
    trainer = train(c_engine, image, adversarial, 5000)
    assert trainer.learned > 0
    assert trainer.diverged > 0


def test_a_sane_rate_does_not_diverge(c_engine):
    image = images.build(SHAPES["three layers"], learning_rate=0.01)
    assert train(c_engine, image, noise, 5000).diverged == 0
