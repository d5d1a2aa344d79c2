"""What every method of the table is: something that takes lessons, then predicts, and tells what
that took."""

from __future__ import annotations

import numpy as np

from .protocols import Part


class Method:
    """MACs are those of the lessons, without what came before."""

    learn_macs = 0  # without the search
    search_macs = 0  # for exemplars near a sample
    backward_macs: int | None = None  # None: nothing is propagated back
    predict_macs: int  # of one prediction
    vote_macs = 0  # of these, what the vote of the exemplars takes
    memory_bytes: int  # exemplars, means or what else is remembered
    total_bytes: int  # with the network
    ram_bytes: int  # and with what the work takes
    size = ""  # inputs, then units in use of every layer that has weights
    diverged = 0  # steps that were refused

    def begin(self, before: Part) -> None:
        """Learn what came before the lessons."""
        raise NotImplementedError

    def learn(self, sample: np.ndarray, label: int) -> None:
        """One lesson: a raw sample and its class."""
        raise NotImplementedError

    def end(self) -> None:
        """After the last lesson."""

    def predict(self, samples: np.ndarray) -> np.ndarray:
        """Classes of raw samples."""
        raise NotImplementedError

    def predict_alone(self, samples: np.ndarray) -> np.ndarray | None:
        """The same by the network alone; None where there is no vote."""
        return None
