"""Cell codes in the order of time in, how many rows of each source count as one, out.

Rows of a session resemble each other, so n rows are worth n / d independent ones. The design effect
d is the variance of a sum over a block of rows, divided by what independent rows would give, in the
worst direction and at the worst length of blocks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median
from typing import Final

import numpy as np
from numpy.typing import NDArray

from otel_ml.profile.cells import Cells, NumericCells
from otel_ml.profile.profile import Layout
from otel_ml.profile.season import Season, slots
from otel_ml.stats.blocks import chi2_ratio, spike
from otel_ml.stats.repeats import ordered_scores
from otel_ml.stats.special import normal_quantile
from otel_ml.types import FloatArray, IntArray

__all__ = ["design_effects", "typical_design"]

_BASE: Final = 25  # rows of the shortest blocks
_BLOCKS: Final = 16  # of the longest length there are at least so many
_FEWEST: Final = 4  # while dependence still grows with the length; only all sources together tell
_GROWS: Final = 1.15
_PRECISE: Final = 64  # blocks that limit a variance from above
_COMMON: Final = 0.01
_MISTAKE: Final = 0.02  # chance that independent rows show any direction as dependent
_SURE: Final = 2.5  # the largest of many estimates is too large by about this deviate
_POOLED: Final = 4.0  # standard errors
_EXCESS: Final = 1.25  # the worst direction and length are not among those looked at


def design_effects(
    layout: Layout,
    codes: NDArray[np.int16],
    season: Season | None = None,
    times: FloatArray | None = None,
) -> FloatArray:
    """Return the design effect of each source.

    Parameters
    ----------
    layout
        Sources and cells.
    codes
        Cell of each row and source in the order of time, shape ``(n, S)``; -1 where nothing is
        known.
    season, times
        Season and seconds since the Unix epoch, shape ``(n,)``; what the season explains is no
        dependence.

    Returns
    -------
    FloatArray
        From 1, shape ``(S,)``. Rows in shuffled order show no dependence.

    Notes
    -----
    Independent rows give 1 but in about 2 % of models. A source is not below the median of the
    sources unless it shows that it must be: rare cells hardly show dependence, and sessions
    concern all columns of a row. Where the median still grows at the longest blocks, because the
    reference is short for its sessions, all sources are taken to grow like it, and once more by
    what it grew last: what is missing halves with every doubling of a block. The excess over 1
    counts one and a quarter times.
    """
    n, count = codes.shape
    blocks = n // _BASE
    if blocks < _BLOCKS or not count:
        return np.ones(count)
    codes = codes[: blocks * _BASE]
    slot = slots(times[: len(codes)]) if times is not None and season is not None else None
    measured = [
        _Blocks.of(cells, codes[:, i].astype(np.int64), season, slot)
        for i, cells in enumerate(layout.sources)
    ]
    tests = sum(b.scores.shape[1] for b in measured) * max(int(np.log2(blocks / _BLOCKS)) + 1, 1)
    deviate = normal_quantile(1 - _MISTAKE / max(tests, 20))
    own, limit = np.ones(count), np.ones(count)
    floors, known, length = [1.0], 1.0, 1
    while (shown := blocks // length) >= _BLOCKS or (shown >= _FEWEST and _grows(floors)):
        found = {i: b.at(length) for i, b in enumerate(measured) if b.scores.shape[1]}
        # a few sources that are dependent by themselves say nothing about the others
        alone = own > 1 if np.mean(own > 1) < 0.5 else np.zeros(count, dtype=bool)
        typical, floor = 1.0, 1.0
        if _depend([v for i, v in found.items() if not alone[i]]):
            typical = max(1.0, median([float(v.ratio.mean()) for v in found.values()]))
            floor = max(1.0, median([v.worst for v in found.values()]))
        floors.append(floor)
        if shown >= _BLOCKS:
            for i, variances in found.items():
                own[i] = max(own[i], variances.above(typical, deviate))
                if length == 1 or shown >= _PRECISE:
                    limit[i] = max(limit[i], variances.limit)
            known = max(floors)
        length *= 2
    limit[[i for i, b in enumerate(measured) if not b.scores.shape[1]]] = np.inf
    last = max(floors) + (floors[-1] - floors[-2] if _grows(floors) else 0.0)
    growth = (last - 1) / (known - 1) if known > 1 else 1.0
    own, limit = 1 + growth * (own - 1), 1 + growth * (limit - 1)
    floor = max(last, median(own.tolist()))
    return 1 + _EXCESS * (np.maximum(own, np.minimum(floor, limit)) - 1)


def typical_design(designs: Mapping[str, float]) -> float:
    """Return the median design effect, which sessions of whole rows give to all; 1 of none."""
    return median(designs.values()) if designs else 1.0


def _grows(floors: list[float]) -> bool:
    """Whether twice the length has shown clearly more dependence, as far as anything is shown."""
    return len(floors) > 1 and floors[-1] - 1 > _GROWS * (floors[-2] - 1)


def _depend(sources: list[_Variances]) -> bool:
    """Whether blocks of all these sources together vary clearly more than independent rows."""
    if not sources:
        return False
    energy = np.mean([v.energy for v in sources], axis=0)
    error = float(energy.std(ddof=1)) / len(energy) ** 0.5
    return float(energy.mean()) - 1 > _POOLED * float(error)


@dataclass(frozen=True)
class _Variances:
    """Variances of block sums over those of independent rows, by score ``(J,)``."""

    ratio: FloatArray
    freedom: FloatArray
    energy: FloatArray  # (m,): mean over the scores, of each block
    leading: float  # in the worst combination of cells

    @property
    def worst(self) -> float:
        """The largest ratio, less what the largest of so many is above by chance."""
        deviate = normal_quantile(1 - 1 / (len(self.ratio) + 1))
        return float(np.max(self.ratio / chi2_ratio(deviate, self.freedom)))

    @property
    def limit(self) -> float:
        """What the variance in the worst direction cannot exceed."""
        return float(np.max(self.ratio / np.maximum(chi2_ratio(-_SURE, self.freedom), 0.01)))

    def above(self, typical: float, deviate: float) -> float:
        """Return the largest ratio clearly above a typical one; 1 where there is none."""
        clear = self.ratio > typical * chi2_ratio(deviate, self.freedom)
        sure = np.where(clear, self.ratio / chi2_ratio(_SURE, self.freedom), 1.0)
        return max(float(sure.max()), self.leading)


class _Blocks:
    """Sums of a source's scores over the shortest blocks."""

    def __init__(self, scores: FloatArray, kurtosis: FloatArray, cells: slice, law: FloatArray):
        self.scores = scores  # (m, J): unit variance per row
        self.kurtosis = kurtosis  # (J,): excess, of a row
        self.cells = cells  # those scores that are single cells
        self.law = law  # of these cells

    @classmethod
    def of(
        cls, cells: Cells, column: IntArray, season: Season | None, slot: IntArray | None
    ) -> _Blocks:
        size, name = cells.size, cells.name
        said = column >= 0
        counts = np.bincount(column[said], minlength=size).astype(np.float64)
        law = counts / max(counts.sum(), 1.0)
        common = np.flatnonzero((law >= _COMMON) & (law <= 1 - _COMMON))
        table = (np.eye(size)[:, common] - law[common]) / np.sqrt(law[common] * (1 - law[common]))
        first = 0
        if isinstance(cells, NumericCells):
            ordered = ordered_scores(counts, cells.valid)
            ordered = ordered[:, ordered.any(axis=0)]
            first = ordered.shape[1]
            table = np.hstack([ordered, table])
        kurtosis = law @ table**4 / np.maximum(law @ table**2, 1e-12) ** 2 - 3
        shape = (len(column) // _BASE, size)
        place = np.arange(len(column)) // _BASE
        flat = place[said] * size + column[said]
        histogram = np.bincount(flat, minlength=shape[0] * size).reshape(shape)
        sums = histogram @ table
        variance = law @ table**2 * said.mean()
        if season is not None and slot is not None and name in season.claimed:
            laws = np.vstack([season.laws(name, law), law])  # the last one: time not known
            means = laws @ table
            due = np.where(said[:, None], means[slot], 0.0)
            sums -= due.reshape(shape[0], _BASE, -1).sum(axis=1)
            spread = laws @ table**2 - means**2
            weight = np.bincount(slot[said] % len(laws), minlength=len(laws))
            variance = weight @ spread / len(column)
        usable = variance > 1e-9
        sums = sums[:, usable] / np.sqrt(variance[usable])
        kept = slice(int(usable[:first].sum()), None)
        return cls(sums, kurtosis[usable], kept, law[common][usable[first:]])

    def at(self, length: int) -> _Variances:
        """Variances of blocks of so many of the shortest ones."""
        m, width = len(self.scores) // length, self.scores.shape[1]
        rows = _BASE * length
        sums = self.scores[: m * length].reshape(m, length, width).sum(axis=1) / np.sqrt(rows)
        energy = np.square(sums)
        ratio = energy.sum(axis=0) / (m - 1)
        # heavy tails average out over rows, but not over those that count as one
        single = rows / max(median(ratio.tolist()), 1.0)
        freedom = (m - 1) * 2 / (2 + np.maximum(self.kurtosis, 0.0) / max(single, 1.0))
        often = self.law * rows >= 1
        cells = sums[:, self.cells][:, often] * np.sqrt(1 - self.law[often])
        leading = spike(cells) if often.sum() > 2 else 1.0
        return _Variances(ratio, freedom, energy.mean(axis=1), leading)
