"""What an engine says, batch by batch, in; evidence over rows and drift in windows out; bounded."""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np

from otel_ml.profile import Reference
from otel_ml.profile.profile import Layout
from otel_ml.stats.distance import jensen_shannon, psi, total_variation
from otel_ml.types import FloatArray, IntArray

__all__ = ["DriftWindows", "EvidenceTrace", "RowTimes"]

_POINTS: Final = 2000
_WINDOWS: Final = 40
_LEAST_ROWS: Final = 200


class EvidenceTrace:
    """Evidence over rows: at most 2,000 points, each the highest of a stretch of rows."""

    def __init__(self) -> None:
        self.points: list[tuple[int, float]] = []
        self._stretch = 1

    def add(self, row: int, evidence_log10: float) -> None:
        """Add a point; a later one of the same stretch counts if it is higher."""
        if not math.isfinite(evidence_log10):
            return
        self._put(self.points, (row, evidence_log10))
        while len(self.points) > _POINTS:
            self._stretch *= 2
            points, self.points = self.points, []
            for point in points:
                self._put(self.points, point)

    def _put(self, points: list[tuple[int, float]], point: tuple[int, float]) -> None:
        if points and points[-1][0] // self._stretch == point[0] // self._stretch:
            points[-1] = max(points[-1], point, key=lambda p: p[1])
        else:
            points.append(point)

    def to_json(self) -> list[list[float]]:
        """Return ``[row, log10 evidence]`` of each point."""
        return [[row, round(value, 3)] for row, value in self.points]


class RowTimes:
    """The time of any row, from the first and last of batches; at most 4,000 are kept."""

    def __init__(self) -> None:
        self._rows: list[int] = []
        self._times: list[float] = []

    def add(self, row: int, time: float) -> None:
        """Keep the time at which a number of rows had been seen."""
        if len(self._rows) > 2 * _POINTS:
            del self._rows[1::2], self._times[1::2]
        self._rows.append(row)
        self._times.append(time)

    def at(self, row: float) -> float:
        """Return the time of a row, NaN before the first is known."""
        return float(np.interp(row, self._rows, self._times)) if self._rows else math.nan


class DriftWindows:
    """Counts per source in 20 to 40 windows of equal length, and their distance to the reference.

    Parameters
    ----------
    reference
        What they are compared with.
    """

    def __init__(self, reference: Reference) -> None:
        self.reference = reference
        self._before: IntArray = np.zeros_like(reference.profile.counts)
        self._spans: list[tuple[int, int]] = []
        self._counts: list[IntArray] = []
        self._rows = _LEAST_ROWS

    def add(self, first: int, last: int, total: IntArray) -> None:
        """Add what was counted since the last call.

        Parameters
        ----------
        first, last
            Rows seen before and after.
        total
            Counts of all rows so far, shape ``(S, width)``.
        """
        counted = total - self._before
        self._before = total.copy()
        if self._spans and self._spans[-1][1] - self._spans[-1][0] < self._rows:
            self._spans[-1] = (self._spans[-1][0], last)
            self._counts[-1] = self._counts[-1] + counted
        else:
            self._spans.append((first, last))
            self._counts.append(counted)
        if len(self._spans) > _WINDOWS:
            self._rows *= 2
            pairs = range(0, len(self._spans), 2)
            spans = self._spans
            self._spans = [(spans[i][0], spans[min(i + 1, len(spans) - 1)][1]) for i in pairs]
            self._counts = [sum(self._counts[i : i + 2], start=np.zeros_like(total)) for i in pairs]

    def to_json(self) -> list[dict[str, Any]]:
        """Return the distances of every source in every window as JSON values."""
        out: list[dict[str, Any]] = []
        layout: Layout = self.reference.layout
        before = self.reference.profile.counts
        for j, cells in enumerate(layout.sources):
            was = before[j, : cells.size]
            for span, counts in zip(self._spans, self._counts, strict=True):
                now = counts[j, : cells.size]
                n = int(now.sum())
                if n == 0 or was.sum() == 0:
                    continue
                out.append(
                    {
                        "window": list(span),
                        "feature": cells.name,
                        "total_variation": _number(total_variation(was, now)),
                        "jensen_shannon": _number(jensen_shannon(was, now)),
                        "psi": _number(psi(was, now)),
                        "noise": round(_noise(was, n), 4),
                        "n": n,
                    }
                )
        return out


def _number(value: FloatArray) -> float | None:
    plain = float(value)
    return round(plain, 5) if math.isfinite(plain) else None


def _noise(was: IntArray, n: int) -> float:
    """Return the total variation that n rows of the reference's own law have by chance."""
    p = was / was.sum()
    spread = np.sqrt(p * (1 - p) * (1 / n + 1 / float(was.sum())))
    return float(spread.sum() / math.sqrt(2 * math.pi))
