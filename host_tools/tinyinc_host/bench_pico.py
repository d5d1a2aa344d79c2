"""Time tinyinc.learn() sample by sample, with the network in network.tinc and the raw samples in
samples.bin, each followed by its class. Runs on the emulated Pico.

Prints per sample the microseconds and the cycles of the engine's code, which the emulator counts;
then the microseconds of predict() without and with voting, and of a garbage collection.
"""

import gc
import time

import machine

import tinyinc

COUNTER = 0x40070000  # of boards/emulators/pico.js
VOTES = 8

net = tinyinc.load("/network.tinc")
x = bytearray(net.inputs)
label = bytearray(1)


def timed(call, *arguments):
    """Microseconds, and cycles in the engine."""
    gc.collect()
    counter = machine.mem32
    counted = counter[COUNTER]
    start = time.ticks_us()
    call(*arguments)
    micros = time.ticks_diff(time.ticks_us(), start)
    return micros, counter[COUNTER] - counted & 0xFFFFFFFF


with open("/samples.bin", "rb") as stream:
    while stream.readinto(x) == net.inputs:
        stream.readinto(label)
        print(*timed(tinyinc.learn, x, net.labels[label[0]]))

for vote in (0, VOTES):
    net.configure(vote=vote)
    net.predict(x)
    print(*timed(net.predict, x))
print(*timed(gc.collect))
