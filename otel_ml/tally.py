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

    def add(self, batch: Batch) -> None:
        """Count a batch."""
        self.predictions += batch.n
        for name in batch.errors:
            known = name if name in self.errors or len(self.errors) < _MAX_ERRORS else "_OTHER"
            self.errors[known] = self.errors.get(known, 0) + 1
        if batch.durations is not None:
            self.durations.add(batch.durations)
        if batch.sizes is not None:
            self.sizes.add(batch.sizes.astype(np.float64))
        if batch.scores is not None and batch.scores.size:
            if batch.scores.ndim == 1 or batch.scores.shape[1] == 1:
                score = batch.scores.reshape(-1)
                top = np.maximum(score, 1 - score)
            else:
                top = batch.scores.max(axis=1)
                score = batch.scores[:, 1] if batch.scores.shape[1] == 2 else top
            self.scores.add(score)
            self.confidences.add(top)
