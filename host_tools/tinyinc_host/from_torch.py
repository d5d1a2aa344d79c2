"""From a PyTorch model to the layers of network.py: batch norm folded, channels last.

    layers = from_torch(model.eval(), (28, 28, 1))
    layers = freeze(layers, 4)                     # all but the last ones stay as they are
    net = network((28, 28, 1), layers, labels=names, raw_range=(0, 255))

Takes nn.Sequential, nested as you like, of Conv2d, Conv1d, BatchNorm1d and 2d, ReLU, ReLU6,
MaxPool, AvgPool, AdaptiveAvgPool (to 1), Flatten, Linear, Dropout and Identity; Residual below adds
what enters it. The model itself takes images with channels first, as PyTorch has them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from tinyinc_host import network
from tinyinc_host.network import Layer

try:
    from torch import nn
except ImportError:
    raise ValueError("PyTorch is not installed: pip install 'tinyinc-host[torch]'") from None


class Residual(nn.Sequential):
    """What enters it is added to what its modules give."""

    def forward(self, x):
        return super().forward(x) + x


def from_torch(model: nn.Module, input_shape: Sequence[int]) -> list[Layer]:
    """The layers of a model in evaluation mode; ValueError for a module that is no layer here."""
    layers: list[Layer] = []
    sources: list[int] = []  # of the additions that are still to come
    for module in _flat(model):
        if module is ENTER:
            sources.append(len(layers) - 1)
        elif module is LEAVE:
            layers.append(network.add(sources.pop()))
        else:
            _append(layers, module, tuple(input_shape))
    network.shapes(input_shape, layers)
    return layers


def freeze(layers: Sequence[Layer], count: int) -> list[Layer]:
    """The same, with the first so many frozen."""
    frozen = [replace(layer, train="none") for layer in layers[:count]]
    return [*frozen, *layers[count:]]


ENTER, LEAVE = "enter", "leave"  # a Residual


def _flat(model: nn.Module) -> Iterator[nn.Module | str]:
    """Modules in the order in which they run, with marks around those of a Residual."""
    if not isinstance(model, nn.Sequential):
        yield model
        return
    if isinstance(model, Residual):
        yield ENTER
    for module in model:
        yield from _flat(module)
    if isinstance(model, Residual):
        yield LEAVE


def _gives(layers: Sequence[Layer], input_shape: tuple[int, ...]) -> tuple[int, ...]:
    """Shape of what the layers so far give."""
    if not layers:
        return input_shape
    return network.shapes(input_shape, [*layers, network.dense(1)])[-2].after


def _append(layers: list[Layer], module: nn.Module, input_shape: tuple[int, ...]) -> None:
    if isinstance(module, (nn.Conv2d, nn.Conv1d)):
        layers.append(_conv(module))
    elif isinstance(module, nn.Linear):
        layers.append(_linear(module, layers, input_shape))
    elif isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
        _fold(layers, module)
    elif isinstance(module, (nn.ReLU, nn.ReLU6)):
        _activate(layers, "relu6" if isinstance(module, nn.ReLU6) else "relu")
    elif isinstance(module, (nn.MaxPool1d, nn.MaxPool2d, nn.AvgPool1d, nn.AvgPool2d)):
        layers.append(_pool(module))
    elif isinstance(module, (nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d)):
        if set(_both(module.output_size)) != {1}:
            raise ValueError(f"{module}: only a global pool is taken, with an output of 1")
        layers.append(network.average_pool(_gives(layers, input_shape)[:2], stride=1))
    elif not isinstance(module, (nn.Flatten, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Identity)):
        raise ValueError(f"{type(module).__name__} is no layer that a board has")


def _array(tensor: object) -> np.ndarray | None:
    return None if tensor is None else tensor.detach().cpu().numpy().astype(float)


def _both(value: int | Sequence[int]) -> tuple[int, int]:
    """For height and width; in 1D the height is 1."""
    return (value, value) if isinstance(value, int) else (*(1,) * (2 - len(value)), *value)


def _window(module: nn.Module) -> dict:
    """Kernel, stride and padding of a convolution or pool."""
    flat = type(module).__name__.endswith("1d")
    values = {}
    for name in ("kernel_size", "stride", "padding", "dilation"):
        value = getattr(module, name, 1)
        value = (value,) if flat and isinstance(value, int) else value
        values[name] = value if isinstance(value, str) else _both(value)
    padding = values["padding"]
    if padding == "valid" or (flat and padding != "same"):
        padding = (0, 0) if padding == "valid" else (0, padding[1])
    if values["dilation"] != (1, 1) or getattr(module, "ceil_mode", False):
        raise ValueError(f"{module}: dilation 1 and ceil_mode False are all that a board has")
    both = padding if isinstance(padding, str) else (*padding, *padding)
    return {"kernel": values["kernel_size"], "stride": values["stride"], "padding": both}


def _conv(module: nn.Conv1d | nn.Conv2d) -> Layer:
    weights = _array(module.weight)
    if weights.ndim == 3:
        weights = weights[:, :, None]  # 1D: images of height 1
    channels, window = module.out_channels, _window(module)
    common = {"bias": _array(module.bias), "activation": "linear"} | window
    if module.groups == 1:
        return Layer("conv", units=channels, weights=weights.transpose(0, 2, 3, 1), **common)
    if module.groups != channels or module.in_channels != channels:
        raise ValueError(f"{module}: groups are 1, or one per channel")
    return Layer("depthwise", weights=weights[:, 0].transpose(1, 2, 0), **common)


def _linear(module: nn.Linear, layers: list[Layer], input_shape: tuple[int, ...]) -> Layer:
    """Behind an image, its inputs come in the order of channels, height, width."""
    weights = _array(module.weight)
    shape = _gives(layers, input_shape)
    if len(shape) == 3 and np.prod(shape) == weights.shape[1]:
        height, width, channels = shape
        ordered = weights.reshape(-1, channels, height, width).transpose(0, 2, 3, 1)
        weights = ordered.reshape(len(weights), -1)
    return network.dense(weights, bias=_array(module.bias), activation="linear")


def _fold(layers: list[Layer], module: nn.BatchNorm1d | nn.BatchNorm2d) -> None:
    if not layers or not layers[-1].has_weights or layers[-1].activation != "linear":
        raise ValueError(f"{module}: only behind a convolution or a linear layer can it be folded")
    mean, variance = _array(module.running_mean), _array(module.running_var)
    if mean is None:
        raise ValueError(f"{module}: it has no running mean to be folded")
    gamma = np.ones_like(mean) if module.weight is None else _array(module.weight)
    beta = np.zeros_like(mean) if module.bias is None else _array(module.bias)
    layers[-1] = network.fold(layers[-1], gamma, beta, mean, variance, module.eps)


def _activate(layers: list[Layer], name: str) -> None:
    if not layers or layers[-1].kind.endswith("pool") or layers[-1].activation != "linear":
        raise ValueError(f"{name}: only behind a convolution, a linear layer or an addition")
    layers[-1] = replace(layers[-1], activation=name)


def _pool(module: nn.Module) -> Layer:
    make = network.max_pool if type(module).__name__.startswith("Max") else network.average_pool
    window = _window(module)
    if make is network.average_pool and any(window["padding"]) and module.count_include_pad:
        raise ValueError(f"{module}: padding does not count here: count_include_pad=False")
    return make(window.pop("kernel"), **window)
