"""Files: images are read and checked, checkpoints are written so that a power cut loses nothing.

The file that was deployed is never written. Beside it stand two slots, path + ".0/checkpoint" and
path + ".1/checkpoint", written in turn: while one is being written, the other holds the state
before. Each is an image that carries the deployed file's lineage and a sequence number: load()
takes the newest that is whole, and ignores those of another lineage, which a freshly deployed file
has left behind.

A slot is whole when the CRCs of its structure and of every section match; no order of writes is
relied on, since caches and cards keep none. So it is written once, front to back: littlefs copies a
file from its first changed byte on, and a header that came last would cost all of it twice.

FAT has no copies. There a slot gets its full size at the first save and a directory to itself:
later saves change the slot's own sectors and its directory entry, and no structure of the volume.
"""

import os
from errno import EEXIST, ENOENT

from . import image
from .engine import engine
from .image import HEADER, HEADER_BYTES, SECTION_BYTES

MOST_STRUCTURE_BYTES = HEADER_BYTES + 16 * SECTION_BYTES + 32 * image.LAYER_BYTES


def new_lineage():
    """16 random bytes that a deployed file and its checkpoints share."""
    return os.urandom(16)


def load(path, frozen=None):
    """Newest whole state of the network at `path`: (sections, extensions). frozen: a buffer with
    the frozen section or a whole image of this network, to be used in place.

    OSError: no such file; ValueError: no image, damaged, or of another version.
    """
    _finish_replacing(path)
    lineage, sequence = _identity(path)
    found = [(sequence, path)]
    for slot in (_slot(path, 0), _slot(path, 1)):
        try:
            its_lineage, sequence = _identity(slot)
        except (OSError, ValueError):
            continue
        if its_lineage == lineage:
            found.append((sequence, slot))
    found.sort()
    while len(found) > 1:
        try:
            return _read(found.pop()[1], frozen)
        except (OSError, ValueError):
            pass  # a slot that a power cut has torn: the one before it is whole
    return _read(found[0][1], frozen)


def save(net, path=None):
    """Write a checkpoint of a network, or to `path` a file of its own with a new lineage.

    OSError when the file system refuses; the network, its sequence number too, is then as before.
    """
    structure = net.sections[image.STRUCTURE]
    before = bytes(structure)
    try:
        if path is None:
            _save_checkpoint(net, structure)
        else:
            _save_file(net, structure, path)
    except BaseException:  # Ctrl-C too: the next save must not go to the slot that is still whole
        structure[:] = before
        raise


def _save_checkpoint(net, structure):
    if net.path is None:
        raise ValueError("this network has no file yet: save(path) once")
    sequence = image.get(structure, HEADER["sequence"]) + 1
    image.put(structure, HEADER["sequence"], sequence)
    engine.seal(net.sections)
    for slot in (0, 1):
        _allocate(net.path, slot, image.get(structure, HEADER["file_bytes"]))
    with open(_slot(net.path, sequence), "r+b") as file:
        _write(file, net)


def _save_file(net, structure, path):
    image.put(structure, HEADER["lineage"], new_lineage())
    image.put(structure, HEADER["sequence"], 0)
    engine.seal(net.sections)
    _create(path + ".new", lambda file: _write(file, net))
    _replace(path + ".new", path)
    net.path = path


def _directory(path, sequence):
    return "%s.%d" % (path, sequence % 2)


def _slot(path, sequence):
    """The file for a checkpoint of this sequence number."""
    return _directory(path, sequence) + "/checkpoint"


def _allocate(path, slot, size):
    """Give a slot its full size, unless it has it."""
    name = _slot(path, slot)
    try:
        if os.stat(name)[6] == size:
            return
    except OSError as error:
        if error.errno != ENOENT:
            raise
    try:
        os.mkdir(_directory(path, slot))
    except OSError as error:
        if error.errno != EEXIST:
            raise
    _create(name, lambda file: _write_zeros(file, size))


def _identity(path):
    """Lineage and sequence number of the image in a file."""
    with open(path, "rb") as file:
        header = _read_header(file)
    return image.get(header, HEADER["lineage"]), image.get(header, HEADER["sequence"])


def _read_header(file):
    header = file.read(HEADER_BYTES)
    if len(header) < HEADER_BYTES or header[:4] != b"TINC":
        engine.check_structure(header)  # says what it is instead
    return header


def _read(path, frozen=None):
    """Sections and extensions of one file, checked in full."""
    with open(path, "rb") as file:
        size = file.seek(0, 2)
        file.seek(0)
        header = _read_header(file)
        bytes_of_structure = min(image.get(header, HEADER["structure_bytes"]), MOST_STRUCTURE_BYTES)
        structure = bytearray(max(bytes_of_structure, HEADER_BYTES))
        file.seek(0)
        _fill(file, structure)
        engine.check_structure(structure)
        expected = image.get(structure, HEADER["file_bytes"])
        if size != expected:
            raise ValueError("%s has %d bytes, its image %d" % (path, size, expected))
        sections = [structure] + [None] * 4
        extensions = []
        for index in range(structure[42]):
            kind, _, offset, length, crc = image.table_entry(structure, index)
            if kind == image.FROZEN and frozen is not None:
                sections[kind] = _frozen_part(frozen, length, offset)
                continue
            data = bytearray(length)
            file.seek(offset)
            _fill(file, data)
            if kind < len(sections):
                sections[kind] = data
            else:
                _check_extension(data, index, crc)
                extensions.append((index, data))
    if frozen is not None:
        _align_frozen(sections)
    sections = tuple(sections)
    engine.check(sections)
    return sections, extensions


def _frozen_part(buffer, length, offset):
    """The frozen section in a buffer that holds it alone or in its image."""
    view = memoryview(buffer)
    if len(view) == length:
        return view
    if len(view) < offset + length or bytes(view[:4]) != b"TINC":
        raise ValueError(
            "frozen has %d bytes, expected the frozen section's %d or the image"
            % (len(view), length)
        )
    return view[offset : offset + length]


def _align_frozen(sections):
    """A copy of the frozen section where the engine cannot use it in place: its address is all that
    a copy mends."""
    try:
        engine.scratch_bytes(tuple(sections))
    except ValueError:
        sections[image.FROZEN] = bytearray(sections[image.FROZEN])


def _fill(file, buffer):
    if file.readinto(buffer) != len(buffer):
        raise ValueError("image is cut short, expected %d bytes more" % len(buffer))


def _check_extension(data, index, crc):
    if engine.crc32(data) != crc:
        raise ValueError(
            "image is damaged: the CRC of section table entry %d does not match" % index
        )


def _create(path, write):
    """A new file; nothing is left of one that could not be written."""
    file = open(path, "wb")  # outside: where memory is full, MicroPython has but one exception
    try:
        with file:
            write(file)
    except BaseException:
        try:
            os.remove(path)
        except OSError:
            pass
        raise


def _write(file, net):
    """The image into an open file, front to back."""
    structure = net.sections[image.STRUCTURE]
    extensions = dict(net.extensions)
    at = file.write(structure)
    for index in range(structure[42]):
        kind, _, offset, length, _ = image.table_entry(structure, index)
        _write_zeros(file, offset - at)
        file.write(extensions[index] if index in extensions else net.sections[kind])
        at = offset + length
    _write_zeros(file, image.get(structure, HEADER["file_bytes"]) - at)
    _sync(file)


def _write_zeros(file, count):
    zeros = memoryview(bytes(min(max(count, 0), 512)))  # a sector: FAT writes parts of one twice
    while count > 0:
        count -= file.write(zeros[:count])


def _sync(file):
    file.flush()
    if hasattr(os, "fsync"):  # CPython's flush() ends in the operating system's cache
        os.fsync(file.fileno())


def _replace(source, target):
    """Rename a file over another; os.rename() of MicroPython does what os.replace() does here."""
    getattr(os, "replace", os.rename)(source, target)


def _finish_replacing(path):
    """On FAT, a power cut in _replace() can leave the old file removed and the new one unnamed."""
    try:
        os.stat(path)
    except OSError:
        try:
            _read(path + ".new")
            _replace(path + ".new", path)
        except (OSError, ValueError):
            pass
