"""Counts per evaluation in, evidence of every stream and of the model out.

Per alternative a Shiryaev-Roberts sum ``M <- (M + w)·exp(sum of counts times log e-values)``, where
w is 1 for a whole evaluation: under no change its mean grows by at most w. A stream's evidence is
the weighted mean over its alternatives; the model's is the weighted mean over streams, so it is an
e-detector as well, under any dependence between them: crossing A takes at least A evaluations on
average.

Log e-values are divided by the design effect of the source: rows that repeat one another count as
one. What a row is worth depends on the hour: its law is that of the reference at that time.

References: Shiryaev 1963; Roberts 1966; Pollak 1985; Shin, Ramdas, Rinaldo 2023.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from otel_ml.errors import StateError
from otel_ml.monitors.ahead import Ahead, Coming, Damped, Reach
from otel_ml.monitors.learned import HALF_LIVES, Learned
from otel_ml.monitors.multiples import Multiples
from otel_ml.monitors.nulls import Nulls, Seasonal, no_season
from otel_ml.monitors.weights import stream_weights
from otel_ml.stats.special import log_add, log_sum_exp
from otel_ml.turns import give_way
from otel_ml.types import FloatArray, IntArray, Stream

__all__ = ["Detector"]

_NOTHING: Final = -1e300


class Detector:
    """Evidence of all streams of one model.

    Parameters
    ----------
    streams
        What is watched.
    sources
        Position of each source in the rows of the count matrix.
    width
        Number of columns of the count matrix.
    season
        Log effect of a time slot on the law of a source, None where there is none.
    """

    def __init__(
        self,
        streams: Sequence[Stream],
        sources: Mapping[str, int],
        width: int,
        season: Seasonal = no_season,
    ) -> None:
        self.streams = tuple(streams)
        self.width = width
        self._source_of = np.array([sources[s.source] for s in self.streams], dtype=np.int64)
        self.nulls = Nulls(self.streams, width, season, self._source_of)
        shaped = np.array([i for i, s in enumerate(self.streams) if s.shape_weight > 0], dtype=int)
        places = self._source_of[shaped]
        self.learned = Learned([self.streams[i] for i in shaped.tolist()], width, places)
        self._shaped = shaped
        fixed = np.array([len(s.scores) for s in self.streams], dtype=np.int64)
        extra = np.zeros(len(self.streams), dtype=np.int64)
        extra[self._shaped] = len(HALF_LIVES)
        self._lengths = fixed + extra
        self._starts = np.cumsum(self._lengths) - self._lengths
        self._stream_of = np.repeat(np.arange(len(self.streams)), self._lengths)
        total = int(self._lengths.sum())
        is_fixed = np.arange(total) - self._starts[self._stream_of] < fixed[self._stream_of]
        # gains of the fixed ones and the learned ones, in the order of the streams
        self._order = np.argsort(np.argsort(~is_fixed, kind="stable"), kind="stable")
        self._of_fixed = self._stream_of[is_fixed]
        weights = np.ones(total)
        for s, at, k in zip(
            self.streams, self._starts.tolist(), self._lengths.tolist(), strict=True
        ):
            free = s.shape_weight / len(HALF_LIVES)
            weights[at : at + k] = [*s.weights.tolist(), *[free] * (k - len(s.weights))]
        self._log_shares = np.log(weights)
        self._design = np.array([s.design for s in self.streams])
        asked = np.zeros((len(self.streams), width))
        for i, stream in enumerate(self.streams):
            asked[i, : len(stream.law)] = stream.law > 0
        self._asked = Multiples(asked, self._source_of)
        self._damped = Damped.of(self._design, self._of_fixed, shaped)
        self._laws: tuple[FloatArray, FloatArray] | None = None
        self.level = np.full(total, -np.inf)
        self.since = np.zeros(total, dtype=np.int64)
        self.muted = np.zeros(len(self.streams), dtype=bool)
        self.log_weights = np.log(stream_weights(self.streams))
        self.evaluations = 0
        self._reach = Reach(total)
        self._ahead: Ahead | None = None

    def update(
        self,
        counts: IntArray,
        row: int,
        weight: float = 1.0,
        *,
        slots: Mapping[int, float] | None = None,
        design: FloatArray | None = None,
        coming: Coming | None = None,
    ) -> None:
        """Take the counts of one evaluation.

        Parameters
        ----------
        counts
            Rows per source and cell, shape ``(sources, width)``.
        row
            Rows of the model seen before this evaluation: where a change would have begun.
        weight
            How much of an evaluation it is, above 0, or how many: the mean of every sum grows by at
            most this much under no change.
        slots
            Share of the rows by time slot (hour + 24·weekday); None where times are not known.
        design
            Design effect of each source as seen in production, shape ``(sources,)``; the larger of
            it and that of the reference counts. What follows from it is kept as long as the same
            array is given.
        coming
            Takes a number of evaluations, and returns the counts of as many that are likely to come
            next, or of fewer, shape ``(≤ n, sources, width)``. Nothing but the cost depends on it.
        """
        self.evaluations += 1
        if not len(self.level):
            return
        if self._ahead is None or not self._ahead.takes(counts, weight, slots, design):
            self._ahead = self._foresee(counts, weight, slots, design, coming)
        at = self._ahead.next()
        if len(self._shaped):
            self.learned.become(at)
        np.putmask(self.since, self._ahead.fresh[at], row)
        self.level = self._ahead.levels[at]

    def _foresee(
        self,
        counts: IntArray,
        weight: float,
        slots: Mapping[int, float] | None,
        design: FloatArray | None,
        coming: Coming | None,
    ) -> Ahead:
        """Return this evaluation, and those that come where they are known."""
        if design is not self._damped.seen:
            more = self._design
            if design is not None:
                more = np.maximum(more, design[self._source_of])
            self._damped = Damped.of(more, self._of_fixed, self._shaped, design)
        damped, hours = self._damped, slots or {}
        held = self._reach.of(counts, self._ahead, coming)
        rows = self._asked.products(held)
        steps = self.nulls.gains(held, rows, hours)
        give_way()
        if damped.fixed is not None:
            steps /= damped.fixed
        if len(self._shaped):
            free = self.learned.foresee(
                held,
                rows.take(self._shaped, axis=1),
                self._shaped_laws(hours),
                damped.free,
                weight,
            )
            steps = np.concatenate([steps, free], axis=1).take(self._order, axis=1)
        give_way()
        start = float(np.log(weight))
        levels, fresh = np.empty_like(steps), np.empty(steps.shape, dtype=bool)
        level = self.level
        for j, step in enumerate(steps):
            np.less(level, start, out=fresh[j])  # the sum restarts: the past weighs less than now
            np.add(log_add(level, start), step, out=levels[j])
            if not rows[j].all():
                # a stream nothing was counted for was not asked: its sum must not grow by waiting
                idle = (rows[j] == 0).take(self._stream_of)
                fresh[j] &= ~idle
                np.copyto(levels[j], level, where=idle)
            level = levels[j]
        return Ahead(held, weight, slots, design, levels, fresh, self._evidence(levels))

    def _shaped_laws(self, slots: Mapping[int, float]) -> FloatArray:
        """Return the laws of the streams that learn; the same array while nothing changes."""
        laws = self.nulls.laws(slots)
        if self._laws is None or self._laws[0] is not laws:
            self._laws = laws, laws[self._shaped]
        return self._laws[1]

    def evidence(self) -> FloatArray:
        """Return each stream's evidence, natural log, shape ``(streams,)``."""
        if not len(self.level):
            return np.full(len(self.streams), -np.inf)
        if self._ahead is not None:
            return np.array(self._ahead.evidence[self._ahead.at - 1])
        return np.array(self._evidence(self.level[None])[0])

    def _evidence(self, levels: FloatArray) -> FloatArray:
        """Return the evidence of sums, shape ``(n, streams)``."""
        shared = levels + self._log_shares
        peak = np.maximum.reduceat(shared, self._starts, axis=1)
        np.maximum(peak, _NOTHING, out=peak)  # of sums of nothing, there is no peak
        shared -= peak.take(self._stream_of, axis=1)
        total = np.add.reduceat(np.exp(shared, out=shared), self._starts, axis=1)
        with np.errstate(divide="ignore"):
            return np.asarray(np.log(total) + peak)

    def shares(self, evidence: FloatArray | None = None) -> FloatArray:
        """Return each stream's weighted evidence, natural log; minus infinity while muted.

        Parameters
        ----------
        evidence
            What `evidence` returns, where it has been asked already.
        """
        shared = (self.evidence() if evidence is None else evidence) + self.log_weights
        shared[self.muted] = -np.inf
        return shared

    def total(self, shares: FloatArray) -> float:
        """Return the model's evidence, natural log."""
        return log_sum_exp(shares)

    def change_row(self, stream: int) -> int:
        """Return where the stream's strongest alternative has begun, in rows of the model."""
        a = int(self._starts[stream])
        b = a + int(self._lengths[stream])
        return int(self.since[a + int(np.argmax(self.level[a:b]))])

    def reset(self, streams: Sequence[int], row: int) -> None:
        """Re-arm streams: their evidence starts again from nothing."""
        named = np.asarray(streams, dtype=np.int64)
        chosen = np.isin(self._stream_of, named)
        self._ahead = None
        self.level = np.where(chosen, -np.inf, self.level)
        self.since[chosen] = row
        self.learned.reset(np.flatnonzero(np.isin(self._shaped, named)))

    def extended(self, stream: Stream, sources: Mapping[str, int], row: int) -> Detector:
        """Return a detector that also watches `stream`, from `row` on."""
        other = Detector((*self.streams, stream), sources, self.width, self.nulls.season)
        held = len(self.level)
        other.level[:held], other.since[:held] = self.level, self.since
        other.since[held:] = row
        other.muted[: len(self.muted)] = self.muted
        other.evaluations = self.evaluations
        other.learned.take(self.learned)
        return other

    def to_json(self) -> dict[str, Any]:
        """Return the state by stream as plain JSON values."""
        return {
            "evaluations": self.evaluations,
            "streams": {
                s.key: {
                    "level": [None if v == -np.inf else v for v in self.level[a:b].tolist()],
                    "since": self.since[a:b].tolist(),
                    "muted": bool(self.muted[i]),
                }
                for i, (s, a, b) in enumerate(self._spans())
            },
            "learned": self.learned.to_json(),
        }

    def restore(self, data: Mapping[str, Any]) -> None:
        """Take up what `to_json` wrote.

        Raises
        ------
        StateError
            If it was written for other streams.
        """
        self._ahead = None
        self.evaluations = int(data["evaluations"])
        for i, (stream, a, b) in enumerate(self._spans()):
            held = data["streams"].get(stream.key)
            if held is None or len(held["level"]) != b - a:
                raise StateError(
                    f"the snapshot has no evidence for stream {stream.key!r}",
                    remedy="start without the snapshot, or with the otel-ml that wrote it",
                )
            self.level[a:b] = [-np.inf if v is None else v for v in held["level"]]
            self.since[a:b] = held["since"]
            self.muted[i] = held["muted"]
        self.learned.restore(data["learned"])

    def _spans(self) -> list[tuple[Stream, int, int]]:
        return [
            (s, int(a), int(a + k))
            for s, a, k in zip(self.streams, self._starts, self._lengths, strict=True)
        ]
