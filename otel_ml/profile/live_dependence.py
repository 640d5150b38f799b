"""Rows of production in the order of time in, how many rows of each source count as one, out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from otel_ml.profile.cells import NumericCells
from otel_ml.profile.profile import Layout
from otel_ml.stats.blocks import chi2_ratio, compare_blocks, compare_epochs, trimmed_mean_ratio
from otel_ml.stats.repeats import ordered_scores
from otel_ml.turns import give_way
from otel_ml.types import FloatArray, IntArray

__all__ = ["LiveDependence"]

_EPOCH: Final = 128  # rows judged together
_SCALES: Final = (16, 32, 64)  # rows of the blocks compared within an epoch
_VALUES: Final = 1 << 13  # cells of the epochs that are compared at once
_EPOCHS: Final = 16  # remembered, about 2,000 rows
_YOUNG: Final = 4  # epochs before which the unfinished one counts, too
_LEAST: Final = 0.02  # variance of a row's cell below which a source says nothing
_OVERLAP: Final = 1.5  # differences of neighbours share a block: so many count as one
_OWN: Final = 4.5  # normal deviates, looked at continually
_SURE: Final = 2.5  # the largest of many estimates is too large by about this deviate
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
        self._chance: _Chance | None = None
        self._ready: list[_Epoch] = []

    def add(self, codes: NDArray[np.int16]) -> None:
        """Take in rows in the order of time, shape ``(n, S)``, split into batches as it may be."""
        start = 0
        while start < len(codes):
            taken = min(len(codes) - start, _EPOCH - self._filled)
            self._rows[self._filled : self._filled + taken] = codes[start : start + taken]
            self._filled += taken
            start += taken
            if self._filled == _EPOCH:
                if not self._ready or not np.array_equal(self._ready[-1].rows, self._rows):
                    more = (len(codes) - start) // _EPOCH
                    rows = np.concatenate([self._rows, codes[start : start + more * _EPOCH]])
                    self._ready = self._epochs(rows.reshape(more + 1, _EPOCH, -1))
                done = self._ready.pop()
                self._compared, self._before = done.compared, done.counts
                self._effects, self._filled = None, 0
        if len(self._compared) < _YOUNG:
            self._effects = None

    def look_ahead(self, codes: NDArray[np.int16]) -> None:
        """Compare at once what `add` will be given next, if it is these rows; nothing is taken in.

        Parameters
        ----------
        codes
            Rows in the order of time, shape ``(n, S)``.
        """
        epochs = (self._filled + len(codes)) // _EPOCH
        if epochs > 1:
            rows = np.concatenate([self._rows[: self._filled], codes])[: epochs * _EPOCH]
            self._ready = self._epochs(rows.reshape(epochs, _EPOCH, -1))

    def _epochs(self, rows: NDArray[np.int16]) -> list[_Epoch]:
        """Return what epochs that follow each other bring, shape ``(n, rows, S)``, the last first.

        What is seen by the last few is looked at together: as many as stay in the cache.
        """
        out: list[_Epoch] = []
        compared, before = self._compared, self._before
        at_once = max(_VALUES // max(self._z.size, 1), 1)
        for start in range(0, len(rows), at_once):
            part = rows[start : start + at_once]
            found, counts = compare_epochs(part, before, self._z, _SCALES)
            before = counts[-1]
            for one, of, held in zip(found, counts, part, strict=True):
                compared = np.concatenate([compared, one[None]])[-_EPOCHS:]
                out.append(_Epoch(held, compared, of))
            give_way()
        return out[::-1]

    def effects(self) -> FloatArray:
        """Return the design effect of each source over the last rows, from 1, shape ``(S,)``.

        It is the same array as before, not to be written to, where nothing new has been seen.
        """
        if self._effects is None:
            compared = self._compared
            if len(compared) < _YOUNG and self._filled >= 2 * _SCALES[0]:
                rows = self._rows[: self._filled]
                found, _ = compare_blocks(rows, self._before, self._z, _SCALES, _EPOCH)
                compared = np.concatenate([compared, found[None]])
            self._effects = self._estimate(compared)
        return self._effects

    def _estimate(self, compared: FloatArray) -> FloatArray:
        if not (epochs := len(compared)):
            return np.ones(len(self._before))
        dropped = min(epochs // 4, 2)
        excess, spread = _without_largest(compared, dropped)
        says = spread > _LEAST * (epochs - dropped)
        ratio = np.where(says, 1 + excess / np.where(says, spread, 1.0), 1.0)
        if epochs not in self._trimmed:  # a few, and dear to compute
            self._trimmed[epochs] = trimmed_mean_ratio(self._free, epochs, dropped)
        ratio = ratio / self._trimmed[epochs]
        seen = (compared[:, 1] > 0).sum(axis=0)
        epochs_of = np.maximum(seen - dropped, 1)
        if (chance := self._chance) is None or not np.array_equal(chance.epochs, epochs_of):
            chance = self._chance = _Chance.of(epochs_of, self._free)
        clear = says & (ratio > chance.own)
        own = np.where(clear, ratio / chance.sure, 1.0).max(axis=(0, 1))
        middle = _medians(ratio[:, 0], says[:, 0])
        pooled = max(1.0, float(middle[middle > chance.model].max(initial=1.0)))
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
        self._ready = []


class _Epoch(NamedTuple):
    """What the rows of an epoch bring: all that is compared then, and their counts."""

    rows: NDArray[np.int16]
    compared: FloatArray
    counts: FloatArray


@dataclass(frozen=True, eq=False)
class _Chance:
    """What ratios of independent rows may be, for so many epochs of each."""

    epochs: IntArray  # shape (scales, kinds, S)
    own: FloatArray
    sure: FloatArray
    model: FloatArray  # of the median of the sources, by scale

    @classmethod
    def of(cls, epochs: IntArray, free_of_one: FloatArray) -> _Chance:
        free = free_of_one * epochs
        noise = _medians(free[:, 0], np.ones(free[:, 0].shape, dtype=bool))
        return cls(
            epochs, chi2_ratio(_OWN, free), chi2_ratio(_SURE, free), chi2_ratio(_MODEL, noise)
        )


def _without_largest(compared: FloatArray, dropped: int) -> FloatArray:
    """Return excess and spread over all epochs but those of the largest excess, by source."""
    by_epoch = compared.reshape(len(compared), 2, -1)
    sums, left = by_epoch.sum(axis=0), by_epoch[:, 0].copy()
    n = left.shape[1]
    for _ in range(dropped):
        largest = left.argmax(axis=0)
        sums -= by_epoch.reshape(-1).take(2 * n * largest + np.arange(2 * n).reshape(2, n))
        left.reshape(-1)[n * largest + np.arange(n)] = -np.inf
    return np.asarray(sums.reshape(compared.shape[1:]))


def _medians(values: FloatArray, told: NDArray[np.bool_]) -> FloatArray:
    """Return the median of what is told of each row, shape ``(rows,)``; 1 where nothing is."""
    ranked = np.sort(np.where(told, values, np.inf), axis=1)
    n, rows = told.sum(axis=1), np.arange(len(told))
    middle = (ranked[rows, np.maximum(n - 1, 0) // 2] + ranked[rows, n // 2]) / 2
    return np.asarray(np.where(n > 0, middle, 1.0))
