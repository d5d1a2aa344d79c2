"""What one lesson did: loss, what was skipped, and the multiply-accumulates actually spent."""

from array import array

# Fields of the engine's report (tinyinc.h)
SKIPPED, PREDICTED, FORWARD, BACKWARD, K = 0, 1, 2, 3, 4
LOSS, ERROR, PROBABILITY = 0, 1, 2


class Step:
    """Report of one learn(). The network reuses one; copy() keeps it.

    Attributes of the sample itself: loss (cross-entropy before the update), error (sum of the
    output's |gradient|, 0 to 2), skipped (left untrained by the rule), predicted (label before the
    update), k (units trained per layer). Of the whole lesson, the replayed samples included:
    forward_macs, backward_macs, search_macs (nearest exemplar), macs (all of them), replayed
    (samples), and ratio, its backward MACs over those of one dense backward pass.
    """

    def __init__(self, net):
        self._net = net
        layers = net.layer_count
        self.counts = array("I", bytes(4 * (K + layers)))
        self.figures = array("f", bytes(12))
        self.replay_counts = array("I", bytes(4 * (K + layers)))
        self.replay_figures = array("f", bytes(12))
        self.clear()

    def clear(self):
        """Forget the replay of the lesson before."""
        self.replayed = self.replay_forward = self.replay_backward = self.search_macs = 0

    def add_replay(self):
        """Count the step that the engine has just reported in replay_counts."""
        counts = self.replay_counts
        self.replayed += 1
        self.replay_forward += counts[FORWARD]
        self.replay_backward += counts[BACKWARD]

    @property
    def loss(self):
        return self.figures[LOSS]

    @property
    def error(self):
        return self.figures[ERROR]

    @property
    def skipped(self):
        return self.counts[SKIPPED] == 1

    @property
    def predicted(self):
        return self._net.labels[self.counts[PREDICTED]]

    @property
    def k(self):
        return tuple(self.counts[K:])

    @property
    def forward_macs(self):
        return self.counts[FORWARD] + self.replay_forward

    @property
    def backward_macs(self):
        return self.counts[BACKWARD] + self.replay_backward

    @property
    def macs(self):
        return self.forward_macs + self.backward_macs + self.search_macs

    @property
    def ratio(self):
        return self.backward_macs / self._net.dense_backward_macs

    def copy(self):
        """A report of its own, which later lessons leave as it is."""
        other = Step(self._net)
        other.counts[:] = self.counts
        other.figures[:] = self.figures
        other.replayed = self.replayed
        other.replay_forward = self.replay_forward
        other.replay_backward = self.replay_backward
        other.search_macs = self.search_macs
        return other

    def __repr__(self):
        return "<step: loss %.3f, %s, %d MACs, backward ratio %.3f>" % (
            self.loss,
            "skipped" if self.skipped else "trained",
            self.macs,
            self.ratio,
        )
