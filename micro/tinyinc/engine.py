"""The engine: the C module where there is one, else the same calls in plain Python."""

try:
    import _tinyinc as engine
except ImportError:
    from . import pure as engine

__all__ = ("engine",)
