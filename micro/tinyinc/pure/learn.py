"""One learning step: forward, loss, and as much of the backward pass as the rule asks for."""

from array import array

from . import faults, layout
from .buffers import need_array, number
from .faults import Diverged, fail
from .forward import Busy, argmax, forward, largest, mac_inputs, softmax
from .image import open_net
from .layout import STATE, TRAINED, single
from .memory import choose, recall
from .net import count_up, need_writable
from .rules import admit, units_to_train

# Places in counts: skipped, predicted, forward and backward multiply-accumulates, k per layer;
# and in figures: loss, the output's local error, the chance of being trained.
SKIPPED, PREDICTED, FORWARD, BACKWARD, K = range(5)
LOSS, ERROR, PROBABILITY, FIGURES = range(4)

LARGEST_DELTA = 100.0


RECENT = 300  # lessons for which a class that was taught counts as present


def learn(sections, x, target, counts, figures, scratch):
    """A lesson: one step of SGD on the normalised sample x of class `target`, under the network's
    rule. False, and nothing has changed, when the step diverged."""
    return _step(sections, x, target, counts, figures, scratch, True)


def replay(sections, excluded, x, counts, figures, scratch):
    """The same step on an exemplar that choose() finds, recalled into x: no lesson, all classes
    count. Returns its class, -1 where there is none, or -2 when the step diverged."""
    need_writable(open_net(sections), TRAINED, STATE)
    slot = choose(sections, excluded)
    if slot < 0:
        return -1
    cls = recall(sections, slot, x)
    return cls if _step(sections, x, cls, counts, figures, scratch, False) else -2


def _step(sections, x, target, counts, figures, scratch, lesson):
    net = open_net(sections)
    classes = net.last.active
    need_writable(net, TRAINED, STATE)
    need_array(2 if lesson else 3, x, "f", net.inputs)
    need_array(4, counts, "I", K + len(net.layers))
    need_array(5, figures, "f", FIGURES)
    if number(target) >= classes:
        fail(faults.CLASS, 0, number(target), classes)
    with Busy(scratch):
        try:
            outputs, macs = forward(net, x)
        except Diverged:
            return False
        _train(net, outputs, macs, target, counts, figures, lesson)
    return True


def _adjusted(net, logits, target):
    """Logits with those lowered of classes that the stream has not had lately."""
    lessons, by = net.state["lessons"], net.state["logit_adjustment"]
    adjusted = []
    for cls, logit in enumerate(logits):
        last = net.class_state(cls)[0]
        absent = not last or (lessons - last) & 0xFFFFFFFF >= RECENT
        adjusted.append(single(logit - by) if absent and cls != target else logit)
    return adjusted


def _train(net, outputs, macs, target, counts, figures, lesson):
    predicted = argmax(outputs[-1])
    logits = _adjusted(net, outputs[-1], target) if lesson else outputs[-1]
    delta, log_sum = softmax(logits)
    smoothing = 0 if lesson else net.state["label_smoothing"]
    delta[target] -= 1 - smoothing  # softmax and cross-entropy together: p - onehot
    delta = [value - smoothing / len(delta) for value in delta]
    delta = list(array("f", delta))
    error = single(sum([abs(value) for value in delta]))
    factor, chance = admit(net, error)

    ks, backward_macs = [0] * len(net.layers), 0
    if factor:
        delta = [value * factor for value in delta]
        backward_macs = _backward(net, outputs, delta, ks)
    if lesson:
        _count_lesson(net, target, factor)

    results = [0 if factor else 1, predicted, macs, backward_macs] + ks
    for i, result in enumerate(results):
        counts[i] = result
    figures[LOSS] = log_sum - (logits[target] - max(logits))
    figures[ERROR] = error
    figures[PROBABILITY] = chance


def _count_lesson(net, target, trained):
    """A lesson has a place in the stream."""
    net.set_state("lessons", count_up(net.state["lessons"]))
    if trained:
        net.set_state("trained", count_up(net.state["trained"]))
    net.set_class_state(target, net.state["lessons"], net.class_state(target)[1])


def _backward(net, outputs, delta, ks):
    """From the output's gradient down to the first trained layer; returns the work done."""
    trained = [index for index, layer in enumerate(net.layers) if layer.flags]
    macs = depth = 0
    for index in reversed(range(len(net.layers))):
        if not trained or index < trained[0]:
            break
        layer, before = net.layers[index], outputs[index]
        k = layer.active
        if layer.flags:
            k = units_to_train(net, index, depth, sum([abs(value) for value in delta]))
            ks[index] = k
            depth += 1
        rows = largest(delta, k)
        below = None
        if index > trained[0]:  # with the weights as they were
            below = _propagate(net, layer, before, delta, rows)
            macs += len(rows) * mac_inputs(before)
        macs += _update(net, layer, before, delta, rows)
        delta = below
    return macs


def _propagate(net, layer, before, delta, rows):
    """The gradient below a layer, through the ReLU that made its inputs."""
    below = [0.0] * layer.inputs
    live = [i for i in range(layer.inputs) if before[i] > 0]
    for unit in rows:
        row = net.row(layer, unit)
        for i in live:
            below[i] += delta[unit] * row[i]
    return list(array("f", [_bounded(value) for value in below]))


def _bounded(delta):
    """A hidden gradient far beyond any sane one, or NaN, is cut: no update can be infinite."""
    return min(delta, LARGEST_DELTA) if delta > -LARGEST_DELTA else -LARGEST_DELTA


def _update(net, layer, before, delta, rows):
    """W -= rate delta x^T and b -= rate delta, on the rows; returns the work done."""
    rate = net.state["learning_rate"]
    if layer.flags & layout.TRAIN_BIAS:
        bias = net.bias(layer)
        for unit in rows:
            net.set_bias(layer, unit, bias[unit] - rate * delta[unit])
    if not layer.flags & layout.TRAIN_WEIGHTS:
        return 0
    sampled = net.state["rule"] == layout.SAMPLED
    least = 0.0
    if sampled:
        least = single(net.state["input_threshold"] * max([0.0] + [abs(value) for value in before]))
    used = [i for i, value in enumerate(before) if value != 0 and abs(value) >= least]
    for unit in rows:
        row = net.row(layer, unit)
        for i in used:
            row[i] -= rate * delta[unit] * before[i]
        net.set_row(layer, unit, row)
    return len(rows) * (len(used) if sampled else mac_inputs(before))
