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
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from otel_ml.monitors.delay import Bucket, Delay, Lags
from otel_ml.types import FloatArray, IntArray, Stream

__all__ = ["HALF_LIVES", "Learned"]

HALF_LIVES: Final = (2.0, 10.0, 60.0)  # evaluations
_PRIOR_ROWS: Final = 30.0  # rows' worth of belief that nothing changed
_MOST: Final = 8.0  # a cell's ratio is held within this factor, or the ball would cost too much
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
        self._foreseen = np.zeros((2, 0, *self._seen.shape))
        self._behind = self._delayed = Delay()
        self._fed: list[tuple[FloatArray, FloatArray, float, Lags]] = []  # not yet to `_behind`
        self._steps = 0  # of them that have been learned from
        self._laws: FloatArray | None = None
        self._law = self._prior = np.zeros(0)
        self._lags: Lags | None = None

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
        gained = self.foresee(seen[None], rows[None], laws, design, weight)
        self.become(0)
        return np.asarray(gained[0])

    def foresee(
        self,
        seen: NDArray[Any],
        rows: FloatArray,
        laws: FloatArray,
        design: FloatArray,
        weight: float,
    ) -> FloatArray:
        """Return what `gains` would for evaluations one after the other, learning nothing yet.

        Parameters
        ----------
        seen, rows
            As of `gains`, with the evaluations in front.
        laws, design, weight
            As of `gains`, the same for all.

        Returns
        -------
        numpy.ndarray
            Shape ``(evaluations, streams · memories)``.
        """
        if laws is not self._laws:
            self._laws, self._law = laws, laws.ravel().take(self._own)
            self._prior = _PRIOR_ROWS * self._law
        if self._lags is None or design is not self._lags.design:
            self._lags = Lags.of(design, self._of)
        held = seen.reshape(len(seen), -1).take(self._counted, axis=1).astype(np.float64)
        due = rows.take(self._of, axis=1) * self._law
        past = self._pasts(held, due, rows, self._lags, _FADE ** max(weight, 1.0))
        ratio = (past[0, :-1] + self._prior) / (past[1, :-1] + self._prior)
        np.maximum(ratio, 1 / _MOST, out=ratio)
        np.minimum(ratio, _MOST, out=ratio)
        spread = np.maximum.reduceat(ratio, self._starts, axis=2)
        spread -= np.minimum.reduceat(ratio, self._starts, axis=2)
        mean = np.add.reduceat(ratio * self._law, self._starts, axis=2)
        mean += self._radius * spread
        np.log(ratio, out=ratio)
        ratio *= held[:, None]
        gain = np.add.reduceat(ratio, self._starts, axis=2)
        gain -= rows[:, None] * np.log(mean)
        gain /= design
        return gain.transpose(0, 2, 1).reshape(len(seen), -1)

    def become(self, step: int) -> None:
        """Learn from the next of the evaluations foreseen, the one at `step`."""
        self._seen, self._expected = self._foreseen[:, step + 1]
        self._steps += 1
        if step + 2 == self._foreseen.shape[1]:
            self._behind, self._fed, self._steps = self._delayed, [], 0

    @property
    def _delay(self) -> Delay:
        """What waits by now; it is seldom asked for before all that was foreseen has come."""
        for fed in self._fed[: self._steps]:
            self._behind.ripe(*fed)
        del self._fed[: self._steps]
        self._steps = 0
        return self._behind

    def _pasts(
        self, held: FloatArray, due: FloatArray, rows: FloatArray, lags: Lags, fade: FloatArray
    ) -> FloatArray:
        """Return what is learned by each evaluation, ``(2, evaluations + 1, memories, cells)``."""
        pasts = np.empty((2, len(held) + 1, *self._seen.shape))
        pasts[:, 0] = self._seen, self._expected
        self._delayed = self._delay.copy()
        passed = rows.max(axis=1, initial=0.0).tolist()
        self._fed = [(*fed, lags) for fed in zip(held, due, passed, strict=True)]
        if lags.steps or self._behind.waiting:
            known = [self._delayed.ripe(*fed) for fed in self._fed]
            held, due = (np.stack(part) for part in zip(*known, strict=True))
        for part, news in zip(pasts, (lags.worth * held, lags.worth * due), strict=True):
            for j, new in enumerate(news):
                by = fade[:, None]
                if not rows[j].all():  # nothing counted is nothing learned
                    by = np.where((rows[j] > 0).take(self._of), by, 1.0)
                np.multiply(part[j], by, out=part[j + 1])
                part[j + 1] += new
        self._foreseen = pasts
        return pasts

    def reset(self, which: IntArray) -> None:
        """Forget what some streams have learned."""
        if not len(which):
            return
        gone = np.isin(self._of, which)
        for part in (self._seen, self._expected):
            part[:, gone] = 0.0
        self._delay.forget(gone)

    def take(self, other: Learned) -> None:
        """Take over what the first streams have learned elsewhere."""
        n = len(other._of)
        self._seen[:, :n], self._expected[:, :n] = other._seen, other._expected
        self._delay.take(other._delay, len(self._of))

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
                for b in self._delay.waiting
            ],
        }

    def restore(self, data: dict[str, Any]) -> None:
        """Take up what `to_json` wrote."""
        for part, name in ((self._seen, "seen"), (self._expected, "expected")):
            part[:] = self._narrow(data[name], len(HALF_LIVES))
        self._delay.waiting = [
            Bucket(
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
