"""Counts of two groups in, intervals of the difference and the ratio of their rates out.

Both hold at every number of rows at once, however often they are looked at.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import ArrayLike

from otel_ml.stats._betting import checked_counts, log_marginal, log_ratio
from otel_ml.types import FloatArray

__all__ = ["difference_interval", "ratio_interval"]

_HALVINGS: Final = 70
# Logarithms between which the multiplier of Lagrange is looked for; counts go up to about e**35.
_MULTIPLIER: Final = (-45.0, 75.0)


def difference_interval(
    k1: ArrayLike, n1: ArrayLike, k2: ArrayLike, n2: ArrayLike, *, alpha: float = 0.05
) -> tuple[FloatArray, FloatArray]:
    """Return an interval of ``p1 − p2`` that holds at every number of rows at once.

    All differences d for which some p has ``E1(p + d) E2(p) < 1 / alpha``.

    Parameters
    ----------
    k1, n1, k2, n2
        Successes and trials of two groups that share no row; shapes are broadcast.
    alpha
        Share of runs in which any of its intervals may ever miss.

    Returns
    -------
    tuple of FloatArray and FloatArray
        Lower and upper end, −1 to 1; both of them these where a group is empty and the other
        does not say otherwise.

    Raises
    ------
    DataError
        Where not ``0 <= k <= n`` or alpha is not between 0 and 1.

    Notes
    -----
    Null behaviour: with probability ``1 − alpha`` no interval ever misses, since the product of the
    evidence of independent groups is evidence. No grid: both logarithms are convex, so the ends are
    where ``(n p − k) / (p (1 − p))`` is λ for the first and −λ for the second group; λ is found by
    bisection, to 1e-12 of the ends (Waudby-Smith, Ramdas, 2024).

    Examples
    --------
    >>> low, high = difference_interval(80, 100, 50, 100)
    >>> bool(low > 0), bool(low < 0.3 < high)
    (True, True)
    """
    first, second = checked_counts(k1, n1, alpha), checked_counts(k2, n2, alpha)
    upper = _farthest_difference(*first, *second, -math.log(alpha))
    lower = -_farthest_difference(*second, *first, -math.log(alpha))
    return lower[()], upper[()]


def ratio_interval(
    k1: ArrayLike, n1: ArrayLike, k2: ArrayLike, n2: ArrayLike, *, alpha: float = 0.05
) -> tuple[FloatArray, FloatArray]:
    """Return an interval of ``p1 / p2`` that holds at every number of rows at once.

    All ratios r for which some p has ``E1(r p) E2(p) < 1 / alpha``.

    Parameters
    ----------
    k1, n1, k2, n2
        Successes and trials of two groups that share no row; shapes are broadcast.
    alpha
        Share of runs in which any of its intervals may ever miss.

    Returns
    -------
    tuple of FloatArray and FloatArray
        Lower end, 0 where k1 is 0, and upper end, +inf where k2 is 0.

    Raises
    ------
    DataError
        Where not ``0 <= k <= n`` or alpha is not between 0 and 1.

    Notes
    -----
    Null behaviour and error as for `difference_interval`, relative instead of absolute; the ends
    are where ``p1 = (k1 + μ) / (n1 + μ)`` and ``p2 = (k2 − μ) / (n2 − μ)`` (Waudby-Smith, Ramdas,
    2024).

    Examples
    --------
    >>> low, high = ratio_interval(80, 100, 50, 100)
    >>> bool(low > 1), bool(low < 1.6 < high)
    (True, True)
    """
    first, second = checked_counts(k1, n1, alpha), checked_counts(k2, n2, alpha)
    upper = _farthest_ratio(*first, *second, -math.log(alpha))
    with np.errstate(divide="ignore"):
        lower = 1.0 / _farthest_ratio(*second, *first, -math.log(alpha))
    return np.asarray(lower)[()], upper[()]


def _slope_rate(k: FloatArray, n: FloatArray, slope: FloatArray) -> FloatArray:
    """Return the p at which ``ln E`` rises with the given slope above zero."""
    gap = n - slope
    root = np.sqrt(gap * gap + 4 * slope * k)
    with np.errstate(invalid="ignore", divide="ignore"):
        # Two forms of one root, each free of cancellation on its side.
        steep = (root - gap) / (2 * slope)
        flat = 2 * k / (gap + root)
    return np.clip(np.where(gap <= 0, steep, flat), 0.0, 1.0)


def _farthest_difference(
    k1: FloatArray, n1: FloatArray, k2: FloatArray, n2: FloatArray, bound: float
) -> FloatArray:
    k1, n1, k2, n2 = np.broadcast_arrays(k1, n1, k2, n2)
    m1 = log_marginal(k1, n1, None, 0.0)
    m2 = log_marginal(k2, n2, None, 0.0)
    low, high = np.full(k1.shape, _MULTIPLIER[0]), np.full(k1.shape, _MULTIPLIER[1])
    for _ in range(_HALVINGS):
        half = (low + high) / 2
        slope = np.exp(half)
        p1, p2 = _slope_rate(k1, n1, slope), 1 - _slope_rate(n2 - k2, n2, slope)
        beyond = log_ratio(m1, k1, n1, p1) + log_ratio(m2, k2, n2, p2) >= bound
        low, high = np.where(beyond, low, half), np.where(beyond, half, high)
    slope = np.exp(high)
    return _slope_rate(k1, n1, slope) - (1 - _slope_rate(n2 - k2, n2, slope))


def _farthest_ratio(
    k1: FloatArray, n1: FloatArray, k2: FloatArray, n2: FloatArray, bound: float
) -> FloatArray:
    k1, n1, k2, n2 = np.broadcast_arrays(k1, n1, k2, n2)
    m1 = log_marginal(k1, n1, None, 0.0)
    m2 = log_marginal(k2, n2, None, 0.0)
    low, high = np.zeros(k1.shape), k2.copy()
    for _ in range(_HALVINGS):
        half = (low + high) / 2
        evidence = log_ratio(m1, k1, n1, _raised(k1, n1, half))
        evidence = evidence + log_ratio(m2, k2, n2, _lowered(k2, n2, half))
        beyond = evidence >= bound
        low, high = np.where(beyond, low, half), np.where(beyond, half, high)
    p1, p2 = _raised(k1, n1, high), _lowered(k2, n2, high)
    # Where all trials succeeded, p2 stays at 1 up to the largest multiplier, and then falls alone.
    left = bound - log_ratio(m1, k1, n1, p1) - m2
    alone = np.exp(-np.maximum(left, 0.0) / np.maximum(n2, 1))
    p2 = np.where(k2 == n2, alone, p2)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = p1 / p2
    return np.where(k2 == 0, np.inf, ratio)


def _raised(k: FloatArray, n: FloatArray, multiplier: FloatArray) -> FloatArray:
    total = n + multiplier
    return np.where(total > 0, (k + multiplier) / np.where(total > 0, total, 1.0), 1.0)


def _lowered(k: FloatArray, n: FloatArray, multiplier: FloatArray) -> FloatArray:
    total = n - multiplier
    return np.where(total > 0, (k - multiplier) / np.where(total > 0, total, 1.0), 1.0)
