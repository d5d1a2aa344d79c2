"""What the scripts beside it check alike."""


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
