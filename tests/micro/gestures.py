"""Samples for the scripts beside it: four easily told gestures, the same on every machine."""

from array import array

NAMES = ("up", "down", "left", "right")


class Source:
    """Random gestures: eight readings, 0 to 100, high in two places that say which it is."""

    def __init__(self, seed=1):
        self.state = seed

    def below(self, n):
        self.state = self.state * 16807 % 2147483647
        return (self.state >> 8) % n

    def sample(self, name):
        x = array("f", [self.below(30) for _ in range(8)])
        first = 2 * NAMES.index(name)
        x[first] += 60
        x[first + 1] += 40
        return x

    def samples(self, count, names=NAMES):
        return [(self.sample(names[i % len(names)]), names[i % len(names)]) for i in range(count)]

    def teach(self, net, count):
        """A network, once it has learned so many."""
        for x, name in self.samples(count):
            net.learn(x, name)
        return net
