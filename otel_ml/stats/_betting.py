"""Successes and trials in, the logarithm of the evidence against a rate out."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from otel_ml.errors import DataError
from otel_ml.stats.special import log_beta, xlogy
from otel_ml.types import FloatArray

__all__ = ["checked_counts", "log_marginal", "log_ratio"]


def checked_counts(k: ArrayLike, n: ArrayLike, alpha: float) -> tuple[FloatArray, FloatArray]:
    """Return successes and trials, checked and broadcast to one shape."""
    successes, trials = np.broadcast_arrays(
        np.asarray(k, dtype=np.float64), np.asarray(n, dtype=np.float64)
    )
    if not np.all((successes >= 0) & (successes <= trials) & np.isfinite(trials)):
        raise DataError("successes are not between 0 and the trials", remedy="Give counts.")
    if not 0 < alpha < 1:
        raise DataError(f"alpha is {alpha}, not between 0 and 1", remedy="Give 0.05 for 95 %.")
    return successes, trials


def log_marginal(
    k: FloatArray, n: FloatArray, centre: ArrayLike | None, strength: float
) -> FloatArray:
    """Return the logarithm of the probability of the outcomes, averaged over the prior."""
    jeffreys = log_beta(0.5 + k, 0.5 + n - k) - log_beta(0.5, 0.5)
    if centre is None:
        return np.asarray(jeffreys)
    c = np.asarray(centre, dtype=np.float64)
    if not np.all((c >= 0) & (c <= 1)) or not 0 <= strength < math.inf:
        raise DataError("the centre is not between 0 and 1", remedy="Give the reference's rate.")
    a, b = 0.5 + strength * c, 0.5 + strength * (1 - c)
    expected = log_beta(a + k, b + n - k) - log_beta(a, b)
    return np.asarray(np.logaddexp(jeffreys, expected) - math.log(2))


def log_ratio(marginal: FloatArray, k: FloatArray, n: FloatArray, p: FloatArray) -> FloatArray:
    """Return the logarithm of the evidence against p."""
    return np.asarray(marginal - xlogy(k, p) - xlogy(n - k, 1 - p))
