"""Rates or confusion counts of groups in, the differences between groups out."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from otel_ml.stats.rates import Fraction, fraction
from otel_ml.types import FloatArray

__all__ = ["max_difference", "min_ratio", "versus_rest"]


def versus_rest(
    name: str, tp: ArrayLike, fp: ArrayLike, fn: ArrayLike, tn: ArrayLike
) -> tuple[Fraction, Fraction]:
    """Return a rate of each group, and of all the other groups together.

    Parameters
    ----------
    name
        A key of `RATES`.
    tp, fp, fn, tn
        Counts of all groups, shape ``(..., G)``.

    Returns
    -------
    tuple of Fraction and Fraction
        Of the group and of the rest, shape ``(..., G)``.

    Raises
    ------
    DataError
        Where there is no such rate, or counts are negative or not finite.

    Notes
    -----
    The two share no row, so `otel_ml.stats.intervals.difference_interval` holds for them. The worst
    of G groups differs from the rest by chance, too: about ``sqrt(2 ln G)`` standard errors.

    Examples
    --------
    >>> group, rest = versus_rest("selection_rate", tp=[8, 1, 1], fp=0, fn=0, tn=[2, 4, 4])
    >>> group.k / group.n - rest.k / rest.n
    array([ 0.6, -0.4, -0.4])
    """
    k, n = fraction(name, tp, fp, fn, tn)
    rest = Fraction(k.sum(axis=-1, keepdims=True) - k, n.sum(axis=-1, keepdims=True) - n)
    return Fraction(k, n), rest


def max_difference(rates: ArrayLike) -> FloatArray:
    """Return the difference between the highest and the lowest rate.

    Parameters
    ----------
    rates
        Rates of the groups, shape ``(..., G)``; NaN (undefined) groups are left out.

    Returns
    -------
    FloatArray
        From 0, shape ``(...)``; NaN where fewer than two groups have a rate.

    Notes
    -----
    Null behaviour: positive even where all groups are alike, by about ``2 sqrt(2 ln G)`` standard
    errors of a group's rate, so small groups must be left out first (Agarwal et al., *A reductions
    approach to fair classification*, 2018, for the measure).

    Examples
    --------
    >>> round(float(max_difference([0.2, 0.5, np.nan])), 6)
    0.3
    """
    low, high, defined = _extremes(rates)
    result: FloatArray = np.where(defined, high - low, np.nan)[()]
    return result


def min_ratio(rates: ArrayLike) -> FloatArray:
    """Return the lowest rate as a share of the highest.

    Parameters
    ----------
    rates
        Rates of the groups, shape ``(..., G)``; NaN (undefined) groups are left out.

    Returns
    -------
    FloatArray
        0 to 1, shape ``(...)``; NaN where fewer than two groups have a rate, or all rates are 0.

    Notes
    -----
    Null behaviour: below 1 even where all groups are alike. The customary bound of 0.8 is the
    four-fifths rule (US Uniform Guidelines on Employee Selection Procedures, 1978).

    Examples
    --------
    >>> round(float(min_ratio([0.2, 0.5, np.nan])), 6)
    0.4
    """
    low, high, defined = _extremes(rates)
    with np.errstate(invalid="ignore", divide="ignore"):
        result: FloatArray = np.where(defined & (high > 0), low / high, np.nan)[()]
    return result


def _extremes(rates: ArrayLike) -> tuple[FloatArray, FloatArray, NDArray[np.bool_]]:
    values = np.asarray(rates, dtype=np.float64)
    known = ~np.isnan(values)
    low = np.min(np.where(known, values, np.inf), axis=-1, initial=np.inf)
    high = np.max(np.where(known, values, -np.inf), axis=-1, initial=-np.inf)
    return low, high, np.asarray(np.count_nonzero(known, axis=-1) >= 2)
