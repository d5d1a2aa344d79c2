"""Files: images are read and checked, checkpoints are written so that a power cut loses nothing.

The file that was deployed is never written. Beside it stand two checkpoints, path + ".0" and
path + ".1", written in turn: when one is being written, the other still holds the state before.
Each carries the deployed file's lineage, and a sequence number: load() takes the newest that is
whole, and ignores those of another lineage, which a freshly deployed file has left behind.
"""

import os

from . import image
from .engine import engine
from .image import HEADER, HEADER_BYTES, SECTION_BYTES

MOST_STRUCTURE_BYTES = HEADER_BYTES + 16 * SECTION_BYTES + 32 * image.LAYER_BYTES


def new_lineage():
    """16 random bytes that a deployed file and its checkpoints share."""
    return os.urandom(16)


def load(path):
    """Newest whole state of the network at `path`: (sections, extensions).

    OSError: no such file; ValueError: no image, damaged, or of another version.
    """
    lineage, sequence = _identity(path)
    found = [(sequence, path)]
    for slot in (0, 1):
        checkpoint = "%s.%d" % (path, slot)
        try:
            its_lineage, sequence = _identity(checkpoint)
        except (OSError, ValueError):
            continue
        if its_lineage == lineage:
            found.append((sequence, checkpoint))
    found.sort()
    while len(found) > 1:
        try:
            return _read(found.pop()[1])
        except ValueError:
            pass  # a checkpoint that a power cut has torn: the one before it is whole
    return _read(found[0][1])


def save(net, path=None):
    """Write a checkpoint of a network, or to `path` a file of its own with a new lineage."""
    structure = net.sections[image.STRUCTURE]
    before = bytes(structure)
    try:
        if path is None:
            _save_checkpoint(net, structure)
        else:
            image.put(structure, HEADER["lineage"], new_lineage())
            image.put(structure, HEADER["sequence"], 0)
            _write(path + ".new", net)
            _replace(path + ".new", path)
            net.path = path
    except Exception:
        structure[:] = before
        raise


def _save_checkpoint(net, structure):
    if net.path is None:
        raise ValueError("this network has no file yet: save(path) once")
    sequence = image.get(structure, HEADER["sequence"]) + 1
    image.put(structure, HEADER["sequence"], sequence)
    _write("%s.%d" % (net.path, sequence % 2), net)


def _identity(path):
    """Lineage and sequence number of the image in a file."""
    with open(path, "rb") as file:
        header = file.read(HEADER_BYTES)
    if len(header) < HEADER_BYTES or header[:4] != b"TINC":
        engine.check_structure(header)  # says what it is instead
    return image.get(header, HEADER["lineage"]), image.get(header, HEADER["sequence"])


def _read(path):
    """Sections and extensions of one file, checked in full."""
    with open(path, "rb") as file:
        size = file.seek(0, 2)
        file.seek(0)
        header = file.read(HEADER_BYTES)
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
            data = bytearray(length)
            file.seek(offset)
            _fill(file, data)
            if kind < len(sections):
                sections[kind] = data
            else:
                _check_extension(data, index, crc)
                extensions.append((index, data))
    sections = tuple(sections)
    engine.check(sections)
    return sections, extensions


def _fill(file, buffer):
    if file.readinto(buffer) != len(buffer):
        raise ValueError("image is cut short, expected %d bytes more" % len(buffer))


def _check_extension(data, index, crc):
    if engine.crc32(data) != crc:
        raise ValueError(
            "image is damaged: the CRC of section table entry %d does not match" % index
        )


def _write(path, net):
    """The image into a file; its header last, which makes it whole."""
    engine.seal(net.sections)
    structure = net.sections[image.STRUCTURE]
    extensions = dict(net.extensions)
    with open(path, "wb") as file:
        file.write(bytes(HEADER_BYTES))
        file.write(memoryview(structure)[HEADER_BYTES:])
        for index in range(structure[42]):
            kind, _, offset, _, _ = image.table_entry(structure, index)
            file.seek(offset)
            file.write(extensions[index] if index in extensions else net.sections[kind])
        file.flush()
        file.seek(0)
        file.write(memoryview(structure)[:HEADER_BYTES])


def _replace(source, target):
    try:
        os.rename(source, target)
    except OSError:  # FAT does not rename over a file
        os.remove(target)
        os.rename(source, target)
