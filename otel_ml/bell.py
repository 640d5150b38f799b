"""One thread waits, others wake it: a ring in, the end of the wait out; no ring is ever blocked.

An `Event` takes a lock to be set, and hands over the interpreter while it holds it: a signal
handler that interrupts there and sets it, too, waits for ever. This is one lock, which rings open.
"""

from __future__ import annotations

from _thread import allocate_lock
from collections.abc import Callable
from typing import Final

__all__ = ["Bell"]

_SOON: Final = 0.1  # seconds after a hint


class Bell:
    """Wakes the one thread that waits for it; rung before, it does not wait.

    Attributes
    ----------
    hinted
        Whether there was a hint that has not been followed yet.
    """

    __slots__ = ("_lock", "hinted")

    def __init__(self) -> None:
        self._lock = allocate_lock()
        self._lock.acquire()
        self.hinted = False

    def ring(self) -> None:
        """Wake the waiting thread, or the next that waits."""
        try:
            self._lock.release()
        except RuntimeError:
            return  # rung already

    def hint(self) -> None:
        """Have the wait end soon: others may have something to say by then."""
        self.hinted = True
        self.ring()

    def wait(self, timeout: float, urgent: Callable[[], bool]) -> None:
        """Wait for a ring, `timeout` seconds at most.

        Parameters
        ----------
        timeout
            Seconds.
        urgent
            Says whether there is more than the hint to wake up for.
        """
        self._lock.acquire(timeout=timeout)
        if self.hinted and not urgent():
            self._lock.acquire(timeout=_SOON)
        self.hinted = False
