"""Taking the last lesson back: what it changes is copied before it starts."""

from struct import pack_into, unpack_from

from .image import HEADER, MEMORY, STATE, STRUCTURE, TRAINED

COPIED = (STRUCTURE, TRAINED, MEMORY, STATE)
IDENTITY = "%ds" % HEADER["format"][0]  # of the header: what saving changes, and no lesson


class Undo:
    """Copies of what a lesson may change: every section but the frozen one, of the memory its
    tables and one sample. `bytes` is what they take in RAM; `ready` tells whether there is a lesson
    to take back; `structure` is that of the network before it."""

    def __init__(self, sections):
        sizes = [len(sections[kind]) for kind in COPIED]
        memory = sections[MEMORY]
        self._stride = self._samples_at = 0
        if memory:
            self._stride = unpack_from("<I", memory, 12)[0]
            self._samples_at = sizes[2] = unpack_from("<I", memory, 36)[0]
        self._sections = sections
        self._copies = [bytearray(size) for size in sizes]
        self._formats = ["%ds" % size for size in sizes]
        self._sample = bytearray(self._stride)
        self._sample_format = "%ds" % self._stride
        self._sample_at = 0
        self.structure = self._copies[0]
        self.bytes = sum(sizes) + self._stride
        self.ready = False

    def keep(self, slot):
        """Note the present state; slot of the memory is about to change, -1 for none."""
        self.ready = False
        for i in range(len(COPIED)):
            pack_into(self._formats[i], self._copies[i], 0, self._sections[COPIED[i]])
        self._sample_at = 0
        if slot >= 0:
            start = self._samples_at + self._stride * slot
            self._sample[:] = memoryview(self._sections[MEMORY])[start : start + self._stride]
            self._sample_at = start
        self.ready = True

    def take_back(self):
        """Go back to what keep() noted, once; what says which file it belongs to stays. Allocates
        nothing, so nothing can stop it half way."""
        pack_into(IDENTITY, self.structure, 0, self._sections[STRUCTURE])
        for i in range(len(COPIED)):
            pack_into(self._formats[i], self._sections[COPIED[i]], 0, self._copies[i])
        if self._sample_at:
            pack_into(self._sample_format, self._sections[MEMORY], self._sample_at, self._sample)
        self.ready = False
