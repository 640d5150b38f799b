"""Labels with their rows in; labels whose delay is over out, as they would have arrived."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from otel_ml.config.units import Period
from otel_ml.types import FloatArray

__all__ = ["LateLabels"]


@dataclass(slots=True)
class _Waiting:
    due: FloatArray
    ids: Sequence[str]
    labels: Sequence[Any]
    taken: int = 0


class LateLabels:
    """Holds labels back until so many rows, or so much time in the data, have gone by.

    Parameters
    ----------
    delay
        Rows or seconds.
    """

    def __init__(self, delay: Period) -> None:
        self.delay = delay
        self.known = 0
        self.fed = 0
        self._held: deque[_Waiting] = deque()
        self._latest = -np.inf

    @property
    def on_their_way(self) -> int:
        """Labels whose delay is not over."""
        return self.known - self.fed

    def add(
        self, ids: Sequence[str], labels: Sequence[Any], rows: FloatArray, times: FloatArray
    ) -> None:
        """Hold labels back.

        Parameters
        ----------
        ids, labels
            Of the rows that have a label.
        rows, times
            Number and time of each of those rows, shape ``(n,)``.
        """
        if not len(ids):
            return
        due = rows + (self.delay.rows or 0)
        if self.delay.seconds:
            # a label never overtakes an earlier one: times may be out of order
            due = np.maximum(np.maximum.accumulate(times + self.delay.seconds), self._latest)
            self._latest = float(due[-1])
        self._held.append(_Waiting(due, ids, labels))
        self.known += len(ids)

    def due(self, row: int, now: float) -> tuple[list[str], list[Any]]:
        """Return ids and labels whose delay is over, the oldest first.

        Parameters
        ----------
        row
            Rows seen so far.
        now
            Time in the data.
        """
        limit = now if self.delay.seconds else float(row)
        ids: list[str] = []
        labels: list[Any] = []
        while self._held:
            first = self._held[0]
            end = int(np.searchsorted(first.due, limit, side="right"))
            ids += first.ids[first.taken : end]
            labels += first.labels[first.taken : end]
            first.taken = max(end, first.taken)
            if end < len(first.due):
                break
            self._held.popleft()
        self.fed += len(ids)
        return ids, labels
