"""Design effects and counts in, the counts that are old enough to be learned from out.

Rows of a session resemble each other: what the first of them say of the others is no sign of a
change. Counts of dependent rows wait until those that come now are of another session.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from otel_ml.types import FloatArray, IntArray

__all__ = ["Bucket", "Delay", "Lags"]

_DEPENDENT: Final = 1.5  # design effect from which the next rows may be of the same session
_SESSIONS: Final = 12.0  # design effects after which rows are of another one, also interleaved
_LONGEST: Final = 1000.0  # rows
_BUCKET_ROWS: Final = 50.0  # that are let go together


@dataclass(frozen=True, eq=False)
class Lags:
    """How late the rows of streams are learned.

    Parameters
    ----------
    design
        Design effect of each stream, shape ``(streams,)``.
    worth, lag, late
        By cell: what a row counts, rows that come before it is learned from, and whether there
        are any; shape ``(cells,)``.
    steps
        Distinct lags above zero, in order.
    """

    design: FloatArray
    worth: FloatArray
    lag: FloatArray
    late: NDArray[np.bool_]
    steps: list[float]

    @classmethod
    def of(cls, design: FloatArray, streams: IntArray) -> Lags:
        """Return the lags of streams; `streams` is that of each cell, shape ``(cells,)``."""
        lag = np.where(design < _DEPENDENT, 0.0, np.minimum(_SESSIONS * design, _LONGEST))
        by_cell = lag[streams]
        return cls(
            design, (1 / design)[streams], by_cell, by_cell > 0, sorted(set(lag[lag > 0].tolist()))
        )


@dataclass
class Bucket:
    """Counts that are not learned from yet, shape ``(cells,)``, and their rows."""

    seen: FloatArray
    expected: FloatArray
    rows: float = 0.0
    let_go: tuple[Lags, int] | None = None  # under which lags, and how many of them were over


class Delay:
    """Counts that wait, the oldest first."""

    def __init__(self) -> None:
        self.waiting: list[Bucket] = []

    def ripe(
        self, seen: FloatArray, expected: FloatArray, rows: float, lags: Lags
    ) -> tuple[FloatArray, FloatArray]:
        """Return what may be learned now: these rows where they are independent, else earlier."""
        late, lag, steps = lags.late, lags.lag, lags.steps
        if not steps and not self.waiting:
            return seen, expected
        later, owed = seen * late, expected * late
        known, due = seen - later, expected - owed
        if not self.waiting or self.waiting[-1].rows >= _BUCKET_ROWS:
            self.waiting.append(Bucket(later, owed, rows))
        else:
            newest = self.waiting[-1]
            newest.seen += later
            newest.expected += owed
            newest.rows += rows
        since = 0.0  # rows that came after a bucket was full
        for bucket in reversed(self.waiting):
            if bucket.let_go != (now := (lags, bisect_right(steps, since))):
                bucket.let_go = now  # else what is ripe by now has been let go already
                ripe = since >= lag
                known += bucket.seen * ripe
                due += bucket.expected * ripe
                bucket.seen[ripe] = bucket.expected[ripe] = 0.0
            since += bucket.rows
        while self.waiting and not self.waiting[0].expected.any():
            del self.waiting[0]
        return known, due

    def copy(self) -> Delay:
        """Return an independent copy."""
        other = Delay()
        other.waiting = [
            Bucket(b.seen.copy(), b.expected.copy(), b.rows, b.let_go) for b in self.waiting
        ]
        return other

    def forget(self, cells: NDArray[np.bool_]) -> None:
        """Forget what waits of some cells."""
        for bucket in self.waiting:
            bucket.seen[cells] = bucket.expected[cells] = 0.0

    def take(self, other: Delay, cells: int) -> None:
        """Take over what waits elsewhere of the first ones of so many cells."""
        for bucket in other.waiting:
            n = len(bucket.seen)
            mine = Bucket(np.zeros(cells), np.zeros(cells), bucket.rows)
            mine.seen[:n], mine.expected[:n] = bucket.seen, bucket.expected
            self.waiting.append(mine)
