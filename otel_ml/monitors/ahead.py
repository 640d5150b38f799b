"""Counts that are about to come in, evaluations found several at a time out.

A call of numpy takes longer than what it computes for one evaluation. Where the counts of several
are known, they are computed together and handed out one by one, each to the counts it was computed
for; where something else comes, or the sums are changed meanwhile, the rest is forgotten.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from otel_ml.types import FloatArray, IntArray

__all__ = ["Ahead", "Coming", "Damped", "Reach"]

Coming: TypeAlias = Callable[[int], IntArray]
_MOST_VALUES: Final = 1 << 14  # sums of all evaluations together: they stay in the cache
_MOST: Final = 16  # evaluations


@dataclass(eq=False)
class Ahead:
    """Evaluations that follow each other, found at once.

    Parameters
    ----------
    counts
        Counts of each, shape ``(n, sources, width)``.
    weight, slots, design
        As of `Detector.update`, the same for all.
    levels
        Sums after each, shape ``(n, alternatives)``.
    fresh
        Which of them restarted with it, of the same shape.
    evidence
        Evidence after each, shape ``(n, streams)``.
    at
        How many of them have been.
    """

    counts: IntArray
    weight: float
    slots: Mapping[int, float] | None
    design: FloatArray | None
    levels: FloatArray
    fresh: NDArray[np.bool_]
    evidence: FloatArray
    at: int = 0

    def takes(
        self,
        counts: IntArray,
        weight: float,
        slots: Mapping[int, float] | None,
        design: FloatArray | None,
    ) -> bool:
        """Tell whether the next evaluation was found for these."""
        return (
            self.at < len(self.counts)
            and design is self.design
            and weight == self.weight
            and slots == self.slots
            and np.array_equal(counts, self.counts[self.at])
        )

    def next(self) -> int:
        """Return the position of the next evaluation."""
        self.at += 1
        return self.at - 1


class Reach:
    """How many evaluations are worth being looked at together.

    Parameters
    ----------
    size
        Sums of one evaluation.
    """

    def __init__(self, size: int) -> None:
        self._most = max(min(_MOST_VALUES // max(size, 1), _MOST), 1)
        self._steps = 1

    def of(self, counts: IntArray, before: Ahead | None, coming: Coming | None) -> IntArray:
        """Return the counts of an evaluation and of those to look at with it.

        Parameters
        ----------
        counts
            Of the evaluation, shape ``(sources, width)``.
        before
            What was found the last time; where it came otherwise, fewer are looked at.
        coming
            As of `Detector.update`.
        """
        whole = before is not None and before.at == len(before.counts)
        self._steps = min(2 * self._steps, self._most) if whole else 1
        if coming is None or self._steps == 1:
            return counts[None]
        return np.concatenate([counts[None], coming(self._steps - 1)])


@dataclass(frozen=True, eq=False)
class Damped:
    """Design effects, as evaluations divide by them.

    Parameters
    ----------
    seen
        Of production, shape ``(sources,)``, or None.
    fixed
        By fixed alternative; None where all are 1.
    free
        By stream that learns.
    """

    seen: FloatArray | None
    fixed: FloatArray | None
    free: FloatArray

    @classmethod
    def of(
        cls, design: FloatArray, fixed: IntArray, free: IntArray, seen: FloatArray | None = None
    ) -> Damped:
        """Return the effects of streams, `design`, by what divides by them."""
        by = design[fixed]
        return cls(seen, None if (by == 1).all() else by, design[free])
