"""The engine: the native module in this folder, the C module of the firmware, or the same calls in
plain Python."""

try:
    from . import _tinyinc as engine
except ImportError:
    try:
        import _tinyinc as engine
    except ImportError:
        from . import pure as engine

__all__ = ("engine",)
