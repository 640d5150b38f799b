"""What happened: in, the telemetry and the faults as injected; out, incidents and matches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from otel_ml.demo.replay import Passage
from otel_ml.demo.telemetry import Attributes, Telemetry
from otel_ml.semconv import attributes as attr
from otel_ml.semconv.events import ML_INCIDENT

__all__ = ["Finding", "Incident", "find", "incidents", "others"]

SLACK_ROWS: Final = 300
"""What may still be in flight or not yet evaluated when a fault ends."""


@dataclass(frozen=True, slots=True)
class Incident:
    """An incident, as the events tell it.

    Parameters
    ----------
    id
        Its identity.
    cause, target, monitor
        Its name while it was open, in the last word on it.
    first_cause
        What it was called when it opened.
    severity, paged
        How bad, and whether somebody was called.
    opened, closed
        Seconds since the Unix epoch; None while it is open.
    opened_row, closed_row
        Rows seen when it opened, and counted when it closed.
    change_row, change_lower, change_upper
        Row since which, with its interval; None where not estimated.
    evidence, opened_evidence
        The largest, and that at its opening, log10.
    effect, harm, next_step, runbook
        Sentences for people.
    members
        Monitors and targets that belong to it, the culprit first.
    causes
        Causes by rank, as ``cause:score``.
    evidence_for, evidence_against
        What speaks for the first cause and what against it.
    updates
        How often it was updated.
    """

    id: str
    cause: str
    target: str
    monitor: str
    first_cause: str
    severity: str
    paged: bool
    opened: float
    opened_row: int
    closed: float | None = None
    closed_row: int | None = None
    change_row: int | None = None
    change_lower: int | None = None
    change_upper: int | None = None
    evidence: float = 0.0
    opened_evidence: float = 0.0
    effect: str = ""
    harm: str = ""
    next_step: str = ""
    runbook: str = ""
    members: tuple[str, ...] = ()
    causes: tuple[str, ...] = ()
    evidence_for: tuple[str, ...] = ()
    evidence_against: tuple[str, ...] = ()
    updates: int = 0


@dataclass(frozen=True, slots=True)
class Finding:
    """A fault, and the incident that found it.

    Parameters
    ----------
    passage
        The fault as it was injected.
    incident
        The incident, or None where nothing was found.
    """

    passage: Passage
    incident: Incident | None

    @property
    def rows_to_find(self) -> int | None:
        """Rows from the fault's first row to the incident."""
        if self.incident is None:
            return None
        return max(self.incident.opened_row - self.passage.start_row, 0)

    @property
    def cause_named(self) -> bool:
        """Whether the cause has the right name."""
        return self.incident is not None and self.incident.cause == self.passage.fault.cause

    @property
    def target_named(self) -> bool:
        """Whether the culprit is the right one."""
        return self.incident is not None and self.incident.target == self.passage.fault.target


def incidents(telemetry: Telemetry) -> list[Incident]:
    """Return the incidents of all events so far, in the order in which they opened."""
    stories: dict[str, list[tuple[float, Attributes]]] = {}
    for event in telemetry.events(ML_INCIDENT):
        name = str(event.attributes.get(attr.ML_INCIDENT_ID, ""))
        stories.setdefault(name, []).append((event.time, event.attributes))
    told = [_tell(name, story, telemetry) for name, story in stories.items()]
    return sorted(told, key=lambda incident: (incident.opened, incident.id))


def find(passages: Sequence[Passage], known: Sequence[Incident], delay: int) -> list[Finding]:
    """Match every fault with an incident.

    An incident belongs to the fault in whose time it opened: from the fault's first row until its
    last can no longer show, with late labels `delay` rows later. Where several opened, the one
    with the right name counts, else the first.

    Parameters
    ----------
    passages
        Faults as injected.
    known
        Incidents in the order in which they opened.
    delay
        Rows between a prediction and its label.
    """
    findings = []
    taken: set[str] = set()
    for number, passage in enumerate(passages):
        end = passage.fault.end if passage.end_row is None else passage.end_row
        limit = end + delay + SLACK_ROWS
        if number + 1 < len(passages):
            limit = min(limit, passages[number + 1].start_row)
        near = [
            incident
            for incident in known
            if incident.id not in taken and passage.start_row <= incident.opened_row < limit
        ]
        near.sort(
            key=lambda incident: (
                incident.cause != passage.fault.cause,
                incident.target != passage.fault.target,
                incident.opened_row,
            )
        )
        best = near[0] if near else None
        if best is not None:
            taken.add(best.id)
        findings.append(Finding(passage, best))
    return findings


def others(findings: Sequence[Finding], known: Sequence[Incident]) -> list[Incident]:
    """Return the incidents that are no fault's."""
    taken = {finding.incident.id for finding in findings if finding.incident is not None}
    return [incident for incident in known if incident.id not in taken]


def _tell(name: str, story: list[tuple[float, Attributes]], telemetry: Telemetry) -> Incident:
    opened, first = story[0]
    closed = next((at for at, said in story if _state(said) == attr.MlIncidentState.CLOSED), None)
    # The closing event may say less than the last one before it, so the latest word on each wins.
    last = {key: value for _, said in story for key, value in said.items()}
    return Incident(
        id=name,
        cause=_text(last, attr.ML_INCIDENT_CAUSE),
        target=_text(last, attr.ML_INCIDENT_TARGET),
        monitor=_text(last, attr.ML_INCIDENT_MONITOR),
        first_cause=_text(first, attr.ML_INCIDENT_CAUSE),
        severity=_text(last, attr.ML_INCIDENT_SEVERITY),
        paged=any(said.get(attr.ML_INCIDENT_PAGED) is True for _, said in story),
        opened=opened,
        opened_row=_row(first, attr.ML_INCIDENT_OPENED_ROW) or 0,
        closed=closed,
        closed_row=None if closed is None else round(float(telemetry.rows_at([closed])[0])),
        change_row=_row(last, attr.ML_INCIDENT_CHANGE_ROW),
        change_lower=_row(last, attr.ML_INCIDENT_CHANGE_ROW_LOWER),
        change_upper=_row(last, attr.ML_INCIDENT_CHANGE_ROW_UPPER),
        evidence=max(_float(said, attr.ML_INCIDENT_EVIDENCE) for _, said in story),
        opened_evidence=_float(first, attr.ML_INCIDENT_EVIDENCE),
        effect=_text(last, attr.ML_INCIDENT_EFFECT),
        harm=_text(last, attr.ML_INCIDENT_HARM),
        next_step=_text(last, attr.ML_INCIDENT_NEXT_STEP),
        runbook=_text(last, attr.ML_INCIDENT_RUNBOOK),
        members=_texts(last, attr.ML_INCIDENT_MEMBERS),
        causes=_texts(last, attr.ML_INCIDENT_CAUSES),
        evidence_for=_texts(last, attr.ML_INCIDENT_EVIDENCE_FOR),
        evidence_against=_texts(last, attr.ML_INCIDENT_EVIDENCE_AGAINST),
        updates=sum(_state(said) == attr.MlIncidentState.UPDATED for _, said in story),
    )


def _state(said: Attributes) -> str:
    return _text(said, attr.ML_INCIDENT_STATE)


def _text(said: Attributes, key: str) -> str:
    return str(said.get(key, ""))


def _texts(said: Attributes, key: str) -> tuple[str, ...]:
    value = said.get(key, ())
    return tuple(str(each) for each in value) if isinstance(value, tuple) else (str(value),)


def _row(said: Attributes, key: str) -> int | None:
    value = said.get(key)
    return int(value) if isinstance(value, (int, float)) else None


def _float(said: Attributes, key: str) -> float:
    value = said.get(key)
    return float(value) if isinstance(value, (int, float)) else 0.0
