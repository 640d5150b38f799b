"""Counts per evaluation in, evidence of every stream and of the model out.

Per alternative a Shiryaev-Roberts sum ``M <- (M + w)·exp(sum of counts times log e-values)``, where
w is 1 for a whole evaluation: under no change its mean grows by at most w. A stream's evidence is
the mean over its alternatives; the model's is the weighted mean over streams, so it is an
e-detector as well, under any dependence between them: crossing A takes at least A evaluations on
average.

References: Shiryaev 1963; Roberts 1966; Pollak 1985; Shin, Ramdas, Rinaldo 2023.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from otel_ml.errors import StateError
from otel_ml.monitors.weights import FAMILY_WEIGHTS
from otel_ml.stats.special import log_sum_exp
from otel_ml.types import FloatArray, IntArray, Stream

__all__ = ["Detector"]


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
    """

    def __init__(self, streams: Sequence[Stream], sources: Mapping[str, int], width: int) -> None:
        self.streams = tuple(streams)
        lengths = [len(s.logs) for s in self.streams]
        self._stream_of = np.repeat(np.arange(len(self.streams)), lengths)
        self._source_of = np.array(
            [
                sources[s.source]
                for s, k in zip(self.streams, lengths, strict=True)
                for _ in range(k)
            ],
            dtype=np.int64,
        )
        self._logs = np.zeros((len(self._stream_of), width))
        at = 0
        for stream, k in zip(self.streams, lengths, strict=True):
            self._logs[at : at + k, : stream.logs.shape[1]] = stream.logs
            at += k
        self._starts = np.concatenate([[0], np.cumsum(lengths)])[:-1].astype(np.int64)
        self._lengths = np.array(lengths, dtype=np.int64)
        self._asked = np.zeros((len(self.streams), width), dtype=np.int64)
        for i, stream in enumerate(self.streams):
            self._asked[i, : len(stream.law)] = stream.law > 0
        self.level = np.full(len(self._stream_of), -np.inf)
        self.since = np.zeros(len(self._stream_of), dtype=np.int64)
        self.muted = np.zeros(len(self.streams), dtype=bool)
        self.log_weights = np.log(self._weights())
        self.evaluations = 0

    def _weights(self) -> FloatArray:
        members: dict[str, int] = {}
        for stream in self.streams:
            members[stream.family] = members.get(stream.family, 0) + 1
        # families without a stream give their share to the others
        total = sum(FAMILY_WEIGHTS[family] for family in members)
        return np.array(
            [FAMILY_WEIGHTS[s.family] / total / members[s.family] for s in self.streams]
        )

    def update(self, counts: IntArray, row: int, weight: float = 1.0) -> None:
        """Take the counts of one evaluation.

        Parameters
        ----------
        counts
            Rows per source and cell, shape ``(sources, width)``.
        row
            Rows of the model seen before this evaluation: where a change would have begun.
        weight
            How much of an evaluation it is, above 0: the mean of every sum grows by at most this
            much under no change.
        """
        self.evaluations += 1
        if not len(self.level):
            return
        start = float(np.log(weight))
        # a stream nothing was counted for was not asked: its sum must not grow by waiting
        heard = np.einsum("sc,sc->s", self._asked, counts[self._source_of[self._starts]]) > 0
        asked = heard[self._stream_of]
        fresh = asked & (self.level < start)  # the sum restarts: the past weighs less than now
        self.since[fresh] = row
        step = np.einsum("kc,kc->k", self._logs, counts[self._source_of].astype(np.float64))
        self.level = np.where(asked, np.logaddexp(self.level, start) + step, self.level)

    def evidence(self) -> FloatArray:
        """Return each stream's evidence, natural log, shape ``(streams,)``."""
        if not len(self.level):
            return np.full(len(self.streams), -np.inf)
        peak = np.maximum.reduceat(self.level, self._starts)
        safe = np.where(np.isfinite(peak), peak, 0.0)
        total = np.add.reduceat(np.exp(self.level - safe[self._stream_of]), self._starts)
        with np.errstate(divide="ignore"):
            return np.asarray(np.log(total) + safe - np.log(self._lengths))

    def shares(self) -> FloatArray:
        """Return each stream's weighted evidence, natural log; minus infinity while muted."""
        return np.where(self.muted, -np.inf, self.evidence() + self.log_weights)

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
        chosen = np.isin(self._stream_of, np.asarray(streams, dtype=np.int64))
        self.level[chosen] = -np.inf
        self.since[chosen] = row

    def extended(self, stream: Stream, sources: Mapping[str, int], row: int) -> Detector:
        """Return a detector that also watches `stream`, from `row` on."""
        other = Detector((*self.streams, stream), sources, self._logs.shape[1])
        held = len(self.level)
        other.level[:held], other.since[:held] = self.level, self.since
        other.since[held:] = row
        other.muted[: len(self.muted)] = self.muted
        other.evaluations = self.evaluations
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
        }

    def restore(self, data: Mapping[str, Any]) -> None:
        """Take up what `to_json` wrote.

        Raises
        ------
        StateError
            If it was written for other streams.
        """
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

    def _spans(self) -> list[tuple[Stream, int, int]]:
        return [
            (s, int(a), int(a + k))
            for s, a, k in zip(self.streams, self._starts, self._lengths, strict=True)
        ]
