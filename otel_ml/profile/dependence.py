"""Rows of production in, how many of them count as one by now, out.

Rows of a session resemble each other, so n rows are worth n / d independent ones. The design effect
d of the reference is known beforehand (`otel_ml.profile.design`); production may depend more.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from otel_ml.profile.cells import NumericCells
from otel_ml.profile.profile import Layout
from otel_ml.stats.blocks import chi2_ratio, compare_blocks, trimmed_mean_ratio
from otel_ml.stats.repeats import ordered_scores
from otel_ml.types import FloatArray

__all__ = ["LiveDependence"]

_SURE: Final = 2.5  # the largest of many estimates is too large by about this deviate
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
