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
    """

    def __init__(self, streams: Sequence[Stream], width: int) -> None:
        self._radius = np.array([s.radius for s in streams])
        shape = (len(streams), len(HALF_LIVES), width)
        self.seen = np.zeros(shape)
        self.expected = np.zeros(shape)

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
        self.seen = fade * self.seen + worth * seen[:, None, :]
        self.expected = fade * self.expected + worth * (rows[:, None] * laws)[:, None, :]
        return np.asarray((gain / design[:, None]).reshape(-1))

    def reset(self, which: IntArray) -> None:
        """Forget what some streams have learned."""
        self.seen[which] = 0.0
        self.expected[which] = 0.0

    def take(self, other: Learned) -> None:
        """Take over what the first streams have learned elsewhere."""
        self.seen[: len(other.seen)] = other.seen
        self.expected[: len(other.expected)] = other.expected

    def to_json(self) -> dict[str, Any]:
        """Return what is learned as plain JSON values."""
        return {"seen": self.seen.tolist(), "expected": self.expected.tolist()}

    def restore(self, data: dict[str, Any]) -> None:
        """Take up what `to_json` wrote."""
        for part, name in ((self.seen, "seen"), (self.expected, "expected")):
            part[:] = np.array(data[name]).reshape(part.shape)
