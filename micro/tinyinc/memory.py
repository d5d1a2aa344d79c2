"""The distilled memory: a few quantised samples (exemplars) of every class, within fixed slots.

Every class has the same share of the slots. While a class is below its share, a new sample becomes
an exemplar of its own; after that, samples that were worth training move the nearest exemplar of
their class (online k-means, MacQueen 1967). A new class takes its share from the largest ones.
"""

from array import array
from struct import unpack_from

from .engine import engine
from .image import HEADER, MEMORY, STRUCTURE, get


class Memory:
    """Exemplars of a network's classes. `count` slots of `capacity` are in use."""

    def __init__(self, net):
        self._net = net
        self._sections = net.sections
        self._bytes = net.sections[MEMORY]
        self._q = bytearray(net.inputs)
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
                self.slots_of[self._class_of(slot)] += 1

    def deinit(self):
        """Give up the buffers, with the network."""
        self._sections = self._bytes = self._q = ()

    def keep(self, x, cls, trained):
        """Keep a normalised sample of a class: as an exemplar while the class is below its share,
        else, if it was worth training, by moving the nearest one. No-op without memory.

        Returns the multiply-accumulates of the search for the nearest exemplar.
        """
        share = self.capacity // len(self._net.labels)
        slots = self.slots_of[cls]
        if share == 0 or (slots >= share and not trained):
            return 0
        engine.quantise(self._sections, x, self._q)
        if slots < share:
            self._store(self._free_slot(), cls)
        else:
            slot = engine.nearest(self._sections, self._q, cls, self._distance)
            engine.move(self._sections, slot, self._q)
        return slots * self._net.inputs

    def vote(self, x, probabilities):
        """Let the exemplars correct the network's probabilities for a normalised sample, in place:
        p exp(-vote d / mean d), d the squared distance to the class's nearest. Returns the class.
        """
        engine.quantise(self._sections, x, self._q)
        return engine.vote(self._sections, self._q, probabilities)

    def add(self, x, label, weight=1):
        """Store a raw sample as an exemplar of a known label, standing for `weight` samples (1 to
        16: the higher, the slower it follows new ones). ValueError when every slot is taken."""
        with self._net.guard:
            if self.count == self.capacity:
                raise ValueError("all %d slots of the memory are in use" % self.capacity)
            if not 1 <= weight <= 16:
                raise ValueError("weight is %s, expected 1 to 16" % weight)
            slot, cls = self.count, self._net.class_of(label)
            engine.quantise(self._sections, self._net.normalise(x), self._q)
            self._store(slot, cls)
            self._bytes[self._weights_at + 2 * slot] = weight

    def samples(self):
        """All exemplars in turn: (normalised array('f'), label)."""
        q8 = self._net.format == "q8"
        for slot in range(self.count):
            x = array("f", bytes(4 * self._net.inputs))
            with self._net.guard:
                recalled = array("b", bytes(self._net.inputs)) if q8 else x
                label = self._net.label_of(engine.recall(self._sections, slot, recalled))
                if q8:
                    step = get(self._sections[STRUCTURE], HEADER["input_step"])
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
