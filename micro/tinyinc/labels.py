"""Labels: the names of the classes, as the user writes them and as the image stores them.

An image keeps a slot of fixed size per class: UTF-8 padded with NULs, or an int32. Which of the two
is settled by the first label.
"""

from struct import pack, unpack_from

from . import image

TEXT, INTEGER = 0, 1
MOST_SHOWN = 40


def shown(label):
    """A label for a message, cut where it is long."""
    if isinstance(label, str) and len(label) > MOST_SHOWN:
        return repr(label[:MOST_SHOWN]) + "..."
    return repr(label)


class Labels:
    """The classes in use: label by class, class by label."""

    def __init__(self, state, classes):
        self.state = state
        self._slot_bytes = state[2]
        self._offset = image.get(state, image.STATE_FIELDS["labels_offset"])
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
        slot = bytes(self.state[start : start + self._slot_bytes])
        if self.state[1] == INTEGER:
            return unpack_from("<i", slot)[0]
        try:
            return str(slot.rstrip(b"\0"), "utf-8")
        except UnicodeError:
            raise ValueError("label of class %d is not UTF-8" % cls)

    def find(self, label):
        """Class of a label, None for an unknown one."""
        try:
            return self.index.get(label)
        except TypeError:  # no hash: no label
            return None

    def encode(self, label):
        """A new label as it is kept, and its slot; ValueError where it fits none."""
        integer = hasattr(label, "__index__") or isinstance(label, int)
        if not integer and not isinstance(label, str):
            raise ValueError("label %s is neither a string nor an integer" % shown(label))
        if self.names and integer != (self.state[1] == INTEGER):
            kind = "integers" if self.state[1] == INTEGER else "strings"
            raise ValueError("label %s: this network's labels are %s" % (shown(label), kind))
        if integer:
            label = int(label)
            if not -0x80000000 <= label < 0x80000000:
                raise ValueError("label is an integer that does not fit 32 bits")
            slot = pack("<i", label)
        else:
            slot = label.encode()
            if not slot or b"\0" in slot or len(slot) > self._slot_bytes:
                raise ValueError(
                    "label %s takes %d bytes, expected 1 to %d, none of them NUL"
                    % (shown(label), len(slot), self._slot_bytes)
                )
        return label, slot + bytes(self._slot_bytes - len(slot))

    def add(self, label, slot):
        """Make an encoded label the name of the next class. What fails is taken back by cut()."""
        cls = len(self.names)
        self.names.append(label)
        self.index[label] = cls
        if cls == 0:
            self.state[1] = TEXT if isinstance(label, str) else INTEGER
        self._put(cls, slot)

    def cut(self, classes):
        """Keep only the first `classes` labels."""
        while len(self.names) > classes:
            self.index.pop(self.names.pop(), None)
            self._put(len(self.names), None)

    def _put(self, cls, slot):
        """Fill the slot of a class, with 0 for None; byte by byte, which allocates nothing."""
        start = self._offset + cls * self._slot_bytes
        for i in range(self._slot_bytes):
            self.state[start + i] = slot[i] if slot else 0
