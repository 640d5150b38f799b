"""The verdict: in, what was done and what was found; out, whether they agree, also as JSON.

The JSON shape ``otel-ml/demo/1`` is described in docs/reference/demo-json.md. Keys are added, never
renamed or removed, under one schema name.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Final

from otel_ml.demo.collector import Finding, Incident
from otel_ml.demo.replay import ReplayLog

__all__ = ["SCHEMA", "Counts", "Outcome"]

SCHEMA: Final = "otel-ml/demo/1"


@dataclass(frozen=True, slots=True)
class Counts:
    """What was counted, against what was sent.

    Parameters
    ----------
    predictions
        Rows the telemetry counted.
    labels
        Labels it joined.
    dropped
        Predictions the monitoring itself gave up, by reason.
    """

    predictions: int
    labels: int
    dropped: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Outcome:
    """All there is to say about a run.

    Parameters
    ----------
    seed
        Seed of the run.
    model
        Name of the model, rows it was trained on, accuracy on held-out rows.
    budget
        The false incidents that are put up with.
    log
        What was sent.
    counts
        What was counted.
    findings
        Fault by fault.
    known
        All incidents.
    other
        Those that are no fault's.
    label_delay
        Rows between a prediction and its label.
    seconds
        How long each part took.
    page
        The page for people.
    strays
        Telemetry that is not as the registry of names says.
    """

    seed: int
    model: dict[str, Any]
    budget: dict[str, Any]
    log: ReplayLog
    counts: Counts
    findings: Sequence[Finding]
    known: Sequence[Incident]
    other: Sequence[Incident]
    label_delay: int
    seconds: dict[str, float]
    page: Path | None = None
    strays: Sequence[str] = ()

    @property
    def first_fault_row(self) -> int:
        """Row before which all was well."""
        passages = self.log.passages
        return passages[0].start_row if passages else self.log.rows

    @property
    def before_first(self) -> list[Incident]:
        """Incidents that opened while all was well."""
        return [one for one in self.known if one.opened_row < self.first_fault_row]

    @property
    def problems(self) -> list[str]:
        """What was not as it should be, in sentences; empty is success."""
        said = []
        for finding in self.findings:
            fault, incident = finding.passage.fault, finding.incident
            if incident is None:
                said.append(f"{fault.cause} on {fault.target} was not found.")
            elif not (finding.cause_named and finding.target_named):
                said.append(
                    f"{fault.cause} on {fault.target} was found after {finding.rows_to_find} rows "
                    f"but called {incident.cause} on {incident.target}."
                )
        for one in self.other:
            paged = "paged" if one.paged else "not paged"
            said.append(
                f"{one.cause} on {one.target} opened at row {one.opened_row} ({paged}), "
                "and no fault accounts for it."
            )
        if self.counts.predictions != self.log.rows:
            said.append(
                f"{self.log.rows} predictions were sent and {self.counts.predictions} counted."
            )
        if self.counts.labels != self.log.labels:
            said.append(f"{self.log.labels} labels were sent and {self.counts.labels} joined.")
        if self.log.unnamed:
            said.append(f"{self.log.unnamed} rows were answered without a prediction id.")
        said += [f"The telemetry is not as registered: {stray}" for stray in self.strays]
        return said

    @property
    def ok(self) -> bool:
        """Whether every fault was found and rightly named, nothing else was, and counts agree."""
        return not self.problems

    def to_json(self) -> dict[str, Any]:
        """Return the run in the shape `SCHEMA`."""
        return {
            "schema": SCHEMA,
            "ok": self.ok,
            "problems": self.problems,
            "seed": self.seed,
            "model": self.model,
            "budget": self.budget,
            "predictions": {
                "sent": self.log.rows,
                "counted": self.counts.predictions,
                "calls": self.log.calls,
                "dropped": self.counts.dropped,
            },
            "labels": {
                "sent": self.log.labels,
                "joined": self.counts.labels,
                "delay_rows": self.label_delay,
            },
            "incidents_before_first_fault": len(self.before_first),
            "paged_before_first_fault": sum(one.paged for one in self.before_first),
            "faults": [_fault(finding) for finding in self.findings],
            "incidents": [_incident(one) for one in self.known],
            "other_incidents": [one.id for one in self.other],
            "telemetry_violations": list(self.strays),
            "seconds": {part: round(took, 2) for part, took in self.seconds.items()},
            "page": None if self.page is None else str(self.page),
        }


def _fault(finding: Finding) -> dict[str, Any]:
    passage, incident = finding.passage, finding.incident
    return {
        "cause": passage.fault.cause,
        "target": passage.fault.target,
        "title": passage.fault.title,
        "story": passage.fault.story,
        "start_row": passage.start_row,
        "end_row": passage.end_row,
        "started_at": _iso(passage.started),
        "ended_at": _iso(passage.ended),
        "found": incident is not None,
        "rows_to_find": finding.rows_to_find,
        "seconds_to_find": None
        if incident is None
        else round(max(incident.opened - passage.started, 0.0), 2),
        "incident": None if incident is None else incident.id,
        "named_cause": None if incident is None else incident.cause,
        "named_target": None if incident is None else incident.target,
        "rightly_named": finding.cause_named and finding.target_named,
        "paged": incident is not None and incident.paged,
    }


def _incident(one: Incident) -> dict[str, Any]:
    lower, upper = one.change_lower, one.change_upper
    return {
        "id": one.id,
        "cause": one.cause,
        "cause_at_opening": one.first_cause,
        "target": one.target,
        "monitor": one.monitor,
        "severity": one.severity,
        "paged": one.paged,
        "opened_at": _iso(one.opened),
        "opened_row": one.opened_row,
        "closed_at": _iso(one.closed),
        "closed_row": one.closed_row,
        "change_row": one.change_row,
        "change_row_interval": None if lower is None or upper is None else [lower, upper],
        "evidence_log10": round(one.evidence, 3),
        "effect": one.effect,
        "harm": one.harm,
        "members": list(one.members),
        "causes": list(one.causes),
        "for": list(one.evidence_for),
        "against": list(one.evidence_against),
        "next": one.next_step,
        "runbook": one.runbook,
        "updates": one.updates,
    }


def _iso(time: float | None) -> str | None:
    if time is None:
        return None
    return datetime.fromtimestamp(time, tz=timezone.utc).isoformat(timespec="milliseconds")
