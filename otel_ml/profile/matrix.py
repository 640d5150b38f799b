"""Numeric columns of a batch in, their cells and values out, all columns in one pass.

A comparison of a whole matrix with one bound of each column costs hardly more than that of a single
column: numpy's overhead per call is what counting small batches costs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from otel_ml.profile.cells import Cells, NumericCells
from otel_ml.turns import give_way
from otel_ml.types import FloatArray, IntArray

__all__ = ["Bounds"]

_BLOCK: Final = 1 << 15  # values compared at a time: they and their cells stay in the cache


@dataclass(frozen=True)
class Bounds:
    """Bounds of the numeric sources of a layout.

    Parameters
    ----------
    names
        Names of the sources.
    places
        Their positions in the layout, shape ``(F,)``.
    edges
        Bounds of each, the missing ones infinite, shape ``(B, F, 1)``.
    valid
        Number of cells that hold numbers, shape ``(F, 1)``; the defects follow.
    """

    names: tuple[str, ...]
    places: IntArray
    edges: FloatArray
    valid: NDArray[np.uint8]

    @classmethod
    def of(cls, sources: Sequence[Cells]) -> Bounds:
        """Return the bounds of those sources that are numeric."""
        numeric = [(i, c) for i, c in enumerate(sources) if isinstance(c, NumericCells)]
        most = max((len(c.bounds) for _, c in numeric), default=0)
        edges = np.full((most, len(numeric), 1), np.inf)
        for k, (_, cells) in enumerate(numeric):
            edges[: len(cells.bounds), k, 0] = cells.bounds
        return cls(
            tuple(c.name for _, c in numeric),
            np.array([i for i, _ in numeric], dtype=np.int64),
            edges,
            np.array([[c.valid] for _, c in numeric], dtype=np.uint8).reshape(-1, 1),
        )

    def fill(
        self,
        columns: Mapping[str, NDArray[Any]],
        codes: NDArray[np.int16],
        values: FloatArray,
    ) -> set[str]:
        """Write cells and values of all columns of floats; the same as `NumericCells.codes` says.

        Parameters
        ----------
        columns
            Columns by name, shape ``(n,)`` each.
        codes, values
            Filled in, shape ``(S, n)``.

        Returns
        -------
        set of str
            Names of the columns that were written; others are of another type.
        """
        taken = [
            k
            for k, name in enumerate(self.names)
            if (column := columns.get(name)) is not None and column.dtype == np.float64
        ]
        if not taken:
            return set()
        n = codes.shape[1]
        step = max(_BLOCK // max(n, 1), 1)
        for start in range(0, len(taken), step):
            part = taken[start : start + step]
            held = np.stack([columns[self.names[k]] for k in part])
            found = np.zeros(held.shape, dtype=np.uint8)
            above = np.empty(held.shape, dtype=bool)
            for edge in self.edges[:, part]:
                np.greater(held, edge, out=above)
                found += above.view(np.uint8)
            finite = np.isfinite(held)
            if not finite.all():
                valid = np.broadcast_to(self.valid[part], held.shape)
                missing = np.isnan(held)
                found = np.where(finite, found, valid + np.where(missing, 0, 1)).astype(np.uint8)
                held = np.where(finite, held, np.nan)
            places = self.places[part]
            codes[places] = found
            values[places] = held
            give_way()
        return {self.names[k] for k in taken}
