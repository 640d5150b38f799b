"""Counts of the past in, alternatives of any shape for the next evaluation out.

What the tilts do not foresee is learned: the law of the latest rows, shrunk towards what was to be
expected of them, is the alternative for the next evaluation. It is known before the rows it is
tried on, so its likelihood ratio is an e-value however it was chosen: a Dirichlet-multinomial
factor, evaluated one evaluation at a time, with an exponentially fading past in place of a grid of
change points. Three memories serve sudden and slow changes.

Against a null that is a ball of total variation `radius` around the law, the ratio is divided by
its largest mean over the ball.

References: Robbins, Siegmund, "The expected sample size of some tests of power one", 1974; Lorden,
Pollak, "Nonanticipating estimation applied to sequential analysis", 2005.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from otel_ml.types import FloatArray, IntArray, Stream

__all__ = ["HALF_LIVES", "Learned"]

HALF_LIVES: Final = (2.0, 10.0, 60.0)  # evaluations
_PRIOR_ROWS: Final = 30.0  # rows' worth of belief that nothing changed
_MOST: Final = 8.0  # a cell's ratio is held within this factor, or the ball would cost too much
_DEPENDENT: Final = 1.5  # design effect from which the next rows may be of the same session
_SESSIONS: Final = 12.0  # design effects after which rows are of another one, also interleaved
_LONGEST: Final = 1000.0  # rows
_BUCKET_ROWS: Final = 50.0  # that are let go together
_FADE: Final = np.array([0.5 ** (1 / h) for h in HALF_LIVES])


class Learned:
    """Learned alternatives of some streams.

    Parameters
    ----------
    streams
        Those that have them.
    width
        Number of columns of the count matrix.
    places
        Row of the counts that each stream is asked of, shape ``(streams,)``; a row of its own each
        if left out.

    Notes
    -----
    Rows of a session resemble each other, so what the first rows of one say of the others is no
    sign of a change. Where rows depend on each other a law is learned only from those that are far
    enough in the past.
    """

    def __init__(
        self, streams: Sequence[Stream], width: int, places: IntArray | None = None
    ) -> None:
        self._shape = (len(streams), width)
        held = np.arange(len(streams)) if places is None else places
        used = np.zeros(self._shape, dtype=bool)
        for i, stream in enumerate(streams):
            used[i, : len(stream.law)] = stream.law > 0
        # the cells of all streams side by side: sources have different numbers of them
        self._of, cell = np.nonzero(used)
        self._own = np.flatnonzero(used)
        self._counted = held[self._of] * width + cell
        self._starts = np.flatnonzero(np.diff(self._of, prepend=-1))
        self._radius = np.array([s.radius for s in streams])
        self._seen = np.zeros((len(HALF_LIVES), len(cell)))
        self._expected = np.zeros_like(self._seen)
        self._waiting: list[_Bucket] = []
        self._laws: FloatArray | None = None
        self._law = self._prior = np.zeros(0)
        self._lags: _Lags | None = None

    def gains(
        self,
        seen: NDArray[Any],
        rows: FloatArray,
        laws: FloatArray,
        design: FloatArray,
        weight: float = 1.0,
    ) -> FloatArray:
        """Return the log e-value of an evaluation by stream and memory, then learn from it.

        Parameters
        ----------
        seen
            Rows by row of the counts and cell, shape ``(places, width)``.
        rows
            Rows that each stream asks about, shape ``(streams,)``.
        laws
            Law of each stream now, shape ``(streams, width)``. What follows from it is kept as long
            as the same array is given.
        design
            Design effect of each stream, shape ``(streams,)``; kept likewise.
        weight
            Evaluations it stands for, where more than one are taken at once.

        Returns
        -------
        numpy.ndarray
            Shape ``(streams · memories,)``.
        """
        if laws is not self._laws:
            self._laws, self._law = laws, laws.ravel().take(self._own)
            self._prior = _PRIOR_ROWS * self._law
        if self._lags is None or design is not self._lags.design:
            self._lags = _Lags.of(design, self._of)
        held = seen.ravel().take(self._counted).astype(np.float64)
        ratio = (self._seen + self._prior) / (self._expected + self._prior)
        np.maximum(ratio, 1 / _MOST, out=ratio)
        np.minimum(ratio, _MOST, out=ratio)
        spread = np.maximum.reduceat(ratio, self._starts, axis=1)
        spread -= np.minimum.reduceat(ratio, self._starts, axis=1)
        mean = np.add.reduceat(ratio * self._law, self._starts, axis=1)
        mean += self._radius * spread
        np.log(ratio, out=ratio)
        ratio *= held
        gain = np.add.reduceat(ratio, self._starts, axis=1)
        gain -= rows * np.log(mean)
        self._learn(held, rows, self._lags, _FADE ** max(weight, 1.0))
        return np.asarray((gain / design).T.ravel())

    def _learn(self, held: FloatArray, rows: FloatArray, lags: _Lags, fade: FloatArray) -> None:
        """Let the past fade, and take what may be learned of these rows."""
        known, due = self._known(held, rows.take(self._of) * self._law, rows, lags)
        by = fade[:, None]
        if not rows.all():  # nothing counted is nothing learned
            by = np.where((rows > 0).take(self._of), by, 1.0)
        self._seen *= by
        self._expected *= by
        self._seen += lags.worth * known
        self._expected += lags.worth * due

    def _known(
        self, seen: FloatArray, expected: FloatArray, rows: FloatArray, lags: _Lags
    ) -> tuple[FloatArray, FloatArray]:
        """Return what may be learned now: these rows where they are independent, else earlier."""
        late, lag = lags.late, lags.lag
        if not len(lags.steps) and not self._waiting:
            return seen, expected
        passed = float(rows.max(initial=0.0))
        if not self._waiting or self._waiting[-1].rows >= _BUCKET_ROWS:
            self._waiting.append(_Bucket(np.zeros_like(seen), np.zeros_like(expected)))
        newest = self._waiting[-1]
        newest.seen += np.where(late, seen, 0.0)
        newest.expected += np.where(late, expected, 0.0)
        newest.rows += passed
        known, due = np.where(late, 0.0, seen), np.where(late, 0.0, expected)
        since = 0.0  # rows that came after a bucket was full
        for bucket in reversed(self._waiting):
            if bucket.let_go != (now := (lags, int(np.searchsorted(lags.steps, since, "right")))):
                bucket.let_go = now  # else what is ripe by now has been let go already
                ripe = since >= lag
                known += np.where(ripe, bucket.seen, 0.0)
                due += np.where(ripe, bucket.expected, 0.0)
                bucket.seen[ripe] = bucket.expected[ripe] = 0.0
            since += bucket.rows
        while self._waiting and not self._waiting[0].expected.any():
            del self._waiting[0]
        return known, due

    def reset(self, which: IntArray) -> None:
        """Forget what some streams have learned."""
        if not len(which):
            return
        gone = np.isin(self._of, which)
        for part in (self._seen, self._expected):
            part[:, gone] = 0.0
        for bucket in self._waiting:
            bucket.seen[gone] = bucket.expected[gone] = 0.0

    def take(self, other: Learned) -> None:
        """Take over what the first streams have learned elsewhere."""
        n = len(other._of)
        self._seen[:, :n], self._expected[:, :n] = other._seen, other._expected
        for bucket in other._waiting:
            mine = _Bucket(np.zeros(len(self._of)), np.zeros(len(self._of)), bucket.rows)
            mine.seen[:n], mine.expected[:n] = bucket.seen, bucket.expected
            self._waiting.append(mine)

    def to_json(self) -> dict[str, Any]:
        """Return what is learned as plain JSON values."""
        return {
            "seen": self.seen.tolist(),
            "expected": self.expected.tolist(),
            "waiting": [
                {
                    "rows": b.rows,
                    "seen": self._wide(b.seen[None])[:, 0].tolist(),
                    "expected": self._wide(b.expected[None])[:, 0].tolist(),
                }
                for b in self._waiting
            ],
        }

    def restore(self, data: dict[str, Any]) -> None:
        """Take up what `to_json` wrote."""
        for part, name in ((self._seen, "seen"), (self._expected, "expected")):
            part[:] = self._narrow(data[name], len(HALF_LIVES))
        self._waiting = [
            _Bucket(
                self._narrow(item["seen"], 1)[0],
                self._narrow(item["expected"], 1)[0],
                float(item["rows"]),
            )
            for item in data["waiting"]
        ]

    @property
    def seen(self) -> FloatArray:
        """Fading counts, shape ``(streams, memories, width)``."""
        return self._wide(self._seen)

    @property
    def expected(self) -> FloatArray:
        """What was to be expected of as many rows, of the same shape."""
        return self._wide(self._expected)

    def _wide(self, part: FloatArray) -> FloatArray:
        """Return values by cell, shape ``(n, cells)``, as ``(streams, n, width)``."""
        streams, width = self._shape
        out = np.zeros((len(part), streams * width))
        out[:, self._own] = part
        return out.reshape(len(part), streams, width).transpose(1, 0, 2)

    def _narrow(self, values: Any, n: int) -> FloatArray:
        """Return what `_wide` made, shape ``(n, cells)``."""
        streams, width = self._shape
        wide = np.array(values, dtype=np.float64).reshape(streams, n, width)
        return wide.transpose(1, 0, 2).reshape(n, -1)[:, self._own]


@dataclass
class _Bucket:
    """Counts that are not learned from yet, shape ``(cells,)``, and their rows."""

    seen: FloatArray
    expected: FloatArray
    rows: float = 0.0
    let_go: tuple[_Lags, int] | None = None  # under which lags, and how many of them were over


@dataclass(frozen=True, eq=False)
class _Lags:
    """What follows from the design effects of the streams: how late their rows are learned."""

    design: FloatArray
    worth: FloatArray  # of a row, by cell
    lag: FloatArray  # rows, by cell
    late: NDArray[np.bool_]
    steps: FloatArray  # distinct lags above zero

    @classmethod
    def of(cls, design: FloatArray, streams: IntArray) -> _Lags:
        lag = np.where(design < _DEPENDENT, 0.0, np.minimum(_SESSIONS * design, _LONGEST))
        by_cell = lag[streams]
        return cls(design, (1 / design)[streams], by_cell, by_cell > 0, np.unique(lag[lag > 0]))
