"""A budget and a reference in, after how many rows a shift of a given size is found out.

Arithmetic, no simulation: evidence of a shifted feature grows by the Kullback–Leibler divergence a
row, from the nearest law that is within the effect floor, until it has paid for the budget and for
the share of it that one feature has (Lorden, *Procedures for reacting to a change in distribution*,
1971).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from otel_ml.stats.special import normal_quantile
from otel_ml.types import FloatArray

__all__ = ["detectable", "shift_rows"]

SHIFTS: Final = (0.1, 0.3, 1.0)
_BINS: Final = 12


def detectable(
    threshold_log10: float, features: int, share: float, min_effect: float
) -> list[dict[str, Any]]:
    """Return about how many rows it takes to find shifts of one feature, as JSON values.

    Parameters
    ----------
    threshold_log10
        Evidence at which an incident opens, log10.
    features
        Number of features.
    share
        Share of the budget that belongs to all features together.
    min_effect
        Total variation that never alarms.
    """
    rows = shift_rows(SHIFTS, threshold_log10, features, share, min_effect)
    return [{"shift_sd": s, "rows": n} for s, n in zip(SHIFTS, rows, strict=True)]


def shift_rows(
    shifts: Sequence[float],
    threshold_log10: float,
    features: int,
    share: float,
    min_effect: float,
) -> list[int | None]:
    """Return rows until a shift of a normal feature, in standard deviations, is found.

    Parameters
    ----------
    shifts
        Sizes in standard deviations.
    threshold_log10, features, share, min_effect
        As for `detectable`.

    Returns
    -------
    list of int or None
        None for a shift within the effect floor: it is never found.

    Examples
    --------
    >>> shift_rows([0.03, 1.0], 3.3, 10, 0.35, 0.02)
    [None, 29]
    """
    needed = threshold_log10 * math.log(10) + math.log(max(features, 1) / share)
    floor = 2 * normal_quantile(0.5 + min_effect / 2)  # the shift with that total variation
    out: list[int | None] = []
    for shift in shifts:
        gain = 0.0 if shift <= floor else _divergence(_law(shift), _law(floor))
        out.append(math.ceil(needed / gain) if gain > 0 else None)
    return out


def _law(shift: float) -> FloatArray:
    """Return the law of a shifted normal over the reference's quantile bins."""
    edges = [normal_quantile(i / _BINS) - shift for i in range(1, _BINS)]
    below = [0.0, *(0.5 * math.erfc(-edge / math.sqrt(2)) for edge in edges), 1.0]
    return np.diff(np.array(below))


def _divergence(p: FloatArray, q: FloatArray) -> float:
    return float(np.sum(p * np.log(p / q)))
