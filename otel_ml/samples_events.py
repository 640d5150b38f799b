"""A step in the life of an incident or a reference in, the event that tells of it out."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

from otel_ml.engine import Engine
from otel_ml.incidents import Change
from otel_ml.semconv import attributes as a
from otel_ml.semconv import events as e
from otel_ml.types import AttributeValue, Event, ModelKey

__all__ = ["identity", "incident_event", "reference_event"]


def identity(key: ModelKey) -> dict[str, AttributeValue]:
    """Return the attributes that name a model."""
    known: dict[str, AttributeValue] = {a.ML_MODEL_NAME: key.name}
    if key.version is not None:
        known[a.ML_MODEL_VERSION] = key.version
    return known


def incident_event(key: ModelKey, change: Change) -> Event:
    """Return the event of a step in the life of an incident."""
    incident = change.incident
    cause = incident.causes[0] if incident.causes else None
    lower, upper = incident.change_row_interval
    named: dict[str, Any] = {
        **identity(key),
        a.ML_INCIDENT_ID: incident.id,
        a.ML_INCIDENT_STATE: change.state,
        a.ML_INCIDENT_SEVERITY: incident.severity,
        a.ML_INCIDENT_PAGED: incident.paged,
        a.ML_INCIDENT_CAUSE: incident.cause,
        a.ML_INCIDENT_MONITOR: incident.culprit.monitor,
        a.ML_INCIDENT_TARGET: incident.culprit.target,
        a.ML_INCIDENT_MEMBERS: [f"{i.monitor}:{i.target}" for i in incident.members],
        a.ML_INCIDENT_EVIDENCE: float(incident.evidence_log10),
        a.ML_INCIDENT_OPENED_ROW: incident.opened_row,
        a.ML_INCIDENT_CHANGE_ROW: incident.change_row,
        a.ML_INCIDENT_CHANGE_ROW_LOWER: lower,
        a.ML_INCIDENT_CHANGE_ROW_UPPER: upper,
        a.ML_INCIDENT_EFFECT: incident.culprit.text,
        a.ML_INCIDENT_HARM: incident.harm.text,
        a.ML_INCIDENT_CAUSES: [f"{c.id}:{c.score:.2f}" for c in incident.causes],
    }
    said: dict[str, Any] = {
        a.ML_INCIDENT_WHOM: None if incident.whom is None else incident.whom["text"],
        a.ML_INCIDENT_CLOSED_REASON: incident.closed_reason,
        a.ML_INCIDENT_ACKNOWLEDGED_BY: incident.acknowledged_by,
        a.ML_INCIDENT_NOTE: incident.note,
        a.ML_INCIDENT_REOPENED: incident.reopened or None,
    }
    if incident.muted_until is not None:
        until = datetime.fromtimestamp(incident.muted_until, timezone.utc)
        said[a.ML_INCIDENT_MUTED_UNTIL] = until.isoformat()
    named |= {key: value for key, value in said.items() if value is not None}
    if cause is not None:
        named |= {
            a.ML_INCIDENT_NEXT_STEP: cause.next_step,
            a.ML_INCIDENT_RUNBOOK: cause.runbook,
            a.ML_INCIDENT_EVIDENCE_FOR: list(cause.supporting),
            a.ML_INCIDENT_EVIDENCE_AGAINST: list(cause.contradicting),
        }
    body = f"Incident {change.state}: {cause.title if cause else 'unknown cause'}. "
    body += incident.culprit.text + "."
    if incident.closed_reason == "command":
        body += " Closed by command: watched again from now on, against the same reference."
    if incident.closed_reason == "re-referenced":
        body += " Traffic as it is now was accepted as the new reference."
    return Event(e.ML_INCIDENT, named, int(change.at * 1e9), incident.severity, body)


def reference_event(key: ModelKey, engine: Engine, now_ns: int) -> Event:
    """Return the event that says what a model is compared with from now on."""
    reference = engine.reference
    named: dict[str, Any] = {**identity(key), a.ML_REFERENCE_STATE: a.MlReferenceState.LEARNING}
    if reference is not None:
        named[a.ML_REFERENCE_STATE] = a.MlReferenceState.FROZEN
        named[a.ML_REFERENCE_ID] = reference.id
        body = f"Traffic of {key.name} is compared with reference {reference.id}."
    else:
        body = f"The first traffic of {key.name} becomes its reference."
    return Event(e.ML_REFERENCE, named, now_ns, "info", body)
