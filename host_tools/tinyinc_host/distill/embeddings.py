"""Random networks that embed samples: dense layers, or convolutions for images; ReLU behind each.

forward() gives the embedding of normalised samples in rows; backward() the gradient with respect to
the samples of the latest forward(), from that with respect to the embedding.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

WIDTHS = 512, 256
CHANNELS = 16, 32
KERNEL = 3
LEAST_SIDE = 8  # of an image


class Dense:
    """One dense layer, initialised after He et al. 2015, with small biases."""

    def __init__(self, inputs: int, outputs: int, generator: np.random.Generator):
        spread = np.sqrt(2 / inputs)
        self.weights = generator.normal(0, spread, (inputs, outputs)).astype(np.float32)
        self.bias = generator.normal(0, 0.1, outputs).astype(np.float32)

    def forward(self, x: np.ndarray) -> np.ndarray:
        y = x @ self.weights
        y += self.bias
        self.active = y > 0
        y *= self.active
        return y

    def backward(self, gradient: np.ndarray) -> np.ndarray:
        return (gradient * self.active) @ self.weights.T


class Conv:
    """A convolution of stride 2 over rows that are height x width x channels, as a dense layer
    over the patches of each image."""

    def __init__(self, shape: Sequence[int], outputs: int, generator: np.random.Generator):
        self.height, self.width, self.channels = shape
        self.shape = (self.height + 1) // 2, (self.width + 1) // 2, outputs
        self.dense = Dense(KERNEL * KERNEL * self.channels, outputs, generator)

    def forward(self, x: np.ndarray) -> np.ndarray:
        patches = np.empty((len(x), *self.shape[:2], KERNEL, KERNEL, self.channels), x.dtype)
        for (i, j), part in self._parts(self._padded(x)):
            patches[:, :, :, i, j] = part
        return self.dense.forward(patches.reshape(-1, len(self.dense.weights))).reshape(len(x), -1)

    def backward(self, gradient: np.ndarray) -> np.ndarray:
        patches = self.dense.backward(gradient.reshape(-1, self.shape[2]))
        patches = patches.reshape(len(gradient), *self.shape[:2], KERNEL, KERNEL, self.channels)
        sums = np.zeros(
            (len(gradient), self.height + 2, self.width + 2, self.channels), gradient.dtype
        )
        for (i, j), part in self._parts(sums):
            part += patches[:, :, :, i, j]
        inner = sums[:, 1 : 1 + self.height, 1 : 1 + self.width]
        return inner.reshape(len(gradient), -1)

    def _padded(self, x: np.ndarray) -> np.ndarray:
        images = x.reshape(len(x), self.height, self.width, self.channels)
        return np.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)))

    def _parts(self, images: np.ndarray):
        """For each position in the kernel the values that meet it, as a view."""
        rows, columns, _ = self.shape
        for i in range(KERNEL):
            for j in range(KERNEL):
                yield (i, j), images[:, i : i + 2 * rows - 1 : 2, j : j + 2 * columns - 1 : 2]


class Chain:
    """Layers one after the other."""

    def __init__(self, layers: Sequence[Dense | Conv]):
        self.layers = layers

    def forward(self, x: np.ndarray) -> np.ndarray:
        for layer in self.layers:
            x = layer.forward(x)
        return x

    def backward(self, gradient: np.ndarray) -> np.ndarray:
        for layer in reversed(self.layers):
            gradient = layer.backward(gradient)
        return gradient


def embedding(shape: Sequence[int], values: int, generator: np.random.Generator) -> Chain:
    """Random convolutions for samples of an image's shape, else random dense layers."""
    if len(shape) in (2, 3) and min(shape[:2]) >= LEAST_SIDE:
        place, layers = (*shape, 1)[:3], []
        for channels in CHANNELS:
            layers.append(Conv(place, channels, generator))
            place = layers[-1].shape
        return Chain(layers)
    widths = values, *WIDTHS
    return Chain([Dense(*pair, generator) for pair in zip(widths, WIDTHS, strict=False)])
