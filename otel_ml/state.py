"""Cell counts and labels in, evidence and summaries out: what the engine keeps of one model."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from otel_ml.errors import DataError
from otel_ml.incidents import History, Incidents
from otel_ml.monitors import (
    ERRORS_SOURCE,
    LATENCY,
    LATENCY_BOUNDS,
    LATENCY_SOURCE,
    MONITORS,
    Detector,
    call_errors,
    error_rates,
    error_source,
    latency,
)
from otel_ml.profile import Joined, LabelJoin, Profile, Reference, Windows
from otel_ml.profile.cells import fixed_cells, moments
from otel_ml.profile.coder import Codes, chunk_counts, top_score
from otel_ml.types import Batch, FloatArray, IntArray, Stream

__all__ = ["State"]

_LATENCY_CELLS: Final = fixed_cells(LATENCY, LATENCY_BOUNDS)
_LATENCY_CALLS: Final = 200  # calls that become the baseline of the latency
_RECENT_LABELS: Final = 2000  # labels that estimates of the present rest on
_SCORE_BINS: Final = 20


class Waiting(NamedTuple):
    """What is kept of a prediction until its label comes.

    Parameters
    ----------
    row
        Number of the row.
    predicted
        Position of the predicted class, -1 where unknown.
    score
        Watched score, or the predicted value of a regression; NaN where there is none.
    groups
        Group code of each slicing attribute.
    """

    row: int
    predicted: int
    score: float
    groups: tuple[int, ...]


class State:
    """Counts, evidence, incidents and labels of one model with a frozen reference.

    Parameters
    ----------
    reference
        What production is compared with.
    model
        Name for the ids of incidents.
    min_effect
        Total variation below which drift never alarms.
    label_capacity
        Predictions that wait for labels, at least.
    """

    def __init__(
        self, reference: Reference, *, model: str, min_effect: float, label_capacity: int
    ) -> None:
        self.reference = reference
        layout = reference.layout
        groups = [error_source(a, g) for a, g, _, _ in error_rates(reference)]
        names = [*(c.name for c in layout.sources), LATENCY_SOURCE, ERRORS_SOURCE, *groups]
        self.sources: Mapping[str, int] = {name: i for i, name in enumerate(names)}
        if len(self.sources) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise DataError(
                f"a feature is called {twice!r}, as the counts of calls or errors are",
                remedy="rename the column and build the reference again",
            )
        self.width = max(layout.width, _LATENCY_CELLS.size)
        streams = [s for monitor in MONITORS for s in monitor(reference, min_effect)]
        streams = [s for s in (*streams, call_errors()) if len(s.logs)]
        self.detector = Detector(streams, self.sources, self.width)
        self.history = History(len(names), self.width)
        before = {cells.name: reference.profile.mean_sd(cells.name) for cells in layout.sources}
        self.incidents = Incidents(
            model, streams, self.sources, self.history, before, reference.sensitivity
        )
        self.total = Profile(layout)
        self.windows = Windows(layout)
        self.latency = np.zeros(_LATENCY_CELLS.size, dtype=np.int64)
        self.latency_known = False
        self.join: LabelJoin[Waiting] = LabelJoin(label_capacity)
        self.outcomes = None if reference.group_layout is None else reference.group_layout.zeros()
        self.residuals = np.zeros(3)
        self._recent: deque[tuple[int, IntArray, IntArray]] = deque()
        self._pending = np.zeros((len(names), self.width), dtype=np.int64)
        self._moments = np.zeros((len(names), 3))
        self._label_rows = np.full(len(names), -1, dtype=np.int64)
        self.pending_rows = 0

    @property
    def streams(self) -> tuple[Stream, ...]:
        """What is watched."""
        return self.detector.streams

    def pending(self) -> bool:
        """Tell whether anything waits for an evaluation."""
        return bool(self._pending.any())

    def calls(self, batch: Batch) -> bool:
        """Count the calls of a batch; tell whether the latency baseline could be complete."""
        at = self.sources[ERRORS_SOURCE]
        if batch.durations is not None and len(batch.durations):
            codes, values = _LATENCY_CELLS.codes(batch.durations)
            counted = np.bincount(codes, minlength=_LATENCY_CELLS.size)
            self.latency += counted
            if self.latency_known:
                i = self.sources[LATENCY_SOURCE]
                self._pending[i, : len(counted)] += counted
                self._moments[i] += moments(values)
            self._pending[at, 0] += len(batch.durations)
        self._pending[at, 1] += len(batch.errors)
        return int(self.latency.sum()) >= _LATENCY_CALLS

    def learn_latency(self, row: int) -> None:
        """Take the calls so far as the baseline of the latency, and watch it from now on."""
        stream = latency(_LATENCY_CELLS, self.latency)
        self.latency_known = True
        if len(stream.logs):
            self._watch(stream, row)

    def _watch(self, stream: Stream, row: int) -> None:
        self.detector = self.detector.extended(stream, self.sources, row)
        self.incidents.streams = self.detector.streams

    def count_windows(self, codes: Codes, times: FloatArray, now: float) -> None:
        """Add a batch to the event-time windows it belongs to."""
        if not len(times):
            return
        position, windows = self.windows.place(times, now)
        kept = position >= 0
        if not kept.any():
            return
        part = codes if kept.all() else codes.select(kept)
        counts, sums = chunk_counts(self.reference.layout, part, position[kept], len(windows))
        for window, counted, summed in zip(windows.tolist(), counts, sums, strict=True):
            self.windows.add(window, Profile(self.reference.layout, counted, summed))
        self.windows.close()

    def wait_for_labels(self, batch: Batch, codes: Codes, row: int) -> None:
        """Remember the predictions of a batch until their labels come."""
        if batch.ids is None or batch.n == 0:
            return
        layout = self.reference.group_layout
        predicted = np.full(batch.n, -1, dtype=np.int64)
        score = np.full(batch.n, np.nan)
        groups: list[Any] = []
        if self.reference.task == "regression":
            if codes.predictions is not None:
                score = codes.predictions.astype(np.float64)
        elif layout is not None and codes.predictions is not None:
            predicted = layout.class_codes(codes.predictions).astype(np.int64)
            if batch.scores is not None:
                score = top_score(self.reference, batch.scores)
            for group in layout.groups:
                column = batch.slices.get(group.attribute, batch.features.get(group.attribute))
                absent = np.full(batch.n, len(group.labels), dtype=np.uint8)
                groups.append((absent if column is None else group.codes(column)).tolist())
        rows = zip(*groups, strict=True) if groups else [()] * batch.n
        waiting = [
            Waiting(row + i, p, s, tuple(g))
            for i, (p, s, g) in enumerate(
                zip(predicted.tolist(), score.tolist(), rows, strict=True)
            )
        ]
        self._judge(self.join.expect(batch.ids, waiting, batch.aliases))

    def expect_only(self, waiting: Sequence[tuple[Batch, int]], labels: Mapping[str, Any]) -> None:
        """Remember predictions made while the reference was learned, and labels that came."""
        from otel_ml.profile.coder import encode

        for batch, row in waiting:
            self.wait_for_labels(batch, encode(self.reference, batch), row)
        joined = self.join.labels(list(labels), list(labels.values()))
        if self.reference.outcomes is None:  # else they are in the reference already
            self._judge(joined)

    def take_labels(self, ids: Sequence[str], labels: Sequence[Any], row: int) -> None:
        """Join labels to predictions and count the outcomes.

        Parameters
        ----------
        ids
            Ids of the predictions.
        labels
            Class keys, or numbers as text for a regression.
        row
            Rows seen so far.
        """
        self._judge(self.join.labels(ids, labels))

    def _judge(self, joined: Sequence[Joined[Waiting]]) -> None:
        if not joined:
            return
        if self.reference.task == "regression":
            truth = np.array([_number(j.label) for j in joined])
            error = truth - np.array([j.payload.score for j in joined])
            error = error[np.isfinite(error)]
            self.residuals += [len(error), np.abs(error).sum(), np.square(error).sum()]
            return
        layout = self.reference.group_layout
        if layout is None or self.outcomes is None:
            return
        predicted = np.array([j.payload.predicted for j in joined], dtype=np.int16)
        actual = layout.class_codes(np.array([j.label for j in joined], dtype=object))
        rows = np.array([j.payload.row for j in joined], dtype=np.int64)
        codes = [
            np.array([j.payload.groups[k] for j in joined], dtype=np.uint8)
            for k in range(len(layout.groups))
        ]
        counted = layout.count(predicted, actual, codes)
        self.outcomes += counted
        self._remember(counted, joined, actual)
        # labels of rows whose inputs were broken say nothing new: no echo of an incident that ended
        fresh = np.ones(len(rows), dtype=bool)
        for lower, upper in self.incidents.spans():
            fresh &= (rows < lower) | (rows > upper)
        if fresh.any() and self.reference.outcomes is not None:
            part = layout.count(predicted[fresh], actual[fresh], [c[fresh] for c in codes])
            first = int(rows[fresh].min())
            for (attribute, group), matrix in zip(layout.names, part, strict=True):
                i = self.sources[error_source(attribute, group)]
                right = int(np.trace(matrix))
                self._pending[i, 0] += right
                self._pending[i, 1] += int(matrix.sum()) - right
                if self._label_rows[i] < 0 or first < self._label_rows[i]:
                    self._label_rows[i] = first

    def _remember(self, counted: IntArray, joined: Sequence[Joined[Waiting]], actual: Any) -> None:
        calibration = np.zeros((_SCORE_BINS, 2), dtype=np.int64)
        if self.reference.task == "binary":
            scores = np.array([j.payload.score for j in joined])
            ok = (scores >= 0) & (scores <= 1) & (actual >= 0)
            bins = np.clip((scores[ok] * _SCORE_BINS).astype(np.int64), 0, _SCORE_BINS - 1)
            np.add.at(calibration, (bins, actual[ok].astype(np.int64)), 1)
        n = int(counted[0].sum())
        if self._recent and self._recent[-1][0] < 100:
            last = self._recent.pop()
            n, counted, calibration = n + last[0], counted + last[1], calibration + last[2]
        self._recent.append((n, counted, calibration))
        held = sum(item[0] for item in self._recent)
        while len(self._recent) > 1 and held - self._recent[0][0] >= _RECENT_LABELS:
            held -= self._recent.popleft()[0]

    def recent_outcomes(self) -> tuple[IntArray, IntArray]:
        """Return confusion counts and score bin × label counts of about the latest 2,000 labels.

        Returns
        -------
        outcomes
            Shape ``(groups, predicted, true)``.
        calibration
            Shape ``(20, 2)``; equal-width bins of the score.
        """
        assert self.outcomes is not None
        counted = np.zeros_like(self.outcomes)
        calibration = np.zeros((_SCORE_BINS, 2), dtype=np.int64)
        for _, outcome, pairs in self._recent:
            counted += outcome
            calibration += pairs
        return counted, calibration

    def add(self, counts: IntArray, sums: FloatArray, rows: int, row: int) -> None:
        """Add the counted rows of one chunk to what the next evaluation takes."""
        s, width = counts.shape
        self._pending[:s, :width] += counts
        self._moments[:s] += sums
        self.total.counts += counts
        self.total.moments += sums
        self.pending_rows += rows

    def merge(self, other: Profile, row: int) -> None:
        """Add the counts of another process.

        Raises
        ------
        DataError
            If the profile was made with another reference.
        """
        if other.layout != self.reference.layout:
            raise DataError(
                "the profile was made with another reference",
                remedy="give every replica the same reference file",
            )
        self.add(other.counts, other.moments, int(other.counts.sum(axis=1).max(initial=0)), row)

    def next_counts(self, row: int, whole: int | None = None) -> IntArray:
        """Hand what is pending to the detector and the history, and return it.

        Parameters
        ----------
        row
            Rows seen so far.
        whole
            Rows, calls or labels that are a whole evaluation; less is a part of one. None: any
            number is.
        """
        start = row - self.pending_rows
        counts = self._pending.copy()
        rows = np.where(self._label_rows >= 0, self._label_rows, start)
        most = int(counts.sum(axis=1).max(initial=1))
        self.detector.update(counts, start, 1.0 if whole is None else min(most / whole, 1.0))
        self.history.add(counts, self._moments, rows)
        self._pending[:] = 0
        self._moments[:] = 0
        self._label_rows[:] = -1
        self.pending_rows = 0
        return counts

    def to_json(self) -> dict[str, Any]:
        """Return everything that is kept as plain JSON values."""
        h = self.history
        return {
            "detector": self.detector.to_json(),
            "incidents": self.incidents.to_json(),
            "history": {
                "counts": h.counts.tolist(),
                "moments": h.moments.tolist(),
                "rows": h.rows.tolist(),
                "taken": h.taken,
            },
            "total": self.total.to_json(),
            "windows": self.windows.to_json(),
            "latency": self.latency.tolist(),
            "latency_stream": self._latency_json(),
            "join": self.join.to_json(_plain),
            "outcomes": None if self.outcomes is None else self.outcomes.tolist(),
            "residuals": self.residuals.tolist(),
            "recent": [[n, c.tolist(), k.tolist()] for n, c, k in self._recent],
            "pending": {
                "counts": self._pending.tolist(),
                "moments": self._moments.tolist(),
                "label_rows": self._label_rows.tolist(),
                "rows": self.pending_rows,
            },
        }

    def _latency_json(self) -> dict[str, Any] | None:
        """Return the stream of the latency, which no reference can give back."""
        for s in self.streams:
            if s.monitor == LATENCY and s.yes is not None:
                return {"law": s.law.tolist(), "logs": s.logs.tolist(), "slow": s.yes.tolist()}
        return None

    def restore(self, data: Mapping[str, Any]) -> None:
        """Take up what `to_json` wrote."""
        if data["latency_stream"] is not None:
            self.latency_known = True
            held = {k: np.array(v) for k, v in data["latency_stream"].items()}
            labels = _LATENCY_CELLS.labels
            law, logs, slow = held["law"], held["logs"], held["slow"]
            self._watch(
                Stream(
                    LATENCY,
                    "latency",
                    LATENCY,
                    LATENCY_SOURCE,
                    "calls",
                    law,
                    logs,
                    labels,
                    yes=slow,
                ),
                0,
            )
        self.detector.restore(data["detector"])
        self.incidents.restore(data["incidents"])
        h, past = self.history, data["history"]
        for part, name in ((h.counts, "counts"), (h.moments, "moments"), (h.rows, "rows")):
            _fill(part, past[name])
        h.taken = int(past["taken"])
        self.total = Profile.from_json(self.reference.layout, data["total"])
        self.windows.restore(data["windows"])
        _fill(self.latency, data["latency"])
        self.join.restore(data["join"], _waiting)
        if self.outcomes is not None:
            _fill(self.outcomes, data["outcomes"])
        _fill(self.residuals, data["residuals"])
        self._recent = deque((int(n), np.array(c), np.array(k)) for n, c, k in data["recent"])
        pending = data["pending"]
        _fill(self._pending, pending["counts"])
        _fill(self._moments, pending["moments"])
        _fill(self._label_rows, pending["label_rows"])
        self.pending_rows = int(pending["rows"])


def _fill(array: NDArray[Any], values: Any) -> None:
    """Set an array to values of its own shape; numpy would repeat those of a smaller one."""
    given = np.asarray(values)
    if given.shape != array.shape:
        raise ValueError(f"shape {given.shape} in place of {array.shape}")
    array[:] = given


def _plain(held: Waiting) -> list[Any]:
    return [held.row, held.predicted, None if held.score != held.score else held.score, held.groups]


def _waiting(data: Iterable[Any]) -> Waiting:
    row, predicted, score, groups = data
    return Waiting(row, predicted, float("nan") if score is None else score, tuple(groups))


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return float("nan")
