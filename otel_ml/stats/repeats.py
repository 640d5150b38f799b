"""Counts by replicate, phase and cell in, how clearly the phases repeat, and their laws, out.

A replicate is a day or a week, a phase its hour or weekday. All comparisons are between
replicates, so whatever makes the rows within one resemble each other feigns no pattern.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from otel_ml.stats.special import normal_quantile
from otel_ml.types import FloatArray

__all__ = ["f_deviate", "ordered_scores", "repeat_score", "seasonal_law"]

_COMMON: Final = 0.02  # cells rarer than this are tested together
_HARMONICS: Final = 3
_LAGS: Final = 6
_COVERED: Final = 0.85  # share of the traffic of a whole day
_SLIVER: Final = 0.05  # days of so little weight are left out of the test
_PRIORS: Final = (0.05, 0.2, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0)
_KERNELS: Final = ((1.0,), (1.0, 0.5), (1.0, 0.75, 0.5, 0.25))


def ordered_scores(counts: FloatArray, ordered: int) -> FloatArray:
    """Return standardised location and spread scores of ordered cells.

    Parameters
    ----------
    counts
        Rows of each cell, shape ``(cells,)``.
    ordered
        Number of leading cells that are ordered; the rest (defects) score 0.

    Returns
    -------
    FloatArray
        Normal scores and their orthogonalised squares, mean 0 and variance 1 over the ordered
        rows, shape ``(cells, 2)``; zeros where the rows do not vary.

    Notes
    -----
    Under no change the sum over n independent ordered rows has mean 0 and variance n.

    Examples
    --------
    >>> ordered_scores(np.array([1.0, 2.0, 1.0, 0.0]), 3)[:, 0]
    array([-1.41421356,  0.        ,  1.41421356,  0.        ])
    """
    scores = np.zeros((len(counts), 2))
    part = counts[:ordered]
    total = part.sum()
    if total <= 0:
        return scores
    law = part / total
    middle = np.cumsum(law) - law / 2
    z = np.array([normal_quantile(min(max(float(p), 1e-6), 1 - 1e-6)) for p in middle])
    first = _standard(z, law, [])
    scores[:ordered, 0] = first
    scores[:ordered, 1] = _standard(np.square(first), law, [first])
    return scores


def _standard(values: FloatArray, law: FloatArray, against: list[FloatArray]) -> FloatArray:
    centred = values - law @ values
    for other in against:
        centred = centred - (law @ (centred * other)) * other
    variance = float(law @ np.square(centred))
    return centred / math.sqrt(variance) if variance > 1e-9 else np.zeros_like(values)


def f_deviate(ratio: float, over: float, under: float) -> float:
    """Return the normal deviate of a ratio of variances.

    Parameters
    ----------
    ratio
        From zero.
    over, under
        Degrees of freedom of numerator and denominator.

    Returns
    -------
    float
        About standard normal under equal variances.

    Notes
    -----
    Paulson, *An approximate normalization of the analysis of variance distribution*, 1942.
    Conservative in the upper tail below four.

    Examples
    --------
    >>> round(f_deviate(2.348, 10, 20), 2)  # the 95 % point
    1.65
    """
    root = max(ratio, 0.0) ** (1 / 3)
    a, b = 2 / (9 * over), 2 / (9 * under)
    return float(((1 - b) * root - (1 - a)) / math.sqrt(b * root * root + a))


def repeat_score(
    counts: FloatArray, expected: FloatArray, scores: FloatArray | None, *, smooth: bool
) -> float:
    """Return how clearly the phases differ in the same way in every replicate.

    Parameters
    ----------
    counts
        Rows, shape ``(replicates, phases, cells)``.
    expected
        Rows expected without a pattern, of the same shape.
    scores
        Scores of ordered cells, shape ``(cells, J)``, or None where cells have no order.
    smooth
        Whether neighbouring phases are expected to resemble each other (hours do).

    Returns
    -------
    float
        A normal deviate, the largest of those of all cells, of the scores and of smooth waves.

    Notes
    -----
    With no pattern it is below 5.6 but once in about 1e8, also where rows come in sessions or the
    law wanders within a day: the variance is that between replicates, and its degrees of freedom
    are those that correlated phases and cells leave.

    Examples
    --------
    >>> night = np.array([[[9.0, 1.0], [1.0, 9.0]], [[8.0, 2.0], [2.0, 8.0]]])
    >>> even = np.full((2, 2, 2), 5.0)
    >>> repeat_score(night, even, None, smooth=False) > repeat_score(even, even, None, smooth=False)
    True
    """
    weight = _weights(counts.sum(axis=2))
    kept = weight > _SLIVER * weight.max(initial=0.0)
    whole = kept & _complete(counts.sum(axis=2))
    kept = whole if whole.sum() > 1 else kept  # the level of half a day is not that of a day
    counts, expected, weight = counts[kept], expected[kept], weight[kept]
    if len(counts) < 2:
        return -math.inf
    size = counts.sum(axis=2, keepdims=True)
    level = (counts - expected).sum(axis=1, keepdims=True) / size.sum(axis=1, keepdims=True)
    difference = counts - expected - size * level  # of whole days: not a pattern of hours
    common = _common(difference, counts)
    share = counts.sum(axis=(0, 2)) / counts.sum()
    even = np.sqrt(np.maximum(share, 0.2 / len(share)))[:, None]  # empty hours have no say
    best = _between(common / even, weight)
    if scores is not None:
        best = max(best, _between(difference @ scores / even, weight))
    if smooth and len(counts) > 2:  # one difference between two says too little of waves
        bent = common if scores is None else difference @ scores
        waves = np.einsum("rpj,pw->rwj", bent, _waves(counts.shape[1], _HARMONICS))
        best = max(best, _between(waves, weight, correlated=False))
    return best


def _waves(phases: int, harmonics: int) -> FloatArray:
    angle = 2 * np.pi * np.arange(phases)[:, None] * np.arange(1, harmonics + 1) / phases
    return np.asarray(math.sqrt(2.0) * np.hstack([np.cos(angle), np.sin(angle)]))


def _common(difference: FloatArray, counts: FloatArray) -> FloatArray:
    """Differences standardised by cell, rare cells taken together."""
    total = counts.sum(axis=(0, 1))
    law = total / total.sum()
    rare = law < _COMMON
    merged = np.concatenate(
        [difference[..., ~rare], difference[..., rare].sum(axis=2, keepdims=True)], axis=2
    )
    weight = np.append(law[~rare], max(float(law[rare].sum()), _COMMON))
    return np.asarray(merged / np.sqrt(weight))


def _complete(size: FloatArray) -> NDArray[np.bool_]:
    """Whether a replicate has rows in nearly all phases that have any."""
    share = size.sum(axis=0) / max(float(size.sum()), 1e-300)
    return np.asarray((size > 0) @ share >= _COVERED)


def _weights(size: FloatArray) -> FloatArray:
    """Energy that each replicate has under no pattern, size ``(R, phases)``, up to a factor.

    Rows of a single hour have none: their own level is taken out.
    """
    total = np.maximum(size.sum(axis=1, keepdims=True), 1e-300)
    share = np.maximum(size.sum(axis=0) / max(float(size.sum()), 1e-300), 0.2 / size.shape[1])
    return np.asarray((size * (1 - size / total) / share).sum(axis=1))


def _between(table: FloatArray, weight: FloatArray, *, correlated: bool = True) -> float:
    """Deviate of the sum over replicates against their own energies, table ``(R, phases, J)``."""
    replicates = float(weight.sum() ** 2 / np.square(weight).sum())
    energy = float(np.square(table).sum())
    if energy <= 0:
        return 0.0
    ratio = float(np.square(table.sum(axis=0)).sum()) / energy
    scaled = table / np.sqrt(weight)[:, None, None]
    residual = scaled - np.sqrt(weight)[:, None, None] * table.sum(axis=0) / weight.sum()
    scatter = len(table) - 1
    if correlated:
        phases = (table.shape[1] - 1) / _phase_factor(residual)
        free = phases * _freedom(residual.reshape(-1, table.shape[2]), scatter * phases)
    else:
        free = _freedom(residual.reshape(len(table), -1), scatter)
    between = ratio * (replicates - 1) / max(replicates - ratio, 1e-9 * replicates)
    return f_deviate(between, max(free, 1.0), max((replicates - 1) * free, 1.0))


def _freedom(vectors: FloatArray, m: float) -> float:
    """Degrees of freedom of correlated coordinates, (tr Σ)² / tr Σ², from about m vectors."""
    m = max(m, 1.0)
    covariance = vectors.T @ vectors / m
    trace = float(np.trace(covariance))
    # the noise of the estimate taken out: E|S|² = tr Σ² (1 + 1/m) + (tr Σ)² / m
    squares = (float(np.square(covariance).sum()) - trace**2 / m) / (1 + 1 / m)
    least = float(np.square(np.diag(covariance)).sum()) / (1 + 2 / m)
    return trace**2 / max(squares, least, 1e-300)


def _phase_factor(residual: FloatArray) -> float:
    """By how much correlation between neighbouring phases takes degrees of freedom away."""
    phases = residual.shape[1]
    total = float(np.square(residual).sum())
    squares = 0.0
    for lag in range(1, min(_LAGS, phases // 2) + 1):
        product_sum = float((residual[:, lag:] * residual[:, :-lag]).sum())
        squares += (product_sum / total * phases / (phases - lag)) ** 2
    return 1 + 2 * squares


def seasonal_law(counts: FloatArray, expected: FloatArray, *, smooth: bool) -> FloatArray | None:
    """Return the log effects of the phases, pooled as much as predicts other replicates best.

    Parameters
    ----------
    counts
        Rows, shape ``(replicates, phases, cells)``.
    expected
        Rows expected without the pattern, of the same shape.
    smooth
        Whether neighbouring phases may be averaged.

    Returns
    -------
    FloatArray or None
        Log of the ratio to `expected`, shape ``(phases, cells)``; None where no amount of pooling
        predicts a replicate from the others better than no pattern does.

    Notes
    -----
    With no pattern the gain is negative on average, whatever the dependence within a replicate.

    Examples
    --------
    >>> night = np.array([[[90.0, 10.0], [10.0, 90.0]], [[80.0, 20.0], [20.0, 80.0]]])
    >>> np.round(seasonal_law(night, np.full((2, 2, 2), 50.0), smooth=False)[0], 1)
    array([ 0.5, -1.1])
    """
    best, chosen = 0.0, None
    law = expected.sum(axis=(0, 1)) / max(float(expected.sum()), 1e-300)
    others = counts.sum(axis=0) - counts, expected.sum(axis=0) - expected
    weights = [np.ones_like(law), law * len(law)]  # as many prior events in each cell, or rows
    priors = [prior * weight for prior in _PRIORS for weight in weights]
    for kernel in _KERNELS if smooth else _KERNELS[:1]:
        mix = _circulant(kernel, counts.shape[1])
        seen, due = mix @ others[0], mix @ others[1]
        for events in priors:
            logs = _log_ratio(seen, due, events, expected)
            gain = float((counts * logs).sum())
            if gain > best:
                best, chosen = gain, (mix, events)
    if chosen is None:
        return None
    mix, events = chosen
    seen, due = mix @ counts.sum(axis=0), mix @ expected.sum(axis=0)
    return _log_ratio(seen, due, events, expected.sum(axis=0))


def _circulant(kernel: tuple[float, ...], phases: int) -> FloatArray:
    mix = np.zeros((phases, phases))
    for step, weight in enumerate(kernel):
        for sign in {step, -step}:
            mix += weight * np.roll(np.eye(phases), sign, axis=1)
    return mix


def _log_ratio(
    seen: FloatArray, due: FloatArray, events: FloatArray, law: FloatArray
) -> FloatArray:
    """Pooled log ratio, so that the ratios keep the law of each phase a law."""
    ratio = (seen + events + 1e-9) / (due + events + 1e-9)
    total = np.maximum(law.sum(axis=-1, keepdims=True), 1e-300)
    kept = np.where(total > 1e-200, (law * ratio).sum(axis=-1, keepdims=True) / total, 1.0)
    return np.asarray(np.log(ratio) - np.log(np.maximum(kept, 1e-300)))
