"""Counts of rows, labels and calls in, what the next evaluation takes out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from otel_ml.labelled import fill
from otel_ml.types import FloatArray, IntArray

__all__ = ["Pending"]


class Pending:
    """What has been counted since the latest evaluation.

    Parameters
    ----------
    sources
        Number of sources.
    width
        Cells of the largest.

    Attributes
    ----------
    counts
        By source and cell, shape ``(sources, width)``.
    moments
        By source, shape ``(sources, 3)``.
    rows
        How many rows.
    coming
        Counts of the chunks that follow, of the reference's sources and of those that come after
        them, shapes ``(n, S, ≤ width)`` and ``(n, L, width)``; None where none are known.
    """

    def __init__(self, sources: int, width: int) -> None:
        self.counts = np.zeros((sources, width), dtype=np.int64)
        self.moments = np.zeros((sources, 3))
        self._label_rows = np.full(sources, -1, dtype=np.int64)
        self._slots: dict[int, int] = {}
        self.rows = 0
        self.coming: tuple[IntArray, IntArray] | None = None

    def __bool__(self) -> bool:
        """Tell whether anything waits."""
        return bool(self.counts.any())

    def add(self, source: int, counts: IntArray, sums: FloatArray | None = None) -> None:
        """Add the counts of one source, shape ``(cells,)``, and its moments."""
        self.counts[source, : len(counts)] += counts
        if sums is not None:
            self.moments[source] += sums

    def add_labels(self, source: int, counts: IntArray, first: int) -> None:
        """Add the counts of labels; `first` is the first row they are about."""
        self.add(source, counts)
        if self._label_rows[source] < 0 or first < self._label_rows[source]:
            self._label_rows[source] = first

    def add_rows(
        self, counts: IntArray, sums: FloatArray, rows: int, local: IntArray | None
    ) -> None:
        """Add counted rows of the first sources, and of those that come after them."""
        s, width = counts.shape
        self.counts[:s, :width] += counts
        self.moments[:s] += sums
        if local is not None:
            self.counts[s : s + len(local)] += local
        self.rows += rows

    def add_slots(self, slots: IntArray) -> None:
        """Take note of the slot of the week of rows, -1 where unknown, shape ``(n,)``."""
        if len(slots) and (one := int(slots.min())) == int(slots.max()):
            if one >= 0:  # as most often: all rows are of one hour
                self._slots[one] = self._slots.get(one, 0) + len(slots)
            return
        for slot, rows in zip(*np.unique(slots, return_counts=True), strict=True):
            if slot >= 0:
                self._slots[int(slot)] = self._slots.get(int(slot), 0) + int(rows)

    def slots(self) -> dict[int, float]:
        """Return the share of the rows whose time is known, by slot."""
        known = max(sum(self._slots.values()), 1)
        return {slot: n / known for slot, n in self._slots.items()}

    def evaluations(self, whole: int, *, partly: bool) -> float:
        """Return how many evaluations it is; parameters as of `State.next_counts`."""
        least = 1.0
        if partly and self.rows < whole:
            least = min(int(self.counts.sum(axis=1).max(initial=1)) / whole, 1.0)
        return max(least, self.rows / whole)

    def first_rows(self, start: int) -> IntArray:
        """Return the first row that each source's counts are about, where rows begin at `start`."""
        return np.where(self._label_rows >= 0, self._label_rows, start)

    def next(self, n: int) -> IntArray:
        """Return the counts of the next evaluations, if nothing but rows is counted till then.

        Returns
        -------
        numpy.ndarray
            Shape ``(≤ n, sources, width)``.
        """
        if self.coming is None:
            return np.zeros((0, *self.counts.shape), dtype=np.int64)
        counts, local = (part[:n] for part in self.coming)
        out = np.zeros((len(counts), *self.counts.shape), dtype=np.int64)
        s = counts.shape[1]
        out[:, :s, : counts.shape[2]] = counts
        out[:, s : s + local.shape[1]] = local
        return out

    def clear(self) -> None:
        """Wait for the next; arrays that were given out stay as they are."""
        self.counts = np.zeros_like(self.counts)
        self.moments = np.zeros_like(self.moments)
        self._label_rows[:] = -1
        self._slots = {}
        self.rows = 0

    def to_json(self) -> dict[str, Any]:
        """Return everything as plain JSON values."""
        return {
            "slots": [[k, v] for k, v in self._slots.items()],
            "pending": {
                "counts": self.counts.tolist(),
                "moments": self.moments.tolist(),
                "label_rows": self._label_rows.tolist(),
                "rows": self.rows,
            },
        }

    def restore(self, data: Mapping[str, Any]) -> None:
        """Take up what `to_json` wrote."""
        self._slots = {int(k): int(v) for k, v in data["slots"]}
        pending = data["pending"]
        fill(self.counts, pending["counts"])
        fill(self.moments, pending["moments"])
        fill(self._label_rows, pending["label_rows"])
        self.rows = int(pending["rows"])
