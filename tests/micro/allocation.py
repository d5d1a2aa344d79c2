"""With the C engine, learn(), predict() and consolidate() allocate nothing once warm (MicroPython
only)."""

import gc

import gestures
import micropython

import tinyinc

LESSONS = 10000

source = gestures.Source()
samples = source.samples(64)


def flat(call, several):
    """Bytes that LESSONS calls leave on a heap that nobody collects."""
    gc.collect()
    gc.disable()
    before = gc.mem_alloc()
    for i in range(LESSONS):
        x, name = samples[i % 64]
        call(x, name) if several else call(x)
    grown = gc.mem_alloc() - before
    gc.enable()
    return grown


def consolidate(_):
    net.consolidate(lessons=1)


RULES = ("full", "static", "tinyprop", "tinyprop2", "sampled")
for rule, kind in [(rule, kind) for rule in RULES for kind in ("f32", "q8")]:
    settings = {"rule": rule, "format": kind, "replay": 2, "novelty": 1}
    net = tinyinc.create(inputs=8, hidden=(16, 8), range=(0, 100), memory=24, **settings)
    for x, name in samples:
        net.learn(x, name)
        net.predict(x)
    assert net.memory.count == 24
    micropython.heap_lock()
    for x, name in samples:
        net.learn(x, name)
        net.predict(x)
        assert net.consolidate(lessons=2) == 2
    micropython.heap_unlock()
    grown = flat(net.learn, True), flat(net.predict, False), flat(consolidate, False)
    assert grown == (0, 0, 0), (rule, kind, grown)
    print("ok", rule, kind)
print("PASS")
