"""Two vectors of counts in, checked counts or shares of one shape out."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from otel_ml.errors import DataError
from otel_ml.types import FloatArray

__all__ = ["defined", "pair", "shares"]


def pair(reference: ArrayLike, current: ArrayLike) -> tuple[FloatArray, FloatArray]:
    """Return two checked vectors of counts, broadcast to one shape."""
    p = np.asarray(reference, dtype=np.float64)
    q = np.asarray(current, dtype=np.float64)
    if not p.ndim or not q.ndim or p.shape[-1] != q.shape[-1]:
        raise DataError(
            f"counts of shapes {p.shape} and {q.shape} are not of the same cells",
            remedy="Count both in the cells of one reference.",
        )
    for counts in (p, q):
        if not np.all(np.isfinite(counts)) or np.any(counts < 0):
            raise DataError(
                "counts are negative or not finite", remedy="Give counts, not differences."
            )
    p, q = np.broadcast_arrays(p, q)
    return p, q


def shares(
    reference: ArrayLike, current: ArrayLike
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Return the shares of the cells on both sides, 0 for an empty side, and the totals."""
    p, q = pair(reference, current)
    n, m = p.sum(axis=-1), q.sum(axis=-1)
    p = p / np.where(n > 0, n, 1.0)[..., None]
    q = q / np.where(m > 0, m, 1.0)[..., None]
    return p, q, n, m


def defined(distance: FloatArray, n: FloatArray, m: FloatArray) -> FloatArray:
    """Return a distance, NaN where a side is empty."""
    result: FloatArray = np.where((n > 0) & (m > 0), distance, np.nan)[()]
    return result
