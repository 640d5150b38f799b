"""Rows in, what the engine said about them out; only the package's public interface is used."""

from __future__ import annotations

import inspect
import time
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Final

import numpy as np

from benchmarks.detection.models import Case
from benchmarks.detection.streams import START, Rows
from otel_ml import Budget, Engine, Reference
from otel_ml.types import Batch

BUDGET: Final = Budget(1, per="100000rows")
LABEL_DELAY: Final = 500
SOON: Final = 100  # rows after it opened


class Clock:
    """A clock that shows the time of the last row."""

    def __init__(self, now: float = START) -> None:
        self.now = now

    def time(self) -> float:
        """Return seconds since the Unix epoch."""
        return self.now

    def monotonic(self) -> float:
        """Return seconds that never go backwards."""
        return self.now


@dataclass
class Seen:
    """What came of a stream.

    Parameters
    ----------
    rows
        Rows observed, those of a learned reference included.
    seconds
        CPU time the engine took.
    incidents
        The incidents, as JSON, each as it was when it opened, with ``soon`` as it was 100 rows
        later, and ``later`` as it was last.
    """

    rows: int = 0
    seconds: float = 0.0
    incidents: dict[str, dict[str, Any]] = field(default_factory=dict)

    def add(self, changes: list[Any]) -> None:
        """Keep the changes the engine returned after the latest rows."""
        for change in changes:
            told = brief(change.incident.to_json())
            held = self.incidents.setdefault(told["id"], told)
            if held is not told:
                held["later"] = told
                if self.rows <= held["opened_row"] + SOON:
                    held["soon"] = told


def brief(incident: dict[str, Any]) -> dict[str, Any]:
    """Return what the measures need of an incident, in few bytes."""
    kept = {
        k: incident[k]
        for k in ("id", "opened_row", "closed_row", "paged", "change_row", "evidence_log10")
    }
    kept["members"] = [
        [m["monitor"], m["target"], m.get("defect", ""), m["share"], m["joined_row"]]
        for m in incident["members"][:8]
    ]
    kept["causes"] = [c["id"] for c in incident["causes"][:3]]
    return kept


def reference_of(case: Case, rows: Rows, *, ordered: bool = True) -> Reference:
    """Return the reference of some rows, with the model at hand.

    Parameters
    ----------
    case
        Data set and model.
    rows
        Rows in time order.
    ordered
        Whether times and clients are given, where `Reference.build` takes them.
    """
    known = inspect.signature(Reference.build).parameters
    options: dict[str, Any] = {}
    if ordered and "times" in known:
        options["times"] = rows.times
    if ordered and "clients" in known:
        options["clients"] = rows.clients.tolist()
    if case.table.task == "binary":
        options |= {"scores": rows.scores, "positive": "1", "task": "binary"}
    else:
        options |= {"predictions": rows.scores, "task": "regression"}
    if len(rows.columns) <= 20:
        options["predict"] = case.model.predict
    else:  # what shuffling said before, lest hundreds be shuffled once more
        options["sensitivity"] = {name: case.importance.get(name, 0.0) for name in rows.columns}
    return Reference.build(
        rows.columns,
        labels=labels_of(case, rows),
        model_name=case.name,
        categorical=case.table.categorical,
        **options,
    )


def labels_of(case: Case, rows: Rows) -> Any:
    """Return the labels as a caller has them: classes as whole numbers, else values."""
    return rows.labels.astype(np.int64) if case.table.task == "binary" else rows.labels


def batch_of(case: Case, rows: Rows, ids: list[str], first: int, stop: int) -> Batch:
    """Return rows `first` to `stop` as they are served."""
    binary = case.table.task == "binary"
    scores = rows.scores[first:stop]
    return Batch(
        stop - first,
        {
            name: held[first:stop]
            for name, held in rows.columns.items()
            if first < rows.gone.get(name, len(rows))
        },
        scores=scores if binary else None,
        predictions=(scores >= 0.5).astype(np.int64).astype(str).astype(object)
        if binary
        else scores,
        ids=ids[first:stop],
        clients=rows.clients[first:stop].tolist(),
        event_times=rows.times[first:stop],
    )


class Run:
    """An engine that is fed rows, labels following late.

    Parameters
    ----------
    case
        Data set and model.
    reference
        What it compares with; None lets it learn.
    batch
        Rows of a call.
    labels
        Whether labels come.
    """

    def __init__(
        self, case: Case, reference: Reference | None, *, batch: int = 100, labels: bool = True
    ) -> None:
        self.case, self.batch, self.labels = case, batch, labels
        self.clock = Clock()
        learn: dict[str, Any] = {"categorical": case.table.categorical}
        if case.table.task == "binary":
            learn |= {"positive": "1", "task": "binary"}
        self.engine = Engine(
            reference, budget=BUDGET, clock=self.clock, learn=None if reference else learn
        )
        self.seen = Seen()
        self._waiting: list[tuple[list[str], Any]] = []
        self._held = 0

    def feed(self, rows: Rows, *, until: int | None = None) -> int:
        """Feed rows; stop early, 500 rows after the first incident past row `until`.

        Parameters
        ----------
        rows
            What comes, all of it already scored.
        until
            Row after which an incident ends the run; None feeds all.

        Returns
        -------
        int
            Rows that were fed.
        """
        before = self.seen.rows
        ids = [f"r{before + i}" for i in range(len(rows))]
        labels = labels_of(self.case, rows)
        cuts = sorted({*range(0, len(rows), self.batch), *rows.gone.values(), len(rows)})
        cuts = [c for c in cuts if c <= len(rows)]
        started = time.process_time()
        end = len(rows)
        for first, stop in pairwise(cuts):
            if first >= end:
                break
            self.clock.now = float(rows.times[stop - 1])
            self.engine.observe(batch_of(self.case, rows, ids, first, stop))
            self.seen.rows += stop - first
            if self.labels:
                self._label(ids[first:stop], labels[first:stop])
            changes = self.engine.evaluate(self.clock.now)
            if changes:
                self.seen.add(changes)
                if until is not None and end == len(rows):
                    late = [i for i in self.seen.incidents.values() if i["opened_row"] > until]
                    if late:
                        end = min(stop + 500, len(rows))
        self.seen.seconds += time.process_time() - started
        return min(end, len(rows))

    def _label(self, ids: list[str], labels: Any) -> None:
        self._waiting.append((ids, labels))
        self._held += len(ids)
        while self._held - len(self._waiting[0][0]) >= LABEL_DELAY:
            known, values = self._waiting.pop(0)
            self._held -= len(known)
            self.engine.observe_labels(known, values.tolist(), at=self.clock.now)
