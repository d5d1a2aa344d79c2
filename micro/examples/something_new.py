"""A board that says when something is new, is told what it is, and learns on while it is idle.

Runs as it is, on a board or on MicroPython's unix port; put your sensor's readings in place of
read(), and a button in place of what is said here.
"""

from random import uniform

import tinyinc

POSITIONS = {"flat": (0, 0, 9.8), "on its side": (9.8, 0, 0), "upside down": (0, 0, -9.8)}


def read(position):
    """An accelerometer in this position, held by hand: m/s^2."""
    return [value + uniform(-1.5, 1.5) for value in POSITIONS[position]]


# novelty: new is what lies further from all that is known than twice the usual distance, squared
net = tinyinc.create(inputs=3, range=(-20, 20), novelty=4, undo=True)
for _ in range(50):
    net.learn(read("flat"), "flat")
    net.learn(read("on its side"), "on its side")

x = read("upside down")
print("upside down:", net.predict(x))  # None: something new
net.learn(x, "upside down")  # so somebody says what it is
for _ in range(9):
    net.learn(read("upside down"), "upside down")

net.learn(read("flat"), "upside down")  # the wrong button
net.undo()

print(net.consolidate(ms=50) > 0)  # nothing else to do: it goes through its memory once more
for position in POSITIONS:
    print(position + ":", net.predict(read(position)), "%.2f" % net.confidence)
