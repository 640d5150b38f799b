"""Counts of successes and trials in, intervals of rates, differences and ratios out.

`wilson` holds for one look at a number of rows fixed beforehand. The others hold at every number of
rows at once, however often they are looked at, because they invert a test by betting.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import ArrayLike

from otel_ml.errors import DataError
from otel_ml.stats.special import log_beta, normal_quantile, xlogy
from otel_ml.types import FloatArray

__all__ = [
    "confidence_sequence",
    "difference_interval",
    "log_evidence",
    "ratio_interval",
    "wilson",
]

# Halvings of an interval: of [0, 1], below the resolution of a double near 1.
_HALVINGS: Final = 60
# Logarithms between which the multiplier of Lagrange is looked for; counts go up to about e**35.
_MULTIPLIER: Final = (-45.0, 75.0)


def wilson(k: ArrayLike, n: ArrayLike, *, alpha: float = 0.05) -> tuple[FloatArray, FloatArray]:
    """Wilson score interval of a rate, for one look.

    ``(p̂ + z² / 2n ± z sqrt(p̂ (1 − p̂) / n + z² / 4n²)) / (1 + z² / n)``.

    Parameters
    ----------
    k, n
        Successes and trials; shapes are broadcast.
    alpha
        Share of intervals that may miss, 0.05 for 95 %.

    Returns
    -------
    tuple of FloatArray and FloatArray
        Lower and upper end; 0 and 1 where n is 0.

    Raises
    ------
    DataError
        Where not ``0 <= k <= n`` or alpha is not between 0 and 1.

    Notes
    -----
    Null behaviour: misses about alpha of the time for one n fixed beforehand; looked at at every n
    up to 1,000 it misses in more than half of all runs (Wilson, 1927; Brown, Cai, DasGupta,
    *Interval estimation for a binomial proportion*, 2001).

    Examples
    --------
    >>> low, high = wilson(8, 10)
    >>> round(float(low), 4), round(float(high), 4)
    (0.4902, 0.9433)
    """
    successes, trials = _counts(k, n, alpha)
    z = normal_quantile(1 - alpha / 2)
    some = np.maximum(trials, 1)
    share = successes / some
    middle = share + z**2 / (2 * some)
    half = z * np.sqrt(share * (1 - share) / some + (z / (2 * some)) ** 2)
    scale = 1 + z**2 / some
    lower = np.where(successes == 0, 0.0, (middle - half) / scale)
    upper = np.where(successes == trials, 1.0, (middle + half) / scale)
    return np.clip(lower, 0, 1)[()], np.clip(upper, 0, 1)[()]


def log_evidence(
    k: ArrayLike,
    n: ArrayLike,
    p: ArrayLike,
    *,
    centre: ArrayLike | None = None,
    strength: float = 100.0,
) -> FloatArray:
    """Return the natural logarithm of the evidence that a rate is not p.

    ``E(p) = B(a + k, b + n − k) / [B(a, b) p^k (1 − p)^(n − k)]`` with the Jeffreys prior a = b = ½;
    with a centre c, the mean of that and of ``a = ½ + s c, b = ½ + s (1 − c)``.

    Parameters
    ----------
    k, n
        Successes and trials; shapes are broadcast.
    p
        The rate asked about, 0 to 1.
    centre
        Where the rate is expected, such as the reference's; None: nowhere in particular.
    strength
        Rows that the expectation is worth.

    Returns
    -------
    FloatArray
        ``ln E``; above 0 speaks against p.

    Raises
    ------
    DataError
        Where not ``0 <= k <= n``, or centre or p are not between 0 and 1.

    Notes
    -----
    Null behaviour: E has mean 1 at every n and, by Ville's inequality, ever exceeds ``1 / α`` with
    probability α at most (Robbins, *Statistical methods related to the law of the iterated
    logarithm*, 1970).

    Examples
    --------
    >>> bool(log_evidence(80, 100, 0.5) > np.log(1e6)), bool(log_evidence(50, 100, 0.5) < 0)
    (True, True)
    """
    successes, trials = _counts(k, n, 0.5)
    rate = np.asarray(p, dtype=np.float64)
    if not np.all((rate >= 0) & (rate <= 1)):
        raise DataError("a rate is not between 0 and 1", remedy="Give a share, not a percentage.")
    marginal = _log_marginal(successes, trials, centre, strength)
    result: FloatArray = _log_ratio(marginal, successes, trials, rate)[()]
    return result


def confidence_sequence(
    k: ArrayLike,
    n: ArrayLike,
    *,
    alpha: float = 0.05,
    centre: ArrayLike | None = None,
    strength: float = 100.0,
) -> tuple[FloatArray, FloatArray]:
    """Return an interval of a rate that holds at every number of rows at once.

    All p with ``E(p) < 1 / alpha``, where E is that of `log_evidence`.

    Parameters
    ----------
    k, n
        Successes and trials so far; shapes are broadcast.
    alpha
        Share of runs in which any of its intervals may ever miss.
    centre, strength
        As in `log_evidence`; a good expectation makes the interval shorter, a bad one costs little.

    Returns
    -------
    tuple of FloatArray and FloatArray
        Lower and upper end; 0 and 1 where n is 0.

    Raises
    ------
    DataError
        Where not ``0 <= k <= n``, or alpha or centre are not between 0 and 1.

    Notes
    -----
    Null behaviour: with probability ``1 − alpha`` no interval ever misses a constant rate, whatever
    the looks. It is about 1.5 to 2 times as long as `wilson`'s, which is the price of looking. Ends
    are exact to 1e-15 (bisection) (Waudby-Smith, Ramdas, *Estimating means of bounded random
    variables by betting*, 2024).

    Examples
    --------
    >>> low, high = confidence_sequence(80, 100)
    >>> round(float(low), 3), round(float(high), 3)
    (0.666, 0.9)
    """
    successes, trials = _counts(k, n, alpha)
    marginal = _log_marginal(successes, trials, centre, strength)
    successes, trials, marginal = np.broadcast_arrays(successes, trials, marginal)
    bound = -math.log(alpha)
    middle = successes / np.maximum(trials, 1)
    lower = _cross(marginal, successes, trials, bound, np.zeros(middle.shape), middle)
    upper = _cross(marginal, successes, trials, bound, np.ones(middle.shape), middle)
    lower = np.where((successes == 0) | (trials == 0), 0.0, lower)
    upper = np.where((successes == trials) | (trials == 0), 1.0, upper)
    return lower[()], upper[()]


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
    first, second = _counts(k1, n1, alpha), _counts(k2, n2, alpha)
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
    first, second = _counts(k1, n1, alpha), _counts(k2, n2, alpha)
    upper = _farthest_ratio(*first, *second, -math.log(alpha))
    with np.errstate(divide="ignore"):
        lower = 1.0 / _farthest_ratio(*second, *first, -math.log(alpha))
    return np.asarray(lower)[()], upper[()]


def _counts(k: ArrayLike, n: ArrayLike, alpha: float) -> tuple[FloatArray, FloatArray]:
    successes, trials = np.broadcast_arrays(
        np.asarray(k, dtype=np.float64), np.asarray(n, dtype=np.float64)
    )
    if not np.all((successes >= 0) & (successes <= trials) & np.isfinite(trials)):
        raise DataError("successes are not between 0 and the trials", remedy="Give counts.")
    if not 0 < alpha < 1:
        raise DataError(f"alpha is {alpha}, not between 0 and 1", remedy="Give 0.05 for 95 %.")
    return successes, trials


def _log_marginal(
    k: FloatArray, n: FloatArray, centre: ArrayLike | None, strength: float
) -> FloatArray:
    jeffreys = log_beta(0.5 + k, 0.5 + n - k) - log_beta(0.5, 0.5)
    if centre is None:
        return np.asarray(jeffreys)
    c = np.asarray(centre, dtype=np.float64)
    if not np.all((c >= 0) & (c <= 1)) or not 0 <= strength < math.inf:
        raise DataError("the centre is not between 0 and 1", remedy="Give the reference's rate.")
    a, b = 0.5 + strength * c, 0.5 + strength * (1 - c)
    expected = log_beta(a + k, b + n - k) - log_beta(a, b)
    return np.asarray(np.logaddexp(jeffreys, expected) - math.log(2))


def _log_ratio(marginal: FloatArray, k: FloatArray, n: FloatArray, p: FloatArray) -> FloatArray:
    return np.asarray(marginal - xlogy(k, p) - xlogy(n - k, 1 - p))


def _cross(
    marginal: FloatArray,
    k: FloatArray,
    n: FloatArray,
    bound: float,
    outside: FloatArray,
    inside: FloatArray,
) -> FloatArray:
    for _ in range(_HALVINGS):
        half = (outside + inside) / 2
        beyond = _log_ratio(marginal, k, n, half) >= bound
        outside, inside = np.where(beyond, half, outside), np.where(beyond, inside, half)
    # The outer side of the last interval, so that rounding never shortens the result.
    return outside


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
    m1 = _log_marginal(k1, n1, None, 0.0)
    m2 = _log_marginal(k2, n2, None, 0.0)
    low, high = np.full(k1.shape, _MULTIPLIER[0]), np.full(k1.shape, _MULTIPLIER[1])
    for _ in range(_HALVINGS + 10):
        half = (low + high) / 2
        slope = np.exp(half)
        p1, p2 = _slope_rate(k1, n1, slope), 1 - _slope_rate(n2 - k2, n2, slope)
        beyond = _log_ratio(m1, k1, n1, p1) + _log_ratio(m2, k2, n2, p2) >= bound
        low, high = np.where(beyond, low, half), np.where(beyond, half, high)
    slope = np.exp(high)
    return _slope_rate(k1, n1, slope) - (1 - _slope_rate(n2 - k2, n2, slope))


def _farthest_ratio(
    k1: FloatArray, n1: FloatArray, k2: FloatArray, n2: FloatArray, bound: float
) -> FloatArray:
    k1, n1, k2, n2 = np.broadcast_arrays(k1, n1, k2, n2)
    m1 = _log_marginal(k1, n1, None, 0.0)
    m2 = _log_marginal(k2, n2, None, 0.0)
    low, high = np.zeros(k1.shape), k2.copy()
    for _ in range(_HALVINGS):
        half = (low + high) / 2
        evidence = _log_ratio(m1, k1, n1, _raised(k1, n1, half))
        evidence = evidence + _log_ratio(m2, k2, n2, _lowered(k2, n2, half))
        beyond = evidence >= bound
        low, high = np.where(beyond, low, half), np.where(beyond, half, high)
    p1, p2 = _raised(k1, n1, high), _lowered(k2, n2, high)
    # Where all trials succeeded, p2 stays at 1 up to the largest multiplier, and then falls alone.
    left = bound - _log_ratio(m1, k1, n1, p1) - m2
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
