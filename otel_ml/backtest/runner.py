"""Batches and labels in, the incidents of one budget out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from otel_ml.backtest.settings import Allowance
from otel_ml.backtest.trace import EvidenceTrace
from otel_ml.budget import EVALUATION_ROWS
from otel_ml.engine import Engine
from otel_ml.errors import DataError
from otel_ml.incidents import Change
from otel_ml.types import Batch

__all__ = ["Found", "Runner"]


@dataclass(slots=True)
class Found:
    """An incident over its life.

    Parameters
    ----------
    data
        Its latest state in the shape of `Incident.to_json`.
    opened_at, closed_at
        Time in the data, seconds since the Unix epoch.
    paged
        Whether it ever paged.
    """

    data: dict[str, Any]
    opened_at: float
    closed_at: float | None
    paged: bool


class Runner:
    """One engine with one budget.

    Parameters
    ----------
    engine
        The engine; its clock is that of the data.
    allowance
        Its budget, as stated.
    """

    def __init__(self, engine: Engine, allowance: Allowance) -> None:
        self.engine = engine
        self.allowance = allowance
        self.found: dict[str, Found] = {}
        self.trace = EvidenceTrace()
        self.families: dict[str, EvidenceTrace] = {}
        self.refused: dict[str, int] = {}

    def take(self, batch: Batch, ids: Sequence[str], labels: Sequence[Any]) -> None:
        """Take a batch and the labels that are due after it, and evaluate.

        What the engine refuses is counted by its reason: one batch must not end the run.

        Parameters
        ----------
        batch
            Predictions.
        ids, labels
            Labels of any earlier predictions.
        """
        engine = self.engine
        clock = engine.clock
        try:
            engine.observe(batch)
        except DataError as error:
            self.refused[error.message] = self.refused.get(error.message, 0) + batch.n
            return
        if ids:
            engine.observe_labels(ids, labels, at=clock.time())
        self._changes(engine.evaluate(clock.time()), batch)
        self._sample()

    def finish(self, ids: Sequence[str], labels: Sequence[Any], batch: Batch) -> None:
        """Take what is left: labels, and a reference that was never complete."""
        if ids:
            self.engine.observe_labels(ids, labels, at=self.engine.clock.time())
        self._changes(self.engine.evaluate(self.engine.clock.time()), batch)

    def _changes(self, changes: Sequence[Change], batch: Batch) -> None:
        start = self.engine.rows - batch.n
        for change in changes:
            data = change.incident.to_json()
            known = self.found.get(change.incident.id)
            if known is None:
                at = _time_of(batch, change.incident.opened_row - start, change.incident.opened_at)
                known = self.found[change.incident.id] = Found(data, at, None, False)
                self.trace.add(change.incident.opened_row, change.incident.evidence_log10)
            known.data = data
            known.paged = known.paged or change.incident.paged
            closed = change.incident.closed_row
            known.closed_at = (
                None
                if closed is None
                else _time_of(batch, closed - start, change.incident.closed_at or change.at)
            )

    def _sample(self) -> None:
        engine = self.engine
        row = engine.rows
        self.trace.add(row, engine.evidence_log10)
        if engine.state is None:
            return
        detector = engine.state.detector
        shares = detector.shares()
        families = [stream.family for stream in engine.state.streams]
        for name in dict.fromkeys(families):
            inside = shares[[family == name for family in families]]
            trace = self.families.setdefault(name, EvidenceTrace())
            trace.add(row, detector.total(inside) / math.log(10))

    @property
    def evaluations(self) -> int:
        """Evaluations so far."""
        return self.engine.rows // EVALUATION_ROWS


def _time_of(batch: Batch, rows: int, otherwise: float) -> float:
    """Return the time of the row at which so many of a batch had been seen."""
    if batch.event_times is None or not 0 < rows <= batch.n:
        return otherwise
    time = float(batch.event_times[rows - 1])
    return time if math.isfinite(time) else otherwise
