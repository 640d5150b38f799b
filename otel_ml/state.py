"""Cell counts and labels in, evidence and summaries out: what the engine keeps of one model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from otel_ml.errors import DataError
from otel_ml.incidents import History, Incidents
from otel_ml.labelled import Labelled, Waiting, fill
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
from otel_ml.profile import Joined, Profile, Reference, Windows
from otel_ml.profile.cells import fixed_cells, moments
from otel_ml.profile.coder import Codes, chunk_counts, encode
from otel_ml.types import Batch, FloatArray, IntArray, Stream

__all__ = ["State"]

_LATENCY_CELLS: Final = fixed_cells(LATENCY, LATENCY_BOUNDS)
_LATENCY_CALLS: Final = 200  # calls that become the baseline of the latency


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
        self.labelled = Labelled(reference, label_capacity)
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
        self._judged(self.labelled.wait(batch, codes, row))

    def expect_only(self, waiting: Sequence[tuple[Batch, int]], labels: Mapping[str, Any]) -> None:
        """Remember predictions made while the reference was learned, and labels that came."""
        for batch, row in waiting:
            self.wait_for_labels(batch, encode(self.reference, batch), row)
        joined = self.labelled.join.labels(list(labels), list(labels.values()))
        if self.reference.outcomes is None:  # else they are in the reference already
            self._judged(joined)

    def take_labels(self, ids: Sequence[str], labels: Sequence[Any]) -> None:
        """Join labels to predictions and count the outcomes.

        Parameters
        ----------
        ids
            Ids of the predictions.
        labels
            Class keys, or numbers as text for a regression.
        """
        self._judged(self.labelled.join.labels(ids, labels))

    def _judged(self, joined: Sequence[Joined[Waiting]]) -> None:
        """Count outcomes, and hand right and wrong of each group to the next evaluation."""
        first, errors = self.labelled.judge(joined, self.incidents.spans())
        for (attribute, group), (right, wrong) in errors.items():
            i = self.sources[error_source(attribute, group)]
            self._pending[i, :2] += (right, wrong)
            if self._label_rows[i] < 0 or first < self._label_rows[i]:
                self._label_rows[i] = first

    def add(self, counts: IntArray, sums: FloatArray, rows: int) -> None:
        """Add the counted rows of one chunk to what the next evaluation takes."""
        s, width = counts.shape
        self._pending[:s, :width] += counts
        self._moments[:s] += sums
        self.total.counts += counts
        self.total.moments += sums
        self.pending_rows += rows

    def merge(self, other: Profile) -> None:
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
        self.add(other.counts, other.moments, int(other.counts.sum(axis=1).max(initial=0)))

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
            "labelled": self.labelled.to_json(),
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
            fill(part, past[name])
        h.taken = int(past["taken"])
        self.total = Profile.from_json(self.reference.layout, data["total"])
        self.windows.restore(data["windows"])
        fill(self.latency, data["latency"])
        self.labelled.restore(data["labelled"])
        pending = data["pending"]
        fill(self._pending, pending["counts"])
        fill(self._moments, pending["moments"])
        fill(self._label_rows, pending["label_rows"])
        self.pending_rows = int(pending["rows"])
