"""Counts of all sources since a change in, which streams moved and their laws before and after out.

Members of an incident say what changed. Streams that are no members say what did not, and that
tells causes apart just as well: "no feature moved", "the scores did not".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import numpy as np

from otel_ml.types import FloatArray, IntArray, Stream

__all__ = ["Counted", "Since"]

_CLEAR: Final = 6.0  # standard deviations of the chi-square by which a stream must have moved
_TOGETHER: Final = 7.0
_FLOOR: Final = 0.025  # total variation below which nothing is said to have moved
_ROWS: Final = 50


class Counted(Protocol):
    """What can tell the counts of a source from a row on, as `otel_ml.incidents.History` does."""

    def since(self, source: int, row: int) -> tuple[IntArray, FloatArray]:
        """Return counts and moments of one source from a row on."""
        ...  # pragma: no cover

    def after(self, source: int, row: int) -> tuple[IntArray, FloatArray]:
        """Return counts and moments of one source after a change at a row."""
        ...  # pragma: no cover


@dataclass(frozen=True, slots=True, eq=False)
class Since:
    """Counts and moments of every source since a change.

    Parameters
    ----------
    sources
        Position of each source, by name.
    counts
        Rows per source and cell, shape ``(sources, width)``.
    moments
        Number, sum and sum of squares, shape ``(sources, 3)``.
    before
        Mean and standard deviation of the reference by source; NaN where there are none.
    late
        Counts of the later half of the rows since the change, shape ``(sources, width)``, or None.
    """

    sources: Mapping[str, int]
    counts: IntArray
    moments: FloatArray
    before: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    late: IntArray | None = None

    @classmethod
    def of(
        cls,
        history: Counted,
        sources: Mapping[str, int],
        before: Mapping[str, tuple[float, float]],
        row: int,
        now: int,
    ) -> Since:
        """Read all sources from a history.

        Parameters
        ----------
        history
            Counts of the latest evaluations.
        sources, before
            As for the class.
        row
            Where the change most likely is.
        now
            Rows seen.
        """
        found = [history.after(i, row) for i in sources.values()]
        late = [history.since(i, (row + now) // 2)[0] for i in sources.values()]
        index = {name: i for i, name in enumerate(sources)}
        counts = _stacked([counts for counts, _ in found])
        return cls(index, counts, np.stack([m for _, m in found]), before, _stacked(late))

    def laws(self, stream: Stream, *, late: bool = False) -> tuple[FloatArray, FloatArray, float]:
        """Return the laws before and since over a stream's answers, and the rows since.

        Parameters
        ----------
        stream
            What is asked.
        late
            Take the later half of the rows only.
        """
        at = self.sources.get(stream.source)
        held = self.late if late else self.counts
        p = stream.asked(stream.law)
        p = p / p.sum()
        if at is None or held is None:
            return p, p, 0.0
        counted = stream.asked(held[at])
        n = float(counted.sum())
        return p, (counted + 0.5 * p) / (n + 0.5), n

    def moved(self, stream: Stream) -> bool:
        """Tell whether a stream is clearly away from its reference law.

        Notes
        -----
        Pearson's chi-square over the answers, six standard deviations above its mean, and a total
        variation of 0.025 at least, or what the stream's own null allows. Under no change this is
        rarer than one in a thousand streams.
        """
        found = self._chi(stream)
        if found is None:
            return False
        chi, dof, moved = found
        return chi > dof + _CLEAR * (2 * dof) ** 0.5 and moved >= max(_FLOOR, stream.radius)

    def stirred(self, streams: Iterable[Stream]) -> bool:
        """Tell whether streams moved a little together, though none need have moved clearly.

        Notes
        -----
        The sum of their chi-squares, seven standard deviations above its mean: streams are not
        independent, so the standard deviation of their sum is larger than if they were.
        """
        chi = dof = 0.0
        for stream in streams:
            found = self._chi(stream)
            if found is not None:
                chi, dof = chi + found[0], dof + found[1]
        return dof > 0 and chi > dof + _TOGETHER * (2 * dof) ** 0.5

    def _chi(self, stream: Stream) -> tuple[float, int, float] | None:
        """Return Pearson's chi-square, its degrees of freedom and the total variation."""
        p, q, n = self.laws(stream)
        if n < _ROWS or len(p) < 2:
            return None
        chi = float(n * (np.square(q - p) / np.maximum(p, 0.5 / n)).sum())
        return chi / max(stream.design, 1.0), len(p) - 1, float(np.abs(q - p).sum() / 2)

    def growth(self, stream: Stream) -> float | None:
        """Return total variation of the later half divided by that of the first, or None."""
        p, q, n = self.laws(stream)
        _, late, m = self.laws(stream, late=True)
        if m < 2 * _ROWS or n - m < 2 * _ROWS:
            return None
        early = (n * q - m * late) / (n - m)
        first = float(np.abs(early - p).sum() / 2)
        return round(float(np.abs(late - p).sum() / 2) / max(first, 1e-3), 3)

    def mean_sd(self, source: str) -> tuple[float, float] | None:
        """Return mean and standard deviation of a source since the change, where it has any."""
        at = self.sources.get(source)
        if at is None:
            return None
        number, total, squares = (float(v) for v in self.moments[at])
        if number < _ROWS:
            return None
        mean = total / number
        return mean, max(squares / number - mean * mean, 0.0) ** 0.5

    def described(self, stream: Stream) -> dict[str, Any]:
        """Return the facts of a stream, as `otel_ml.incidents.effect.describe` does."""
        from otel_ml.incidents.effect import describe

        at = self.sources.get(stream.source)
        if at is None:
            return {}
        nan = float("nan")
        before = self.before.get(stream.source, (nan, nan))
        return describe(stream, self.counts[at], self.moments[at], before)


def _stacked(rows: Sequence[IntArray]) -> IntArray:
    """Return counts of sources with different numbers of cells as one matrix."""
    out = np.zeros((len(rows), max(map(len, rows), default=0)), dtype=np.int64)
    for i, row in enumerate(rows):
        out[i, : len(row)] = row
    return out
