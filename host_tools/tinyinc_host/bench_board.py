"""Time tinyinc.learn() on MicroPython, with all that it does: bench_board.py IMAGE LAPS STEPS

Runs on the board; prints the best lap in ns per call. The samples are fixed random ones that hold
no zeros, which the engine would skip.
"""

import sys
import time
from array import array

import tinyinc

SAMPLES = 50  # a multiple of the ten classes


def make_lessons(net):
    """Samples and their labels, made before the clock starts."""
    random = 1
    lessons = []
    for i in range(SAMPLES):
        x = array("f", bytes(4 * net.inputs))
        for j in range(net.inputs):
            random = (random * 1664525 + 1013904223) & 0xFFFFFFFF
            x[j] = 0.05 + 0.95 * (random >> 8) / 16777216
        lessons.append((x, net.labels[i % len(net.labels)]))
    return lessons


def lap(lessons, rounds):
    """Microseconds for all lessons, `rounds` times."""
    learn = tinyinc.learn
    start = time.ticks_us()
    for _ in range(rounds):
        for x, label in lessons:
            learn(x, label)
    return time.ticks_diff(time.ticks_us(), start)


def main(image, laps, steps):
    lessons = make_lessons(tinyinc.load(image))
    rounds = steps // SAMPLES
    lap(lessons, 20)  # the memory fills: from here on exemplars move, as they do for good
    print(1000 * min([lap(lessons, rounds) for _ in range(laps)]) / (rounds * SAMPLES))


main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
