"""TinyInc: neural networks that learn on the microcontroller, sample by sample.

import tinyinc

net = tinyinc.load("digits.tinc")   # network, distilled memory and settings: one file
net.predict(x)                      # -> "seven"
step = net.learn(x, "eight")        # one sample; a new label adds a class
net.save()                          # a checkpoint beside the file

net = tinyinc.create(inputs=64)     # no desktop at hand: start small
net = tinyinc.create(inputs=64, range=(0, 16), format="q8")   # in integers: no FPU at hand
"""

from . import growth, image, store
from .learner import Net
from .step import Step

__version__ = "0.1.0"
__all__ = ("Net", "Step", "create", "learn", "load", "predict")

LEAST_WIDTH = 1e-30  # of the range; 1 / this is the most that its ends may be
MOST_OFFSET = 32  # widths of the range that it may lie away from 0 in q8

_default = None


def load(path, undo_divergence=False, frozen=None, undo=False):
    """Open the network in a file, in its newest saved state; it becomes the default network.

    undo_divergence: a step that diverges (step.diverged) takes it back to its newest saved state.
    undo: whether net.undo() shall be able to take the last lesson back, for net.undo_bytes of RAM.
    frozen: a buffer, read-only as it may be (flash, ROMFS, bytes in a frozen module), that holds
    the image's frozen section or the whole image: the frozen weights are used there, and take no
    RAM, when they are aligned to 8 bytes; else they are copied. It must stay as it is.
    OSError: no such file. ValueError: no TinyInc image, damaged, or of another version; the text
    says which. MemoryError: it does not fit.
    """
    global _default
    sections, extensions = store.load(path, frozen)
    net = Net(sections, path, extensions, frozen, undo)
    net.undo_divergence = undo_divergence
    _default = net
    return net


def create(
    *,
    inputs,
    classes=16,
    hidden=(32,),
    range=None,
    memory=64,
    memory_bits=8,
    label_bytes=16,
    seed=1,
    format="f32",
    undo=False,
    **settings,
):
    """Make a small network that has learned nothing; it becomes the default network.

    inputs: values of a sample, 1 to 65535; classes: how many it has room for; hidden: units of each
    hidden layer; range: (lowest, highest) raw value of a sample, values beyond are clipped; without
    it the first sample tells the scale, and later ones may be four times as large; memory: samples
    it may keep, 0 for none; memory_bits: per value of these, 8 or 4: half the bytes, and enough for
    images; label_bytes: longest label in UTF-8, 4 to 64 in steps of 4; seed: of the random numbers;
    format: "f32", float32 arithmetic, or "q8", integers, for boards without FPU; undo: as in
    load(); settings: as in Net.configure(): with growth not 0 the last hidden layer starts small
    and grows with the classes. It has no file until save(path). ValueError: an argument out of
    range; MemoryError.
    """
    global _default
    widths = [inputs] + list(hidden) + [classes]
    _check_sizes(widths, memory, label_bytes, seed)
    _check_range(range)
    q8 = _check_format(format, range)
    lineage = store.new_lineage()
    sections = image.build(widths, range, memory, label_bytes, seed, lineage, q8, memory_bits)
    for name in settings:
        image.check_setting(name, settings[name], format)
    last = len(hidden) - 1
    for layer, _ in enumerate(hidden):
        growth.start(sections, layer, settings.get("growth", 0) if layer == last else 0)
    net = Net(sections, undo=undo)
    net.configure(**settings)
    _default = net
    return net


def learn(x, label):
    """learn() of the default network, the last one loaded or created."""
    if _default is None:
        _no_network()
    return _default.learn(x, label)


def predict(x):
    """predict() of the default network, the last one loaded or created."""
    if _default is None:
        _no_network()
    return _default.predict(x)


def _no_network():
    raise ValueError("no network yet: tinyinc.load(path) or tinyinc.create(inputs=...) first")


def _check_format(format, raw_range):
    """Whether it is q8, whose integers need a range that is not too far from 0."""
    if format not in image.FORMATS:
        raise ValueError('format is %r, expected "f32" or "q8"' % (format,))
    if format == "q8" and raw_range is not None:
        low, high = raw_range
        if max(abs(low), abs(high)) > MOST_OFFSET * (high - low):
            raise ValueError(
                "range %s: q8 takes values of at most %d times its width" % (raw_range, MOST_OFFSET)
            )
    return format == "q8"


def _check_sizes(widths, memory, label_bytes, seed):
    for width in widths:
        if not isinstance(width, int) or not 1 <= width <= 65535:
            raise ValueError("inputs, hidden and classes are %s, expected 1 to 65535 each" % widths)
    if not 1 <= len(widths) - 1 <= 32:
        raise ValueError("%d layers, expected at most 32" % (len(widths) - 1))
    if not isinstance(memory, int) or not 0 <= memory <= 65535:
        raise ValueError("memory is %r, expected 0 to 65535 samples" % (memory,))
    if label_bytes not in range(4, 65, 4):
        raise ValueError("label_bytes is %r, expected 4 to 64 in steps of 4" % (label_bytes,))
    if not isinstance(seed, int):
        raise ValueError("seed is %r, expected an integer" % (seed,))


def _check_range(raw_range):
    """Whether float32 can normalise it."""
    if raw_range is None:
        return
    try:
        low, high = raw_range
        good = LEAST_WIDTH <= high - low and max(-low, high) <= 1 / LEAST_WIDTH
    except (TypeError, ValueError):
        good = False
    if not good:
        raise ValueError("range is %s, expected (lowest, highest), apart and finite" % (raw_range,))
