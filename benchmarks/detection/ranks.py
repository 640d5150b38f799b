"""A column in, its values moved by a few ranks out: as good as new, and of the same law."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

_JITTER: Final = 0.005  # of all ranks
_ATOM: Final = 0.01  # a value more frequent than this stays


class Ranks:
    """A column by rank, so that a value can be moved without changing the law."""

    def __init__(self, values: NDArray[np.float64], rng: np.random.Generator) -> None:
        known = np.flatnonzero(np.isfinite(values))
        self.order = known[np.lexsort((rng.random(len(known)), values[known]))]
        self.sorted = values[self.order]
        self.rank = np.full(len(values), -1, dtype=np.int64)
        self.rank[self.order] = np.arange(len(known))
        _, back, counts = np.unique(values[known], return_inverse=True, return_counts=True)
        self.loose = np.zeros(len(values), dtype=bool)
        self.loose[known] = counts[back] <= _ATOM * len(values)

    def moved(
        self, values: NDArray[np.float64], chosen: NDArray[np.int64], rng: np.random.Generator
    ) -> NDArray[np.float64]:
        """Return the values of the chosen rows, each moved by a few ranks."""
        out = values[chosen]
        move = np.flatnonzero(self.loose[chosen])
        n = len(self.sorted)
        step = rng.uniform(-_JITTER * n, _JITTER * n, len(move)).astype(np.int64)
        rank = np.abs(self.rank[chosen[move]] + step)
        out[move] = self.sorted[np.where(rank >= n, 2 * n - 1 - rank, rank)]
        return out
