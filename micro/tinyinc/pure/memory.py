"""The distilled memory: samples of every class, kept small, replayed so that old classes stay."""

import math
from array import array

from . import faults
from .buffers import NONE, need_array, number
from .faults import fail
from .forward import argmax, softmax
from .image import open_net
from .layout import MEMORY, STATE, single
from .net import count_up, need_writable

FARTHEST = 0xEFFFFFFF  # a quantile above no distance, from which no step overflows
MANY = 16  # exemplars per class that vote with full weight: fewer know less
MOST_WEIGHT = 64  # an exemplar never follows a new sample by less than 1/64


def choose(sections, excluded=-1):
    """A random slot of the class replayed least so far (the lowest of equals) that is not
    excluded; -1 when there is none."""
    net = open_net(sections)
    need_writable(net, STATE)
    if net.memory is None:
        return -1
    classes = [net.slot(slot)[0] for slot in range(net.memory["count"])]
    present = [cls for cls in set(classes) if cls != excluded and cls < net.last.active]
    if not present:
        return -1
    cls = min(present, key=lambda cls: (net.class_state(cls)[1], cls))
    last, replayed = net.class_state(cls)
    replayed = count_up(replayed)
    net.set_class_state(cls, last, replayed)
    if 0 <= excluded < net.last.active:  # its samples come in anyway: it must not lag behind
        last, its_own = net.class_state(excluded)
        net.set_class_state(excluded, last, max(its_own, replayed))
    slots = [slot for slot, its_class in enumerate(classes) if its_class == cls]
    return slots[(net.next() >> 8) % len(slots)]


def recall(sections, slot, x):
    """A slot's sample to the normalised array('f') x; returns its class."""
    net = _open_slot(sections, slot)
    need_array(3, x, "f", net.inputs)
    offset, step = net.memory["offset"], net.memory["step"]
    for i, q in enumerate(net.sample(slot)):
        x[i] = offset + step * q
    return net.slot(slot)[0]


def quantise(sections, x, q):
    """A normalised sample in the memory's number format, clip((x - offset) / step), to bytes q."""
    net = open_net(sections)
    need_array(2, x, "f", net.inputs)
    need_array(3, q, "B", net.inputs)
    if net.memory is None:
        fail(faults.SLOT, 0, 0, 0)
    inverse, offset = single(1 / net.memory["step"]), net.memory["offset"]
    for i in range(net.inputs):
        # rounded to single at each operation, as the C core does: q then agrees exactly
        steps = single(single(single(x[i] - offset) * inverse) + 0.5)
        q[i] = int(min(steps, 255)) if steps > 0 else 0


def remember(sections, slot, q, cls):
    """Store a quantised sample of a class in a slot, an existing one or the first free."""
    net = open_net(sections)
    need_writable(net, MEMORY, STATE)
    need_array(3, q, "B", net.inputs)
    slot, cls = number(slot), number(cls)
    count = net.memory["count"] if net.memory else 0
    slots = count + 1 if net.memory and count < net.memory["capacity"] else count
    if slot >= slots:
        fail(faults.SLOT, 0, slot, slots)
    if cls >= net.last.active:
        fail(faults.CLASS, 0, cls, net.last.active)
    near = _nearest(net, q, cls)
    if near is not None:
        _track_distance(net, near[0])
    net.set_sample(slot, bytes(q)[: net.inputs])
    net.set_slot(slot, cls, 1)
    if slot == count:
        net.set_count(count + 1)


def nearest(sections, q, cls, distance):
    """The slot of a class (-1: any) nearest to a quantised sample, the lowest of equals, or -1;
    distance[0], of an array('I'), gets the squared Euclidean distance in steps."""
    net = open_net(sections)
    need_array(2, q, "B", net.inputs)
    need_array(4, distance, "I", 1)
    near = _nearest(net, q, number(cls))
    if near is None:
        return -1
    distance[0] = near[0]
    return near[1]


def move(sections, slot, q):
    """Online k-means: move a slot's sample by 1 / weight towards q, rounded at random so that small
    moves count; its weight grows up to 64."""
    net = _open_slot(sections, slot)
    need_writable(net, MEMORY, STATE)
    need_array(3, q, "B", net.inputs)
    cls, weight = net.slot(slot)
    weight = min(max(weight, 1) + 1, MOST_WEIGHT)
    net.set_slot(slot, cls, weight)
    sample = net.sample(slot)
    _track_distance(net, _squared_distance(q, sample))
    random, step = net.next(), net.memory_step
    divisor = step * weight
    for i in range(net.inputs):
        noise = (random + i * 0x9E3779B9) * 0x85EBCA6B >> 16 & 0xFFFF  # 16 bits for each value
        sample[i] += (q[i] - sample[i] + (noise * divisor >> 16)) // divisor * step
    net.set_sample(slot, sample)


def follow(sections, x, cls, q):
    """Move the exemplar of its class nearest to x towards it; q gets x in the memory's number
    format. Returns its slot, or -1 when the class has none."""
    quantise(sections, x, q)
    slot = nearest(sections, q, cls, array("I", [0]))
    if slot >= 0:
        move(sections, slot, q)
    return slot


def vote(sections, q, probabilities):
    """Let the exemplars vote on the network's probabilities for a quantised sample, in place, as
    p exp(-vote share d / distance); returns the likeliest class."""
    net = open_net(sections)
    classes = net.last.active
    need_array(2, q, "B", net.inputs)
    need_array(3, probabilities, "f", classes)
    if classes == 0:
        fail(faults.CLASS, 0, 0, 0)
    weight, distance = net.state["vote"], max(net.state["distance"], 1)
    scores = [probabilities[cls] for cls in range(classes)]
    if net.memory is None or not net.memory["count"] or not weight:
        return argmax(scores)
    weight *= min(net.memory["count"] / (MANY * classes), 1)
    for cls in range(classes):
        near = _nearest(net, q, cls)
        # a class without exemplars is neither for nor against
        d = near[0] if near else distance
        scores[cls] = math.log(max(scores[cls], 1e-30)) - weight * d / distance
    voted, _ = softmax(scores)
    for cls in range(classes):
        probabilities[cls] = voted[cls]
    return argmax(scores)


def is_new(sections, q):
    """Whether q lies further from every exemplar than known samples do, times `novelty`."""
    net = open_net(sections)
    need_array(2, q, "B", net.inputs)
    near = _nearest(net, q, NONE)
    novelty = net.state["novelty"]
    return bool(novelty and near and near[0] > novelty * net.state["far"])


def _squared_distance(a, b):
    return sum([(x - y) * (x - y) for x, y in zip(a, b)])


def _nearest(net, q, cls):
    """(squared distance, slot) of a class's nearest exemplar (NONE: of any class), or None."""
    found = None
    for slot in range(net.memory["count"] if net.memory else 0):
        if cls in (NONE, net.slot(slot)[0]):
            distance = _squared_distance(net.sample(slot), q)
            if found is None or distance < found[0]:
                found = distance, slot
    return found


def _track_distance(net, distance):
    """How far samples lie from their exemplars: a running mean over about the last 32, and the
    distance that 95 of 100 keep within, which goes up 19 times as far as down."""
    mean, far = net.state["distance"], net.state["far"]
    if not mean:
        mean, far = distance, 2 * distance
    else:
        change = abs(distance - mean) >> 5
        mean += change if distance > mean else -change
        step = (far >> 8) + 1
        if distance < far:
            far -= step
        elif far < distance and far < FARTHEST:
            far += 19 * step
    net.set_state("distance", mean)
    net.set_state("far", far & 0xFFFFFFFF)


def _open_slot(sections, slot):
    net = open_net(sections)
    count = net.memory["count"] if net.memory else 0
    if number(slot) >= count:
        fail(faults.SLOT, 0, number(slot), count)
    return net
