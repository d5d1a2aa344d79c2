"""Taking the last lesson back: what it changes is copied before it starts."""

from struct import pack_into, unpack_from

from .image import MEMORY, STATE, STRUCTURE, TRAINED

COPIED = (STRUCTURE, TRAINED, STATE)


class Undo:
    """Copies of what a lesson may change: structure, trained tensors, labels and settings, and of
    the memory its count and one slot. `bytes` is what they take in RAM; `ready` tells whether there
    is a lesson to take back."""

    def __init__(self, sections):
        self._sections = sections
        self._copies = [bytearray(sections[kind]) for kind in COPIED]
        self._formats = ["%ds" % len(copy) for copy in self._copies]
        self._slot = -1
        self._sample = b""
        if sections[MEMORY]:
            self._memory = memoryview(sections[MEMORY])
            self._stride = unpack_from("<I", self._memory, 12)[0]
            self._classes_at, self._weights_at, self._samples_at = unpack_from(
                "<3I", self._memory, 28
            )
            self._sample = bytearray(self._stride)
        self.bytes = sum([len(copy) for copy in self._copies]) + len(self._sample)
        self.ready = False

    def keep(self, slot):
        """Note the present state; slot of the memory is about to change, -1 for none."""
        self.ready = False
        for copy, format, kind in zip(self._copies, self._formats, COPIED):
            pack_into(format, copy, 0, self._sections[kind])
        self._slot = slot
        if slot >= 0:
            self._count = unpack_from("<I", self._memory, 4)[0]
            self._class = unpack_from("<H", self._memory, self._classes_at + 2 * slot)[0]
            self._weight = unpack_from("<H", self._memory, self._weights_at + 2 * slot)[0]
            at = self._samples_at + self._stride * slot
            self._sample[:] = self._memory[at : at + self._stride]
        self.ready = True

    def take_back(self):
        """Go back to what keep() noted, once."""
        self.ready = False
        for copy, format, kind in zip(self._copies, self._formats, COPIED):
            pack_into(format, self._sections[kind], 0, copy)
        slot = self._slot
        if slot >= 0:
            pack_into("<I", self._memory, 4, self._count)
            pack_into("<H", self._memory, self._classes_at + 2 * slot, self._class)
            pack_into("<H", self._memory, self._weights_at + 2 * slot, self._weight)
            at = self._samples_at + self._stride * slot
            self._memory[at : at + self._stride] = self._sample
