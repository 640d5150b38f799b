"""Streams and the time of day in, laws and log e-values of the hour out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeAlias

import numpy as np

from otel_ml.types import FloatArray, IntArray, Stream

__all__ = ["Nulls", "Seasonal", "no_season"]

Seasonal: TypeAlias = Callable[[str, int], FloatArray | None]
_KEPT: Final = 4  # slots remembered; time goes from one to the next


def no_season(source: str, slot: int) -> FloatArray | None:
    """Return that the law is the same at all times."""
    del source, slot
    return None


class Nulls:
    """The reference law of every stream, and what each alternative is normalised by, by slot.

    Parameters
    ----------
    streams
        What is watched.
    width
        Number of columns of the count matrix.
    season
        Log effect of a time slot on the law of a source, None where there is none.
    """

    def __init__(self, streams: Sequence[Stream], width: int, season: Seasonal) -> None:
        self.season = season
        self.streams = tuple(streams)
        k = [len(s.scores) for s in self.streams]
        self._of = np.repeat(np.arange(len(self.streams)), k)
        self._law = np.zeros((len(self.streams), width))
        self._scores = np.zeros((len(self._of), width))
        # needed once an hour at most, and there are many: in single precision
        self._ends = np.full((len(self._of), width), -np.inf, dtype=np.float32)
        at = 0
        for i, s in enumerate(self.streams):
            used = s.law > 0
            self._law[i, : len(s.law)] = s.law / s.law.sum()
            span = slice(at, at + k[i])
            self._scores[span, : len(s.law)] = s.scores
            self._ends[span, : len(s.law)] = np.where(used, s.ends, -np.inf)
            at += k[i]
        self._base = self._norms(self._law, np.arange(len(self.streams)))
        self._slots: dict[int, tuple[FloatArray, FloatArray]] = {}

    def gains(self, seen: FloatArray, rows: FloatArray, slots: Mapping[int, float]) -> FloatArray:
        """Return the log e-value of an evaluation by alternative.

        Parameters
        ----------
        seen
            Rows per stream and cell it asks about, shape ``(streams, width)``.
        rows
            Their sums, shape ``(streams,)``.
        slots
            Share of the rows by time slot; empty: the law of all times.
        """
        norms = self._base
        if slots:
            norms = sum((w * self._at(slot)[0] for slot, w in slots.items()), np.zeros(len(norms)))
        score = np.einsum("kc,kc->k", self._scores, seen[self._of])
        return np.asarray(score - rows[self._of] * norms)

    def laws(self, slots: Mapping[int, float]) -> FloatArray:
        """Return the law of each stream over the slots, shape ``(streams, width)``."""
        if not slots:
            return self._law
        zero = np.zeros_like(self._law)
        return np.asarray(sum((w * self._at(slot)[1] for slot, w in slots.items()), zero))

    def _at(self, slot: int) -> tuple[FloatArray, FloatArray]:
        held = self._slots.get(slot)
        if held is None:
            held = self._slot(slot)
            self._slots[slot] = held
            while len(self._slots) > _KEPT:
                del self._slots[next(iter(self._slots))]
        return held

    def _slot(self, slot: int) -> tuple[FloatArray, FloatArray]:
        moved = {}
        for i, s in enumerate(self.streams):
            effect = self.season(s.source, slot) if slot >= 0 and s.clock == "rows" else None
            if effect is not None:
                moved[i] = effect
        if not moved:
            return self._base, self._law
        law, norms = self._law.copy(), self._base.copy()
        for i, effect in moved.items():
            law[i, : len(effect)] *= np.exp(effect)
            law[i] /= law[i].sum()
        which = np.array(list(moved), dtype=np.int64)
        chosen = np.isin(self._of, which)
        norms[chosen] = self._norms(law, which)
        return norms, law

    def _norms(self, law: FloatArray, which: IntArray) -> FloatArray:
        chosen = np.isin(self._of, which)
        null = law[self._of[chosen]] * np.exp(self._ends[chosen], dtype=np.float64)
        bet = np.einsum("kc,kc->k", null, np.exp(self._scores[chosen]))
        return np.asarray(np.log(bet) - np.log(null.sum(axis=1)))
