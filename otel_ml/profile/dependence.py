"""Cell codes in the order of time in, how many rows of each source count as one, out.

Rows of a session resemble each other, so n rows are worth n / d independent ones. The design effect
d is the variance of a sum over a block of rows, divided by what independent rows would give, in the
worst direction and at the worst length of blocks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from otel_ml.profile.cells import Cells, NumericCells
from otel_ml.profile.profile import Layout
from otel_ml.profile.season import Season, slots
from otel_ml.stats.blocks import chi2_ratio, compare_blocks, spike, trimmed_mean_ratio
from otel_ml.stats.repeats import ordered_scores
from otel_ml.stats.special import normal_quantile
from otel_ml.types import FloatArray, IntArray

__all__ = ["LiveDependence", "design_effects"]

_BASE: Final = 25  # rows of the shortest blocks
_BLOCKS: Final = 16  # of the longest length there are at least so many
_PRECISE: Final = 64  # blocks that limit a variance from above
_COMMON: Final = 0.01
_MISTAKE: Final = 0.02  # chance that independent rows show any direction as dependent
_SURE: Final = 2.5  # the largest of many estimates is too large by about this deviate
_POOLED: Final = 4.0  # standard errors
_EXCESS: Final = 1.5  # the worst direction and length are not among those looked at


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
    concern all columns of a row. The excess over 1 counts one and a half times.
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
    floor = 1.0
    length = 1
    while blocks // length >= _BLOCKS:
        found = {i: b.at(length) for i, b in enumerate(measured) if b.scores.shape[1]}
        # a few sources that are dependent by themselves say nothing about the others
        alone = own > 1 if np.mean(own > 1) < 0.5 else np.zeros(count, dtype=bool)
        shared = [v for i, v in found.items() if not alone[i]]
        typical = 1.0
        if shared:
            energy = np.mean([v.energy for v in shared], axis=0)
            error = float(energy.std(ddof=1)) / np.sqrt(len(energy))
            if float(energy.mean()) - 1 > _POOLED * error:
                typical = max(1.0, float(np.median([v.ratio.mean() for v in shared])))
                floor = max(floor, float(np.median([v.worst for v in shared])))
        for i, variances in found.items():
            own[i] = max(own[i], variances.above(typical, deviate))
            if length == 1 or blocks // length >= _PRECISE:
                limit[i] = max(limit[i], variances.limit)
        length *= 2
    limit[[i for i, b in enumerate(measured) if not b.scores.shape[1]]] = np.inf
    floor = max(floor, float(np.median(own)))
    return 1 + _EXCESS * (np.maximum(own, np.minimum(floor, limit)) - 1)


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
        single = rows / max(float(np.median(ratio)), 1.0)
        freedom = (m - 1) * 2 / (2 + np.maximum(self.kurtosis, 0.0) / max(single, 1.0))
        often = self.law * rows >= 1
        cells = sums[:, self.cells][:, often] * np.sqrt(1 - self.law[often])
        leading = spike(cells) if often.sum() > 2 else 1.0
        return _Variances(ratio, freedom, energy.mean(axis=1), leading)


_EPOCH: Final = 128  # rows judged together
_SCALES: Final = (16, 32, 64)  # rows of the blocks compared within an epoch
_EPOCHS: Final = 16  # remembered, about 2,000 rows
_YOUNG: Final = 4  # epochs before which the unfinished one counts, too
_LEAST: Final = 0.02  # variance of a row's cell below which a source says nothing
_OVERLAP: Final = 1.5  # differences of neighbours share a block: so many count as one
_OWN: Final = 4.5  # normal deviates, looked at continually
_MODEL: Final = 3.0


class LiveDependence:
    """Rows of production in, the design effect of each source over the last 2,000 rows out.

    Neighbouring blocks of rows are compared with each other, never with the reference: a law that
    changed once makes two epochs differ, and those are left out; sessions make all of them differ.

    Parameters
    ----------
    layout
        Sources and cells.
    law
        Law of each source in the reference, shape ``(S, width)``.
    """

    def __init__(self, layout: Layout, law: FloatArray) -> None:
        s, width = law.shape
        self._z = np.zeros((s, width))
        for i, cells in enumerate(layout.sources):
            if isinstance(cells, NumericCells):
                scores = ordered_scores(law[i, : cells.size], cells.valid)
                self._z[i, : cells.size] = scores[:, 0]
        squares, cubes = (np.sum(law**power, axis=1) for power in (2, 3))
        spread = (1 - squares) ** 2 / np.maximum(squares - 2 * cubes + squares**2, 1e-9)
        pairs = np.array([*(_EPOCH // b - 1 for b in _SCALES), 1])
        # degrees of freedom of one epoch, shape (scales, kinds, S)
        self._free = np.maximum(pairs / _OVERLAP, 1.0)[:, None, None] * np.vstack(
            [np.maximum(spread, 1.0), np.ones(s)]
        )
        self._rows = np.full((_EPOCH, s), -1, dtype=np.int16)
        self._filled = 0
        self._before = np.zeros((s, width))
        self._compared = np.zeros((0, 2, *self._free.shape))  # excess and spread by epoch
        self._effects: FloatArray | None = None
        self._trimmed: dict[int, FloatArray] = {}

    def add(self, codes: NDArray[np.int16]) -> None:
        """Take in rows in the order of time, shape ``(n, S)``, split into batches as it may be."""
        start = 0
        while start < len(codes):
            taken = min(len(codes) - start, _EPOCH - self._filled)
            self._rows[self._filled : self._filled + taken] = codes[start : start + taken]
            self._filled += taken
            start += taken
            if self._filled == _EPOCH:
                found, self._before = compare_blocks(self._rows, self._before, self._z, _SCALES)
                self._compared = np.concatenate([self._compared, found[None]])[-_EPOCHS:]
                self._filled = 0
                self._effects = None

    def effects(self) -> FloatArray:
        """Return the design effect of each source over the last rows, from 1, shape ``(S,)``."""
        if len(self._compared) < _YOUNG and self._filled >= 2 * _SCALES[0]:
            rows = self._rows[: self._filled]
            found, _ = compare_blocks(rows, self._before, self._z, _SCALES, _EPOCH)
            return self._estimate(np.concatenate([self._compared, found[None]]))
        if self._effects is None:
            self._effects = self._estimate(self._compared)
        return self._effects.copy()

    def _estimate(self, compared: FloatArray) -> FloatArray:
        if not (epochs := len(compared)):
            return np.ones(len(self._before))
        dropped = min(epochs // 4, 2)
        order = np.argsort(compared[:, 0], axis=0)[: epochs - dropped]
        excess = np.take_along_axis(compared[:, 0], order, axis=0).sum(axis=0)
        spread = np.take_along_axis(compared[:, 1], order, axis=0).sum(axis=0)
        says = spread > _LEAST * len(order)
        ratio = np.where(says, 1 + excess / np.where(says, spread, 1.0), 1.0)
        if epochs not in self._trimmed:  # a few, and dear to compute
            self._trimmed[epochs] = trimmed_mean_ratio(self._free, epochs, dropped)
        ratio = ratio / self._trimmed[epochs]
        seen = (compared[:, 1] > 0).sum(axis=0)
        free = self._free * np.maximum(seen - dropped, 1)
        clear = says & (ratio > chi2_ratio(_OWN, free))
        own = np.where(clear, ratio / chi2_ratio(_SURE, free), 1.0).max(axis=(0, 1))
        pooled = 1.0
        for of, cells, noise in zip(says[:, 0], ratio[:, 0], free[:, 0], strict=True):
            middle = float(np.median(cells[of])) if of.any() else 1.0
            if middle > float(chi2_ratio(_MODEL, np.median(noise))):
                pooled = max(pooled, middle)
        return np.asarray(np.maximum(own, pooled))

    def to_json(self) -> dict[str, Any]:
        """Return the state as plain JSON values; nothing is lost."""
        return {
            "rows": self._rows[: self._filled].tolist(),
            "before": self._before.astype(np.int64).tolist(),
            "compared": self._compared.tolist(),
        }

    def restore(self, data: Mapping[str, Any]) -> None:
        """Take over the state that `to_json` wrote."""
        self._filled = len(data["rows"])
        shape = (self._filled, self._rows.shape[1])
        self._rows[: self._filled] = np.array(data["rows"], dtype=np.int16).reshape(shape)
        self._before = np.array(data["before"], dtype=np.float64).reshape(self._before.shape)
        held = (len(data["compared"]), *self._compared.shape[1:])
        self._compared = np.array(data["compared"], dtype=np.float64).reshape(held)
        self._effects = None
