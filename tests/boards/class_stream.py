"""Learns the stream in samples.bin, which brings new classes as it goes on, with network.tinc, and
saves it. Wherever the stream pauses, the network is consolidated, a lesson is taken back, and what
is predicted for the samples in asked.bin is printed. Plain MicroPython; the files are in the
current folder: values of a sample, then its label in a byte."""

import tinyinc

PAUSE = 255

net = tinyinc.load("network.tinc", undo=True)
x = bytearray(net.inputs)


def pairs(name):
    with open(name, "rb") as stream:
        while stream.readinto(x) == net.inputs:
            yield x, stream.read(1)[0]


for x, label in pairs("samples.bin"):
    if label != PAUSE:
        net.learn(x, label)
        continue
    net.consolidate(lessons=10)
    net.learn(x, 100)
    net.undo()
    print(*[net.predict(x) for x, _ in pairs("asked.bin")])
net.save()
print(net.memory.slots_of)
