"""Labels: the names of the classes, as the user writes them and as the image stores them.

An image keeps a slot of fixed size per class: UTF-8 padded with NULs, or an int32. Which of the two
is settled by the first label.
"""

from struct import pack, unpack_from

TEXT, INTEGER = 0, 1


class Labels:
    """The classes in use: label by class, class by label."""

    def __init__(self, state, classes):
        self._state = state
        self._slot_bytes = state[2]
        self._offset = unpack_from("<I", state, 84)[0]
        self.names = []
        self.index = {}
        for cls in range(classes):
            label = self._decode(cls)
            if label in self.index:
                raise ValueError("label %r stands for two classes" % (label,))
            self.names.append(label)
            self.index[label] = cls

    def _decode(self, cls):
        start = self._offset + cls * self._slot_bytes
        slot = bytes(self._state[start : start + self._slot_bytes])
        if self._state[1] == INTEGER:
            return unpack_from("<i", slot)[0]
        try:
            return str(slot.rstrip(b"\0"), "utf-8")
        except UnicodeError:
            raise ValueError("label of class %d is not UTF-8" % cls)

    def encode(self, label):
        """The slot for a new label; ValueError where it fits none."""
        integer = hasattr(label, "__index__") or isinstance(label, int)
        if not integer and not isinstance(label, str):
            raise ValueError("label %r is neither a string nor an integer" % (label,))
        if self.names and integer != (self._state[1] == INTEGER):
            kind = "integers" if self._state[1] == INTEGER else "strings"
            raise ValueError("label %r: this network's labels are %s" % (label, kind))
        if integer:
            if not -0x80000000 <= label < 0x80000000:
                raise ValueError("label %d does not fit 32 bits" % label)
            slot = pack("<i", label)
        else:
            slot = label.encode()
            if not slot or b"\0" in slot or len(slot) > self._slot_bytes:
                raise ValueError(
                    "label %r takes %d bytes, expected 1 to %d, none of them NUL"
                    % (label, len(slot), self._slot_bytes)
                )
        return slot + bytes(self._slot_bytes - len(slot))

    def add(self, label, slot):
        """Make an encoded label the name of the next class."""
        cls = len(self.names)
        if not isinstance(label, str):
            label = int(label)
        if cls == 0:
            self._state[1] = TEXT if isinstance(label, str) else INTEGER
        start = self._offset + cls * self._slot_bytes
        self._state[start : start + self._slot_bytes] = slot
        self.names.append(label)
        self.index[label] = cls
        return cls

    def drop_last(self):
        """Take back the last add()."""
        del self.index[self.names.pop()]
