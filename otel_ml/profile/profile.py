"""Counts in, counts out: the mergeable summary of any piece of traffic.

A profile holds, for every *source* (a feature, the score, the predicted class, the duration of a
call), how many rows fell into each of its cells, and the first two moments of numeric ones. Its
size is fixed by the layout, whatever the traffic. Merging is addition: the counts are exact in any
order and grouping, the moments up to float64 rounding.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from otel_ml.errors import DataError
from otel_ml.profile.cells import Cells, cells_from_json, cells_to_json
from otel_ml.profile.matrix import Bounds
from otel_ml.types import FloatArray, IntArray

__all__ = ["Layout", "Profile"]


@dataclass(frozen=True)
class Layout:
    """The sources of a profile, in order, with the cells of each.

    Parameters
    ----------
    sources
        Cells of every source.
    """

    sources: tuple[Cells, ...]

    @cached_property
    def width(self) -> int:
        """Largest number of cells of a source."""
        return max((cells.size for cells in self.sources), default=0)

    @cached_property
    def bounds(self) -> Bounds:
        """Bounds of the numeric sources."""
        return Bounds.of(self.sources)

    @cached_property
    def index(self) -> Mapping[str, int]:
        """Position of each source by name."""
        return {cells.name: i for i, cells in enumerate(self.sources)}

    def to_json(self) -> list[dict[str, Any]]:
        """Return the layout as plain JSON values."""
        return [cells_to_json(cells) for cells in self.sources]

    @classmethod
    def from_json(cls, data: Sequence[Mapping[str, Any]]) -> Layout:
        """Return the layout that `to_json` wrote."""
        return cls(tuple(cells_from_json(item) for item in data))


class Profile:
    """Counts per source and cell.

    Parameters
    ----------
    layout
        Sources and their cells.
    counts
        Rows per cell, shape ``(S, width)``, int64; zeros where a source has fewer cells.
    moments
        Number, sum and sum of squares of each source's finite values, shape ``(S, 3)``.
    """

    __slots__ = ("counts", "layout", "moments")

    def __init__(
        self, layout: Layout, counts: IntArray | None = None, moments: FloatArray | None = None
    ) -> None:
        shape = (len(layout.sources), layout.width)
        self.layout = layout
        self.counts = np.zeros(shape, dtype=np.int64) if counts is None else counts
        self.moments = np.zeros((shape[0], 3)) if moments is None else moments
        if self.counts.shape != shape or self.moments.shape != (shape[0], 3):
            raise DataError(
                f"profile of shape {self.counts.shape} does not fit a layout of shape {shape}",
                remedy="restore it together with the reference it was made with",
            )

    def merge(self, other: Profile) -> Profile:
        """Return the profile of both pieces of traffic together.

        Raises
        ------
        DataError
            If the two were made with different cells.
        """
        if self.layout != other.layout:
            raise DataError(
                "profiles made with different references cannot be added",
                remedy="rebuild one of them with the reference of the other",
            )
        return Profile(self.layout, self.counts + other.counts, self.moments + other.moments)

    def add(self, other: Profile) -> None:
        """Add another profile of the same layout in place."""
        self.counts += other.counts
        self.moments += other.moments

    def of(self, name: str) -> IntArray:
        """Return the counts of one source, shape ``(cells,)``."""
        i = self.layout.index[name]
        return self.counts[i, : self.layout.sources[i].size]

    def rows(self, name: str) -> int:
        """Return the rows counted for one source."""
        return int(self.of(name).sum())

    def mean_sd(self, name: str) -> tuple[float, float]:
        """Return mean and standard deviation of a source's finite values; NaN where none."""
        n, total, squares = (float(v) for v in self.moments[self.layout.index[name]])
        if n == 0:
            return float("nan"), float("nan")
        mean = total / n
        return mean, max(squares / n - mean * mean, 0.0) ** 0.5

    def copy(self) -> Profile:
        """Return an independent copy."""
        return Profile(self.layout, self.counts.copy(), self.moments.copy())

    def to_json(self) -> dict[str, Any]:
        """Return counts and moments as plain JSON values; the layout is kept beside them."""
        return {
            "counts": {
                cells.name: self.counts[i, : cells.size].tolist()
                for i, cells in enumerate(self.layout.sources)
            },
            "moments": {
                cells.name: self.moments[i].tolist()
                for i, cells in enumerate(self.layout.sources)
                if self.moments[i, 0]
            },
        }

    @classmethod
    def from_json(cls, layout: Layout, data: Mapping[str, Any]) -> Profile:
        """Return the profile that `to_json` wrote.

        Raises
        ------
        DataError
            If a source of the layout is missing or has another number of cells.
        """
        profile = cls(layout)
        for i, cells in enumerate(layout.sources):
            values = data["counts"].get(cells.name)
            if values is None or len(values) != cells.size:
                raise DataError(
                    f"counts of {cells.name!r} are missing or do not have {cells.size} cells",
                    remedy="restore it together with the reference it was made with",
                )
            profile.counts[i, : cells.size] = values
            profile.moments[i] = data.get("moments", {}).get(cells.name, (0.0, 0.0, 0.0))
        return profile
