"""Numbers that explode: whatever a network is taught, its weights stay finite, and a step that
diverges is refused and reported."""

from array import array

import numpy as np
import pytest

import images
import results
from tinyinc_host import report

STEPS = 100_000
CHUNK = 200  # steps between two looks at the weights
BACKWARD = 3  # place of the backward multiply-accumulates in counts
LARGEST_INPUT = 1e6  # what input_low and input_high may be at most

NETS = [  # shape, and a learning rate far too high for it; 10 is the highest that an image may have
    ((8, 4), 10),
    ((8, 12, 4), 1),
    ((6, 10, 8, 3), 10),
    ((4, 5, 5, 5, 5, 5, 3), 1),
]


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
    """Learns through the engine, and starts anew after a step that diverged, or when every unit is
    dead and nothing is left to learn with."""

    def __init__(self, engine, image):
        self.engine, self.image, self.start = engine, image, image.contents()
        self.scratch = bytearray(engine.scratch_bytes(image.net))
        self.counts = array("I", [0] * (4 + len(image.layers)))
        self.figures = array("f", [0] * 3)
        self.learned = self.diverged = 0

    def learn(self, x, target):
        if self.engine.learn(self.image.net, x, target, self.counts, self.figures, self.scratch):
            self.learned += 1
        else:
            assert is_finite(self.image)
            self.diverged += 1
            self.image.restore(self.start)

    def revive(self):
        if self.counts[BACKWARD] == 0:
            self.image.restore(self.start)


def train(engine, image, inputs, steps):
    rng, trainer = np.random.default_rng(1), Trainer(engine, image)
    for _ in range(steps // CHUNK):
        samples, targets = inputs(rng, image.inputs, image.classes)
        for x, target in zip(samples.astype("f4"), targets.tolist()):
            trainer.learn(x, target)
        assert is_finite(image)
        assert np.isfinite(trainer.figures).all()
        trainer.revive()
    assert trainer.learned + trainer.diverged == steps
    engine.check(image.seal().net)
    return trainer


@pytest.fixture(scope="module")
def tally():
    """Steps learned and refused in all tests here, for the record."""
    steps = {"learned": 0, "refused": 0}
    yield steps
    results.record(
        *[
            report.Result(f"learning rates too high, weights finite: steps {name}", count, "steps")
            for name, count in steps.items()
        ]
    )


@pytest.mark.parametrize("rule", images.RULES)
@pytest.mark.parametrize("inputs", [noise, constant, adversarial], ids=lambda f: f.__name__)
def test_weights_stay_finite(c_engine, inputs, rule, tally):
    """100 000 steps in all, on nets of each depth."""
    for seed, (shape, rate) in enumerate(NETS):
        image = images.build(
            shape, rule=images.RULES.index(rule), learning_rate=rate, seed=seed, generator=seed + 1
        )
        trainer = train(c_engine, image, inputs, STEPS // len(NETS))
        tally["learned"] += trainer.learned
        tally["refused"] += trainer.diverged


@pytest.mark.parametrize("rule", images.RULES)
def test_divergence_is_reported(c_engine, rule):
    """Extremes: some steps are learned, some refused, and the network is of use again."""
    shape, rate = NETS[1]
    image = images.build(shape, rule=images.RULES.index(rule), learning_rate=rate)
    trainer = train(c_engine, image, adversarial, 5000)
    assert trainer.learned > 0
    assert trainer.diverged > 0


@pytest.mark.parametrize("rule", images.RULES)
def test_a_sane_rate_does_not_diverge(c_engine, rule):
    image = images.build((6, 10, 8, 3), rule=images.RULES.index(rule), learning_rate=0.01)
    assert train(c_engine, image, noise, 5000).diverged == 0
