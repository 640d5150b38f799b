"""Confusion counts of groups in, their rates out.

Counts are of one class against the rest: ``tp``, ``fp``, ``fn``, ``tn``, each a number or an array
with one entry per group along the last axis.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from otel_ml.errors import DataError
from otel_ml.types import FloatArray

__all__ = [
    "RATES",
    "Confusion",
    "Fraction",
    "Rate",
    "fraction",
    "one_vs_rest",
    "rate",
]


class Confusion(NamedTuple):
    """Confusion counts of one class; arrays of equal shape.

    Parameters
    ----------
    tp, fp, fn, tn
        Numbers of true positives, false positives, false negatives and true negatives.
    """

    tp: FloatArray
    fp: FloatArray
    fn: FloatArray
    tn: FloatArray


class Fraction(NamedTuple):
    """A rate as what it counts and out of how many.

    Parameters
    ----------
    k, n
        Numerator and denominator; arrays of equal shape.
    """

    k: FloatArray
    n: FloatArray


@dataclass(frozen=True, slots=True)
class Rate:
    """One row of `RATES`.

    Parameters
    ----------
    numerator, denominator
        Sums of the counts of a `Confusion`.
    binomial
        Whether the numerator counts rows out of the denominator's rows, so that binomial intervals
        apply.
    """

    numerator: Callable[[Confusion], FloatArray]
    denominator: Callable[[Confusion], FloatArray]
    binomial: bool = True


def _all(c: Confusion) -> FloatArray:
    return c.tp + c.fp + c.fn + c.tn


_PRECISION: Final = Rate(lambda c: c.tp, lambda c: c.tp + c.fp)
_RECALL: Final = Rate(lambda c: c.tp, lambda c: c.tp + c.fn)

# Names are those of ml.performance.metric where it has one for the rate.
RATES: Final[Mapping[str, Rate]] = {
    "accuracy": Rate(lambda c: c.tp + c.tn, _all),
    "error_rate": Rate(lambda c: c.fp + c.fn, _all),
    "selection_rate": Rate(lambda c: c.tp + c.fp, _all),
    "base_rate": Rate(lambda c: c.tp + c.fn, _all),
    "true_positive_rate": _RECALL,
    "recall": _RECALL,
    "false_negative_rate": Rate(lambda c: c.fn, lambda c: c.tp + c.fn),
    "false_positive_rate": Rate(lambda c: c.fp, lambda c: c.fp + c.tn),
    "true_negative_rate": Rate(lambda c: c.tn, lambda c: c.fp + c.tn),
    "positive_predictive_value": _PRECISION,
    "precision": _PRECISION,
    "negative_predictive_value": Rate(lambda c: c.tn, lambda c: c.fn + c.tn),
    "f1": Rate(lambda c: 2 * c.tp, lambda c: 2 * c.tp + c.fp + c.fn, binomial=False),
}


def fraction(name: str, tp: ArrayLike, fp: ArrayLike, fn: ArrayLike, tn: ArrayLike) -> Fraction:
    """Return what a rate counts, and out of how many, as intervals need it.

    Parameters
    ----------
    name
        A key of `RATES`.
    tp, fp, fn, tn
        Counts; shapes are broadcast.

    Returns
    -------
    Fraction
        Numerator and denominator, of the broadcast shape.

    Raises
    ------
    DataError
        Where there is no such rate, or counts are negative or not finite.

    Examples
    --------
    >>> k, n = fraction("true_positive_rate", tp=30, fp=5, fn=10, tn=55)
    >>> float(k), float(n)
    (30.0, 40.0)
    """
    if name not in RATES:
        raise DataError(f"there is no rate {name!r}", remedy=f"Use one of {', '.join(RATES)}.")
    counts = [np.asarray(count, dtype=np.float64) for count in (tp, fp, fn, tn)]
    if any(not np.all(np.isfinite(c)) or np.any(c < 0) for c in counts):
        raise DataError("counts are negative or not finite", remedy="Give counts of rows.")
    confusion = Confusion(*np.broadcast_arrays(*counts))
    row = RATES[name]
    return Fraction(np.asarray(row.numerator(confusion)), np.asarray(row.denominator(confusion)))


def rate(name: str, tp: ArrayLike, fp: ArrayLike, fn: ArrayLike, tn: ArrayLike) -> FloatArray:
    """Return a rate of each group.

    Parameters
    ----------
    name
        A key of `RATES`: ``selection_rate`` is (tp + fp) / all, ``f1`` 2 tp / (2 tp + fp + fn), and
        so on.
    tp, fp, fn, tn
        Counts; shapes are broadcast.

    Returns
    -------
    FloatArray
        0 to 1, of the broadcast shape; NaN where the denominator is 0.

    Raises
    ------
    DataError
        Where there is no such rate, or counts are negative or not finite.

    Notes
    -----
    Null behaviour: a rate of n rows varies by ``sqrt(p (1 − p) / n)``, twenty rows by 11 points at
    one half, so give it with an interval of `otel_ml.stats.intervals` (definitions: Barocas, Hardt,
    Narayanan, *Fairness and machine learning*, 2023).

    Examples
    --------
    >>> rate("true_positive_rate", tp=[30, 0], fp=[5, 1], fn=[10, 0], tn=[55, 9])
    array([0.75,  nan])
    """
    k, n = fraction(name, tp, fp, fn, tn)
    with np.errstate(invalid="ignore", divide="ignore"):
        result: FloatArray = np.where(n > 0, k / n, np.nan)[()]
    return result


def one_vs_rest(matrix: ArrayLike) -> Confusion:
    """Return the confusion counts of each class against all others.

    Parameters
    ----------
    matrix
        Counts by predicted class (second-last axis) and true class (last axis), shape
        ``(..., K, K)``.

    Returns
    -------
    Confusion
        Each of shape ``(..., K)``.

    Raises
    ------
    DataError
        Where the matrix is not square.

    Examples
    --------
    >>> one_vs_rest([[5, 1], [2, 7]]).fp
    array([1., 2.])
    """
    counts = np.asarray(matrix, dtype=np.float64)
    if counts.ndim < 2 or counts.shape[-1] != counts.shape[-2]:
        raise DataError(
            f"a confusion matrix of shape {counts.shape} is not square",
            remedy="Count the same classes as predicted and as true.",
        )
    tp = np.diagonal(counts, axis1=-2, axis2=-1)
    fp = counts.sum(axis=-1) - tp
    fn = counts.sum(axis=-2) - tp
    return Confusion(tp, fp, fn, counts.sum(axis=(-2, -1))[..., None] - tp - fp - fn)
