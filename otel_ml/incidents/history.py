"""Counts of the latest evaluations in, what happened since any of them out.

A ring of bounded length: the law after a change, its most likely row, and its size are read from it
when an incident opens.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from otel_ml.types import FloatArray, IntArray

__all__ = ["ChangePoint", "History"]

_DROP: Final = 3.0  # log-likelihood lost at the ends of the change point's interval (about 95 %)


@dataclass(frozen=True, slots=True)
class ChangePoint:
    """Where a law changed.

    Parameters
    ----------
    row
        Most likely first row after the change.
    lower, upper
        Rows whose likelihood is within a factor of 20 of it.
    """

    row: int
    lower: int
    upper: int


class History:
    """Counts and moments of the latest evaluations.

    Parameters
    ----------
    sources, width
        Shape of the count matrix.
    length
        Evaluations kept.
    """

    def __init__(self, sources: int, width: int, length: int = 256) -> None:
        self.length = length
        self.counts = np.zeros((length, sources, width), dtype=np.int32)
        self.moments = np.zeros((length, sources, 3))
        self.rows = np.zeros((length, sources), dtype=np.int64)
        self.taken = 0

    def add(self, counts: IntArray, moments: FloatArray, rows: IntArray) -> None:
        """Take an evaluation.

        Parameters
        ----------
        counts
            Rows per source and cell, shape ``(sources, width)``.
        moments
            Shape ``(sources, 3)``.
        rows
            First row that each source's counts are about, shape ``(sources,)``: labels are about
            predictions made long before.
        """
        slot = self.taken % self.length
        self.counts[slot] = counts
        self.moments[slot] = moments
        self.rows[slot] = rows
        self.taken += 1

    def _order(self) -> IntArray:
        """Return the slots from the oldest to the latest evaluation."""
        n = min(self.taken, self.length)
        return np.arange(self.taken - n, self.taken, dtype=np.int64) % self.length

    def since(self, source: int, row: int) -> tuple[IntArray, FloatArray]:
        """Return counts and moments of one source from a row on, shapes ``(width,)``, ``(3,)``."""
        order = self._order()
        late = order[self.rows[order, source] >= row]
        if not len(late):
            late = order[-1:]
        return self.counts[late, source].sum(axis=0, dtype=np.int64), self.moments[
            late, source
        ].sum(axis=0)

    def change_point(self, source: int, law: FloatArray) -> ChangePoint:
        """Estimate where one source left its reference law.

        The generalised likelihood ratio of "the law changed to its own empirical one at row *t*",
        over the evaluations kept.

        Parameters
        ----------
        source
            Its position.
        law
            Reference law, shape ``(cells,)``; cells of probability zero are ignored.
        """
        order = self._order()
        if not len(order):
            return ChangePoint(0, 0, 0)
        used = law > 0
        held = self.counts[order, source, : len(law)][:, used].astype(np.float64)
        after = np.cumsum(held[::-1], axis=0)[::-1]
        n = after.sum(axis=1, keepdims=True)
        p = law[used] / law[used].sum()
        with np.errstate(divide="ignore", invalid="ignore"):
            terms = after * np.log(after / (n * p))
        gain = np.nansum(terms, axis=1)
        # every free cell gains half a unit by chance, at every candidate alike: no penalty needed
        best = int(np.argmax(gain))
        near = np.flatnonzero(gain >= gain[best] - _DROP)
        rows = self.rows[order, source]
        upper = int(rows[min(int(near[-1]) + 1, len(rows) - 1)])
        return ChangePoint(int(rows[best]), int(rows[near[0]]), max(upper, int(rows[best])))
