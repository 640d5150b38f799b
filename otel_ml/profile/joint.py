"""Rows in cells and values in; out, what each row has that its other features do not explain.

A change of correlations moves no single feature. It moves the *residual* of a feature: what is left
of it once all other features have predicted it, by a ridge regression fixed in the reference. And
where one feature moves, its own residual moves most, while features that merely follow it keep
theirs: residuals separate a cause from its followers. One more number per row, its Mahalanobis
distance, says how far out it is.

Notes
-----
A missing value counts as the mean. With ``P = (R + ridge I)^-1``, R the covariance matrix of the
standardised columns, every leave-one-feature-out regression is in P at once: the residual of column
j is ``(x P)_j / P_jj``, that of a feature of several columns ``(x P)_J inv(P_JJ)``, and the squared
distance is ``x P x`` (Lauritzen, *Graphical models*, 1996, §5.1). So is the residual of a row that
has been left out of the fit (Allen's PRESS, 1974), by which the ridge is chosen and it is decided
whether a feature can be predicted at all. The scores of categories are canonical variates
(Hotelling, *Relations between two sets of variates*, 1936).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from otel_ml.profile.cells import NumericCells
from otel_ml.profile.joint_columns import Design, Number, Scores, best_scores, digits, indicators
from otel_ml.profile.profile import Layout
from otel_ml.stats.products import quiet_product
from otel_ml.types import FloatArray

__all__ = ["DISTANCE", "RESIDUAL", "Joint"]

RESIDUAL: Final = "residual:"
DISTANCE: Final = "rows:out_of_distribution"
MIN_R2: Final = 0.02  # share of its variance that the others explain, to have a residual

_MIN_ROWS: Final = 300
_FIT_ROWS: Final = 20_000
_CHECK_ROWS: Final = 4_000  # of those, how many judge the ridge
_COLUMNS: Final = 1024  # of one matrix that is inverted
_INDICATORS: Final = 12
_RIDGES: Final = (1e-3, 1e-2, 1e-1, 1.0)
_FLOOR: Final = 1e-6  # of unexplained variance: a copy is predicted well enough
_FIGURES: Final = 7
_GRID: Final = 1e6  # residuals are whole millionths: rounding never moves one across an edge


@dataclass(frozen=True, eq=False)
class Joint:
    """Regressions of each feature on all others, frozen in the reference.

    Parameters
    ----------
    rows
        Number of reference rows they were fitted on.
    design
        The columns that features become.
    shares
        Share of the reference's rows that have each feature, shape ``(F,)``.
    explained
        Share of each feature's variance that the others explain, shape ``(F,)``; measured on rows
        left out of the fit.
    precision
        Inverse of the regularised covariance of all columns, shape ``(D, D)``.
    """

    rows: int
    design: Design
    shares: FloatArray
    explained: FloatArray
    precision: FloatArray

    @classmethod
    def build(
        cls,
        layout: Layout,
        features: Sequence[str],
        codes: NDArray[np.int16],
        values: FloatArray,
        *,
        most: int = 256,
    ) -> Joint | None:
        """Fit the regressions on the rows of a reference.

        Parameters
        ----------
        layout
            Sources and cells.
        features
            Names of the features among them.
        codes, values
            Cell and value of each row and source, shape ``(n, S)``.
        most
            Features to keep. Of more, those are kept that the others explain best; features are
            compared in blocks of about a thousand columns, in their order.

        Returns
        -------
        Joint or None
            None where there is nothing to relate: fewer than two features that vary and are
            mostly there, or fewer than 300 rows.
        """
        if len(codes) < _MIN_ROWS:
            return None
        picked = np.linspace(0, len(codes) - 1, min(len(codes), _FIT_ROWS)).astype(np.int64)
        codes, values = codes[picked], values[picked]
        known = [layout.index[name] for name in features if name in layout.index]
        categorical = sum(not isinstance(layout.sources[s], NumericCells) for s in known)
        each = int(np.clip(_COLUMNS // max(min(categorical, most), 1), 3, _INDICATORS))
        every: list[Number | Scores] = []
        for s in known:
            cells = layout.sources[s]
            column = (
                Number.build(cells, s, values[:, s])
                if isinstance(cells, NumericCells)
                else indicators(cells, s, codes[:, s], each)
            )
            every += [] if column is None else [column]
        if len(every) > most:
            judged = [cls._fit(part, codes, values) for part in _parts(every)]
            best = {name: r2 for joint in judged for name, r2 in joint.r2.items()}
            every.sort(key=lambda column: -best[column.feature])
            every = sorted(every[:most], key=lambda column: column.source)
        if len(every) < 2:
            return None
        joint = cls._fit(every, codes, values)
        return replace(joint, precision=digits(joint.precision, _FIGURES))

    @classmethod
    def _fit(
        cls, columns: Sequence[Number | Scores], codes: NDArray[np.int16], values: FloatArray
    ) -> Joint:
        numbers = tuple(c for c in columns if isinstance(c, Number))
        raw = Design(numbers, tuple(c for c in columns if isinstance(c, Scores)))
        design = Design(numbers, _choose(raw, codes, values))
        x, present = design.columns(codes, values)
        draft = cls(len(x), design, np.ones(0), np.ones(0), np.empty((0, 0)))
        covariance = x.T @ x / len(x)
        check = np.linspace(0, len(x) - 1, min(len(x), _CHECK_ROWS)).astype(np.int64)
        there = present[check]
        total = np.square(x[check][:, draft._first]).sum(axis=0, where=there)
        shares = digits(present.mean(axis=0), 9)
        best, least = draft, np.inf
        for ridge in _RIDGES:
            joint = replace(draft, shares=shares, precision=_inverse(covariance, ridge))
            left, _ = joint._residuals(x[check], held_out=True)
            unexplained = np.square(left).sum(axis=0, where=there) / np.maximum(total, 1e-9)
            loss = float(np.log(np.maximum(unexplained, _FLOOR)).mean())
            if loss < least:
                best, least = replace(joint, explained=np.round(1 - unexplained, 6)), loss
        return best

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of what `values` returns: residuals, then the distance."""
        return (*(RESIDUAL + n for n, r2 in self.r2.items() if r2 >= MIN_R2), DISTANCE)

    @cached_property
    def r2(self) -> Mapping[str, float]:
        """Share of each related feature's variance that the others explain."""
        return dict(zip(self.design.features, self.explained.tolist(), strict=True))

    def values(self, codes: NDArray[np.int16], values: FloatArray) -> FloatArray:
        """Return the residuals and the distance of rows.

        Parameters
        ----------
        codes, values
            Cell and value of each row and source, shape ``(n, S)``.

        Returns
        -------
        numpy.ndarray
            Shape ``(n, len(names))``. Residuals are in standard deviations of their feature, NaN
            where it is missing or no known value. The distance is divided by the square root of
            the number of columns, so that it is about 1 in the reference; NaN where nothing is
            there.
        """
        return self._answers(codes, values, held_out=False)

    def held_out(self, codes: NDArray[np.int16], values: FloatArray) -> FloatArray:
        """Return what `values` would, had each row been left out of the fit.

        For the reference's own rows: their law is then the one that new rows have, also where
        there were few rows for many features. Up to 20,000 rows were all part of the fit; of more,
        evenly spaced ones were, and the others are new already.
        """
        out = self._answers(codes, values, held_out=len(codes) <= self.rows)
        if len(codes) > self.rows:
            fitted = np.linspace(0, len(codes) - 1, self.rows).astype(np.int64)
            out[fitted] = self._answers(codes[fitted], values[fitted], held_out=True)
        return out

    def _answers(
        self, codes: NDArray[np.int16], values: FloatArray, *, held_out: bool
    ) -> FloatArray:
        x, present = self.design.columns(codes, values)
        residuals, distance = self._residuals(x, held_out=held_out)
        shown = self.explained >= MIN_R2
        out = np.empty((len(x), int(shown.sum()) + 1))
        out[:, :-1] = np.where(present, residuals, np.nan)[:, shown]
        out[:, -1] = np.where(present.any(axis=1), distance, np.nan)
        return np.asarray(np.rint(out * _GRID) / _GRID)

    def _residuals(self, x: FloatArray, *, held_out: bool) -> tuple[FloatArray, FloatArray]:
        """Return residuals of all features, shape ``(n, F)``, and distances, shape ``(n,)``."""
        u = quiet_product(x, self.precision)
        square = np.einsum("ij,ij->i", x, u)
        target = u[:, self._first]
        residual = target / np.diag(self.precision)[self._first]
        own = target * residual if held_out else None
        for i, (start, end) in enumerate(pairwise(self.design.starts)):
            if end - start > 1:
                inverse = np.linalg.inv(self.precision[start:end, start:end])
                block = quiet_product(u[:, start:end], inverse)
                residual[:, i] = block[:, 0]
                if own is not None:
                    own[:, i] = (u[:, start:end] * block).sum(axis=1)
        if own is not None or (self.shares < 1).any():
            y = x[:, self._first]
            predicted = y - residual
            if own is not None:
                leverage = np.clip((square[:, None] - own) / self.rows, 0.0, 0.99)
                predicted = (predicted - leverage * y) / (1 - leverage)
                square = square / np.clip(1 - square / self.rows, 0.01, 1.0)
            # a sum over all rows misses the share in which the feature itself was missing
            residual = y - predicted / self.shares
        return residual, np.sqrt(np.maximum(square, 0.0) / x.shape[1])

    @cached_property
    def _first(self) -> NDArray[np.int64]:
        return np.array(self.design.starts[:-1], dtype=np.int64)

    def to_json(self) -> dict[str, Any]:
        """Return everything as plain JSON values; of the symmetric matrix, one triangle."""
        return {
            "rows": self.rows,
            "columns": self.design.to_json(),
            "shares": self.shares.tolist(),
            "explained": self.explained.tolist(),
            "precision": self.precision[np.tril_indices(len(self.precision))].tolist(),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Joint:
        """Return what `to_json` wrote."""
        design = Design.from_json(data["columns"])
        precision = np.zeros((design.starts[-1],) * 2)
        precision[np.tril_indices(len(precision))] = data["precision"]
        precision += np.tril(precision, -1).T
        shares, explained = (np.array(data[k], dtype=np.float64) for k in ("shares", "explained"))
        return cls(int(data["rows"]), design, shares, explained, precision)


def _choose(raw: Design, codes: NDArray[np.int16], values: FloatArray) -> tuple[Scores, ...]:
    """Return the scores of each categorical feature that all other columns predict best."""
    if not raw.scores:
        return ()
    x, _ = raw.columns(codes, values)
    n, width = x.shape
    covariance = x.T @ x / n
    ridge = max(_RIDGES[0], 0.1 * width / n)
    precision = _inverse(covariance, ridge)
    out = []
    for scores, (start, end) in zip(
        raw.scores, pairwise(raw.starts[len(raw.numbers) :]), strict=True
    ):
        block, k = slice(start, end), end - start
        variance = covariance[block, block]
        explained = variance + ridge * np.eye(k) - np.linalg.inv(precision[block, block])
        # what the best of k scores shows against that many columns of noise (Johnstone 2008)
        noise = (np.sqrt(width / n) + np.sqrt(k / n)) ** 2
        rows = codes[:, scores.source]
        out.append(best_scores(scores, variance, explained, rows, MIN_R2 + noise))
    return tuple(out)


def _inverse(covariance: FloatArray, ridge: float) -> FloatArray:
    inverse = np.linalg.inv(covariance + ridge * np.eye(len(covariance)))
    return np.asarray((inverse + inverse.T) / 2)


def _parts(columns: Sequence[Number | Scores]) -> list[list[Number | Scores]]:
    """Return features in blocks whose columns fit into one matrix."""
    parts: list[list[Number | Scores]] = [[]]
    width = 0
    for column in columns:
        own = 1 if isinstance(column, Number) else column.table.shape[1]
        if width + own > _COLUMNS:
            parts.append([])
            width = 0
        parts[-1].append(column)
        width += own
    return parts
