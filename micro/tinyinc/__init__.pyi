"""Types of the public API. Shapes, units and errors are in the docstrings of the package itself."""

from array import array
from collections.abc import Buffer, Iterable, Iterator, Sequence
from typing import Literal, Self, TypedDict, Unpack

__version__: str

Sample = Buffer | Sequence[float]
Label = str | int
Rule = Literal["full", "static", "tinyprop", "tinyprop2", "sampled"]

class Settings(TypedDict, total=False):
    rule: Rule
    learning_rate: float
    replay: int
    vote: float
    static_ratio: float
    s_min: float
    s_max: float
    zeta: float
    d_min: float
    d_max: float
    beta: float
    d_threshold: float
    error_threshold: float
    hidden_ratio: float
    input_threshold: float

class Step:
    replayed: int
    search_macs: int
    @property
    def loss(self) -> float: ...
    @property
    def error(self) -> float: ...
    @property
    def skipped(self) -> bool: ...
    @property
    def predicted(self) -> Label: ...
    @property
    def k(self) -> tuple[int, ...]: ...
    @property
    def forward_macs(self) -> int: ...
    @property
    def backward_macs(self) -> int: ...
    @property
    def macs(self) -> int: ...
    @property
    def ratio(self) -> float: ...
    def copy(self) -> Self: ...

class Memory:
    capacity: int
    count: int
    slots_of: list[int]
    def add(self, x: Sample, label: Label, weight: int = 1) -> None: ...
    def samples(self) -> Iterator[tuple[array[float], Label]]: ...

class Net:
    inputs: int
    labels: list[Label]
    layer_count: int
    class_capacity: int
    memory: Memory
    step: Step
    path: str | None
    scratch_bytes: int
    dense_forward_macs: int
    dense_backward_macs: int
    @property
    def image_bytes(self) -> int: ...
    def predict(self, x: Sample) -> Label: ...
    def probabilities(self, x: Sample) -> array[float]: ...
    def evaluate(self, samples: Iterable[tuple[Sample, Label]]) -> float: ...
    def learn(self, x: Sample, label: Label) -> Step: ...
    def configure(self, **settings: Unpack[Settings]) -> None: ...
    def setting(self, name: str) -> Rule | float | int: ...
    def grow(self, layer: int, units: int = 1) -> None: ...
    def shrink(self, layer: int, units: int = 1) -> None: ...
    def save(self, path: str | None = None) -> None: ...

def load(path: str) -> Net: ...
def create(
    *,
    inputs: int,
    classes: int = 16,
    hidden: Sequence[int] = (32,),
    range: tuple[float, float] | None = None,
    memory: int = 64,
    label_bytes: int = 16,
    seed: int = 1,
    **settings: Unpack[Settings],
) -> Net: ...
def learn(x: Sample, label: Label) -> Step: ...
def predict(x: Sample) -> Label: ...
