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

    Notes
    -----
    Rows of a session resemble each other, so what the first rows of one say of the others is no
    sign of a change. Where rows depend on each other a law is learned only from those that are far
    enough in the past.
    """

    def __init__(self, streams: Sequence[Stream], width: int) -> None:
        self._radius = np.array([s.radius for s in streams])
        shape = (len(streams), len(HALF_LIVES), width)
        self.seen = np.zeros(shape)
        self.expected = np.zeros(shape)
        self._waiting: list[_Bucket] = []

    def gains(
        self,
        seen: FloatArray,
        rows: FloatArray,
        laws: FloatArray,
        design: FloatArray,
        weight: float = 1.0,
    ) -> FloatArray:
        """Return the log e-value of an evaluation by stream and memory, then learn from it.

        Parameters
        ----------
        seen
            Rows per stream and cell, shape ``(streams, width)``.
        rows
            Their sums, shape ``(streams,)``.
        laws
            Law of each stream now, shape ``(streams, width)``.
        design
            Design effect of each stream, shape ``(streams,)``.
        weight
            Evaluations it stands for, where more than one are taken at once.

        Returns
        -------
        numpy.ndarray
            Shape ``(streams · memories,)``.
        """
        used = laws > 0
        prior = _PRIOR_ROWS * laws[:, None, :]
        ratio = (self.seen + prior) / np.where(used[:, None, :], self.expected + prior, 1.0)
        ratio = np.where(used[:, None, :], np.clip(ratio, 1 / _MOST, _MOST), 1.0)
        mean = np.einsum("sjc,sc->sj", ratio, laws)
        mean += self._radius[:, None] * (ratio.max(axis=2) - ratio.min(axis=2))
        gain = np.einsum("sjc,sc->sj", np.log(ratio), seen) - rows[:, None] * np.log(mean)
        asked = rows > 0  # nothing counted is nothing learned
        fade = np.where(asked[:, None], _FADE ** max(weight, 1.0), 1.0)[:, :, None]
        worth = (1 / design)[:, None, None]
        known, due = self._known(seen, rows[:, None] * laws, rows, design)
        self.seen = fade * self.seen + worth * known[:, None, :]
        self.expected = fade * self.expected + worth * due[:, None, :]
        return np.asarray((gain / design[:, None]).reshape(-1))

    def _known(
        self, seen: FloatArray, expected: FloatArray, rows: FloatArray, design: FloatArray
    ) -> tuple[FloatArray, FloatArray]:
        """Return what may be learned now: these rows where they are independent, else earlier."""
        lag = np.where(design < _DEPENDENT, 0.0, np.minimum(_SESSIONS * design, _LONGEST))
        late = lag > 0
        if not late.any() and not self._waiting:
            return seen, expected
        passed = float(rows.max(initial=0.0))
        if not self._waiting or self._waiting[-1].rows >= _BUCKET_ROWS:
            self._waiting.append(_Bucket(np.zeros_like(seen), np.zeros_like(expected)))
        self._waiting[-1].seen[late] += seen[late]
        self._waiting[-1].expected[late] += expected[late]
        self._waiting[-1].rows += passed
        known, due = np.where(late[:, None], 0.0, seen), np.where(late[:, None], 0.0, expected)
        since = 0.0  # rows that came after a bucket was full
        for bucket in reversed(self._waiting):
            ripe = since >= lag
            known[ripe] += bucket.seen[ripe]
            due[ripe] += bucket.expected[ripe]
            bucket.seen[ripe] = bucket.expected[ripe] = 0.0
            since += bucket.rows
        while self._waiting and not self._waiting[0].expected.any():
            del self._waiting[0]
        return known, due

    def reset(self, which: IntArray) -> None:
        """Forget what some streams have learned."""
        for part in (self.seen, self.expected):
            part[which] = 0.0
        for bucket in self._waiting:
            bucket.seen[which] = bucket.expected[which] = 0.0

    def take(self, other: Learned) -> None:
        """Take over what the first streams have learned elsewhere."""
        self.seen[: len(other.seen)] = other.seen
        self.expected[: len(other.expected)] = other.expected
        shape = (len(self.seen), self.seen.shape[2])
        for bucket in other._waiting:
            mine = _Bucket(np.zeros(shape), np.zeros(shape), bucket.rows)
            mine.seen[: len(bucket.seen)] = bucket.seen
            mine.expected[: len(bucket.expected)] = bucket.expected
            self._waiting.append(mine)

    def to_json(self) -> dict[str, Any]:
        """Return what is learned as plain JSON values."""
        return {
            "seen": self.seen.tolist(),
            "expected": self.expected.tolist(),
            "waiting": [
                {"rows": b.rows, "seen": b.seen.tolist(), "expected": b.expected.tolist()}
                for b in self._waiting
            ],
        }

    def restore(self, data: dict[str, Any]) -> None:
        """Take up what `to_json` wrote."""
        for part, name in ((self.seen, "seen"), (self.expected, "expected")):
            part[:] = np.array(data[name]).reshape(part.shape)
        shape = (len(self.seen), self.seen.shape[2])
        self._waiting = [
            _Bucket(
                np.array(item["seen"], dtype=np.float64).reshape(shape),
                np.array(item["expected"], dtype=np.float64).reshape(shape),
                float(item["rows"]),
            )
            for item in data["waiting"]
        ]


@dataclass
class _Bucket:
    """Counts that are not learned from yet, shape ``(streams, width)``, and their rows."""

    seen: FloatArray
    expected: FloatArray
    rows: float = 0.0
