"""Two vectors of counts over the same cells in, how far apart their distributions are out.

All take counts of shape ``(B,)``, or ``(S, B)`` for S streams at once; the leading axes are
broadcast, and a scalar comes out for two vectors. A side without any count has no distribution:
the result is NaN there. Cells without counts are fine.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import ArrayLike

from otel_ml.errors import DataError
from otel_ml.stats._counts import defined, pair, shares
from otel_ml.stats.chi_square import ChiSquare, chi_square
from otel_ml.stats.special import xlogy
from otel_ml.types import FloatArray

__all__ = [
    "ChiSquare",
    "chi_square",
    "hellinger",
    "jensen_shannon",
    "ks_binned",
    "psi",
    "total_variation",
    "wasserstein_binned",
]

PSI_PSEUDO_COUNT: Final = 0.5


def psi(reference: ArrayLike, current: ArrayLike) -> FloatArray:
    """Compute the population stability index.

    ``Σ (q − p) ln(q / p)`` with ``p = (count + ½) / (n + B / 2)`` and q alike: half a count is
    added to every cell of both sides, so that it is finite.

    Parameters
    ----------
    reference, current
        Counts, shape ``(B,)`` or ``(S, B)``.

    Returns
    -------
    FloatArray
        From 0, without bound; NaN where a side is empty.

    Raises
    ------
    DataError
        Where counts are negative or not finite, or the cells are not equally many.

    Notes
    -----
    Null behaviour: with n and m rows of one distribution, ``PSI · n m / (n + m)`` is about
    chi-square with ``B − 1`` degrees of freedom, so its mean is about ``(B − 1)(1 / n + 1 / m)``:
    the customary 0.1 and 0.2 mean different things for different numbers of rows (Yurdakul,
    *Statistical properties of population stability index*, 2018). Exactly 0 for equal counts.

    Examples
    --------
    >>> float(psi([50, 50], [50, 50]))
    0.0
    >>> round(float(psi([50, 50], [80, 20])), 4)
    0.4063
    """
    p, q = pair(reference, current)
    n, m = p.sum(axis=-1), q.sum(axis=-1)
    cells = p.shape[-1]
    p = (p + PSI_PSEUDO_COUNT) / (n + PSI_PSEUDO_COUNT * cells)[..., None]
    q = (q + PSI_PSEUDO_COUNT) / (m + PSI_PSEUDO_COUNT * cells)[..., None]
    return defined(np.sum((q - p) * np.log(q / p), axis=-1), n, m)


def jensen_shannon(reference: ArrayLike, current: ArrayLike) -> FloatArray:
    """Jensen–Shannon distance, base 2.

    ``sqrt((KL(p ‖ r) + KL(q ‖ r)) / 2)`` with ``r = (p + q) / 2`` and logarithms to base 2.

    Parameters
    ----------
    reference, current
        Counts, shape ``(B,)`` or ``(S, B)``.

    Returns
    -------
    FloatArray
        0 (same shares) to 1 (no cell in common), a metric; NaN where a side is empty.

    Raises
    ------
    DataError
        Where counts are negative or not finite, or the cells are not equally many.

    Notes
    -----
    Null behaviour: with n and m rows of one distribution its square is about
    ``(B − 1)(1 / n + 1 / m) / (8 ln 2)`` on average (Endres, Schindelin, *A new metric for
    probability distributions*, 2003).

    Examples
    --------
    >>> float(jensen_shannon([1, 0], [0, 1]))
    1.0
    """
    p, q, n, m = shares(reference, current)
    r = (p + q) / 2
    terms = xlogy(p, p) + xlogy(q, q) - 2 * xlogy(r, r)
    divergence = np.sum(terms, axis=-1) / (2 * np.log(2))
    return defined(np.sqrt(np.clip(divergence, 0.0, 1.0)), n, m)


def hellinger(reference: ArrayLike, current: ArrayLike) -> FloatArray:
    """Hellinger distance: ``sqrt(Σ (√p − √q)² / 2)``.

    Parameters
    ----------
    reference, current
        Counts, shape ``(B,)`` or ``(S, B)``.

    Returns
    -------
    FloatArray
        0 (same shares) to 1 (no cell in common), a metric; NaN where a side is empty.

    Raises
    ------
    DataError
        Where counts are negative or not finite, or the cells are not equally many.

    Notes
    -----
    Null behaviour: with n and m rows of one distribution its square is about
    ``(B − 1)(1 / n + 1 / m) / 8`` on average (Le Cam, Yang, *Asymptotics in statistics*, 2000).

    Examples
    --------
    >>> float(hellinger([1, 0], [0, 1]))
    1.0
    """
    p, q, n, m = shares(reference, current)
    squares = np.sum((np.sqrt(p) - np.sqrt(q)) ** 2, axis=-1) / 2
    return defined(np.sqrt(np.clip(squares, 0.0, 1.0)), n, m)


def total_variation(reference: ArrayLike, current: ArrayLike) -> FloatArray:
    """Total variation distance: ``Σ |p − q| / 2``, the share of rows that would have to move.

    Parameters
    ----------
    reference, current
        Counts, shape ``(B,)`` or ``(S, B)``.

    Returns
    -------
    FloatArray
        0 (same shares) to 1 (no cell in common), a metric; NaN where a side is empty.

    Raises
    ------
    DataError
        Where counts are negative or not finite, or the cells are not equally many.

    Notes
    -----
    Null behaviour: with n and m rows of one distribution it is about
    ``Σ sqrt(p (1 − p) (1 / n + 1 / m) / 2π)`` on average, from the mean of a folded normal variable
    (Devroye, Lugosi, *Combinatorial methods in density estimation*, 2001, for the distance).

    Examples
    --------
    >>> round(float(total_variation([50, 50], [80, 20])), 6)
    0.3
    """
    p, q, n, m = shares(reference, current)
    return defined(np.clip(np.sum(np.abs(p - q), axis=-1) / 2, 0.0, 1.0), n, m)


def ks_binned(reference: ArrayLike, current: ArrayLike) -> FloatArray:
    """Kolmogorov–Smirnov distance at the cells' edges: ``max |F − G|``.

    Parameters
    ----------
    reference, current
        Counts of ordered cells, shape ``(B,)`` or ``(S, B)``.

    Returns
    -------
    FloatArray
        0 to 1; NaN where a side is empty. Never more than the distance of the values themselves,
        nor more than `total_variation`.

    Raises
    ------
    DataError
        Where counts are negative or not finite, or the cells are not equally many.

    Notes
    -----
    Null behaviour: it exceeds ``sqrt(−ln(α / 2) (1 / n + 1 / m) / 2)`` with probability α at most,
    asymptotically; binning makes it rarer (Smirnov, *Table for estimating the goodness of fit of
    empirical distributions*, 1948).

    Examples
    --------
    >>> round(float(ks_binned([50, 50], [80, 20])), 6)
    0.3
    """
    p, q, n, m = shares(reference, current)
    gaps = np.abs(np.cumsum(p, axis=-1) - np.cumsum(q, axis=-1))
    return defined(np.clip(gaps.max(axis=-1, initial=0.0), 0.0, 1.0), n, m)


def wasserstein_binned(
    reference: ArrayLike, current: ArrayLike, positions: ArrayLike
) -> FloatArray:
    """Wasserstein-1 distance between binned values, in standard deviations of the reference.

    ``Σ |F_i − G_i| (x_{i+1} − x_i) / σ`` with each cell's counts at its position, and σ the
    standard deviation of the reference's counts at these positions.

    Parameters
    ----------
    reference, current
        Counts of ordered cells, shape ``(B,)`` or ``(S, B)``.
    positions
        A value for each cell, such as its median or middle, increasing; same shapes.

    Returns
    -------
    FloatArray
        From 0; NaN where a side is empty or the reference has one position only (0 where the
        current counts have the same).

    Raises
    ------
    DataError
        Where counts are negative or not finite, positions are not finite and increasing, or they
        are not equally many.

    Notes
    -----
    Moving every value by d makes it about ``d / σ``. Binning is off by at most a cell's width on
    either side. Null behaviour: it shrinks as ``sqrt(1 / n + 1 / m)`` (Panaretos, Zemel,
    *Statistical aspects of Wasserstein distances*, 2019).

    Examples
    --------
    >>> float(wasserstein_binned([1, 1, 0], [0, 1, 1], [0.0, 2.0, 4.0]))
    2.0
    """
    p, q, n, m = shares(reference, current)
    x = np.asarray(positions, dtype=np.float64)
    if x.shape[-1:] != p.shape[-1:]:
        raise DataError(
            f"{x.shape[-1] if x.ndim else 0} positions for {p.shape[-1]} cells",
            remedy="Give a position for each cell.",
        )
    if not np.all(np.isfinite(x)) or np.any(np.diff(x, axis=-1) < 0):
        raise DataError("positions are not finite and increasing", remedy="Order the cells.")
    gaps = np.abs(np.cumsum(p - q, axis=-1))[..., :-1]
    moved = np.sum(gaps * np.diff(x, axis=-1), axis=-1)
    # Around the reference's own middle, since squares of far-off positions would cancel.
    centred = x - np.sum(p * x, axis=-1, keepdims=True)
    sigma = np.sqrt(np.sum(p * centred**2, axis=-1))
    with np.errstate(invalid="ignore", divide="ignore"):
        scaled = np.where(sigma > 0, moved / sigma, np.where(moved == 0, 0.0, np.nan))
    return defined(scaled, n, m)
