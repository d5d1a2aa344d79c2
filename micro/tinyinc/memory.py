"""The distilled memory: a few quantised samples (exemplars) of every class, within fixed slots.

Every class has the same share of the slots. While a class is below its share, a new sample becomes
an exemplar of its own; after that, each moves the nearest exemplar of its class (online k-means,
MacQueen 1967). A new class takes its share from the largest ones. With a front end, exemplars are
features: what it gives.
"""

from array import array
from struct import unpack_from

from .engine import engine
from .image import MEMORY, STRUCTURE, feature_step


class Memory:
    """Exemplars of a network's classes. `count` slots of `capacity` are in use."""

    def __init__(self, net):
        self._net = net
        self._sections = net.sections
        self._bytes = net.sections[MEMORY]
        self._q = bytearray(net.features)
        self._distance = array("I", [0])
        self.slots_of = [0] * net.class_capacity
        self.capacity = self.count = 0
        if self._bytes:
            self.capacity = unpack_from("<I", self._bytes, 0)[0]
            self._classes_at, self._weights_at = unpack_from("<II", self._bytes, 28)
            self.recount()

    def recount(self):
        """Count the slots anew, from the section itself. Allocates nothing."""
        for cls in range(len(self.slots_of)):
            self.slots_of[cls] = 0
        if self._bytes:
            self.count = self._bytes[4] | self._bytes[5] << 8
            for slot in range(self.count):
                cls = self._class_of(slot)
                if cls < len(self.slots_of):  # else somebody has written there
                    self.slots_of[cls] += 1

    def deinit(self):
        """Give up the buffers, with the network."""
        self._sections = self._bytes = self._q = ()

    def keep(self, x, cls):
        """Keep the features of a sample of a class: as an exemplar while the class is below its
        share, else by moving the nearest one towards it. No-op without memory.

        Returns the multiply-accumulates of the search for the nearest exemplar.
        """
        slots = self.slots_of[cls]
        if slots < self.capacity // len(self._net.labels):
            engine.quantise(self._sections, x, self._q)
            self._store(self._free_slot(), cls)
        elif slots:
            engine.follow(self._sections, x, cls, self._q)
        return slots * self._net.features

    def slot_to_change(self, x, cls):
        """The slot that keep() is going to write for a sample of a class, None for a new one; -1
        for no slot."""
        new = cls is None
        slots = 0 if new else self.slots_of[cls]
        if slots < self.capacity // (len(self._net.labels) + new):
            return self._free_slot()
        if slots == 0:
            return -1
        engine.quantise(self._sections, x, self._q)
        return engine.nearest(self._sections, self._q, cls, self._distance)

    def is_new(self):
        """Whether the sample that voted last lies further from every exemplar than known samples
        do, by the setting novelty."""
        return self.count > 0 and engine.is_new(self._sections, self._q)

    def vote(self, x, probabilities):
        """Let the exemplars correct the network's probabilities for a sample's features, in place:
        p exp(-vote share d / mean d), d the squared distance to the class's nearest, share the
        exemplars over 16 per class, at most 1. Returns the class.
        """
        engine.quantise(self._sections, x, self._q)
        return engine.vote(self._sections, self._q, probabilities)

    def add(self, x, label, weight=1):
        """Store a raw sample as an exemplar of a known label, standing for `weight` samples (1 to
        64: the higher, the slower it follows new ones). ValueError when every slot is taken."""
        with self._net.guard:
            if self.count == self.capacity:
                raise ValueError("all %d slots of the memory are in use" % self.capacity)
            if weight not in range(1, 65):
                raise ValueError("weight is %r, expected 1 to 64" % (weight,))
            slot, cls = self.count, self._net.class_of(label)
            engine.quantise(self._sections, self._net.take(x), self._q)
            self._store(slot, cls)
            self._bytes[self._weights_at + 2 * slot] = weight

    def samples(self):
        """All exemplars in turn: (features as array('f'), label); without a front end, the
        normalised samples."""
        net = self._net
        for slot in range(self.count):
            x = array("f", bytes(4 * net.features))
            with net.guard:
                recalled = array("b", bytes(net.features)) if net.format == "q8" else x
                label = net.label_of(engine.recall(self._sections, slot, recalled))
            if recalled is not x:
                step = feature_step(net.sections[STRUCTURE])
                x = array("f", [step * value for value in recalled])
            yield x, label

    def _class_of(self, slot):
        at = self._classes_at + 2 * slot
        return self._bytes[at] | self._bytes[at + 1] << 8

    def _store(self, slot, cls):
        """The quantised sample into a slot: the first free one, or instead of another's."""
        taken_from = self._class_of(slot) if slot < self.count else None
        engine.remember(self._sections, slot, self._q, cls)
        if taken_from is None:
            self.count += 1
        else:
            self.slots_of[taken_from] -= 1
        self.slots_of[cls] += 1

    def _free_slot(self):
        """The next free slot, or in the largest class the one that stands for fewest samples."""
        if self.count < self.capacity:
            return self.count
        largest = 0
        for cls in range(len(self.slots_of)):
            if self.slots_of[cls] > self.slots_of[largest]:
                largest = cls
        best = -1
        least = 0
        for slot in range(self.count):
            weight = self._bytes[self._weights_at + 2 * slot]
            if self._class_of(slot) == largest and (best < 0 or weight < least):
                best, least = slot, weight
        return best
