"""One call at a time: what keeps a callback, an interrupt, another thread or core out of a network
that is at work."""

try:
    from _thread import allocate_lock
except ImportError:

    class _Lock:
        """For a board with one thread: what interrupts a call ends before the call goes on."""

        def __init__(self):
            self._taken = False

        def acquire(self, wait):
            before = self._taken
            self._taken = True
            return not before

        def release(self):
            self._taken = False

    allocate_lock = _Lock

_BUSY = "the network is busy: another call to it has not ended yet"


class Guard:
    """`with guard:` is entered by one at a time; ValueError for all others, who never wait."""

    def __init__(self):
        lock = allocate_lock()
        self._acquire, self._release = lock.acquire, lock.release
        self._reason = _BUSY
        self._outcomes = (self._refuse, bool)  # bool() does nothing, and quickly

    def __enter__(self):
        # Ctrl-C strikes where MicroPython jumps: with an `if` here, it could leave the lock taken.
        self._outcomes[self._acquire(False)]()

    def __exit__(self, kind, error, trace):
        self._release()

    def close(self, reason):
        """Let nobody in any more; ValueError while somebody is."""
        self.__enter__()
        self._reason = reason

    def _refuse(self):
        raise ValueError(self._reason)
