"""Size that follows the task: the rule by which the last hidden layer grows and shrinks.

With the setting `growth` at g units, not 0:
- a network starts with 2 g units, and every new class brings g more, as far as there is room for
  them: growing early or with a new class costs nothing, growing late costs points;
- consolidate() ends, from the second class on, by taking out, one by one, units of little use:
  whose sums of incoming and outgoing weights, multiplied, are at most 1 / 16 of the most useful
  unit's. At least g stay.

Every pass costs what the size in use costs. The rule looks at weights alone: targets for the
accuracy chose sizes badly.
"""

from . import image
from .engine import engine

LITTLE_USE = 16  # times as useful is the most useful unit


def start(sections, layer, growth):
    """Put the first units of a layer to use: with growth 0 all."""
    room = image.capacity(sections[image.STRUCTURE], layer)
    engine.grow(sections, layer, min(2 * growth, room) if growth else room)


def new_class(sections, layer, growth):
    """Make the layer ready for one more class."""
    structure = sections[image.STRUCTURE]
    room = image.capacity(structure, layer) - image.active(structure, layer)
    if min(growth, room) > 0:
        engine.grow(sections, layer, min(growth, room))


def shrink(sections, layer, growth):
    """Take a layer's units of little use out; returns how many those were."""
    before = image.active(sections[image.STRUCTURE], layer)
    while growth and image.active(sections[image.STRUCTURE], layer) > growth:
        unit = engine.least_useful(sections, layer, LITTLE_USE)
        if unit < 0:
            break
        engine.shrink(sections, layer, unit)
    return before - image.active(sections[image.STRUCTURE], layer)
