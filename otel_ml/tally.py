"""Batches of one model in, the counts that need no reference out: calls, durations, scores."""

from __future__ import annotations

from typing import Final

import numpy as np

from otel_ml.monitors import LATENCY_BOUNDS
from otel_ml.types import Batch, Buckets, FloatArray, IntArray

__all__ = ["DURATION_BOUNDS", "SCORE_BOUNDS", "SIZE_BOUNDS", "Tally"]

DURATION_BOUNDS: Final = LATENCY_BOUNDS
SCORE_BOUNDS: Final = tuple(round(0.05 * i, 2) for i in range(1, 20))
SIZE_BOUNDS: Final = tuple(float(m * 10**e) for e in range(6) for m in (1, 2, 5))
_MAX_ERRORS: Final = 20


class _Histogram:
    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = np.array(bounds)
        self.counts: IntArray = np.zeros(len(bounds) + 1, dtype=np.int64)
        self.sum = 0.0

    def add(self, values: FloatArray) -> None:
        finite = values[np.isfinite(values)]
        places = np.searchsorted(self.bounds, finite, side="left")
        self.counts += np.bincount(places, minlength=len(self.counts))
        self.sum += float(finite.sum())

    def buckets(self) -> Buckets:
        return Buckets(tuple(self.bounds.tolist()), tuple(self.counts.tolist()), self.sum)


class Tally:
    """Counts of calls since the start of the process."""

    def __init__(self) -> None:
        self.predictions = 0
        self.errors: dict[str, int] = {}
        self.durations = _Histogram(DURATION_BOUNDS)
        self.sizes = _Histogram(SIZE_BOUNDS)
        self.scores = _Histogram(SCORE_BOUNDS)
        self.confidences = _Histogram(SCORE_BOUNDS)

    def add(self, batch: Batch) -> bool:
        """Count a batch; true, as nothing is counted where this raises."""
        scores = None if batch.scores is None else _watched(batch.scores)
        for name in batch.errors:
            known = name if name in self.errors or len(self.errors) < _MAX_ERRORS else "_OTHER"
            self.errors[known] = self.errors.get(known, 0) + 1
        if batch.durations is not None:
            self.durations.add(batch.durations)
        if batch.sizes is not None:
            self.sizes.add(batch.sizes.astype(np.float64))
        if scores is not None:
            self.scores.add(scores[0])
            self.confidences.add(scores[1])
        self.predictions += batch.n
        return True


def _watched(scores: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the score of the positive or top class, and that of the top class, ``(n,)`` each."""
    if scores.ndim == 1 or scores.shape[1] == 1:
        score = scores.reshape(-1)
        return score, np.maximum(score, 1 - score)
    top = scores.max(axis=1)
    return (scores[:, 1] if scores.shape[1] == 2 else top), top
