"""Learns a few samples with the network in PATH and prints what came of it: its format, the CRC of
what it learned, the mean loss, microseconds per learn(). Plain MicroPython that CPython runs, too:
the board's answer is compared with the desktop's."""

import binascii
import time

import tinyinc

STEPS = 20
CLASSES = 4


def microseconds():
    if hasattr(time, "ticks_us"):
        return time.ticks_us()
    return time.perf_counter_ns() // 1000


def elapsed(start):
    if hasattr(time, "ticks_diff"):
        return time.ticks_diff(time.ticks_us(), start)
    return microseconds() - start


def self_test(path):
    net = tinyinc.load(path)
    x = bytearray(net.inputs)
    seed = 1
    loss = took = 0
    for i in range(STEPS):
        cls = i % CLASSES
        for j in range(len(x)):
            seed = (75 * seed + 74) % 65537
            x[j] = (j + 5 * cls) % 13 + seed % 4
        start = microseconds()
        step = net.learn(x, str(cls))
        took += elapsed(start)
        loss += step.loss
    crc = 0
    for section in net.sections[1:]:
        if section is not None:
            crc = binascii.crc32(section, crc)
    print((net.format, crc, loss / STEPS, took // STEPS))
