"""Score vectors in, the few sums of counts that their products with counts are multiples of, out.

A shift of any size is bet on along one score, and a rate of any size by one sum of cells: what many
alternatives gain is a handful of sums, times a factor each.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from otel_ml.types import FloatArray, IntArray

__all__ = ["Multiples"]

_DIGITS: Final = 12  # to which vectors must agree to be multiples of one another


class Multiples:
    """Products of fixed vectors with the counts of an evaluation.

    Parameters
    ----------
    vectors
        Scores of cells, shape ``(K, width)``.
    places
        Row of the counts each is multiplied with, shape ``(K,)``.

    Examples
    --------
    >>> twice = Multiples(np.array([[1.0, -1.0], [2.0, -2.0]]), np.array([0, 0]))
    >>> twice.products(np.array([[5, 3]]))
    array([2., 4.])
    """

    def __init__(self, vectors: FloatArray, places: IntArray) -> None:
        k, width = vectors.shape
        peaks = np.abs(vectors).argmax(axis=1) if k else np.zeros(0, dtype=np.int64)
        self._factors = vectors[np.arange(k), peaks]
        scaled = vectors / np.where(self._factors == 0, 1.0, self._factors)[:, None]
        keys = np.column_stack([places, np.round(scaled, _DIGITS)]) + 0.0
        first: dict[bytes, int] = {}
        found = [first.setdefault(key.tobytes(), i) for i, key in enumerate(keys)]
        which, self._of = np.unique(np.array(found, dtype=np.int64), return_inverse=True)
        told = scaled[which] != 0
        told[:, 0] |= ~told.any(axis=1)  # a sum of nothing is one of a cell times zero
        of, cells = np.nonzero(told)
        self._cells = places[which][of] * width + cells
        self._values = scaled[which][of, cells]
        self._starts = np.flatnonzero(np.diff(of, prepend=-1))

    def products(self, counts: NDArray[Any]) -> FloatArray:
        """Return the product of each vector with its row of the counts.

        Parameters
        ----------
        counts
            Rows by cell, shape ``(…, rows, width)``.

        Returns
        -------
        numpy.ndarray
            Shape ``(…, K)``.
        """
        lead = counts.shape[:-2]
        if not len(self._starts):
            return np.zeros((*lead, 0))
        parts = counts.reshape(*lead, -1).take(self._cells, axis=-1) * self._values
        sums = np.add.reduceat(parts, self._starts, axis=-1)
        return np.asarray(sums.take(self._of, axis=-1) * self._factors)
