"""Predictions that were seen and not taken in, exact totals by reason out; no caller ever waits."""

from __future__ import annotations

import threading
from collections import deque
from typing import Final

__all__ = ["Losses"]

_FOLD_AT: Final = 256  # entries that wait before the thread that adds one folds them


class Losses:
    """Counts by reason that any number of threads add to.

    Notes
    -----
    A dictionary alone would lose increments when threads race, and a lock would make a request
    wait. So entries are appended, which is atomic, and folded into the totals by whoever gets the
    lock without waiting: memory stays bounded and no entry is lost.
    """

    def __init__(self) -> None:
        self._entries: deque[tuple[str, int]] = deque()
        self._totals: dict[str, int] = {}
        self._lock = threading.Lock()

    def add(self, reason: str, n: int = 1) -> None:
        """Count a loss."""
        self._entries.append((reason, n))
        if len(self._entries) >= _FOLD_AT and self._lock.acquire(blocking=False):
            try:
                self._fold()
            finally:
                self._lock.release()

    def totals(self) -> dict[str, int]:
        """Return the losses so far by reason; waits for a thread that is folding."""
        with self._lock:
            self._fold()
            return dict(self._totals)

    def _fold(self) -> None:
        # as many as are there now: threads that go on adding must not keep this one here
        for _ in range(len(self._entries)):
            reason, n = self._entries.popleft()
            self._totals[reason] = self._totals.get(reason, 0) + n
