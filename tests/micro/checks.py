"""What the scripts beside it check alike."""

from tinyinc.engine import engine

FORMATS = ("f32", "q8") if engine.__name__ == "_tinyinc" else ("f32",)


def state_of(net):
    """All that a network knows, as a copy."""
    sections = [bytes(section) for section in net.sections]
    return sections, list(net.labels), net.memory.count, list(net.memory.slots_of)


def same(a, b):
    """Two networks have the same sections, but for the structure, and labels."""
    for i in range(1, 5):
        assert a.sections[i] == b.sections[i], i
    assert a.labels == b.labels


def refused(words, call, *args, error=ValueError, **options):
    """The call raises this error, whose text holds these words."""
    try:
        call(*args, **options)
    except error as refusal:
        for word in words:
            assert word in str(refusal), (word, str(refusal))
        return
    raise AssertionError("not refused: %s %s" % (args, options))
