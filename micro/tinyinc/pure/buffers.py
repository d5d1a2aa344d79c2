"""Arguments: what type a buffer is of, on Pythons that do not tell; and whether it will do."""

from array import array

from . import faults
from .faults import fail

NONE = 0xFFFFFFFF


def number(value):
    """An argument as an index or a count; as for the C core, negative stands for none."""
    return value if 0 <= value <= 0x3FFFFFFF else NONE


def flat(buffer):
    """A memoryview with one axis; on CPython also of several axes, and of formats like '<f'."""
    view = memoryview(buffer)
    if hasattr(view, "cast"):
        view = view.cast("B").cast(view.format[-1])
    return view


def typecode(buffer):
    """The letter of the array module for a buffer's items, or '?'. MicroPython's memoryview does
    not tell: there, it stands for any signedness that its size allows."""
    try:
        view = memoryview(buffer)
    except TypeError:
        return "?"
    if hasattr(view, "format"):
        return view.format[-1]
    if isinstance(buffer, (bytes, bytearray)):
        return "B"
    if isinstance(buffer, array):
        return repr(buffer[:0])[7]  # array('f')
    if len(view) == 0:
        return "?"
    size = len(bytes(view[:1]))
    if isinstance(view[0], float):
        return "f" if size == 4 else "d"
    return {1: "B", 2: "H", 4: "I"}.get(size, "?")


def need_array(argument, buffer, code, count):
    """Refuse an argument (1 is the first) that is not at least `count` values of a type."""
    if typecode(buffer) != code:
        fail(faults.ARGUMENT_TYPE, argument, 0, code)
    if len(buffer) < count:
        fail(faults.ARGUMENT, argument, len(buffer), count)
    return buffer
