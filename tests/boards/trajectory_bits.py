"""Runs the engine _tinyinc through the trajectory and prints all that it gave as JSON, floats by
their bits: MicroPythons print floats differently. Plain MicroPython; golden.tinc, or the image that
is named, is in the current folder."""

import json
import struct
import sys

import _tinyinc
import trajectory


def bits(number):
    return struct.unpack("<I", struct.pack("<f", number))[0]


IMAGE = sys.argv[1] if len(sys.argv) > 1 else "golden.tinc"

log = trajectory.run(_tinyinc, trajectory.load(IMAGE))
print(json.dumps([[name, integers, [bits(f) for f in floats]] for name, integers, floats in log]))
