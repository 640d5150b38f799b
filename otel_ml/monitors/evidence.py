"""A reference law and an effect floor in, alternatives worth betting on out.

Every alternative is a pair of log tilts of the reference law *p*: `ends` leads to the end of the
null nearest to it, ``r ∝ p·exp(end)``, and `scores` from there to the alternative,
``q ∝ r·exp(score)``. The e-value of a row in cell *j* is ``exp(score_j) / E_r[exp(score)]``. The
null is not *p* alone: it reaches as far as the effect floor, since drift too small to matter must
not alarm however long it lasts, and as far as the reference may be wrong about *p*. Along a tilt
the likelihood ratio is monotone, so the mean of the e-value is at most one under *p* and every tilt
up to the end. Written as tilts, the same bets hold against the law of any hour of the day: only the
mean in the denominator changes.

References: Grünwald, de Heide, Koolen, "Safe testing", 2024; Larsson, Ramdas, Ruf, "The numeraire
e-variable and reverse information projection", 2024; Shin, Ramdas, Rinaldo, "E-detectors", 2023.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import NormalDist
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from otel_ml.types import FloatArray, IntArray

__all__ = [
    "Bets",
    "category_bets",
    "joined",
    "location_bets",
    "lower_rate",
    "rate_bets",
    "smoothed",
    "spread_bets",
    "tolerance",
    "upper_rate",
]

# each size serves shifts of half to twice itself; larger shifts are found within one evaluation
LOCATION_TILTS: Final = (0.15, 0.3, 0.6, 1.2)
SPREAD_TILTS: Final = (0.25, 0.5, 1.0)
RISES: Final = (0.03, 0.1, 0.3)
FALLS: Final = (0.6, 0.2)
UNSURE: Final = 1.5  # standard errors by which the reference may be wrong
_MARGIN: Final = 0.07  # an alternative nearer to the null's end gains too little to be worth a bet
_FAR: Final = 3.0  # normal scores beyond are those of a handful of reference rows
_MAX_RATE: Final = 0.98
_TINY: Final = 1e-9


class Bets(NamedTuple):
    """Alternatives: `scores` and `ends`, shape ``(K, cells)`` each."""

    scores: FloatArray
    ends: FloatArray


def smoothed(counts: IntArray, design: float = 1.0) -> FloatArray:
    """Return the posterior predictive law of counts under a Jeffreys prior, shape ``(B,)``.

    Parameters
    ----------
    counts
        Rows per cell, shape ``(B,)``.
    design
        How many rows say as much as one independent row.
    """
    rows = np.asarray(counts, dtype=np.float64) / design
    return np.asarray((rows + 0.5) / (rows.sum() + 0.5 * len(rows)))


def tolerance(p: FloatArray, rows: float, floor: float) -> float:
    """Return the total variation within which the law may lie: the effect floor and the error.

    Parameters
    ----------
    p
        Reference law, shape ``(B,)``.
    rows
        Reference rows that say something of their own.
    floor
        Total variation too small to matter.

    Returns
    -------
    float
        The floor plus the mean distance of an empirical law of `rows` rows from its own,
        ``½ Σ sqrt(2 p (1 - p) / (π rows))``.
    """
    error = 0.5 * float(np.sqrt(2 * p * (1 - p) / (np.pi * max(rows, 1.0))).sum())
    return min(floor + error, 0.9)


def normal_scores(p: FloatArray) -> FloatArray:
    """Return the normal score of each ordered cell: mean 0 and variance 1 under `p`."""
    middle = np.cumsum(p) - p / 2
    normal = NormalDist()
    z = np.array([normal.inv_cdf(min(max(m, 1e-9), 1 - 1e-9)) for m in middle.tolist()])
    return _standard(np.clip(z, -_FAR, _FAR), p)


def location_bets(p: FloatArray, rows: float, floor: float) -> Bets:
    """Return tilts of location over ordered cells.

    Parameters
    ----------
    p
        Reference law, shape ``(B,)``.
    rows
        Reference rows that say something of their own.
    floor
        Total variation too small to matter.
    """
    return _tilts(p, normal_scores(p), LOCATION_TILTS, rows, floor)


def spread_bets(p: FloatArray, rows: float, floor: float) -> Bets:
    """Return tilts of spread over ordered cells; parameters as of `location_bets`."""
    return _tilts(p, _standard(np.square(normal_scores(p)), p), SPREAD_TILTS, rows, floor)


def category_bets(p: FloatArray, counts: IntArray, rows: float, floor: float) -> Bets:
    """Return, for each cell, that its share rises or falls.

    Parameters
    ----------
    p
        Reference law, shape ``(B,)``.
    counts
        Reference rows per cell, shape ``(B,)``.
    rows
        Reference rows that say something of their own.
    floor
        Total variation too small to matter.
    """
    scale = rows / max(float(counts.sum()), 1.0)
    bets = []
    for j, count in enumerate(counts.tolist()):
        yes = np.arange(len(p)) == j
        # of many cells and few rows the predictive law is flatter than the interval
        top = max(upper_rate(count * scale, rows, floor, z=UNSURE), float(p[j]))
        bottom = min(lower_rate(count * scale, rows, floor, z=UNSURE), float(p[j]))
        bets.append(rate_bets(p, yes, top, [top + rise for rise in RISES]))
        bets.append(rate_bets(p, yes, bottom, [bottom * fall for fall in FALLS]))
    return joined(bets, len(p))


def rate_bets(p: FloatArray, yes: NDArray[np.bool_], end: float, rates: Sequence[float]) -> Bets:
    """Return that the share of some cells is one of `rates` rather than up to `end`.

    Parameters
    ----------
    p
        Reference law, shape ``(B,)``.
    yes
        The cells, shape ``(B,)``.
    end
        End of the null on the side of the rates.
    rates
        Alternatives; those too near the end, and impossible ones, are left out.
    """
    base = _logit(float(p[yes].sum()) / max(float(p.sum()), _TINY))
    kept = [q for q in rates if _TINY < q <= _MAX_RATE and abs(q - end) > _TINY]
    if not _TINY < end < _MAX_RATE or not yes.any() or yes[p > 0].all():
        kept = []
    shape = (len(kept), len(p))
    scores, ends = np.zeros(shape), np.zeros(shape)
    for k, q in enumerate(kept):
        scores[k, yes] = _logit(q) - _logit(end)
        ends[k, yes] = _logit(end) - base
    return Bets(scores, ends)


def joined(bets: Sequence[Bets], cells: int) -> Bets:
    """Return all bets in one."""
    empty = np.zeros((0, cells))
    return Bets(
        np.concatenate([empty, *(b.scores for b in bets)]),
        np.concatenate([empty, *(b.ends for b in bets)]),
    )


def upper_rate(events: float, rows: float, slack: float, z: float = 1.0) -> float:
    """Return the upper end of a one-sided null for a rate.

    The rule of succession when nothing was seen, else the upper Wilson bound at `z` standard
    errors; `slack` is added as the effect floor.
    """
    if rows <= 0:
        return min(0.5 + slack, 1.0)
    centre, half = _wilson(events, rows, z)
    return float(min(max(centre + half, (events + 1) / (rows + 2)) + slack, 1.0))


def lower_rate(events: float, rows: float, slack: float, z: float = 1.0) -> float:
    """Return the lower end of a one-sided null for a rate: as `upper_rate`, downwards."""
    if rows <= 0:
        return 0.0
    centre, half = _wilson(events, rows, z)
    return float(max(centre - half - slack, 0.0))


def _wilson(events: float, rows: float, z: float) -> tuple[float, float]:
    rate = events / rows
    centre = (rate + z * z / (2 * rows)) / (1 + z * z / rows)
    half = z / (1 + z * z / rows) * ((rate * (1 - rate) + z * z / (4 * rows)) / rows) ** 0.5
    return centre, half


def _tilts(
    p: FloatArray, score: FloatArray, sizes: Sequence[float], rows: float, floor: float
) -> Bets:
    """Return tilts along a standardised score, both ways.

    A tilt by δ moves the law by about ``δ·E|score|/2`` in total variation, which turns the floor
    into a tilt; the mean of the score is known up to ``1/sqrt(rows)``.
    """
    absolute = float((p * np.abs(score)).sum())
    if absolute < _TINY:
        return joined((), len(p))
    end = 2 * floor / absolute + UNSURE / max(rows, 1.0) ** 0.5
    kept = [t for t in sizes if t >= end + _MARGIN]
    signed = np.array([sign * t for t in kept for sign in (1, -1)])
    sign = np.sign(signed)
    return Bets(np.outer(signed - sign * end, score), np.outer(sign * end, score))


def _standard(score: FloatArray, p: FloatArray) -> FloatArray:
    centred = score - (p * score).sum()
    sd = float(np.sqrt((p * np.square(centred)).sum()))
    return np.asarray(centred / sd if sd > _TINY else np.zeros_like(centred))


def _logit(rate: float) -> float:
    held = min(max(rate, _TINY), 1 - _TINY)
    return float(np.log(held) - np.log1p(-held))
