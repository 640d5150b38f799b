"""Streams and the time of day in, laws and log e-values of the hour out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from otel_ml.monitors.multiples import Multiples
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
    places
        Row of the counts that each stream is asked of, shape ``(streams,)``; a row of its own each
        if left out.
    """

    def __init__(
        self,
        streams: Sequence[Stream],
        width: int,
        season: Seasonal,
        places: IntArray | None = None,
    ) -> None:
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
        held = np.arange(len(self.streams)) if places is None else places
        self._multiples = Multiples(self._scores, held[self._of])
        self._base = self._norms(self._law, np.arange(len(self.streams)))
        self._slots: dict[int, tuple[FloatArray, FloatArray]] = {}

    def gains(self, seen: NDArray[Any], rows: FloatArray, slots: Mapping[int, float]) -> FloatArray:
        """Return the log e-value of an evaluation by alternative.

        Parameters
        ----------
        seen
            Rows by row of the counts and cell, shape ``(…, places, width)``; cells that a stream
            does not ask about have no score.
        rows
            Rows that each stream asks about, shape ``(…, streams)``.
        slots
            Share of the rows by time slot; empty: the law of all times.

        Returns
        -------
        numpy.ndarray
            Shape ``(…, alternatives)``.
        """
        gain = self._multiples.products(seen)
        gain -= rows.take(self._of, axis=-1) * self._over(slots, 0)
        return gain

    def laws(self, slots: Mapping[int, float]) -> FloatArray:
        """Return the law of each stream over the slots, shape ``(streams, width)``.

        It is the same array as before where nothing depends on the time.
        """
        return self._over(slots, 1)

    def _over(self, slots: Mapping[int, float], part: Literal[0, 1]) -> FloatArray:
        """Return norms, or laws, over the slots."""
        held = [(self._at(slot)[part], weight) for slot, weight in slots.items()]
        if not held:
            return self._law if part else self._base
        first = held[0][0]
        if all(each is first for each, _ in held):
            return first
        return np.asarray(sum((weight * each for each, weight in held), np.zeros_like(first)))

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
