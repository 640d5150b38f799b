"""Reference cells in the order of time in, the damping under which none of it would alarm, out.

The design effect is about variances. Bursts are rare and extreme: a few hundred rows of one kind
every few thousand say little about the variance and much about what traffic can look like without
anything being wrong. So the reference is replayed: in whichever stretch of it a cell or a location
departed most from the law, the evidence against "no change" must stay at what chance shows.
"""

from __future__ import annotations

from statistics import median
from typing import Final

import numpy as np
from numpy.typing import NDArray

from otel_ml.profile.cells import Cells, NumericCells
from otel_ml.profile.profile import Layout
from otel_ml.profile.season import Season, slots
from otel_ml.stats.repeats import ordered_scores
from otel_ml.stats.special import xlogy
from otel_ml.types import FloatArray, IntArray

__all__ = ["tail_designs"]

_SHORTEST: Final = 50  # rows of the shortest stretch: those of an evaluation
_LEAST_ROWS: Final = 1000
_COMMON: Final = 0.01  # cells rarer than this are not looked at one by one
_CHANCE: Final = 2.0  # natural log by which the worst of many stretches may exceed their number
_SAFETY: Final = 2.5  # production runs longer than the reference, and meets worse


def tail_designs(
    layout: Layout,
    codes: NDArray[np.int16],
    season: Season,
    times: FloatArray | None,
    designs: FloatArray,
) -> FloatArray:
    """Return by how much evidence must be damped for the reference to pass itself.

    Parameters
    ----------
    layout
        Sources and cells.
    codes
        Cell of each row and source in the order of time, shape ``(n, S)``; -1 where nothing is
        known.
    season
        How laws depend on the hour and the weekday.
    times
        Seconds since the Unix epoch, shape ``(n,)``, or None.
    designs
        Design effects, shape ``(S,)``.

    Returns
    -------
    numpy.ndarray
        Shape ``(S,)``, at least the design effect. More where a stretch of the reference needs more
        than what most sources have: what all of them share are sessions, many and alike, and those
        the design effect describes. Of independent rows the worst of *m* stretches exceeds
        ``log m + 2`` with a probability of about ``exp(-2)``, and by little.
    """
    out = designs.copy()
    shared = median(designs.tolist()) if len(designs) else 1.0
    slot = None if times is None else slots(times)
    for i, cells in enumerate(layout.sources):
        told = codes[:, i] >= 0
        column = codes[told, i].astype(np.int64)
        if len(column) < _LEAST_ROWS:
            continue
        counts = np.bincount(column, minlength=cells.size).astype(np.float64)
        law = counts / counts.sum()
        laws = None
        if slot is not None and cells.name in season.claimed:
            laws = season.laws(cells.name, law), np.maximum(slot[told], 0)
        worst, looks = _worst(cells, column, counts, laws)
        needed = worst / (np.log(max(looks, 2)) + _CHANCE)
        if needed > shared:
            out[i] = max(out[i], _SAFETY * needed)
    return out


def _worst(
    cells: Cells, column: IntArray, counts: FloatArray, laws: tuple[FloatArray, IntArray] | None
) -> tuple[float, int]:
    """Return the largest log likelihood ratio of any stretch, and how many were looked at."""
    law = counts / counts.sum()
    shown = np.flatnonzero((law >= _COMMON) & (law < 1))
    worst, looks = 0.0, 0
    if isinstance(cells, NumericCells):
        score = ordered_scores(counts, cells.valid)[:, 0]
        expected = 0.0 if laws is None else (laws[0] @ score)[laws[1]]
        gains = _location(np.cumsum(np.concatenate([[0.0], score[column] - expected])))
        worst, looks = float(gains.max(initial=0.0)), len(gains)
        shown = shown[shown >= cells.valid]
    for cell in shown.tolist():
        hits = np.cumsum(np.concatenate([[0], column == cell]).astype(np.float64))
        rates = np.full(len(column), law[cell]) if laws is None else laws[0][laws[1], cell]
        due = np.cumsum(np.concatenate([[0.0], rates]))
        gains = _rate(hits, due)
        worst, looks = max(worst, float(gains.max(initial=0.0))), looks + len(gains)
    return worst, looks


def _stretches(n: int) -> list[tuple[IntArray, int]]:
    """Return starts and length of overlapping stretches of all sizes."""
    out, length = [], _SHORTEST
    while length <= n // 8:
        out.append((np.arange(0, n - length + 1, length // 2), length))
        length *= 2
    return out


def _location(cumulated: FloatArray) -> FloatArray:
    """Return ``n·mean²/2`` of every stretch of a standardised score."""
    parts = [
        np.square(cumulated[at + length] - cumulated[at]) / (2 * length)
        for at, length in _stretches(len(cumulated) - 1)
    ]
    return np.concatenate([np.zeros(1), *parts])


def _rate(hits: FloatArray, due: FloatArray) -> FloatArray:
    """Return ``n·KL`` between seen and expected share of a cell in every stretch."""
    parts = [np.zeros(1)]
    for at, length in _stretches(len(hits) - 1):
        seen = (hits[at + length] - hits[at]) / length
        p = np.clip((due[at + length] - due[at]) / length, 1e-9, 1 - 1e-9)
        gain = xlogy(seen, seen) - seen * np.log(p)
        gain += xlogy(1 - seen, 1 - seen) - (1 - seen) * np.log1p(-p)
        parts.append(length * gain)
    return np.concatenate(parts)
