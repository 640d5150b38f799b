"""A feature's reference rows in; out, the standardised columns by which it is related to others.

A number becomes one column: clipped to the range the reference covers, closer where the tails are
heavy, and standardised. A category becomes scores of its values: those that the columns of other
features predict best, found among the indicators of its most frequent values.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from otel_ml.profile.cells import MOMENT_LIMIT, CategoryCells, NumericCells
from otel_ml.types import FloatArray

__all__ = ["Design", "Number", "Scores", "best_scores", "digits", "indicators"]

MIN_PRESENT: Final = 100  # rows that must have a feature, …
MIN_SHARE: Final = 0.05  # … and their share of all rows
_MIN_GROUP: Final = 10  # rows with another value than the most frequent one
_TAILS: Final = (0.005, 0.01, 0.025, 0.05)
_REACH: Final = 6.0  # standard deviations; a normal column reaches 3.1 at its 99.9 percentile
_FLAT: Final = 1e-12  # spread relative to the size of the values, below which there is none
_RARE: Final = 0.005
_MOST_SCORES: Final = 3


def digits(values: FloatArray, figures: int) -> FloatArray:
    """Return numbers rounded to significant figures, the same on every machine."""
    return np.array([float(f"{v:.{figures}g}") for v in values.ravel().tolist()]).reshape(
        values.shape
    )


def _enough(present: int, rows: int) -> bool:
    return present >= max(MIN_PRESENT, MIN_SHARE * rows)


@dataclass(frozen=True, slots=True)
class Number:
    """The column ``(clip(value, low, high) - centre) * scale`` of a numeric feature.

    Parameters
    ----------
    feature, source
        Name of the feature, and its position in the layout.
    low, high
        Where it is clipped.
    centre, scale
        Mean and one over the standard deviation of the clipped values.
    """

    feature: str
    source: int
    low: float
    high: float
    centre: float
    scale: float

    @classmethod
    def build(cls, cells: NumericCells, source: int, values: FloatArray) -> Number | None:
        """Return the column of a reference, None where it is constant or mostly missing.

        Parameters
        ----------
        cells
            Of the feature.
        source
            Its position in the layout.
        values
            Shape ``(n,)``; NaN where missing.
        """
        held = np.clip(values[~np.isnan(values)], -MOMENT_LIMIT, MOMENT_LIMIT)
        if not _enough(len(held), len(values)):
            return None
        ends = [cells.bounds[0], cells.bounds[-1]]
        best: tuple[float, FloatArray, float, float] | None = None
        for tail in (0.0, *_TAILS):  # clip no closer than keeps single rows from deciding
            if tail:
                ends = np.quantile(held, [tail, 1 - tail], method="nearest").tolist()
            low, high = np.clip(ends, -MOMENT_LIMIT, MOMENT_LIMIT)
            clipped = np.clip(held, low, high)
            mean, sd = float(clipped.mean()), float(clipped.std())
            if not sd > max(_FLAT * max(abs(low), abs(high)), 1e-150):
                break
            reach = max(clipped.max() - mean, mean - clipped.min()) / sd
            if best is None or reach < best[0]:
                best = (reach, np.array([low, high]), mean, sd)
            if reach <= _REACH:
                break
        if best is None:
            return None
        _, (low, high), mean, sd = best
        centre = round(mean, 6 - math.floor(math.log10(sd)))
        return cls(cells.name, source, float(low), float(high), centre, float(f"{1 / sd:.9g}"))


@dataclass(frozen=True, slots=True)
class Scores:
    """The columns ``table[cell]`` of a categorical feature.

    Parameters
    ----------
    feature, source
        Name of the feature, and its position in the layout.
    table
        Shape ``(cells + 1, k)``, best predicted column first; zero for cells that are no known
        value, and in the last row, which cell -1 finds.
    valid
        Number of leading cells that are known values.
    """

    feature: str
    source: int
    table: FloatArray
    valid: int

    def columns(self, codes: NDArray[Any]) -> FloatArray:
        """Return the columns of rows by their cells, shape ``(n, k)``."""
        return np.asarray(self.table[codes])

    def present(self, codes: NDArray[Any]) -> NDArray[np.bool_]:
        """Tell which cells are known values."""
        return np.asarray((codes >= 0) & (codes < self.valid))


def indicators(cells: CategoryCells, source: int, codes: NDArray[Any], most: int) -> Scores | None:
    """Return the centred indicators of a category's frequent values, before scores are chosen.

    Parameters
    ----------
    cells
        Of the feature.
    source
        Its position in the layout.
    codes
        Cell of each reference row, shape ``(n,)``.
    most
        Indicators at most.

    Returns
    -------
    Scores or None
        All are divided by one number, so that their variances add up to one and a penalty shrinks
        rare values most. None where one value is (nearly) all there is.
    """
    counts = np.bincount(codes[codes >= 0], minlength=cells.size)[: cells.valid]
    total = int(counts.sum())
    if not _enough(total, len(codes)) or total - counts.max() < _MIN_GROUP:
        return None
    ranked = np.argsort(-counts, kind="stable")[:most]
    chosen = ranked[counts[ranked] >= max(_MIN_GROUP, _RARE * total)]
    shares = counts[chosen] / total
    table = np.zeros((cells.size + 1, len(chosen)))
    table[: cells.valid] = -shares
    table[chosen, np.arange(len(chosen))] += 1.0
    table /= math.sqrt(float((shares * (1 - shares)).sum()))
    return Scores(cells.name, source, table, cells.valid)


def best_scores(
    raw: Scores, variance: FloatArray, explained: FloatArray, codes: NDArray[Any], least: float
) -> Scores:
    """Return the scores of a category's values that other features predict best.

    Parameters
    ----------
    raw
        Its indicators.
    variance, explained
        Covariance of the indicators, and its part that other features explain, ``(k, k)``.
    codes
        Cell of each reference row, shape ``(n,)``.
    least
        Share of a score's variance that must be explained. Where no score reaches it, the most
        frequent value is told from all others.
    """
    size, axes = np.linalg.eigh(variance)
    kept = size > 1e-6 * size[-1]  # all indicators together add up to a constant
    whitening = axes[:, kept] / np.sqrt(size[kept])
    shares, inner = np.linalg.eigh(whitening.T @ explained @ whitening)
    number = min(int((shares >= least).sum()), _MOST_SCORES)
    weights = whitening @ inner[:, ::-1][:, :number]
    if number == 0:  # choosing the best of what is noise would make it look related
        number, weights = 1, np.eye(len(size))[:, :1]
    table = np.zeros((len(raw.table), number))
    known = slice(0, raw.valid)
    table[known] = raw.table[known] @ weights
    rows = table[codes[raw.present(codes)]]
    table[known] = (table[known] - rows.mean(axis=0)) / rows.std(axis=0)
    top = np.abs(table).argmax(axis=0)
    table *= np.sign(table[top, np.arange(number)])  # either sign would do: take one for good
    return Scores(raw.feature, raw.source, digits(table, 9), raw.valid)


@dataclass(frozen=True, eq=False)
class Design:
    """The columns of several features: those of the numeric ones, then of the categorical ones.

    Parameters
    ----------
    numbers, scores
        Columns of each feature.
    """

    numbers: tuple[Number, ...]
    scores: tuple[Scores, ...]

    def columns(
        self, codes: NDArray[Any], values: FloatArray
    ) -> tuple[FloatArray, NDArray[np.bool_]]:
        """Return the columns of rows, and which features they have.

        Parameters
        ----------
        codes, values
            Cell and value of each row and source, shape ``(n, S)``.

        Returns
        -------
        columns
            Shape ``(n, D)``; zero where a value is missing.
        present
            Shape ``(n, F)``.
        """
        x = np.empty((len(codes), self.starts[-1]))
        present = np.empty((len(codes), len(self.starts) - 1), dtype=bool)
        width = len(self.numbers)
        if width:
            numeric = x[:, :width]
            np.take(values, self._sources, axis=1, out=numeric, mode="clip")
            missing = np.isnan(numeric)
            low, high, centre, scale = self._scaling
            np.clip(numeric, low, high, out=numeric)
            numeric -= centre
            numeric *= scale
            numeric[missing] = 0.0
            np.logical_not(missing, out=present[:, :width])
        for i, s in enumerate(self.scores, start=width):
            x[:, self.starts[i] : self.starts[i + 1]] = s.columns(codes[:, s.source])
            present[:, i] = s.present(codes[:, s.source])
        return x, present

    @cached_property
    def features(self) -> tuple[str, ...]:
        """Names of the features."""
        return (*(c.feature for c in self.numbers), *(c.feature for c in self.scores))

    @cached_property
    def starts(self) -> list[int]:
        """First column of each feature, and the number of columns."""
        widths = [1] * len(self.numbers) + [s.table.shape[1] for s in self.scores]
        return [0, *np.cumsum(widths).tolist()]

    @cached_property
    def _sources(self) -> NDArray[np.int64]:
        return np.array([c.source for c in self.numbers], dtype=np.int64)

    @cached_property
    def _scaling(self) -> FloatArray:
        return np.array([[c.low, c.high, c.centre, c.scale] for c in self.numbers]).T

    def to_json(self) -> dict[str, Any]:
        """Return the columns as plain JSON values."""
        return {
            "numbers": [
                [c.feature, c.source, c.low, c.high, c.centre, c.scale] for c in self.numbers
            ],
            "scores": [[c.feature, c.source, c.valid, c.table.tolist()] for c in self.scores],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Design:
        """Return the columns that `to_json` wrote."""
        scores = (
            Scores(feature, source, np.array(table, dtype=np.float64), valid)
            for feature, source, valid, table in data["scores"]
        )
        return cls(tuple(Number(*item) for item in data["numbers"]), tuple(scores))
