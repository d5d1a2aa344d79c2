"""What one lesson did: loss, what was skipped, and the multiply-accumulates actually spent."""

from array import array

# Fields of the engine's report (tinyinc.h)
SKIPPED, PREDICTED, FORWARD, BACKWARD, K = 0, 1, 2, 3, 4
LOSS, ERROR, PROBABILITY = 0, 1, 2
NO_CLASS = 0xFFFFFFFF
# Fields of what the lesson as a whole came to
REPLAYED, REPLAY_FORWARD, REPLAY_BACKWARD, SEARCH, DIVERGED = 0, 1, 2, 3, 4
INFINITY = float("inf")


class Step:
    """Report of one learn(). The network reuses one; copy() keeps it.

    Attributes of the sample itself: loss (cross-entropy before the update), error (sum of the
    output's |gradient|, 0 to 2), skipped (left untrained by the rule), predicted (label before the
    update), k (units trained per layer). Of the whole lesson, the replayed samples included:
    forward_macs, backward_macs, search_macs (nearest exemplar), macs (all of them), replayed
    (samples), and ratio, its backward MACs over those of one dense backward pass.

    diverged: a step of the lesson would have made weights infinite, and was left out with all that
    should have followed. When it was the sample's own: loss and error infinite, predicted None.
    """

    def __init__(self, net):
        self._net = net
        layers = net.layer_count
        self.counts = array("I", bytes(4 * (K + layers)))
        self.figures = array("f", bytes(12))
        self.replay_counts = array("I", bytes(4 * (K + layers)))
        self.replay_figures = array("f", bytes(12))
        # a list: MicroPython takes long to set attributes where a class has properties
        self.totals = [0] * 5
        self.clear()

    def finish(self, replayed, forward, backward, search):
        """Note what a lesson came to beside the sample's own step."""
        totals = self.totals
        totals[REPLAYED] = replayed
        totals[REPLAY_FORWARD] = forward
        totals[REPLAY_BACKWARD] = backward
        totals[SEARCH] = search
        totals[DIVERGED] = 0

    def clear(self):
        """There was no step on a sample of its own."""
        self.finish(0, 0, 0, 0)
        for i in range(len(self.counts)):
            self.counts[i] = 0
        self.counts[SKIPPED], self.counts[PREDICTED] = 1, NO_CLASS
        self.figures[LOSS] = self.figures[ERROR] = 0.0

    def refuse(self):
        """The engine has left the sample's own step out: what it reported is of another one."""
        self.clear()
        self.figures[LOSS] = self.figures[ERROR] = INFINITY

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
        cls = self.counts[PREDICTED]
        return self._net.labels[cls] if cls < len(self._net.labels) else None

    @property
    def k(self):
        return tuple(self.counts[K:])

    @property
    def forward_macs(self):
        return self.counts[FORWARD] + self.totals[REPLAY_FORWARD]

    @property
    def backward_macs(self):
        return self.counts[BACKWARD] + self.totals[REPLAY_BACKWARD]

    @property
    def search_macs(self):
        return self.totals[SEARCH]

    @property
    def macs(self):
        return self.forward_macs + self.backward_macs + self.search_macs

    @property
    def replayed(self):
        return self.totals[REPLAYED]

    @property
    def diverged(self):
        return self.totals[DIVERGED] == 1

    @property
    def ratio(self):
        dense = self._net.dense_backward_macs  # 0 before the first class, or where all is frozen
        return self.backward_macs / dense if dense else 0.0

    def copy(self):
        """A report of its own, which later lessons leave as it is."""
        other = Step(self._net)
        other.counts[:] = self.counts
        other.figures[:] = self.figures
        other.totals[:] = self.totals
        return other

    def __repr__(self):
        return "<step: loss %.3f, %s, %d MACs, backward ratio %.3f>" % (
            self.loss,
            "diverged" if self.diverged else "skipped" if self.skipped else "trained",
            self.macs,
            self.ratio,
        )
