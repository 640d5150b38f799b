"""One thread waits, others wake it: a ring in, the end of the wait out; no ring is ever blocked.

An `Event` takes a lock to be set, and hands over the interpreter while it holds it: a signal
handler that interrupts there and sets it, too, waits for ever. This is one lock, which rings open.
"""

from __future__ import annotations

from _thread import allocate_lock

__all__ = ["Bell"]


class Bell:
    """Wakes the one thread that waits for it; rung before, it does not wait."""

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self._lock = allocate_lock()
        self._lock.acquire()

    def ring(self) -> None:
        """Wake the waiting thread, or the next that waits."""
        try:
            self._lock.release()
        except RuntimeError:
            return  # rung already

    def wait(self, timeout: float) -> bool:
        """Wait for a ring, `timeout` seconds at most; say whether there was one."""
        return self._lock.acquire(timeout=timeout)
