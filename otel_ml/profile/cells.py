"""A column of values in, one small cell number per value out: the maps all counting rests on.

A *cell* is a quantile bin, a category, or a named defect (missing, unseen, …). The cells of a
column are fixed by the reference, so counts of any two pieces of traffic can be added.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from otel_ml.profile.edges import edge_above, edge_below
from otel_ml.profile.values import category_key, category_keys, numeric_values
from otel_ml.stats.binning import quantile_edges
from otel_ml.types import FloatArray

__all__ = [
    "BELOW",
    "CategoryCells",
    "Cells",
    "NumericCells",
    "fixed_cells",
]

BELOW: Final = "below_range"
ABOVE: Final = "above_range"
MISSING: Final = "missing"
INFINITE: Final = "infinite"
NOT_A_NUMBER: Final = "not_a_number"
OTHER: Final = "other"
UNSEEN: Final = "unseen"

MOMENT_LIMIT: Final = 1e100  # squares and sums of clipped values stay finite in float64
_RARE_LIMIT: Final = 4096  # fingerprints kept of categories too rare to name
_HASH_CHARS: Final = 12
_SCARCE: Final = (1, 2, 4, 8, 16, 32, 64)
_MOST_TEXTS: Final = 10_000  # texts whose cell is remembered
_MARGIN: Final = 0.05  # of the range: values so little beyond all of the reference are no defect
_CONSTANT: Final = 1e-6  # the same of a constant


def fingerprint(key: str) -> str:
    """Return the fingerprint under which a rare known category is remembered."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()[:_HASH_CHARS]


@dataclass(frozen=True)
class NumericCells:
    """Cells of a numeric column: quantile bins, both ends, and the defects.

    Parameters
    ----------
    name
        Name of the column.
    bounds
        ``[low, e1, …, high]``, strictly increasing, shape ``(B + 1,)``: cell 0 is below the range
        the reference covers (its 0.1 and 99.9 percentiles), cells 1…B are its quantile bins
        ``(bounds[i-1], bounds[i]]``, cell B + 1 is above. Three defect cells follow: missing,
        infinite, not a number.
    """

    name: str
    bounds: tuple[float, ...]

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """Name of each cell."""
        pairs = list(zip(self.bounds, self.bounds[1:], strict=False))
        bins = [f"({a:g}, {b:g}]" for a, b in pairs]
        if len(set(bins)) < len(bins):  # six digits do not tell them apart
            bins = [f"({a!r}, {b!r}]" for a, b in pairs]
        return (BELOW, *bins, ABOVE, MISSING, INFINITE, NOT_A_NUMBER)

    @property
    def size(self) -> int:
        """Number of cells."""
        return len(self.bounds) + 4

    @property
    def valid(self) -> int:
        """Number of leading cells that hold numbers within float range."""
        return len(self.bounds) + 1

    def codes(self, column: NDArray[Any]) -> tuple[NDArray[np.uint8], FloatArray]:
        """Return the cell of each value and the values themselves.

        Parameters
        ----------
        column
            Shape ``(n,)``, any dtype.

        Returns
        -------
        codes
            Shape ``(n,)``.
        values
            Shape ``(n,)``, float64; NaN where the value is missing, infinite or no number.
        """
        values, text = numeric_values(column)
        codes = np.zeros(len(values), dtype=np.uint8)
        for bound in self.bounds:  # compare and count: NaN and -inf stay at zero
            codes += values > bound
        finite = np.isfinite(values)
        if not finite.all():
            codes[np.isnan(values)] = self.valid
            codes[np.isinf(values)] = self.valid + 1
            codes[text] = self.valid + 2
            values = np.where(finite, values, np.nan)
        return codes, values

    @classmethod
    def build(cls, name: str, column: NDArray[Any], *, bins: int = 12) -> NumericCells:
        """Return the cells of a reference column."""
        values, _ = numeric_values(column)
        values = values[np.isfinite(values)]
        if not len(values):
            return cls(name, (0.0, 1.0))
        known = np.unique(values)
        low, high = (float(v) for v in np.quantile(values, [0.001, 0.999], method="nearest"))
        margin = _MARGIN * (high - low) if high > low else max(abs(low), 1.0) * _CONSTANT
        inner = [edge_above(known, e, margin) for e in quantile_edges(values, bins).tolist()]
        bottom = edge_below(known, low, margin)
        top = edge_above(known, high, margin)
        return cls(name, (bottom, *sorted({e for e in inner if bottom < e < top}), top))


def fixed_cells(name: str, bounds: Sequence[float]) -> NumericCells:
    """Return numeric cells whose bounds do not come from data, such as those of durations."""
    return NumericCells(name, tuple(float(b) for b in bounds))


@dataclass(frozen=True)
class CategoryCells:
    """Cells of a categorical column: its most frequent values, the other known ones, the defects.

    Parameters
    ----------
    name
        Name of the column.
    categories
        Values with a cell of their own, most frequent first. Each is shared by at least *k* rows
        of the reference.
    rare
        Fingerprints of known values without a cell of their own; they count as ``other``.
    open_ended
        True where values never seen in the reference are expected (too many to list): they count
        as ``other`` as well.
    scarce
        How many values were seen at most 1, 2, 4, … 64 times: as many more are still to come.
    """

    name: str
    categories: tuple[str, ...]
    rare: frozenset[str] = frozenset()
    open_ended: bool = False
    scarce: tuple[int, ...] = (0,) * len(_SCARCE)

    def seen_once(self, design: float) -> int:
        """Return how many values came up once, where `design` rows are as good as one.

        By Good and Turing, the share of rows with a value never seen before is about this number
        divided by that of independent rows.
        """
        at = next((i for i, most in enumerate(_SCARCE) if most >= design), len(_SCARCE) - 1)
        return self.scarce[at]

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """Name of each cell; a category that is called like a defect is put in quotes."""
        defects = (OTHER, UNSEEN, MISSING)
        return (*(repr(c) if c in defects else c for c in self.categories), *defects)

    @property
    def size(self) -> int:
        """Number of cells."""
        return len(self.categories) + 3

    @property
    def valid(self) -> int:
        """Number of leading cells that hold known values."""
        return len(self.categories) + 1

    @cached_property
    def _index(self) -> dict[str | None, int]:
        index: dict[str | None, int] = {c: i for i, c in enumerate(self.categories)}
        index[None] = len(self.categories) + 2
        return index

    def codes(self, column: NDArray[Any]) -> tuple[NDArray[np.uint8], FloatArray | None]:
        """Return the cell of each value, shape ``(n,)``; categories have no values to add up."""
        if column.dtype.kind in "fiub":  # few distinct values: look each up once
            distinct, inverse = np.unique(column, return_inverse=True, equal_nan=True)
            table = np.array([self._code(k) for k in category_keys(distinct).tolist()] or [0])
            return table.astype(np.uint8)[inverse.reshape(-1)], None
        items = column.tolist()
        try:
            found = list(map(self._texts.get, items))
        except TypeError:  # a list or the like cannot be looked up
            found = [None] * len(items)
        for i, code in enumerate(found):
            if code is None:
                found[i] = self._look_up(items[i])
        return np.array(found, dtype=np.uint8), None

    @cached_property
    def _texts(self) -> dict[object, int]:
        """Cells of texts met before; other values are not kept, since True equals 1."""
        return {}

    def _look_up(self, item: object) -> int:
        code = self._code(category_key(item))
        if type(item) is str and len(self._texts) < _MOST_TEXTS:
            self._texts[item] = code
        return code

    def _code(self, key: str | None) -> int:
        code = self._index.get(key)
        if code is not None:
            return code
        known = self.open_ended or (key is not None and fingerprint(key) in self.rare)
        return len(self.categories) + (0 if known else 1)

    @classmethod
    def build(
        cls, name: str, column: NDArray[Any], *, top: int = 16, min_group: int = 10
    ) -> CategoryCells:
        """Return the cells of a reference column.

        Parameters
        ----------
        name
            Name of the column.
        column
            Shape ``(n,)``.
        top
            Categories that get a cell of their own.
        min_group
            A category shared by fewer rows is never named.
        """
        counts: dict[str, int] = {}
        for key in category_keys(column).tolist():
            if key is not None:
                counts[key] = counts.get(key, 0) + 1
        ranked = sorted(counts, key=lambda k: (-counts[k], k))
        named = tuple(k for k in ranked[:top] if counts[k] >= min_group)
        rest = [k for k in ranked if k not in set(named)]
        singletons = sum(counts[k] == 1 for k in rest)
        # many values seen once: as many again are still to come (Good-Turing), so "unseen" is
        # no defect in this column
        open_ended = len(rest) > _RARE_LIMIT or singletons > 0.05 * max(sum(counts.values()), 1)
        rare = frozenset() if open_ended else frozenset(fingerprint(k) for k in rest)
        scarce = tuple(sum(v <= most for v in counts.values()) for most in _SCARCE)
        return cls(name, named, rare, open_ended, scarce)


Cells = NumericCells | CategoryCells


def moments(values: FloatArray) -> FloatArray:
    """Return number, sum and sum of squares of the finite values, shape ``(3,)``."""
    finite = values[~np.isnan(values)]
    clipped = np.clip(finite, -MOMENT_LIMIT, MOMENT_LIMIT)
    return np.array([len(clipped), clipped.sum(), np.square(clipped).sum()])


def cells_to_json(cells: Cells) -> dict[str, Any]:
    """Return cells as plain JSON values."""
    if isinstance(cells, NumericCells):
        return {"kind": "numeric", "name": cells.name, "bounds": list(cells.bounds)}
    return {
        "kind": "categorical",
        "name": cells.name,
        "categories": list(cells.categories),
        "rare": sorted(cells.rare),
        "open_ended": cells.open_ended,
        "scarce": list(cells.scarce),
    }


def cells_from_json(data: Mapping[str, Any]) -> Cells:
    """Return the cells that `cells_to_json` wrote."""
    if data["kind"] == "numeric":
        return NumericCells(data["name"], tuple(float(b) for b in data["bounds"]))
    return CategoryCells(
        data["name"],
        tuple(data["categories"]),
        frozenset(data["rare"]),
        bool(data["open_ended"]),
        tuple(int(v) for v in data["scarce"]),
    )
