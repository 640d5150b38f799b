"""Rows in cells and the scores they got in; out, how much the model uses each feature.

For a model that is not at hand. The score is explained by a sum of one effect per feature, each a
function of the feature's cell, all fitted at once: a feature that only goes along with one the
model uses gets no effect of its own. The sum is of the score, or of its log odds where that
explains a probability better (a logistic model is then described exactly).

Notes
-----
Least squares on indicators of cells with a small ridge, on log odds weighted by p (1 - p)
(generalised additive model; Hastie and Tibshirani 1990). Each feature's effects are noisy by a
known amount. They are shrunk by the share of their variance that is noise, and to zero where it
could be all of it (positive-part shrinkage; James and Stein 1961). Interactions that the sum cannot
express are left over, and a feature correlated with such a product of others can seem to be used.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from otel_ml.profile.cells import MOMENT_LIMIT, NumericCells
from otel_ml.profile.profile import Layout
from otel_ml.types import FloatArray, IntArray

__all__ = ["as_measured", "fit_effects", "sensitivities_of"]

_ROWS: Final = 20_000
_COLUMNS: Final = 4000
_ROWS_PER_COLUMN: Final = 4  # with fewer, single cells are too uncertain
_RIDGE: Final = 1e-4  # of a column's variance: copies of a feature share its effect
_RARE: Final = 0.1  # rows by which the effect of a rare cell is drawn to the most frequent one
_PRIOR: Final = 10.0  # rows by which the score of a rare cell is drawn to the mean
_NOISE: Final = 2.0  # times its expected noise must a feature's variance be, to count
_EDGE: Final = 1e-6  # probabilities closer to 0 and 1 have no useful log odds
_CHUNK: Final = 2000
_SHOWN: Final = 2000  # rows that compare the scales, and turn log odds into scores
_TOLD: Final = 0.25  # of the measured size: less, and the shape of the effect is noise


def fit_effects(
    layout: Layout,
    features: Sequence[str],
    codes: NDArray[np.int16],
    score: FloatArray,
    values: FloatArray | None = None,
) -> dict[str, FloatArray]:
    """Return what each cell of each feature adds to the score.

    Parameters
    ----------
    layout
        Sources and cells.
    features
        Names of the features among them.
    codes
        Cell of each row and source, shape ``(n, S)``.
    score
        Shape ``(n,)``; rows where it is not finite are left out.
    values
        Value of each row and source, shape ``(n, S)``, NaN where missing. With them, a model's
        response within a cell is told from that to a correlated feature.

    Returns
    -------
    dict
        Effects by feature, shape ``(cells,)``, in units of the score. Their mean under the
        reference law is zero; cells without rows have zero.

    Notes
    -----
    On up to 20,000 evenly spaced rows. With more than 4,000 columns, or fewer than four rows a
    column, each feature has a single column instead of one per cell: the mean score in its
    cells, drawn to the overall mean by ten rows.
    """
    known = [name for name in dict.fromkeys(features) if name in layout.index]
    sources = [layout.index[name] for name in known]
    effects = {n: np.zeros(layout.sources[s].size) for n, s in zip(known, sources, strict=True)}
    rows = np.flatnonzero(np.isfinite(score))
    rows = rows[np.linspace(0, len(rows) - 1, min(len(rows), _ROWS)).astype(np.int64)]
    y = np.asarray(score[rows], dtype=np.float64)
    if not known or len(rows) < 2 or not np.ptp(y) > 0:
        return effects
    cells = codes[rows][:, sources]
    within = None if values is None else _within(layout, sources, cells, values[rows][:, sources])
    shown = np.linspace(0, len(y) - 1, min(len(y), _SHOWN)).astype(np.int64)
    bounded = np.clip(y, _EDGE, 1 - _EDGE)
    odds, weight = np.log(bounded / (1 - bounded)), bounded * (1 - bounded)
    on_odds = False
    if y.min() >= 0 and y.max() <= 1:  # the cheap form of the fit tells which scale is better
        _, plain = _fit(cells, shown, None, y, np.ones(len(y)), one_column=True)
        _, logistic = _fit(cells, shown, None, odds, weight, one_column=True)
        errors = [np.square(y[shown] - p).mean() for p in (plain, _logistic(logistic))]
        on_odds = bool(errors[1] < errors[0])
    if on_odds:
        table, fitted = _fit(cells, shown, within, odds, weight)
        table = _on_score(table, cells[shown], fitted)
    else:
        table, _ = _fit(cells, shown, within, y, np.ones(len(y)))
    counts = _counts(cells, table.shape[1])
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    table = np.where(counts > 0, table - (shares * table).sum(axis=1, keepdims=True), 0.0)
    for effect, found in zip(effects.values(), table, strict=True):
        effect[: len(found)] = found[: len(effect)]
    return effects


def sensitivities_of(
    effects: Mapping[str, FloatArray], laws: Mapping[str, FloatArray]
) -> dict[str, float]:
    """Return by how much the score changes, in the mean, when a feature is shuffled.

    Parameters
    ----------
    effects
        From `fit_effects`.
    laws
        Reference law, or counts, over the cells of each feature, shape ``(cells,)``.

    Returns
    -------
    dict
        Mean of ``|h(x) - h(x')|`` over independent cells x and x' of the law, by feature; zero
        where there is no law.

    Examples
    --------
    >>> sensitivities_of({"x": np.array([-0.5, 0.5])}, {"x": np.array([3, 3])})
    {'x': 0.5}
    """
    out = {}
    for name, effect in effects.items():
        law = np.asarray(laws.get(name, np.zeros(len(effect))), dtype=np.float64)
        order = np.argsort(effect, kind="stable")
        below = np.cumsum(law[order])[:-1] / max(float(law.sum()), 1e-300)
        out[name] = float(2 * (np.diff(effect[order]) * below * (1 - below)).sum())
    return out


def _within(
    layout: Layout, sources: Sequence[int], cells: NDArray[np.int16], values: FloatArray
) -> NDArray[np.float32]:
    """Return where in its cell each value lies, in standard deviations, in three columns a feature.

    Zero is the mean of the cell. Low, usual and high values have a column each, since a model's
    response is rarely the same in all. Shape ``(n, F, 3)``.
    """
    out = np.zeros((*cells.shape, 3), dtype=np.float32)
    for f, s in enumerate(sources):
        kind = layout.sources[s]
        if not isinstance(kind, NumericCells):
            continue
        low, high = np.clip([kind.bounds[0], kind.bounds[-1]], -MOMENT_LIMIT, MOMENT_LIMIT)
        there = (cells[:, f] >= 0) & (cells[:, f] < kind.valid)
        span = (high - low) / 2  # a value further out than that would decide the slope alone
        value = np.where(there, np.clip(values[:, f], low - span, high + span), 0.0)
        code = np.where(there, cells[:, f], kind.valid).astype(np.int64)
        means = np.bincount(code, value) / np.maximum(np.bincount(code), 1)
        sd = float(np.std(value[there])) if there.any() else 0.0
        part = np.where(code <= 1, 0, np.where(code >= kind.valid - 2, 2, 1))
        out[np.arange(len(code)), f, part] = (value - means[code]) / (sd if sd > 0 else 1.0)
    return out


def _counts(cells: NDArray[np.int16], width: int) -> IntArray:
    return np.stack([np.bincount(c[c >= 0], minlength=width) for c in cells.T])


def _cell_columns(counts: IntArray, slopes: int) -> list[FloatArray]:
    """Return each feature's indicators by cell, ``(width + 1, k)``; cell -1 has zeros."""
    own = counts > 0
    own[np.arange(len(own)), counts.argmax(axis=1)] = False  # the most frequent is the origin
    out = []
    for used in own:
        basis = np.zeros((len(used) + 1, int(used.sum()) + slopes))
        basis[np.flatnonzero(used), np.arange(int(used.sum()))] = 1.0
        out.append(basis)
    return out


def _mean_columns(cells: NDArray[np.int16], counts: IntArray, y: FloatArray) -> list[FloatArray]:
    """Return each feature's shrunk mean score by cell, ``(width + 1, 1)``."""
    out = []
    for code, n in zip(cells.T, counts, strict=True):
        sums = np.bincount(code[code >= 0], (y - y.mean())[code >= 0], len(n))
        out.append(np.append(sums / (n + _PRIOR), 0.0)[:, None])
    return out


def _fit(
    cells: NDArray[np.int16],
    shown: IntArray,
    within: NDArray[np.float32] | None,
    y: FloatArray,
    weight: FloatArray,
    *,
    one_column: bool = False,
) -> tuple[FloatArray, FloatArray]:
    """Return the effect of each cell, shape ``(F, width)``, and what is fitted to some rows."""
    n, slopes = len(y), 0 if within is None else within.shape[2]
    counts = _counts(cells, int(cells.max()) + 1)
    bases = [] if one_column else _cell_columns(counts, slopes)
    columns = sum(basis.shape[1] for basis in bases)
    if one_column or columns > _COLUMNS or n < _ROWS_PER_COLUMN * columns:
        bases, within = _mean_columns(cells, counts, y), None
    ends = [0, *np.cumsum([basis.shape[1] for basis in bases]).tolist()]

    def design(rows: IntArray) -> NDArray[np.float32]:
        x = np.empty((len(rows), ends[-1]), dtype=np.float32)
        for i, (basis, (start, end)) in enumerate(zip(bases, pairwise(ends), strict=True)):
            x[:, start:end] = basis[cells[rows, i]]
            if within is not None:
                x[:, end - slopes : end] = within[rows, i]
        return x

    weight = weight / weight.mean()
    mean = float((weight * y).mean())
    gram, total, target = np.zeros((ends[-1], ends[-1])), np.zeros(ends[-1]), np.zeros(ends[-1])
    for rows in np.split(np.arange(n), np.arange(_CHUNK, n, _CHUNK)):
        root = np.sqrt(weight[rows]).astype(np.float32)
        x = design(rows) * root[:, None]
        gram += x.T @ x
        total += root @ x
        target += (root * (y[rows] - mean).astype(np.float32)) @ x
    gram, total, target = gram / n - np.outer(total, total) / n**2, total / n, target / n
    penalty = _RIDGE * np.diag(gram) + _RARE / n
    inverse = np.linalg.inv(gram + np.diag(penalty))
    slope = inverse @ target
    freedom = max(n - 1 - float((1 - penalty * np.diag(inverse)).sum()), 1.0)
    left = float((weight * np.square(y - mean)).mean() - 2 * slope @ target + slope @ gram @ slope)
    error = max(left, 0.0) / freedom
    table = np.zeros(counts.shape)
    for i, (basis, (start, end)) in enumerate(zip(bases, pairwise(ends), strict=True)):
        block = inverse[start:end]
        noise = error * (block[:, start:end] - (block * penalty) @ block.T)
        law = counts[i] / max(int(counts[i].sum()), 1)
        by_cell = basis[:-1] - law @ basis[:-1]
        spread = by_cell.T @ (law[:, None] * by_cell)
        size = float(slope[start:end] @ spread @ slope[start:end])
        kept = 1 - _NOISE * float((spread * noise).sum()) / size if size > 0 else 0.0
        table[i] = max(kept, 0.0) * (by_cell @ slope[start:end])
    return table, mean + (design(shown) - total) @ slope


def _logistic(odds: FloatArray) -> FloatArray:
    return np.asarray(1 / (1 + np.exp(-odds)))


def _on_score(table: FloatArray, cells: NDArray[np.int16], fitted: FloatArray) -> FloatArray:
    """Return effects on log odds as effects on the mean probability of the rows."""
    out = np.zeros(table.shape)
    for i, effect in enumerate(table):
        if effect.any():
            rest = fitted - np.append(effect, 0.0)[cells[:, i]]
            out[i] = _logistic(rest[:, None] + effect).mean(axis=0)
    return out


def as_measured(
    effects: Mapping[str, FloatArray],
    learned: Mapping[str, float],
    measured: Mapping[str, float],
) -> dict[str, FloatArray]:
    """Return effects of the size that was measured on the model itself.

    Parameters
    ----------
    effects, learned
        As `fit_effects` and `sensitivities_of` returned them.
    measured
        Mean absolute change of the score when a feature is shuffled, by feature.

    Returns
    -------
    dict
        Without the features whose use the rows alone did not show.
    """
    out = {}
    for name, effect in effects.items():
        size = measured.get(name)
        if size is None:
            out[name] = effect
        elif learned.get(name, 0.0) >= _TOLD * size and learned.get(name, 0.0) > 0:
            out[name] = effect * (size / learned[name])
    return out
