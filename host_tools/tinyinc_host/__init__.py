"""TinyInc's desktop side: data, pre-training, distillation, images, simulation and pictures."""

__version__ = "0.1.0"
