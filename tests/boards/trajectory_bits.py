"""Runs the engine _tinyinc through the trajectory and prints all that it gave as JSON, floats by
their bits: MicroPythons print floats differently. Plain MicroPython; golden.tinc is in the current
folder."""

import json
import struct

import _tinyinc
import trajectory


def bits(number):
    return struct.unpack("<I", struct.pack("<f", number))[0]


log = trajectory.run(_tinyinc, trajectory.load("golden.tinc"))
print(json.dumps([[name, integers, [bits(f) for f in floats]] for name, integers, floats in log]))
