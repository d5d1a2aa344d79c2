"""With the C engine, learn() and predict() allocate nothing once warm (MicroPython only)."""

import gc

import gestures
import micropython

import tinyinc

LESSONS = 10000

source = gestures.Source()
samples = source.samples(64)


def flat(net, call):
    """Bytes that LESSONS calls leave on a heap that nobody collects."""
    gc.collect()
    gc.disable()
    before = gc.mem_alloc()
    for i in range(LESSONS):
        call(*samples[i % 64])
    grown = gc.mem_alloc() - before
    gc.enable()
    return grown


for rule in ("full", "static", "tinyprop", "tinyprop2", "sampled"):
    net = tinyinc.create(inputs=8, hidden=(16, 8), range=(0, 100), memory=24, rule=rule, replay=2)
    for x, name in samples:
        net.learn(x, name)
        net.predict(x)
    assert net.memory.count == 24
    micropython.heap_lock()
    for x, name in samples:
        net.learn(x, name)
        net.predict(x)
    micropython.heap_unlock()
    grown = flat(net, net.learn), flat(net, lambda x, _: net.predict(x))
    assert grown == (0, 0), (rule, grown)
    print("ok", rule)
print("PASS")
