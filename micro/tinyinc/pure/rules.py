"""Learning rules: which samples are worth a backward pass, and how much of each layer it visits."""

from . import layout
from .layout import single

LEAST_CHANCE = 1 / (1 << 24)  # what a draw can tell apart from never


def admit(net, error):
    """Before the backward pass, with the output's local error Y = sum |delta|: the factor for the
    gradient, 0 when the sample is left untrained; and the chance that it had."""
    state = net.state
    if state["rule"] == layout.TINYPROP2:  # arXiv 2409.07109
        last = len(net.layers) - 1
        decision = _scaled(net, last, error, state["d_min"], state["d_max"])
        chance = 0.0 if single(decision * state["beta"]) < state["d_threshold"] else 1.0
        return chance, chance
    if state["rule"] == layout.SAMPLED:  # importance sampling: on average the full gradient
        chance = min(max(error / state["error_threshold"], LEAST_CHANCE), 1.0)
        return (1 / chance if net.uniform() < chance else 0.0), chance
    return 1.0, 1.0


def units_to_train(net, index, depth, error):
    """k of a trained layer; depth counts trained layers from the output, 0 first."""
    state = net.state
    units = net.layers[index].active
    if state["rule"] == layout.STATIC:
        return _share(units, state["static_ratio"])
    if state["rule"] in (layout.TINYPROP, layout.TINYPROP2):  # arXiv 2308.09201
        ratio = _scaled(net, index, error, state["s_min"], state["s_max"])
        for _ in range(depth):
            ratio = single(ratio * state["zeta"])
        return _share(units, ratio)
    if state["rule"] == layout.SAMPLED and index < len(net.layers) - 1:
        return _share(units, state["hidden_ratio"])
    return units


def _scaled(net, index, error, low, high):
    """low + (Y / Y_max)(high - low); Y_max, this sample's Y included, is part of the image. Every
    operation is rounded as in the C core, because k is rounded in the end: halves are common."""
    error = single(error)
    y_max = net.y_max(index)
    if error > y_max:
        net.set_y_max(index, error)
        y_max = error
    if error >= y_max:  # exactly: rounding must not lose a row
        return high if error else low
    return single(low + single(single(error * single(high - low)) / y_max))


def _share(units, ratio):
    if not ratio < 1:  # so also when an overflow made it NaN
        return units
    return min(max(1, int(single(single(units * ratio) + 0.5))), units)
