"""Counts of the latest evaluations in, what happened since any of them out.

A ring of bounded length: the law after a change, its most likely row, and its size are read from it
when an incident opens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from otel_ml.types import FloatArray, IntArray, Stream

__all__ = ["ChangePoint", "History"]

_PRIOR_ROWS: Final = 200.0
_CLEAR_ROWS: Final = 50  # rows since a change that are enough to describe it
_DROP: Final = 3.0  # log-likelihood lost at the ends of the change point's interval (about 95 %)


@dataclass(frozen=True, slots=True)
class ChangePoint:
    """Where a law changed.

    Parameters
    ----------
    row
        Most likely first row after the change.
    lower, upper
        Rows whose likelihood is within a factor of 20 of it, to the ends of their evaluations.
    """

    row: int
    lower: int
    upper: int


class History:
    """Counts and moments of the latest evaluations.

    Parameters
    ----------
    sizes
        Number of cells of each source.
    length
        Evaluations kept; the longest time a change is looked for.
    """

    def __init__(self, sizes: Sequence[int], length: int = 160) -> None:
        self.length = length
        self.sizes = tuple(sizes)
        self._starts = np.concatenate([[0], np.cumsum(self.sizes)]).astype(np.int64)
        self._width = width = max(self.sizes, default=0)
        column = np.arange(len(self.sizes))[:, None] * width + np.arange(width)
        # cells side by side: sources have different numbers of them
        self._columns = column[np.arange(width) < np.array(self.sizes)[:, None]]
        self.counts = np.zeros((length, int(self._starts[-1])), dtype=np.int32)
        self.moments = np.zeros((length, len(self.sizes), 3))
        self.rows = np.zeros((length, len(self.sizes)), dtype=np.int64)
        self.taken = 0

    def add(self, counts: IntArray, moments: FloatArray, rows: IntArray) -> None:
        """Take an evaluation.

        Parameters
        ----------
        counts
            Rows per source and cell, shape ``(sources, width)``, width that of the largest source
            or more.
        moments
            Shape ``(sources, 3)``.
        rows
            First row that each source's counts are about, shape ``(sources,)``: labels are about
            predictions made long before.
        """
        slot = self.taken % self.length
        width = self._width
        held = counts if counts.shape[1] == width else counts[:, :width]
        self.counts[slot] = held.ravel().take(self._columns)
        self.moments[slot] = moments
        self.rows[slot] = rows
        self.taken += 1

    def _order(self) -> IntArray:
        """Return the slots from the oldest to the latest evaluation."""
        n = min(self.taken, self.length)
        return np.arange(self.taken - n, self.taken, dtype=np.int64) % self.length

    def since(self, source: int, row: int) -> tuple[IntArray, FloatArray]:
        """Return counts and moments of one source from a row on, shapes ``(cells,)``, ``(3,)``."""
        order = self._order()
        late = order[self.rows[order, source] >= row]
        if not len(late):
            late = order[-1:]
        counts = self._of(source)[late].sum(axis=0, dtype=np.int64)
        return counts, self.moments[late, source].sum(axis=0, dtype=np.float64)

    def after(self, source: int, row: int) -> tuple[IntArray, FloatArray]:
        """Return counts and moments of one source after a change, shapes ``(cells,)``, ``(3,)``.

        Parameters
        ----------
        source
            Position of the counted source.
        row
            Where the change most likely is.

        Notes
        -----
        The evaluation in which it changed holds rows of before as well, and is left out unless
        there are too few rows without it: labels of many rows may come at once.
        """
        counts, moments = self.since(source, row + 1)
        if int(counts.sum()) >= _CLEAR_ROWS:
            return counts, moments
        counted = self._counted(source)
        begun = counted[counted <= row]
        return self.since(source, int(begun.max())) if len(begun) else (counts, moments)

    def holds(self, source: int, row: int) -> bool:
        """Tell whether all is still kept that was counted of a source since a row."""
        return self.taken <= self.length or bool((self._counted(source) <= row).any())

    def latest(self, source: int) -> int:
        """Return the first row of the latest evaluation that counted anything of a source."""
        return int(self._counted(source).max(initial=-1))

    def _counted(self, source: int) -> IntArray:
        """Return the first rows of the evaluations that counted anything of a source."""
        order = self._order()
        counted: IntArray = self.rows[order, source][self._of(source)[order].any(axis=1)]
        return counted

    def _of(self, source: int) -> NDArray[np.int32]:
        return self.counts[:, self._starts[source] : self._starts[source + 1]]

    def change_point(self, source: int, stream: Stream, first_row: int = 0) -> ChangePoint:
        """Estimate where a stream left its reference law.

        The likelihood of "one law before row *t*, another one from there on" over the evaluations
        kept, with both laws at their best; the one before is held near the reference, so that a
        lasting difference too small to matter is not taken for the change.

        Parameters
        ----------
        source
            Position of the counted source.
        stream
            What is asked of its counts.
        first_row
            Rows before it are not looked at: an earlier incident's own end is no change.
        """
        order = self._order()
        held = stream.asked(self._of(source)[order])
        # evaluations that counted nothing here cannot tell when
        seen = (held.sum(axis=1) > 0) & (self.rows[order, source] >= first_row)
        order, held = order[seen], held[seen]
        if not len(order):
            return ChangePoint(0, 0, 0)
        total = held.sum(axis=0)
        before = np.cumsum(held, axis=0) - held
        p = stream.asked(stream.law)
        p = p / p.sum()
        gain = _fit(before, _PRIOR_ROWS * p) + _fit(total - before, 1e-9 * p)
        best = int(np.argmax(gain))
        near = np.flatnonzero(gain >= gain[best] - _DROP)
        rows = self.rows[order, source]
        first, last = max(int(near[0]) - 1, 0), int(near[-1])
        # the change is somewhere within an evaluation: that from which on rows look new, or the one
        # before, most of whose rows were old
        upper = int(rows[last + 1] if last + 1 < len(rows) else rows[last] + held[last].sum())
        lower = min(int(rows[first]), int(rows[best]))
        return ChangePoint(int(rows[best]), lower, max(upper, int(rows[best])))

    def to_json(self) -> dict[str, Any]:
        """Return everything that is kept as plain JSON values."""
        return {
            "counts": self.counts.tolist(),
            "moments": self.moments.tolist(),
            "rows": self.rows.tolist(),
            "taken": self.taken,
        }

    def restore(self, data: Mapping[str, Any]) -> None:
        """Take up what `to_json` wrote.

        Raises
        ------
        ValueError
            If it was written for other sources.
        """
        for name in ("counts", "moments", "rows"):
            part, held = getattr(self, name), np.asarray(data[name])
            if held.shape != part.shape:
                raise ValueError(f"{name} of shape {held.shape} in place of {part.shape}")
            part[:] = held
        self.taken = int(data["taken"])


def _fit(counts: FloatArray, prior: FloatArray) -> FloatArray:
    """Return the log-likelihood of counts under their own law, smoothed by `prior` rows.

    Parameters
    ----------
    counts
        Shape ``(candidates, cells)``.
    prior
        Rows per cell added for the law, shape ``(cells,)``.
    """
    rows = counts + prior
    law = rows / rows.sum(axis=1, keepdims=True)
    return np.asarray((counts * np.log(np.maximum(law, 1e-300))).sum(axis=1))
