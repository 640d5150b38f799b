"""Cell counts and labels in, evidence and summaries out: what the engine keeps of one model."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from otel_ml.damping import Damping
from otel_ml.errors import DataError
from otel_ml.incidents import History, Incidents, Playbook, RecentRows, Surroundings
from otel_ml.labelled import Labelled, Waiting
from otel_ml.local import CALL_SOURCES, Counted, Local
from otel_ml.monitors import LABEL_MONITORS, Detector
from otel_ml.pending import Pending
from otel_ml.plan import sizes_of, streams_of
from otel_ml.profile import Joined, Profile, Reference, Windows
from otel_ml.profile.coder import Codes, encode
from otel_ml.turns import give_way
from otel_ml.types import Batch, FloatArray, IntArray, Stream

__all__ = ["State"]

_LABELS: Final = 250  # that are evaluated together where more come at once,
_LABEL_EVALUATIONS: Final = 40  # unless it would take more evaluations than this


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
    playbook
        Causes to choose from; the built-in ones if left out.
    """

    def __init__(
        self,
        reference: Reference,
        *,
        model: str,
        min_effect: float,
        label_capacity: int,
        playbook: Playbook | None = None,
    ) -> None:
        self.reference = reference
        self.min_effect = min_effect
        layout = reference.layout
        sizes = sizes_of(reference)
        self.sources: Mapping[str, int] = {name: i for i, (name, _) in enumerate(sizes)}
        self.width = max(size for _, size in sizes)
        self.local = Local(reference)
        self.damping = Damping(reference, [name in CALL_SOURCES for name in self.sources])
        self.detector = Detector(
            streams_of(reference, min_effect), self.sources, self.width, self._season
        )
        self.history = History([size for _, size in sizes])
        before = {c.name: reference.profile.mean_sd(c.name) for c in layout.sources}
        self.around = Surroundings(RecentRows(layout), reference.effects, playbook, reference.joint)
        self.incidents = Incidents(
            model,
            self.streams,
            self.sources,
            self.history,
            before,
            reference.sensitivity,
            self.around,
        )
        self.total = Profile(layout)
        self.windows = Windows(layout)
        self.labelled = Labelled(reference, label_capacity)
        self.pending = Pending(len(sizes), self.width)
        self._planned: Mapping[str, float] | None = None
        self._row = 0
        self._watch(0)

    @property
    def streams(self) -> tuple[Stream, ...]:
        """What is watched."""
        return self.detector.streams

    def evidence(self) -> float:
        """Return the model's evidence, natural log."""
        return self.detector.total(self.detector.shares())

    def _season(self, source: str, slot: int) -> FloatArray | None:
        return self.reference.season.effect(source, slot % 24, slot // 24)

    def _watch(self, row: int, more: Sequence[Stream] = ()) -> None:
        """Watch also what has become known, and `more`, from a row on."""
        for stream in (*self.local.streams(), *more):
            self.detector = self.detector.extended(stream, self.sources, row)
        self.incidents.streams = self.detector.streams

    def calls(self, batch: Batch, row: int, now: float) -> None:
        """Count the calls of a batch."""
        self._row = row
        self._count(self.local.calls(batch, now))
        self._watch(row)

    def advance(self, now: float) -> bool:
        """Count the time that has passed; tell whether anything waits for an evaluation."""
        self._count(self.local.advance(now))
        return bool(self.pending)

    def _count(self, counted: Sequence[Counted]) -> None:
        for source, counts, sums in counted:
            self.pending.add(self.sources[source], counts, sums)

    def wait_for_labels(self, batch: Batch, codes: Codes, row: int) -> None:
        """Remember the predictions of a batch until their labels come."""
        self._judged(self.labelled.wait(batch, codes, row))

    def expect_only(self, waiting: Sequence[tuple[Batch, int]], labels: Mapping[str, Any]) -> None:
        """Remember predictions and labels of the time the reference was learned."""
        self.labelled.learned(sum(batch.n for batch, _ in waiting))
        for batch, row in waiting:
            self.wait_for_labels(batch, encode(self.reference, batch), row)
        joined = self.labelled.join.labels(list(labels), list(labels.values()))
        if self.labelled.late:  # else they are in the reference already
            self._judged(joined)

    def take_labels(self, ids: Sequence[str], labels: Sequence[Any]) -> Iterator[int]:
        """Join labels, class keys or numbers as text, to predictions and count the outcomes.

        Yields
        ------
        int
            How many were counted, where more follow, so that the caller can evaluate in between:
            labels of a whole night tell since when predictions are wrong, unless all are one sum.
        """
        joined = self.labelled.join.labels(ids, labels)
        size = max(_LABELS, math.ceil(len(joined) / _LABEL_EVALUATIONS))
        if len(joined) > size:
            joined = sorted(joined, key=lambda j: j.payload.row)
        done = 0
        try:
            for start in range(0, len(joined), size):
                done = start + size
                self._judged(joined[start:done])
                if done < len(joined):
                    yield size
                    give_way()
        finally:
            self._judged(joined[done:])  # whoever evaluates may fail: the others count all the same

    def _judged(self, joined: Sequence[Joined[Waiting]]) -> None:
        """Count outcomes, and hand what they add to each source to the next evaluation."""
        late = not self.labelled.complete
        first, counted = self.labelled.judge(joined, self.incidents.spans())
        for source, counts in counted.items():
            self.pending.add_labels(self.sources[source], counts, first)
        if late and self.labelled.complete:
            self._complete(self._row)

    def _complete(self, row: int) -> None:
        """Watch performance, too: the labels it is compared with have come."""
        self._watch(row, streams_of(self._effective(), self.min_effect, LABEL_MONITORS))

    def _effective(self) -> Reference:
        """Return the reference with labels that came late, and its rows counted as planned."""
        known = self.labelled.reference
        return known if self._planned is None else replace(known, designs=self._planned)

    def seen(self, codes: NDArray[np.int16], slots: IntArray) -> None:
        """Take note of how the rows of a chunk depend on each other, and of their hours.

        Parameters
        ----------
        codes
            Cells of the sources of the reference, shape ``(n, S)``.
        slots
            Slot of the week of each row, -1 where unknown, shape ``(n,)``.
        """
        self.damping.add(codes)
        self.pending.add_slots(slots)

    def add(
        self, counts: IntArray, sums: FloatArray, rows: int, local: IntArray | None = None
    ) -> None:
        """Add the counted rows of one chunk to what the next evaluation takes."""
        self.pending.add_rows(counts, sums, rows, local)
        self.total.counts += counts
        self.total.moments += sums

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

    def next_counts(self, row: int, whole: int, *, partly: bool = True) -> IntArray:
        """Hand what is pending to the detector and the history, and return it.

        Parameters
        ----------
        row
            Rows seen so far.
        whole
            Rows, calls or labels that are an evaluation; more rows are several in one.
        partly
            Whether fewer are a part of one; else any number is a whole one.
        """
        pending = self.pending
        start, counts = row - pending.rows, pending.counts
        self._plan()
        self.detector.update(
            counts,
            start,
            pending.evaluations(whole, partly=partly),
            slots=pending.slots(),
            design=self.damping.effects(start),
            coming=pending.next,
        )
        self.history.add(counts, pending.moments, pending.first_rows(start))
        pending.clear()
        return counts

    def settle(self, rearm: Sequence[int], row: int) -> None:
        """Re-arm streams, and leave the members of open incidents out of the evidence."""
        if rearm:
            self.detector.reset(rearm, row)
        self.detector.muted[:] = False
        self.detector.muted[self.incidents.members()] = True

    def _plan(self) -> None:
        """Count the reference's rows for less where production shows that rows repeat more."""
        if self.incidents.open:
            return  # their members are followed with the bets they were found by
        found = self.damping.replanned(self._effective())
        if found is not None:
            self._planned = found.designs
            self._replan()

    def _replan(self) -> None:
        fresh = {s.key: s for s in streams_of(self._effective(), self.min_effect)}
        # what there is nothing left to bet on keeps its bets; they are damped all the same
        streams = [fresh.get(s.key, s) for s in self.streams]
        evaluations = self.detector.evaluations
        self.detector = Detector(streams, self.sources, self.width, self._season)
        self.detector.evaluations = evaluations
        self.incidents.streams = self.detector.streams

    def to_json(self) -> dict[str, Any]:
        """Return everything that is kept as plain JSON values."""
        return {
            "planned": None if self._planned is None else dict(self._planned),
            "local": self.local.to_json(),
            "damping": self.damping.to_json(),
            "labelled": self.labelled.to_json(),
            "detector": self.detector.to_json(),
            "incidents": self.incidents.to_json(),
            "around": self.around.to_json(),
            "history": self.history.to_json(),
            "total": self.total.to_json(),
            "windows": self.windows.to_json(),
            **self.pending.to_json(),
        }

    def restore(self, data: Mapping[str, Any]) -> None:
        """Take up what `to_json` wrote."""
        self.local.restore(data["local"])
        self.damping.restore(data["damping"])
        late = not self.labelled.complete
        self.labelled.restore(data["labelled"])
        self._watch(0)
        if late and self.labelled.complete:
            self._complete(0)
        if data["planned"] is not None:
            self._planned = {str(k): float(v) for k, v in data["planned"].items()}
            self._replan()
        self.detector.restore(data["detector"])
        self.incidents.restore(data["incidents"])
        self.around.restore(data["around"])
        self.history.restore(data["history"])
        self.total = Profile.from_json(self.reference.layout, data["total"])
        self.windows.restore(data["windows"])
        self.pending.restore(data)
