"""The shortest use: teach two positions of an accelerometer, then a third, and ask.

Runs as it is, on a board or on MicroPython's unix port; put your sensor's readings in their place.
"""

import tinyinc

net = tinyinc.create(inputs=3, range=(-20, 20))  # m/s^2

for _ in range(30):
    net.learn([0.1, 0.0, 9.8], "flat")
    net.learn([9.7, 0.2, 0.3], "on its side")
print(net.predict([0.4, -0.2, 9.5]))

for _ in range(30):
    step = net.learn([0.0, -9.8, 0.4], "upside down")  # a label never seen before: a new class
print(step)
print(net.predict([0.2, -9.6, 0.1]), net.predict([9.5, 0.1, 0.2]), net.labels)

net.save("positions.tinc")
