"""One thread waits, others wake it: a ring in, the end of the wait out; no ring is ever blocked.

An `Event` takes a lock to be set, and hands over the interpreter while it holds it: a signal
handler that interrupts there and sets it, too, waits for ever. This is one lock, which rings open.
"""

from __future__ import annotations

import _thread
import time
from typing import Final

__all__ = ["Bell"]

_SOON: Final = 0.1  # seconds after a hint: to give one costs nothing, for nobody is woken


class Bell:
    """Wakes the one thread that waits for it; rung before, it does not wait.

    Attributes
    ----------
    hinted
        Set by whoever wants the wait to end soon, not at once.
    """

    __slots__ = ("_lock", "hinted")

    def __init__(self) -> None:
        # asked for here: gevent may have put locks of its own there since this was imported
        self._lock = _thread.allocate_lock()
        self._lock.acquire()
        self.hinted = False

    def ring(self) -> None:
        """Wake the waiting thread, or the next that waits."""
        try:
            self._lock.release()
        except RuntimeError:
            return  # rung already

    def wait(self, timeout: float) -> None:
        """Wait for a ring, `timeout` seconds at most, and soon no longer after a hint."""
        until = time.monotonic() + timeout
        while (left := until - time.monotonic()) > 0:
            if self._lock.acquire(timeout=min(left, _SOON)) or self.hinted:
                break
        self.hinted = False
