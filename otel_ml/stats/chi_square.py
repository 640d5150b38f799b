"""Two vectors of counts in, the chi-square test that they have one distribution out."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from otel_ml.stats._counts import pair
from otel_ml.stats.special import chi2_sf
from otel_ml.types import FloatArray, IntArray

__all__ = ["ChiSquare", "chi_square"]


class ChiSquare(NamedTuple):
    """Result of `chi_square`; all three have the shape of the leading axes.

    Parameters
    ----------
    statistic
        Pearson's statistic.
    dof
        Degrees of freedom.
    p_value
        Probability of a statistic at least as large when nothing has changed.
    """

    statistic: FloatArray
    dof: IntArray
    p_value: FloatArray


def chi_square(reference: ArrayLike, current: ArrayLike) -> ChiSquare:
    """Pearson's chi-square test that two vectors of counts have one distribution.

    ``Σ (observed − expected)² / expected`` over the 2 × B table, where cells that are empty on both
    sides are left out, without a continuity correction.

    Parameters
    ----------
    reference, current
        Counts, shape ``(B,)`` or ``(S, B)``.

    Returns
    -------
    ChiSquare
        Statistic, degrees of freedom (cells in use − 1) and p-value. Statistic and p-value are NaN
        where a side is empty, 0 and 1 where one cell only is in use.

    Raises
    ------
    DataError
        Where counts are negative or not finite, or the cells are not equally many.

    Notes
    -----
    Null behaviour: chi-square with `dof` degrees of freedom when expected counts are not small
    (five is the customary bound), so the p-value is uniform for one look at a fixed number of rows
    (Pearson, 1900). For repeated looks use evidence instead.

    Examples
    --------
    >>> result = chi_square([50, 50], [80, 20])
    >>> round(float(result.statistic), 4), int(result.dof), round(float(result.p_value), 8)
    (19.7802, 1, 8.69e-06)
    """
    p, q = pair(reference, current)
    n, m = p.sum(axis=-1), q.sum(axis=-1)
    both = p + q
    total = n + m
    with np.errstate(invalid="ignore", divide="ignore"):
        # (p m − q n)² / (n m (p + q)) is the sum over both rows of the table.
        cells = (p / n[..., None] - q / m[..., None]) ** 2 / both
        statistic = np.sum(np.where(both > 0, cells, 0.0), axis=-1) * n * m
    dof = np.maximum(np.count_nonzero(both > 0, axis=-1) - 1, 0)
    statistic = np.where((total > 0) & (n > 0) & (m > 0), statistic, np.nan)
    return ChiSquare(statistic[()], np.asarray(dof)[()], chi2_sf(statistic, dof)[()])
