"""Incidents: grouping, severity by harm, life cycle, and advice."""

from __future__ import annotations

from otel_ml.incidents.history import ChangePoint, History
from otel_ml.incidents.incident import Cause, Change, Harm, Incident, Member
from otel_ml.incidents.lifecycle import Evidence, Incidents

__all__ = [
    "Cause",
    "Change",
    "ChangePoint",
    "Evidence",
    "Harm",
    "History",
    "Incident",
    "Incidents",
    "Member",
]
