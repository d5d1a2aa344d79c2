"""Types of the public API. Shapes, units and errors are in the docstrings of the package itself."""

from array import array
from collections.abc import Buffer, Iterable, Sequence
from typing import Self

Sample = Buffer | Sequence[float]
Label = str | int

class Step:
    loss: float
    skipped: bool
    predicted: Label
    ratio: float
    macs: int
    forward_macs: int
    backward_macs: int
    k: tuple[int, ...]
    def copy(self) -> Self: ...

class Net:
    inputs: int
    labels: list[Label]
    replay: int
    rule: str
    learning_rate: float
    image_bytes: int
    scratch_bytes: int
    def predict(self, x: Sample) -> Label: ...
    def probabilities(self, x: Sample) -> array[float]: ...
    def learn(self, x: Sample, label: Label) -> Step: ...
    def evaluate(self, samples: Iterable[tuple[Sample, Label]]) -> float: ...
    def grow(self, layer: int, units: int = 1) -> None: ...
    def shrink(self, layer: int, units: int = 1) -> None: ...
    def save(self, path: str | None = None) -> None: ...

def load(path: str) -> Net: ...
def create(
    *,
    inputs: int,
    classes: int = 16,
    hidden: Sequence[int] = (32,),
    range: tuple[float, float] = (-1.0, 1.0),
    memory: int = 64,
    labels: type = str,
    label_bytes: int = 16,
    rule: str = "sampled",
    learning_rate: float = 0.05,
    replay: int = 1,
    seed: int = 1,
) -> Net: ...
def learn(x: Sample, label: Label) -> Step: ...
def predict(x: Sample) -> Label: ...
