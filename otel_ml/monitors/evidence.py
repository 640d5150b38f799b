"""A reference law and a tolerance in, per-row evidence increments out.

Every alternative *q* to the reference law *p* gives each cell a likelihood ratio ``q/p``. The null
is not *p* alone but every law within total variation ``eps`` of it: drift too small to matter must
not alarm however long it lasts. For that null the ratio is clipped (Huber's least favourable pair)
and divided by its largest mean over the ball,

    e(j) = clip(q_j/p_j, a, b) / (E_p[clip] + eps·(max clip - min clip)),

so that ``E[e] <= 1`` under every law of the ball, whatever came before: an e-value per row, and a
product of them over rows is one as well. The clips are those that grow fastest under *q*.

References: Huber, "A robust version of the probability ratio test", 1965; Grünwald, de Heide,
Koolen, "Safe testing", 2024; Shin, Ramdas, Rinaldo, "E-detectors", 2023.
"""

from __future__ import annotations

from statistics import NormalDist
from typing import Final

import numpy as np

from otel_ml.types import FloatArray, IntArray

__all__ = [
    "increments",
    "location_spread",
    "rate_increments",
    "smoothed",
    "spikes",
    "tolerance",
    "upper_rate",
]

LOCATION_TILTS: Final = (0.3, 0.6, 1.2, 2.4)
SPREAD_TILTS: Final = (0.25, 0.6)
SPIKES: Final = (0.1, 0.3, 0.8)
RATE_STEPS: Final = (0.01, 0.03, 0.1, 0.3, 0.7)
_MIN_RATIO: Final = 1e-12  # a cell an alternative rules out must not end a sum for ever
_MAX_RATE: Final = 0.98
_MIN_GROWTH: Final = 1e-4  # alternatives that cannot gain on the null are left out


def smoothed(counts: IntArray) -> FloatArray:
    """Return the posterior predictive law of counts under a Jeffreys prior, shape ``(B,)``."""
    counts = np.asarray(counts, dtype=np.float64)
    return np.asarray((counts + 0.5) / (counts.sum() + 0.5 * len(counts)))


def tolerance(p: FloatArray, rows: int, floor: float) -> float:
    """Return the radius of the null: the effect floor plus the reference's own sampling error.

    Parameters
    ----------
    p
        Reference law, shape ``(B,)``.
    rows
        Reference rows.
    floor
        Total variation too small to matter.

    Returns
    -------
    float
        Total variation: the floor plus the mean distance of an empirical law of `rows` rows
        from its own, ``½ Σ sqrt(2 p (1 - p) / (π rows))``.
    """
    error = 0.5 * float(np.sqrt(2 * p * (1 - p) / (np.pi * max(rows, 1))).sum())
    return min(floor + error, 0.9)


def location_spread(p: FloatArray) -> FloatArray:
    """Return alternatives for ordered cells: tilts of location and spread in normal scores.

    Parameters
    ----------
    p
        Reference law over ordered cells, shape ``(B,)``.

    Returns
    -------
    numpy.ndarray
        Laws, shape ``(K, B)``.
    """
    middle = np.cumsum(p) - p / 2
    normal = NormalDist()
    z = np.array([normal.inv_cdf(min(max(m, 1e-9), 1 - 1e-9)) for m in middle.tolist()])
    logs = [sign * t * z for t in LOCATION_TILTS for sign in (1, -1)]
    logs += [sign * t * (np.square(z) - 1) for t in SPREAD_TILTS for sign in (1, -1)]
    tilted = np.exp(np.clip(np.array(logs), -50, 50)) * p
    return np.asarray(tilted / tilted.sum(axis=1, keepdims=True))


def spikes(p: FloatArray) -> FloatArray:
    """Return alternatives of any shape: a share of the rows moves into one cell, or leaves it.

    Parameters
    ----------
    p
        Reference law, shape ``(B,)``.

    Returns
    -------
    numpy.ndarray
        Laws, shape ``(K, B)``.
    """
    eye = np.eye(len(p))
    moved = [(1 - w) * p + w * eye for w in SPIKES]
    emptied = np.where(eye > 0, 0.1 * p, p)
    moved.append(emptied / emptied.sum(axis=1, keepdims=True))
    return np.concatenate(moved)


def increments(p: FloatArray, alternatives: FloatArray, eps: float) -> FloatArray:
    """Return log e-values per cell of each alternative against the ball of radius `eps`.

    Parameters
    ----------
    p
        Reference law, shape ``(B,)``.
    alternatives
        Laws, shape ``(K, B)``.
    eps
        Radius of the null, total variation.

    Returns
    -------
    numpy.ndarray
        Shape ``(K', B)`` with ``K' <= K``: alternatives inside the ball gain nothing and are
        left out.

    Notes
    -----
    For any law *r* with ``TV(r, p) <= eps``, ``sum_j r_j exp(out_kj) <= 1``: moving mass ``eps``
    raises the mean of the clipped ratio by at most ``eps`` times its range.
    """
    ratio = alternatives / p
    best_gain = np.full(len(alternatives), -np.inf)
    best = np.zeros_like(ratio)
    ordered = np.sort(ratio, axis=1)
    b = ratio.shape[1]
    lows, highs = ordered[:, : max(b // 2, 1)], ordered[:, b // 2 :]
    for i in range(lows.shape[1]):
        for j in range(highs.shape[1]):
            clipped = np.maximum(np.clip(ratio, lows[:, [i]], highs[:, [j]]), _MIN_RATIO)
            spread = clipped.max(axis=1) - clipped.min(axis=1)
            top = (clipped * p).sum(axis=1) + eps * spread
            logs = np.log(clipped / top[:, None])
            gain = (alternatives * logs).sum(axis=1)
            better = gain > best_gain
            best_gain[better], best[better] = gain[better], logs[better]
    return best[best_gain > _MIN_GROWTH]


def upper_rate(events: int, rows: int, slack: float, z: float = 1.0) -> float:
    """Return the upper end of a one-sided null for a rate.

    The rule of succession when nothing was seen, else the upper Wilson bound at `z` standard
    errors; `slack` is added as the effect floor.
    """
    if rows <= 0:
        return min(0.5 + slack, 1.0)
    rate = events / rows
    centre = (rate + z * z / (2 * rows)) / (1 + z * z / rows)
    half = z / (1 + z * z / rows) * ((rate * (1 - rate) + z * z / (4 * rows)) / rows) ** 0.5
    return float(min(max(centre + half, (events + 1) / (rows + 2)) + slack, 1.0))


def rate_increments(p1: float) -> FloatArray:
    """Return log e-values of *no* and *yes* against the null that the rate is at most `p1`.

    Parameters
    ----------
    p1
        Upper end of the null.

    Returns
    -------
    numpy.ndarray
        Shape ``(K, 2)``: alternatives p1 + 0.01, 0.03, 0.1, …. For a rate ``r <= p1`` the mean of
        ``exp`` is at most one, since the ratio increases in *yes*. None above 0.98: what is nearly
        always so cannot become more frequent.
    """
    if p1 > _MAX_RATE:
        return np.empty((0, 2))
    rates = np.array([p1 + d for d in RATE_STEPS if p1 + d < 0.995])
    return np.log(np.stack([(1 - rates) / (1 - p1), rates / p1], axis=1))
