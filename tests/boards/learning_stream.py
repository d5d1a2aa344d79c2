"""Learns the stream in samples.bin with network.tinc, and leaves the network's sections in
learned.bin. Plain MicroPython; the files are in the current folder. Prints samples, samples that
were skipped, and right predictions."""

import tinyinc

net = tinyinc.load("network.tinc")
x = bytearray(net.inputs)
samples = skipped = right = 0
with open("samples.bin", "rb") as stream:
    while stream.readinto(x) == net.inputs:
        label = net.labels[stream.read(1)[0]]
        step = net.learn(x, label)
        samples += 1
        skipped += step.skipped
        right += step.predicted == label
net.save()
with open("learned.bin", "wb") as file:
    for section in net.sections:
        file.write(section)
print(samples, skipped, right)
